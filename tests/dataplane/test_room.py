"""What waits for a replica is bounded in bytes (`gateway.hold.maxMiB`), and what its client marked gives way (`lowPriorityPercent`)."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from tests.dataplane.client import Answer
from tests.dataplane.conftest import SetStage, Stage
from tests.dataplane.process import until
from tests.dataplane.test_failures import error_of
from tests.dataplane.test_hold import ask, asleep, holding, replica, waiting

pytestmark = pytest.mark.dataplane
MIB = 1024 * 1024
LOW = {"x-spillway-priority": "low"}


def bounded(**hold: Any) -> dict[str, Any]:
    """Return a spec whose requests wait for a minute. A thread has half of each limit, and the stage's gateway one thread."""
    spec = holding(60)
    spec["gateway"]["hold"] |= hold
    return spec


def send(scene: Stage, count: int, *, mib: float = 0.0, headers: dict[str, str] | None = None) -> list[asyncio.Task[Answer]]:
    """Send requests with bodies a little above that size."""
    return [asyncio.create_task(scene.client.post(user="x" * int(mib * MIB), headers=headers)) for _ in range(count)]


async def wait_at_once(scene: Stage, count: int, *, mib: float = 0.0, headers: dict[str, str] | None = None) -> list[asyncio.Task[Answer]]:
    """Send requests and wait until they wait, and no other."""
    asked = send(scene, count, mib=mib, headers=headers)
    await waiting(scene, count)
    return asked


async def active(scene: Stage, count: int) -> bool:
    return await scene.gateway.metric("envoy_http_downstream_rq_active", envoy_http_conn_manager_prefix="edge") == count


async def not_held(scene: Stage, why: str) -> float:
    return await scene.gateway.metric("envoy_spillway_not_held", why=why)


def is_refused(answer: Answer) -> bool:
    told = (answer.status, error_of(answer), answer.headers["retry-after"])
    return told == (503, "no_capacity", "5") and not any(name.startswith("x-spillway") for name in answer.headers)


async def test_bodies_beyond_the_bound_are_refused_at_once_and_those_that_wait_are_answered(stage: SetStage) -> None:
    scene = await asleep(stage, bounded(maxMiB=8))
    asked = await wait_at_once(scene, 3, mib=1)
    refused = await asyncio.gather(*send(scene, 3, mib=1))
    assert all(is_refused(each) and each.attempts == 1 for each in refused)
    assert await not_held(scene, "bytes") == 3
    small = send(scene, 1)
    await until(lambda: active(scene, 4), "a small one still has room")
    async with replica(scene, slots=4):
        assert [each.status for each in await asyncio.gather(*asked, *small)] == [200] * 4


async def test_what_has_waited_stays_however_often_it_asks(stage: SetStage) -> None:
    scene = await asleep(stage, bounded(maxMiB=8))
    asked = await wait_at_once(scene, 3, mib=1)
    crowd = [await asyncio.gather(*send(scene, 8, mib=1)) for _ in range(5)]
    assert all(is_refused(each) for some in crowd for each in some)
    assert not any(each.done() for each in asked)
    async with replica(scene, slots=4):
        assert [each.status for each in await asyncio.gather(*asked)] == [200] * 3


async def test_a_body_larger_than_the_bound_waits_where_none_does(stage: SetStage) -> None:
    scene = await asleep(stage, bounded(maxMiB=2))
    asked = await wait_at_once(scene, 1, mib=4)
    assert is_refused(await scene.client.post())
    async with replica(scene, slots=4):
        assert (await asked[0]).status == 200


async def test_room_is_there_again_when_those_that_waited_are_answered(stage: SetStage) -> None:
    scene = await asleep(stage, bounded(maxMiB=2))
    for _ in range(2):
        asked = send(scene, 1, mib=0.75)
        await until(lambda: active(scene, 1), "it waits")
        assert is_refused((await asyncio.gather(*send(scene, 1, mib=0.75)))[0])
        async with replica(scene, slots=4):
            assert (await asked[0]).status == 200
        assert scene.names
        scene.names.addresses = []
        scene.gateway.set_cap(0)
        await until(lambda: _asleep(scene), "there is no replica again")


