"""Calls the local AWS with botocore, for `cargo local`, `cargo prove` and the end-to-end tests.

It reads requests from standard input, one JSON object a line, and serves each in a thread of its own.
It answers on standard output in the same form: any number of `{"id", "note"}`, then one
`{"id", "answer"}` or `{"id", "error"}`. It ends when standard input closes, and with it whatever runs.

No call can reach a real account: each request gives endpoint, region and credentials, and nothing
else is looked at.
"""

import functools
import json
import os
import sys
import threading
import time
import uuid

# Before botocore is imported. There are no configuration files, and no models of the user's own.
os.environ.update(
    HOME="/nonexistent",
    AWS_CONFIG_FILE=os.devnull,
    AWS_SHARED_CREDENTIALS_FILE=os.devnull,
    AWS_EC2_METADATA_DISABLED="true",
)

import botocore.session  # noqa: E402
from botocore.config import Config  # noqa: E402
from botocore.exceptions import ClientError  # noqa: E402

# For one try of a call: only a MiniStack that hangs needs as long.
CALL_SECONDS = 60
# How long an operation on a stack may take. Its slowest part, the custom resource, has a timeout
# of its own that is shorter.
OPERATION_SECONDS = 300
POLL_SECONDS = 0.1
# Reading a stack's events costs more than reading its status.
POLLS_PER_NOTE = 5
# The template makes roles, gives them names, and uses the SAM transform.
CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"]

SESSION = botocore.session.Session()
MAKING_A_CLIENT = threading.Lock()
WRITING = threading.Lock()


class Refused(Exception):
    """A request that can't be fulfilled, in words for people."""


@functools.lru_cache(maxsize=128)
def make_client(service: str, endpoint: str, region: str, key: str, secret: str):
    # An invocation whose answer is lost has run: it isn't repeated.
    attempts = 1 if service == "lambda" else 3
    return SESSION.create_client(
        service,
        endpoint_url=endpoint,
        region_name=region,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=Config(
            read_timeout=CALL_SECONDS,
            retries={"mode": "standard", "total_max_attempts": attempts},
            # A checksum or a digest that nobody asked for costs seconds for a debug build's packages.
            request_checksum_calculation="when_required",
            # `*.localhost` needs no name resolution with the bucket in the path.
            s3={"addressing_style": "path", "payload_signing_enabled": False},
            proxies={},
        ),
    )


class Account:
    """The account that a request is for."""

    def __init__(self, request: dict):
        names = ("endpoint", "region", "accessKeyId", "secretAccessKey")
        self.given = [request.get(name) for name in names]
        if not all(self.given):
            raise Refused(f"a request needs {', '.join(names)}")

    def client(self, service: str):
        with MAKING_A_CLIENT:  # a session isn't safe for threads
            return make_client(service, *self.given)


def call(account: Account, request: dict, _note):
    """Any operation of any service, all pages of it."""
    client, operation = account.client(request["service"]), request["operation"]
    if client.can_paginate(operation):
        return client.get_paginator(operation).paginate(**request["arguments"]).build_full_result()
    return getattr(client, operation)(**request["arguments"])


def deploy(account: Account, request: dict, note):
    """Creates or updates a stack. An update that changes nothing is none."""
    note("uploading")
    url = upload(account, **request["upload"])
    note("calling CloudFormation")
    parameters = request["parameters"].items()
    token = str(uuid.uuid4())
    arguments = {
        "StackName": request["stack"],
        "TemplateURL": url,
        "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters],
        "Capabilities": CAPABILITIES,
        "ClientRequestToken": token,
    }
    cloudformation = account.client("cloudformation")
    found = describe_with(cloudformation, request["stack"])
    if found is None:
        outcome = "created"
        cloudformation.create_stack(**arguments)
    else:
        outcome = "updated"
        try:
            cloudformation.update_stack(**arguments)
        except ClientError as error:
            if "No updates are to be performed" not in str(error):
                raise
            return {"outcome": "is up to date", "stack": {**found, "status": "UPDATE_COMPLETE"}}
    return {"outcome": outcome, "stack": wait(cloudformation, request["stack"], token, note)}


