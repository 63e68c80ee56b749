"""Custom domain names of HTTP APIs: how requests get there, and the default endpoint that is off."""

from ministack import app
from ministack.core.responses import request_scope
from ministack.services import apigateway, apigateway_v1

from patches.patch import Patch

# A request to this path, with a domain name behind it, is a request to that domain.
PATH = "/_aws/domains/"
NO_API = "none"


@Patch
def reach_domains_of_every_account_by_path():
    """Upstream: a request reaches a custom domain by its Host header alone, and only in the default account.

    Reason: no resolver of this machine knows the tests' domains, and each stack has its own account."""
    find_domain_scope = apigateway_v1.find_domain_scope
    resolve = app._resolve_custom_domain_request

    def find(domain_name):
        owners = (key for key, _ in apigateway_v1._domain_names.all_items() if key[2].lower() == domain_name.lower())
        return find_domain_scope(domain_name) or next(owners, None)

    def resolve_by_path(host, path):
        if not path.startswith(PATH):
            return resolve(host, path)
        domain_name, _, rest = path.removeprefix(PATH).partition("/")
        return resolve(domain_name, "/" + rest)

    apigateway_v1.find_domain_scope = find
    app._resolve_custom_domain_request = resolve_by_path


@reach_domains_of_every_account_by_path.needed_while
def a_domain_of_another_account_is_not_reached_by_path():
    with request_scope("111111111111", "us-east-1"):
        apigateway._apis["checked"] = {}
        apigateway._stages["checked"] = {"$default": {}}
        configuration = {"certificateArn": "arn", "endpointType": "REGIONAL"}
        apigateway._create_domain_name({"domainName": "a.example", "domainNameConfigurations": [configuration]})
        apigateway._create_api_mapping("a.example", {"apiId": "checked", "stage": "$default"})
    found = app._resolve_custom_domain_request("127.0.0.1:1", PATH + "a.example/b/c")
    return found != ("checked", "$default", "/b/c")


@Patch
def turn_default_endpoints_off():
    """Upstream: an API answers at its default endpoint, whatever DisableExecuteApiEndpoint says.

    Reason: a delivery to an endpoint that is off is lost on AWS. It has to be lost here, too."""
    parse = app._parse_execute_api_url

    def parse_if_on(host, path):
        found = parse(host, path)
        apis = (api for key, api in apigateway._apis.all_items() if found and key[2] == found[0])
        is_off = any(str(api.get("disableExecuteApiEndpoint")).lower() == "true" for api in apis)
        return (NO_API, *found[1:]) if is_off else found

    app._parse_execute_api_url = parse_if_on


@turn_default_endpoints_off.needed_while
def a_default_endpoint_that_is_off_answers():
    apigateway._apis["checked"] = {"disableExecuteApiEndpoint": True}
    return app._parse_execute_api_url("127.0.0.1", "/_aws/execute-api/checked/a")[0] == "checked"
