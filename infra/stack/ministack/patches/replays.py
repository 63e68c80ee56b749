"""EventBridge: the time of an event, and archives with their replays."""

import contextvars
import json
from unittest import mock

from ministack.core import iam_actions
from ministack.core.responses import error_response_json
from ministack.services import eventbridge
from ministack.services.cloudformation import provisioners

from patches.patch import Patch

# The time of the event that is being put.
EVENT_TIME = contextvars.ContextVar("event_time", default=None)


@Patch
def take_the_time_that_an_event_gives():
    """Upstream: the time of an event is the time of PutEvents.

    Reason: on AWS it is the event's own `Time`, to the second. A replay chooses its events by it:
    https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsRequestEntry.html"""
    put_events = eventbridge._put_events
    now = eventbridge._now_ts

    def put(data, *rest, **more):
        entries = data.get("Entries", [])
        if len(entries) > 10:
            return put_events(data, *rest, **more)
        results, failed = [], 0
        for entry in entries:
            before = EVENT_TIME.set(eventbridge._coerce_timestamp(entry.get("Time")))
            try:
                response = put_events({**data, "Entries": [entry]}, *rest, **more)
            finally:
                EVENT_TIME.reset(before)
            if response[0] >= 400:
                return response
            answer = json.loads(response[2])
            results += answer["Entries"]
            failed += answer["FailedEntryCount"]
        return eventbridge.json_response({"FailedEntryCount": failed, "Entries": results})

    def of_event():
        given = EVENT_TIME.get()
        return now() if given is None else given

    eventbridge._put_events = put
    eventbridge._now_ts = of_event


@take_the_time_that_an_event_gives.needed_while
def the_time_that_an_event_gives_is_ignored():
    return archived_events([1_000_000_000])[0]["Time"] != 1_000_000_000


@Patch
def replay_as_aws_does():
    """Upstream: a replay goes to all rules of the bus, whatever its FilterArns are. It includes events of
    its end time. It doesn't say how far it came. A cancelled one goes on, and is COMPLETED in the end.
    CancelReplay of one that is over has another error.

    Reason: on AWS, FilterArns are the only rules that get the events, and events at the end time or later
    stay. A cancelled replay sends no more. CancelReplay of one that is over is refused with
    IllegalStatusException:
    https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_ReplayDestination.html
    https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_Replay.html
    https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_CancelReplay.html"""
    dispatch_event = eventbridge._dispatch_event
    cancel_replay = eventbridge._cancel_replay

    def dispatch(event, view=None):
        replay = eventbridge._replays.get(event.get("ReplayName") or "")
        if not replay:
            return dispatch_event(event, view)
        if event["Time"] >= replay["EventEndTime"] or replay["State"] == "CANCELLED":
            return None
        replay["EventLastReplayedTime"] = event["Time"]
        chosen = replay["Destination"].get("FilterArns")
        if not chosen:
            return dispatch_event(event, view)
        view = view or eventbridge._pattern_event_view(event)
        for key, rule in list(eventbridge._rules.items()):
            is_on = rule["Arn"] in chosen and rule.get("State") == "ENABLED"
            if is_on and eventbridge._matches_pattern_view(rule["EventPattern"], view, f"rule {key}"):
                for target in eventbridge._targets.get(key, []):
                    eventbridge._invoke_target(target, event, rule, view)
        return None

    def cancel(data):
        replay = eventbridge._replays.get(data.get("ReplayName"))
        if replay and replay["State"] in ("COMPLETED", "CANCELLED", "FAILED"):
            return error_response_json("IllegalStatusException", f"Replay is {replay['State']}", 400)
        if replay:
            # The thread that sends the events sets the state of the old one.
            eventbridge._replays[data["ReplayName"]] = dict(replay)
        return cancel_replay(data)

    eventbridge._dispatch_event = dispatch
    eventbridge._cancel_replay = cancel


