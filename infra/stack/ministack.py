"""Runs MiniStack, the local AWS, in the foreground, and bends it where it waits for nothing.

Started by `cargo local` and the end-to-end tests as `python ministack.py`, with a pipe as
standard input. It ends, with every function process that it started, when that pipe closes: so
nothing stays behind, however its parent ends. SIGTERM, SIGINT and SIGHUP do the same. Its exit
status is 0 after either, and the server's own if that ends by itself.

The environment is MiniStack's: GATEWAY_PORT, BIND_HOST, AWS_ENDPOINT_URL (for the functions),
MINISTACK_REGION, LOG_LEVEL, AUTH; and ALSO_ON, an address by which containers come, if there is one.
All that it writes goes below TMPDIR.
"""

import collections
import contextlib
import contextvars
import ctypes
import ipaddress
import json
import os
import queue
import re
import select
import signal
import socket
import sys
import tempfile
import threading
import time
from importlib import metadata

VERSION = "1.5.33"
# How long a function's process stays without work, to the next look (each 30 s).
IDLE_SECONDS = 60


def main() -> int:
    check_version()
    adopt_orphans()
    # The server gets a process group, which its functions share, so that one kill ends them all.
    # This process only waits for a reason to do that. Each of the two notices the other's end,
    # whatever its cause, by its end of a socket.
    ours, theirs = socket.socketpair()
    server = os.fork()
    if server == 0:
        ours.close()
        os.setpgid(0, 0)
        serve(theirs)
        return 0
    theirs.close()
    os.setpgid(server, server)  # here too: whoever comes first
    ended_by_itself = wait_for_reason_to_end(ours)
    status = os.waitpid(server, 0)[1] if ended_by_itself else None
    kill_group(server)
    wait_for_group(server)
    return 0 if status is None else os.waitstatus_to_exitcode(status) & 0xFF or 1


def check_version() -> None:
    try:
        found = metadata.version("ministack")
    except metadata.PackageNotFoundError:
        found = "none"
    if found != VERSION:
        sys.exit(
            f"ministack.py bends MiniStack {VERSION}, but {sys.executable} has {found}. "
            f"Install the pinned one: {sys.executable} -m pip install -r "
            f"{os.path.join(os.path.dirname(os.path.abspath(__file__)), 'requirements.txt')}"
        )


def wait_for_reason_to_end(server: socket.socket) -> bool:
    """Returns when standard input closes, at a signal, or, with True, when the server has ended."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    while True:
        readable, _, _ = select.select([0, woken, server], [], [])
        if server in readable:
            return True
        if woken in readable or not os.read(0, 4096):
            return False


def kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def adopt_orphans() -> None:
    """Makes the functions this process's children when the server is dead, so that it can wait
    for their end. Otherwise they are init's, which may take its time, or be no real init."""
    if sys.platform == "linux":
        pr_set_child_subreaper = 36
        ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0)


def wait_for_group(group: int) -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-group, 0)


def serve(parent: socket.socket) -> None:
    # If the waiting process is killed, the server goes too, with its group.
    def end_with_parent() -> None:
        parent.recv(1)
        kill_group(0)

    threading.Thread(target=end_with_parent, daemon=True).start()
    # Nothing below may read what comes from the parent.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)

    # Python looks for modules beside the script first, and this file has MiniStack's name.
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != here]

    # MiniStack's defaults are folders in /tmp, and two more servers on fixed ports.
    os.environ["STATE_DIR"] = os.path.join(tempfile.gettempdir(), "state")
    os.environ["S3_DATA_DIR"] = os.path.join(tempfile.gettempdir(), "s3")
    os.environ["IOT_MTLS_ENABLED"] = "0"
    os.environ["SFTP_ENABLED"] = "0"

    from ministack import app

    for bend in BENDS:
        bend()
    sys.argv = ["ministack"]
    try:
        app.main()
    except OSError as error:
        sys.exit(f"ministack.py: MiniStack can't listen: {error}")


def answer_functions_at_once() -> None:
    """MiniStack's Runtime API writes headers and body apart. Nagle's algorithm holds the second
    write until the function's kernel acknowledges the first, which it puts off for 40 ms."""
    from ministack.core.lambda_runtime import ProvidedWorker

    build_handler_class = attribute(ProvidedWorker, "_build_handler_class")

    def build(self, generation, pending):
        handler = build_handler_class(self, generation, pending)
        handler.disable_nagle_algorithm = True
        handler.wbufsize = -1  # one write of all, at the answer's end
        return handler

    ProvidedWorker._build_handler_class = build


