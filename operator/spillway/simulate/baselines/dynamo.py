"""NVIDIA Dynamo's planner with an SLA: a floor from predicted throughput, a quick loop on predicted latency above it.

Source: Dynamo docs, planner guide and design (v1.6, 2026-08). Throughput: every 180 s ceil(predicted requests/s / requests/s of an engine),
the latter from a profile at the current shape; predictor `constant`: the last interval (the default, ARIMA, is left out). Load: every
5 s each engine's next TTFT and inter-token time are estimated by a regression on its steps; one more above the SLA, one less where the
rest would stay below 80 % of it (x N/(N-1), PR #9294), nothing while pods are on their way.
"""

import math
from collections import deque

from spillway.simulate.baselines.facts import Facts
from spillway.simulate.baselines.windows import Window
from spillway.simulate.policy import Seen

THROUGHPUT_S = 180.0
SENSITIVITY = 0.8
REGRESSED = 120  # steps' means: ten minutes
FEWEST = 5  # points of a regression


class Steps:
    """The step time as a line in the batch size, by least squares over the last steps seen."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, float]] = deque()  # batch, ms
        self._sums = [0.0, 0.0, 0.0, 0.0]  # of batch, ms, batch * batch, batch * ms

    def add(self, batch: float, ms: float) -> None:
        """Take a point and forget the oldest."""
        self._points.append((batch, ms))
        self._count(batch, ms, 1)
        if len(self._points) > REGRESSED:
            self._count(*self._points.popleft(), -1)

    def step_ms(self, batch: float) -> float:
        """Return the time at that batch; with too few or too equal points the last one's, in proportion to its batch where larger."""
        last_batch, last_ms = self._points[-1]
        points = len(self._points)
        mean_batch, mean_ms, square, product = (each / points for each in self._sums)
        spread = square - mean_batch**2
        if points < FEWEST or spread < 1e-3 * max(1.0, last_batch) ** 2:
            return last_ms * max(1.0, batch / max(last_batch, 1e-9))
        slope = max(0.0, (product - mean_batch * mean_ms) / spread)
        return mean_ms + slope * (batch - mean_batch)

    def _count(self, batch: float, ms: float, sign: int) -> None:
        for index, term in enumerate((batch, ms, batch * batch, batch * ms)):
            self._sums[index] += sign * term


class Dynamo:
    """`utilisation`: the share of an engine's rate that is planned with (1: the documented rule); `by_load`: the quick loop too."""

    tick_s = 5.0
    window_s = 5.0

    def __init__(self, facts: Facts, *, utilisation: float = 1.0, by_load: bool = True) -> None:
        self._facts, self._utilisation, self._loads = facts, utilisation, by_load
        self._work = Window(THROUGHPUT_S)
        self._floor: int | None = None
        self._planned_s = -math.inf
        self._steps = Steps()

    def replicas(self, seen: Seen) -> int:
        """Return what load asks for, at least the floor."""
        self._learn(seen)
        if seen.now_s >= self._planned_s + THROUGHPUT_S and seen.now_s >= THROUGHPUT_S and self._work.values:
            self._planned_s = seen.now_s
            self._floor = math.ceil(self._work.mean / self._utilisation - 1e-9)
        if self._floor is None:
            return self._facts.bounded(seen.wanted, at_least=1)
        return self._facts.bounded(max(self._floor, self._by_load(seen)) if self._loads else self._floor, at_least=1)

    def _learn(self, seen: Seen) -> None:
        if seen.arrivals_per_s == 0:
            self._work.add(seen.now_s, 0.0)
        elif seen.input_tokens_mean is not None and seen.output_tokens_mean is not None:
            self._work.add(seen.now_s, seen.arrivals_per_s * self._facts.work_s(seen.input_tokens_mean, seen.output_tokens_mean))
        if seen.step_ms is not None and seen.batch_mean is not None:
            self._steps.add(seen.batch_mean, seen.step_ms)

    def _by_load(self, seen: Seen) -> int:
        if seen.starting or seen.ready == 0:
            return seen.wanted
        if seen.batch_mean is None:  # no step to learn from: idle, or not to be judged
            return seen.wanted - 1 if seen.arrivals_per_s == 0 and seen.running == 0 else seen.wanted
        if self._strain(seen, seen.ready) > 1:
            return seen.wanted + 1
        if seen.ready > 1 and self._strain(seen, seen.ready - 1) < SENSITIVITY:
            return seen.wanted - 1
        return seen.wanted

    def _strain(self, seen: Seen, engines: int) -> float:
        """Return the worse of both latencies over its objective, were the load shared by that many engines."""
        batch = (seen.batch_mean or 0.0) * seen.ready / engines
        queued_tokens = seen.waiting / engines * (seen.input_tokens_mean or 0.0)
        ttft_ms = 1000 * queued_tokens * self._facts.work_s_per_input_token + self._steps.step_ms(batch)
        return max(ttft_ms / self._facts.ttft_slo_ms, self._steps.step_ms(batch) / self._facts.inter_token_slo_ms)
