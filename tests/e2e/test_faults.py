"""What happens when a part fails: the traffic goes on, and the status says what is wrong."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.e2e.cluster.local import LocalCluster
from tests.e2e.cluster.processes import stop
from tests.e2e.conftest import NAMESPACE
from tests.e2e.stack import HOSTED_KEY, SYSTEM_NAMESPACE, Stack, eventually
from tests.e2e.test_chat import base_url
from tests.e2e.traffic import Load, Tally, burst, describe

pytestmark = pytest.mark.e2e
TAKEOVER_S = 20
OVERFLOW = 40  # more streams than one replica's cap, whatever was measured of it
OUTAGE_S = float(os.environ.get("SPILLWAY_OUTAGE_S", "40"))  # longer than an operator keeps its lease
CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")


def owned_serves(stack: Stack) -> None:
    """Wait until the replica answers: a gateway learns of its address from DNS, some seconds after one of them is ready."""

    def serves() -> bool:
        return asyncio.run(burst(base_url(stack), "chat", 1, max_tokens=4)).owned == 1

    eventually(serves, within=60, what="an answer of the replica")


def leader(stack: Stack) -> str:
    return str(stack.get("-n", SYSTEM_NAMESPACE, "lease", "spillway-operator")["spec"]["holderIdentity"])


@pytest.fixture
def without_prometheus(chat: Stack) -> Iterator[Stack]:
    chat.kubectl("-n", SYSTEM_NAMESPACE, "scale", "deployment/spillway-prometheus", "--replicas=0")
    yield chat
    chat.kubectl("-n", SYSTEM_NAMESPACE, "scale", "deployment/spillway-prometheus", "--replicas=1")
    chat.await_condition(NAMESPACE, "MetricsAvailable", within=120)


def test_holds_the_scale_and_says_so_while_prometheus_is_gone(without_prometheus: Stack) -> None:
    stack = without_prometheus
    found = stack.await_condition(NAMESPACE, "MetricsAvailable", "False", within=60)
    assert found["reason"] in {"PrometheusError", "MetricsMissing", "MetricsStale"}
    # the same load scales up within a few ticks while there are metrics (test_chat); here it is held through several of them
    answers = asyncio.run(keep_busy(base_url(stack), seconds=30))
    assert not answers.failed, describe(answers.failed)
    assert answers.hosted > 0, "the gateway spills without Prometheus"
    assert stack.workload(NAMESPACE)["status"]["dedicated"]["desiredReplicas"] == 1
    assert stack.get("-n", NAMESPACE, "deployments", "-l", "app.kubernetes.io/component=engine")["items"][0]["spec"]["replicas"] == 1
    assert stack.condition(NAMESPACE, "Ready")["status"] == "True"


async def keep_busy(url: str, *, seconds: float) -> Tally:
    load = Load(url, "chat", max_tokens=40)
    async with load:
        load.hold(20)
        await asyncio.sleep(seconds)  # the length of the load, not a wait for something
    return load.tally


def test_traffic_goes_on_when_the_leading_operator_is_killed_and_the_standby_takes_over(chat: Stack) -> None:
    async def scenario() -> Load:
        load = Load(base_url(chat), "chat", max_tokens=50)
        async with load:
            load.hold(6)
            first = leader(chat)
            killed = datetime.now(UTC)
            await asyncio.to_thread(kill, chat, pod=first.split("_")[0])
            await asyncio.to_thread(eventually, lambda: leader(chat) != first, within=60, what="another leader")
            acquired = datetime.fromisoformat(chat.get("-n", SYSTEM_NAMESPACE, "lease", "spillway-operator")["spec"]["acquireTime"])
            assert (acquired - killed).total_seconds() < TAKEOVER_S
        return load

    load = asyncio.run(scenario())
    assert not load.tally.failed, describe(load.tally.failed)
    chat.await_condition(NAMESPACE, "Ready", within=30)


def kill(stack: Stack, *, pod: str) -> None:
    """End an operator's pod as a failing node would: without a word where the node can be reached, else as fast as the API allows."""
    try:
        stack.cluster.kill_pod(stack.get("-n", SYSTEM_NAMESPACE, "pod", pod)["metadata"]["uid"])
    except NotImplementedError:
        stack.kubectl("-n", SYSTEM_NAMESPACE, "delete", "pod", pod, "--grace-period=1", "--wait=false")