def take_log_lines_at_once() -> None:
    """To tell whose log lines are whose, MiniStack waits after each invocation for 5 ms without a
    new line, and for 50 ms if there is none. But what a function wrote before it answered is in
    the pipe when the answer is here: reading the pipe then misses nothing and needs no wait."""
    from ministack.core.lambda_runtime import ProvidedWorker

    attribute(ProvidedWorker, "_pump_output")
    attribute(ProvidedWorker, "_drain_stderr_bounded")
    attribute(ProvidedWorker, "_drain_stderr")
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


def look_at_queues_at_once() -> None:
    """When a look at the queues of event sources finds nothing, MiniStack sleeps for 50 ms before
    it waits for the next message. One that comes within them waits too."""
    from ministack.services import lambda_svc

    attribute(lambda_svc, "_ESM_IDLE_WAKE_GAP_SECONDS")
    lambda_svc._ESM_IDLE_WAKE_GAP_SECONDS = 0.001


def start_few_functions_at_once() -> None:
    """Where all processes of a function are at work, MiniStack starts one for each call, all at
    once. On two cores a hundred starts end no sooner than the calls that they are for. Here a call
    waits for what is free first: a process that was at work, or a core to start one."""
    from ministack.core import lambda_runtime
    from ministack.services import lambda_svc

    acquire_worker = attribute(lambda_svc, "acquire_worker")
    worker_key = attribute(lambda_runtime, "_worker_key")
    workers = attribute(lambda_runtime, "_workers")
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

    attribute(lambda_runtime.ProvidedWorker, "_mark_first_poll")
    lambda_svc.acquire_worker = acquire


def end_idle_functions() -> None:
    """MiniStack keeps one process of each function for good, and looks twenty times a second at
    each whether it has work. The tests' stacks leave hundreds behind. AWS ends idle ones, too."""
    from ministack.core import lambda_runtime
    from ministack.services import lambda_svc

    kill_workers = attribute(lambda_runtime, "kill_workers")
    lock = attribute(lambda_runtime, "_lock")
    workers = attribute(lambda_runtime, "_workers")
    attribute(lambda_svc, "reap_idle_workers")

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


def find_apis_of_every_account() -> None:
    """AURA's deliveries carry no AWS signature. MiniStack then looks for the API in its default
    account alone, where AWS finds it in whichever it is; the tests' stacks have one each."""
    from ministack.services import apigateway

    find_api_scope = attribute(apigateway, "find_api_scope")
    attribute(apigateway, "_apis")

    def find(api_id):
        owners = (key[:2] for key, _ in apigateway._apis.all_items() if key[2] == api_id)
        return find_api_scope(api_id) or next(owners, None)

    apigateway.find_api_scope = find


def leave_other_accounts_functions_alone() -> None:
    """To create a function, MiniStack ends the processes of that name, in whichever account. The
    tests deploy stacks of one name into an account each: one would kill another's deliveries."""
    from ministack.core.responses import get_account_id, get_region
    from ministack.services import lambda_svc

    invalidate_worker = attribute(lambda_svc, "invalidate_worker")

    def invalidate(name, qualifier=None, account=None, region=None):
        invalidate_worker(name, qualifier, account or get_account_id(), region or get_region())

    lambda_svc.invalidate_worker = invalidate


def keep_equal_packages_once() -> None:
    """MiniStack keeps what it stores in memory, for good. The tests' stacks have an account each,
    and so a copy of the functions' packages each: gigabytes of the same bytes."""
    from ministack.services import s3

    build_object_record = attribute(s3, "_build_object_record")
    kept: dict[bytes, bytes] = {}

    def build(body, *rest, **more):
        if len(body) > 1 << 20:
            body = kept.setdefault(body, body)
        return build_object_record(body, *rest, **more)

    s3._build_object_record = build


