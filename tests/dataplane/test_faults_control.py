"""What decides, renews and tells the time goes: a gateway is killed, nobody renews its permit, its clock jumps."""

import asyncio
from pathlib import Path

import pytest

from tests.dataplane import fakes
from tests.dataplane.client import Client
from tests.dataplane.clock import Clock
from tests.dataplane.conftest import SetStage, Stage
from tests.dataplane.faults import PATIENT, Fault
from tests.dataplane.load import Load
from tests.dataplane.process import until
from tests.dataplane.reliability import Table, Tally
from tests.dataplane.test_failures import error_of
from tests.dataplane.test_faults import play
from tests.dataplane.test_guards import LIMITED, held_stream, permit

pytestmark = pytest.mark.dataplane
GATEWAY_KILLED = "one of two gateways killed"
CONTROL_AWAY = "API server and operator away, until the permit ends and after"
CLOCK_JUMPS = "the gateway's clock jumps by an hour, forth and back"
CONTROL = (GATEWAY_KILLED, CONTROL_AWAY, CLOCK_JUMPS)
HOUR_S = 3600
AMPLE = 1_000_000_000  # micro-USD
LIFE_S = 4  # of the permit that nobody renews: ten minutes of production, as far as a gateway can tell
_LIMITED = {"engines": 1, "cap": 2, "spec": PATIENT, "overflow": LIMITED}
_NO_PERMIT = frozenset({"429 spill_permit_missing"})


async def test_a_killed_gateway_loses_what_it_had_and_nobody_elses(stage: SetStage, table: Table) -> None:
    scene = await stage(engines=2, gateways=2, spec=PATIENT)
    survivor, doomed = scene.gateways
    release, held = asyncio.Event(), fakes.hang
    async with Client(survivor.url) as first, Client(doomed.url) as second, Load(first) as unharmed, Load(second) as load:
        await unharmed.more("owned", 20)
        await load.more("owned", 20)
        for engine in scene.engines:
            engine.script = held(release)
        both = unharmed.workers + load.workers
        await until(lambda: _active(scene) == both, "every client waits for an answer")
        second.url = survivor.url  # what a Service does once it knows
        await doomed.stop()
        await until(lambda: load.tally.lost == load.workers, f"clients of the killed one notice: {load.tally}")
        await until(lambda: _active(scene) == both, "they ask again elsewhere")
        release.set()
        await load.more("owned", 40)
    assert (load.tally.lost, load.tally.failed, load.tally.spilled) == (load.workers, 0, 0)
    assert (unharmed.tally.lost, unharmed.tally.failed, unharmed.tally.spilled) == (0, 0, 0)
    seen = "what was under way in the killed one is lost, plain calls too; clients of the other: nothing"
    table.record(GATEWAY_KILLED, Tally(owned=load.tally.owned + unharmed.tally.owned, lost=load.tally.lost), seen=seen)


def _active(scene: Stage) -> int:
    return sum(engine.active for engine in scene.engines)


async def test_own_replicas_serve_on_and_spill_ends_with_the_permit_that_nobody_renews(stage: SetStage, table: Table) -> None:
    async def away(scene: Stage, load: Load) -> None:
        _permit(scene, life_s=LIFE_S)
        await load.more("spilled", 20)
        failed = load.tally.failed
        await until(lambda: load.tally.failed > failed + 20, f"the permit has ended: {load.tally}")
        spilled, asked = load.tally.spilled, scene.alpha.requests
        await load.more("owned", 40)
        assert (load.tally.spilled, scene.alpha.requests) == (spilled, asked), "it fails closed"
        _permit(scene)
        await load.more("spilled", 20)

    fault = Fault(
        name=CONTROL_AWAY,
        seen="nothing for as long as the permit lasts; then 429 `spill_permit_missing` for what does not fit on own replicas",
        stage=_LIMITED,
        play=away,
        some=frozenset({"owned", "spilled", "failed"}),
        none=frozenset({"lost"}),
        errors=_NO_PERMIT,
    )
    await play(stage, table, fault)


def _permit(scene: Stage, *, life_s: float = 600) -> None:
    scene.gateway.set_permit(permit(scene.gateway.pod, micro_usd=AMPLE, life_s=life_s))


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the wall clock of the gateways that this test starts."""
    made = Clock(tmp_path / "clock")
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made


async def test_a_clock_that_jumps_ends_a_permit_early_or_late_and_loses_nothing(stage: SetStage, table: Table, clock: Clock) -> None:
    async def jumps(scene: Stage, load: Load) -> None:
        _permit(scene)
        await load.more("spilled", 20)
        clock.jump(HOUR_S)
        await load.more("failed", 20)  # the permit is an hour old, by this clock
        await load.more("owned", 20)
        _permit(scene, life_s=HOUR_S + 600)
        await load.more("spilled", 20)
        clock.jump(0)
        await load.more("spilled", 40)
        clock.jump(-HOUR_S)
        await load.more("spilled", 40)

    fault = Fault(
        name=CLOCK_JUMPS,
        seen="forth: 429 `spill_permit_missing` for what does not fit on own replicas, until the permit is renewed; back: nothing",
        stage=_LIMITED,
        play=jumps,
        some=frozenset({"owned", "spilled", "failed"}),
        none=frozenset({"lost"}),
        errors=_NO_PERMIT,
    )
    await play(stage, table, fault)


async def test_a_permit_that_a_clock_behind_keeps_alive_allows_no_more_than_its_mark(stage: SetStage, clock: Clock) -> None:
    scene = await stage(cap=0, overflow=LIMITED)
    clock.jump(-HOUR_S)
    scene.gateway.set_permit(permit(scene.gateway.pod, micro_usd=AMPLE, requests=3, life_s=-60))
    statuses = [(await scene.client.post()).status for _ in range(5)]
    assert statuses == [200, 200, 200, 429, 429]


async def test_a_circuit_that_opened_before_the_clock_went_back_closes_in_its_own_time(stage: SetStage, clock: Clock) -> None:
    scene = await stage(cap=0, overflow=LIMITED)
    _permit(scene)
    scene.alpha.script = fakes.fail(429, **{"retry-after": "1"})
    assert (await scene.client.post()).status == 503
    scene.alpha.script = None
    clock.jump(-HOUR_S)

    async def is_served() -> bool:
        answer = await scene.client.post()
        assert answer.status == 200 or error_of(answer) == "no_capacity"
        return answer.status == 200

    await until(is_served, "the circuit is closed again")


async def test_a_first_byte_that_came_before_its_request_by_the_clock_is_left_out_of_the_times(stage: SetStage, clock: Clock) -> None:
    """Taken for what it is, it would be a first token after ages, and turn back counters that only grow."""
    scene = await stage(engines=1, mode="Dedicated")
    scene.engines[0].hold, scene.engines[0].script = asyncio.Event(), held_stream
    late = asyncio.create_task(scene.client.post(stream=True))
    await until(lambda: scene.engines[0].active == 1, "it is at the replica")
    clock.jump(-HOUR_S)
    scene.engines[0].hold.set()
    answers = [await late, await scene.client.post(stream=True), await scene.client.post(stream=True)]
    assert all(each.complete and each.served_by == "owned" for each in answers)
    assert await scene.gateway.metric("envoy_spillway_output_tokens", backend="owned") == 3 * fakes.OUTPUT_TOKENS
    assert await scene.gateway.metric("envoy_spillway_streamed_answers", backend="owned") == 2
    assert await scene.gateway.metric("envoy_spillway_streamed_first_body_ms", backend="owned") < HOUR_S * 1000
