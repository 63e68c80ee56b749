"""EventBridge: events that a rule posts to an HTTP backend."""

import contextvars
import email.utils
import http.client
import http.server
import json
import os
import random
import socket
import threading
import time
import urllib.error
import urllib.request
from typing import NamedTuple
from unittest import mock

from ministack import app
from ministack.services import eventbridge, sqs
from ministack.services.cloudformation import provisioners

from patches.events import DELIVERY, count, fail
from patches.iam import may
from patches.patch import Patch

# The factor by which the waits between two tries are shorter than on AWS.
FACTOR = float(os.environ.get("RETRIES_DIVIDED_BY") or 1)
# The longest wait between two tries, in seconds. 185 tries then take nearly a day. AWS tells no more of its
# waits than that they grow and are random.
LONGEST_WAIT = 600
# The statuses after which EventBridge tries again, beside all from 500 on.
RETRIED = {401, 407, 409, 429}
# How long a backend may take to answer, in seconds.
TIMEOUT = 5
# When the next request to each destination may go, by the destination's ARN.
NEXT, PACING = {}, threading.Lock()


@Patch
def take_api_destinations_from_templates():
    """Upstream: MiniStack refuses a template with a connection or an API destination.

    Reason: the template has both, to forward events to a backend."""
    handlers = provisioners._RESOURCE_HANDLERS
    for kind, service, arn in (
        ("Connection", "connection", "ConnectionArn"),
        ("ApiDestination", "api_destination", "ApiDestinationArn"),
    ):
        handlers[f"AWS::Events::{kind}"] = handler(service, arn)


def handler(service: str, arn: str) -> dict:
    """What CloudFormation does with a resource of EventBridge that has a name."""

    def call(verb, data):
        status, _, body = getattr(eventbridge, f"_{verb}_{service}")(data)
        if status >= 400:
            raise ValueError(f"{verb} {service}: {body!r}")
        return data["Name"], {"Arn": json.loads(body).get(arn)}

    def create(logical_id, properties, stack):
        name = properties.get("Name") or provisioners._physical_name(stack, logical_id, max_len=64)
        return call("create", {**properties, "Name": name})

    def update(name, _old, properties, _stack):
        return call("update", {**properties, "Name": name})

    def delete(name, _properties):
        call("delete", {"Name": name})

    return {"create": create, "update": update, "delete": delete}


@take_api_destinations_from_templates.needed_while
def a_template_with_an_api_destination_is_refused():
    handlers = provisioners._RESOURCE_HANDLERS
    if "AWS::Events::ApiDestination" not in handlers:
        return True
    connection, attributes = handlers["AWS::Events::Connection"]["create"]("Checked", {}, "stack")
    properties = {"ConnectionArn": attributes["Arn"], "InvocationEndpoint": "https://example.com"}
    name, _ = handlers["AWS::Events::ApiDestination"]["create"]("Checked", properties, "stack")
    handlers["AWS::Events::ApiDestination"]["update"](name, properties, {**properties, "HttpMethod": "PUT"}, "stack")
    is_updated = eventbridge._api_destinations[name]["HttpMethod"] == "PUT"
    handlers["AWS::Events::ApiDestination"]["delete"](name, properties)
    handlers["AWS::Events::Connection"]["delete"](connection, {})
    return not is_updated or name in eventbridge._api_destinations or connection in eventbridge._connections


class Failure(NamedTuple):
    """Why a backend didn't take an event."""

    code: str
    message: str
    # Whether EventBridge tries again, and the seconds that the backend asks it to wait.
    is_retried: bool = False
    wait: float = 0


