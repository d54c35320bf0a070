"""What a simulated run came to, as figures and as a course over time."""

from dataclasses import dataclass

from spillway.simulate.trace import Floats, Whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What owning and renting cost."""

    usd_per_replica_hour: float
    hosted_input_usd_per_million: float
    hosted_output_usd_per_million: float

    def hosted_usd(self, input_tokens: Whole, output_tokens: Whole) -> Floats:
        """Return what renting requests of these lengths costs, one entry each."""
        usd: Floats = (input_tokens * self.hosted_input_usd_per_million + output_tokens * self.hosted_output_usd_per_million) / 1e6
        return usd


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """A run over time, one entry per interval of `interval_s`; for plots."""

    interval_s: float
    arrivals_per_s: Floats
    demand_replicas: Floats  # work that arrived, in replicas
    ready_replicas: Floats  # mean
    billed_replicas: Floats  # mean: starting and draining ones too
    spilled_percent: Floats  # of what arrived; NaN where nothing did
    attainment_percent: Floats  # of what arrived; NaN where nothing did
    own_usd: Floats
    hosted_usd: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One policy's run. `spillway simulate -o json` prints these fields, camel-cased, as `policies[]`."""

    policy: str
    requests: int
    failed: int
    own_usd: float
    hosted_usd: float
    slo_attainment_percent: float | None  # over all requests, spilled and failed included; None without requests
    worst_5_min_attainment_percent: float | None  # of the five-minute windows with at least 20 requests
    spilled_percent: float | None
    replica_hours: float  # billed
    starts: int
    ttft_p95_ms: float | None
    inter_token_p95_ms: float | None
    course: Course

    @property
    def cost_usd(self) -> float:
        """Return what it cost in all."""
        return self.own_usd + self.hosted_usd
