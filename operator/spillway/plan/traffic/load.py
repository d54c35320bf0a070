"""How the load moves: what share of the time it is above a rate, and how much of it stays below.

The curve goes through the traffic's mean and peak. With u the share of the time from the busiest moment on, and b the floor,

    load(u) = b + (peak - b) * (1 - u)^k,   k = (peak - b) / (mean - b) - 1,   b = FLOOR[pattern] * mean

so that its mean is the mean, its highest value the peak, and k follows from both. Checked against the per-minute counts of five public
traces (benchmarks/plan): what a capacity of 0.25 to 2.5 times the mean can serve of the load comes out within 0.05 (Azure 2023 code) of
the trace under Bursty, and within 0.04 to 0.09 (Azure 2023 and 2024 conversation, ServeGen R1) under Steady. Where the trace has a few
short peaks over a quiet week (ServeGen M-large, peak 4.7 times its mean) the curve serves up to 0.19 less than the trace: it overstates
what spills.
"""

import math
from dataclasses import dataclass, replace

from spillway.api.traffic import LatencyNeed, TrafficPattern
from spillway.api.workload import InferenceWorkloadSpec

HOURS_PER_MONTH = 720  # 30 days, as everywhere in Spillway
SECONDS_PER_MONTH = HOURS_PER_MONTH * 3600

FLOOR = {TrafficPattern.STEADY: 0.5, TrafficPattern.BURSTY: 0.2}  # of the mean; the best of 0, 0.2, ... 0.6 on those traces
BURSTY_PEAK = 4.0  # times the mean, where a Bursty workload states no peak: Azure 2023 code has 4.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Requests per second over a month."""

    mean_per_s: float
    peak_per_s: float
    pattern: TrafficPattern = TrafficPattern.STEADY

    @property
    def requests_per_month(self) -> float:
        """Requests in 30 days."""
        return self.mean_per_s * SECONDS_PER_MONTH

    @property
    def floor_per_s(self) -> float:
        """The load never falls below this rate."""
        return FLOOR[self.pattern] * self.mean_per_s

    @property
    def exponent(self) -> float:
        """The curve's k: 0 where the load is flat."""
        if self.peak_per_s <= self.mean_per_s or not self.mean_per_s:
            return 0.0
        return (self.peak_per_s - self.floor_per_s) / (self.mean_per_s - self.floor_per_s) - 1

    def share_above(self, rate_per_s: float) -> float:
        """Return the share of the time, 0 to 1, in which the load is above a rate."""
        if rate_per_s >= self.peak_per_s or not self.mean_per_s:  # of a mean of nothing, the peak takes no time
            return 0.0
        floor, exponent = self.floor_per_s, self.exponent
        if rate_per_s < floor or not exponent:
            return 1.0
        return float(1.0 - ((rate_per_s - floor) / (self.peak_per_s - floor)) ** (1 / exponent))

    def served_per_s(self, capacity_per_s: float) -> float:
        """Return the mean rate of what a capacity serves when everything above it goes elsewhere."""
        if capacity_per_s >= self.peak_per_s:
            return self.mean_per_s
        floor, exponent = self.floor_per_s, self.exponent
        if capacity_per_s <= floor or not exponent:
            return min(max(0.0, capacity_per_s), self.mean_per_s)
        full = self.share_above(capacity_per_s)
        below = 1.0 - full
        partly = floor * below + (self.peak_per_s - floor) * below ** (exponent + 1) / (exponent + 1)
        return float(min(self.mean_per_s, full * capacity_per_s + partly))

    def scaled(self, factor: float) -> "Load":
        """Return a load of the same shape, so many times as high."""
        return replace(self, mean_per_s=self.mean_per_s * factor, peak_per_s=self.peak_per_s * factor)

    def at(self, requests_per_month: float) -> "Load":
        """Return a load of the same shape with this volume in 30 days."""
        ratio = self.peak_per_s / self.mean_per_s if self.mean_per_s else default_peak_ratio(self.pattern)
        mean = requests_per_month / SECONDS_PER_MONTH
        return replace(self, mean_per_s=mean, peak_per_s=mean * ratio)


def default_peak_ratio(pattern: TrafficPattern) -> float:
    """Return the peak, in means, of traffic that states none."""
    return BURSTY_PEAK if pattern is TrafficPattern.BURSTY else 1.0


def declared_load(spec: InferenceWorkloadSpec) -> Load | None:
    """Return the load the spec declares; None without a volume. The peaks of Offline traffic wait, so its load is flat."""
    traffic = spec.traffic
    if traffic is None:
        return None
    peak: float | None = None
    if traffic.requests_per_second is not None:
        mean = float(traffic.requests_per_second.mean)
        peak = None if traffic.requests_per_second.peak is None else float(traffic.requests_per_second.peak)
    elif traffic.requests_per_month is not None:
        mean = traffic.requests_per_month / SECONDS_PER_MONTH
    else:
        return None
    if traffic.latency is LatencyNeed.OFFLINE:
        return Load(mean_per_s=mean, peak_per_s=mean)  # Steady, or it would be given a peak at other volumes (at)
    return Load(
        mean_per_s=mean, peak_per_s=max(mean, mean * default_peak_ratio(traffic.pattern) if peak is None else peak), pattern=traffic.pattern
    )


def replicas_for(rate_per_s: float, requests_per_s: float) -> int:
    """Return how many replicas carry a rate; a rounding error is no reason for one more."""
    return math.ceil(rate_per_s / requests_per_s - 1e-9)
