"""From simulated runs to the document that is printed: figures rounded as they are read, plots no finer than a screen."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from spillway.api.simulate_output import (
    CourseOutput,
    EngineOutput,
    HostedOutput,
    PolicyOutput,
    SimulateOutput,
    SloOutput,
    TraceOutput,
)
from spillway.plan.rounding import dollars, down, fine
from spillway.simulate.outcome import Course, Outcome
from spillway.simulate.reading import Column
from spillway.simulate.trace import Floats, Trace, busiest_minute

ORACLE = "oracle"
ORACLE_REPLAY = "oracle-replay"
CLAIRVOYANT = (ORACLE_REPLAY, ORACLE)
OURS = "spillway"
MOST_POINTS = 336  # of a plot: half hours of a week, and no screen shows more of a small picture
USD_DIGITS = 4  # of an amount: a short trace costs less than a cent, and who costs least is told by it
SAME = 0.0005  # of the cost: less is no difference


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What was simulated, as it is told."""

    workload: str
    model: str
    slo: SloOutput
    engine: EngineOutput
    hosted: HostedOutput | None
    kappa: float | None
    seed: int
    demand_replicas_mean: float
    scale: float = 1.0
    columns: Mapping[Column, str] = field(default_factory=dict)


def simulate_output(
    setting: Setting, trace: Trace, outcomes: Sequence[Outcome], *, warnings: Iterable[str] = (), assumptions: Iterable[str] = ()
) -> SimulateOutput:
    """Return the document of runs on one trace."""
    costs = {each.policy: each.cost_usd for each in outcomes}
    policies = [_policy(each, costs, attainment_percent=setting.slo.attainment_percent, duration_s=trace.duration_s) for each in outcomes]
    policies.sort(key=_rank)
    cheapest = next((each for each in policies if each.keeps_slo and not each.clairvoyant), None)
    return SimulateOutput(
        workload=setting.workload,
        model=setting.model,
        trace=_trace(trace, setting),
        slo=setting.slo,
        engine=setting.engine,
        hosted=setting.hosted,
        kappa=_rounded(setting.kappa, 3),
        seed=setting.seed,
        cheapest=cheapest.policy if cheapest else None,
        verdict=verdict(policies, setting.slo.attainment_percent),
        policies=policies,
        warnings=[*warnings, *_below_bound(policies)],
        assumptions=list(assumptions),
    )


def verdict(policies: Sequence[PolicyOutput], attainment_percent: float) -> str:
    """Return what came of it in a sentence or two; `policies` are in order."""
    able = [each for each in policies if not each.clairvoyant]
    keepers = [each for each in able if each.keeps_slo]
    if not able:
        return "Only clairvoyant policies were simulated; name one with --policy."
    if not keepers:
        best = max(able, key=lambda each: each.slo_attainment_percent or 0.0)
        return (
            f"No policy keeps the SLO of {attainment_percent:g} %: {best.policy} comes closest with "
            f"{_percent(best.slo_attainment_percent)} for {dollars(best.cost_usd)}."
        )
    first = keepers[0]
    told = f"{first.policy} is the cheapest that keeps the SLO of {attainment_percent:g} %: {dollars(first.cost_usd)}"
    if first.cost_over_oracle_replay is not None:
        replay = next(each for each in policies if each.policy == ORACLE_REPLAY)
        misses = "" if replay.keeps_slo else f", which keeps it for {_percent(replay.slo_attainment_percent)} only"
        told += f", {first.cost_over_oracle_replay:.2f} times the cost of the clairvoyant plan{misses}"
    ours = next((each for each in able if each.policy == OURS), None)
    second = keepers[1] if len(keepers) > 1 else None
    if first.policy == OURS and second is not None and second.cost_usd:
        return f"{told}. The next, {second.policy}, costs {_more(second.cost_usd, first.cost_usd)} more."
    if ours is not None and first.policy != OURS and first.cost_usd:
        kept = "" if ours.keeps_slo else f" and keeps it for {_percent(ours.slo_attainment_percent)} only"
        return f"{told}. {OURS} costs {dollars(ours.cost_usd)}{kept}."
    return f"{told}."


def _below_bound(policies: Sequence[PolicyOutput]) -> Iterator[str]:
    """Say why what costs less than the bound does: the bound is of who does all the work, in time."""
    below = [each.policy for each in policies if each.cost_over_oracle is not None and each.cost_over_oracle < 1 and each.policy != ORACLE]
    if below:
        yield (
            f"{', '.join(below)}: less than {ORACLE}, which answers every request within its promise and pays for all of them. What "
            "failed, was answered late, or was left over when the trace ended cost less."
        )


