"""CloudWatch Logs: which lines a filter pattern matches, and saved queries."""

import asyncio
import functools
import json
import operator
import re
import time

from ministack.core.responses import AccountRegionScopedDict, error_response_json, json_response, new_uuid
from ministack.services import cloudwatch, cloudwatch_logs
from ministack.services.cloudformation import provisioners

from patches.metrics import put_line, record, statistics
from patches.patch import Patch

JSON_TOKEN = re.compile(r'\s*(\(|\)|&&|\|\||!=|[<>]=?|=|"(?:\\.|[^"\\])*"|%[^%]+%|[^\s()=<>!&|"]+)')
TERM = re.compile(r'([-?]?)("(?:\\.|[^"\\])*"|%[^%]+%|\S+)')
KEY = re.compile(r"""\.?(?:\[(\d+)\]|\[?['"]([^'"]+)['"]\]?|([^.\[]+))""")
ORDER = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
NOTHING = object()  # a field that a line doesn't have


@Patch
def match_filter_patterns():
    """Upstream: every line matches a pattern of JSON fields. In a pattern of terms, `?` isn't known, a
    phrase in quotes is several terms, and capitals don't count.

    Reason: the runbook finds lines with such patterns:
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html"""
    filter_log_events = cloudwatch_logs._filter_log_events

    def filtered(data):
        try:
            return filter_log_events(data)
        except ValueError as error:
            return error_response_json("InvalidParameterException", f"Invalid filter pattern: {error}", 400)

    cloudwatch_logs._compile_filter_pattern = compile_pattern
    cloudwatch_logs._filter_log_events = filtered


@functools.lru_cache(maxsize=256)
def compile_pattern(pattern: str | None):
    """A function that tells whether a line matches the pattern."""
    pattern = (pattern or "").strip()
    if pattern.startswith("{") and pattern.endswith("}"):
        matches = JsonPattern(pattern[1:-1]).compiled

        def of_json(text):
            try:
                line = json.loads(text)
            except ValueError:
                return False
            return isinstance(line, dict) and matches(line)

        return of_json
    terms = {sign: [] for sign in ("", "-", "?")}
    for sign, term in TERM.findall(pattern):
        terms[sign].append(text_of(term))

    def of_terms(text):
        found = {sign: [term.search(text) for term in its] for sign, its in terms.items()}
        # If some terms are required, AWS ignores those with a question mark.
        is_one_there = bool(terms[""]) or any(found["?"]) or not terms["?"]
        return all(found[""]) and not any(found["-"]) and is_one_there

    return of_terms


def text_of(term: str, is_whole: bool = False) -> re.Pattern:
    """The text that a term stands for: in quotes, between percent signs a regular expression, or plain.
    If it is the whole text of a field, `*` in it is any text."""
    if term.startswith("%"):
        return re.compile(term[1:-1])
    text = json.loads(term) if term.startswith('"') else term
    if is_whole:
        return re.compile(rf"\A{'.*'.join(map(re.escape, text.split('*')))}\Z", re.DOTALL)
    return re.compile(re.escape(text))


class JsonPattern:
    """A pattern of JSON fields, such as `$.a = "x*" && ($.b > 1 || $.c NOT EXISTS)`."""

    def __init__(self, pattern: str):
        self.tokens, end = [], 0
        while match := JSON_TOKEN.match(pattern, end):
            self.tokens.append(match[1])
            end = match.end()
        if pattern[end:].strip():
            raise ValueError(f"{pattern[end:].strip()} can't be read")
        self.compiled = self.either()
        if self.tokens:
            raise ValueError(f"{self.tokens[0]} is unexpected")

    def take(self) -> str:
        if not self.tokens:
            raise ValueError("it is incomplete")
        return self.tokens.pop(0)

    def either(self):
        ways = [self.both()]
        while self.tokens[:1] == ["||"]:
            self.take()
            ways.append(self.both())
        return lambda line: any(way(line) for way in ways)

    def both(self):
        parts = [self.one()]
        while self.tokens[:1] == ["&&"]:
            self.take()
            parts.append(self.one())
        return lambda line: all(part(line) for part in parts)

    def one(self):
        token = self.take()
        if token == "(":
            inner = self.either()
            if self.take() != ")":
                raise ValueError("a parenthesis isn't closed")
            return inner
        if not token.startswith("$"):
            raise ValueError(f"{token} is no field")
        field, sign = functools.partial(field_of, selector=token), self.take()
        if sign.upper() == "IS":
            wanted = {"NULL": None, "TRUE": True, "FALSE": False}[self.take().upper()]
            return lambda line: field(line) is wanted
        if sign.upper() == "NOT" and self.take().upper() == "EXISTS":
            return lambda line: field(line) is NOTHING
        if sign.upper() == "EXISTS":
            return lambda line: field(line) is not NOTHING
        is_equal = equals(wanted := self.take())
        if sign in ORDER:
            number = float(wanted)
            return lambda line: is_number(field(line)) and ORDER[sign](field(line), number)
        if sign == "=":
            return lambda line: is_equal(field(line))
        if sign == "!=":
            return lambda line: field(line) is not NOTHING and not is_equal(field(line))
        raise ValueError(f"{sign} is no comparison")


def equals(wanted: str):
    """A function that tells whether a field has a value: a number, or a text in which `*` is any text."""
    try:
        number = float(wanted)
    except ValueError:
        text = text_of(wanted, is_whole=True)
        return lambda value: isinstance(value, str) and text.search(value) is not None
    return lambda value: is_number(value) and value == number