def keep_versions_of_secrets_as_aws_does() -> None:
    """A rotation begins with a version that has no value yet: MiniStack answers it as if it had
    one. It overwrites a version that has a value, and leaves a label that moves on both."""
    from ministack.core.responses import error_response_json, json_response
    from ministack.services import secretsmanager

    get_secret_value = attribute(secretsmanager, "_get_secret_value")
    put_secret_value = attribute(secretsmanager, "_put_secret_value")
    resolve = attribute(secretsmanager, "_resolve")
    remove_stage_everywhere = attribute(secretsmanager, "_remove_stage_everywhere")

    def get(data):
        answer = get_secret_value(data)
        if answer[0] == 200 and not json.loads(answer[2]).keys() & {"SecretString", "SecretBinary"}:
            asked = data.get("VersionId") or data.get("VersionStage", "AWSCURRENT")
            message = f"Secrets Manager can't find the specified secret value for {asked}."
            return error_response_json("ResourceNotFoundException", message, 400)
        return answer

    def put(data):
        _, secret = resolve(data.get("SecretId"))
        token = data.get("ClientRequestToken")
        version = secret["Versions"].get(token, {}) if secret else {}
        stored = [version.get(key) for key in ("SecretString", "SecretBinary")]
        if any(stored) and stored != [data.get("SecretString"), data.get("SecretBinary")]:
            message = f"The token {token} is that of a version with another value."
            return error_response_json("ResourceExistsException", message, 400)
        if any(stored):
            same = {"ARN": secret["ARN"], "Name": secret["Name"], "VersionId": token}
            return json_response({**same, "VersionStages": version["Stages"]})
        answer = put_secret_value(data)
        if answer[0] == 200:
            put = json.loads(answer[2])
            for stage in put["VersionStages"]:
                remove_stage_everywhere(secret, stage, put["VersionId"])
        return answer

    secretsmanager._get_secret_value = get
    secretsmanager._put_secret_value = put


def rotate_secrets_with_their_functions() -> None:
    """MiniStack's RotateSecret copies the current value and calls nobody. AWS gives a version
    without a value the label AWSPENDING, answers, and has the function rotate in four steps, up
    to the first that fails. A later call is refused then, and has that rotation tried again."""
    from ministack.core.responses import error_response_json, json_response, new_uuid
    from ministack.services import lambda_svc, secretsmanager

    describe_secret = attribute(secretsmanager, "_describe_secret")
    rotate_secret = attribute(secretsmanager, "_rotate_secret")
    resolve = attribute(secretsmanager, "_resolve")
    is_replica = attribute(secretsmanager, "_is_replica")
    find_stage_version = attribute(secretsmanager, "_find_stage_version")
    remove_stage_everywhere = attribute(secretsmanager, "_remove_stage_everywhere")
    find_function = attribute(lambda_svc, "_get_func_record_for_ref")
    execution_record = attribute(lambda_svc, "_execution_record_for_config")
    execute = attribute(lambda_svc, "_execute_function_with_config_scope")
    at_work = collections.defaultdict(threading.Lock)

    def is_incomplete(version):
        stages = version["Stages"] if version else ()
        return "AWSPENDING" in stages and "AWSCURRENT" not in stages

    def take(step, secret, token):
        function, config, _ = find_function(secret["RotationLambdaARN"])
        event = {"Step": step, "SecretId": secret["ARN"], "ClientRequestToken": token}
        return function and not execute(execution_record(function, config), event).get("error")

    def all_steps(secret, token):
        steps = ("createSecret", "setSecret", "testSecret", "finishSecret")
        if all(take(step, secret, token) for step in steps):
            secret["LastRotatedDate"] = int(time.time())

    def test_alone(secret, token):
        take("testSecret", secret, token)
        del secret["Versions"][token]

    def begin(work, secret, token):
        def run():
            with at_work[secret["ARN"]]:
                # Who was at work before may have done it.
                if is_incomplete(secret["Versions"].get(token)):
                    work(secret, token)

        # In the account and the region of this call.
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(run,), daemon=True).start()

    def refusal(arn):
        if not arn:
            return "InvalidRequestException", (
                "You tried to enable rotation on a secret that doesn't already have a Lambda "
                "function ARN configured and you didn't include such an ARN as a parameter in "
                "this call."
            )
        function = find_function(arn)[0] or {"policy": {"Statement": []}}
        principals = [statement["Principal"] for statement in function["policy"]["Statement"]]
        if {"Service": "secretsmanager.amazonaws.com"} not in principals:
            return "AccessDeniedException", (
                "Secrets Manager cannot invoke the specified Lambda function. Ensure that the "
                "function policy grants access to the principal secretsmanager.amazonaws.com."
            )
        return None

    def rotate(data):
        _, secret = resolve(data.get("SecretId"))
        if not secret or secret.get("DeletedDate") or is_replica(secret):
            return rotate_secret(data)  # MiniStack refuses these itself
        function = data.get("RotationLambdaARN") or secret.get("RotationLambdaARN")
        if refused := refusal(function):
            return error_response_json(*refused, 400)
        rules = data.get("RotationRules") or secret.get("RotationRules")
        secret.update(RotationLambdaARN=function, RotationRules=rules, RotationEnabled=True)
        token = data.get("ClientRequestToken") or new_uuid()
        pending, version = find_stage_version(secret, "AWSPENDING")
        if is_incomplete(version) and pending != token:
            begin(all_steps, secret, pending)
            message = "A previous rotation isn't complete. That rotation will be reattempted."
            return error_response_json("InvalidRequestException", message, 400)
        if token not in secret["Versions"]:
            remove_stage_everywhere(secret, "AWSPENDING")
            created = {"CreatedDate": int(time.time()), "Stages": ["AWSPENDING"]}
            secret["Versions"][token] = {"SecretString": None, "SecretBinary": None, **created}
        begin(all_steps if data.get("RotateImmediately", True) else test_alone, secret, token)
        return json_response({"ARN": secret["ARN"], "Name": secret["Name"], "VersionId": token})

    def describe(data):
        answer = describe_secret(data)
        _, secret = resolve(data.get("SecretId"))
        if answer[0] == 200 and "LastRotatedDate" in secret:
            rotated = {"LastRotatedDate": secret["LastRotatedDate"]}
            return json_response({**json.loads(answer[2]), **rotated})
        return answer

    secretsmanager._rotate_secret = rotate
    secretsmanager._describe_secret = describe