@pytest.fixture
def without_key(chat: Stack) -> Iterator[Stack]:
    chat.kubectl("-n", NAMESPACE, "delete", "secret", "rented-key")
    yield chat
    chat.secrets(NAMESPACE)


def test_a_missing_hosted_key_leaves_owned_traffic_unharmed_and_arrives_late_without_a_restart(without_key: Stack) -> None:
    chat = without_key
    chat.kubectl("-n", NAMESPACE, "rollout", "restart", "deployment/chat-gateway")
    chat.kubectl("-n", NAMESPACE, "rollout", "status", "deployment/chat-gateway", "--timeout=240s")
    gateways = {p["metadata"]["uid"] for p in running_gateways(chat)}
    owned_serves(chat)

    def missed() -> bool:
        """Spill, and tell whether the missing key shows."""
        asyncio.run(burst(base_url(chat), "chat", OVERFLOW, max_tokens=20))
        return bool(chat.condition(NAMESPACE, "HostedBackendReady")["reason"] == "HostedCredentialMissing")

    eventually(missed, within=180, what="the missing key to show as HostedBackendReady=False")
    assert chat.condition(NAMESPACE, "Ready")["status"] == "True"

    chat.secrets(NAMESPACE, key="a-wrong-key")  # created late …

    def refused() -> bool:
        asyncio.run(burst(base_url(chat), "chat", OVERFLOW, max_tokens=20))
        return bool(chat.condition(NAMESPACE, "HostedBackendReady")["reason"] == "HostedCredentialRejected")

    eventually(refused, within=180, what="the late key to be sent, and refused by the hosted endpoint")
    chat.secrets(NAMESPACE, key=HOSTED_KEY)  # … and rotated

    def spills() -> bool:
        answers = asyncio.run(burst(base_url(chat), "chat", OVERFLOW, max_tokens=20))
        return not answers.failed and answers.hosted > 0

    eventually(spills, within=150, what="the rotated key to be used, by the same gateway pods")
    assert {p["metadata"]["uid"] for p in running_gateways(chat)} == gateways

    def told() -> bool:
        """Spill, and tell whether that shows: bad news of a key stays until requests show better, and a quiet minute is no news."""
        spills()
        return bool(chat.condition(NAMESPACE, "HostedBackendReady")["status"] == "True")

    eventually(told, within=150, what="the rotated key to show as HostedBackendReady=True")


# Ends the process that computes, which vLLM names so.
KILL_WORKER = """
import os, signal
for pid in filter(str.isdigit, os.listdir("/proc")):
    if open(f"/proc/{pid}/cmdline", "rb").read().startswith(b"VLLM::Worker"):
        os.kill(int(pid), signal.SIGKILL)
"""


def test_a_replica_whose_worker_dies_is_replaced_by_hosted_until_it_is_back(chat: Stack) -> None:
    def engine() -> dict[str, Any]:
        pods = chat.get("-n", NAMESPACE, "pods", "-l", "app.kubernetes.io/component=engine")["items"]
        (pod,) = [each for each in pods if "deletionTimestamp" not in each["metadata"]]  # another may still drain
        (container,) = pod["status"]["containerStatuses"]
        return {"name": pod["metadata"]["name"], "restarts": container["restartCount"]}

    before = engine()
    chat.kubectl("-n", NAMESPACE, "exec", before["name"], "--", "python3", "-c", KILL_WORKER)
    eventually(lambda: chat.condition(NAMESPACE, "ReplicasReady")["status"] == "False", within=60, what="the dead replica to show")
    during = asyncio.run(burst(base_url(chat), "chat", 4, max_tokens=10))
    assert not during.failed, describe(during.failed)
    assert during.hosted > 0
    assert chat.condition(NAMESPACE, "Ready")["status"] == "True"
    chat.await_condition(NAMESPACE, "ReplicasReady", within=120)
    owned_serves(chat)
    after = engine()
    assert (after["name"], after["restarts"] > before["restarts"]) == (before["name"], True)


