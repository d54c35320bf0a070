"""A burst fills own replicas to the cap and not beyond; everything else is answered by the hosted endpoint, nobody gets an error."""

import asyncio
import statistics
from collections import Counter

import pytest

from tests.dataplane.client import Client, rest_of
from tests.dataplane.conftest import SetStage, Stage

pytestmark = pytest.mark.dataplane
STREAMS, SLOTS = 200, 16
LARGE_BYTES = 256 * 1024
# A stream waits for headers as long as its target says, then it is tried elsewhere; on a busy machine these wait for their turn.
PATIENT = {"slo": {"timeToFirstTokenMs": 30_000}}


async def test_two_hundred_streams_on_sixteen_slots_are_sixteen_owned_and_no_error(stage: SetStage) -> None:
    scene = await stage(cap=SLOTS, spec=PATIENT)
    release = asyncio.Event()
    for backend in (*scene.engines, scene.alpha):
        backend.hold = release
    streams = await scene.client.open_many(STREAMS)
    release.set()
    answers = await rest_of(streams)
    assert Counter(each.served_by for each in streams) == {"owned": SLOTS, "alpha/vendor/alpha-model": STREAMS - SLOTS}
    assert all(each.complete for each in answers)
    assert sum(each.peak for each in scene.engines) == SLOTS


@pytest.mark.parametrize("workers", [1, 2], ids=["one worker", "two workers"])
@pytest.mark.parametrize("replicas", [2, 4], ids=["two replicas", "four replicas"])
async def test_the_first_burst_of_a_fresh_gateway_is_spread_evenly(stage: SetStage, *, replicas: int, workers: int) -> None:
    for fresh in ("first", "second", "third"):  # drawn by lot, 16 requests came out this even one time in five, three times in a row never
        scene = await stage(cap=SLOTS, engines=replicas, workers=workers, spec=PATIENT, folder=fresh)
        release = asyncio.Event()
        for engine in scene.engines:
            engine.hold = release
        streams = await scene.client.open_many(SLOTS)
        assert {each.served_by for each in streams} == {"owned"}
        share = SLOTS // replicas
        assert all(abs(each.active - share) <= 1 for each in scene.engines), [each.active for each in scene.engines]
        release.set()
        await rest_of(streams)


@pytest.mark.parametrize("replicas", [2, 4], ids=["two replicas", "four replicas"])
async def test_a_first_burst_beyond_the_cap_gives_no_replica_much_more_than_its_part_of_it(stage: SetStage, *, replicas: int) -> None:
    most = []
    for fresh in ("first", "second", "third"):
        scene = await stage(cap=SLOTS, engines=replicas, workers=2, spec=PATIENT, folder=fresh)
        release = asyncio.Event()
        for backend in (*scene.engines, scene.alpha):
            backend.hold = release
        streams = await scene.client.open_many(STREAMS)
        taken = [each.active for each in scene.engines]
        assert SLOTS <= sum(taken) <= SLOTS + 1
        most.append(max(taken))
        release.set()
        assert all(each.complete for each in await rest_of(streams))
    # Which of the requests that wait for connections come in under the cap is decided by whose connection is there first: on a busy machine
    # one burst in a hundred goes one further.
    assert statistics.median(most) <= SLOTS // replicas + 2, most


async def test_two_gateways_with_two_workers_each_overshoot_by_at_most_one_request_per_gateway(stage: SetStage) -> None:
    """Threads look at the count before they add to it: of two, the second may add one that the first has not."""
    scene = await stage(cap=SLOTS // 2, gateways=2, workers=2, spec=PATIENT)
    release = asyncio.Event()
    for backend in (*scene.engines, scene.alpha):
        backend.hold = release
    async with Client(scene.gateways[1].url) as other:
        streams = [*await scene.client.open_many(STREAMS // 2), *await other.open_many(STREAMS // 2)]
        release.set()
        answers = await rest_of(streams)
    assert all(each.complete for each in answers)
    owned = sum(each.served_by == "owned" for each in streams)
    assert SLOTS <= owned <= SLOTS + len(scene.gateways)


async def test_a_closed_loop_never_exceeds_the_cap_and_never_fails(stage: SetStage) -> None:
    scene = await stage(cap=SLOTS, spec=PATIENT)

    async def work() -> list[bool]:
        return [(await scene.client.post(stream=True)).complete for _ in range(20)]

    done = await asyncio.gather(*(work() for _ in range(40)))
    assert all(all(each) for each in done)
    assert sum(each.peak for each in scene.engines) <= SLOTS


async def test_freed_slots_are_used_again(stage: SetStage) -> None:
    scene = await stage(cap=2, spec=PATIENT)
    release = asyncio.Event()
    for engine in scene.engines:
        engine.hold = release
    streams = await scene.client.open_many(2)
    assert (await scene.client.post()).served_by == "alpha/vendor/alpha-model"
    release.set()
    for each in streams:
        assert (await each.rest()).complete
    assert (await scene.client.post()).served_by == "owned"


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_small_requests_that_the_cap_refuses_open_no_connection_each_within_the_gateway(stage: SetStage, *, stream: bool) -> None:
    scene = await stage(cap=0, engines=1)
    answers = [await scene.client.post(stream=stream) for _ in range(10)]
    assert {(each.status, each.served_by, each.attempts) for each in answers} == {(200, "alpha/vendor/alpha-model", 2)}
    assert await _opened(scene, "hop-owned") == 1


async def test_large_requests_are_refused_before_they_are_carried_to_own_replicas_tier(stage: SetStage) -> None:
    scene = await stage(cap=0, engines=1)
    answers = [await scene.client.post(pad="x" * LARGE_BYTES) for _ in range(10)]
    assert {(each.served_by, each.attempts) for each in answers} == {("alpha/vendor/alpha-model", 2)}
    assert await _opened(scene, "hop-owned") == len(answers)


async def _opened(scene: Stage, cluster: str) -> int:
    """Return how many connections the gateway has opened to a cluster."""
    found = await scene.gateway.admin("/clusters?format=json")
    hosts = next(each["host_statuses"] for each in found["cluster_statuses"] if each["name"] == cluster)
    return sum(int(stat.get("value", 0)) for host in hosts for stat in host["stats"] if stat["name"] == "cx_total")
