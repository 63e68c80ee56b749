"""Many accounts: each stack of the tests has its own."""

from ministack.core import lambda_runtime
from ministack.core.responses import get_account_id, get_region, request_scope
from ministack.services import apigateway, lambda_svc, s3
from ministack.services.cloudformation import provisioners

from patches.lambda_runtime import CONFIG
from patches.patch import Patch


@Patch
def find_apis_of_every_account():
    """Upstream: if a request has no AWS signature, MiniStack looks for its API only in the default
    account.

    Reason: AURA's deliveries have no signature, and AWS finds the API in any account."""
    find_api_scope = apigateway.find_api_scope

    def find(api_id):
        owners = (key[:2] for key, _ in apigateway._apis.all_items() if key[2] == api_id)
        return find_api_scope(api_id) or next(owners, None)

    apigateway.find_api_scope = find


@find_apis_of_every_account.needed_while
def an_api_of_another_account_is_not_found():
    with request_scope("111111111111", "us-east-1"):
        apigateway._apis["checked"] = {}
    return apigateway.find_api_scope("checked") is None


@Patch
def leave_other_accounts_functions_alone():
    """Upstream: when MiniStack creates a function, it ends the processes of all functions with that
    name, in every account.

    Reason: the tests deploy many stacks with one name, and one would kill another's deliveries."""
    invalidate_worker = lambda_svc.invalidate_worker

    def invalidate(name, qualifier=None, account=None, region=None):
        invalidate_worker(name, qualifier, account or get_account_id(), region or get_region())

    lambda_svc.invalidate_worker = invalidate


@leave_other_accounts_functions_alone.needed_while
def a_new_function_ends_those_of_other_accounts():
    lambda_runtime.acquire_worker("checked", CONFIG, b"")
    with request_scope("222222222222", "us-east-1"):
        provisioners._lambda_create("Checked", {"FunctionName": "checked"}, "stack")
    ended = not any(lambda_runtime._workers.values())
    lambda_runtime._workers.clear()
    return ended


@Patch
def read_packages_of_another_account():
    """Upstream: MiniStack looks for a function's package, and for a template, only in the account's own buckets.

    Reason: the packages are in a bucket of one account. Each stack's account would have to get a copy, and
    while MiniStack takes such a request it answers no other. On AWS a bucket's policy can let other accounts
    in."""
    get_object_data = s3._get_object_data

    def get(bucket, *about, **more):
        with request_scope(s3._bucket_owner_account(bucket) or get_account_id(), get_region()):
            return get_object_data(bucket, *about, **more)

    s3._get_object_data = get


@read_packages_of_another_account.needed_while
def a_package_of_another_account_is_not_found():
    with request_scope("333333333333", "us-east-1"):
        s3._buckets["checked"] = {"objects": {"package": {"body": b"zip"}}}
    return s3._get_object_data("checked", "package") is None
