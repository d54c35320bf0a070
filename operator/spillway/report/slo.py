"""How the promise holds, spilled and failed requests included."""

from collections.abc import Sequence
from dataclasses import dataclass

from spillway.api.status import SideSlo, SloStatus
from spillway.api.traffic import Slo
from spillway.plan.observation import SideLatency, Signals
from spillway.plan.readings import finite, number, value
from spillway.plan.rounding import reached, whole

NO_REQUEST = 1e-3  # of a window: rates come out of divisions


@dataclass(frozen=True, slots=True, kw_only=True)
class Attainment:
    """Shares of 0 to 1 that met each target; None where there is no target, no traffic or no evidence."""

    first_token: float | None
    inter_token: float | None
    end_to_end: float | None

    @property
    def lowest(self) -> float | None:
        """No more than this share met every target."""
        known = [each for each in (self.first_token, self.inter_token, self.end_to_end) if each is not None]
        return min(known, default=None)


def attainment(slo: Slo, signals: Signals) -> Attainment:
    """Return the attainment of every target over all requests. A failed request met none; one that its client gave up does not count."""
    owned, hosted = value(signals.owned_latency), value(signals.hosted_latency)
    failed = (number(signals.failed_per_s) or 0.0) * signals.window_s
    spilled = (number(signals.spilled_per_s) or 0.0) * signals.window_s
    arrived = number(signals.arrivals_per_s)
    cancelled = (number(signals.cancelled_per_s) or 0.0) * signals.window_s
    answered = 0.0 if arrived is None else max(0.0, arrived * signals.window_s - failed - cancelled)
    spilled = spilled if arrived is None else min(spilled, answered)  # a hosted stream that broke off is among the failed, too
    kept = None if arrived is None else answered - spilled

    def of_streams(*sides: tuple[float, float | None]) -> float | None:
        streams = sum(requests for requests, _ in sides)
        if answered <= NO_REQUEST:
            return _share(sides, failed)
        # Who does not stream sees no first token. Of those who failed before a byte nobody knows: as many of them as of the answered.
        broken = min(failed, (number(signals.stream_errors_per_s) or 0.0) * signals.window_s)
        return _share(sides, broken + (failed - broken) * min(1.0, streams / answered)) if streams or broken else None

    paced_elsewhere = (hosted.paced, hosted.within_inter_token) if hosted else (0.0, None)
    return Attainment(
        first_token=None if slo.time_to_first_token_ms is None else of_streams(_weighed(owned), _weighed(hosted)),
        inter_token=None if slo.inter_token_latency_ms is None else of_streams(_paced(owned, signals, kept), paced_elsewhere),
        end_to_end=None
        if slo.end_to_end_ms is None or kept is None
        else _share(
            [(kept, owned.within_end_to_end if owned else None), (spilled, hosted.within_end_to_end if hosted else None)],
            failed,
        ),
    )


def describe_slo(slo: Slo, signals: Signals) -> SloStatus:
    """Return the status section of a workload with targets."""
    overall = attainment(slo, signals)
    owned, hosted = value(signals.owned_latency), value(signals.hosted_latency)
    return SloStatus(
        attainment_percent=reached(overall.lowest),
        time_to_first_token_attainment_percent=reached(overall.first_token),
        inter_token_latency_attainment_percent=reached(overall.inter_token),
        end_to_end_attainment_percent=reached(overall.end_to_end),
        owned=_side(slo, owned, _paced(owned, signals, None)[1]),
        hosted=_side(slo, hosted, hosted.within_inter_token if hosted else None),
        ttft_p95_ms=whole(number(signals.ttft_p95_ms)),
        inter_token_p95_ms=whole(number(signals.inter_token_p95_ms)),
        window=_window(signals.window_s),
    )


def has_targets(slo: Slo | None) -> bool:
    """Whether anything is promised."""
    return slo is not None and any(
        target is not None for target in (slo.time_to_first_token_ms, slo.inter_token_latency_ms, slo.end_to_end_ms)
    )


def _weighed(side: SideLatency | None) -> tuple[float, float | None]:
    return (0.0, None) if side is None else (finite(side.requests) or 0.0, side.within_ttft)


def _paced(owned: SideLatency | None, signals: Signals, kept: float | None) -> tuple[float, float | None]:
    """Return how many of own replicas' requests are known to have been within the gap or not, and the share that was.

    By the gateway, which sees streams only; where it saw none, by the replicas themselves, for all that they kept.
    """
    if owned is not None and owned.paced:
        return owned.paced, owned.within_inter_token
    told = number(signals.inter_token_within_ratio)
    return (0.0 if told is None else kept or 0.0, told)


def _share(sides: Sequence[tuple[float, float | None]], failed: float) -> float | None:
    """Return the share that met the target over both sides and the failed; None when a side with requests is not known."""
    total, within = failed, 0.0
    for requests, share in sides:
        if not requests:
            continue
        measured = finite(share)
        if measured is None:
            return None
        total += requests
        within += requests * measured
    return within / total if total else None


def _side(slo: Slo, side: SideLatency | None, inter_token: float | None) -> SideSlo | None:
    if side is None or not finite(side.requests):
        return None
    one = Attainment(
        first_token=finite(side.within_ttft) if slo.time_to_first_token_ms is not None else None,
        inter_token=finite(inter_token) if slo.inter_token_latency_ms is not None else None,
        end_to_end=finite(side.within_end_to_end) if slo.end_to_end_ms is not None else None,
    )
    return SideSlo(
        attainment_percent=reached(one.lowest), ttft_p95_ms=whole(side.ttft_p95_ms), inter_token_p95_ms=whole(side.inter_token_p95_ms)
    )


def _window(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m" if not rest else f"{minutes * 60 + rest}s"
