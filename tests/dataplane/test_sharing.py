"""Several gateways, one cap: clients that all end at one pod get nearly all of it, and all pods together never exceed it."""

import asyncio
import logging
import random
from contextlib import AsyncExitStack

import pytest

from tests.dataplane import fakes
from tests.dataplane.client import Client, rest_of
from tests.dataplane.conftest import SetStage, Stage
from tests.dataplane.kubelets import sharing
from tests.dataplane.load import Load
from tests.dataplane.process import Gateway, until

logger = logging.getLogger(__name__)
pytestmark = pytest.mark.dataplane
EACH = 12  # the even split of the cap
# A stream waits for headers as long as its target says, then it is tried elsewhere; on a busy machine these wait for their turn.
PATIENT = {"slo": {"timeToFirstTokenMs": 30_000}}


async def shared(stage: SetStage, gateways: int, *, mode: str = "Hybrid") -> Stage:
    """Set a stage of gateways in front of one engine, whose peak is that of all of them together."""
    return await stage(mode=mode, engines=1, cap=EACH, gateways=gateways, workers=2, spec={**PATIENT, "gateway": {"replicas": gateways}})


@pytest.mark.parametrize("gateways", [2, 3])
async def test_clients_that_all_end_at_one_gateway_get_nine_tenths_of_the_cap_before_the_first_is_spilled(
    stage: SetStage, gateways: int
) -> None:
    scene = await shared(stage, gateways)
    cap = EACH * gateways
    scene.engines[0].hold = scene.alpha.hold = asyncio.Event()
    async with sharing(scene) as kubelets:
        streams = await scene.client.open_many(EACH // 2)
        while streams[-1].served_by == "owned":
            await kubelets.looked()  # traffic that grows, by one stream at a look
            streams.append(await scene.client.open())
        held = scene.engines[0].active
        scene.engines[0].hold.set()
        scene.alpha.hold.set()
        assert all(each.complete for each in await rest_of(streams))
    logger.info("%d gateways: %d of %d owned before the first spill", gateways, held, cap)
    assert 0.9 * cap <= held <= cap + gateways


@pytest.mark.parametrize("gateways", [2, 3])
async def test_a_crowd_that_moves_from_gateway_to_gateway_is_followed_and_the_cap_is_kept(stage: SetStage, gateways: int) -> None:
    """Wherever the crowd is, it comes to hold nine tenths of the cap; and at no moment is there more than the cap and one for each pod."""
    scene = await shared(stage, gateways)
    cap, engine = EACH * gateways, scene.engines[0]
    engine.work_s = scene.alpha.work_s = 0.6
    chance = random.Random(7)
    async with sharing(scene, delay=lambda: chance.uniform(0.1, 0.8)):
        for gateway in (*scene.gateways, scene.gateways[0]):
            # Until then none is answered: six busy processes on two cores came to so many at a time in no minute, though all were let in.
            engine.script = fakes.hang(gathered := asyncio.Event())
            async with Client(gateway.url) as client, Load(client, workers=2 * cap, pause_s=0) as load:
                began = asyncio.get_running_loop().time()
                await until(lambda: engine.active >= 0.9 * cap, f"nine tenths of the cap at {gateway.pod}")
                took_s = asyncio.get_running_loop().time() - began
                logger.info("%s of %d: nine tenths of the cap after %.1f s", gateway.pod, gateways, took_s)
                engine.script = None
                gathered.set()
                await load.more("owned", 2 * cap)
                await load.finish()
            assert (load.tally.failed, load.tally.lost) == (0, 0), load.tally
    logger.info("%d gateways: at most %d at once, of %d", gateways, engine.peak, cap)
    assert engine.peak <= cap + gateways


async def test_gateways_that_are_all_full_share_the_cap_and_never_exceed_it(stage: SetStage) -> None:
    gateways = 3
    scene = await shared(stage, gateways)
    cap, engine = EACH * gateways, scene.engines[0]
    engine.work_s = scene.alpha.work_s = 0.6  # long enough that two busy cores keep all of them at work
    async with sharing(scene), AsyncExitStack() as stack:
        loads = []
        for place, gateway in enumerate(scene.gateways):
            client = await stack.enter_async_context(Client(gateway.url))
            loads.append(await stack.enter_async_context(Load(client, workers=(place + 1) * EACH, pause_s=0)))
            await loads[-1].more("owned", cap)
        for load in loads:
            await load.more("sent", 4 * load.workers)
        for load in loads:
            await load.finish()
    logger.info("%d full gateways: at most %d at once, of %d", gateways, engine.peak, cap)
    assert all((each.tally.failed, each.tally.lost) == (0, 0) for each in loads)
    assert engine.peak <= cap + gateways


async def test_without_an_operator_shares_stay_and_a_gateway_that_was_told_none_gets_the_even_split(stage: SetStage) -> None:
    scene = await shared(stage, 2)
    first, second = scene.gateways
    assert [await each.cap_in_force() for each in scene.gateways] == [EACH, EACH]
    first.set_share(2)
    await until(lambda: goes_by(first, 2), "the share is in force")
    first.set_cap(40)  # what the cap's ConfigMap says does not count for a pod that was told a share
    second.set_cap(40)
    await until(lambda: goes_by(second, 40), "the even split is in force")
    first.terminate()
    await first.wait()
    await first.start()
    assert await first.cap_in_force() == 2


async def goes_by(gateway: Gateway, cap: int) -> bool:
    """Whether a gateway goes by this cap."""
    return await gateway.cap_in_force() == cap
