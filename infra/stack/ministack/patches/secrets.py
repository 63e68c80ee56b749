"""Secrets Manager: the versions of a secret, and its rotation."""

import collections
import contextvars
import json
import string
import threading
import time

from ministack.core.responses import error_response_json, json_response, new_uuid
from ministack.services import lambda_svc, secretsmanager
from ministack.services.cloudformation import provisioners

from patches.patch import Patch


@Patch
def keep_versions_of_secrets_as_aws_does():
    """Upstream: MiniStack returns a version without a value as if it had one, overwrites a version
    that has a value, and, when a label moves, leaves it on the old version too.

    Reason: a rotation begins with a version that has no value yet, may store a value again, and moves
    labels."""
    get_secret_value = secretsmanager._get_secret_value
    put_secret_value = secretsmanager._put_secret_value
    resolve = secretsmanager._resolve
    remove_stage_everywhere = secretsmanager._remove_stage_everywhere

    def get(data):
        answer = get_secret_value(data)
        if answer[0] == 200 and not json.loads(answer[2]).keys() & {"SecretString", "SecretBinary"}:
            asked = data.get("VersionId") or data.get("VersionStage", "AWSCURRENT")
            message = f"Secrets Manager can't find the specified secret value for {asked}."
            return error_response_json("ResourceNotFoundException", message, 400)
        return answer

    def put(data):
        _, secret = resolve(data.get("SecretId"))
        token = data.get("ClientRequestToken")
        version = secret["Versions"].get(token, {}) if secret else {}
        stored = [version.get(key) for key in ("SecretString", "SecretBinary")]
        if any(stored) and stored != [data.get("SecretString"), data.get("SecretBinary")]:
            message = f"The token {token} belongs to a version with another value."
            return error_response_json("ResourceExistsException", message, 400)
        if any(stored):
            same = {"ARN": secret["ARN"], "Name": secret["Name"], "VersionId": token}
            return json_response({**same, "VersionStages": version["Stages"]})
        answer = put_secret_value(data)
        if answer[0] == 200:
            put = json.loads(answer[2])
            for stage in put["VersionStages"]:
                remove_stage_everywhere(secret, stage, put["VersionId"])
        return answer

    secretsmanager._get_secret_value = get
    secretsmanager._put_secret_value = put


def new_secret(value: str) -> tuple[dict, dict]:
    """Creates a secret for a check. Returns the arguments of calls for it, and its record."""
    secretsmanager._secrets.pop("checked", None)
    secretsmanager._create_secret({"Name": "checked", "SecretString": value})
    return {"SecretId": "checked"}, secretsmanager._secrets["checked"]


@keep_versions_of_secrets_as_aws_does.needed_while
def a_version_without_a_value_is_answered():
    asked, secret = new_secret("a")
    secret["Versions"]["empty"] = {"CreatedDate": 0, "Stages": ["AWSPENDING"]}
    return secretsmanager._get_secret_value({**asked, "VersionId": "empty"})[0] == 200


@keep_versions_of_secrets_as_aws_does.needed_while
def the_value_of_a_version_is_overwritten():
    asked, secret = new_secret("a")
    (version,) = secret["Versions"]
    secretsmanager._put_secret_value({**asked, "ClientRequestToken": version, "SecretString": "b"})
    return secret["Versions"][version]["SecretString"] == "b"


@keep_versions_of_secrets_as_aws_does.needed_while
def a_label_that_moves_stays_on_both_versions():
    asked, secret = new_secret("a")
    for value in "bc":
        secretsmanager._put_secret_value({**asked, "SecretString": value, "VersionStages": ["AWSPENDING"]})
    return sum("AWSPENDING" in version["Stages"] for version in secret["Versions"].values()) > 1


@Patch
def generate_secrets_without_punctuation():
    """Upstream: a secret that CloudFormation generates has punctuation in spite of ExcludePunctuation.

    Reason: the example backend takes a secret with a comma for two."""
    secret_string = provisioners._sm_secret_string

    def generate(props):
        how = props.get("GenerateSecretString")
        if how and how.get("ExcludePunctuation"):
            excluded = how.get("ExcludeCharacters", "") + string.punctuation
            props = {**props, "GenerateSecretString": {**how, "ExcludeCharacters": excluded}}
        return secret_string(props)

    provisioners._sm_secret_string = generate


@generate_secrets_without_punctuation.needed_while
def a_generated_secret_has_punctuation():
    how = {"PasswordLength": 1000, "ExcludePunctuation": True}
    return not provisioners._sm_secret_string({"GenerateSecretString": how}).isalnum()


