"""How functions run: their processes, and the Runtime API where these ask for work."""

import contextlib
import io
import os
import queue
import select
import threading
import time
from unittest import mock

from ministack import app
from ministack.core import lambda_runtime
from ministack.core.lambda_runtime import ProvidedWorker
from ministack.services import lambda_svc

from patches.patch import Patch

# How long a function's process stays without work, to the next look (each 30 s).
IDLE_SECONDS = 60
# A function's configuration, for the checks.
CONFIG = {
    "Runtime": "provided.al2023",
    "FunctionArn": "arn:aws:lambda:us-east-1:111111111111:function:checked",
}


@Patch
def answer_functions_at_once():
    """Upstream: MiniStack's Runtime API writes headers and body apart.

    Reason: Nagle's algorithm holds the second write until the function's kernel acknowledges the
    first, which it puts off for 40 ms."""
    build_handler_class = ProvidedWorker._build_handler_class

    def build(self, generation, pending):
        handler = build_handler_class(self, generation, pending)
        handler.disable_nagle_algorithm = True
        handler.wbufsize = -1  # one write of all, at the answer's end
        return handler

    ProvidedWorker._build_handler_class = build


@answer_functions_at_once.needed_while
def headers_and_body_are_written_apart():
    return len(runtime_api_writes("Host: 127.0.0.1")) > 1


def runtime_api_writes(header: str) -> list[bytes]:
    """What the Runtime API writes to answer a request with this header and a wrong request id."""
    path = "/2018-06-01/runtime/invocation/0/response"
    request = f"POST {path} HTTP/1.0\r\n{header}\r\nContent-Length: 2\r\n\r\n{{}}"
    written = []

    class Connection(io.RawIOBase):
        def makefile(self, mode, size):
            is_input = mode.startswith("r")
            return io.BytesIO(request.encode()) if is_input else io.BufferedWriter(self)

        def setsockopt(self, *_):
            pass

        def writable(self):
            return True

        def write(self, data):
            written.append(bytes(data))
            return len(data)

        sendall = write

    handler = ProvidedWorker("checked", CONFIG, b"")._build_handler_class(0, queue.Queue())
    handler(Connection(), ("127.0.0.1", 0), None)
    return written


@Patch
def take_log_lines_at_once():
    """Upstream: to tell whose log lines are whose, MiniStack waits after each invocation for 5 ms
    without a new line, and for 50 ms if there is none.

    Reason: what a function wrote before it answered is in the pipe when the answer is here.
    Reading the pipe then misses nothing and needs no wait."""
    ProvidedWorker._output = None

    def pump_output(self, stream, lines):
        self._output = output = Output(stream, lines)
        pollable = select.poll()
        pollable.register(stream, select.POLLIN)
        while output.read():
            pollable.poll()

    def drain(self, *_, **__):
        if self._output is not None:
            self._output.read()
        return self._drain_stderr()

    ProvidedWorker._pump_output = pump_output
    ProvidedWorker._drain_stderr_bounded = drain


@take_log_lines_at_once.needed_while
def it_waits_for_log_lines():
    with mock.patch("time.sleep") as sleep:
        ProvidedWorker("checked", CONFIG, b"")._drain_stderr_bounded()
    return sleep.called


class Output:
    """A function's output on its way from the pipe to MiniStack's queue of lines."""
    def __init__(self, stream, lines: queue.Queue):
        os.set_blocking(stream.fileno(), False)
        self.stream = stream
        self.lines = lines
        self.rest = b""
        self.lock = threading.Lock()

    def read(self) -> bool:
        """Moves what is there; False at the end of the output."""
        with self.lock:
            while not self.stream.closed:
                try:
                    data = os.read(self.stream.fileno(), 1 << 16)
                except BlockingIOError:
                    return True
                *lines, self.rest = (self.rest + data).split(b"\n")
                if not data:
                    self.stream.close()
                    lines.extend(filter(None, [self.rest]))
                for line in lines:
                    self.put(line.decode(errors="replace").rstrip("\r"))
            return False

    def put(self, line: str) -> None:
        """MiniStack keeps 10,000 lines and drops the oldest."""
        while True:
            try:
                return self.lines.put_nowait(line)
            except queue.Full:
                with contextlib.suppress(queue.Empty):
                    self.lines.get_nowait()


@Patch
def start_few_functions_at_once():
    """Upstream: where all processes of a function are at work, MiniStack starts one for each call,
    all at once.

    Reason: on two cores a hundred starts end no sooner than the calls that they are for. Here a call
    waits for what is free first: a process that was at work, or a core to start one."""
    acquire_worker = lambda_svc.acquire_worker
    worker_key = lambda_runtime._worker_key
    workers = lambda_runtime._workers
    asking = threading.Lock()

    def is_starting(worker):
        return worker.in_use and not worker._first_poll.is_set()

    def acquire(name, config, code, qualifier="$LATEST"):
        key = worker_key(name, config, qualifier)
        while True:
            with asking:
                of_function = list(workers.get(key, []))
                is_one_free = not all(worker.in_use for worker in of_function)
                if is_one_free or sum(map(is_starting, of_function)) < os.cpu_count():
                    return acquire_worker(name, config, code, qualifier)
            time.sleep(0.005)

    lambda_svc.acquire_worker = acquire


@start_few_functions_at_once.needed_while
def more_processes_are_started_at_once_than_there_are_cores():
    with mock.patch("time.sleep", side_effect=TimeoutError):
        try:
            for _ in range(os.cpu_count() + 1):
                lambda_svc.acquire_worker("checked", CONFIG, b"")
        except TimeoutError:
            return False
        finally:
            lambda_runtime._workers.clear()
    return True


@Patch
def end_idle_functions():
    """Upstream: MiniStack keeps one process of each function for good, and looks twenty times a
    second at each whether it has work.

    Reason: the tests' stacks leave hundreds behind. AWS ends idle ones, too."""
    kill_workers = lambda_runtime.kill_workers
    lock = lambda_runtime._lock
    workers = lambda_runtime._workers

    def reap():
        with lock:
            long_ago = time.time() - IDLE_SECONDS
            idle = {
                worker
                for of_function in workers.values()
                for worker in of_function
                if not worker.in_use and worker.last_used < long_ago
            }
            for key, of_function in list(workers.items()):
                workers[key] = [worker for worker in of_function if worker not in idle]
        kill_workers(idle)

    lambda_svc.reap_idle_workers = reap


@end_idle_functions.needed_while
def the_last_process_of_a_function_stays():
    worker, _ = lambda_runtime.acquire_worker("checked", CONFIG, b"")
    worker.in_use, worker.last_used = False, 0
    lambda_svc.reap_idle_workers()
    return any(lambda_runtime._workers.values())


@Patch
def tell_functions_their_names():
    """Upstream: where IAM decides, nothing in the environment of a function tells its account.

    Reason: `cargo local` finds the processes of a function by it."""
    worker_env = lambda_svc._provided_worker_env

    def env(config, *rest):
        return {**worker_env(config, *rest), "_LAMBDA_FUNCTION_ARN": config["FunctionArn"]}

    lambda_svc._provided_worker_env = env


@tell_functions_their_names.needed_while
def no_variable_of_a_function_has_its_account():
    with mock.patch.object(app, "AUTH", True):
        values = lambda_svc._provided_worker_env(CONFIG, "/", 1).values()
    return not any("111111111111" in value for value in values)
