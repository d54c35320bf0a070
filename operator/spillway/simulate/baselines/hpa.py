"""Kubernetes' HorizontalPodAutoscaler: the formula, its treatment of pods that are not ready, and its `behavior`.

Source: kubernetes.io "Horizontal Pod Autoscaling" and pkg/controller/podautoscaler (v1.37): sync 15 s, tolerance 0.1, scale-down window
300 s, up by the larger of 100 % and 4 pods per 15 s, down by 100 % per 15 s.
"""

import math
from collections import deque
from dataclasses import dataclass

from spillway.simulate.baselines.facts import Facts
from spillway.simulate.policy import Seen

TOLERANCE = 0.1


def by_ratio(current: int, ready: int, ratio: float) -> int:
    """Return what a mean over ready pods asks for, `ratio` being metric / target.

    Pods on their way up count as idle when the ratio asks for more, and not at all when it asks for less.
    """
    if ready == 0 or abs(ratio - 1) <= TOLERANCE:
        return current
    if ratio < 1:
        return min(current, math.ceil(ratio * ready))
    damped = ratio * ready / max(current, ready)
    return current if damped <= 1 + TOLERANCE else math.ceil(damped * max(current, ready) - 1e-9)


def by_total(current: int, total: float, target_each: float) -> int:
    """Return what a total shared by all pods asks for (KEDA's `AverageValue`)."""
    if current and abs(total / (target_each * current) - 1) <= TOLERANCE:
        return current
    return math.ceil(total / target_each - 1e-9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How fast an HPA may follow its own recommendation."""

    up_window_s: float = 0.0
    up_period_s: float = 15.0
    up_share: float = 1.0
    up_pods: int = 4
    down_window_s: float = 300.0
    down_period_s: float = 15.0
    down_pods: int | None = None  # per period; None: all of them


class Follower:
    """Turns recommendations into counts under a behaviour."""

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        self._behaviour = behaviour or Behaviour()
        self._asked: deque[tuple[float, int]] = deque()
        self._changed: deque[tuple[float, int]] = deque()

    def follow(self, now_s: float, current: int, asked: int) -> int:
        """Return the lowest of the up window, the highest of the down window, each within what its period allows."""
        how = self._behaviour
        if not self._asked:
            self._asked.append((now_s, current))  # an HPA begins with what it finds
        while self._asked and self._asked[0][0] <= now_s - max(how.up_window_s, how.down_window_s):
            self._asked.popleft()
        lowest = min(asked, *(count for at, count in self._asked if at > now_s - how.up_window_s), asked)
        highest = max(asked, *(count for at, count in self._asked if at > now_s - how.down_window_s), asked)
        self._asked.append((now_s, asked))
        if lowest > current:
            following = min(lowest, self._most(now_s, current))
        elif highest < current:
            following = max(highest, self._least(now_s, current))
        else:
            return current
        if following != current:
            self._changed.append((now_s, following - current))
        return following

    def _most(self, now_s: float, current: int) -> int:
        how = self._behaviour
        before = current - sum(max(0, change) for change in self._since(now_s, how.up_period_s))
        return max(current, math.ceil(before * (1 + how.up_share)), before + how.up_pods)

    def _least(self, now_s: float, current: int) -> int:
        how = self._behaviour
        if how.down_pods is None:
            return 0
        before = current + sum(max(0, -change) for change in self._since(now_s, how.down_period_s))
        return min(current, before - how.down_pods)

    def _since(self, now_s: float, period_s: float) -> list[int]:
        longest = max(self._behaviour.up_period_s, self._behaviour.down_period_s)
        while self._changed and self._changed[0][0] <= now_s - longest:
            self._changed.popleft()
        return [change for at, change in self._changed if at > now_s - period_s]


class HpaUtilisation:
    """An HPA on GPU utilisation: the share of time in which a step ran. It reads high with one request (NVIDIA/dcgm-exporter#301)."""

    tick_s = 15.0
    window_s = 60.0  # of a usual metrics pipeline

    def __init__(self, facts: Facts, *, target: float = 0.8) -> None:
        self._facts, self._target, self._follower = facts, target, Follower()

    def replicas(self, seen: Seen) -> int:
        """Return ceil(pods * utilisation / target), followed slowly downwards."""
        asked = by_ratio(seen.wanted, seen.ready, seen.busy_ratio / self._target)
        return self._facts.bounded(self._follower.follow(seen.now_s, seen.wanted, self._facts.bounded(asked, at_least=1)), at_least=1)


class HpaConcurrency:
    """An HPA on requests in flight per replica, as share of what a replica holds: utilisation as it is meant."""

    tick_s = 15.0
    window_s = 60.0

    def __init__(self, facts: Facts, *, target: float = 0.8) -> None:
        self._facts, self._target, self._follower = facts, target, Follower()

    def replicas(self, seen: Seen) -> int:
        """Return ceil(requests in flight / target), followed slowly downwards."""
        asked = seen.wanted
        if seen.ready:
            asked = by_total(seen.wanted, seen.running_mean + seen.waiting_mean, self._target * self._facts.slots)
        return self._facts.bounded(self._follower.follow(seen.now_s, seen.wanted, self._facts.bounded(asked, at_least=1)), at_least=1)
