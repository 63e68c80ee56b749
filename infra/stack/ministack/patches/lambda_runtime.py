"""How functions run: their processes, and the Runtime API through which these get work."""

import contextlib
import io
import os
import queue
import select
import socket
import socketserver
import threading
import time
from unittest import mock

from ministack import app
from ministack.core import lambda_runtime
from ministack.core.lambda_runtime import ProvidedWorker
from ministack.services import lambda_svc

from patches.patch import Patch

# After how long without work a function's process is ended. MiniStack looks every 30 s.
IDLE_SECONDS = 60
# How long a call waits for a busy process before it asks for another one. A call takes some ten milliseconds.
PATIENCE_SECONDS = 0.1
# A function's configuration, for the checks.
CONFIG = {
    "Runtime": "provided.al2023",
    "FunctionArn": "arn:aws:lambda:us-east-1:111111111111:function:checked",
}


@Patch
def answer_functions_at_once():
    """Upstream: MiniStack's Runtime API writes headers and body separately.

    Reason: Nagle's algorithm holds the second write back until the function's kernel acknowledges the
    first, and the kernel delays that for 40 ms."""
    build_handler_class = ProvidedWorker._build_handler_class

    def build(self, generation, pending):
        handler = build_handler_class(self, generation, pending)
        handler.disable_nagle_algorithm = True
        handler.wbufsize = -1  # one write for the whole answer
        return handler

    ProvidedWorker._build_handler_class = build


@answer_functions_at_once.needed_while
def headers_and_body_are_written_apart():
    return len(runtime_api_writes("Host: 127.0.0.1")) > 1


def runtime_api_writes(header: str) -> list[bytes]:
    """The writes with which the Runtime API answers a request with this header and a wrong request id."""
    path = "/2018-06-01/runtime/invocation/0/response"
    request = f"POST {path} HTTP/1.0\r\n{header}\r\nContent-Length: 2\r\n\r\n{{}}"
    return ask_runtime_api(ProvidedWorker("checked", CONFIG, b""), request, queue.Queue())


def ask_runtime_api(worker: ProvidedWorker, request: str, pending: queue.Queue) -> list[bytes]:
    """The writes with which the Runtime API of this process answers."""
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

    worker._build_handler_class(0, pending)(Connection(), ("127.0.0.1", 0), None)
    return written


@Patch
def take_log_lines_at_once():
    """Upstream: to assign log lines to invocations, MiniStack waits after each one until no line has
    come for 5 ms, or for 50 ms if no line comes at all.

    Reason: when a function's answer is here, all lines that it wrote before are in the pipe. Reading
    the pipe at that time misses nothing, and needs no wait."""
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
    """Moves a function's output from the pipe to MiniStack's queue of lines."""
    def __init__(self, stream, lines: queue.Queue):
        os.set_blocking(stream.fileno(), False)
        self.stream = stream
        self.lines = lines
        self.rest = b""
        self.lock = threading.Lock()

    def read(self) -> bool:
        """Moves the output that is there; False at the end of the output."""
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
        """Adds a line to the queue. If it is full (10,000 lines), the oldest line is dropped."""
        while True:
            try:
                return self.lines.put_nowait(line)
            except queue.Full:
                with contextlib.suppress(queue.Empty):
                    self.lines.get_nowait()


@Patch
def start_one_process_after_the_other():
    """Upstream: if all processes of a function are busy, MiniStack starts a new one for each call, all
    at the same time.

    Reason: on two cores, a hundred starts take as long as the calls that need them. Here a call waits for a
    process to become free. If none does in PATIENCE_SECONDS, and none is starting, it starts one."""
    acquire_worker = lambda_svc.acquire_worker
    worker_key = lambda_runtime._worker_key
    workers = lambda_runtime._workers
    asking = threading.Lock()

    def is_starting(worker):
        return worker.in_use and not worker._first_poll.is_set()

    def acquire(name, config, code, qualifier="$LATEST"):
        key = worker_key(name, config, qualifier)
        began = time.monotonic()
        while True:
            with asking:
                of_function = list(workers.get(key, []))
                is_one_free = not all(worker.in_use for worker in of_function)
                is_overdue = time.monotonic() - began >= PATIENCE_SECONDS and not any(map(is_starting, of_function))
                if is_one_free or is_overdue or not of_function:
                    return acquire_worker(name, config, code, qualifier)
            time.sleep(0.005)

    lambda_svc.acquire_worker = acquire


@start_one_process_after_the_other.needed_while
def two_processes_of_a_function_are_started_at_once():
    with mock.patch("time.sleep", side_effect=TimeoutError):
        try:
            for _ in range(2):
                lambda_svc.acquire_worker("checked", CONFIG, b"")
        except TimeoutError:
            return False
        finally:
            lambda_runtime._workers.clear()
    return True


@Patch
def let_idle_functions_sleep():
    """Upstream: MiniStack has two threads for each process of a function. Each wakes up ten times a second to
    see whether it has to end.

    Reason: the tests' stacks keep hundreds of processes. Their threads hold up the one that answers all
    calls, and ingest gives up waiting for its secret. Here, a thread that has to end is woken."""
    build_handler_class = ProvidedWorker._build_handler_class
    shutdown_server = ProvidedWorker._shutdown_server

    def build(self, generation, pending):
        return build_handler_class(self, generation, Pending(pending))

    def shutdown(self):
        with contextlib.suppress(queue.Full):
            self._pending.put_nowait(None)
        shutdown_server(self)

    ProvidedWorker._build_handler_class = build
    ProvidedWorker._shutdown_server = shutdown
    socketserver.ThreadingTCPServer = SleepingServer


