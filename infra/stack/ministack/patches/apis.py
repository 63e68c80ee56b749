"""HTTP APIs: what they answer if a function fails, their metrics and their access logs."""

import asyncio
import contextvars
import json
import re
import time

from ministack.core.responses import new_uuid, request_scope
from ministack.services import apigateway, cloudwatch, cloudwatch_logs, lambda_svc

from patches.metrics import record, statistics
from patches.patch import Patch

# Why the function of the current request gave no answer.
FAILURE = contextvars.ContextVar("failure")


@Patch
def hide_how_functions_fail():
    """Upstream: if a function fails, MiniStack answers 502 with its error, and 429 if it is throttled.

    Reason: on AWS a caller learns neither. The answers are 500 and 503, and the access log has the error:
    https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-troubleshooting-lambda.html"""
    to_response = lambda_svc.lambda_execute_result_to_api_proxy_response

    def respond(result):
        if not result.get("error"):
            return to_response(result)
        body = result.get("body")
        FAILURE.set(str(body.get("errorMessage", body.get("message")) if isinstance(body, dict) else body))
        status, message = (503, "Service Unavailable") if result.get("throttle") else (500, "Internal Server Error")
        headers = {"Content-Type": "application/json"}
        return {"statusCode": status, "headers": headers, "body": json.dumps({"message": message})}, None

    lambda_svc.lambda_execute_result_to_api_proxy_response = respond


@hide_how_functions_fail.needed_while
def a_caller_gets_the_error_of_a_function():
    failed = {"error": True, "body": {"errorMessage": "a", "errorType": "b"}}
    results = failed, {**failed, "throttle": True}
    answers = [lambda_svc.lambda_execute_result_to_api_proxy_response(result)[0] for result in results]
    return [answer["statusCode"] for answer in answers] != [500, 503]


@Patch
def measure_apis():
    """Upstream: MiniStack measures no request to an HTTP API, and writes no access log.

    Reason: an alarm watches the answers, and the runbook reads the access log."""
    handle_execute = apigateway.handle_execute

    async def execute(api_id, stage, path, method, *rest, **more):
        began, status, body = time.time(), 500, b""
        FAILURE.set(None)
        try:
            answer = await handle_execute(api_id, stage, path, method, *rest, **more)
            status, _, body = answer
            return answer
        finally:
            if scope := apigateway.find_api_scope(api_id):
                with request_scope(*scope):
                    for name, is_one in (("Count", True), ("4xx", 400 <= status < 500), ("5xx", status >= 500)):
                        record("AWS/ApiGateway", name, int(is_one), "Count", {"ApiId": api_id})
                    log_access(api_id, stage, path, method, status, body, 1000 * (time.time() - began))

    apigateway.handle_execute = execute


def log_access(api_id, stage, path, method, status, body, milliseconds) -> None:
    """Writes the line that the stage's access log should have. A value that is not known here is `-`."""
    settings = apigateway._stages.get(api_id, {}).get(stage, {}).get("accessLogSettings")
    group = settings and settings["destinationArn"].split(":log-group:")[1].removesuffix(":*")
    if group not in cloudwatch_logs._log_groups:
        return
    route = apigateway._match_route(api_id, method, "/" + path.lstrip("/"))
    values = {
        "requestTime": time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime()),
        "requestId": new_uuid(),
        "identity.sourceIp": "127.0.0.1",
        "httpMethod": method,
        "path": path,
        "routeKey": route and route["routeKey"],
        "status": status,
        "responseLength": len(body),
        "responseLatency": int(milliseconds),
        "integrationLatency": route and int(milliseconds),
        "integrationStatus": route and 200,
        "integrationErrorMessage": FAILURE.get(),
    }

    def value(match):
        known = values.get(match[1])
        return json.dumps("-" if known is None else str(known))[1:-1]

    line = re.sub(r"\$context\.([A-Za-z.]+)", value, settings["format"])
    stream, now = {"logGroupName": group, "logStreamName": api_id}, int(time.time() * 1000)
    cloudwatch_logs._create_log_stream(stream)
    cloudwatch_logs._put_log_events({**stream, "logEvents": [{"timestamp": now, "message": line}]})


@measure_apis.needed_while
def a_request_to_an_api_is_neither_measured_nor_logged():
    cloudwatch.reset()
    cloudwatch_logs.reset()
    cloudwatch_logs._create_log_group({"logGroupName": "checked"})
    log = {"destinationArn": "arn:aws:logs:us-east-1:000000000000:log-group:checked", "format": "$context.status"}
    apigateway._apis["checked"] = {}
    apigateway._stages["checked"] = {"$default": {"accessLogSettings": log}}
    asyncio.run(apigateway.handle_execute("checked", "$default", "/", "GET", {}, b"", {}))
    lines = json.loads(cloudwatch_logs._filter_log_events({"logGroupName": "checked"})[2])["events"]
    is_counted = statistics("AWS/ApiGateway", "4xx", ApiId="checked").get("Sum") == 1
    return not is_counted or [line["message"] for line in lines] != ["404"]