def upload(account: Account, bucket: str, packages: dict, template: str) -> str:
    """The template's URL: CloudFormation takes no more than 51,200 bytes of template in a call.
    A package's key names its content, so a package that is there stays as it is."""
    s3 = account.client("s3")
    try:
        s3.create_bucket(Bucket=bucket)
    except s3.exceptions.BucketAlreadyOwnedByYou:
        pass
    for key, path in packages.items():
        try:
            s3.head_object(Bucket=bucket, Key=key)
        except ClientError:
            with open(path, "rb") as package:
                s3.put_object(Bucket=bucket, Key=key, Body=package)
    s3.put_object(Bucket=bucket, Key="template.yaml", Body=template.encode())
    return f"{account.given[0]}/{bucket}/template.yaml"


def delete(account: Account, request: dict, note):
    """Deletes a stack and waits until it is gone."""
    cloudformation, token = account.client("cloudformation"), str(uuid.uuid4())
    cloudformation.delete_stack(StackName=request["stack"], ClientRequestToken=token)
    return wait(cloudformation, request["stack"], token, note)


def describe(account: Account, request: dict, _note):
    """A stack's status, parameters and outputs; nothing if there is no such stack."""
    return describe_with(account.client("cloudformation"), request["stack"])


def describe_with(cloudformation, name: str):
    try:
        stack = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise
    parameters, outputs = stack.get("Parameters", []), stack.get("Outputs", [])
    return {
        "status": stack["StackStatus"],
        "parameters": {its["ParameterKey"]: its["ParameterValue"] for its in parameters},
        "outputs": {its["OutputKey"]: its["OutputValue"] for its in outputs},
        "events": [],
    }


def wait(cloudformation, name: str, token: str, note):
    """The stack at the operation's end, with the operation's events, the newest first, if the end
    may be a failure. The token tells these events from earlier operations' events."""

    def events():
        pages = cloudformation.get_paginator("describe_stack_events").paginate(StackName=name)
        events = pages.build_full_result()["StackEvents"]
        return [event for event in events if event.get("ClientRequestToken") == token]

    deadline = time.monotonic() + OPERATION_SECONDS
    polls = 0
    while True:
        stack = describe_with(cloudformation, name)
        if stack is None:
            return {"status": "DELETE_COMPLETE", "parameters": {}, "outputs": {}, "events": []}
        status = stack["status"]
        if not status.endswith("_IN_PROGRESS"):
            succeeded = status in ("CREATE_COMPLETE", "UPDATE_COMPLETE", "DELETE_COMPLETE")
            return stack if succeeded else {**stack, "events": events()}
        if time.monotonic() > deadline:
            raise Refused(f"stack {name} is still {status} after {OPERATION_SECONDS} s")
        polls += 1
        if polls % POLLS_PER_NOTE == 0 and (newest := next(iter(events()), None)):
            status = newest["ResourceStatus"].lower().replace("_", " ")
            note(f"{newest['LogicalResourceId']} {status}")
        time.sleep(POLL_SECONDS)


REQUESTS = {"call": call, "deploy": deploy, "delete": delete, "describe": describe}


def serve(request: dict) -> None:
    def say(**what) -> None:
        line = json.dumps({"id": request["id"], **what}, default=plain)
        with WRITING:
            print(line, flush=True)

    try:
        account = Account(request)
        say(answer=REQUESTS[request["do"]](account, request, lambda note: say(note=note)))
    except Refused as error:
        say(error=str(error))
    except ClientError as error:
        said = error.response["Error"].get("Message", error)
        say(error=f"{error.operation_name} was refused: {said}")
    except Exception as error:  # whoever asked has to hear of it, whatever it is
        say(error=f"{request['do']} failed: {type(error).__name__}: {error}")


def plain(value):
    """What JSON has no form for: a time, and a body."""
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return (value if isinstance(value, bytes) else value.read()).decode()


def main() -> None:
    for line in sys.stdin:
        threading.Thread(target=serve, args=(json.loads(line),), daemon=True).start()
    # Not `sys.exit`: nothing that still runs matters to anybody.
    os._exit(0)


if __name__ == "__main__":
    main()