@Patch
def try_api_destinations_again():
    """Upstream: MiniStack posts an event to an API destination once, in a thread. An event that the backend
    doesn't take is dropped. It looks neither at the rate limit nor at the target's role.

    Reason: AWS tries for 24 hours and 185 times, then puts the event among the dead letters. Statuses other
    than 401, 407, 409, 429 and 5xx are not tried again, and a name that can't be resolved isn't either. The
    header Retry-After is honoured; a negative one ends the tries:
    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-api-destinations.html
    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-retry-policy.html
    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html
    An event's age counts the waits as they are on AWS. If AUTH isn't true, every role may do everything."""

    def dispatch(spec, payload, target):
        _, rule, view = DELIVERY.get()
        about = (spec, payload, target, rule, view.event_with_detail())
        # Account and region are in the context.
        run = contextvars.copy_context().run
        threading.Thread(target=run, args=(deliver, *about), daemon=True).start()

    eventbridge._dispatch_to_api_destination = dispatch


def deliver(spec, payload: str, target: dict, rule: dict, event: dict) -> None:
    """Posts an event until the backend takes it, or until the target's retry policy ends."""
    policy = {name: int(value) for name, value in (target.get("RetryPolicy") or {}).items()}
    most, oldest = policy.get("MaximumRetryAttempts", 185), policy.get("MaximumEventAgeInSeconds", 86400)
    age, retries = 0, 0
    while failure := attempt(spec, payload, target):
        wait = max(failure.wait, random.uniform(0.5, 1) * min(LONGEST_WAIT, 2**retries))
        exhausted = "MaximumRetryAttempts" if retries >= most else "MaximumEventAgeInSeconds"
        if not failure.is_retried or retries >= most or age + wait > oldest:
            error = {"ERROR_CODE": failure.code, "ERROR_MESSAGE": failure.message, "RETRY_ATTEMPTS": str(retries)}
            error |= {"EXHAUSTED_RETRY_CONDITION": exhausted} if failure.is_retried else {}
            return fail(target, rule, event, error)
        time.sleep(wait / FACTOR)
        age, retries = age + wait, retries + 1
        count(rule, "RetryInvocationAttempts")
    return None


def attempt(spec, payload: str, target: dict) -> Failure | None:
    """Posts an event once. None if the backend took it."""
    # A later change of either is for the events that wait, too.
    destination = eventbridge._api_destinations.get(spec.resource.split("/")[1]) or {}
    name = destination.get("ConnectionArn", "").rsplit("/", 1)[-1]
    connection = eventbridge._connections.get(name)
    if not connection:
        return Failure("NO_RESOURCE", "The API destination or its connection does not exist.")
    arn = destination["ApiDestinationArn"]
    if not may(target.get("RoleArn", "").rsplit("/", 1)[-1], ["events:InvokeApiDestination"], arn):
        return Failure("NO_PERMISSIONS", "The role may not perform: events:InvokeApiDestination")
    # A template's numbers may be text.
    time.sleep(reserve(arn, float(destination["InvocationRateLimitPerSecond"]), time.monotonic()))
    parts = eventbridge._build_api_destination_request(destination, connection, target["HttpParameters"], payload)
    headers = {**parts["headers"], **eventbridge._connection_auth_headers(connection, name)}
    headers = eventbridge._finalize_api_dest_headers(headers)
    request = urllib.request.Request(parts["url"], parts["body"].encode(), headers, method=parts["method"])
    try:
        # It checks certificates, and follows no redirects.
        with eventbridge._http_open(request, TIMEOUT):
            return None
    except urllib.error.HTTPError as answer:
        with answer:
            wait = seconds(answer.headers.get("Retry-After"))
            is_retried = (answer.code in RETRIED or answer.code >= 500) and wait >= 0
            return unable(f"status {answer.code}", is_retried, wait)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        # A name that can't be resolved is not tried again.
        return unable(f"no answer ({type(reason).__name__})", not isinstance(reason, socket.gaierror))


def unable(why: str, is_retried: bool, wait: float = 0) -> Failure:
    return Failure("SDK_CLIENT_ERROR", f"Unable to invoke ApiDestination endpoint: {why}", is_retried, wait)