def archived_events(times: list[int]) -> list[dict]:
    """The events in an archive after these were put on the bus `checked`."""
    bus = "arn:aws:events:us-east-1:000000000000:event-bus/checked"
    eventbridge._event_buses["checked"] = {"Name": "checked", "Arn": bus}
    eventbridge._archives.pop("checked", None)
    eventbridge._create_archive({"ArchiveName": "checked", "EventSourceArn": bus})
    for one in times:
        entry = {"EventBusName": "checked", "Source": "checked", "Detail": "{}", "Time": one}
        eventbridge._put_events({"Entries": [entry]})
    return eventbridge._archives["checked"]["Events"]


def replayed(filter_arns: list[str], is_cancelled: bool = False) -> tuple[dict, list]:
    """A replay from 1 until 3 of events at 1, 2 and 3, and where they went: names of rules, and times.
    It is over, or cancelled at the first event."""
    # Without the patch above, the times of the events are others.
    for event, at in zip(archived_events([1, 2, 3]), (1, 2, 3)):
        event["Time"] = at
    for name in ("one", "other"):
        arn = eventbridge._rule_arn(name, "checked")
        rule = {"Name": name, "Arn": arn, "EventBusName": "checked", "State": "ENABLED"}
        eventbridge._rules[f"checked|{name}"] = {**rule, "EventPattern": '{"source": ["checked"]}'}
        eventbridge._targets[f"checked|{name}"] = [{"Id": "a", "Arn": "checked"}]
    archive = eventbridge._archives["checked"]
    eventbridge._replays.pop("checked", None)
    got = []

    def invoke(_, event, rule, *__):
        got.append((rule["Name"], event["Time"]))
        if is_cancelled:
            eventbridge._cancel_replay({"ReplayName": "checked"})

    with (
        mock.patch.object(eventbridge, "_invoke_target", invoke),
        mock.patch.object(eventbridge, "threading") as threading,
    ):
        # The thread's work is done at once.
        threading.Thread.side_effect = lambda target, **_: mock.Mock(start=target)
        destination = {"Arn": archive["EventSourceArn"], "FilterArns": filter_arns}
        asked = {"ReplayName": "checked", "EventSourceArn": archive["ArchiveArn"], "Destination": destination}
        eventbridge._start_replay({**asked, "EventStartTime": 1, "EventEndTime": 3})
    for name in ("one", "other"):
        eventbridge._rules.pop(f"checked|{name}")
    return eventbridge._replays["checked"], got


@replay_as_aws_does.needed_while
def a_replay_goes_to_rules_that_it_does_not_name():
    return any(name != "one" for name, _ in replayed([eventbridge._rule_arn("one", "checked")])[1])


@replay_as_aws_does.needed_while
def a_replay_includes_its_end():
    return any(at == 3 for _, at in replayed([])[1])


@replay_as_aws_does.needed_while
def a_replay_does_not_say_how_far_it_came():
    return replayed([])[0].get("EventLastReplayedTime") != 2


@replay_as_aws_does.needed_while
def a_cancelled_replay_goes_on():
    replay, got = replayed([], is_cancelled=True)
    return any(at != 1 for _, at in got) or replay["State"] != "CANCELLED"


@replay_as_aws_does.needed_while
def a_replay_that_is_over_is_refused_like_a_bad_request():
    replayed([])
    return b"IllegalStatusException" not in eventbridge._cancel_replay({"ReplayName": "checked"})[2]


@Patch
def make_archives_in_stacks():
    """Upstream: MiniStack's CloudFormation doesn't know AWS::Events::Archive.

    Reason: the template has one. As on AWS, Ref is the name, and another bus or name makes a new archive:
    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-resource-events-archive.html"""

    def call(operation, request):
        status, _, body = operation(request)
        if status >= 400:
            raise ValueError(f"AWS::Events::Archive: {body!r}")

    def request_of(name, properties):
        pattern = properties.get("EventPattern")
        asked = {"ArchiveName": name, "RetentionDays": int(properties.get("RetentionDays", 0))}
        asked |= {"EventPattern": json.dumps(pattern) if isinstance(pattern, dict) else pattern or ""}
        return asked | {key: properties[key] for key in ("Description", "KmsKeyIdentifier") if key in properties}

    def attributes(name):
        return name, {"Arn": eventbridge._archives[name]["ArchiveArn"], "ArchiveName": name}

    def create(logical_id, properties, stack):
        name = properties.get("ArchiveName") or provisioners._physical_name(stack, logical_id, max_len=48)
        call(eventbridge._create_archive, {**request_of(name, properties), "EventSourceArn": properties["SourceArn"]})
        return attributes(name)

    def update(name, old, new, stack):
        if any(old.get(key) != new.get(key) for key in ("ArchiveName", "SourceArn")):
            raise ValueError("AWS::Events::Archive: a replacement is not taught here")
        call(eventbridge._update_archive, request_of(name, new))
        return attributes(name)

    def delete(name, _properties):
        eventbridge._archives.pop(name, None)

    provisioners._RESOURCE_HANDLERS["AWS::Events::Archive"] = {"create": create, "update": update, "delete": delete}


