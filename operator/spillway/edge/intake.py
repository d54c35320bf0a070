"""What a watch event does: the view learns of it, and the workloads for which it is news are put in the queue."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from spillway.apply.known import Ref
from spillway.observe.cluster import owner_of
from spillway.reconcile.queue import ReconcileQueue
from spillway.reconcile.world import World

# Events come in flocks (a rollout, a creation); one pass a moment later sees them all.
GATHER_S = 0.05

# Kinds that the applier writes; it wants to know when somebody else does.
_APPLIED = frozenset({"Deployment", "Service"})


class Intake:
    """Takes in objects by kind."""

    def __init__(self, world: World, queue: ReconcileQueue) -> None:
        self._world = world
        self._queue = queue

    def put(self, kind: str, body: Mapping[str, Any]) -> None:
        """Take in an object that exists."""
        keys = self._world.view.put(kind, body, datetime.now(UTC))
        owner = owner_of(body) if kind in _APPLIED else None
        if owner is not None and self._world.known.seen(_ref(kind, body), body["metadata"], owner):
            keys |= {owner}
        for key in keys:
            self._queue.add(key, after_s=GATHER_S)

    def gone(self, kind: str, body: Mapping[str, Any]) -> None:
        """Take in that an object was deleted."""
        keys = self._world.view.remove(kind, body, datetime.now(UTC))
        if kind in _APPLIED:
            self._world.known.gone(_ref(kind, body), body["metadata"].get("uid"))
        for key in keys:
            self._queue.add(key, after_s=GATHER_S)


def _ref(kind: str, body: Mapping[str, Any]) -> Ref:
    return Ref(kind, body["metadata"].get("namespace", ""), body["metadata"]["name"])
