"""What is written into the log of decisions when the replica count changes, or the count that is only told."""

from collections.abc import Iterator
from datetime import datetime

from spillway.api.status import DecisionStatus, ForecastStatus
from spillway.plan.decision import Decision, Memory, ScaleDecision, ScaleFigures
from spillway.plan.rounding import signed_usd, significant, usd

DIGITS = 3


def scaling_entries(decision: Decision, memory: Memory, now: datetime) -> Iterator[DecisionStatus]:
    """Yield this pass's changes of the count. `memory` is that of the pass before, as far as counts go."""
    scaled = decision.scale
    if scaled is None:
        return
    told = scaled.recommended
    if scaled.replicas != (scaled.previous or 0):
        what = f"replicas {scaled.previous or 0} -> {scaled.replicas}"
        if not _just_said(decision, memory, what):
            why = scaled.why if told is None else f"placement.apply Recommend starts at the minimum; {scaled.why}"
            yield _entry(decision, scaled, now, what=what, why=why, replicas=scaled.replicas)
    before = scaled.replicas if memory.recommended_replicas is None else memory.recommended_replicas
    if told is not None and told != before:
        yield _entry(decision, scaled, now, what=f"recommended replicas {before} -> {told}", why=scaled.why, replicas=told)


def owned_usd_per_hour(decision: Decision, replicas: int) -> float | None:
    """Return what so many own replicas cost in an hour; those that are paid for already cost nothing more. None without a price."""
    price = decision.pool.usd_per_replica_hour if decision.pool is not None else None
    committed = decision.spec.own.committed_replicas if decision.spec is not None else 0
    return None if price is None else max(0, replicas - committed) * price


def _just_said(decision: Decision, memory: Memory, what: str) -> bool:
    """Whether the last decision on the count was this very one: then it is still on its way, not taken again.

    That of another pool, which begins as the one before it did, is another one. Whose it was the log alone does not tell a new operator.
    """
    last, taken = next((entry.what for entry in memory.decisions if entry.what.startswith("replicas ")), None), memory.settling
    return last == what and (taken is None or decision.pool is None or taken.pool == decision.pool.name)


def _entry(decision: Decision, scaled: ScaleDecision, now: datetime, *, what: str, why: str, replicas: int) -> DecisionStatus:
    figures = scaled.figures
    return DecisionStatus(
        time=now.replace(microsecond=0),
        what=what,
        reason=scaled.reason,
        why=why,
        usd_per_hour=usd(owned_usd_per_hour(decision, replicas)),
        forecast=None if figures is None else _forecast(figures),
        kappa=None if figures is None else significant(figures.kappa, DIGITS),
        marginal_saving_usd_per_hour=None if figures is None else signed_usd(figures.marginal_saving_usd_per_hour),
        rejected=None if figures is None else figures.rejected,
    )


def _forecast(figures: ScaleFigures) -> ForecastStatus | None:
    """Return the forecast; None when a figure of it is no number."""
    p10, p50, p90 = (significant(each, DIGITS) for each in (figures.forecast_p10, figures.forecast_p50, figures.forecast_p90))
    horizon = significant(figures.horizon_s, DIGITS)
    if p10 is None or p50 is None or p90 is None or horizon is None:
        return None
    return ForecastStatus(p10=p10, p50=p50, p90=p90, horizon_seconds=round(figures.horizon_s))
