"""Things break under load. Every request is answered whole, or by an error that says so; what is cut, and only that, is told apart."""

import asyncio
import os
from typing import Any

import pytest

from tests.dataplane.conftest import SetStage
from tests.dataplane.faults import FAULTS, LOG_FULL, LOG_STUCK, Fault
from tests.dataplane.load import Load
from tests.dataplane.reliability import Table

pytestmark = pytest.mark.dataplane


@pytest.mark.parametrize("fault", [each for each in FAULTS if not each.waits], ids=lambda fault: fault.name)
async def test_what_becomes_of_requests_while(stage: SetStage, table: Table, fault: Fault) -> None:
    await play(stage, table, fault)


async def test_what_becomes_of_requests_while_something_keeps_them_waiting(stage: SetStage, table: Table) -> None:
    async with asyncio.TaskGroup() as together:
        for place, fault in enumerate(each for each in FAULTS if each.waits):
            together.create_task(play(stage, table, fault, folder=f"stage-{place}"))


async def test_requests_are_served_while_the_access_log_cannot_be_written(stage: SetStage, table: Table) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        await play(stage, table, LOG_FULL, output=full)
    finally:
        os.close(full)


async def test_requests_are_served_while_nobody_reads_the_access_log(stage: SetStage, table: Table) -> None:
    read, write = os.pipe()
    try:
        await play(stage, table, LOG_STUCK, output=write)
    finally:
        os.close(write)
        os.close(read)


async def play(stage: SetStage, table: Table, fault: Fault, **more: Any) -> None:
    scene = await stage(**fault.stage, **more)
    pid = scene.gateway.pid
    async with Load(scene.client, pause_s=fault.pause_s) as load:
        await fault.play(scene, load)
    tally = load.tally
    assert all(getattr(tally, outcome) for outcome in fault.some), tally
    assert not any(getattr(tally, outcome) for outcome in fault.none), tally
    assert {what for what in tally.seen if what[0].isdigit()} <= fault.errors, tally
    assert (scene.gateway.pid, await scene.gateway.ready()) == (pid, True)
    table.record(fault.name, tally, seen=fault.seen)