def seconds(retry_after: str | None) -> float:
    """The seconds of the header Retry-After, which has a number or a date."""
    if not retry_after or retry_after.lstrip("-").isdecimal():
        return float(retry_after or 0)
    try:
        return max(0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return 0


def reserve(arn: str, per_second: float, now: float) -> float:
    """Reserves the next place in a destination's rate. Returns the seconds until then."""
    with PACING:
        at = max(NEXT.get(arn, 0), now)
        NEXT[arn] = at + 1 / per_second
        return at - now


class Backend(http.server.BaseHTTPRequestHandler):
    """A backend for the checks. It answers with one status after the other, and keeps what came."""

    def do_POST(self):
        self.server.came.append(self.headers.get("x-checked"))
        self.send_response(self.server.statuses.pop(0))
        self.send_header("Location", "/")
        self.end_headers()

    def log_message(self, *_):
        pass


def posts(*statuses: int, auth: bool = False) -> tuple[int, list]:
    """How often a backend that answers like this got an event, and the dead letters' attributes."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Backend) as server, mock.patch.object(app, "AUTH", auth):
        server.came, server.statuses = [], list(statuses)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        key = {"ApiKeyAuthParameters": {"ApiKeyName": "x-checked", "ApiKeyValue": "secret"}}
        connection = {"Name": "checked", "AuthorizationType": "API_KEY", "AuthParameters": key}
        eventbridge._connections.pop("checked", None)
        eventbridge._api_destinations.pop("checked", None)
        arn = json.loads(eventbridge._create_connection(connection)[2])["ConnectionArn"]
        url = f"http://127.0.0.1:{server.server_port}/"
        destination = {"Name": "checked", "ConnectionArn": arn, "InvocationEndpoint": url, "HttpMethod": "POST"}
        arn = json.loads(eventbridge._create_api_destination(destination)[2])["ApiDestinationArn"]
        dead = sqs._queues[sqs._act_create_queue({"QueueName": "forwarded"}, "")["QueueUrl"]]
        dead.update(messages=[], attributes={**dead["attributes"], "Policy": ""})
        target = {"Arn": arn, "DeadLetterConfig": {"Arn": dead["attributes"]["QueueArn"]}}
        target |= {"RetryPolicy": {"MaximumRetryAttempts": 2}}
        rule = {"Name": "checked", "Arn": "arn:aws:events:us-east-1:000000000000:rule/checked"}
        with mock.patch(f"{__name__}.FACTOR", 3600), mock.patch.object(sqs, "queue_policy_allows", lambda *_: True):
            eventbridge._invoke_target(target, {"Source": "checked", "Detail": "{}"}, rule)
            until = time.monotonic() + 1
            while server.statuses and not dead["messages"] and time.monotonic() < until:
                time.sleep(0.01)
            time.sleep(0.1)  # nothing more may come
        server.shutdown()
    return len(server.came), [message["message_attributes"] for message in dead["messages"]]


@try_api_destinations_again.needed_while
def an_event_that_a_backend_refuses_for_a_while_is_not_posted_again():
    return posts(503, 429, 200) != (3, [])


@try_api_destinations_again.needed_while
def an_event_that_a_backend_never_takes_is_not_among_the_dead_letters():
    came, dead = posts(500, 500, 500, 200)
    found = [one["EXHAUSTED_RETRY_CONDITION"]["StringValue"] for one in dead]
    return (came, found) != (3, ["MaximumRetryAttempts"])


@try_api_destinations_again.needed_while
def a_redirect_does_not_end_among_the_dead_letters():
    came, dead = posts(302, 200)
    return (came, len(dead)) != (1, 1)


@try_api_destinations_again.needed_while
def a_role_without_permission_may_post():
    came, dead = posts(200, auth=True)
    return (came, len(dead)) != (0, 1)


@try_api_destinations_again.needed_while
def a_rate_limit_is_not_kept():
    NEXT.clear()
    waits = [reserve("checked", 2, 10) for _ in range(2)]
    # So long does no check wait for a post.
    with mock.patch(f"{__name__}.reserve", return_value=60) as reserved:
        came, _ = posts(200)
    rates = [call.args[1] for call in reserved.call_args_list]
    return (came, rates, waits) != (0, [300], [0, 0.5])
