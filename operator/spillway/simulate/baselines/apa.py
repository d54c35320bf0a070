"""AIBrix's APA: an HPA with a tolerance on either side and a limit on its steps.

Source: AIBrix pkg/controller/podautoscaler/algorithm/apa.go (4148b7a1) and its documentation's sample: KV cache use at 0.5, tolerance
0.1 up and down, at most twice and at least half the pods in one step, fewer only after 300 s.

Where it differs: of the 300 s the highest count is kept, as an HPA does, which AIBrix says it is like. Its controller takes the lowest
(podautoscaler_controller.go, stabilizeRecommendation, bda162d8), so that it goes down at once.
"""

import math

from spillway.simulate.baselines.facts import Facts
from spillway.simulate.baselines.hpa import TOLERANCE
from spillway.simulate.baselines.windows import Window
from spillway.simulate.policy import Seen

COOLDOWN_S = 300.0
MOST_UP = 2.0
MOST_DOWN = 2.0


class Apa:
    """pods * use / target outside of the tolerance."""

    tick_s = 10.0
    window_s = 10.0

    def __init__(self, facts: Facts, *, kv_usage_ratio: float = 0.5) -> None:
        self._facts, self._target = facts, kv_usage_ratio
        self._asked = Window(COOLDOWN_S)

    def replicas(self, seen: Seen) -> int:
        """Return the count; the highest of the cooldown when it goes down."""
        asked = self._facts.bounded(self._count(seen), at_least=1)
        self._asked.add(seen.now_s, asked)
        return asked if asked >= seen.wanted else self._facts.bounded(min(seen.wanted, max(self._asked.values)), at_least=1)

    def _count(self, seen: Seen) -> int:
        ratio, pods = seen.kv_usage_ratio / self._target, seen.wanted
        if seen.ready == 0 or abs(ratio - 1) <= TOLERANCE:
            return pods
        asked = math.ceil(pods * ratio - 1e-9)
        return min(asked, math.ceil(pods * MOST_UP)) if ratio > 1 else max(asked, math.floor(pods / MOST_DOWN))
