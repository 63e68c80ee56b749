"""IAM: which permissions MiniStack checks if AUTH=true."""

import json
from unittest import mock

from ministack import app
from ministack.core import iam_actions, iam_evaluator
from ministack.core.responses import error_response_json, get_account_id, get_region
from ministack.services import cloudwatch_logs, dynamodb, lambda_svc, secretsmanager

from patches.patch import Patch
from patches.secrets import new_secret

# A function for the checks. Its role permits nothing.
FUNCTION = {
    "FunctionName": "checked",
    "Role": "arn:aws:iam::000000000000:role/none",
    "LoggingConfig": {"LogGroup": "checked"},
}
# What comes before the operation in the path of a call in CBOR.
OPERATION_IN_CBOR = "/service/GraniteServiceVersion20100801/operation/"


@Patch
def ask_iam_for_what_aws_asks_for():
    """Upstream: for a batch of messages MiniStack requires a permission with a name of its own. To
    describe a bus it requires a permission on a rule with the bus's name. To read the events of a log
    group it requires a permission on the group's name without `:*`. For a call of CloudWatch in CBOR it
    requires none.

    Reason: AWS has none of the first three permissions, so no policy grants them. It asks for the last
    one in every encoding, and Rust's SDK calls CloudWatch in CBOR. In a policy, a log group ends with `:*`:
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/iam-access-control-overview-cwl.html"""
    extract_action = iam_actions.extract_iam_action
    extract_resource = iam_actions.extract_resource_arn

    def action(service, method, path, *request):
        if service == "monitoring" and OPERATION_IN_CBOR in path:
            return "cloudwatch:" + path.split(OPERATION_IN_CBOR)[1]
        found = extract_action(service, method, path, *request)
        return found.removesuffix("Batch") if found and service == "sqs" else found

    def resource(service, method, path, headers, *rest):
        if service == "monitoring" and OPERATION_IN_CBOR in path:
            return "*"
        found = extract_resource(service, method, path, headers, *rest)
        target = headers.get("x-amz-target", "")
        if service == "logs" and target.endswith(".FilterLogEvents"):
            return f"{found}:*"
        is_bus = service == "events" and target.endswith("EventBus")
        return found.replace(":rule/default/", ":event-bus/") if is_bus else found

    iam_actions.extract_iam_action = action
    iam_actions.extract_resource_arn = resource


@ask_iam_for_what_aws_asks_for.needed_while
def a_batch_of_messages_has_a_permission_of_its_own():
    target = {"x-amz-target": "AmazonSQS.SendMessageBatch"}
    return iam_actions.extract_iam_action("sqs", "POST", "/", target, b"{}", {}) != "sqs:SendMessage"


@ask_iam_for_what_aws_asks_for.needed_while
def a_described_bus_is_taken_for_a_rule():
    request = "POST", "/", {"x-amz-target": "AWSEvents.DescribeEventBus"}, b'{"Name": "checked"}', {}
    return ":rule/" in iam_actions.extract_resource_arn("events", *request, "us-east-1", "000000000000")


@ask_iam_for_what_aws_asks_for.needed_while
def a_log_group_is_asked_for_without_its_streams():
    request = "POST", "/", {"x-amz-target": "Logs_20140328.FilterLogEvents"}, b'{"logGroupName": "checked"}', {}
    return not iam_actions.extract_resource_arn("logs", *request, "us-east-1", "000000000000").endswith(":*")


@ask_iam_for_what_aws_asks_for.needed_while
def a_call_in_cbor_needs_no_permission():
    path = OPERATION_IN_CBOR + "DescribeAlarms"
    return iam_actions.extract_iam_action("monitoring", "POST", path, {}, b"\xa0", {}) is None


@Patch
def tell_iam_the_leading_keys():
    """Upstream: MiniStack's IAM evaluates conditions but does not know dynamodb:LeadingKeys. So every
    condition on it with ForAllValues is true.

    Reason: on AWS its value is the partition keys of the items in the request:
    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/specifying-conditions.html"""
    service_context = iam_actions.dynamodb_service_context
    tables = dynamodb._tables

    def leading_keys(request):
        table = tables.get(request["TableName"].rsplit("/", 1)[-1]) or {"KeySchema": []}
        for name in (key["AttributeName"] for key in table["KeySchema"] if key["KeyType"] == "HASH"):
            for item in (request.get("Key"), request.get("Item")):
                yield from (item or {}).get(name, {}).values()
            names = request.get("ExpressionAttributeNames", {})
            for one in request.get("KeyConditionExpression", "").split(" AND "):
                key, _, value = (part.strip() for part in one.partition("="))
                if names.get(key, key) == name:
                    yield from request["ExpressionAttributeValues"][value].values()

    def context(body):
        request = json.loads(body or b"{}")
        requests = [one for item in request.get("TransactItems", []) for one in item.values()]
        requests.extend([request] if "TableName" in request else [])
        for table, wanted in request.get("RequestItems", {}).items():
            keys = wanted.get("Keys", []) if isinstance(wanted, dict) else []
            requests.extend({"TableName": table, "Key": key} for key in keys)
        keys = [key for one in requests for key in leading_keys(one)]
        return {**service_context(body), **({"dynamodb:LeadingKeys": keys} if keys else {})}

    iam_actions.dynamodb_service_context = context


