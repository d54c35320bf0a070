"""Requests that nobody can take now wait for a replica: as long as the spec says, as many as it says, and no longer than needed."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.dataplane import fakes
from tests.dataplane.client import Answer
from tests.dataplane.conftest import SetStage, Stage
from tests.dataplane.fakes import Backend
from tests.dataplane.process import until
from tests.dataplane.test_failures import error_of

pytestmark = pytest.mark.dataplane
REPLICA = "127.0.0.2"
RETRIES = "envoy_cluster_upstream_rq_retry"


def holding(seconds: int, *, at_most: int = 256) -> dict[str, Any]:
    return {"gateway": {"replicas": 1, "hold": {"seconds": seconds, "maxRequests": at_most}}}


async def asleep(stage: SetStage, spec: dict[str, Any]) -> Stage:
    """Set a stage where nothing may leave the cluster and no replica runs: DNS knows none, and the cap is zero."""
    return await stage(mode="Dedicated", dns=True, cap=0, spec=spec, healthy=False)


@asynccontextmanager
async def replica(scene: Stage, *, slots: int) -> AsyncIterator[Backend]:
    """Let the first replica become ready, as DNS and the cap file tell."""
    engine = await Backend(model="tiny-chat", address=REPLICA, port=scene.gateway.addresses.engine_port).start()
    try:
        assert scene.names
        scene.names.addresses = [REPLICA]
        scene.gateway.set_cap(slots)
        yield engine
    finally:
        await engine.stop()
    assert not engine.problems


def ask(scene: Stage, count: int) -> list[asyncio.Task[Answer]]:
    """Send requests, plain and streamed by turns."""
    return [asyncio.create_task(scene.client.post(stream=bool(place % 2))) for place in range(count)]


async def waiting(scene: Stage, count: int) -> None:
    """Wait until as many requests wait at the gateway, as the operator sees it."""
    await until(lambda: _waiting(scene, count), f"{count} requests wait")


async def _waiting(scene: Stage, count: int) -> bool:
    active = await scene.gateway.metric("envoy_http_downstream_rq_active", envoy_http_conn_manager_prefix="edge")
    return active == count and await scene.gateway.metric(RETRIES, envoy_cluster_name="hop-owned") > count


async def test_requests_at_zero_replicas_wait_for_the_first_and_are_then_answered_at_once(stage: SetStage) -> None:
    scene = await asleep(stage, holding(60))
    asked = ask(scene, 8)
    await waiting(scene, 8)
    assert not any(each.done() for each in asked)
    async with replica(scene, slots=8):
        await until(lambda: _found(scene), "the gateway has found the replica")
        before = await scene.gateway.metric(RETRIES, envoy_cluster_name="hop-owned")
        answers = await asyncio.gather(*asked)
        polls = await scene.gateway.metric(RETRIES, envoy_cluster_name="hop-owned") - before
    assert [(each.status, each.served_by) for each in answers] == [(200, "owned")] * 8
    assert all(each.complete for each in answers[1::2])
    assert polls <= 8, "a request went on waiting though a replica was there"


async def _found(scene: Stage) -> bool:
    healthy = await scene.gateway.metric("envoy_cluster_membership_healthy", envoy_cluster_name="owned")
    return healthy == 1 and await scene.gateway.cap_in_force() == 8


async def test_more_wait_than_the_first_replica_holds_and_all_are_answered(stage: SetStage) -> None:
    scene = await asleep(stage, holding(60))
    asked = ask(scene, 24)
    await waiting(scene, 24)
    async with replica(scene, slots=2) as engine:
        answers = await asyncio.gather(*asked)
        assert engine.peak <= 2
    assert Counter(each.status for each in answers) == {200: 24}


async def test_a_request_waits_no_longer_than_it_may_and_is_then_told_to_come_again(stage: SetStage) -> None:
    scene = await asleep(stage, holding(3))
    answer = await scene.client.post()
    assert (answer.status, error_of(answer), answer.served_by) == (503, "no_capacity", "none")
    assert answer.headers["retry-after"] == "5"
    assert not any(name.startswith("x-spillway") for name in answer.headers)
    assert answer.attempts > 2, "it was given up too soon"


async def test_one_more_than_may_wait_is_refused_at_once_and_those_that_wait_go_on(stage: SetStage) -> None:
    scene = await asleep(stage, holding(60, at_most=4))
    asked = ask(scene, 4)
    await waiting(scene, 4)
    refused = await scene.client.post()
    assert (refused.status, error_of(refused), refused.attempts) == (503, "no_capacity", 1)
    assert refused.headers["retry-after"] == "5"
    assert not any(each.done() for each in asked), "the newest is turned away, not one that has waited"
    assert await scene.gateway.metric(f"{RETRIES}_overflow", envoy_cluster_name="hop-owned") >= 1
    async with replica(scene, slots=4):
        assert [each.status for each in await asyncio.gather(*asked)] == [200] * 4


async def test_a_full_replica_is_waited_for_like_one_that_starts(stage: SetStage) -> None:
    scene = await stage(mode="Dedicated", engines=1, cap=2, spec=holding(30))
    (engine,) = scene.engines
    engine.hold = asyncio.Event()
    streams = await scene.client.open_many(2)
    more = ask(scene, 2)
    await until(lambda: _polled(scene), "the others wait")
    engine.hold.set()
    assert all([(await each.rest()).complete for each in streams])
    assert [each.status for each in await asyncio.gather(*more)] == [200, 200]
    assert engine.peak == 2


async def _polled(scene: Stage) -> bool:
    return await scene.gateway.metric(RETRIES, envoy_cluster_name="hop-owned") > 2


async def test_a_replica_that_cannot_be_reached_is_waited_for(stage: SetStage) -> None:
    scene = await stage(mode="Dedicated", engines=1, cap=2, spec=holding(30))
    await scene.engines[0].stop()
    asked = ask(scene, 2)
    await until(lambda: _polled(scene), "they wait")
    await scene.engines[0].start()
    assert [each.status for each in await asyncio.gather(*asked)] == [200, 200]


@pytest.mark.parametrize(
    ("script", "status"),
    [(fakes.fail(503), 503), (fakes.fail(429), 429), (fakes.fail(500), 500), (fakes.close, 503), (fakes.reset, 503)],
    ids=["503", "429", "500", "closes", "resets"],
)
async def test_what_a_replica_answered_or_broke_off_is_not_asked_again(stage: SetStage, script: fakes.Script, status: int) -> None:
    scene = await stage(mode="Dedicated", engines=1, cap=2, spec=holding(30))
    scene.engines[0].script = script
    answer = await scene.client.post()
    assert (answer.status, answer.attempts) == (status, 1)
    assert scene.engines[0].requests == 1


async def test_a_client_that_goes_away_while_it_waits_makes_room_for_another(stage: SetStage) -> None:
    scene = await asleep(stage, holding(60, at_most=1))
    (gone,) = ask(scene, 1)
    await waiting(scene, 1)
    gone.cancel()
    await until(lambda: _none_active(scene), "the gateway has noticed")
    (asked,) = ask(scene, 1)
    await waiting(scene, 1)
    async with replica(scene, slots=1):
        assert (await asked).status == 200


async def _none_active(scene: Stage) -> bool:
    return await scene.gateway.metric("envoy_http_downstream_rq_active", envoy_http_conn_manager_prefix="edge") == 0


async def test_a_client_cannot_set_the_time_since_when_it_waits(stage: SetStage) -> None:
    scene = await asleep(stage, holding(3))
    answer = await scene.client.post(headers={"x-spillway-arrived": "2026-01-01T00:00:00.000Z"})
    assert answer.status == 503
    assert answer.attempts > 2, "it pretended to have waited"


async def test_without_a_hold_a_request_at_zero_is_refused_at_once(stage: SetStage) -> None:
    scene = await asleep(stage, {})
    answer = await scene.client.post()
    assert (answer.status, answer.attempts, answer.headers["retry-after"]) == (503, 1, "1")
