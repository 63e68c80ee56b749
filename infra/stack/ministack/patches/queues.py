"""How queues start functions, and how dead letters go back."""

import contextlib
import time
from unittest import mock

from ministack.core.responses import new_uuid
from ministack.services import lambda_svc, sqs

from patches.patch import Patch


@Patch
def look_at_queues_at_once():
    """Upstream: if MiniStack finds nothing in the queues of event sources, it sleeps for 50 ms before
    it waits for the next message.

    Reason: a message that comes during this sleep waits for its end."""
    lambda_svc._ESM_IDLE_WAKE_GAP_SECONDS = 0.001


@look_at_queues_at_once.needed_while
def it_sleeps_after_a_look_that_finds_nothing():
    with (
        mock.patch("time.sleep") as sleep,
        mock.patch.object(lambda_svc, "_esm_wake") as wake,
        contextlib.suppress(TimeoutError),
    ):
        wake.wait.side_effect = [True, TimeoutError]
        lambda_svc._poll_loop()
    return any(gap > 0.001 for (gap,), _ in sleep.call_args_list)


@Patch
def throttle_queues_as_other_callers():
    """Upstream: a queue never calls a function beyond the function's reserved concurrency.

    Reason: on AWS it calls, and is throttled. The alarm on throttles reads that."""
    concurrency = lambda_svc._sqs_esm_concurrency

    def unlimited(mapping, function, config, queue=None):
        return concurrency(mapping, {}, {}, queue)

    lambda_svc._sqs_esm_concurrency = unlimited


@throttle_queues_as_other_callers.needed_while
def a_queue_does_not_call_a_function_without_concurrency():
    mapping = {"EventSourceArn": "arn:aws:sqs:us-east-1:000000000000:checked"}
    return lambda_svc._sqs_esm_concurrency(mapping, {"concurrency": 0}, {}, {"messages": [{}]}) == 0


@Patch
def move_dead_letters():
    """Upstream: MiniStack knows neither StartMessageMoveTask nor ListMessageMoveTasks.

    Reason: the runbook redrives dead letters with them. As on AWS, the moved messages are new ones, and
    what nobody could receive now stays:
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_StartMessageMoveTask.html"""
    sqs._HANDLERS |= {"StartMessageMoveTask": start_move, "ListMessageMoveTasks": list_moves}


def start_move(asked: dict, _url: str) -> dict:
    source, target = (find_queue(asked.get(name)) for name in ("SourceArn", "DestinationArn"))
    moved = sqs._collect_msgs(source, len(source["messages"]), 0)
    for message in moved:
        source["messages"].remove(message)
        again = {"MessageBody": message["body"], "MessageAttributes": message["message_attributes"]}
        again |= {"MessageGroupId": message["group_id"], "MessageDeduplicationId": new_uuid()}
        sqs._act_send_message({"QueueUrl": queue_name(target), **again}, "")
    done = {"Status": "COMPLETED", "StartedTimestamp": int(time.time() * 1000)}
    done |= {name: asked[name] for name in ("SourceArn", "DestinationArn")}
    source.setdefault("moves", []).insert(0, {**done, "ApproximateNumberOfMessagesMoved": len(moved)})
    return {"TaskHandle": new_uuid()}


def list_moves(asked: dict, _url: str) -> dict:
    moves = find_queue(asked.get("SourceArn")).get("moves", [])
    return {"Results": moves[: asked.get("MaxResults", 1)]}


def find_queue(arn: str | None) -> dict:
    if not (queue := sqs._queue_by_arn(arn or "")):
        # MiniStack can't find the queue of an original message, which AWS takes without a destination.
        raise sqs._Err("ResourceNotFoundException", "The resource that you specified for the ARN doesn't exist.")
    return queue


def queue_name(queue: dict) -> str:
    return queue["attributes"]["QueueArn"].split(":")[-1]


@move_dead_letters.needed_while
def a_message_stays_in_the_dead_letters():
    dead, back = (sqs._queues[sqs._act_create_queue({"QueueName": name}, "")["QueueUrl"]] for name in ("dead", "back"))
    arns = {"SourceArn": dead["attributes"]["QueueArn"], "DestinationArn": back["attributes"]["QueueArn"]}
    for queue in (dead, back):
        queue["messages"] = []
    for body in ("hidden", "visible"):
        sqs._act_send_message({"QueueUrl": queue_name(dead), "MessageBody": body}, "")
    dead["messages"][0]["visible_at"] += 60
    if start := sqs._HANDLERS.get("StartMessageMoveTask"):
        start(arns, "")
    bodies = [[message["body"] for message in queue["messages"]] for queue in (dead, back)]
    return bodies != [["hidden"], ["visible"]]


@move_dead_letters.needed_while
def nobody_can_ask_what_was_moved():
    dead = sqs._queues[sqs._act_create_queue({"QueueName": "moved"}, "")["QueueUrl"]]
    dead["messages"] = []
    sqs._act_send_message({"QueueUrl": queue_name(dead), "MessageBody": "visible"}, "")
    arns = {name: dead["attributes"]["QueueArn"] for name in ("SourceArn", "DestinationArn")}
    if "ListMessageMoveTasks" not in sqs._HANDLERS:
        return True
    sqs._HANDLERS["StartMessageMoveTask"](arns, "")
    moves = sqs._HANDLERS["ListMessageMoveTasks"](arns, "")["Results"]
    return [move["ApproximateNumberOfMessagesMoved"] for move in moves] != [1]
