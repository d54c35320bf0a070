"""From nothing to nothing: scale from zero, bad specs, weights from a hub, and deletion."""

import asyncio
import time
from typing import Any

import pytest

from tests.e2e import hub
from tests.e2e.stack import SYSTEM_NAMESPACE, Stack, eventually
from tests.e2e.traffic import Load, burst, describe

pytestmark = pytest.mark.e2e


def pods(stack: Stack, namespace: str, component: str) -> list[dict[str, Any]]:
    return list(stack.get("-n", namespace, "pods", "-l", f"app.kubernetes.io/component={component}")["items"])


def small(**scaling: Any) -> dict[str, Any]:
    return {"gateway": {"replicas": 1, "maxRequestSeconds": 30}, "dedicated": {"scaling": scaling}}


def test_scale_from_zero_is_bridged_by_hosted(stack: Stack, room: str) -> None:
    stack.apply(*stack.quickstart(room, **small(minReplicas=0, maxReplicas=1, scaleDownStabilizationSeconds=20)))
    stack.await_condition(room, "Ready", within=120)
    eventually(lambda: stack.workload(room)["status"]["dedicated"]["desiredReplicas"] == 0, within=90, what="no replica without traffic")
    url = stack.url(room, "chat") + "/v1"

    async def scenario() -> Load:
        load = Load(url, "chat", max_tokens=50)
        async with load:
            load.hold(2)
            await asyncio.to_thread(eventually, lambda: load.tally.owned > 0, within=300, what="an answer of the woken replica")
        return load

    load = asyncio.run(scenario())
    assert not load.tally.failed, describe(load.tally.failed)
    assert load.tally.hosted > 0, "hosted answered while the replica started"
    reasons = [d["reason"] for d in stack.workload(room)["status"]["decisions"]]
    assert "WokenBySpill" in reasons
    eventually(lambda: stack.workload(room)["status"]["dedicated"]["desiredReplicas"] == 0, within=120, what="zero again when idle")
    eventually(lambda: not pods(stack, room, "engine"), within=90, what="no engine pod left")
    still = asyncio.run(burst(url, "chat", 2, max_tokens=10))
    assert still.hosted == 2, describe(still.failed)


def test_scale_from_zero_inside_the_cluster_is_a_slow_answer_and_no_error(stack: Stack, room: str) -> None:
    inside = {
        "placement": {"mode": "Dedicated", "dataResidency": "ClusterOnly"},
        "hosted": None,
        "dedicated": {"scaling": {"minReplicas": 0, "maxReplicas": 1, "scaleDownStabilizationSeconds": 20}},
        "gateway": {"replicas": 1, "maxRequestSeconds": 300, "hold": {"seconds": 240, "maxRequests": 8}},
    }
    stack.apply(*stack.quickstart(room, **inside))
    stack.await_condition(room, "Ready", within=120)
    eventually(lambda: stack.workload(room)["status"]["dedicated"]["desiredReplicas"] == 0, within=90, what="no replica without traffic")
    url = stack.url(room, "chat") + "/v1"
    woken = asyncio.run(burst(url, "chat", 3, max_tokens=10))
    assert not woken.failed, describe(woken.failed)
    assert woken.owned == 3
    assert "WokenByWaiting" in [d["reason"] for d in stack.workload(room)["status"]["decisions"]]
    eventually(lambda: stack.workload(room)["status"]["dedicated"]["desiredReplicas"] == 0, within=120, what="zero again when idle")


def test_a_bad_spec_is_explained(stack: Stack, room: str) -> None:
    bad = stack.quickstart(room, dedicated={"accelerators": ["no-such-class"]})
    stack.apply(*bad)
    found = stack.await_condition(room, "SpecValid", "False", within=60)
    assert found["reason"] == "UnknownAcceleratorClass"
    assert "no-such-class" in found["message"]
    assert not pods(stack, room, "engine")
    with pytest.raises(RuntimeError, match="minReplicas"):
        stack.apply(*stack.quickstart(room, dedicated={"scaling": {"minReplicas": 3, "maxReplicas": 2}}))


def test_weights_come_from_a_hugging_face_compatible_hub(stack: Stack, room: str) -> None:
    environment = hub.serve(stack, room)
    source = {
        "persistentVolumeClaim": None,
        "huggingFace": {"repo": hub.REPOSITORY, "tokenSecretRef": {"name": "hub-token", "key": "token"}},
    }
    stack.apply(
        *stack.quickstart(
            room,
            model={"source": source},
            gateway={"replicas": 1, "maxRequestSeconds": 30},
            dedicated={"engine": {"env": environment}, "modelCache": {"claimName": hub.CACHE_CLAIM}},
        )
    )
    stack.await_condition(room, "ReplicasReady", within=180)
    url = stack.url(room, "chat") + "/v1"
    # the gateway learns of the replica's address from DNS, some seconds after it is ready; until then it rightly spills
    eventually(lambda: asyncio.run(burst(url, "chat", 1, max_tokens=10)).owned == 1, within=60, what="an answer of the replica")


def test_a_replica_that_is_still_starting_goes_away_within_seconds(stack: Stack, room: str) -> None:
    stack.apply(*stack.quickstart(room, **small(minReplicas=1, maxReplicas=1)))

    def deaf() -> bool:
        """Tell whether vLLM has come to where it swallows SIGTERM, until it serves."""
        return "Initializing a V1 LLM engine" in stack.kubectl("-n", room, "logs", "-l", "app.kubernetes.io/component=engine", "--tail=-1")

    eventually(deaf, within=120, what="an engine that initialises")
    stack.kubectl("-n", room, "delete", "inferenceworkload", "chat")
    started = time.monotonic()
    eventually(lambda: not pods(stack, room, "engine"), within=45, what="the engine pod gone")
    assert time.monotonic() - started < 45


def test_deleting_a_workload_while_the_operator_is_down_leaves_no_pod(stack: Stack, room: str) -> None:
    stack.apply(*stack.quickstart(room, **small(minReplicas=1, maxReplicas=1)))
    eventually(lambda: pods(stack, room, "engine") and pods(stack, room, "gateway"), within=60, what="pods of the workload")
    stack.kubectl("-n", SYSTEM_NAMESPACE, "scale", "deployment/spillway-operator", "--replicas=0")
    try:
        eventually(lambda: not stack.operators(), within=60, what="no operator")
        stack.kubectl("-n", room, "delete", "inferenceworkload", "chat", "--timeout=30s")
        eventually(
            lambda: not pods(stack, room, "engine") and not pods(stack, room, "gateway"), within=90, what="no pod of the workload left"
        )
        for kind in ("service", "deployment", "configmap", "poddisruptionbudget", "networkpolicy", "serviceaccount"):
            left = stack.get("-n", room, kind, "-l", "spillway.dev/workload=chat")["items"]
            assert not left, f"{kind} {left[0]['metadata']['name']} was left behind"
    finally:
        stack.kubectl("-n", SYSTEM_NAMESPACE, "scale", "deployment/spillway-operator", "--replicas=2")
        stack.kubectl("-n", SYSTEM_NAMESPACE, "rollout", "status", "deployment/spillway-operator", "--timeout=120s")
