"""CloudFormation: how templates are read, what deleting a stack leaves, the URLs of its APIs, and the ids
of its rules."""

import asyncio
import contextlib
import functools
import pickle
from unittest import mock

import yaml
from ministack.core.responses import get_region
from ministack.services import apigateway, cloudformation, eventbridge
from ministack.services.cloudformation import changesets, engine, handlers, provisioners, stacks

from patches.patch import Patch
from samtranslator.translator import transform
from samtranslator.translator.translator import Translator

# The tests have a few variants of the template. Each is some 150 kB.
KEPT_TEMPLATES = 16


@Patch
def read_each_template_once():
    """Upstream: MiniStack reads a template's YAML with the parser in Python, and expands its SAM resources, for
    each deployment anew.

    Reason: nothing else is answered meanwhile, which is a second for this template on a busy machine, and
    ingest gives up waiting for its secret and its queue. The parser in C takes a ninth of the time. The tests
    deploy the same template again and again."""

    class Loader(yaml.CSafeLoader):
        yaml_constructors = engine.CfnLoader.yaml_constructors

    parse, expand = engine._parse_template, transform.transform

    @functools.lru_cache(maxsize=KEPT_TEMPLATES)
    def parsed(text):
        return pickle.dumps(parse(text))

    @functools.lru_cache(maxsize=KEPT_TEMPLATES)
    def expanded(_region, pickled):
        return pickle.dumps(expand(*pickle.loads(pickled), engine._NO_IAM_POLICY_LOADER))

    engine.CfnLoader = Loader
    # Each caller gets a copy of its own, because some change it.
    for module in (engine, handlers, changesets):
        module._parse_template = lambda text: pickle.loads(parsed(text))
    transform.transform = lambda *about: pickle.loads(expanded(get_region(), pickle.dumps(about[:2])))


@read_each_template_once.needed_while
def templates_are_read_with_the_parser_in_python():
    return not issubclass(engine.CfnLoader, yaml.CSafeLoader)


@read_each_template_once.needed_while
def a_template_is_read_again():
    text = "Checked: !GetAtt A.B"
    assert engine._parse_template(text) == {"Checked": {"Fn::GetAtt": ["A", "B"]}}
    return is_called_for(lambda: engine._parse_template(text), yaml, "load")


@read_each_template_once.needed_while
def a_template_is_expanded_again():
    template = {"Transform": "AWS::Serverless-2016-10-31", "Resources": {"Checked": {"Type": "AWS::Serverless::SimpleTable"}}}
    assert engine._apply_transforms(template, {})["Resources"]["Checked"]["Type"] == "AWS::DynamoDB::Table"
    return is_called_for(lambda: engine._apply_transforms(template, {}), Translator, "translate")


def is_called_for(action, owner, name):
    """Whether an action calls this function."""
    with mock.patch.object(owner, name, wraps=getattr(owner, name)) as watched:
        with contextlib.suppress(Exception):
            action()
    return watched.called


@Patch
def keep_what_a_resource_that_stays_depends_on():
    """Upstream: if MiniStack can't delete a resource of a stack, it still deletes what the resource
    depends on, such as the function of a custom resource.

    Reason: a later delete could not call that function. On AWS, what the resource depends on stays."""
    delete_resource = stacks._delete_resource
    with_dependencies = stacks._with_dependencies

    def delete(kind, physical_id, properties, stack_name, logical_id, *rest):
        stack = cloudformation._stacks.get(stack_name) or {}
        resources = stack.get("_resources", {})
        # A resource that failed in an earlier delete is tried before what it depends on. So by now it
        # is gone, or has failed again.
        failed = [
            name
            for name, resource in resources.items()
            if resource.get("ResourceStatus") == "DELETE_FAILED" and name != logical_id
        ]
        definitions = stack.get("_template", {}).get("Resources", {})
        deleting = stack.get("StackStatus") == "DELETE_IN_PROGRESS"
        if deleting and logical_id in with_dependencies(failed, definitions, set(resources)):
            raise RuntimeError("a resource that depends on it could not be deleted")
        return delete_resource(kind, physical_id, properties, stack_name, logical_id, *rest)

    stacks._delete_resource = delete


@keep_what_a_resource_that_stays_depends_on.needed_while
def what_a_resource_that_stays_depends_on_is_deleted():
    base = {"Type": "AWS::CloudFormation::WaitConditionHandle"}
    stays = {"Type": "Checked::Without::Delete", "DependsOn": "Base"}
    resources = {"Base": base, "Stays": stays}
    cloudformation._stacks["checked"] = stack = {
        "_template": {"Resources": resources},
        "_resources": {name: {"ResourceType": one["Type"]} for name, one in resources.items()},
    }
    asyncio.run(stacks._delete_stack_async("checked", "checked"))
    return list(stack["_resources"]) == ["Stays"]


@Patch
def give_apis_a_url_that_every_resolver_knows():
    """Upstream: MiniStack puts an API's id into the host name, below `localhost`.

    Reason: not every resolver knows that such a name is this machine. MiniStack takes the id in the
    path, too."""
    handlers = provisioners._RESOURCE_HANDLERS["AWS::ApiGatewayV2::Api"]
    create = handlers["create"]

    def create_by_path(*about):
        api_id, attributes = create(*about)
        url = f"http://127.0.0.1:{apigateway._PORT}/_aws/execute-api/{api_id}"
        apigateway._apis[api_id]["apiEndpoint"] = url
        return api_id, {**attributes, "ApiEndpoint": url}

    handlers["create"] = create_by_path


@give_apis_a_url_that_every_resolver_knows.needed_while
def the_host_of_an_api_is_a_name_below_localhost():
    handlers = provisioners._RESOURCE_HANDLERS["AWS::ApiGatewayV2::Api"]
    _, attributes = handlers["create"]("Checked", {}, "stack")
    return ".localhost:" in attributes["ApiEndpoint"]


@Patch
def name_the_bus_in_the_id_of_a_rule():
    """Upstream: the id of a rule is its name.

    Reason: on AWS, the id of a rule on another bus than the default one is `BUS|NAME`. The runbook reads
    both from it."""
    handlers = provisioners._RESOURCE_HANDLERS["AWS::Events::Rule"]
    create, update, delete = (handlers[name] for name in ("create", "update", "delete"))

    def with_bus(properties, answer):
        name, attributes = answer
        bus = properties.get("EventBusName", "default")
        return (name if bus == "default" else f"{bus}|{name}"), attributes

    def name_of(physical_id):
        return physical_id.split("|")[-1]

    handlers["create"] = lambda logical_id, properties, stack: with_bus(properties, create(logical_id, properties, stack))
    handlers["update"] = lambda physical_id, old, new, *rest: with_bus(new, update(name_of(physical_id), old, new, *rest))
    handlers["delete"] = lambda physical_id, properties: delete(name_of(physical_id), properties)


@name_the_bus_in_the_id_of_a_rule.needed_while
def the_id_of_a_rule_does_not_have_its_bus():
    handlers = provisioners._RESOURCE_HANDLERS["AWS::Events::Rule"]
    properties = {"EventBusName": "own", "Name": "checked"}
    physical_id, _ = handlers["create"]("Checked", properties, "stack")
    handlers["delete"](physical_id, properties)
    is_gone = not any(rule["Name"] == "checked" for rule in eventbridge._rules.values())
    return not (physical_id == "own|checked" and is_gone)