@tell_iam_the_leading_keys.needed_while
def iam_is_not_told_the_leading_keys():
    dynamodb._tables["checked"] = {"KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}]}
    body = json.dumps({"TableName": "checked", "Key": {"pk": {"S": "a"}}}).encode()
    return iam_actions.dynamodb_service_context(body).get("dynamodb:LeadingKeys") != ["a"]


@Patch
def ask_roles_for_what_services_do_in_their_names():
    """Upstream: MiniStack checks no permission when Lambda polls a queue or writes logs with a
    function's role, or when Secrets Manager decrypts a secret with a customer's key for the caller.

    Reason: AWS checks them. Without the permission, messages stay on the queue, log lines are not
    written, and a secret can't be read ("Access to KMS is not allowed"):
    https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html#events-sqs-permissions
    https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs.html
    https://docs.aws.amazon.com/secretsmanager/latest/userguide/security-encryption.html"""
    esm_concurrency = lambda_svc._sqs_esm_concurrency
    emit_lambda_logs = lambda_svc._emit_lambda_logs
    get_secret_value = secretsmanager._get_secret_value
    resolve = secretsmanager._resolve

    def role_of(function):
        return (function.get("config") or function).get("Role", "").rsplit("/", 1)[-1]

    def concurrency(mapping, function, config, source):
        # IAM is asked only if there are messages: each message makes MiniStack look at the queues of
        # all accounts, and nearly all of them are empty.
        actions = ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes")
        if source["messages"] and may(role_of(function), actions, mapping["EventSourceArn"]):
            return esm_concurrency(mapping, function, config, source)
        return 0

    def emit(function, *rest, **more):
        config = function.get("config") or function
        group = config.get("LoggingConfig", {}).get("LogGroup")
        arn = f"arn:aws:logs:{get_region()}:{get_account_id()}:log-group:{group}:log-stream:any"
        actions = ("logs:CreateLogStream", "logs:PutLogEvents")
        if group is None or may(role_of(function), actions, arn):
            emit_lambda_logs(function, *rest, **more)

    def get(data):
        _, secret = resolve(data.get("SecretId"))
        caller = iam_evaluator.caller_arn()
        key = (secret or {}).get("KmsKeyId")
        is_role = ":assumed-role/" in caller
        if key and is_role and not may(caller.split("/")[1], ["kms:Decrypt"], key):
            return error_response_json("AccessDeniedException", "Access to KMS is not allowed", 400)
        return get_secret_value(data)

    lambda_svc._sqs_esm_concurrency = concurrency
    lambda_svc._emit_lambda_logs = emit
    secretsmanager._get_secret_value = get


def may(role: str, actions, resource: str) -> bool:
    """Whether the role with this name may do all of these actions."""
    account = get_account_id()
    policies = iam_evaluator._gather_role_policies(role, account) if app.AUTH else None

    def is_allowed(action):
        context = iam_evaluator.EvalContext(
            principal_arn=f"arn:aws:iam::{account}:role/{role}",
            principal_type="AssumedRole",
            principal_account=account,
            action=action,
            resource_arn=resource,
            region=get_region(),
        )
        return iam_evaluator.evaluate(context, policies).decision == "Allow"

    return not app.AUTH or all(map(is_allowed, actions))


@ask_roles_for_what_services_do_in_their_names.needed_while
def a_queue_is_polled_without_permission():
    mapping = {"EventSourceArn": "arn:aws:sqs:us-east-1:000000000000:checked"}
    with mock.patch.object(app, "AUTH", True):
        return lambda_svc._sqs_esm_concurrency(mapping, {}, FUNCTION, {"messages": [{}]}) > 0


@ask_roles_for_what_services_do_in_their_names.needed_while
def logs_are_written_without_permission():
    cloudwatch_logs._log_groups.pop("checked", None)
    with mock.patch.object(app, "AUTH", True):
        lambda_svc._emit_lambda_logs({"config": FUNCTION}, "id", "line", False, 1)
    return "checked" in cloudwatch_logs._log_groups


@ask_roles_for_what_services_do_in_their_names.needed_while
def a_secret_is_decrypted_without_permission():
    asked, secret = new_secret("a")
    secret["KmsKeyId"] = "arn:aws:kms:us-east-1:000000000000:key/checked"
    caller = "arn:aws:sts::000000000000:assumed-role/none/session"
    with mock.patch.object(app, "AUTH", True), mock.patch.object(iam_evaluator, "caller_arn", lambda: caller):
        return secretsmanager._get_secret_value(asked)[0] == 200
