"""What the operator's installation decides about planning; everything else comes from the workload."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSettings:
    """Pace and tolerance of decisions. The defaults are the chart's."""

    tick: timedelta = timedelta(seconds=15)
    metrics_window: timedelta = timedelta(seconds=60)
    tolerance: float = 0.1  # demand may leave the replica count by this share before it is changed; HPA's default
    numbers_every: timedelta = timedelta(seconds=60)
    settle: timedelta = timedelta(seconds=30)  # how long an applied replica count may take to be visible
    grace: timedelta = timedelta(seconds=30)  # a gap of up to two ticks and this is no gap
    placement_interval: timedelta = timedelta(hours=1)  # between two plans of a workload of which nothing changed but the traffic
    placement_hold: timedelta = timedelta(hours=24)  # how long all plans must agree before one is followed: a day has quiet hours
    placement_saving: float = 0.1  # share of the cost that a move must save

    @property
    def longest_break(self) -> timedelta:
        """Time between two passes from which on something may have been missed."""
        return 2 * self.tick + self.grace
