"""The API as the API server serves it: defaults, subresources, columns, explanations and server-side apply."""

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from spillway.api.catalogue import AcceleratorClassSpec, HostedProviderSpec
from spillway.api.crd import KINDS, Kind, schema
from spillway.api.workload import InferenceWorkloadSpec
from tests.apiserver.server import ApiServer

WORKLOAD: dict[str, Any] = {
    "apiVersion": "spillway.dev/v1alpha1",
    "kind": "InferenceWorkload",
    "metadata": {"name": "chat"},
    "spec": {"model": {"id": "acme/chat-8b"}, "placement": {"mode": "Dedicated"}, "dedicated": {"scaling": {"maxReplicas": 3}}},
}
PROVIDER: dict[str, Any] = {
    "apiVersion": "spillway.dev/v1alpha1",
    "kind": "HostedProvider",
    "metadata": {"name": "rented"},
    "spec": {
        "baseURL": "https://api.example.com/v1",
        "models": [{"name": "chat-8b", "inputUSDPerMillionTokens": "0.18", "outputUSDPerMillionTokens": "0.180"}],
    },
}
ACCELERATOR: dict[str, Any] = {
    "apiVersion": "spillway.dev/v1alpha1",
    "kind": "AcceleratorClass",
    "metadata": {"name": "test-l4"},
    "spec": {"product": "NVIDIA L4", "memoryGiB": 24, "memoryBandwidthGBps": 300, "teraFLOPs": {"bf16": 121}, "perNode": 8},
}
READY = {"type": "Ready", "status": "True", "reason": "AsExpected", "message": "", "lastTransitionTime": "2026-11-21T06:00:00Z"}


def _applied(apiserver: ApiServer, namespace: str, document: dict[str, Any], *arguments: str, manager: str = "test") -> dict[str, Any]:
    stdin = json.dumps(document)
    kept = ("-n", namespace, "apply", "--server-side", f"--field-manager={manager}", *arguments, "-o", "json", "-f", "-")
    answer: dict[str, Any] = json.loads(apiserver.kubectl(*kept, stdin=stdin))
    return answer


def _status(apiserver: ApiServer, namespace: str, status: dict[str, Any], *, manager: str = "spillway") -> dict[str, Any]:
    document = {**WORKLOAD, "status": status}
    del document["spec"]
    return _applied(apiserver, namespace, document, "--subresource=status", "--force-conflicts", manager=manager)


def test_fills_in_the_defaults_that_the_models_state(apiserver: ApiServer, namespace: str) -> None:
    workload = _applied(apiserver, namespace, WORKLOAD)["spec"]
    assert workload["dedicated"]["scaling"] == {
        "mode": "Spillway",
        "minReplicas": 1,
        "maxReplicas": 3,
        "scaleUpStabilizationSeconds": 0,
        "scaleDownStabilizationSeconds": 300,
    }
    assert workload["dedicated"]["engine"] == {"gpuMemoryUtilizationPercent": 90}
    assert workload["gateway"] == {"replicas": 2, "maxRequestSeconds": 600, "access": {}, "routing": "LeastLoad"}
    assert InferenceWorkloadSpec.model_validate(workload) == InferenceWorkloadSpec.model_validate(WORKLOAD["spec"])
    provider = _applied(apiserver, namespace, PROVIDER)["spec"]
    assert HostedProviderSpec.model_validate(provider) == HostedProviderSpec.model_validate(PROVIDER["spec"])
    accelerator = _applied(apiserver, namespace, ACCELERATOR)["spec"]
    assert accelerator["resourceName"] == "nvidia.com/gpu"
    assert AcceleratorClassSpec.model_validate(accelerator) == AcceleratorClassSpec.model_validate(ACCELERATOR["spec"])


def test_a_misspelt_field_is_refused_by_kubectl(apiserver: ApiServer, namespace: str) -> None:
    document = {**WORKLOAD, "spec": {**WORKLOAD["spec"], "replica": 1}}
    answer = apiserver.run_kubectl("-n", namespace, "create", "--dry-run=server", "-f", "-", stdin=json.dumps(document))
    assert 'unknown field "spec.replica"' in answer.err


