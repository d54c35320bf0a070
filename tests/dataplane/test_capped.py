"""Requests that no limit lets go to hosted backends wait for own replicas: `gateway.hold` with `hosted.overflow.whenExceeded: Wait`."""

import asyncio
from typing import Any

import pytest

from tests.dataplane import fakes
from tests.dataplane.client import Answer
from tests.dataplane.conftest import SetStage, Stage
from tests.dataplane.process import until
from tests.dataplane.test_failures import ALPHA, error_of
from tests.dataplane.test_guards import permit
from tests.dataplane.test_hold import replica
from tests.dataplane.test_room import LOW, MIB
from tests.dataplane.test_seeing import not_taken

pytestmark = pytest.mark.dataplane
RETRIES = "envoy_cluster_upstream_rq_retry"
CAPPED = {"maxUSDPerDay": "5", "whenExceeded": "Wait"}
STAY = {"x-spillway-spill": "never"}


def holding(seconds: int, **hold: Any) -> dict[str, Any]:
    return {"gateway": {"replicas": 1, "hold": {"seconds": seconds, **hold}}}


async def capped(stage: SetStage, spec: dict[str, Any], *, micro_usd: int = 0, **more: Any) -> Stage:
    """Set a stage where no replica runs, and a permit leaves so much for the hosted backend."""
    scene = await stage(dns=True, cap=0, healthy=False, overflow=CAPPED | more, spec=spec)
    await scene.seen_healthy(engines=0)
    scene.gateway.set_permit(permit(scene.gateway.pod, micro_usd=micro_usd))
    return scene


def ask(scene: Stage, count: int, **more: Any) -> list[asyncio.Task[Answer]]:
    """Send requests, plain and streamed by turns."""
    return [asyncio.create_task(scene.client.post(stream=bool(place % 2), **more)) for place in range(count)]


async def waiting(scene: Stage, count: int) -> None:
    """Wait until as many requests wait at the gateway."""

    async def wait() -> bool:
        active = await scene.gateway.metric("envoy_http_downstream_rq_active", envoy_http_conn_manager_prefix="edge")
        return active == count and await polls(scene) > count

    await until(wait, f"{count} requests wait")


async def polls(scene: Stage) -> float:
    return await scene.gateway.metric(RETRIES, envoy_cluster_name="hop-again")


async def test_what_no_limit_lets_go_waits_for_the_first_replica(stage: SetStage) -> None:
    scene = await capped(stage, holding(60))
    asked = [*ask(scene, 6), *ask(scene, 2, headers=STAY)]
    await waiting(scene, 8)
    assert not any(each.done() for each in asked)
    async with replica(scene, slots=8):
        answers = await asyncio.gather(*asked)
    assert [(each.status, each.served_by) for each in answers] == [(200, "owned")] * 8
    assert all(each.complete for each in answers[1::2])
    assert scene.alpha.requests == 0


async def test_what_the_limit_lets_go_does_not_wait(stage: SetStage) -> None:
    scene = await capped(stage, holding(60), micro_usd=10_000_000)
    answers = await asyncio.gather(*ask(scene, 4, max_tokens=100))
    assert {(each.status, each.served_by) for each in answers} == {(200, ALPHA)}
    assert await polls(scene) == 0


async def test_it_waits_no_longer_than_it_may_and_is_then_told_to_come_again(stage: SetStage) -> None:
    scene = await capped(stage, holding(3))
    answer = await scene.client.post()
    assert (answer.status, error_of(answer), answer.served_by, answer.headers["retry-after"]) == (503, "no_capacity", "none", "5")
    assert not any(name.startswith("x-spillway") for name in answer.headers)
    assert await polls(scene) >= 2, "it was given up too soon"
    assert await not_taken(scene) == {("UH", "503"): 2}, "once before the hosted backend, once after the wait"


async def test_one_more_than_may_wait_is_refused_at_once(stage: SetStage) -> None:
    scene = await capped(stage, holding(60, maxRequests=4))
    asked = ask(scene, 4)
    await waiting(scene, 4)
    refused = await scene.client.post()
    assert (refused.status, error_of(refused), refused.headers["retry-after"]) == (503, "no_capacity", "5")
    assert not any(each.done() for each in asked)
    async with replica(scene, slots=4):
        assert [each.status for each in await asyncio.gather(*asked)] == [200] * 4