class Pending:
    """The queue of the calls of a function's process. A thread waits for the next one without a limit."""
    def __init__(self, calls: queue.Queue):
        self.calls = calls

    def get(self, timeout=None):
        call = self.calls.get()
        if call is None:  # The thread has to look whether it ends.
            raise queue.Empty
        return call


class SleepingServer(socketserver.ThreadingTCPServer):
    """A server that does nothing until somebody connects."""
    def __init__(self, *about):
        super().__init__(*about)
        self.is_ending = False
        self.has_ended = threading.Event()

    def serve_forever(self, poll_interval=None):
        while not self.is_ending:
            self.handle_request()
        self.has_ended.set()

    def shutdown(self):
        self.is_ending = True
        socket.create_connection(self.server_address).close()
        self.has_ended.wait()


@let_idle_functions_sleep.needed_while
def a_process_without_work_is_looked_at_again_and_again():
    worker = ProvidedWorker("checked", CONFIG, b"")
    worker._stopping = False
    pending = mock.Mock()
    pending.get.return_value = ("id", {}, 0, None, "")
    next_call = "GET /2018-06-01/runtime/invocation/next HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n"
    ask_runtime_api(worker, next_call, pending)
    return "timeout" in pending.get.call_args.kwargs


@let_idle_functions_sleep.needed_while
def a_server_without_requests_looks_again_and_again():
    with (
        socketserver.ThreadingTCPServer(("127.0.0.1", 0), None) as server,
        mock.patch.object(socketserver, "_ServerSelector") as selector,
        contextlib.suppress(TimeoutError),
    ):
        select = selector().__enter__().select
        select.side_effect = TimeoutError
        server.serve_forever(poll_interval=0.1)
    return select.call_args.args != (None,)


@Patch
def end_idle_functions():
    """Upstream: MiniStack keeps one process of each function forever.

    Reason: the tests' stacks leave hundreds of processes behind. AWS also ends idle ones."""
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
    """Upstream: with AUTH=true, no environment variable of a function contains its account.

    Reason: this project's tools find the processes of a function by its account."""
    worker_env = lambda_svc._provided_worker_env

    def env(config, *rest):
        return {**worker_env(config, *rest), "_LAMBDA_FUNCTION_ARN": config["FunctionArn"]}

    lambda_svc._provided_worker_env = env


@tell_functions_their_names.needed_while
def no_variable_of_a_function_has_its_account():
    with mock.patch.object(app, "AUTH", True):
        values = lambda_svc._provided_worker_env(CONFIG, "/", 1).values()
    return not any("111111111111" in value for value in values)


@Patch
def log_how_functions_end():
    """Upstream: if a function runs out of time or exits, MiniStack's log has no line about it. What the
    function wrote while it started is lost, too.

    Reason: the runbook finds the lines that Lambda writes then."""
    execute = lambda_svc._execute_function_provided_warm

    def logged(function, event, request_id):
        result = execute(function, event, request_id)
        body = result.get("body")
        error = body if result.get("error") and isinstance(body, dict) else {}
        message, lines = str(error.get("errorMessage")), []
        if error.get("errorType") == "Sandbox.Timedout":
            at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
            lines = [f"{at}.000Z {request_id} {message}"]
        elif message.startswith("Runtime exited"):
            lines = [f"RequestId: {request_id} Error: Runtime exited with error", "Runtime.ExitError"]
        elif message.startswith("bootstrap exited during init"):
            written = message.partition(": ")[2]
            report = "INIT_REPORT Phase: invoke\tStatus: error\tError Type: Runtime.ExitError"
            lines = [*written.splitlines(), report, f"RequestId: {request_id} Error: Runtime exited with error"]
        return {**result, "log": "\n".join(filter(None, [result.get("log"), *lines]))}

    lambda_svc._execute_function_provided_warm = logged


@log_how_functions_end.needed_while
def no_line_tells_that_a_function_ran_out_of_time():
    payload = {"errorMessage": "Task timed out after 3.00 seconds", "errorType": "Sandbox.Timedout"}
    worker = mock.Mock(invoke=lambda *_, **__: {"status": "error", "error_payload": payload, "log": "a"})
    with mock.patch.object(lambda_svc, "acquire_worker", return_value=(worker, None)):
        result = lambda_svc._execute_function_provided_warm({"config": CONFIG, "code_zip": b"a"}, {}, "id")
    return "Task timed out" not in result["log"]


@log_how_functions_end.needed_while
def what_a_function_wrote_before_it_started_is_lost():
    worker = mock.Mock()
    worker.invoke.side_effect = RuntimeError("bootstrap exited during init with code 1: a line")
    with mock.patch.object(lambda_svc, "acquire_worker", return_value=(worker, None)):
        result = lambda_svc._execute_function_provided_warm({"config": CONFIG, "code_zip": b"a"}, {}, "id")
    return result["log"].splitlines()[:1] != ["a line"]