@Patch
def rotate_secrets_with_their_functions():
    """Upstream: MiniStack's RotateSecret copies the current value and calls no function.
    DescribeSecret doesn't say when a secret was rotated.

    Reason: AWS creates a version without a value, labels it AWSPENDING and answers. Then it calls the
    function for four steps, and stops at the first step that fails. After a failure it refuses the
    next call, and tries the failed rotation again."""
    describe_secret = secretsmanager._describe_secret
    rotate_secret = secretsmanager._rotate_secret
    resolve = secretsmanager._resolve
    is_replica = secretsmanager._is_replica
    find_stage_version = secretsmanager._find_stage_version
    remove_stage_everywhere = secretsmanager._remove_stage_everywhere
    find_function = lambda_svc._get_func_record_for_ref
    execution_record = lambda_svc._execution_record_for_config
    execute = lambda_svc._execute_function_with_config_scope
    at_work = collections.defaultdict(threading.Lock)

    def is_incomplete(version):
        stages = version["Stages"] if version else ()
        return "AWSPENDING" in stages and "AWSCURRENT" not in stages

    def take(step, secret, token):
        function, config, _ = find_function(secret["RotationLambdaARN"])
        event = {"Step": step, "SecretId": secret["ARN"], "ClientRequestToken": token}
        return function and not execute(execution_record(function, config), event).get("error")

    def all_steps(secret, token):
        steps = ("createSecret", "setSecret", "testSecret", "finishSecret")
        if all(take(step, secret, token) for step in steps):
            secret["LastRotatedDate"] = int(time.time())

    def test_alone(secret, token):
        take("testSecret", secret, token)
        del secret["Versions"][token]

    def begin(work, secret, token):
        def run():
            with at_work[secret["ARN"]]:
                # An earlier run may have done this work already.
                if is_incomplete(secret["Versions"].get(token)):
                    work(secret, token)

        # The thread works in the account and the region of this call.
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(run,), daemon=True).start()

    def refusal(arn):
        if not arn:
            return "InvalidRequestException", (
                "You tried to enable rotation on a secret that doesn't already have a Lambda "
                "function ARN configured and you didn't include such an ARN as a parameter in "
                "this call."
            )
        function = find_function(arn)[0] or {"policy": {"Statement": []}}
        principals = [statement["Principal"] for statement in function["policy"]["Statement"]]
        if {"Service": "secretsmanager.amazonaws.com"} not in principals:
            return "AccessDeniedException", (
                "Secrets Manager cannot invoke the specified Lambda function. Ensure that the "
                "function policy grants access to the principal secretsmanager.amazonaws.com."
            )
        return None

    def rotate(data):
        _, secret = resolve(data.get("SecretId"))
        if not secret or secret.get("DeletedDate") or is_replica(secret):
            return rotate_secret(data)  # MiniStack refuses these itself
        function = data.get("RotationLambdaARN") or secret.get("RotationLambdaARN")
        if refused := refusal(function):
            return error_response_json(*refused, 400)
        rules = data.get("RotationRules") or secret.get("RotationRules")
        secret.update(RotationLambdaARN=function, RotationRules=rules, RotationEnabled=True)
        token = data.get("ClientRequestToken") or new_uuid()
        pending, version = find_stage_version(secret, "AWSPENDING")
        if is_incomplete(version) and pending != token:
            begin(all_steps, secret, pending)
            message = "A previous rotation isn't complete. That rotation will be reattempted."
            return error_response_json("InvalidRequestException", message, 400)
        if token not in secret["Versions"]:
            remove_stage_everywhere(secret, "AWSPENDING")
            created = {"CreatedDate": int(time.time()), "Stages": ["AWSPENDING"]}
            secret["Versions"][token] = {"SecretString": None, "SecretBinary": None, **created}
        begin(all_steps if data.get("RotateImmediately", True) else test_alone, secret, token)
        return json_response({"ARN": secret["ARN"], "Name": secret["Name"], "VersionId": token})

    def describe(data):
        answer = describe_secret(data)
        _, secret = resolve(data.get("SecretId"))
        if answer[0] == 200 and "LastRotatedDate" in secret:
            rotated = {"LastRotatedDate": secret["LastRotatedDate"]}
            return json_response({**json.loads(answer[2]), **rotated})
        return answer

    secretsmanager._rotate_secret = rotate
    secretsmanager._describe_secret = describe


@rotate_secrets_with_their_functions.needed_while
def the_current_value_is_copied_to_a_new_version():
    asked, secret = new_secret("a")
    secretsmanager._rotate_secret({**asked, "RotationLambdaARN": "arn:aws:lambda:us-east-1:0:function:none"})
    return [version["SecretString"] for version in secret["Versions"].values()] == ["a", "a"]


@rotate_secrets_with_their_functions.needed_while
def nothing_tells_when_a_secret_was_rotated():
    asked, secret = new_secret("a")
    secret["LastRotatedDate"] = 1
    return "LastRotatedDate" not in json.loads(secretsmanager._describe_secret(asked)[2])
