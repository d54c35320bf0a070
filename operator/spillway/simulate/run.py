"""What a run left behind: every request and every replica. Costs are linear in prices, so one run is priced for any of them."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spillway.simulate.layout import FAILED, HOSTED, OWNED
from spillway.simulate.outcome import Course, Outcome, Prices
from spillway.simulate.setting import Targets
from spillway.simulate.trace import Floats, Trace

WORST_WINDOW_S = 300.0
LEAST_REQUESTS = 20  # of a window that counts as the worst
SECONDS_PER_HOUR = 3600.0
MOST_POINTS = 2016  # of a course: a week of five minutes
LEAST_INTERVAL_S = 60.0

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lives:
    """All replicas that there were, one entry each, in order of launch. math.inf: not within the run."""

    launched_s: Floats
    ready_s: Floats
    ended_s: Floats

    def billed_s(self, until_s: float, increment_s: float) -> Floats:
        """Return the seconds billed of each: whole increments, but none beyond the end of the run."""
        lived = self.ended_s - self.launched_s
        whole = np.ceil(np.round(lived / increment_s, 9)) * increment_s
        billed: Floats = np.minimum(whole, until_s - self.launched_s)
        return billed


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One policy's run over a trace. Arrays have one entry per request."""

    policy: str
    trace: Trace
    targets: Targets
    side: NDArray[np.uint8]  # OWNED, HOSTED or FAILED
    ttft_ms: Floats  # NaN where it failed
    inter_token_ms: Floats  # mean gap; NaN where it failed or had one token
    e2e_ms: Floats  # a failed one's: until it failed
    work_s: Floats  # replica-seconds in a full batch
    lives: Lives
    billing_increment_s: float
    preempted: int
    decide_s: float  # wall time spent in the policy

    @property
    def own_billed_s(self) -> float:
        """Return the replica-seconds billed."""
        return float(self._billed_s().sum())

    @property
    def hosted_tokens(self) -> tuple[float, float]:
        """Return the prompt and answer tokens billed by hosted."""
        rented = self.side == HOSTED
        return float(self.trace.input_tokens[rented].sum()), float(self.trace.output_tokens[rented].sum())

    def met(self) -> Flags:
        """Return which requests met the SLO."""
        kept = self.targets.met(ttft_ms=self.ttft_ms, inter_token_ms=self.inter_token_ms, end_to_end_ms=self.e2e_ms)
        met: Flags = (self.side != FAILED) & kept
        return met

    def outcome(self, prices: Prices) -> Outcome:
        """Return what it came to at these prices, per hour and per million tokens."""
        met, (prompt, answered) = self.met(), self.hosted_tokens
        billed_s = self.own_billed_s
        return Outcome(
            policy=self.policy,
            requests=self.trace.requests,
            failed=int((self.side == FAILED).sum()),
            own_usd=billed_s / SECONDS_PER_HOUR * prices.usd_per_replica_hour,
            hosted_usd=(prompt * prices.hosted_input_usd_per_million + answered * prices.hosted_output_usd_per_million) / 1e6,
            slo_attainment_percent=_percent(met),
            worst_5_min_attainment_percent=self._worst(met),
            spilled_percent=_percent(self.side == HOSTED),
            replica_hours=billed_s / SECONDS_PER_HOUR,
            starts=len(self.lives.launched_s),
            ttft_p95_ms=_p95(self.ttft_ms),
            inter_token_p95_ms=_p95(self.inter_token_ms),
            course=self._course(prices, met),
        )

    def _billed_s(self) -> Floats:
        return self.lives.billed_s(self.trace.duration_s, self.billing_increment_s)

    def _worst(self, met: Flags) -> float | None:
        """Return the attainment of the worst five minutes, by arrival."""
        window = (self.trace.arrival_s / WORST_WINDOW_S).astype(np.int64)
        arrived, kept = np.bincount(window), np.bincount(window, weights=met)
        counted = arrived >= LEAST_REQUESTS
        return float((kept[counted] / arrived[counted]).min() * 100) if counted.any() else None

    def _course(self, prices: Prices, met: Flags) -> Course:
        interval_s = max(LEAST_INTERVAL_S, math.ceil(self.trace.duration_s / MOST_POINTS / LEAST_INTERVAL_S) * LEAST_INTERVAL_S)
        edges = np.arange(0.0, self.trace.duration_s + interval_s, interval_s)
        if len(edges) > 2 and edges[-2] >= self.trace.duration_s:  # noqa: PLR2004  a first and a last edge
            edges = edges[:-1]
        points = len(edges) - 1
        at = np.minimum((self.trace.arrival_s / interval_s).astype(np.int64), points - 1)

        def summed(weights: Floats | Flags) -> Floats:
            sums: Floats = np.bincount(at, weights=weights, minlength=points).astype(np.float64)
            return sums

        arrived, rented = summed(np.ones(len(at))), self.side == HOSTED
        usd = rented * prices.hosted_usd(self.trace.input_tokens, self.trace.output_tokens)
        end_s = np.minimum(self.lives.ended_s, self.trace.duration_s)
        billed_s = _within(self.lives.launched_s, self.lives.launched_s + self._billed_s(), edges)
        with np.errstate(invalid="ignore"):  # nothing arrived: no share
            spilled, attained = summed(rented) / arrived * 100, summed(met) / arrived * 100
        return Course(
            interval_s=interval_s,
            arrivals_per_s=arrived / interval_s,
            demand_replicas=summed(self.work_s) / interval_s,
            ready_replicas=_within(np.minimum(self.lives.ready_s, end_s), end_s, edges) / interval_s,
            billed_replicas=billed_s / interval_s,
            spilled_percent=spilled,
            attainment_percent=attained,
            own_usd=billed_s / SECONDS_PER_HOUR * prices.usd_per_replica_hour,
            hosted_usd=summed(usd),
        )


def inter_token_ms(ttft_ms: Floats, e2e_ms: Floats, output_tokens: NDArray[np.int64], side: NDArray[np.uint8]) -> Floats:
    """Return each request's mean gap between tokens; NaN where there is none."""
    gaps = np.full(len(ttft_ms), np.nan)
    many = (output_tokens > 1) & (side != FAILED)
    gaps[many] = (e2e_ms[many] - ttft_ms[many]) / (output_tokens[many] - 1)
    return gaps


def _percent(flags: Flags) -> float | None:
    return float(flags.mean() * 100) if len(flags) else None


def _p95(values: Floats) -> float | None:
    told = values[~np.isnan(values)]
    return float(np.percentile(told, 95)) if len(told) else None


def _within(begin_s: Floats, end_s: Floats, edges_s: Floats) -> Floats:
    """Return the time that spans have within each interval, summed over them."""

    def passed(moments_s: Floats) -> Floats:
        """Return the time since all moments, up to each edge: of those before it, the edge less the moment."""
        ordered = np.sort(moments_s)
        before = np.searchsorted(ordered, edges_s)
        sums: Floats = before * edges_s - np.concatenate([[0.0], np.cumsum(ordered)])[before]
        return sums

    return np.diff(passed(begin_s) - passed(end_s))


__all__ = ["FAILED", "HOSTED", "OWNED", "Lives", "Run", "inter_token_ms"]
