"""Several gateways on a real kubelet: their shares of the cap arrive, and they are replaced without a request that notices."""

import asyncio
import json
import urllib.request
from typing import Any

import pytest

from spillway.api.vocabulary import ANNOTATION_GATEWAY_SHARE, PORT_GATEWAY, PORT_GATEWAY_METRICS
from spillway.render.envoy.owned import CAP_KEY
from spillway.render.envoy.share import share_told
from tests.e2e.conftest import NAMESPACE
from tests.e2e.stack import Stack, eventually
from tests.e2e.test_chat import base_url
from tests.e2e.traffic import Load, describe

pytestmark = pytest.mark.e2e
CROWD = 40  # more streams than one replica's cap
STREAMS = 6  # fewer: nothing but the restart could make a request fail


def gateways(stack: Stack) -> list[dict[str, Any]]:
    """Return the gateway pods that stay."""
    pods = stack.get("-n", NAMESPACE, "pods", "-l", "app.kubernetes.io/component=gateway")["items"]
    return [each for each in pods if "deletionTimestamp" not in each["metadata"]]


def told(pod: dict[str, Any]) -> int:
    """Return a pod's share by its annotation; 0 while it was told none."""
    return share_told(pod["metadata"]["annotations"][ANNOTATION_GATEWAY_SHARE]) or 0


def in_force(stack: Stack, pod: dict[str, Any]) -> int:
    """Return the cap that a pod's Envoy goes by."""
    with urllib.request.urlopen(f"{stack.pod_url(pod, PORT_GATEWAY_METRICS)}/runtime", timeout=5) as answer:
        return int(json.load(answer)["entries"][CAP_KEY]["final_value"])


def test_a_crowd_at_one_gateway_gets_what_the_other_does_not_use(chat: Stack) -> None:
    def settled() -> list[dict[str, Any]]:
        pods = gateways(chat)
        return pods if len(pods) > 1 and all(told(each) and told(each) == in_force(chat, each) for each in pods) else []

    first, *others = eventually(settled, within=60, what="every gateway to go by the share in its annotation")

    def crowded() -> bool:
        cap = sum(told(each) for each in gateways(chat))  # of now: what is learned of the replica's steps meanwhile moves it
        return in_force(chat, first) >= cap - len(others) - cap // 10

    async def scenario() -> Load:
        load = Load(f"{chat.pod_url(first, PORT_GATEWAY)}/v1", "chat", max_tokens=50)
        async with load:
            load.hold(CROWD)
            await asyncio.to_thread(eventually, crowded, within=60, what="nine tenths of the cap at one gateway")
        return load

    load = asyncio.run(scenario())
    assert not load.tally.failed, describe(load.tally.failed)
    assert load.tally.owned > 0


def test_gateways_are_restarted_under_load_and_no_request_fails(chat: Stack) -> None:
    before = {each["metadata"]["uid"] for each in gateways(chat)}

    def replaced() -> bool:
        pods = chat.get("-n", NAMESPACE, "pods", "-l", "app.kubernetes.io/component=gateway")["items"]
        return not before & {each["metadata"]["uid"] for each in pods}  # the old ones have drained, too

    async def scenario() -> Load:
        load = Load(base_url(chat), "chat", max_tokens=50)
        async with load:
            load.hold(STREAMS)
            await asyncio.to_thread(chat.kubectl, "-n", NAMESPACE, "rollout", "restart", "deployment/chat-gateway")
            await asyncio.to_thread(chat.kubectl, "-n", NAMESPACE, "rollout", "status", "deployment/chat-gateway", "--timeout=240s")
            await asyncio.to_thread(eventually, replaced, within=120, what="the old gateways to be gone")
            answered = len(load.tally.answers)
            await asyncio.to_thread(
                eventually, lambda: len(load.tally.answers) >= answered + 2 * STREAMS, within=120, what="answers of the new gateways"
            )
        return load

    load = asyncio.run(scenario())
    assert not load.tally.failed, describe(load.tally.failed)
    chat.await_condition(NAMESPACE, "GatewayReady", within=30)