def keep_what_a_resource_that_stays_depends_on() -> None:
    """MiniStack's delete of a stack goes on below a resource that can't be deleted, down to the
    function of a custom resource, and no later delete can ask that. On AWS what it depends on
    stays."""
    from ministack.services import cloudformation
    from ministack.services.cloudformation import stacks

    delete_resource = attribute(stacks, "_delete_resource")
    with_dependencies = attribute(stacks, "_with_dependencies")

    def delete(kind, physical_id, properties, stack_name, logical_id, *rest):
        stack = attribute(cloudformation, "_stacks").get(stack_name) or {}
        resources = stack.get("_resources", {})
        # What failed in an earlier delete comes before what it depends on: it is gone by now, or
        # has failed again.
        failed = [
            name
            for name, resource in resources.items()
            if resource.get("ResourceStatus") == "DELETE_FAILED" and name != logical_id
        ]
        definitions = stack.get("_template", {}).get("Resources", {})
        deleting = stack.get("StackStatus") == "DELETE_IN_PROGRESS"
        if deleting and logical_id in with_dependencies(failed, definitions, set(resources)):
            raise RuntimeError("a resource that depends on it could not be deleted")
        return delete_resource(kind, physical_id, properties, stack_name, logical_id, *rest)

    stacks._delete_resource = delete


def ask_iam_for_what_aws_asks_for() -> None:
    """Where IAM decides (AUTH=true), MiniStack asks for permissions that AWS doesn't have: for a
    batch of messages one of its own, and for a bus that is described one on a rule of its name."""
    from ministack.core import iam_actions

    extract_action = attribute(iam_actions, "extract_iam_action")
    extract_resource = attribute(iam_actions, "extract_resource_arn")

    def action(service, *request):
        found = extract_action(service, *request)
        return found.removesuffix("Batch") if found and service == "sqs" else found

    def resource(service, method, path, headers, *rest):
        found = extract_resource(service, method, path, headers, *rest)
        is_bus = service == "events" and headers.get("x-amz-target", "").endswith("EventBus")
        return found.replace(":rule/default/", ":event-bus/") if is_bus else found

    iam_actions.extract_iam_action = action
    iam_actions.extract_resource_arn = resource