def coarse(course: Course, *, duration_s: float, most: int = MOST_POINTS) -> CourseOutput:
    """Return a course of at most so many intervals: rates and replicas averaged, shares weighted by arrivals, money summed.

    The last interval ends with the trace: its rates and replicas are those of the time that there was.
    """
    size = max(1, math.ceil(len(course.arrivals_per_s) / most))
    weights = course.arrivals_per_s
    seconds = np.full(len(weights), course.interval_s)
    seconds[-1:] = min(course.interval_s, max(1e-3, duration_s - course.interval_s * (len(weights) - 1)))

    def means(values: Floats) -> Floats:
        return _per_group(values * course.interval_s, size) / _per_group(seconds, size)

    return CourseOutput(
        interval_seconds=course.interval_s * size,
        arrivals_per_second=_listed(means(course.arrivals_per_s), 4),
        demand_replicas=_listed(means(course.demand_replicas), 3),
        ready_replicas=_listed(means(course.ready_replicas), 3),
        billed_replicas=_listed(means(course.billed_replicas), 3),
        spilled_percent=_listed(_weighted(course.spilled_percent, weights, size), 2),
        attainment_percent=_listed(_weighted(course.attainment_percent, weights, size), 2),
        own_usd=_listed(_per_group(course.own_usd, size), 6),
        hosted_usd=_listed(_per_group(course.hosted_usd, size), 6),
    )


def _policy(outcome: Outcome, costs: Mapping[str, float], *, attainment_percent: float, duration_s: float) -> PolicyOutput:
    bound = outcome.policy == ORACLE
    attained, worst = outcome.slo_attainment_percent, outcome.worst_5_min_attainment_percent
    return PolicyOutput(
        policy=outcome.policy,
        cost_usd=fine(outcome.cost_usd, USD_DIGITS),
        cost_over_oracle=_ratio(outcome.cost_usd, costs.get(ORACLE)),
        cost_over_oracle_replay=_ratio(outcome.cost_usd, costs.get(ORACLE_REPLAY)),
        own_usd=None if bound else fine(outcome.own_usd, USD_DIGITS),
        hosted_usd=None if bound else fine(outcome.hosted_usd, USD_DIGITS),
        slo_attainment_percent=None if attained is None else down(attained, 3),
        worst_5_min_attainment_percent=None if worst is None else down(worst, 2),
        spilled_percent=_rounded(outcome.spilled_percent, 2),
        failed_percent=None if bound or not outcome.requests else round(100 * outcome.failed / outcome.requests, 3),
        replica_hours=None if bound else fine(outcome.replica_hours, 4),
        starts=None if bound else outcome.starts,
        ttft_p95_ms=_rounded(outcome.ttft_p95_ms, 1),
        inter_token_p95_ms=_rounded(outcome.inter_token_p95_ms, 2),
        keeps_slo=None if bound or attained is None else attained >= attainment_percent,
        clairvoyant=outcome.policy in CLAIRVOYANT,
        course=coarse(outcome.course, duration_s=duration_s) if len(outcome.course.arrivals_per_s) else None,
    )


def _rank(each: PolicyOutput) -> tuple[object, ...]:
    place = CLAIRVOYANT.index(each.policy) if each.policy in CLAIRVOYANT else 0
    return (each.clairvoyant, place, not each.keeps_slo, each.cost_usd, each.policy != OURS, each.policy)


def _trace(trace: Trace, setting: Setting) -> TraceOutput:
    some = trace.requests > 0
    mean = trace.requests / max(trace.duration_s, 1.0)
    return TraceOutput(
        name=trace.name,
        requests=trace.requests,
        duration_hours=fine(trace.duration_s / 3600, 3),
        requests_per_second_mean=fine(mean, 4),
        requests_per_second_peak=fine(max(mean, busiest_minute(trace)) if some else 0.0, 4),
        input_tokens_mean=round(float(trace.input_tokens.mean()), 1) if some else None,
        output_tokens_mean=round(float(trace.output_tokens.mean()), 1) if some else None,
        demand_replicas_mean=fine(setting.demand_replicas_mean, 3),
        scale=fine(setting.scale, 4),
        columns={column.value: name for column, name in setting.columns.items()},
    )


def _weighted(values: Floats, weights: Floats, size: int) -> Floats:
    known = np.isfinite(values)
    above, below = _per_group(np.where(known, values * weights, 0.0), size), _per_group(np.where(known, weights, 0.0), size)
    shares: Floats = np.divide(above, below, out=np.full(len(below), np.nan), where=below > 0)
    return shares


def _per_group(values: Floats, size: int) -> Floats:
    """Sum each `size` entries; the last group may be shorter."""
    summed: Floats = np.add.reduceat(values, np.arange(0, len(values), size)) if len(values) else np.empty(0)
    return summed


def _listed(values: Floats, digits: int) -> list[float | None]:
    return [None if math.isnan(each) else round(float(each), digits) for each in values]


def _ratio(cost: float, other: float | None) -> float | None:
    return round(cost / other, 4) if other else None


def _more(dearer: float, cheaper: float) -> str:
    return f"{100 * (dearer / cheaper - 1):.0f} %" if cheaper and dearer > cheaper * (1 + SAME) else "nothing"


def _percent(share: float | None) -> str:
    return "an unknown share" if share is None else f"{down(share, 2):.4g} %"


def _rounded(number: float | None, digits: int) -> float | None:
    return None if number is None or not math.isfinite(number) else round(number, digits)
