"""What lanes to hosted backends have counted since their Envoys started, and what that says of what they hold and what is asked of them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from spillway.plan.decision import Allowance, Grant, Lane, Permit
from spillway.plan.observation import SpillMeter


@dataclass(frozen=True, slots=True, kw_only=True)
class Meters:
    """Lanes' meters as they were scraped last. A lane that shows none has counted nothing yet, or is gone."""

    by_lane: Mapping[Lane, SpillMeter] = field(default_factory=dict)

    @staticmethod
    def of(shown: Iterable[SpillMeter]) -> "Meters":
        """Return the meters by their lanes."""
        return Meters(by_lane={Lane(pod=each.pod, worker=each.worker, backend=each.backend): each for each in shown})

    def micro_usd(self, lane: Lane) -> int:
        """Return what the lane's requests that are done were charged."""
        return math.floor(self.by_lane[lane].micro_usd) if lane in self.by_lane else 0

    def requests(self, lane: Lane) -> int:
        """Return how many of the lane's requests are done."""
        return math.floor(self.by_lane[lane].requests) if lane in self.by_lane else 0

    def refused(self, lane: Lane) -> int:
        """Return how many requests the lane has turned away because its part was used up."""
        return math.floor(self.by_lane[lane].refused_requests) if lane in self.by_lane else 0

    def refused_micro_usd(self, lane: Lane) -> int:
        """Return what those would have been charged at first."""
        return math.floor(self.by_lane[lane].refused_micro_usd) if lane in self.by_lane else 0

    def asked_since(self, previous: Permit | None, lanes: Sequence[Lane]) -> dict[Lane, int]:
        """Return how many requests each lane sent or turned away since the last permit; after a restart, all of them."""
        before = _by_lane(previous, lanes)
        return {
            lane: _grown(self.requests(lane), before[lane].requests_from) + _grown(self.refused(lane), before[lane].refused_from)
            for lane in lanes
        }

    def wanted_since(self, previous: Permit | None, lanes: Sequence[Lane]) -> dict[Lane, int]:
        """Return what a request that a lane turned away since the last permit would have been charged, on average.

        Where nothing was asked of any lane since, what was known then.
        """
        before = _by_lane(previous, lanes)
        refused = {lane: _grown(self.refused(lane), before[lane].refused_from) for lane in lanes}
        if not any(self.asked_since(previous, lanes).values()):
            return {lane: each.wanted_micro_usd for lane, each in before.items() if each.wanted_micro_usd is not None}
        micro_usd = {lane: _grown(self.refused_micro_usd(lane), before[lane].refused_micro_usd_from) for lane in lanes}
        return {lane: math.ceil(micro_usd[lane] / refused[lane]) for lane in lanes if refused[lane]}

    def held(self, grants: Iterable[Grant], *, money: bool) -> dict[Lane, int]:
        """Return what each lane may still use of what it was given: micro-USD or requests.

        A meter that is not shown (its gateway is gone, or has sent nothing yet) is taken to be where it was then. One that is below that
        is another process's, to which the grant gives nothing.
        """
        held: dict[Lane, int] = {}
        for each in grants:
            given = each.allowance
            start, end = (given.micro_usd_from, given.micro_usd_to) if money else (given.requests_from, given.requests_to)
            read = self.micro_usd if money else self.requests
            seen = read(given.lane) if given.lane in self.by_lane else start
            if end is not None and seen >= start:
                held[given.lane] = max(held.get(given.lane, 0), end - seen)
        return held


def _by_lane(previous: Permit | None, lanes: Sequence[Lane]) -> dict[Lane, Allowance]:
    given = {each.lane: each for each in previous.allowances} if previous else {}
    return {lane: given.get(lane) or Allowance(lane=lane) for lane in lanes}


def _grown(now: int, before: int) -> int:
    return now - before if now >= before else now
