"""EventBridge: events that a rule can't put into its target's queue."""

import contextvars
import json
import time
from unittest import mock

from ministack import app
from ministack.core.arn import parse_arn
from ministack.core.responses import new_uuid
from ministack.services import cloudwatch, eventbridge, sqs

from patches.metrics import record, statistics
from patches.patch import Patch

# The target, the rule and the event of the delivery that is under way.
DELIVERY = contextvars.ContextVar("delivery")


@Patch
def refuse_events_that_a_queue_does_not_allow():
    """Upstream: MiniStack puts an event into a queue whatever the queue's policy says, and drops it if
    there is no such queue.

    Reason: AWS tries neither again. The event goes to the target's dead letter queue, if the policy of
    that one allows it:
    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html
    If AUTH isn't true, every policy allows everything here, too."""
    invoke_target = eventbridge._invoke_target
    dispatch_to_sqs = eventbridge._dispatch_to_sqs

    def invoke(target, event, rule, view=None):
        DELIVERY.set((target, rule, view or eventbridge._pattern_event_view(event)))
        invoke_target(target, event, rule, view)

    def dispatch(spec, payload, parameters=None):
        target, rule, view = DELIVERY.get()
        error = refusal(spec, rule)
        if not error:
            return dispatch_to_sqs(spec, payload, parameters)
        fail(target, rule, view.event_with_detail(), error)
        return None

    eventbridge._invoke_target = invoke
    eventbridge._dispatch_to_sqs = dispatch


def fail(target: dict, rule: dict, event: dict, error: dict) -> None:
    """Puts an event that a target didn't take among the target's dead letters, with the error."""
    count(rule, "FailedInvocations")
    dead_letters = (target.get("DeadLetterConfig") or {}).get("Arn")
    if not dead_letters:
        return
    if refusal(parse_arn(dead_letters), rule):
        count(rule, "InvocationsFailedToBeSentToDlq")
        return
    count(rule, "InvocationsSentToDlq")
    about = {**error, "RULE_ARN": rule["Arn"], "TARGET_ARN": target["Arn"]}
    attributes = {name: {"DataType": "String", "StringValue": value} for name, value in about.items()}
    message = {"id": new_uuid(), "body": json.dumps(event), "message_attributes": attributes}
    message |= {"sent_at": time.time(), "md5_attrs": sqs._md5_msg_attrs(attributes)}
    sqs._ensure_msg_fields(message)
    sqs._queue_by_arn(dead_letters)["messages"].append(message)


def refusal(spec, rule: dict) -> dict | None:
    """Why a rule can't put an event into a queue, in the words of AWS; None if it can."""
    if not sqs._queue_by_arn(str(spec)):
        return {"ERROR_CODE": "NO_RESOURCE", "ERROR_MESSAGE": "The specified queue does not exist."}
    if not sqs.queue_policy_allows(str(spec), "events.amazonaws.com", rule["Arn"], spec.account_id):
        return {"ERROR_CODE": "NO_PERMISSIONS", "ERROR_MESSAGE": "User is not authorized to perform: sqs:SendMessage"}
    return None


def count(rule: dict, name: str) -> None:
    bus = rule.get("EventBusName", "default")
    dimensions = {"RuleName": rule["Name"], **({"EventBusName": bus} if bus != "default" else {})}
    record("AWS/Events", name, 1, "Count", dimensions)


def queues_after_an_event(allowed: str) -> tuple[list, list]:
    """The messages in a queue and in its dead letter queue, after a rule had an event for a check. Only
    the queue with this name has a policy that allows it."""
    rule = {"Name": "checked", "EventBusName": "own", "Arn": "arn:aws:events:us-east-1:000000000000:rule/own/checked"}
    statement = {"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sqs:SendMessage"}
    statement |= {"Resource": "*", "Condition": {"ArnEquals": {"aws:SourceArn": rule["Arn"]}}}
    queues = {}
    for name in ("target", "dead"):
        queues[name] = sqs._queues[sqs._act_create_queue({"QueueName": name}, "")["QueueUrl"]]
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]}) if name == allowed else ""
        queues[name].update(messages=[], attributes={**queues[name]["attributes"], "Policy": policy})
    arns = [queue["attributes"]["QueueArn"] for queue in queues.values()]
    cloudwatch.reset()
    with mock.patch.object(app, "AUTH", True):
        target = {"Arn": arns[0], "DeadLetterConfig": {"Arn": arns[1]}}
        eventbridge._invoke_target(target, {"Source": "checked", "Detail": "{}"}, rule)
    return tuple(queue["messages"] for queue in queues.values())


@refuse_events_that_a_queue_does_not_allow.needed_while
def an_event_gets_into_a_queue_without_permission():
    queue, dead = queues_after_an_event(allowed="dead")
    return bool(queue) or [one["message_attributes"]["ERROR_CODE"]["StringValue"] for one in dead] != ["NO_PERMISSIONS"]


@refuse_events_that_a_queue_does_not_allow.needed_while
def an_event_that_no_queue_takes_is_not_counted():
    queues_after_an_event(allowed="neither")
    names = ("FailedInvocations", "InvocationsFailedToBeSentToDlq")
    found = [statistics("AWS/Events", name, EventBusName="own", RuleName="checked").get("Sum") for name in names]
    return found != [1, 1]


@refuse_events_that_a_queue_does_not_allow.needed_while
def a_refused_event_is_lost_or_an_allowed_one_is():
    return not queues_after_an_event(allowed="target")[0] or not queues_after_an_event(allowed="dead")[1]
