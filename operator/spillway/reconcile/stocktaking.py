"""Comparing what the watches have shown with what there is: once before the first pass, then every few minutes."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from spillway.apply.census import USERS, census
from spillway.apply.connection import ApiError, Connection
from spillway.apply.known import Ref
from spillway.observe.body import owner_of
from spillway.observe.cluster import CLASS_KIND, PROVIDER_KIND, WORKLOAD_KIND
from spillway.plan.decision import Key
from spillway.reconcile.queue import ReconcileQueue
from spillway.reconcile.world import World

logger = logging.getLogger(__name__)

WATCHED = (CLASS_KIND, PROVIDER_KIND, WORKLOAD_KIND, "Pod", "Deployment", "Service")
UNWATCHED = ("ConfigMap", "ServiceAccount", "PodDisruptionBudget", "NetworkPolicy", "HorizontalPodAutoscaler")

EVERY_S = 300.0
# A watch lags by moments. What differs for longer than this is a watch that has missed something, or is dead.
SETTLE_S = 20.0
SYNC_TIMEOUT_S = 120.0
SYNC_POLL_S = 0.3

Identity = tuple[str, str, str]  # namespace, name, uid


class Stocktaker:
    """Keeps the view honest.

    `watching` is False once a watch has stopped delivering. `failed` says why the last comparison could not be made.
    """

    def __init__(self, connection: Connection, world: World, queue: ReconcileQueue) -> None:
        self._connection = connection
        self._world = world
        self._queue = queue
        self.watching = True
        self.failed: str | None = None

    async def sync(self) -> None:
        """Wait until the watches have shown all there is. Nothing may be decided on half a view."""
        for kind in UNWATCHED:
            await self._count_unwatched(kind)
        try:
            async with asyncio.timeout(SYNC_TIMEOUT_S):
                for kind in WATCHED:
                    await self._shown(kind)
        except TimeoutError as problem:
            raise RuntimeError(f"the watch of {kind}s has not synced within {SYNC_TIMEOUT_S:.0f} s") from problem

    async def _shown(self, kind: str) -> None:
        while True:
            if await self._list(kind) <= self._viewed(kind):
                return
            await asyncio.sleep(SYNC_POLL_S)

    async def run(self) -> None:
        """Compare every few minutes, forever."""
        while True:
            await asyncio.sleep(EVERY_S if self.failed is None else SETTLE_S)
            await self.compare()

    async def compare(self, *, settle_s: float = SETTLE_S) -> None:
        """Compare once. What differs twice, a settling time apart, is taken for a fact."""
        try:
            await self._compare(settle_s)
        except ApiError as problem:
            self.failed = str(problem)
            logger.warning("resync failed: %s", problem)
        else:
            self.failed = None

    async def _compare(self, settle_s: float) -> None:
        for kind in UNWATCHED:
            await self._count_unwatched(kind)
        first = {kind: await self._differences(kind) for kind in WATCHED}
        if not any(missing or stale for missing, stale in first.values()):
            self.watching = True
            return
        await asyncio.sleep(settle_s)
        unseen = 0
        for kind, (missing, stale) in first.items():
            missing_still, stale_still = await self._differences(kind)
            self._evict(kind, stale & stale_still)
            unseen += len(missing & missing_still)
        if unseen:
            logger.error("%d objects exist that the watches have not reported", unseen)
        self.watching = unseen == 0

    async def _count_unwatched(self, kind: str) -> None:
        """Feed the applier's knowledge of a kind: what changed or vanished is applied again."""
        known = self._world.known
        before = known.of_kind(kind)
        there = set()
        async for found in census(self._connection, kind):
            ref, owner = Ref.of(kind, found), owner_of(found)
            there.add(ref)
            if owner is not None and known.seen(ref, found["metadata"], owner):
                self._queue.add(owner)
        for ref, record in before.items():
            if ref not in there and known.get(ref) is record and known.gone(ref, record.uid) and record.workload is not None:
                self._queue.add(record.workload)

    async def _differences(self, kind: str) -> tuple[set[Identity], set[Identity]]:
        viewed_before = self._viewed(kind)
        there = await self._list(kind)
        return there - self._viewed(kind), (viewed_before & self._viewed(kind)) - there

    async def _list(self, kind: str) -> set[Identity]:
        # A label that names no workload makes an object nobody's child, which no view shows.
        return {
            _identity(found["metadata"]) async for found in census(self._connection, kind) if kind in USERS or owner_of(found) is not None
        }

    def _viewed(self, kind: str) -> set[Identity]:
        view = self._world.view
        match kind:
            case "InferenceWorkload":
                return {(key.namespace, key.name, seen.parsed.uid) for key, seen in view.workloads.items()}
            case "HostedProvider":
                return {(namespace, name, seen.uid) for (namespace, name), seen in view.providers.items()}
            case "AcceleratorClass":
                return {("", name, seen.uid) for name, seen in view.classes.items()}
        return {(key.namespace, child.name, child.uid) for key, child in view.all_children() if child.kind == kind}

    def _evict(self, kind: str, gone: Iterable[Identity]) -> None:
        owners = {(key.namespace, child.name): key for key, child in self._world.view.all_children() if child.kind == kind}
        for namespace, name, uid in gone:
            logger.warning("%s %s/%s is gone, which the watch did not report", kind, namespace, name)
            owner: Key | None = owners.get((namespace, name))
            keys = self._world.view.remove_named(kind, namespace, name, datetime.now(UTC), owner=owner)
            self._world.known.gone(Ref(kind, namespace, name), uid)
            for key in keys:
                self._queue.add(key)


def _identity(metadata: Mapping[str, Any]) -> Identity:
    return metadata.get("namespace", ""), metadata["name"], metadata.get("uid", "")
