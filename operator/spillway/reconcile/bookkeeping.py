"""The ledgers of all workloads, read when this process starts to lead and written down as money is counted."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from operator import attrgetter

from spillway.apply.applier import Applier
from spillway.apply.census import config_maps
from spillway.apply.connection import Connection
from spillway.apply.known import KnownObjects, Ref
from spillway.observe.body import Owner, kept_for
from spillway.plan.clock import elapsed
from spillway.plan.decision import Key, Ledger, Workload
from spillway.render import names
from spillway.render.ledger import COMPONENT_LEDGER, FILE, ledger_object, parse_ledger, unreadable_texts

logger = logging.getLogger(__name__)

# A ledger in which only time passed needs no minutely write; this bounds how long a crash can make it look unwatched.
IDLE_EVERY = timedelta(minutes=10)


_values = attrgetter(*(each.name for each in fields(Ledger)))


@dataclass(frozen=True, slots=True)
class _Written:
    at: datetime
    sums: tuple[object, ...]
    month: str
    uid: str


class Bookkeeping:
    """Reads and writes ConfigMap <name>-ledger."""

    def __init__(self, applier: Applier, known: KnownObjects, *, every_s: float) -> None:
        self._applier = applier
        self._known = known
        self._every = timedelta(seconds=every_s)
        self._found: dict[Owner, Ledger] = {}
        self._unreadable: dict[Owner, Mapping[str, str]] = {}
        self._written: dict[Key, _Written] = {}

    async def load(self, connection: Connection) -> None:
        """Read all ledgers there are. Nobody else writes them, so a workload that appears later has none."""
        self._written.clear()
        self._found, self._unreadable = {}, {}
        async for found in config_maps(connection, COMPONENT_LEDGER):
            owner, data = kept_for(found, names.ledger), found.get("data") or {}
            if owner is None:
                continue
            ledger, unreadable = parse_ledger(data), unreadable_texts(data)
            if ledger is not None:
                self._found[owner] = ledger
            elif FILE in data:
                where = f"{found['metadata']['namespace']}/{found['metadata']['name']}"
                logger.error(
                    "the ledger in ConfigMap %s cannot be read: counting starts over, the old text is kept beside the new one", where
                )
            if unreadable:
                self._unreadable[owner] = unreadable

    def found(self, key: Key, uid: str) -> Ledger | None:
        """Return the ledger that was found for this very workload, or written since."""
        return self._found.get((key, uid))

    async def write(self, workload: Workload, ledger: Ledger, now: datetime, *, at_once: bool) -> None:
        """Write the ledger if that is due."""
        before = self._written.get(workload.key)
        ref = Ref("ConfigMap", workload.key.namespace, names.ledger(workload.key.name))
        if before is None or self._known.get(ref) is None:
            due = True
        elif _sums(ledger) == before.sums:
            due = elapsed(before.at, now) >= IDLE_EVERY
        else:
            due = at_once or ledger.month != before.month or elapsed(before.at, now) >= self._every
        if due:
            await self._write(workload, ledger, now)

    async def write_permit(self, workload: Workload, ledger: Ledger, now: datetime) -> None:
        """Write the ledger if it has a permit that was not written yet: it must outlive us, or what it gives is given again."""
        kept = self.found(workload.key, workload.uid)
        if ledger.permit is not None and (kept is None or kept.permit != ledger.permit):
            await self._write(workload, ledger, now)

    async def flush(self, workload: Workload, ledger: Ledger, now: datetime) -> None:
        """Write the ledger unless that was done a moment ago."""
        before = self._written.get(workload.key)
        if before is not None and _sums(ledger) == before.sums and now - before.at < self._every:
            return
        await self._write(workload, ledger, now)

    def forget(self, key: Key) -> None:
        """Drop a workload that is no more."""
        written = self._written.pop(key, None)
        if written is not None:
            self._found.pop((key, written.uid), None)
            self._unreadable.pop((key, written.uid), None)

    async def _write(self, workload: Workload, ledger: Ledger, now: datetime) -> None:
        unreadable = self._unreadable.get((workload.key, workload.uid))
        await self._applier.keep(workload, ledger_object(workload, ledger, unreadable=unreadable))
        before = self._written.get(workload.key)
        if before is not None and before.uid != workload.uid:
            self.forget(workload.key)
        self._written[workload.key] = _Written(at=now, sums=_sums(ledger), month=ledger.month, uid=workload.uid)
        self._found[workload.key, workload.uid] = ledger


def _sums(ledger: Ledger) -> tuple[object, ...]:
    """Return what was counted, without the marks that move with time alone."""
    return tuple(found for found in _values(ledger) if not isinstance(found, (datetime, Mapping)))
