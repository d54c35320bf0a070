"""Somebody else decides: a HorizontalPodAutoscaler scales a workload on the demand that Spillway computes."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.e2e import metrics_adapter
from tests.e2e.stack import Stack, eventually
from tests.e2e.traffic import Load, describe

pytestmark = pytest.mark.e2e
STREAMS = 10  # two and a half batches of the quickstart's four
MOST = 2


@pytest.fixture
def external_metrics(stack: Stack) -> Iterator[None]:
    try:
        metrics_adapter.install(stack)
        yield
    finally:
        metrics_adapter.remove(stack)


def autoscaler(namespace: str, workload: str) -> dict[str, Any]:
    """Return the example's HPA, aimed at a workload, for two replicas at most and in no hurry to wait before it goes down."""
    documents = yaml.safe_load_all(metrics_adapter.EXAMPLE.read_text())
    found: dict[str, Any] = next(each for each in documents if each["kind"] == "HorizontalPodAutoscaler")
    spec = found["spec"]
    found["metadata"] |= {"name": workload, "namespace": namespace}
    spec["scaleTargetRef"]["name"] = workload
    spec["maxReplicas"] = MOST
    (metric,) = spec["metrics"]
    metric["external"]["metric"]["selector"]["matchLabels"]["workload"] = workload
    spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"] = 0
    return found


@pytest.mark.usefixtures("external_metrics")
def test_hpa_scales_on_demand_through_the_scale_subresource(stack: Stack, room: str) -> None:
    external = {"mode": "External", "minReplicas": 1, "maxReplicas": MOST}
    # As in the example nothing is rented: closed loops would spend their time at a slower hosted endpoint, and ask for one replica
    changes = {"placement": {"mode": "Dedicated"}, "hosted": None, "gateway": {"replicas": 1, "maxRequestSeconds": 60}}
    stack.apply(*stack.quickstart(room, replicas=1, dedicated={"scaling": external}, **changes))
    stack.await_condition(room, "ReplicasReady", within=180)
    stack.await_condition(room, "MetricsAvailable", within=90)
    eventually(lambda: metrics_adapter.demand(stack, room, "chat") is not None, within=90, what="the demand as an external metric")
    stack.await_routing(room)
    stack.apply(autoscaler(room, "chat"))

    def ready(count: int) -> bool:
        owned = stack.workload(room)["status"]["dedicated"]
        return bool(owned["readyReplicas"] == owned["desiredReplicas"] == count)

    async def scenario() -> Load:
        load = Load(stack.url(room, "chat") + "/v1", "chat", max_tokens=80)
        async with load:
            load.hold(STREAMS)
            await asyncio.to_thread(eventually, lambda: asked(stack, room) == MOST, within=180, what="spec.replicas as the HPA writes it")
            await asyncio.to_thread(eventually, lambda: ready(MOST), within=300, what="a second replica that is ready")
            load.hold(1)
            await asyncio.to_thread(eventually, lambda: asked(stack, room) == 1, within=240, what="spec.replicas back at one")
        return load

    load = asyncio.run(scenario())
    assert not load.tally.failed, describe(load.tally.failed)
    written = stack.get("-n", room, "inferenceworkload", "chat", "--show-managed-fields")["metadata"]["managedFields"]
    through_scale = [each["manager"] for each in written if each.get("subresource") == "scale" and "f:replicas" in str(each["fieldsV1"])]
    assert through_scale == ["kube-controller-manager"], "it was the HPA, through the scale subresource"
    scaled = [each for each in stack.workload(room)["status"]["decisions"] if each["what"].startswith("replicas ")]
    assert {each["reason"] for each in scaled if each["what"] != "replicas 0 -> 1"} == {"External"}


def asked(stack: Stack, namespace: str) -> int | None:
    """Return what spec.replicas asks for."""
    found: int | None = stack.workload(namespace)["spec"].get("replicas")
    return found