@pytest.fixture
def frozen(chat: Stack) -> Iterator[dict[str, int]]:
    """Stop the control plane where it stands: connections to it stay open and answer nothing."""
    if not isinstance(chat.cluster, LocalCluster):
        pytest.skip("only the local cluster's control plane can be stopped")
    pids = {name: pid for name, pid in chat.cluster.processes.items() if name in CONTROL_PLANE}
    operators = [each["metadata"]["uid"] for each in chat.operators()]
    stop(pids.values(), sig=signal.SIGSTOP)
    for uid in operators:  # the kubelet starts them again, with nobody to talk to
        chat.cluster.kill_pod(uid)
    yield pids
    stop(pids.values(), sig=signal.SIGCONT)


def test_traffic_is_served_and_spilled_while_control_plane_and_operator_are_away(chat: Stack, frozen: dict[str, int]) -> None:
    async def outage() -> tuple[Tally, Tally]:
        load, end = Load(base_url(chat), "chat", max_tokens=20), time.monotonic() + OUTAGE_S
        async with load:
            load.hold(2, pause_s=1.0)
            crowd = await burst(base_url(chat), "chat", OVERFLOW, max_tokens=20)
            await asyncio.sleep(max(0.0, end - time.monotonic()))  # the length of the outage, not a wait for something
        return load.tally, crowd

    steady, crowd = asyncio.run(outage())
    assert not steady.failed, describe(steady.failed)
    assert not crowd.failed, describe(crowd.failed)
    assert crowd.owned > 0
    assert crowd.hosted > 0
    # The API server first: who judges nodes by how long they have been silent must not wake before they can speak.
    back = datetime.now(UTC)
    stop([frozen["kube-apiserver"]], sig=signal.SIGCONT)
    eventually(lambda: renewed(chat, "kube-node-lease", chat.cluster.context) > back, within=60, what="the node's lease to be renewed")
    stop(frozen.values(), sig=signal.SIGCONT)
    eventually(lambda: renewed(chat, SYSTEM_NAMESPACE, "spillway-operator") > back, within=90, what="an operator that leads")
    chat.await_condition(NAMESPACE, "Ready", within=60)
    owned_serves(chat)


def renewed(stack: Stack, namespace: str, lease: str) -> datetime:
    return datetime.fromisoformat(stack.get("-n", namespace, "lease", lease)["spec"]["renewTime"])


def running_gateways(stack: Stack) -> list[dict[str, dict[str, str]]]:
    pods = stack.get("-n", NAMESPACE, "pods", "-l", "app.kubernetes.io/component=gateway")["items"]
    return [p for p in pods if "deletionTimestamp" not in p["metadata"]]


def test_a_gateway_that_starts_while_the_operator_is_down_works(chat: Stack) -> None:
    chat.kubectl("-n", SYSTEM_NAMESPACE, "scale", "deployment/spillway-operator", "--replicas=0")
    try:
        eventually(lambda: not chat.operators(), within=60, what="no operator")
        chat.kubectl("-n", NAMESPACE, "rollout", "restart", "deployment/chat-gateway")
        chat.kubectl("-n", NAMESPACE, "rollout", "status", "deployment/chat-gateway", "--timeout=240s")
        answers = asyncio.run(burst(base_url(chat), "chat", OVERFLOW, max_tokens=20))
        assert not answers.failed, describe(answers.failed)
        assert answers.owned > 0
        assert answers.hosted > 0
    finally:
        chat.kubectl("-n", SYSTEM_NAMESPACE, "scale", "deployment/spillway-operator", "--replicas=2")
        chat.kubectl("-n", SYSTEM_NAMESPACE, "rollout", "status", "deployment/spillway-operator", "--timeout=120s")
