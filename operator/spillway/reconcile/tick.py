"""The tick: Prometheus is asked once for all workloads, then every workload gets its pass."""

import asyncio
import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Protocol

from spillway.observe.signals import Target
from spillway.plan.decision import Key
from spillway.plan.observation import Signals
from spillway.reconcile.queue import ReconcileQueue
from spillway.reconcile.world import World

logger = logging.getLogger(__name__)


class Source(Protocol):
    """Where signals come from."""

    async def read(self, targets: Mapping[Key, Target], pod_owners: Mapping[tuple[str, str], Key], now: datetime) -> Mapping[Key, Signals]:
        """Return the signals of every target."""


async def tick(source: Source, world: World, queue: ReconcileQueue) -> None:
    """Read once and ask for a pass over every workload."""
    now = datetime.now(UTC)
    targets = world.targets(now)
    asked = {key: world.view.workloads[key].parsed.uid for key in targets}
    world.signals, world.signals_of = await source.read(targets, world.view.pod_owners(), now) if targets else {}, asked
    for key in targets:
        queue.add(key)


async def tick_forever(source: Source, world: World, queue: ReconcileQueue, *, every_s: float) -> None:
    """Tick at a steady pace; a tick that took long does not shift the next ones."""
    due = time.monotonic()
    while True:
        await tick(source, world, queue)
        due = max(due + every_s, time.monotonic())
        await asyncio.sleep(due - time.monotonic())
