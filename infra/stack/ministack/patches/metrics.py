"""Metrics: what functions write into their logs, and what AWS measures itself."""

import json
import threading
import time

from ministack.core.responses import get_account_id, get_region, request_scope
from ministack.services import cloudwatch, cloudwatch_logs, lambda_svc, sqs

from patches import alarms
from patches.lambda_runtime import CONFIG
from patches.patch import Patch

RECORDING = threading.Lock()


@Patch
def keep_one_point_for_each_second():
    """Upstream: MiniStack keeps each value of a metric, with its dimensions and unit.

    Reason: under load, the functions write a thousand values in a second. The sum, the number, the least
    and the greatest of them are all that an alarm reads."""
    cloudwatch.record_metric = record


def record(namespace: str, name: str, value: float, unit: str = "None", dimensions=None, at: float | None = None):
    """Adds a value to a metric of the current account."""
    at, value, dimensions = int(at or time.time()), float(value), dimensions or {}
    with RECORDING:
        points = cloudwatch._metric_bucket((namespace, name, cloudwatch._dims_key(dimensions)))
        last = points[-1] if points else {}
        if last.get("Timestamp") != at or "_stat" not in last:
            of_second = {"SampleCount": 0, "Sum": 0, "Minimum": value, "Maximum": value}
            last = {"Timestamp": at, "Value": value, "Unit": unit, "Dimensions": dimensions, "_stat": of_second}
            points.append(last)
        of_second = last["_stat"]
        of_second["SampleCount"] += 1
        of_second["Sum"] += value
        of_second["Minimum"] = min(of_second["Minimum"], value)
        of_second["Maximum"] = max(of_second["Maximum"], value)
        last["Value"] = of_second["Sum"] / of_second["SampleCount"]


def statistics(namespace: str, name: str, **dimensions) -> dict:
    """All statistics of a metric for a check; nothing if it has no values."""
    points = cloudwatch._metrics.get((namespace, name, cloudwatch._dims_key(dimensions)), [])
    return cloudwatch._calc_stats(points)


@keep_one_point_for_each_second.needed_while
def each_value_is_a_point():
    cloudwatch.reset()
    for value in range(4):
        cloudwatch.record_metric("checked", "checked", value)
    # The values may belong to two seconds.
    return len(cloudwatch._metrics["checked", "checked", ""]) > 2


@Patch
def take_metrics_from_log_lines():
    """Upstream: MiniStack doesn't know CloudWatch's embedded metric format.

    Reason: the functions write their metrics in it:
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html"""
    fanout = cloudwatch_logs._fanout_to_subscription_filters

    def take(group, stream, events):
        for event in events:
            if '"CloudWatchMetrics"' in event["message"]:
                take_embedded(event["message"])
        fanout(group, stream, events)

    cloudwatch_logs._fanout_to_subscription_filters = take


def take_embedded(text: str) -> None:
    try:
        line = json.loads(text)
        at, directives = line["_aws"]["Timestamp"] / 1000, line["_aws"]["CloudWatchMetrics"]
    except (ValueError, KeyError, TypeError):
        return  # CloudWatch takes such a line for any other
    for directive in directives:
        for names in directive.get("Dimensions") or [[]]:
            dimensions = {name: str(line[name]) for name in names if name in line}
            for metric in directive["Metrics"]:
                values = line.get(metric["Name"], [])
                for value in values if isinstance(values, list) else [values]:
                    record(directive["Namespace"], metric["Name"], value, metric.get("Unit", "None"), dimensions, at)


@take_metrics_from_log_lines.needed_while
def a_metric_in_a_log_line_is_not_taken():
    metrics = [{"Name": "Held", "Unit": "Count"}, {"Name": "Times"}]
    directive = {"Namespace": "checked", "Dimensions": [[], ["Function"]], "Metrics": metrics}
    line = {"_aws": {"Timestamp": 1000 * int(time.time()), "CloudWatchMetrics": [directive]}}
    line |= {"Function": "checked", "Held": 2, "Times": [1, 2]}
    cloudwatch.reset()
    put_line("checked", json.dumps(line))
    found = statistics("checked", "Held"), statistics("checked", "Times", Function="checked")
    return [one.get("Sum") for one in found] != [2, 3]


