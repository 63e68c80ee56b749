"""Alarms: when they change their states."""

import ast
import contextlib
import operator
import os
import threading
import time
from itertools import takewhile

from ministack.core.responses import request_scope
from ministack.services import cloudwatch
from ministack.services.cloudformation import provisioners

from patches.patch import Patch

# The factor by which all periods of alarms are shorter than on AWS, thresholds unchanged.
FACTOR = float(os.environ.get("ALARM_PERIODS_DIVIDED_BY") or 1)
# How often alarms are evaluated: on AWS, once a minute.
MINUTE = 60 / FACTOR
COMPARE = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}
OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


@Patch
def accept_alarms_on_several_metrics():
    """Upstream: MiniStack refuses a template with an alarm on an expression of several metrics.

    Reason: the template has such an alarm. It is stored as AWS describes it."""
    record = provisioners._cw_metric_alarm_record

    def record_any(name, properties):
        metrics = properties.get("Metrics")
        if not metrics:
            return record(name, properties)
        without = {key: value for key, value in properties.items() if key != "Metrics"}
        alarm = record(name, {**without, "MetricName": "-", "Namespace": "-"})
        of_one_metric = {"MetricName", "Namespace", "Dimensions", "Period", "Unit", "Statistic", "ExtendedStatistic"}
        return {key: value for key, value in alarm.items() if key not in of_one_metric} | {"Metrics": metrics}

    provisioners._cw_metric_alarm_record = record_any


@accept_alarms_on_several_metrics.needed_while
def an_alarm_on_several_metrics_is_refused():
    expression = {"Id": "sum", "Expression": "one + two"}
    properties = {"Metrics": [expression], "ComparisonOperator": "GreaterThanThreshold", "Threshold": 0}
    try:
        alarm = provisioners._cw_metric_alarm_record("checked", properties)
    except ValueError:
        return True
    return alarm.get("Metrics") != [expression]


@Patch
def evaluate_alarms_once_a_minute():
    """Upstream: MiniStack evaluates an alarm only when metrics are put through the API or the alarm
    changes, ignores dimensions, DatapointsToAlarm, missing data and expressions, and takes all periods
    for one. Each request to CloudWatch copies all metrics, and may lose what is written meanwhile.

    Reason: the alarms must ring and end as they do on AWS."""
    cloudwatch._evaluate_alarm = lambda alarm: None  # a new alarm has no state until the next minute
    cloudwatch._evaluate_all_alarms = lambda: None
    cloudwatch._evict_old_metrics = lambda: None  # no local stack runs for the two weeks
    cloudwatch._evaluate_at_end_of_minute = evaluate_all
    threading.Thread(target=evaluate_forever, daemon=True).start()


@evaluate_alarms_once_a_minute.needed_while
def an_alarm_rings_for_another_dimension():
    return state_of_alarm([1], "other") == "ALARM"


@evaluate_alarms_once_a_minute.needed_while
def one_of_the_two_values_that_an_alarm_needs_is_enough():
    return state_of_alarm([1], EvaluationPeriods=2, TreatMissingData="notBreaching") == "ALARM"


@evaluate_alarms_once_a_minute.needed_while
def an_alarm_that_takes_missing_values_for_breaches_does_not_ring():
    return state_of_alarm([], TreatMissingData="breaching") != "ALARM"


@evaluate_alarms_once_a_minute.needed_while
def an_alarm_on_a_sum_of_metrics_does_not_ring():
    metric = {"Namespace": "checked", "MetricName": "checked", "Dimensions": DIMENSIONS}
    metrics = {"one": metric, "two": {**metric, "MetricName": "never written"}}
    queries = [
        {"Id": name, "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Sum"}} for name, metric in metrics.items()
    ]
    queries.append({"Id": "all", "Expression": "FILL(one, 0) + FILL(two, 0)"})
    return state_of_alarm([1], queries=queries) != "ALARM"


@evaluate_alarms_once_a_minute.needed_while
def a_metric_is_written_into_a_list_that_is_thrown_away():
    cloudwatch.record_metric("checked", "kept", 1)
    points = cloudwatch._metrics["checked", "kept", ""]
    cloudwatch._evict_old_metrics()
    return cloudwatch._metrics["checked", "kept", ""] is not points


