"""Alarms."""

from ministack.services.cloudformation import provisioners

from patches.patch import Patch


@Patch
def accept_alarms_on_several_metrics():
    """Upstream: MiniStack refuses a template with an alarm on an expression of several metrics.

    Reason: the template has such an alarm. It is stored as AWS describes it. MiniStack doesn't evaluate
    it, so it stays in the state INSUFFICIENT_DATA."""
    record = provisioners._cw_metric_alarm_record

    def record_any(name, properties):
        metrics = properties.get("Metrics")
        if not metrics:
            return record(name, properties)
        without = {key: value for key, value in properties.items() if key != "Metrics"}
        alarm = record(name, {**without, "MetricName": "-", "Namespace": "-"})
        of_one_metric = {"MetricName", "Namespace", "Dimensions", "Statistic", "ExtendedStatistic", "Period", "Unit"}
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
