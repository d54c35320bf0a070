"""What was learned of all workloads, read when this process starts to lead and written down every few minutes."""

import logging
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from spillway.apply.applier import Applier
from spillway.apply.census import config_maps
from spillway.apply.connection import Connection
from spillway.apply.known import KnownObjects, Ref
from spillway.observe.body import Owner, kept_for
from spillway.plan.clock import elapsed
from spillway.plan.decision import Key, Memory, Workload
from spillway.plan.learned import Learned
from spillway.render import names
from spillway.render.learned import COMPONENT_LEARNED, learned_object, parse_learned

logger = logging.getLogger(__name__)

EVERY = timedelta(minutes=5)  # what a crash forgets at most; a clean stop forgets nothing
DEMAND_EVERY = timedelta(minutes=15)  # the same of traffic, which teaches something every minute


@dataclass(frozen=True, slots=True)
class _Written:
    at: datetime
    learned: Learned
    uid: str


class Recollection:
    """Reads and writes ConfigMap <name>-learned."""

    def __init__(self, applier: Applier, known: KnownObjects) -> None:
        self._applier = applier
        self._known = known
        self._found: dict[Owner, Learned] = {}
        self._written: dict[Key, _Written] = {}

    async def load(self, connection: Connection) -> None:
        """Read all there is. Nobody else writes it, so a workload that appears later has none."""
        self._written.clear()
        self._found = {}
        async for found in config_maps(connection, COMPONENT_LEARNED):
            owner = kept_for(found, names.learned)
            if owner is None:
                continue
            try:
                learned = parse_learned(found.get("data") or {})
            except ValueError as problem:
                where = f"{found['metadata']['namespace']}/{found['metadata']['name']}"
                logger.warning("ConfigMap %s cannot be read, its contents are learned again: %s", where, problem)
                continue
            if learned is not None:
                self._found[owner] = learned

    def recall(self, key: Key, uid: str, memory: Memory) -> Memory:
        """Return the memory with what was found for this very workload, or written since."""
        learned = self._found.get((key, uid))
        return memory if learned is None else learned.into(memory)

    async def write(self, workload: Workload, memory: Memory, now: datetime) -> None:
        """Write down what was learned if that is due."""
        learned, before = Learned.of(memory), self._written.get(workload.key)
        if learned is None:
            return
        there = self._known.get(Ref("ConfigMap", workload.key.namespace, names.learned(workload.key.name))) is not None
        if there and before is not None and (learned == before.learned or elapsed(before.at, now) < _every(learned, before.learned)):
            return
        await self._write(workload, learned, now)

    async def flush(self, workload: Workload, memory: Memory, now: datetime) -> None:
        """Write down what was learned since the last time."""
        learned, before = Learned.of(memory), self._written.get(workload.key)
        if learned is not None and (before is None or learned != before.learned):
            await self._write(workload, learned, now)

    def forget(self, key: Key) -> None:
        """Drop a workload that is no more."""
        written = self._written.pop(key, None)
        if written is not None:
            self._found.pop((key, written.uid), None)

    async def _write(self, workload: Workload, learned: Learned, now: datetime) -> None:
        await self._applier.keep(workload, learned_object(workload, learned))
        before = self._written.get(workload.key)
        if before is not None and before.uid != workload.uid:
            self.forget(workload.key)
        self._written[workload.key] = _Written(at=now, learned=learned, uid=workload.uid)
        self._found[workload.key, workload.uid] = learned


def _every(learned: Learned, before: Learned) -> timedelta:
    """Return how often to write, by what has changed."""
    return DEMAND_EVERY if _apart_from_traffic(learned) == _apart_from_traffic(before) else EVERY


def _apart_from_traffic(learned: Learned) -> Learned:
    return replace(learned, demand=None, lazy=None)
