"""Documents are judged offline as the API server judges them: the same accept and reject files as tests/apiserver/cel."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from spillway.api.conformance import _CHECKS, broken_rules, violations
from spillway.api.crd import KINDS, schema
from spillway.api.rules import RULES

CASES = Path("tests/apiserver/cel")
SCHEMAS = {kind.kind: schema(kind)["properties"]["spec"] for kind in KINDS}
MESSAGES = {rule.name: rule.message for rules in RULES.values() for rule in rules}


def documents(rule: str, file: str) -> list[dict[str, Any]]:
    return list(yaml.load_all((CASES / rule / f"{file}.yaml").read_text(), Loader=yaml.CSafeLoader))


def refusals(document: dict[str, Any]) -> list[str]:
    found = [each.message for each in violations(document["spec"], SCHEMAS[document["kind"]], "spec")]
    return found or [each.message for each in broken_rules(document["kind"], document["spec"])]


@pytest.mark.parametrize("rule", sorted(folder.name for folder in CASES.iterdir()))
def test_what_the_api_server_accepts_is_accepted(rule: str) -> None:
    assert [refusals(document) for document in documents(rule, "accept")] == [[] for _ in documents(rule, "accept")]


@pytest.mark.parametrize("rule", sorted(_CHECKS))
def test_what_a_rule_refuses_is_refused_with_the_rules_own_message(rule: str) -> None:
    for document in documents(rule, "reject"):
        assert refusals(document) == [MESSAGES[rule]], document


WORKLOAD: dict[str, Any] = {"model": {"id": "a/b"}, "placement": {"mode": "Auto"}, "dedicated": {}}


@pytest.mark.parametrize(
    ("changes", "field", "said"),
    [
        ({"trafic": {}}, "spec.trafic", "did you mean traffic?"),
        ({"traffic": {"requestPerMonth": 5}}, "spec.traffic.requestPerMonth", "did you mean requestsPerMonth?"),
        ({"traffic": {"requestsPerMonth": "5"}}, "spec.traffic.requestsPerMonth", "write a whole number, without quotes or a unit"),
        ({"slo": {"timeToFirstTokenMs": "2000ms"}}, "spec.slo.timeToFirstTokenMs", "write a whole number, without quotes or a unit"),
        ({"traffic": {"requestsPerMonth": -5}}, "spec.traffic.requestsPerMonth", "from 0 to"),
        ({"traffic": {"requestsPerMonth": True}}, "spec.traffic.requestsPerMonth", "write a whole number"),
        ({"traffic": {"requestsPerSecond": {"mean": 4}}}, "spec.traffic.requestsPerSecond.mean", 'in quotes, as text: "4"'),
        ({"traffic": {"requestsPerSecond": {"mean": "4/s"}}}, "spec.traffic.requestsPerSecond.mean", "a decimal number from 0, as text"),
        ({"traffic": {"requestsPerSecond": {"mean": "-4"}}}, "spec.traffic.requestsPerSecond.mean", "a decimal number from 0, as text"),
        ({"traffic": {"requestsPerSecond": {"mean": "4\n"}}}, "spec.traffic.requestsPerSecond.mean", "a decimal number from 0, as text"),
        ({"traffic": []}, "spec.traffic", "write a mapping"),
        ({"placement": {}}, "spec.placement.mode", "is missing"),
        ({"placement": {"mode": "auto"}}, "spec.placement.mode", "one of Auto, Dedicated, Hosted, Hybrid"),
        ({"model": {}}, "spec.model.id", "is missing"),
        ({"dedicated": {"accelerators": ["a"] * 17}}, "spec.dedicated.accelerators", "at most 16"),
        ({"dedicated": {"accelerators": "a"}}, "spec.dedicated.accelerators", "write a list"),
        ({"dedicated": {"engine": {"env": [{"name": "A"}, {"name": "A"}]}}}, "spec.dedicated.engine.env", "twice"),
        ({"dedicated": {"podTemplate": {"resources": {"limits": {"cpu": "x"}}}}}, "spec.dedicated.podTemplate.resources.limits.cpu", "a q"),
        ({"dedicated": {"podTemplate": {"labels": {"team": 5}}}}, "spec.dedicated.podTemplate.labels.team", "in quotes"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_by_field_with_what_to_write(changes: dict[str, Any], field: str, said: str) -> None:
    (found,) = violations(WORKLOAD | changes, SCHEMAS["InferenceWorkload"], "spec")
    assert found.field == field
    assert said in found.message


def test_a_date_is_a_date() -> None:
    price = {"onDemandUSDPerHour": "1", "asOf": "yesterday", "source": "x"}
    found = {"product": "x", "memoryGiB": 1, "memoryBandwidthGBps": 1, "teraFLOPs": {"bf16": 1}, "perNode": 1, "price": price}
    assert ["write a date" in each.message for each in violations(found, SCHEMAS["AcceleratorClass"], "spec")] == [True]


def test_what_was_written_is_repeated_briefly() -> None:
    (found,) = violations(WORKLOAD | {"placement": {"mode": "x" * 500}}, SCHEMAS["InferenceWorkload"], "spec")
    assert len(found.message) < 200
