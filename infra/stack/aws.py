"""Calls the local AWS with botocore, for `cargo local`, `cargo prove` and the end-to-end tests.

It reads requests from standard input, one JSON object a line, and serves each in its own thread. It
answers on standard output in the same form: any number of `{"id", "note"}`, then one
`{"id", "answer"}` or `{"id", "error"}`. When standard input closes, it ends at once and drops the
requests that it still serves.

No call can reach a real account: endpoint, region and credentials come only from the request, and the number of
the account that keeps the packages is made up.
"""

import functools
import json
import os
import sys
import threading
import time
import urllib.parse
import uuid

# These are set before botocore is imported, so that it reads neither configuration files nor models of
# the user.
os.environ.update(
    HOME="/nonexistent",
    AWS_CONFIG_FILE=os.devnull,
    AWS_SHARED_CREDENTIALS_FILE=os.devnull,
    AWS_EC2_METADATA_DISABLED="true",
)

import botocore.session  # noqa: E402
from botocore.config import Config  # noqa: E402
from botocore.exceptions import ClientError  # noqa: E402

# The timeout of one try of a call. Only a MiniStack that hangs takes as long.
CALL_SECONDS = 60
# How long an operation on a stack may take. The custom resource, the slowest part, has a shorter
# timeout of its own.
OPERATION_SECONDS = 300
POLL_SECONDS = 0.1
# Events are read only at every fifth look, because reading them costs more than reading the status.
POLLS_PER_NOTE = 5
# The account that has the bucket of packages and templates.
OWNER_OF_PACKAGES = "000000000000"
# The template creates roles, gives them names, and uses the SAM transform.
CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"]

SESSION = botocore.session.Session()
MAKING_A_CLIENT = threading.Lock()
WRITING = threading.Lock()


class Refused(Exception):
    """A request that can't be fulfilled. The text is for people."""


@functools.lru_cache(maxsize=128)
def make_client(service: str, endpoint: str, region: str, key: str, secret: str):
    # An invocation is never tried again: if only its answer was lost, the function has run.
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
            # For the packages of a debug build, checksums and digests would take seconds.
            request_checksum_calculation="when_required",
            # The bucket is in the path, because a host name such as `bucket.localhost` may not resolve.
            s3={"addressing_style": "path", "payload_signing_enabled": False},
            proxies={},
        ),
    )


class Account:
    """The account that a request is for."""

    def __init__(self, request: dict):
        names = ("endpoint", "region", "accessKeyId", "secretAccessKey")
        given = [request.get(name) for name in names]
        if not all(given):
            raise Refused(f"a request needs {', '.join(names)}")
        self.endpoint, self.region, self.id, self.secret = given
        if urllib.parse.urlsplit(self.endpoint).hostname != "127.0.0.1":
            raise Refused(f"{self.endpoint} is not the local AWS: its endpoint is at 127.0.0.1")

    def client(self, service: str, of: str | None = None):
        """A client for this account, or for another one."""
        with MAKING_A_CLIENT:  # a session isn't thread-safe
            return make_client(service, self.endpoint, self.region, of or self.id, self.secret)


def call(account: Account, request: dict, _note):
    """Calls any operation of any service, and returns all pages."""
    client, operation = account.client(request["service"]), request["operation"]
    if client.can_paginate(operation):
        return client.get_paginator(operation).paginate(**request["arguments"]).build_full_result()
    return getattr(client, operation)(**request["arguments"])


def deploy(account: Account, request: dict, note):
    """Creates or updates a stack. An update that changes nothing succeeds."""
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
    """Uploads the packages and the template, and returns the template's URL: in a call itself,
    CloudFormation takes at most 51,200 bytes of template. All accounts read from the bucket of one. A
    package's key changes with its content, so a package that is there already isn't uploaded again."""
    s3 = account.client("s3", of=OWNER_OF_PACKAGES)
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
    key = f"{account.id}.yaml"
    s3.put_object(Bucket=bucket, Key=key, Body=template.encode())
    return f"{account.endpoint}/{bucket}/{key}"


def delete(account: Account, request: dict, note):
    """Deletes a stack and waits until it is gone."""
    cloudformation, token = account.client("cloudformation"), str(uuid.uuid4())
    cloudformation.delete_stack(StackName=request["stack"], ClientRequestToken=token)
    return wait(cloudformation, request["stack"], token, note)


def describe(account: Account, request: dict, _note):
    """A stack's status, parameters and outputs; `None` if there is no such stack."""
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
    """Waits until the operation ends, and returns the stack. After a failure this has the operation's
    events, the newest first. The token tells them from the events of earlier operations."""

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
    except Exception as error:  # the caller must get an answer, whatever fails
        say(error=f"{request['do']} failed: {type(error).__name__}: {error}")


def plain(value):
    """The text of a value that JSON has no form for: a time or a body."""
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return (value if isinstance(value, bytes) else value.read()).decode()


def main() -> None:
    for line in sys.stdin:
        threading.Thread(target=serve, args=(json.loads(line),), daemon=True).start()
    # This ends at once, unlike `sys.exit`. Nobody needs the answers of requests that still run.
    os._exit(0)


if __name__ == "__main__":
    main()