def tell_iam_the_leading_keys() -> None:
    """MiniStack's IAM knows conditions and not dynamodb:LeadingKeys, so that every such condition
    with ForAllValues holds. On AWS the key has the partition keys of the items that are asked for:
    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/specifying-conditions.html"""
    from ministack.core import iam_actions
    from ministack.services import dynamodb

    service_context = attribute(iam_actions, "dynamodb_service_context")
    tables = attribute(dynamodb, "_tables")

    def leading_keys(request):
        table = tables.get(request["TableName"].rsplit("/", 1)[-1]) or {"KeySchema": []}
        for name in (key["AttributeName"] for key in table["KeySchema"] if key["KeyType"] == "HASH"):
            for item in (request.get("Key"), request.get("Item")):
                yield from (item or {}).get(name, {}).values()
            names = request.get("ExpressionAttributeNames", {})
            for one in request.get("KeyConditionExpression", "").split(" AND "):
                key, _, value = (part.strip() for part in one.partition("="))
                if names.get(key, key) == name:
                    yield from request["ExpressionAttributeValues"][value].values()

    def context(body):
        request = json.loads(body or b"{}")
        requests = [one for item in request.get("TransactItems", []) for one in item.values()]
        requests.extend([request] if "TableName" in request else [])
        for table, wanted in request.get("RequestItems", {}).items():
            keys = wanted.get("Keys", []) if isinstance(wanted, dict) else []
            requests.extend({"TableName": table, "Key": key} for key in keys)
        keys = [key for one in requests for key in leading_keys(one)]
        return {**service_context(body), **({"dynamodb:LeadingKeys": keys} if keys else {})}

    iam_actions.dynamodb_service_context = context


def ask_roles_for_what_services_do_in_their_names() -> None:
    """Lambda polls a queue and writes logs with a function's role, and Secrets Manager decrypts a
    secret with a key of the customer's in the caller's name. Where IAM decides, MiniStack asks for
    none of these permissions. AWS does, and leaves messages where they are, log lines unwritten and
    secrets unread, with the words "Access to KMS is not allowed":
    https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html#events-sqs-permissions
    https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs.html
    https://docs.aws.amazon.com/secretsmanager/latest/userguide/security-encryption.html"""
    from ministack import app
    from ministack.core import iam_evaluator
    from ministack.core.responses import error_response_json, get_account_id, get_region
    from ministack.services import lambda_svc, secretsmanager

    role_policies = attribute(iam_evaluator, "_gather_role_policies")
    esm_concurrency = attribute(lambda_svc, "_sqs_esm_concurrency")
    emit_lambda_logs = attribute(lambda_svc, "_emit_lambda_logs")
    get_secret_value = attribute(secretsmanager, "_get_secret_value")
    resolve = attribute(secretsmanager, "_resolve")

    def may(role, actions, resource):
        """Whether a role, by its name, may do all of this."""
        account = get_account_id()
        policies = role_policies(role, account) if app.AUTH else None

        def is_allowed(action):
            context = iam_evaluator.EvalContext(
                principal_arn=f"arn:aws:iam::{account}:role/{role}",
                principal_type="AssumedRole",
                principal_account=account,
                action=action,
                resource_arn=resource,
                region=get_region(),
            )
            return iam_evaluator.evaluate(context, policies).decision == "Allow"

        return not app.AUTH or all(map(is_allowed, actions))

    def role_of(function):
        return (function.get("config") or function).get("Role", "").rsplit("/", 1)[-1]

    def concurrency(mapping, function, config, source):
        # Each message has the queues of all accounts looked at, and nearly all are empty.
        actions = ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes")
        if source["messages"] and may(role_of(function), actions, mapping["EventSourceArn"]):
            return esm_concurrency(mapping, function, config, source)
        return 0

    def emit(function, *rest, **more):
        config = function.get("config") or function
        group = config.get("LoggingConfig", {}).get("LogGroup")
        arn = f"arn:aws:logs:{get_region()}:{get_account_id()}:log-group:{group}:log-stream:any"
        actions = ("logs:CreateLogStream", "logs:PutLogEvents")
        if group is None or may(role_of(function), actions, arn):
            emit_lambda_logs(function, *rest, **more)

    def get(data):
        _, secret = resolve(data.get("SecretId"))
        caller = iam_evaluator.caller_arn()
        key = (secret or {}).get("KmsKeyId")
        is_role = ":assumed-role/" in caller
        if key and is_role and not may(caller.split("/")[1], ["kms:Decrypt"], key):
            return error_response_json("AccessDeniedException", "Access to KMS is not allowed", 400)
        return get_secret_value(data)

    lambda_svc._sqs_esm_concurrency = concurrency
    lambda_svc._emit_lambda_logs = emit
    secretsmanager._get_secret_value = get


