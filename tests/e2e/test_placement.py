"""Placement under mode Auto: it follows the prices, there and back, and nobody who sends requests notices."""

import asyncio
from typing import Any

import pytest

from tests.e2e.stack import Stack, eventually, listing, with_prices
from tests.e2e.traffic import Load, describe

pytestmark = pytest.mark.e2e
STREAMS = 2
# A shape that fits the quickstart's accelerator, so that there is something to reckon with: the tiny model itself is in no catalogue.
SHAPE = {"parameters": 1_240_000_000, "layers": 16, "attentionHeads": 32, "keyValueHeads": 8, "headSize": 64}
CHEAP, DEAR = "0.01", "5000"  # USD per million tokens: far from the break-even of any rate that two streams make


def automatic(stack: Stack, namespace: str) -> list[dict[str, Any]]:
    """Return the quickstart under mode Auto, with hardly any declared traffic and a hosted backend that costs next to nothing."""
    objects = stack.quickstart(
        namespace,
        placement={"mode": "Auto"},
        model={"architecture": SHAPE},
        traffic={"requestsPerSecond": {"mean": "0.001", "peak": None}, "outputTokens": {"mean": 40}},
        dedicated={"scaling": {"minReplicas": 1, "maxReplicas": 1}, "engine": {"tensorParallelSize": 1}},
        gateway={"replicas": 2, "maxRequestSeconds": 60},
        budget=None,
    )
    return with_prices(objects, CHEAP)


def set_price(stack: Stack, namespace: str, price: str) -> None:
    stack.patch("hostedprovider", namespace, "rented", {"spec": {"models": listing(price)}})


def status(stack: Stack, namespace: str) -> dict[str, Any]:
    found: dict[str, Any] = stack.workload(namespace)["status"]
    return found


def settled(stack: Stack, namespace: str, *modes: str) -> bool:
    """Whether one of these modes is in force and no move is under way."""
    placement = status(stack, namespace)["placement"]
    return placement["mode"] in modes and placement["reason"] == "AutoResolved"


def engines(stack: Stack, namespace: str) -> list[Any]:
    return list(stack.get("-n", namespace, "pods", "-l", "app.kubernetes.io/component=engine")["items"])


def reasons(stack: Stack, namespace: str) -> set[str]:
    return {decision["reason"] for decision in status(stack, namespace)["decisions"]}


def test_auto_moves_to_own_replicas_and_back_as_prices_do_without_a_failed_request(stack: Stack, room: str) -> None:
    stack.apply(*automatic(stack, room))
    stack.await_condition(room, "Ready", within=180)
    assert status(stack, room)["placement"]["mode"] == "Hosted"
    assert not engines(stack, room)
    address = status(stack, room)["url"]
    load = asyncio.run(there_and_back(stack, room))
    assert not load.tally.failed, describe(load.tally.failed)
    assert load.tally.owned > 0
    assert load.tally.hosted > 0
    assert status(stack, room)["url"] == address


async def there_and_back(stack: Stack, room: str) -> Load:
    load = Load(stack.url(room, "chat") + "/v1", "chat", max_tokens=40)

    async def until(check: Any, within: float, what: str) -> None:
        await asyncio.to_thread(eventually, check, within=within, what=what)

    async with load:
        load.hold(STREAMS)
        await until(lambda: load.tally.hosted > 0, 120, "an answer of the hosted backend")
        await until(lambda: status(stack, room)["placement"]["traffic"]["basis"] == "Observed", 120, "a plan on observed traffic")

        set_price(stack, room, DEAR)
        await until(lambda: status(stack, room)["placement"]["recommended"]["mode"] in {"Hybrid", "Dedicated"}, 60, "other advice")
        await until(lambda: settled(stack, room, "Hybrid", "Dedicated"), 400, "own replicas in force")
        await until(lambda: status(stack, room)["dedicated"]["readyReplicas"] == 1, 240, "a ready replica")
        owned = load.tally.owned
        await until(lambda: load.tally.owned > owned + STREAMS, 120, "answers of the replica")
        assert "SavingHeld" in reasons(stack, room)

        set_price(stack, room, CHEAP)
        await until(lambda: settled(stack, room, "Hosted"), 400, "hosted alone in force")
        await until(lambda: not engines(stack, room), 240, "no replica left")
        hosted = load.tally.hosted
        await until(lambda: load.tally.hosted > hosted + STREAMS, 120, "answers of the hosted backend again")
    return load
