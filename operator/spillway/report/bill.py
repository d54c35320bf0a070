"""The bill of many workloads: what each costs, what it could cost, and what to change. From specs and status alone."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime

from spillway.api.catalogue import AcceleratorClassSpec, HostedProviderSpec
from spillway.api.report_output import (
    Comparison,
    DecisionOutput,
    OpportunityOutput,
    ReportOutput,
    Total,
    Totals,
    WorkloadOutput,
)
from spillway.api.vocabulary import ConditionType
from spillway.plan.comparing.case import Case, Usage, case_of
from spillway.plan.comparing.offers import find_offers
from spillway.plan.comparing.options import Question, ServedBy
from spillway.plan.decision import Problem
from spillway.plan.model.models import known_model, resolve_model
from spillway.plan.model.told_shape import ToldShape, named, with_told
from spillway.plan.place.evaluation import as_made
from spillway.plan.rounding import dollars
from spillway.plan.saving.advice import advise
from spillway.plan.saving.instructions import complete
from spillway.plan.saving.opportunity import Opportunity
from spillway.plan.saving.worthwhile import rate_words
from spillway.plan.traffic.load import HOURS_PER_MONTH
from spillway.report.columns import some
from spillway.report.plan_words import OLD_PRICE_DAYS
from spillway.report.usage import Seen, number, usage_of

UNWATCHED_S = 3600  # less of a month is not worth a warning
FAR_APART = 2.0  # times: a busy day against a quiet one is less


def bill(
    workloads: Iterable[Seen],
    *,
    classes: Mapping[str, AcceleratorClassSpec],
    providers: Mapping[tuple[str, str], HostedProviderSpec],
    scope: str,
    now: datetime,
    remarks: Iterable[str] = (),
) -> ReportOutput:
    """Return the report. `providers` are by namespace and name; `remarks` speak of what could not be read."""
    seen = list(workloads)
    rows: list[WorkloadOutput] = []
    found: list[OpportunityOutput] = []
    unlike: list[str] = []
    for each in seen:
        case = _case(each, classes, {name: spec for (namespace, name), spec in providers.items() if namespace == each.namespace}, now)
        rows.append(_row(each, case if isinstance(case, str) else None))
        if not isinstance(case, str):
            found += [_opportunity(each, one) for one in advise(case)]
            unlike += _unlike(rows[-1], case)
    return ReportOutput(
        time=now.replace(microsecond=0),
        scope=scope,
        totals=_totals(rows, found),
        workloads=sorted(rows, key=lambda row: (row.now_monthly_usd is None, -(row.now_monthly_usd or 0.0), row.workload)),
        opportunities=sorted(found, key=_rank),
        decisions=_decisions(seen),
        warnings=[*remarks, *_old_prices(seen, now.date()), *_unwatched(seen), *unlike],
    )


def _case(
    seen: Seen, classes: Mapping[str, AcceleratorClassSpec], providers: Mapping[str, HostedProviderSpec], now: datetime
) -> Case | str:
    """Return what advice needs, or why there is none."""
    seen, usage = _as_told(seen), usage_of(seen, now)
    unknown = _unknown(seen, usage, classes)
    if unknown is not None:
        return unknown
    offers = find_offers(seen.spec, providers)
    if isinstance(offers, Problem):
        return offers.message
    case = case_of(Question(name=seen.label, spec=seen.spec, classes=classes, offers=offers), usage, providers)
    return case or "what runs now cannot be costed: its price, or what is billed for it now, is not known"


def _as_told(seen: Seen) -> Seen:
    """Return the workload with what its replicas told of its model."""
    told = seen.status.model if seen.status else None
    if told is None or known_model(seen.spec.model) is not None or told.read_from != named(seen.spec.model):
        return seen
    shape = ToldShape(model=told.read_from, architecture=told.architecture, problem=told.problem)
    return replace(seen, spec=as_made(with_told(seen.spec, shape)))


def _unknown(seen: Seen, usage: Usage, classes: Mapping[str, AcceleratorClassSpec]) -> str | None:  # noqa: PLR0911  one return per gap
    if seen.status is None:
        return "it has no status: see that the operator runs"
    if usage.mode is None:
        return "its status does not say what serves it"
    load = usage.seen
    if load is not None and not load.mean_per_s:
        return "no traffic was seen"
    if load is None or not load.input_tokens or not load.output_tokens:
        return "its traffic is not known: see condition MetricsAvailable"
    if usage.mode is ServedBy.HOSTED:
        return None
    if usage.accelerator_class is None or usage.accelerator_class not in classes:
        return f"AcceleratorClass {usage.accelerator_class} is not there" if usage.accelerator_class else "its accelerators are not known"
    known = resolve_model(seen.spec.model)
    return known.message if isinstance(known, Problem) else None


def _row(seen: Seen, advice_missing: str | None) -> WorkloadOutput:
    status = seen.status
    dedicated, cost = (status.dedicated, status.cost) if status else (None, None)
    hourly = number(cost.usd_per_hour) if cost else None
    return WorkloadOutput(
        workload=seen.label,
        model=seen.spec.model.id,
        mode=status.placement.mode.value if status and status.placement else None,
        accelerator_class=dedicated.accelerator_class if dedicated else None,
        tensor_parallel_size=dedicated.tensor_parallel_size if dedicated else None,
        ready_replicas=dedicated.ready_replicas if dedicated else None,
        desired_replicas=dedicated.desired_replicas if dedicated else None,
        requests_per_second=number(status.traffic.requests_per_second) if status and status.traffic else None,
        slo_attainment_percent=number(status.slo.attainment_percent) if status and status.slo else None,
        ready=_ready(seen),
        now_monthly_usd=None if hourly is None else round(hourly * HOURS_PER_MONTH, 2),
        month_to_date_usd=number(cost.month_to_date_usd) if cost else None,
        projected_monthly_usd=number(cost.projected_monthly_usd) if cost else None,
        if_all_hosted_monthly_usd=number(cost.if_all_hosted_monthly_usd) if cost else None,
        if_all_dedicated_monthly_usd=number(cost.if_all_dedicated_monthly_usd) if cost else None,
        usd_per_million_tokens=number(cost.usd_per_million_tokens) if cost else None,
        budget_monthly_usd=float(seen.spec.budget.monthly_usd) if seen.spec.budget else None,
        kappa=number(cost.kappa) if cost else None,
        break_even_requests_per_month=cost.break_even_requests_per_month if cost else None,
        prices_as_of=cost.prices_as_of if cost else None,
        advice_missing=advice_missing,
    )


def _ready(seen: Seen) -> bool | None:
    conditions = seen.status.conditions if seen.status else []
    found = next((each.status for each in conditions if each.type == ConditionType.READY), None)
    return {"True": True, "False": False}.get(found or "")


def _opportunity(seen: Seen, one: Opportunity) -> OpportunityOutput:
    return OpportunityOutput(
        workload=seen.label,
        topic=one.topic.value,
        usd_per_month=None if one.usd_per_month is None else round(one.usd_per_month, 2),
        message=one.message,
        settings=complete(seen.spec, one.settings),
        basis=one.basis.value,
        takes=one.takes.value,
    )


def _rank(each: OpportunityOutput) -> tuple[object, ...]:
    usd = each.usd_per_month
    return (1 if usd is None else 0 if usd > 0 else 2, -(usd or 0.0), each.workload, each.topic)


def _totals(rows: Sequence[WorkloadOutput], found: Sequence[OpportunityOutput]) -> Totals:
    whole = [
        (row.now_monthly_usd, row.if_all_hosted_monthly_usd, row.if_all_dedicated_monthly_usd)
        for row in rows
        if None not in {row.now_monthly_usd, row.if_all_hosted_monthly_usd, row.if_all_dedicated_monthly_usd}
    ]
    now, hosted, dedicated = (round(sum(each or 0.0 for each in column), 2) for column in zip(*whole, strict=True)) if whole else (0, 0, 0)
    return Totals(
        now=_total(row.now_monthly_usd for row in rows),
        month_to_date=_total(row.month_to_date_usd for row in rows),
        projected=_total(row.projected_monthly_usd for row in rows),
        if_all_hosted=_total(row.if_all_hosted_monthly_usd for row in rows),
        if_all_dedicated=_total(row.if_all_dedicated_monthly_usd for row in rows),
        saving=_total(_best(row, found) for row in rows),
        compared=Comparison(workloads=len(whole), now_usd=now, if_all_hosted_usd=hosted, if_all_dedicated_usd=dedicated) if whole else None,
    )


def _best(row: WorkloadOutput, found: Sequence[OpportunityOutput]) -> float | None:
    """Return the largest saving of a workload that a change of its spec alone brings; None where it could not be advised."""
    if row.advice_missing is not None:
        return None
    return max((each.usd_per_month or 0.0 for each in found if each.workload == row.workload and each.takes == "Nothing"), default=0.0)


def _total(amounts: Iterable[float | None]) -> Total:
    every = list(amounts)
    known = [amount for amount in every if amount is not None]
    return Total(usd=round(sum(known), 2) if known else None, workloads=len(known), unknown=len(every) - len(known))


def _decisions(seen: Iterable[Seen]) -> list[DecisionOutput]:
    made = [
        DecisionOutput(workload=each.label, time=one.time, what=one.what, reason=one.reason, why=one.why)
        for each in seen
        if each.status is not None
        for one in each.status.decisions
    ]
    return sorted(made, key=lambda each: (-each.time.timestamp(), each.workload))


def _old_prices(seen: Sequence[Seen], today: date) -> Iterable[str]:
    dated = {each.label: each.status.cost.prices_as_of for each in seen if each.status and each.status.cost}
    old = {label: as_of for label, as_of in dated.items() if as_of and _age_days(as_of, today) > OLD_PRICE_DAYS}
    if old:
        oldest = min(old.values())
        yield (
            f"Prices of {some(list(old))} are older than {OLD_PRICE_DAYS} days, the oldest of {oldest} "
            f"({_age_days(oldest, today)} days): look them up again and set asOf."
        )


def _age_days(as_of: str, today: date) -> int:
    try:
        return (today - date.fromisoformat(as_of)).days
    except ValueError:
        return 0


def _unwatched(seen: Sequence[Seen]) -> Iterable[str]:
    hours = {each.label: each.status.cost.unaccounted_seconds / 3600 for each in seen if each.status and each.status.cost}
    lost = {label: count for label, count in hours.items() if count * 3600 >= UNWATCHED_S}
    if lost:
        hours_lost = max(lost.values())
        yield f"Nobody watched {some(list(lost))} for up to {hours_lost:.0f} h of this month: that part of the bill may be missing."


def _unlike(row: WorkloadOutput, case: Case) -> Iterable[str]:
    """Say where the bill and the planner's arithmetic are far apart: savings are differences of the latter."""
    billed = [usd for usd in (row.now_monthly_usd, row.projected_monthly_usd) if usd is not None]
    if billed and not min(billed) / FAR_APART <= case.usd <= max(billed) * FAR_APART:
        yield (
            f"{row.workload} costs {dollars(case.usd)} in 30 days by the planner's arithmetic, {rate_words(case).lower()}, and "
            f"{dollars(max(billed))} by its status: its savings are as far off."
        )