def tell_functions_their_names() -> None:
    """Where IAM decides, a function's keys don't tell its account, which `cargo local` looks for
    to find a function's processes."""
    from ministack.services import lambda_svc

    worker_env = attribute(lambda_svc, "_provided_worker_env")

    def env(config, *rest):
        return {**worker_env(config, *rest), "_LAMBDA_FUNCTION_ARN": config["FunctionArn"]}

    lambda_svc._provided_worker_env = env


def keep_web_pages_out() -> None:
    """A browser lets any web page send requests to 127.0.0.1, and with a name that its owner points
    there once it is loaded (DNS rebinding) read the answers, too. MiniStack takes them all, and runs
    code. Only what asks for this machine by a name that nobody else can own gets in here, and only if
    no browser says that it comes from elsewhere. AURA's stand-in has the same rules, in its `pages`.
    The Runtime API, where functions ask for work, is a server of its own for each process."""
    from ministack import app
    from ministack.core.lambda_runtime import ProvidedWorker

    take = attribute(app, "app")
    build_handler_class = attribute(ProvidedWorker, "_build_handler_class")
    # Functions inherit the environment, and need none of this.
    also_on = os.environ.pop("ALSO_ON", "")

    async def take_own(scope, receive, send):
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope.get("headers", ())]
        if scope["type"] == "lifespan" or not is_foreign(headers, also_on):
            await take(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close"})  # before it is accepted, that is a 403
        else:
            kind = [(b"content-type", b"text/plain; charset=utf-8")]
            await send({"type": "http.response.start", "status": 403, "headers": kind})
            await send({"type": "http.response.body", "body": FOREIGN.encode()})

    def build(self, generation, pending):
        handler = build_handler_class(self, generation, pending)
        parse_request = handler.parse_request

        def parse_own(request):
            if not parse_request(request):
                return False  # it has been refused already
            if is_foreign(request.headers.items(), ""):
                request.send_error(403, FOREIGN)
                return False
            return True

        handler.parse_request = parse_own
        return handler

    app.app = take_own
    ProvidedWorker._build_handler_class = build


FOREIGN = "Web pages, and names of other machines, are not let in: see infra/stack/ministack.py"


def is_foreign(headers, also_on: str) -> bool:
    """Whether a request is a foreign page's, or asks for another machine than this one. By `also_on`,
    the address of a bridge, containers come."""
    values = collections.defaultdict(list)
    for name, value in headers:
        values[name.lower()].append(value)
    hosts = [host_of("http://" + host) for host in values["host"]]
    origins = [host_of(origin) for origin in values["origin"]]
    return not (
        hosts
        and all(is_own(host) or host in {"host.docker.internal", also_on} - {""} for host in hosts)
        and all(map(is_own, origins))
        and "cross-site" not in map(str.lower, values["sec-fetch-site"])
    )


def host_of(url: str) -> str:
    """The host of a URL of scheme, host and maybe port; nothing if it is another."""
    found = re.fullmatch(r"https?://(\[[^\]]*\]|[^][:/\\@?#]*)(:\d*)?", url)
    return found[1].strip("[]").lower() if found else ""


def is_own(host: str) -> bool:
    name = host.rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


BENDS = (
    answer_functions_at_once,
    take_log_lines_at_once,
    look_at_queues_at_once,
    start_few_functions_at_once,
    end_idle_functions,
    find_apis_of_every_account,
    leave_other_accounts_functions_alone,
    keep_equal_packages_once,
    keep_versions_of_secrets_as_aws_does,
    rotate_secrets_with_their_functions,
    keep_what_a_resource_that_stays_depends_on,
    ask_iam_for_what_aws_asks_for,
    tell_iam_the_leading_keys,
    ask_roles_for_what_services_do_in_their_names,
    tell_functions_their_names,
    keep_web_pages_out,
)


def attribute(owner, name: str):
    try:
        return getattr(owner, name)
    except AttributeError:
        sys.exit(f"ministack.py: there is no {owner.__name__}.{name} in MiniStack {VERSION} to bend")


if __name__ == "__main__":
    sys.exit(main())