def test_a_status_write_leaves_the_generation_and_a_spec_write_raises_it(apiserver: ApiServer, namespace: str) -> None:
    _applied(apiserver, namespace, WORKLOAD)
    written = _status(apiserver, namespace, {"observedGeneration": 1, "conditions": [READY]})
    assert written["metadata"]["generation"] == 1
    changed = {**WORKLOAD, "spec": {**WORKLOAD["spec"], "gateway": {"replicas": 3}}}
    assert _applied(apiserver, namespace, changed)["metadata"]["generation"] == 2


def test_a_spec_write_neither_sets_nor_clears_the_status(apiserver: ApiServer, namespace: str) -> None:
    smuggled = _applied(apiserver, namespace, {**WORKLOAD, "status": {"url": "http://elsewhere"}})
    assert "status" not in smuggled
    _status(apiserver, namespace, {"url": "http://chat", "conditions": [READY]})
    again = _applied(apiserver, namespace, {**WORKLOAD, "spec": {**WORKLOAD["spec"], "gateway": {"replicas": 1}}})
    assert again["status"] == {"url": "http://chat", "conditions": [READY]}


def test_a_condition_of_somebody_else_outlives_our_status_writes(apiserver: ApiServer, namespace: str) -> None:
    _applied(apiserver, namespace, WORKLOAD)
    foreign = {**READY, "type": "example.com/Audited", "reason": "Audited"}
    _status(apiserver, namespace, {"conditions": [foreign]}, manager="auditor")
    _status(apiserver, namespace, {"conditions": [READY]})
    written = _status(apiserver, namespace, {"conditions": [{**READY, "status": "False"}]})
    assert {each["type"]: each["status"] for each in written["status"]["conditions"]} == {"example.com/Audited": "True", "Ready": "False"}


def test_scales_through_the_scale_subresource_when_scaling_is_external(apiserver: ApiServer, namespace: str) -> None:
    dedicated = {"scaling": {"mode": "External", "maxReplicas": 3}}
    _applied(apiserver, namespace, {**WORKLOAD, "spec": {**WORKLOAD["spec"], "dedicated": dedicated, "replicas": 1}})
    _status(apiserver, namespace, {"replicas": 1, "selector": "spillway.dev/workload=chat"})
    apiserver.kubectl("-n", namespace, "scale", "iw/chat", "--replicas=3")
    path = f"/apis/spillway.dev/v1alpha1/namespaces/{namespace}/inferenceworkloads/chat/scale"
    scale = json.loads(apiserver.kubectl("get", "--raw", path))
    assert scale["spec"] == {"replicas": 3}
    assert scale["status"] == {"replicas": 1, "selector": "spillway.dev/workload=chat"}
    # Whoever applies the workload again without naming replicas leaves the autoscaler's number alone.
    document = {**WORKLOAD, "spec": {**WORKLOAD["spec"], "dedicated": dedicated}}
    assert _applied(apiserver, namespace, document, "--force-conflicts")["spec"]["replicas"] == 3


def test_scaling_by_hand_is_refused_with_the_field_to_use_when_spillway_scales(apiserver: ApiServer, namespace: str) -> None:
    _applied(apiserver, namespace, WORKLOAD)
    answer = apiserver.run_kubectl("-n", namespace, "scale", "iw/chat", "--replicas=2")
    assert "with dedicated.scaling.mode External" in answer.err


def test_applying_twice_changes_nothing(apiserver: ApiServer, namespace: str) -> None:
    for document in (WORKLOAD, PROVIDER, ACCELERATOR):
        first, second = (_applied(apiserver, namespace, document)["metadata"]["resourceVersion"] for _ in range(2))
        assert first == second


def test_a_field_of_another_manager_survives_our_apply(apiserver: ApiServer, namespace: str) -> None:
    _applied(apiserver, namespace, WORKLOAD)
    theirs = {**WORKLOAD, "metadata": {"name": "chat", "labels": {"team": "search"}}, "spec": {"budget": {"monthlyUSD": "900"}}}
    _applied(apiserver, namespace, theirs, manager="finance")
    ours = _applied(apiserver, namespace, {**WORKLOAD, "spec": {**WORKLOAD["spec"], "gateway": {"replicas": 1}}})
    assert ours["metadata"]["labels"] == {"team": "search"}
    assert ours["spec"]["budget"] == {"monthlyUSD": "900", "whenExceeded": "Report"}
    assert ours["spec"]["gateway"]["replicas"] == 1


