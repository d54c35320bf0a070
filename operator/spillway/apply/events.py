"""Kubernetes Events: what a user sees under `kubectl describe`. Written once per decision, never twice within ten minutes."""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from spillway.api.status import DecisionStatus
from spillway.api.vocabulary import API_VERSION, GROUP, Reason
from spillway.apply.connection import ApiError, Connection, path
from spillway.plan.clock import elapsed
from spillway.plan.decision import Key

logger = logging.getLogger(__name__)

QUIET = timedelta(minutes=10)
NOTE_BYTES = 1024
MOST_WAITING = 10_000
PAUSE_S = 0.1
BUSY_PAUSE_S = 1.0  # while passes are due: their objects and statuses first, then what there is to tell of them
WARNINGS = frozenset({Reason.BUDGET_EXCEEDED, Reason.PROJECTED_OVER_BUDGET})


class EventRecorder:
    """Posts decisions as Events, a few a second: no pass waits for them, and a flock of them holds up nothing else.

    A lost Event is no failure: the status keeps the last ten decisions.
    """

    def __init__(
        self, connection: Connection, fence: Callable[[], None], *, instance: str, pause_s: Callable[[], float] = lambda: PAUSE_S
    ) -> None:
        self._connection = connection
        self._fence = fence
        self._instance = instance
        self._pause_s = pause_s
        self._said: dict[tuple[str, str, str], datetime] = {}  # in the order in which it was said
        self._waiting: asyncio.Queue[tuple[Key, dict[str, object]]] = asyncio.Queue(MOST_WAITING)
        self._last_name = 0

    def record(self, key: Key, uid: str, decision: DecisionStatus, now: datetime, *, warning: bool = False) -> None:
        """Have a decision posted, or, as a warning, what keeps one from being carried out."""
        while self._said and elapsed(next(iter(self._said.values())), now) >= QUIET:
            del self._said[next(iter(self._said))]
        said = (uid, decision.reason, decision.what)
        if said in self._said:
            return
        self._said[said] = now
        body = self._event(key, uid, decision, now, warning=warning or decision.reason in WARNINGS)
        try:
            self._waiting.put_nowait((key, body))
        except asyncio.QueueFull:
            logger.warning("no Event for %s/%s: too many are queued", key.namespace, key.name)

    async def run(self) -> None:
        """Post what was recorded, forever."""
        while True:
            key, body = await self._waiting.get()
            self._fence()
            try:
                await self._connection.request("POST", path("Event", key.namespace), body)
            except ApiError as problem:
                logger.warning("no Event for %s/%s: %s", key.namespace, key.name, problem)
            self._waiting.task_done()
            await asyncio.sleep(self._pause_s())

    def _event(self, key: Key, uid: str, decision: DecisionStatus, now: datetime, *, warning: bool) -> dict[str, object]:
        self._last_name = max(self._last_name + 1, int(now.timestamp() * 1e9))
        return {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": f"{key.name}.{self._last_name:x}", "namespace": key.namespace},
            "eventTime": now.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "reportingController": f"{GROUP}/operator",
            "reportingInstance": self._instance[:128],
            "action": _action(decision.what),
            "reason": decision.reason[:128],
            "type": "Warning" if warning else "Normal",
            "regarding": {
                "apiVersion": API_VERSION,
                "kind": "InferenceWorkload",
                "name": key.name,
                "namespace": key.namespace,
                "uid": uid,
            },
            "note": _note(decision).encode()[:NOTE_BYTES].decode(errors="ignore"),
        }


def _note(decision: DecisionStatus) -> str:
    """Return what was decided and why, with the figures that it was weighed by."""
    forecast, saving = decision.forecast, decision.marginal_saving_usd_per_hour
    parts = [f"{decision.what}: {decision.why}"]
    if forecast is not None:
        parts.append(
            f"forecast in {forecast.horizon_seconds} s: {forecast.p10} / {forecast.p50} / {forecast.p90} replicas (p10 / p50 / p90)"
        )
    if saving is not None:
        parts.append(f"net saving of the last replica {saving} USD/h")
    if decision.rejected is not None:
        parts.append(f"rejected {decision.rejected}")
    return "; ".join(parts)


def _action(what: str) -> str:
    """Return the machine's word for it: the first word of what was decided."""
    word = what.partition(" ")[0].rstrip(":")
    return {
        "replicas": "Scale",
        "recommended": "Recommend",
        "placement": "Place",
        "budget": "JudgeBudget",
        "spec": "Validate",
        "apply": "Apply",
        "spill": "Spill",
    }.get(word, "Decide")