@make_archives_in_stacks.needed_while
def a_stack_can_have_no_archive():
    handlers = provisioners._RESOURCE_HANDLERS.get("AWS::Events::Archive")
    if not handlers:
        return True
    properties = {"SourceArn": "arn:aws:events:us-east-1:000000000000:event-bus/checked", "RetentionDays": "35"}
    name, attributes = handlers["create"]("Archive", properties, "stack")
    handlers["update"](name, properties, {**properties, "RetentionDays": 7}, "stack")
    days = eventbridge._archives[name]["RetentionDays"]
    handlers["delete"](name, properties)
    return not (attributes["Arn"].endswith(f":archive/{name}") and days == 7 and name not in eventbridge._archives)


@Patch
def ask_iam_for_the_rule_the_archive_or_the_replay():
    """Upstream: for targets of a rule, for archives and for replays MiniStack requires a permission on the
    bus, or on a rule of the wrong name. It doesn't know events:TargetArn.

    Reason: AWS requires it on the resource itself, and knows the targets' ARNs:
    https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazoneventbridge.html"""
    extract_resource = iam_actions.extract_resource_arn
    tag_context = iam_actions.request_tag_context

    def resource(service, method, path, headers, body, *rest):
        operation = headers.get("x-amz-target", "").rpartition(".")[2]
        if service != "events" or operation not in RESOURCES:
            return extract_resource(service, method, path, headers, body, *rest)
        region, account = rest[-2:]
        name = RESOURCES[operation].format_map({"EventBusName": "default", **json.loads(body)})
        return name if name.startswith(("arn:", "*")) else f"arn:aws:events:{region}:{account}:{name}"

    def context(service, action, body, parameters):
        found = tag_context(service, action, body, parameters)
        if action != "events:PutTargets":
            return found
        return {**found, "events:TargetArn": [target["Arn"] for target in json.loads(body)["Targets"]]}

    iam_actions.extract_resource_arn = resource
    iam_actions.request_tag_context = context


# What AWS requires a permission on, by operation.
RESOURCES = {
    **dict.fromkeys(["PutTargets", "RemoveTargets", "ListTargetsByRule"], "rule/{EventBusName}/{Rule}"),
    **dict.fromkeys(["DescribeReplay", "CancelReplay"], "replay/{ReplayName}"),
    "DescribeArchive": "archive/{ArchiveName}",
    "StartReplay": "{EventSourceArn}",
    "ListRuleNamesByTarget": "*",
}


@ask_iam_for_the_rule_the_archive_or_the_replay.needed_while
def the_targets_of_a_rule_are_those_of_its_bus():
    body = b'{"EventBusName": "own", "Rule": "checked", "Targets": []}'
    request = "POST", "/", {"x-amz-target": "AWSEvents.PutTargets"}, body, {}
    found = iam_actions.extract_resource_arn("events", *request, "us-east-1", "000000000000")
    return found != "arn:aws:events:us-east-1:000000000000:rule/own/checked"


@ask_iam_for_the_rule_the_archive_or_the_replay.needed_while
def iam_is_not_told_the_targets():
    body = b'{"Rule": "checked", "Targets": [{"Arn": "arn:checked"}]}'
    return "events:TargetArn" not in iam_actions.request_tag_context("events", "events:PutTargets", body, {})