# The dimensions of the alarms in the checks.
DIMENSIONS = [{"Name": "FunctionName", "Value": "checked"}]


def state_of_alarm(values: list, function: str = "checked", queries: list | None = None, **more) -> str:
    """The state of a new alarm for a check, a minute after these values were measured."""
    properties = {"Namespace": "checked", "MetricName": "checked", "Dimensions": DIMENSIONS}
    properties |= {"Statistic": "Sum", "ComparisonOperator": "GreaterThanThreshold", "Threshold": 0, **more}
    cloudwatch.reset()
    alarm = provisioners._cw_metric_alarm_record("checked", properties)
    if queries:
        alarm |= {"Namespace": None, "Metrics": queries}
    cloudwatch._alarms["checked"] = alarm
    for value in values:
        cloudwatch.record_metric("checked", "checked", value, dimensions={"FunctionName": function})
    cloudwatch._evaluate_all_alarms()
    if evaluate := getattr(cloudwatch, "_evaluate_at_end_of_minute", None):
        evaluate(time.time() + 1)
    return alarm["StateValue"]


# Called at the end of each minute, before the alarms are evaluated, with its end and the keys of all
# metrics that alarms read.
SAMPLERS = []
WATCHES: dict[tuple, "Watch"] = {}


def evaluate_forever() -> None:
    while True:
        time.sleep(MINUTE - time.time() % MINUTE)
        try:
            cloudwatch._evaluate_at_end_of_minute(time.time() // MINUTE * MINUTE)
        except Exception:
            cloudwatch.logger.exception("the alarms could not be evaluated")


def evaluate_all(now: float) -> None:
    """Evaluates the alarms of all accounts at the end of a minute."""
    alarms = dict(cloudwatch._alarms._data)
    for gone in WATCHES.keys() - alarms.keys():
        del WATCHES[gone]
    for key, alarm in alarms.items():
        if key not in WATCHES or WATCHES[key].alarm is not alarm:
            WATCHES[key] = Watch(key, alarm)
    read = {metric.key for watch in WATCHES.values() for metric in watch.metrics.values()}
    for sample in SAMPLERS:
        sample(now, read)
    for (account, region, name), watch in WATCHES.items():
        try:
            watch.evaluate(account, region, now)
        except Exception:
            cloudwatch.logger.exception("the alarm %s could not be evaluated", name)


class Metric:
    """A metric as an alarm reads it."""

    def __init__(self, scope: tuple, about: dict, statistic: str, period: float):
        dimensions = cloudwatch._dims_key(cloudwatch._dims_from_list(about.get("Dimensions") or []))
        self.key = (*scope, (about["Namespace"], about["MetricName"], dimensions))
        self.statistic = statistic
        self.period = int(period) / FACTOR

    def points(self) -> list:
        return cloudwatch._metrics._data.get(self.key, [])

    def newest(self) -> float:
        points = self.points()
        return points[-1]["Timestamp"] if points else 0

    def values(self, now: float, periods: int) -> list:
        """The statistic of each of the last periods, the newest first; None where nothing was measured."""
        oldest = now - self.period * periods
        recent = list(takewhile(lambda point: point["Timestamp"] >= oldest, reversed(self.points())))
        of_period = [[] for _ in range(periods)]
        for point in recent:
            if point["Timestamp"] < now:
                of_period[min(int((now - point["Timestamp"]) / self.period), periods - 1)].append(point)
        return [cloudwatch._calc_stats(points).get(self.statistic) for points in of_period]


class Watch:
    """What is kept of an alarm between two evaluations."""

    def __init__(self, key: tuple, alarm: dict):
        self.alarm = alarm
        self.metrics = {}
        self.expression = ast.parse("alarm", mode="eval").body
        scope = key[:2]
        for query in alarm.get("Metrics") or []:
            if "Expression" in query:
                self.expression = ast.parse(query["Expression"].strip(), mode="eval").body
            else:
                about = query["MetricStat"]
                self.metrics[query["Id"]] = Metric(scope, about["Metric"], about["Stat"], about["Period"])
        if not alarm.get("Metrics"):
            statistic = alarm.get("ExtendedStatistic") or alarm["Statistic"]
            self.metrics["alarm"] = Metric(scope, alarm, statistic, alarm["Period"])
        # The state and the number of points at an evaluation after which only new points change it.
        self.settled = None

    def evaluate(self, account: str, region: str, now: float) -> None:
        alarm = self.alarm
        before = alarm["StateValue"], [len(metric.points()) for metric in self.metrics.values()]
        if before == self.settled:
            return
        count = int(alarm["EvaluationPeriods"])
        period = max(metric.period for metric in self.metrics.values())
        periods = count + int(2 * MINUTE / period)
        values = {name: metric.values(now, periods) for name, metric in self.metrics.items()}
        series = [calculate(self.expression, values, at) for at in range(periods)]
        state, reason = judge(alarm, series, count)
        if state != alarm["StateValue"]:
            with request_scope(account, region):
                change_state(alarm, state, reason)
        oldest = now - period * periods
        is_silent = all(metric.newest() < oldest for metric in self.metrics.values())
        self.settled = (state, before[1]) if is_silent else None


def judge(alarm: dict, series: list, count: int) -> tuple[str, str]:
    """The state of an alarm and its reason, from a value for each period, the newest first. A missing
    value is None. There are more periods than the alarm evaluates: as AWS does, it takes older values
    if newer ones are missing, and fills in only what it lacks then:
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html"""
    is_breaching = COMPARE[alarm["ComparisonOperator"]]
    needed = int(alarm.get("DatapointsToAlarm") or count)
    present = [(age, value) for age, value in enumerate(series) if value is not None][:count]
    breaches = [(age, is_breaching(value, alarm["Threshold"])) for age, value in present]
    missing, treat = count - len(breaches), alarm["TreatMissingData"]
    breaching = sum(breach for _, breach in breaches)
    filled = breaching + (missing if treat == "breaching" else 0)
    values = [value for _, value in present]
    reason = f"{breaching} of {len(breaches)} datapoints {values} breached the threshold ({alarm['Threshold']})"
    reason += f", and {missing} missing datapoints were treated as [{treat}]" if missing else ""
    if filled >= needed:
        return "ALARM", f"Threshold Crossed: {reason}"
    if missing and breaching == len(breaches) and treat in ("missing", "ignore"):
        if treat == "missing" and not breaches:
            return "INSUFFICIENT_DATA", f"Insufficient Data: {reason}"
        if treat == "ignore" or breaches[-1][0] + 1 < needed:
            return alarm["StateValue"], reason
        return "ALARM", f"Threshold Crossed: {reason}"
    return "OK", f"Threshold Crossed: {reason}"


def change_state(alarm: dict, state: str, reason: str) -> None:
    old = alarm["StateValue"]
    alarm.update(StateValue=state, StateReason=reason, StateUpdatedTimestamp=int(time.time()))
    cloudwatch._record_history(alarm["AlarmName"], old, state, reason)
    cloudwatch._dispatch_alarm_actions(alarm, old, state, reason)
    cloudwatch._evaluate_parent_alarms(alarm)


def calculate(node: ast.expr, values: dict, at: int):
    """The value of an expression in one period, None where it is missing. It knows numbers, names of
    metrics, the four operators and FILL(name, number)."""
    match node:
        case ast.Constant(value):
            return value
        case ast.Name(name):
            return values[name][at]
        case ast.BinOp(left, operation, right):
            sides = [calculate(side, values, at) for side in (left, right)]
            with contextlib.suppress(ZeroDivisionError):
                return None if None in sides else OPERATORS[type(operation)](*sides)
            return None
        case ast.Call(ast.Name("FILL"), [series, filling]):
            value = calculate(series, values, at)
            return calculate(filling, values, at) if value is None else value
    raise ValueError(f"an alarm's expression has a part that the emulator doesn't know: {ast.unparse(node)}")
