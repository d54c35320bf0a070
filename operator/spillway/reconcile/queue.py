"""The queue of workloads to look at: each key once, never twice at a time, later when asked, ever later after failures."""

import asyncio
import heapq
import itertools
import logging
import math
import random
from collections.abc import Awaitable, Callable

from spillway.plan.decision import Key

logger = logging.getLogger(__name__)

BACKOFF_FIRST_S = 1.0
BACKOFF_LAST_S = 300.0
JITTER = 0.2
# A change while a pass was failing may be the cure, so it is not made to wait for the whole backoff.
BACKOFF_CHANGED_S = 1.0


class ReconcileQueue:
    """Keys that are due. All methods but `get` return at once; the clock is given, so tests need not wait.

    `depth` and `delay_s` are asked by the thread that serves metrics, while passes begin and end: they look at copies. Of keys whose last
    pass has failed at most `failing_at_once` are handed out at a time: such passes may wait for what does not answer, others must not.
    """

    def __init__(
        self, clock: Callable[[], float], chance: Callable[[], float] = random.random, *, failing_at_once: float = math.inf
    ) -> None:
        self._clock = clock
        self._chance = chance
        self._failing_at_once = failing_at_once
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._order = itertools.count()
        self._running: dict[Key, float] = {}
        self._again: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._moved_at = clock()
        self._wake = asyncio.Event()

    def begin(self) -> None:
        """Note that keys are taken from now on; until now nobody was to."""
        self._moved_at = self._clock()

    def add(self, key: Key, after_s: float = 0.0) -> None:
        """Ask for a pass over `key` after a moment. An earlier appointment stands; a running pass is followed by another."""
        if key in self._running:
            self._again.add(key)
            return
        self._appoint(key, self._clock() + after_s)

    def forget(self, key: Key) -> None:
        """Drop a key that is no more."""
        self._due.pop(key, None)
        self._again.discard(key)
        self._failures.pop(key, None)

    async def get(self) -> Key:
        """Wait for the next key that is due and take it. It is `done` or `failed` later, and not handed out before."""
        while True:
            key, wait_s = self._take()
            if key is not None:
                return key
            self._wake.clear()
            try:
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def done(self, key: Key, revisit_s: float | None) -> None:
        """End a pass: look again at once if something changed meanwhile, else after `revisit_s`, else not by itself."""
        self._running.pop(key, None)
        self._failures.pop(key, None)
        self._wake.set()
        if key in self._again:
            self._again.discard(key)
            self._appoint(key, self._clock())
        elif revisit_s is not None:
            self._appoint(key, self._clock() + revisit_s)

    def failed(self, key: Key) -> float:
        """End a pass that failed; return after how long it is tried again."""
        self._running.pop(key, None)
        self._wake.set()
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        wait_s = min(BACKOFF_FIRST_S * 2.0 ** min(failures, 30), BACKOFF_LAST_S)
        wait_s *= 1 + JITTER * (2 * self._chance() - 1)
        if key in self._again:
            self._again.discard(key)
            wait_s = min(wait_s, BACKOFF_CHANGED_S)
        self._appoint(key, self._clock() + wait_s)
        return wait_s

    @property
    def depth(self) -> int:
        """How many keys are due and wait for a worker."""
        now = self._clock()
        return sum(1 for due in list(self._due.values()) if due <= now)

    @property
    def delay_s(self) -> float:
        """How long the longest wait of a due key, or the longest running pass, has lasted: how far behind it is."""
        now = self._clock()
        waits = [now - due for due in list(self._due.values()) if due <= now]
        return max([*waits, *(now - since for since in list(self._running.values()))], default=0.0)

    @property
    def stalled_s(self) -> float:
        """How long the longest pass has been running, or no due key has been taken: a long queue that moves is not stuck."""
        now = self._clock()
        first = min((due for due in self._due.values() if due <= now), default=now)
        return max([now - max(first, self._moved_at), *(now - since for since in self._running.values())])

    def _appoint(self, key: Key, due: float) -> None:
        if key in self._due and self._due[key] <= due:
            return
        self._due[key] = due
        heapq.heappush(self._heap, (due, next(self._order), key))
        self._wake.set()

    def _take(self) -> tuple[Key | None, float | None]:
        """Return the next key that is due and may be had; None with the time until there may be one, or None for when something changes."""
        aside: list[tuple[float, int, Key]] = []
        try:
            return self._next(aside)
        finally:
            for each in aside:
                heapq.heappush(self._heap, each)

    def _next(self, aside: list[tuple[float, int, Key]]) -> tuple[Key | None, float | None]:
        now = self._clock()
        failing = sum(1 for key in self._running if key in self._failures)
        while self._heap:
            due, _, key = self._heap[0]
            if self._due.get(key) != due or key in self._running:
                heapq.heappop(self._heap)  # appointed earlier meanwhile, or forgotten
                continue
            if due > now:
                return None, due - now
            entry = heapq.heappop(self._heap)
            if key in self._failures and failing >= self._failing_at_once:
                aside.append(entry)
                continue
            del self._due[key]
            self._running[key] = self._moved_at = now
            return key, None
        return None, None


Pass = Callable[[Key], Awaitable[float | None]]


async def work(queue: ReconcileQueue, reconcile: Pass, *, on_error: Callable[[Key, BaseException], None]) -> None:
    """Take keys and reconcile them, forever. The one place that catches everything: one workload's trouble is not another's."""
    while True:
        key = await queue.get()
        try:
            revisit_s = await reconcile(key)
        except Exception as problem:  # noqa: BLE001  see above
            on_error(key, problem)
            queue.failed(key)
        except BaseException:
            queue.failed(key)
            raise
        else:
            queue.done(key, revisit_s)
