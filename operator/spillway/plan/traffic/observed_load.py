"""What has been seen of a workload's traffic, and the spec that would have declared it."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from spillway.api.traffic import MOST_TOKENS, RequestRate, TokenLengths, Traffic
from spillway.api.workload import InferenceWorkloadSpec
from spillway.plan.observation import Signals
from spillway.plan.place.placed import ObservedLoad
from spillway.plan.readings import number, positive
from spillway.plan.traffic.load import declared_load, default_peak_ratio


def observe_load(before: ObservedLoad | None, signals: Signals, now: datetime, *, over: timedelta, gap: timedelta) -> ObservedLoad | None:
    """Return what has been seen with this reading in it; what was seen before when the rate is Missing.

    The mean is one over all the time until `over` is full, and from then on one that fades with that time constant. The peak fades towards
    the mean likewise. A reading counts for the time since the one before, but for no more than `gap`: what was not watched is not known.
    """
    rate = number(signals.arrivals_per_s)
    if rate is None:
        return before
    prompt, answer = positive(signals.input_tokens_mean), positive(signals.output_tokens_mean)
    if before is None:
        return ObservedLoad(mean_per_s=rate, peak_per_s=rate, input_tokens=prompt, output_tokens=answer, at=now)
    elapsed_s = min((now - before.at).total_seconds(), gap.total_seconds())
    if elapsed_s <= 0:
        return before if now == before.at else replace(before, at=now)  # the clock was set back
    watched_s = min(before.watched_s + elapsed_s, over.total_seconds())
    weight = elapsed_s / max(watched_s, elapsed_s)
    mean = before.mean_per_s + weight * (rate - before.mean_per_s)
    fading = min(1.0, elapsed_s / over.total_seconds())
    of_requests = min(1.0, weight * rate / mean) if mean else 0.0
    return ObservedLoad(
        mean_per_s=mean,
        peak_per_s=max(mean, rate, before.peak_per_s - fading * (before.peak_per_s - mean)),
        input_tokens=_blended(before.input_tokens, prompt, of_requests),
        output_tokens=_blended(before.output_tokens, answer, of_requests),
        watched_s=watched_s,
        at=now,
    )


def as_declared(spec: InferenceWorkloadSpec, seen: ObservedLoad) -> InferenceWorkloadSpec:
    """Return the spec with what was seen as its traffic.

    The declared peak counts as so many times the mean: a day that had none is no proof that none comes. So does the declared spread of
    lengths, which the gateway does not measure.
    """
    before = spec.traffic or Traffic()
    declared = declared_load(spec)
    ratio = declared.peak_per_s / declared.mean_per_s if declared and declared.mean_per_s else default_peak_ratio(before.pattern)
    peak = max(seen.peak_per_s, seen.mean_per_s * ratio)
    traffic = before.model_copy(
        update={
            "requests_per_month": None,
            "requests_per_second": RequestRate(mean=_decimal(seen.mean_per_s), peak=_decimal(peak)),
            "input_tokens": _lengths(before.input_tokens, seen.input_tokens),
            "output_tokens": _lengths(before.output_tokens, seen.output_tokens),
        }
    )
    return spec.model_copy(update={"traffic": traffic})


def _blended(before: float | None, found: float | None, share: float) -> float | None:
    if before is None or found is None:
        return found if before is None else before
    return before + share * (found - before)


def _lengths(before: TokenLengths | None, mean: float | None) -> TokenLengths | None:
    if mean is None:
        return before
    # A spread that was declared of short ones may exceed what the API takes once they are long.
    p95 = min(MOST_TOKENS, round(mean * before.p95 / before.mean)) if before is not None and before.p95 else None
    whole = min(MOST_TOKENS, max(1, round(mean)))
    return TokenLengths(mean=whole, p95=None if p95 is None else max(whole, p95))


def _decimal(rate_per_s: float) -> Decimal:
    return Decimal(f"{rate_per_s:.9f}")