async def test_bytes_and_priority_bound_it_too(stage: SetStage) -> None:
    scene = await capped(stage, holding(60, maxMiB=8, lowPriorityPercent=50))
    asked = ask(scene, 3, user="x" * MIB)
    await waiting(scene, 3)
    for headers in (None, LOW):
        refused = await scene.client.post(user="x" * MIB, headers=headers)
        assert (refused.status, error_of(refused)) == (503, "no_capacity")
    async with replica(scene, slots=4):
        assert [each.status for each in await asyncio.gather(*asked)] == [200] * 3


async def test_a_held_stream_is_not_given_up_when_its_headers_are_late(stage: SetStage) -> None:
    """The stage's target for the first token is a second; who was refused elsewhere has nobody else."""
    scene = await capped(stage, holding(60))
    asked = asyncio.create_task(scene.client.post(stream=True))
    await waiting(scene, 1)
    async with replica(scene, slots=1) as engine:
        engine.work_s = 2.0
        answer = await asked
    assert (answer.status, answer.served_by) == (200, "owned")


async def test_a_limit_that_is_far_away_leaves_the_hosted_backend_to_bridge_a_failure(stage: SetStage) -> None:
    scene = await stage(engines=1, overflow=CAPPED, spec=holding(60))
    scene.gateway.set_permit(permit(scene.gateway.pod, micro_usd=10_000_000))
    scene.engines[0].script = fakes.fail(500)

    async def permitted() -> bool:
        return (await scene.client.post(max_tokens=100)).served_by == ALPHA

    await until(permitted, "the permit is in force")


@pytest.mark.parametrize("script", [fakes.fail(500), fakes.reset], ids=["500", "resets"])
async def test_what_a_replica_answered_after_a_wait_is_not_asked_again(stage: SetStage, script: fakes.Script) -> None:
    scene = await capped(stage, holding(60))
    asked = asyncio.create_task(scene.client.post())
    await waiting(scene, 1)
    async with replica(scene, slots=1) as engine:
        engine.script = script
        answer = await asked
        assert engine.requests == 1
    assert answer.status in {500, 503}


async def test_a_moment_for_a_slot_comes_before_the_limit_and_the_wait_after_it(stage: SetStage) -> None:
    more = {"slo": {"timeToFirstTokenMs": 30_000}}
    scene = await stage(engines=1, cap=1, overflow={**CAPPED, "maxWaitMs": 400}, spec=holding(60) | more)
    scene.gateway.set_permit(permit(scene.gateway.pod, micro_usd=0))
    (engine,) = scene.engines
    engine.hold = asyncio.Event()
    held = await scene.client.open_many(1)
    asked = ask(scene, 2)
    await waiting(scene, 3)
    assert await scene.gateway.metric(RETRIES, envoy_cluster_name="hop-slot") >= 2
    engine.hold.set()
    assert [(each.status, each.served_by) for each in await asyncio.gather(*asked)] == [(200, "owned")] * 2
    assert (await held[0].rest()).complete
    assert (engine.peak, scene.alpha.requests) == (1, 0)


async def test_a_client_cannot_wait_before_the_hosted_backend_was_asked_nor_pretend_that_it_has_waited(stage: SetStage) -> None:
    marks = {"x-spillway-held-since": "2026-01-01T00:00:00.000Z", "x-spillway-ticket": "1", "x-spillway-may-wait": "1"}
    scene = await capped(stage, holding(4, maxMiB=8))
    answer = await scene.client.post(headers=marks)
    assert answer.status == 503
    assert await polls(scene) >= 2, "it pretended to have waited"


async def test_without_a_hold_it_waits_some_seconds_and_is_then_told_to_come_again(stage: SetStage) -> None:
    scene = await capped(stage, {})
    assert [(each.status, each.headers["retry-after"]) for each in await asyncio.gather(*ask(scene, 2))] == [(503, "5")] * 2
    assert await polls(scene) >= 4
