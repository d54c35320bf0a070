"""Hours of ordinary days in a minute: load at 70 % of what replicas hold while everything comes and goes; nothing may pile up.

SPILLWAY_SOAK_S sets how long: a minute in CI, 3600 for the hour that a release is judged by.
"""

import asyncio
import contextlib
import itertools
import os
import random
import time
from collections.abc import AsyncIterator

import pytest

from tests.dataplane.conftest import KEYS, SetStage, Stage
from tests.dataplane.faults import PATIENT
from tests.dataplane.load import ask
from tests.dataplane.process import until
from tests.dataplane.reliability import Table, Tally

pytestmark = pytest.mark.dataplane
SOAK_FAULT = "an ordinary day: 70 % load, and everything comes and goes"
LENGTH_S = float(os.environ.get("SPILLWAY_SOAK_S", "60"))
CAP, LOAD = 20, 14
TURN_S = 0.5  # something changes
HELD_S = 0.15  # how long a fake works on an answer: a load is a share of slots only if they are held
SETTLED = 0.34  # of the length, after which what a gateway keeps for good has been allocated
GROWTH_BYTES = 6 * 1024 * 1024  # statistics of names that were not used before, and what the allocator rounds up


async def test_nothing_piles_up_while_everything_comes_and_goes(stage: SetStage, table: Table) -> None:
    scene = await stage(engines=2, cap=CAP, workers=2, spec=PATIENT)
    for backend in (*scene.engines, scene.alpha):
        backend.work_s = HELD_S
    scene.alpha.keys = frozenset({KEYS["alpha"], "alpha-key-2"})
    tally, started = Tally(), time.monotonic()
    memory: list[tuple[float, float]] = []
    async with _clients(scene, tally):
        for turn in itertools.count():
            passed = (time.monotonic() - started) / LENGTH_S
            if passed >= 1:
                break
            memory.append((passed, await _allocated(scene)))
            await _change(scene, turn)
            _forget(scene)
            await asyncio.sleep(TURN_S)
    assert tally.owned, tally
    assert tally.spilled, tally
    assert (tally.failed, tally.lost) == (0, 0), tally
    await until(lambda: _at_rest(scene), "no request and no stream is left")
    settled = [held for passed, held in memory if SETTLED <= passed < 2 * SETTLED]
    late = [held for passed, held in memory if passed >= 2 * SETTLED]
    assert min(late) - min(settled) < GROWTH_BYTES, f"memory grows: {[round(held / 1e6, 1) for _, held in memory]}"
    table.record(SOAK_FAULT, tally, seen="nothing; memory is flat and no stream is left over")


@contextlib.asynccontextmanager
async def _clients(scene: Stage, tally: Tally) -> AsyncIterator[None]:
    """Keep requests in flight, some of which are given up by their clients half-way."""
    over = asyncio.Event()
    draw = random.Random(1)

    async def work(place: int) -> None:
        while not over.is_set():
            if place == 0:
                await _give_up(scene, after_s=draw.random() * HELD_S)
            else:
                await ask(scene.client, tally, stream=place % 3 != 0)

    tasks = [asyncio.create_task(work(place)) for place in range(LOAD)]
    try:
        yield
        over.set()
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _give_up(scene: Stage, *, after_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(scene.client.post(stream=True), timeout=after_s)


async def _change(scene: Stage, turn: int) -> None:
    """Let one thing come or go: a replica, a cap that fits it, a key."""
    match turn % 6:
        case 0:
            scene.engines[1].healthy = False
        case 1 | 4:
            scene.gateway.set_cap(CAP // 2)
        case 2:
            scene.gateway.write_key("alpha", "alpha-key-2" if turn % 12 == 2 else KEYS["alpha"])
        case 3:
            scene.engines[1].healthy = True
        case _:
            scene.gateway.set_cap(CAP)


def _forget(scene: Stage) -> None:
    """Keep this process from growing, too."""
    for backend in (*scene.engines, scene.alpha):
        for kept in (backend.bodies, backend.headers, backend.raw):
            kept.clear()


async def _allocated(scene: Stage) -> float:
    return await scene.gateway.metric("envoy_server_memory_allocated")


async def _at_rest(scene: Stage) -> bool:
    active = ("envoy_cluster_upstream_rq_active", "envoy_http_downstream_rq_active", "envoy_cluster_upstream_rq_pending_active")
    samples = await scene.gateway.metrics()
    busy = [
        each for each in samples if each.name in active and each.value and each.labels.get("envoy_http_conn_manager_prefix") != "operations"
    ]
    return not busy and not any(backend.active for backend in (*scene.engines, scene.alpha))
