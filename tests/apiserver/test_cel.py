"""Each rule of the CRDs accepts what it should and refuses the rest with a sentence that tells what to do.

A case is tests/apiserver/cel/<rule>/{accept,reject}.yaml; the first line of a reject file states what the API server says.
"""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client, dynamic

from spillway.api.crd import KINDS, schema
from spillway.api.engine_arguments import ARGUMENTS_WITH_A_FIELD, VARIABLES_WITH_A_FIELD
from spillway.api.rule import Rule
from spillway.api.rules import RULES
from tests.apiserver.server import ApiServer

CASES = Path(__file__).parent / "cel"
EXPECT = "# expect: "
PRICED = {"name": "a", "inputUSDPerMillionTokens": "1", "outputUSDPerMillionTokens": "1"}
APART = {"topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule"}
ALL_RULES: tuple[Rule, ...] = tuple({rule.name: rule for rules in RULES.values() for rule in rules}.values())


@pytest.fixture(scope="module")
def objects(apiserver: ApiServer) -> dynamic.DynamicClient:
    return apiserver.dynamic_client()


def _refusals(objects: dynamic.DynamicClient, document: dict[str, Any]) -> list[str]:
    """Return what the API server has against a document, cause by cause; nothing when it would take it."""
    resource = objects.resources.get(api_version=document["apiVersion"], kind=document["kind"])
    try:
        resource.create(body=document, namespace="default" if resource.namespaced else None, query_params=[("dryRun", "All")])
    except client.ApiException as refused:
        answer = json.loads(refused.body or "{}")
        return [cause["message"] for cause in answer.get("details", {}).get("causes", [])] or [answer["message"]]
    return []


def _documents(rule: str, file: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((CASES / rule / f"{file}.yaml").read_text()))


def _expected(rule: str) -> str:
    first = (CASES / rule / "reject.yaml").read_text().splitlines()[0]
    assert first.startswith(EXPECT), f"cel/{rule}/reject.yaml must begin with '{EXPECT}' and the message"
    return first.removeprefix(EXPECT)


@pytest.mark.parametrize("rule", [rule.name for rule in ALL_RULES])
def test_a_rule_accepts_what_it_should(objects: dynamic.DynamicClient, rule: str) -> None:
    documents = _documents(rule, "accept")
    assert [_refusals(objects, document) for document in documents] == [[] for _ in documents]


@pytest.mark.parametrize("rule", [rule.name for rule in ALL_RULES])
def test_a_rule_refuses_the_rest_and_nothing_else_is_wrong_with_it(objects: dynamic.DynamicClient, rule: str) -> None:
    documents = _documents(rule, "reject")
    assert documents
    for document in documents:
        refusals = _refusals(objects, document)
        assert len(refusals) == 1, f"{document} should break one rule, and breaks {refusals}"
        assert _expected(rule) in refusals[0]


def test_every_rule_in_the_crds_has_a_case() -> None:
    written = {validation["message"] for kind in KINDS for validation in _validations(schema(kind))}
    assert written == {rule.message for rule in ALL_RULES}, "a rule hangs on no field, or on one that is gone"
    assert {folder.name for folder in CASES.iterdir()} == {rule.name for rule in ALL_RULES}


def _validations(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, list):
        for each in node:
            yield from _validations(each)
    if isinstance(node, dict):
        yield from node.get("x-kubernetes-validations", [])
        for value in node.values():
            yield from _validations(value)


def test_every_argument_that_spillway_sets_is_refused_with_the_field_to_use(objects: dynamic.DynamicClient) -> None:
    document = _documents("extra-args", "accept")[0]
    arguments = list(ARGUMENTS_WITH_A_FIELD)
    document["spec"]["dedicated"]["engine"]["extraArgs"] = arguments
    said = "\n".join(_refusals(objects, document))
    for argument, advice in ARGUMENTS_WITH_A_FIELD.items():
        assert f"{argument} cannot be given in extraArgs: {advice}" in said


def test_every_variable_that_spillway_sets_is_refused_with_the_field_to_use(objects: dynamic.DynamicClient) -> None:
    document = _documents("env-owned", "accept")[0]
    document["spec"]["dedicated"]["engine"]["env"] = [{"name": name, "value": "x"} for name in VARIABLES_WITH_A_FIELD]
    said = "\n".join(_refusals(objects, document))
    for name, advice in VARIABLES_WITH_A_FIELD.items():
        assert f"{name} cannot be given in env: {advice}" in said


@pytest.mark.parametrize(
    ("rule", "path", "value", "said"),
    [
        ("extra-args", "model.id", "--trust-remote-code", "should match"),
        ("extra-args", "model.id", 'a"b', "should match"),
        ("extra-args", "placement.mode", "Batch", 'supported values: "Auto", "Dedicated", "Hosted", "Hybrid"'),
        ("extra-args", "budget", {"monthlyUSD": 100}, 'must be of type string: "integer"'),
        ("extra-args", "budget", {"monthlyUSD": "-1"}, "should match"),
        ("extra-args", "dedicated.engine.env", [{"name": "A"}, {"name": "A"}], "Duplicate value"),
        ("extra-args", "dedicated.podTemplate", {"labels": {"team": "a b"}}, "should match"),
        ("extra-args", "dedicated.podTemplate", {"resources": {"requests": {"cpu": "four"}}}, "should match"),
        ("extra-args", "dedicated.podTemplate", {"resources": {"limits": {"memory": -1}}}, "should be greater than or equal to 0"),
        ("extra-args", "traffic", {"requestsPerSecond": {"mean": "x", "peak": "1"}}, "should match"),
        ("gateway-memory", "gateway.podTemplate.topologySpreadConstraints", [APART, APART], "Duplicate value"),
        ("gateway-memory", "gateway.podTemplate.tolerations", [{"operator": "Exists", "effect": "Never"}], "supported values"),
        ("provider-https", "models", [PRICED, PRICED], "Duplicate value"),
        ("provider-https", "models", [], "should have at least 1 items"),
        ("provider-https", "prices", {"asOf": "yesterday", "source": "x"}, "must be of type date"),
    ],
)  # fmt: skip
def test_the_schema_refuses(objects: dynamic.DynamicClient, rule: str, path: str, value: object, said: str) -> None:
    document = copy.deepcopy(_documents(rule, "accept")[0])
    *parents, last = path.split(".")
    owner = document["spec"]
    for parent in parents:
        owner = owner[parent]
    owner[last] = value
    first, *more = _refusals(objects, document)
    assert said in first
    assert not [each for each in more if "some validation rules were not checked" not in each]