def test_engine_variables_of_two_managers_merge_by_name(apiserver: ApiServer, namespace: str) -> None:
    def with_env(*env: dict[str, str]) -> dict[str, Any]:
        return {**WORKLOAD, "spec": {**WORKLOAD["spec"], "dedicated": {"engine": {"env": list(env)}}}}

    _applied(apiserver, namespace, with_env({"name": "A", "value": "1"}))
    merged = _applied(apiserver, namespace, with_env({"name": "B", "value": "2"}), manager="other")
    assert merged["spec"]["dedicated"]["engine"]["env"] == [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]


def test_get_shows_the_promised_columns(apiserver: ApiServer, namespace: str) -> None:
    _applied(apiserver, namespace, WORKLOAD)
    status = {
        "url": "http://chat.test.svc.cluster.local/v1",
        "placement": {"mode": "Dedicated", "reason": "DedicatedRequested", "evaluatedAt": "2026-11-21T06:00:00Z"},
        "replicasSummary": "1/2",
        "traffic": {"spilledPercent": "12.5"},
        "cost": {"usdPerHour": "0.81", "usdPerMillionTokens": "0.42"},
        "conditions": [READY, {**READY, "type": "SLOMet", "status": "Unknown", "reason": "NoTraffic"}],
    }
    _status(apiserver, namespace, status)
    narrow, wide = (apiserver.kubectl("-n", namespace, "get", "iw", *more).splitlines() for more in ((), ("-o", "wide")))
    assert narrow[0].split() == ["NAME", "MODEL", "PLACEMENT", "READY", "REPLICAS", "SLO", "USD/H", "AGE"]
    assert narrow[1].split()[:-1] == ["chat", "acme/chat-8b", "Dedicated", "True", "1/2", "Unknown", "0.81"]
    assert re.split(r" {2,}", wide[0].strip())[-4:] == ["SPILLED %", "$/1M TOKENS", "URL", "REASON"]
    assert wide[1].split()[-4:] == ["12.5", "0.42", "http://chat.test.svc.cluster.local/v1", "AsExpected"]


def test_the_category_lists_workloads_providers_and_classes(apiserver: ApiServer, namespace: str) -> None:
    for document in (WORKLOAD, PROVIDER, ACCELERATOR):
        _applied(apiserver, namespace, document)
    listed = apiserver.kubectl("-n", namespace, "get", "spillway", "-o", "name").split()
    assert set(listed) >= {
        "inferenceworkload.spillway.dev/chat",
        "hostedprovider.spillway.dev/rented",
        "acceleratorclass.spillway.dev/test-l4",
    }


def _objects(owner: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every object of a schema with its path for `kubectl explain`."""
    yield path, owner
    for name, field in owner["properties"].items():
        below = field.get("items", field)
        if "properties" in below:
            yield from _objects(below, f"{path}.{name}")


EXPLAINED = [
    pytest.param(path, owner, id=path)
    for kind in KINDS
    for part in ("spec", "status")
    if part in schema(kind)["properties"]
    for path, owner in _objects(schema(kind)["properties"][part], f"{kind.plural}.{part}")
]


@pytest.mark.parametrize(("path", "owner"), EXPLAINED)
def test_explain_describes_every_field_of(apiserver: ApiServer, path: str, owner: dict[str, Any]) -> None:
    text = apiserver.kubectl("explain", path)
    described = dict(_explained(text.partition("FIELDS:\n")[2]))
    assert set(described) == set(owner["properties"])
    assert {name for name, description in described.items() if not description} == set()
    for name, field in owner["properties"].items():
        assert described[name] == " ".join(field["description"].split())


def _explained(fields: str) -> Iterator[tuple[str, str]]:
    """Yield name and description of each field that `kubectl explain` shows: a line at two spaces, then its text at four."""
    blocks = re.split(r"^ {2}(?=\S+\t<)", fields, flags=re.MULTILINE)[1:]
    for block in blocks:
        head, *lines = block.splitlines()
        text = itertools.takewhile(str.strip, (line for line in lines if not line.startswith("  enum:")))
        described = " ".join(line.strip() for line in text)
        yield head.split("\t")[0], "" if described == "<no description>" else described


def test_explain_describes_the_kinds(apiserver: ApiServer) -> None:
    def description(kind: Kind) -> str:
        return " ".join(apiserver.kubectl("explain", kind.plural).partition("DESCRIPTION:")[2].partition("FIELDS:")[0].split())

    assert {kind.kind: description(kind) for kind in KINDS} == {kind.kind: kind.description for kind in KINDS}
