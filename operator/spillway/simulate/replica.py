"""One replica as a shared processor: every running request gains one token per step, and a step takes a + b * batch.

Time is not cut into steps. A clock of "tokens gained since the start" runs at 1/step; a request that enters at clock v leaves when the
clock reads v plus its length. So an hour of traffic costs a few heap operations per request.
"""

import heapq
from collections import deque
from dataclasses import dataclass, field

from spillway.simulate.arrivals import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineModel:
    """How fast a replica is."""

    step_ms: float  # of an empty batch
    step_ms_per_request: float
    prefill_ms_per_token: float
    startup_s: float

    def step_s(self, batch: int) -> float:
        """Return the duration of one step."""
        return (self.step_ms + self.step_ms_per_request * batch) / 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A request that a replica has answered."""

    request: Request
    first_token_s: float
    finished_s: float


@dataclass(frozen=True, slots=True, order=True)
class _Running:
    leaves_at: float  # reading of the token clock
    order: int
    request: Request = field(compare=False)
    started_s: float = field(compare=False)


class Replica:
    """A replica between its creation and its end."""

    def __init__(self, *, index: int, model: EngineModel, batch: int, created_s: float) -> None:
        self.index = index
        self.created_s = created_s
        self.ready_s = created_s + model.startup_s
        self.leaving = False
        self.ended_s: float | None = None
        self.steps = self.tokens = self.busy_s = 0.0
        self._model, self._batch = model, batch
        self._running: list[_Running] = []
        self._waiting: deque[Request] = deque()
        self._clock, self._now, self._order = 0.0, created_s, 0

    @property
    def running(self) -> int:
        """Return how many requests are in the batch."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Return how many requests wait for a place in the batch."""
        return len(self._waiting)

    @property
    def load(self) -> int:
        """Return how many requests the replica holds."""
        return self.running + self.waiting

    def takes_requests(self, now_s: float) -> bool:
        """Whether requests may be sent to it."""
        return not self.leaving and now_s >= self.ready_s

    def next_finish_s(self) -> float | None:
        """Return when the next request leaves if nothing else happens."""
        if not self._running:
            return None
        return self._now + max(0.0, self._running[0].leaves_at - self._clock) * self._model.step_s(self.running)

    def accept(self, request: Request, now_s: float) -> None:
        """Take a request into the batch, or into the queue where the batch is full."""
        self._advance(now_s)
        self._waiting.append(request)
        self._fill()

    def finish_until(self, now_s: float) -> list[Finished]:
        """Return what has been answered by now, and fill the places it leaves."""
        done: list[Finished] = []
        while (at := self.next_finish_s()) is not None and at <= now_s:
            self._advance(at)
            left = heapq.heappop(self._running)
            first_s = (
                left.started_s + left.request.input_tokens * self._model.prefill_ms_per_token / 1000 + self._model.step_s(self.running + 1)
            )
            done.append(Finished(request=left.request, first_token_s=min(first_s, at), finished_s=at))
            self._fill()
        self._advance(now_s)
        return done

    def _advance(self, now_s: float) -> None:
        passed = now_s - self._now
        if self._running and passed > 0:
            gained = passed / self._model.step_s(self.running)
            self._clock += gained
            self.steps += gained
            self.tokens += gained * self.running
            self.busy_s += passed
        self._now = max(self._now, now_s)

    def _fill(self) -> None:
        while self._waiting and self.running < self._batch:
            request = self._waiting.popleft()
            self._order += 1
            prefill_steps = request.input_tokens * self._model.prefill_ms_per_token / 1000 / self._model.step_s(self.running + 1)
            heapq.heappush(
                self._running, _Running(self._clock + prefill_steps + request.output_tokens, self._order, request, started_s=self._now)
            )
