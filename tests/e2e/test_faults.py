"""What happens when a part fails: the traffic goes on, and the status says what is wrong."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import NAMESPACE
from tests.e2e.stack import HOSTED_KEY, SYSTEM_NAMESPACE, Stack, eventually
from tests.e2e.test_chat import base_url
from tests.e2e.traffic import Load, Tally, burst, describe

pytestmark = pytest.mark.e2e
TAKEOVER_S = 20
OVERFLOW = 40  # more streams than one replica's cap, whatever was measured of it


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
            pod = first.split("_")[0]
            await asyncio.to_thread(chat.kubectl, "-n", SYSTEM_NAMESPACE, "delete", "pod", pod, "--grace-period=1", "--wait=false")
            killed = time.monotonic()
            await asyncio.to_thread(eventually, lambda: leader(chat) != first, within=TAKEOVER_S + 5, what="another leader")
            assert time.monotonic() - killed < TAKEOVER_S + 5
        return load

    load = asyncio.run(scenario())
    assert not load.tally.failed, describe(load.tally.failed)
    chat.await_condition(NAMESPACE, "Ready", within=30)


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
    one = asyncio.run(burst(base_url(chat), "chat", 1, max_tokens=20))
    assert one.owned == 1, describe(one.failed)

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
    chat.await_condition(NAMESPACE, "HostedBackendReady", within=90)


def running_gateways(stack: Stack) -> list[dict[str, dict[str, str]]]:
    pods = stack.get("-n", NAMESPACE, "pods", "-l", "app.kubernetes.io/component=gateway")["items"]
    return [p for p in pods if "deletionTimestamp" not in p["metadata"]]


def test_a_gateway_that_starts_while_the_operator_is_down_works(chat: Stack) -> None:
    chat.kubectl("-n", SYSTEM_NAMESPACE, "scale", "deployment/spillway-operator", "--replicas=0")
    try:
        chat.kubectl("-n", NAMESPACE, "rollout", "restart", "deployment/chat-gateway")
        chat.kubectl("-n", NAMESPACE, "rollout", "status", "deployment/chat-gateway", "--timeout=240s")
        answers = asyncio.run(burst(base_url(chat), "chat", OVERFLOW, max_tokens=20))
        assert not answers.failed, describe(answers.failed)
        assert answers.owned > 0
        assert answers.hosted > 0
    finally:
        chat.kubectl("-n", SYSTEM_NAMESPACE, "scale", "deployment/spillway-operator", "--replicas=2")
        chat.kubectl("-n", SYSTEM_NAMESPACE, "rollout", "status", "deployment/spillway-operator", "--timeout=120s")
