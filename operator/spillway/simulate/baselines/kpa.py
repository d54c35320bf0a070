"""Knative's pod autoscaler and AIBrix's variant of it: a stable mean, and a short one in which to panic.

Sources: knative/serving pkg/autoscaler/scaling/autoscaler.go and config/core/configmaps/autoscaler.yaml (00a4a55c: stable 60 s, panic 6 s
at twice the pods, target 70 % of the container's concurrency, up by 1000 and down by 2 times at most, tick 2 s; the grace of 30 s before
zero is left out) and pkg/reconciler/autoscaling/kpa/scaler.go (what the activator keeps for a first pod is in flight, and nothing goes
back to zero until that pod is ready); AIBrix pkg/controller/podautoscaler/algorithm/kpa.go (2026-08: stable 180 s, panic 60 s, up by 2
times at most).

Where it differs: with spill, one request counts as kept for the first pod, though somebody else answers it. Knative's begins in panic where
it finds more than one pod, and so keeps them for its first minute. AIBrix's controller lets what KPA asks for go through the cooldown that
apa.py speaks of.
"""

import math
from dataclasses import dataclass

from spillway.simulate.baselines.facts import Facts
from spillway.simulate.baselines.windows import Window
from spillway.simulate.policy import Seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """The settings that differ between the two."""

    tick_s: float
    stable_s: float
    panic_s: float
    panic_ratio: float
    most_up: float
    most_down: float


KNATIVE = Pace(tick_s=2.0, stable_s=60.0, panic_s=6.0, panic_ratio=2.0, most_up=1000.0, most_down=2.0)
AIBRIX = Pace(tick_s=10.0, stable_s=180.0, panic_s=60.0, panic_ratio=2.0, most_up=2.0, most_down=2.0)


class Kpa:
    """ceil(mean requests in flight / target); in panic the short mean counts too and nothing goes down."""

    def __init__(self, facts: Facts, *, target: float = 0.7, pace: Pace = KNATIVE) -> None:
        self.tick_s = self.window_s = pace.tick_s
        self._facts, self._pace = facts, pace
        self._target = target * facts.slots
        self._stable, self._short = Window(pace.stable_s), Window(pace.panic_s)
        self._panics_since: float | None = None
        self._most_in_panic = 0

    def replicas(self, seen: Seen) -> int:
        """Return the stable count, or the highest of a panic until a stable window after it."""
        in_flight = max(seen.running_mean + seen.waiting_mean + seen.held, float(seen.awaits_first))
        self._stable.add(seen.now_s, in_flight)
        self._short.add(seen.now_s, in_flight)
        stable, short = self._asked(seen, self._stable.mean), self._asked(seen, self._short.mean)
        self._panic(seen)
        if self._panics_since is not None:
            self._most_in_panic = max(self._most_in_panic, stable, short)
            stable = self._most_in_panic
        return self._facts.bounded(stable)

    def _asked(self, seen: Seen, in_flight: float) -> int:
        pods = max(1, seen.ready)
        asked = math.ceil(in_flight / self._target - 1e-9)
        return max(min(asked, math.ceil(pods * self._pace.most_up)), math.floor(pods / self._pace.most_down))

    def _panic(self, seen: Seen) -> None:
        if math.ceil(self._short.mean / self._target - 1e-9) / max(1, seen.ready) >= self._pace.panic_ratio:
            self._panics_since = seen.now_s
        elif self._panics_since is not None and self._panics_since + self._pace.stable_s < seen.now_s:
            self._panics_since = None
            self._most_in_panic = 0
