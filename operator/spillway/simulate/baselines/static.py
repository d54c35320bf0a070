"""As many replicas as ever, whatever comes."""

import math

from spillway.simulate.baselines.facts import Facts
from spillway.simulate.policy import Seen


class Static:
    """A share of the replicas that serve the busiest moment, rounded up."""

    tick_s = 300.0
    window_s = 300.0

    def __init__(self, facts: Facts, *, share_of_peak: float = 1.0) -> None:
        self._count = facts.bounded(math.ceil(facts.peak_replicas * share_of_peak - 1e-9))

    def replicas(self, seen: Seen) -> int:  # noqa: ARG002  a policy sees, this one does not look
        """Return the same count every time."""
        return self._count
