"""llm-d's SLO loop: latency over its objective, held in a band.

Source: llm-d guides/workload-autoscaling/README.slo-aware.md (d38c9f0c, 2026-08). Every 15 s s = max(P90 TTFT / objective, P90 time per
output token / objective), cut at 2 and averaged over 45 s; with n pods provisioned, r of them ready:

    s > 0.55: n + ceil(n (s c / 0.55 - 1)), c = r / n        s < 0.40: n - floor(n (1 - s / 0.40))        else n

An HPA behind it goes up by the larger of 100 % and 4 pods in 60 s (window 30 s), down by one pod in 120 s (window 180 s). Here latency
is as measured, which the guide allows; its predictor reacts a little earlier. Where the credit c would turn "up" into fewer, n stays.
"""

import math

from spillway.simulate.baselines.facts import Facts
from spillway.simulate.baselines.hpa import Behaviour, Follower, by_total
from spillway.simulate.baselines.windows import Window
from spillway.simulate.policy import Seen

CUT = 2.0
AVERAGED_S = 45.0
BEHAVIOUR = Behaviour(up_window_s=30.0, up_period_s=60.0, up_share=1.0, up_pods=4, down_window_s=180.0, down_period_s=120.0, down_pods=1)


class SloLoop:
    """Keep the worse of two latencies between 40 and 55 % of its objective."""

    tick_s = 15.0
    window_s = 60.0

    def __init__(self, facts: Facts, *, up: float = 0.55, down: float = 0.40) -> None:
        self._facts, self._up, self._down = facts, up, down
        self._signal = Window(AVERAGED_S)
        self._follower = Follower(BEHAVIOUR)

    def replicas(self, seen: Seen) -> int:
        """Return the count; the one that is where requests came and none was timed."""
        raw = self._ratio(seen)
        asked = seen.wanted
        if raw is not None:
            self._signal.add(seen.now_s, min(raw, CUT))
            asked = by_total(seen.wanted, self._count(seen, self._signal.mean), 1.0)
        return self._facts.bounded(self._follower.follow(seen.now_s, seen.wanted, self._facts.bounded(asked, at_least=1)), at_least=1)

    def _ratio(self, seen: Seen) -> float | None:
        timed = [
            latency / objective
            for latency, objective in (
                (seen.ttft_p90_ms, self._facts.ttft_slo_ms),
                (seen.inter_token_p90_ms, self._facts.inter_token_slo_ms),
            )
            if latency is not None
        ]
        if timed:
            return max(timed)
        return 0.0 if seen.ready and seen.arrivals_per_s == 0 else None

    def _count(self, seen: Seen, signal: float) -> int:
        pods, ready = seen.wanted, seen.ready
        if signal > self._up:
            credit = ready / pods if 0 < ready < pods else 1.0
            return max(pods, pods + math.ceil(pods * (signal * credit / self._up - 1) - 1e-9))
        if signal < self._down:
            return pods - math.floor(pods * (1 - signal / self._down) + 1e-9)
        return pods
