"""What a watch event does: the view learns of it, and the workloads for which it is news are put in the queue."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from spillway.apply.known import Ref
from spillway.observe.body import owner_of
from spillway.plan.decision import Key
from spillway.reconcile.queue import ReconcileQueue
from spillway.reconcile.world import World

# Events come in flocks (a rollout, a creation); one pass a moment later sees them all.
GATHER_S = 0.05

# Kinds that the applier writes; it wants to know when somebody else does.
_APPLIED = frozenset({"Deployment", "Service"})


class Intake:
    """Takes in objects by kind. Passes are asked for by the replica of the operator that leads; who begins to lead looks at everything."""

    def __init__(self, world: World, queue: ReconcileQueue, *, leading: Callable[[], bool] = lambda: True) -> None:
        self._world = world
        self._queue = queue
        self._leading = leading

    def put(self, kind: str, body: Mapping[str, Any]) -> None:
        """Take in an object that exists."""
        owner = owner_of(body) if kind in _APPLIED else None
        self._ask(self._world.view.put(kind, body, datetime.now(UTC)) if owner is None else self._put_applied(kind, body, owner))

    def _put_applied(self, kind: str, body: Mapping[str, Any], owner: Key) -> frozenset[Key]:
        """Take in an object that the applier may have written. The first sight of what it has just made is no news to a pass."""
        view, known, ref = self._world.view, self._world.known, Ref.of(kind, body)
        echo = (kind, ref.name) not in view.children(owner) and known.is_echo(ref, body["metadata"])
        keys = view.put(kind, body, datetime.now(UTC))
        if known.seen(ref, body["metadata"], owner):
            return keys | {owner}
        return keys - {owner} if echo else keys

    def gone(self, kind: str, body: Mapping[str, Any]) -> None:
        """Take in that an object was deleted."""
        keys = self._world.view.remove(kind, body, datetime.now(UTC))
        if kind in _APPLIED:
            self._world.known.gone(Ref.of(kind, body), body["metadata"].get("uid"))
        self._ask(keys)

    def _ask(self, keys: Iterable[Key]) -> None:
        if self._leading():
            for key in keys:
                self._queue.add(key, after_s=GATHER_S)
