"""KubeAI: a moving average of active requests.

Source: KubeAI internal/modelautoscaler/autoscaler.go (v0.22.1, f442a2cd, 2025-10): every 10 s, ceil(mean over 10 minutes of the
requests active at its proxy / `targetRequests`), 100 by default; down after `scaleDownDelaySeconds` (30) of asking for it; the first
request starts a model at zero and, as all that come then, is active while it waits (internal/modelproxy/handler.go). The average begins
with what is seen, as after a restart that finds its saved state.

Where it differs: with spill, one request counts as waiting for the first replica, though somebody else answers it. Fewer are taken at the
third ask in a row, in KubeAI (internal/modelclient/scale.go, 1dbb6737) at the fourth.
"""

import math

from spillway.simulate.baselines.facts import Facts
from spillway.simulate.baselines.windows import Window
from spillway.simulate.policy import Seen

AVERAGED_S = 600.0
DELAY_S = 30.0


class KubeAi:
    """ceil(mean of active requests / target), the target as share of what a replica holds; None: 100 requests, the default."""

    tick_s = 10.0
    window_s = 10.0

    def __init__(self, facts: Facts, *, target_share: float | None = None) -> None:
        self._facts = facts
        self._target = 100.0 if target_share is None else target_share * facts.slots
        self._active = Window(AVERAGED_S)
        self._downs = 0

    def replicas(self, seen: Seen) -> int:
        """Return what the mean asks for; fewer only when it has asked for that long."""
        self._active.add(seen.now_s, max(seen.running + seen.waiting + seen.held, int(seen.awaits_first)))
        asked = self._facts.bounded(math.ceil(self._active.mean / self._target - 1e-9))
        if asked >= seen.wanted:
            self._downs = 0
            return asked
        self._downs += 1
        return asked if self._downs >= math.ceil(DELAY_S / self.tick_s) else self._facts.bounded(seen.wanted)