def put_line(group: str, line: str) -> None:
    """Writes a line into a log group for a check."""
    place = {"logGroupName": group, "logStreamName": "checked"}
    cloudwatch_logs._create_log_group(place)
    cloudwatch_logs._create_log_stream(place)
    cloudwatch_logs._put_log_events({**place, "logEvents": [{"timestamp": 1000 * int(time.time()), "message": line}]})


@Patch
def count_every_invocation():
    """Upstream: MiniStack measures only invocations through Lambda's API, and no error of those that
    nobody waits for. It counts a throttled one as an invocation, and its throttle twice.

    Reason: API Gateway, queues and schedules start the functions, too."""
    dispatch = lambda_svc._execute_function_dispatch
    acquire_slot = lambda_svc._acquire_execution_slot

    def count(config, name, value, unit="Count"):
        record("AWS/Lambda", name, value, unit, {"FunctionName": config["FunctionName"]})

    def counted(function, config, *rest):
        began, failed = time.time(), True
        try:
            result = dispatch(function, config, *rest)
            failed = bool(result.get("error"))
            return result
        finally:
            count(config, "Invocations", 1)
            count(config, "Errors", int(failed))
            count(config, "Duration", 1000 * (time.time() - began), "Milliseconds")

    def acquire(function, config):
        slot, limit = acquire_slot(function, config)
        if slot is None:
            count(config, "Throttles", 1)
        return slot, limit

    lambda_svc._emit_lambda_metrics = lambda *_, **__: None
    lambda_svc._execute_function_dispatch = counted
    lambda_svc._acquire_execution_slot = acquire


def is_counted_as_invocation(**function) -> bool:
    """Whether an execution of a function, as another service begins it, is counted as an invocation."""
    cloudwatch.reset()
    config = {**CONFIG, "FunctionName": "checked"}
    with request_scope("111111111111", "us-east-1"):
        lambda_svc._execute_function({"config": config, **function}, {})
        return "Sum" in statistics("AWS/Lambda", "Invocations", FunctionName="checked")


@count_every_invocation.needed_while
def an_invocation_by_another_service_is_not_counted():
    return not is_counted_as_invocation()


@count_every_invocation.needed_while
def a_throttled_invocation_is_counted():
    return is_counted_as_invocation(concurrency=0)


@Patch
def measure_queues():
    """Upstream: MiniStack measures no queue.

    Reason: alarms watch queues. Once a minute, those that an alarm reads are measured. A queue has no
    values until its first message. As on AWS, its age leaves out messages that were received more than
    three times:
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html"""
    alarms.SAMPLERS.append(measure)


def measure(now: float, read: set) -> None:
    for account, region, (namespace, name, dimensions) in read:
        queue = dimensions.removeprefix("QueueName=")
        url = sqs._queue_name_to_url.get_scoped(account, region, queue)
        queue_is_there = namespace == "AWS/SQS" and url and sqs._queues.contains_scoped(account, region, url)
        if not queue_is_there:
            continue
        messages = list(sqs._queues.get_scoped(account, region, url)["messages"])
        if name == "ApproximateNumberOfMessagesVisible":
            value = sum(message.get("visible_at", 0) <= now for message in messages)
        elif name == "ApproximateAgeOfOldestMessage":
            fresh = [message for message in messages if message.get("receive_count", 0) <= 3]
            value = max((now - message.get("enqueued_at", message["sent_at"]) for message in fresh), default=0)
        else:
            continue
        with request_scope(account, region):
            before = cloudwatch._metrics.get((namespace, name, dimensions))
            if value or before and before[-1]["Value"]:
                record(namespace, name, max(0, value), dimensions={"QueueName": queue}, at=now - alarms.MINUTE / 2)


@measure_queues.needed_while
def a_queue_with_a_message_is_not_measured():
    asked = {"QueueName": "checked"}
    url = sqs._act_create_queue(asked, "")["QueueUrl"]
    sqs._queues[url]["messages"] = [{"sent_at": time.time() - 60, "receive_count": 3}]
    names = ("ApproximateNumberOfMessagesVisible", "ApproximateAgeOfOldestMessage")
    cloudwatch.reset()
    for sample in alarms.SAMPLERS:
        scope = get_account_id(), get_region()
        sample(time.time(), {(*scope, ("AWS/SQS", name, "QueueName=checked")) for name in names})
    visible, age = (statistics("AWS/SQS", name, **asked).get("Maximum", 0) for name in names)
    return (visible, age) < (1, 60)