def is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def field_of(line: dict, selector: str):
    value = line
    for index, quoted, name in KEY.findall(selector[1:]):
        try:
            value = value[int(index)] if index else value[quoted or name]
        except (LookupError, TypeError):
            return NOTHING
    return value


@match_filter_patterns.needed_while
def lines_are_found_that_do_not_match():
    line = json.dumps({"status": "503", "Held": 2, "span": {"names": ["a b"]}, "gone": None})
    cases = {
        '{ $.status = "5*" }': True,
        '{ $.status = "4*" }': False,
        "{ $.Held > 1 && ($.status = \"200\" || $.span.names[0] = %^a% ) }": True,
        "{ $.Held >= 3 }": False,
        '{ $.none != "1" }': False,
        "{ $.none NOT EXISTS && $.gone IS NULL }": True,
        '?Absent ?"a b"': True,
        "?Absent ?gone2": False,
        '"a  b"': False,
        "held": False,
        "Held -status": False,
    }
    return [cloudwatch_logs._compile_filter_pattern(pattern)(line) for pattern in cases] != list(cases.values())


@Patch
def count_lines_with_metric_filters():
    """Upstream: MiniStack keeps metric filters, and never uses them.

    Reason: an alarm may watch the metric that a filter makes of log lines."""
    fanout = cloudwatch_logs._fanout_to_subscription_filters

    def take(group, stream, events):
        for one in cloudwatch_logs._metric_filters.values():
            if one["logGroupName"] == group:
                matches = compile_pattern(one["filterPattern"])
                for text in (event["message"] for event in events if matches(event["message"])):
                    transform(one["metricTransformations"], text)
        fanout(group, stream, events)

    cloudwatch_logs._fanout_to_subscription_filters = take


def transform(transformations: list, text: str) -> None:
    def value(of):
        return field_of(json.loads(text), of) if of.startswith("$") else of

    for one in transformations:
        found = value(one["metricValue"])
        dimensions = {name: str(value(field)) for name, field in one.get("dimensions", {}).items()}
        if found is not NOTHING:
            record(one["metricNamespace"], one["metricName"], found, one.get("unit", "None"), dimensions)


@count_lines_with_metric_filters.needed_while
def a_metric_filter_counts_nothing():
    cloudwatch_logs.reset()
    cloudwatch.reset()
    cloudwatch_logs._create_log_group({"logGroupName": "checked"})
    transformation = {"metricNamespace": "checked", "metricName": "checked", "metricValue": "$.Size"}
    wanted = {"logGroupName": "checked", "filterName": "checked", "filterPattern": "{ $.Size > 1 }"}
    cloudwatch_logs._put_metric_filter({**wanted, "metricTransformations": [transformation]})
    for size in (1, 3):
        put_line("checked", json.dumps({"Size": size}))
    return statistics("checked", "checked").get("Sum") != 3


@Patch
def keep_saved_queries():
    """Upstream: MiniStack knows no saved queries of Logs Insights.

    Reason: the template may save some. They are kept and described, and never run."""
    handle_request = cloudwatch_logs.handle_request
    definitions = AccountRegionScopedDict()

    def put(data):
        name = data.get("queryDefinitionId") or new_uuid()
        kept = {key: data[key] for key in ("name", "queryString", "logGroupNames") if key in data}
        definitions[name] = {"queryDefinitionId": name, "lastModified": int(time.time() * 1000), **kept}
        return {"queryDefinitionId": name}

    def describe(data):
        prefix = data.get("queryDefinitionNamePrefix", "")
        return {"queryDefinitions": [one for one in definitions.values() if one["name"].startswith(prefix)]}

    def delete(data):
        return {"success": definitions.pop(data["queryDefinitionId"], None) is not None}

    actions = {"Put": put, "Describe": describe, "Delete": delete}

    async def handle(method, path, headers, body, query_params):
        action = re.fullmatch(r".*\.(Put|Describe|Delete)QueryDefinitions?", headers.get("x-amz-target", ""))
        if action:
            return json_response(actions[action[1]](json.loads(body)))
        return await handle_request(method, path, headers, body, query_params)

    def put_resource(name, properties):
        names = {"Name": "name", "QueryString": "queryString", "LogGroupNames": "logGroupNames"}
        data = {ours: properties[theirs] for theirs, ours in names.items() if theirs in properties}
        return put({**data, "queryDefinitionId": name})["queryDefinitionId"], {}

    cloudwatch_logs.handle_request = handle
    provisioners._RESOURCE_HANDLERS["AWS::Logs::QueryDefinition"] = {
        "create": lambda logical_id, properties, stack: put_resource(None, properties),
        "update": lambda physical_id, old, new, stack: put_resource(physical_id, new),
        "delete": lambda physical_id, properties: delete({"queryDefinitionId": physical_id}),
    }


@keep_saved_queries.needed_while
def a_query_of_a_template_is_not_described():
    handlers = provisioners._RESOURCE_HANDLERS.get("AWS::Logs::QueryDefinition", {})
    if "create" in handlers:
        handlers["create"]("Checked", {"Name": "checked", "QueryString": "fields @message"}, "stack")
    target = {"x-amz-target": "Logs_20140328.DescribeQueryDefinitions"}
    answer = asyncio.run(cloudwatch_logs.handle_request("POST", "/", target, b"{}", {}))
    return "checked" not in answer[2].decode()