async def _asleep(scene: Stage) -> bool:
    return await scene.gateway.cap_in_force() == 0


async def test_a_client_that_goes_away_makes_room_within_seconds(stage: SetStage) -> None:
    scene = await asleep(stage, bounded(maxMiB=2))
    (gone,) = await wait_at_once(scene, 1, mib=0.75)
    gone.cancel()
    await until(lambda: active(scene, 0), "the gateway has noticed")
    await until(lambda: _is_held(scene), "there is room for another")


async def _is_held(scene: Stage) -> bool:
    """Ask, and see whether that waits."""
    asked = asyncio.create_task(scene.client.post(user="x" * MIB))
    done, _ = await asyncio.wait([asked], timeout=0.5)
    asked.cancel()
    return not done


async def test_a_client_cannot_count_several_requests_as_one(stage: SetStage) -> None:
    scene = await asleep(stage, bounded(maxMiB=2))
    same = {"x-spillway-ticket": "1", "x-request-id": "1"}
    asked = await wait_at_once(scene, 1, mib=0.75, headers=same)
    assert all(is_refused(each) for each in await asyncio.gather(*send(scene, 4, mib=0.75, headers=same)))
    async with replica(scene, slots=4):
        assert (await asked[0]).status == 200


async def test_marked_requests_wait_up_to_their_share_and_others_beyond_it(stage: SetStage) -> None:
    scene = await asleep(stage, bounded(maxRequests=16, lowPriorityPercent=50))
    low = await wait_at_once(scene, 4, headers=LOW)
    assert is_refused(await scene.client.post(headers={"x-spillway-priority": "Low"}))
    assert await not_held(scene, "priority") == 1
    assert not any(each.done() for each in low)
    await _answered(scene, low)


async def _answered(scene: Stage, asked: list[asyncio.Task[Answer]]) -> None:
    async with replica(scene, slots=16):
        assert {each.status for each in await asyncio.gather(*asked)} == {200}


async def test_marked_requests_that_wait_give_way_to_others(stage: SetStage) -> None:
    scene = await asleep(stage, bounded(maxRequests=16, lowPriorityPercent=50))
    low = await wait_at_once(scene, 4, headers=LOW)
    others = ask(scene, 4)
    answers = await asyncio.gather(*low)
    assert all(is_refused(each) for each in answers)
    assert not any(each.done() for each in others)
    await _answered(scene, others)


async def test_marked_requests_give_way_by_bytes_too(stage: SetStage) -> None:
    scene = await asleep(stage, bounded(maxMiB=8, lowPriorityPercent=50))
    low = await wait_at_once(scene, 1, mib=1, headers=LOW)
    assert is_refused((await asyncio.gather(*send(scene, 1, mib=1, headers=LOW)))[0])
    others = send(scene, 1, mib=1)
    assert is_refused(await low[0])
    await _answered(scene, others)


async def test_with_a_share_of_nothing_marked_requests_never_wait(stage: SetStage) -> None:
    scene = await asleep(stage, bounded(lowPriorityPercent=0))
    refused = await asyncio.gather(*send(scene, 3, headers=LOW))
    assert all(is_refused(each) and each.attempts == 1 for each in refused)


async def test_without_a_share_the_mark_means_nothing(stage: SetStage) -> None:
    scene = await asleep(stage, bounded(maxMiB=8))
    await _answered(scene, await wait_at_once(scene, 12, headers=LOW))


async def test_all_threads_together_hold_no_more_than_the_bound(stage: SetStage) -> None:
    scene = await stage(mode="Dedicated", dns=True, cap=0, workers=2, healthy=False, spec=bounded(maxMiB=8))
    asked = send(scene, 40, mib=1)
    await until(lambda: sum(each.done() for each in asked) >= 34, "those without room are refused")
    held = [each for each in asked if not each.done()]
    assert 3 <= len(held) <= 6, Counter(each.done() for each in asked)
    assert all(is_refused(each.result()) for each in asked if each.done())
    await _answered(scene, held)
