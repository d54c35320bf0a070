"""What it costs now, what it would cost otherwise, and when owning pays. What has no source is None, never zero."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from spillway.api.vocabulary import Reason
from spillway.api.workload import InferenceWorkloadSpec
from spillway.plan.decision import CostReport, HostedBackend, Ledger, Memory, OwnedPool, SpendPoint
from spillway.plan.money.economics import break_even_of_replica, input_usd_per_million, kappa
from spillway.plan.money.last_prices import replica_usd_per_hour
from spillway.plan.money.periods import month_end
from spillway.plan.observation import Missing, Observation, ReplicaPod, Signals
from spillway.plan.readings import number, positive
from spillway.plan.replica.capacity import HOURS_PER_30_DAYS, SECONDS_PER_30_DAYS, current_lengths, declared_rate, requests_per_s_alone
from spillway.plan.replica.long_prompts import without_long_prompts
from spillway.plan.scaling.scale import lower_bound
from spillway.plan.settings import PlanSettings
from spillway.plan.traffic.lengths import Lengths
from spillway.plan.traffic.load import replicas_for
from spillway.plan.traffic.shape import MINUTES_S

BUDGET_BACK_WITHIN = 0.95  # a projection over budget is withdrawn below this share of it, so that the verdict does not flap


@dataclass(frozen=True, slots=True, kw_only=True)
class Economics:
    """The arithmetic of one request on either side."""

    kappa: float | None
    break_even_requests: int | None


def billed_replicas(seen: Observation, *, committed: int) -> tuple[ReplicaPod, ...]:
    """Return the replicas that cost by the hour now: bound to a node and not ended, ready or not, less the oldest `committed`."""
    bound = sorted(
        (pod for pod in seen.replicas if pod.bound_at is not None and pod.ended_at is None), key=lambda pod: (str(pod.bound_at), pod.uid)
    )
    return tuple(bound[committed:])


def economics(
    spec: InferenceWorkloadSpec, memory: Memory, pool: OwnedPool | None, alternatives: Sequence[HostedBackend], lengths: Lengths
) -> Economics:
    """Compare one request's price hosted, at the preferred backend, with its share of a fully used replica."""
    hosted = hosted_usd_per_request(spec, lengths, alternatives)
    usd = pool.usd_per_replica_hour if pool is not None else None
    rated = current_lengths(spec, memory)  # those that the rate was found for
    ratio = kappa(
        hosted_usd_per_request=hosted_usd_per_request(spec, rated, alternatives),
        usd_per_replica_hour=usd,
        requests_per_s=pool.capacity.requests_per_s if pool is not None else None,
    )
    # Below kappa 1 no volume makes a replica pay, so there is no such number.
    pays = ratio is None or ratio >= 1
    break_even = break_even_of_replica(hosted_usd_per_request=hosted, usd_per_replica_hour=usd) if pays else None
    return Economics(kappa=ratio, break_even_requests=break_even)


def lengths_now(spec: InferenceWorkloadSpec, seen: Observation, memory: Memory, now: datetime) -> Lengths:
    """Return what requests that replicas would take are like: in the last minutes, else in this window, else as declared.

    Those that caps are reckoned with rest until they have moved by a fifth, and where nothing is owned none are learned.
    """
    found, shape = current_lengths(spec, memory), memory.shape
    if shape is None or now.timestamp() - shape.at_s >= MINUTES_S:
        return _in_window(found, without_long_prompts(seen.signals))
    return replace(found, input_mean=shape.minutes.input_tokens, output_mean=shape.minutes.output_tokens)


def _in_window(before: Lengths, signals: Signals) -> Lengths:
    prompt, answer = positive(signals.input_tokens_mean), positive(signals.output_tokens_mean)
    return replace(before, input_mean=prompt or before.input_mean, output_mean=answer or before.output_mean)


def hosted_usd_per_request(spec: InferenceWorkloadSpec, lengths: Lengths, alternatives: Sequence[HostedBackend]) -> float | None:
    """Return what the preferred hosted backend bills for a request of mean lengths; None without one."""
    if not alternatives:
        return None
    return usd_of(spec, alternatives[0], input_tokens=lengths.input_mean, output_tokens=lengths.output_mean)


def usd_of(spec: InferenceWorkloadSpec, backend: HostedBackend, *, input_tokens: float, output_tokens: float) -> float:
    """Return what a backend will bill for so many tokens, with as many of the prompts' cached as is declared."""
    full, cached = backend.input_usd_per_million, backend.cached_input_usd_per_million
    prompt = input_usd_per_million(full=full, cached=cached, cached_share=spec.cached_input_share)
    return (input_tokens * prompt + output_tokens * backend.output_usd_per_million) / 1e6


def report_cost(
    *,
    spec: InferenceWorkloadSpec,
    seen: Observation,
    memory: Memory,
    ledger: Ledger,
    pool: OwnedPool | None,
    backends: Sequence[HostedBackend],
    alternatives: Sequence[HostedBackend],
    now: datetime,
) -> CostReport:
    """Return all cost figures. `alternatives` are the hosted backends to compare with, which a dedicated workload may name too."""
    committed = spec.own.committed_replicas
    dedicated = _sum(replica_usd_per_hour(pod, seen.catalogue, ledger) for pod in billed_replicas(seen, committed=committed))
    lengths = lengths_now(spec, seen, memory, now)
    of_all = _in_window(lengths, seen.signals) if spec.spills_long_prompts else lengths  # the last minutes' are without long prompts
    hosted = _hosted_usd_per_hour(spec, seen, memory, backends, of_all)
    per_request = economics(spec, memory, pool, alternatives, lengths)
    hosted_per_request = hosted_usd_per_request(spec, of_all, alternatives)
    to_date = _month_to_date(ledger)
    tokens = ledger.input_tokens + ledger.output_tokens + ledger.estimated_tokens
    rate = current_rate(spec, seen)
    return CostReport(
        dedicated_usd_per_hour=dedicated,
        hosted_usd_per_hour=hosted,
        month_to_date_usd=to_date,
        projected_monthly_usd=_projected(to_date, dedicated, hosted, now),
        usd_per_million_tokens=to_date / tokens * 1e6 if to_date is not None and tokens else None,
        if_all_hosted_monthly_usd=None if rate is None or hosted_per_request is None else rate * SECONDS_PER_30_DAYS * hosted_per_request,
        if_all_dedicated_monthly_usd=_all_dedicated(spec, pool, memory, seen),
        kappa=per_request.kappa,
        break_even_requests_per_month=per_request.break_even_requests,
        prices_as_of=_prices_as_of(pool, alternatives),
        unaccounted_s=ledger.unaccounted_s,
        estimated_requests=ledger.estimated_requests,
        unpriced=tuple(sorted(filter(None, {*ledger.unpriced_accelerator_s, *ledger.unpriced_tokens}))),
    )


def current_rate(spec: InferenceWorkloadSpec, seen: Observation) -> float | None:
    """Return requests per second as they arrive, else as declared."""
    arrivals = number(seen.signals.arrivals_per_s)
    return declared_rate(spec) if arrivals is None else arrivals


def spend_points(memory: Memory, ledger: Ledger, seen: Observation, now: datetime, settings: PlanSettings) -> tuple[SpendPoint, ...]:
    """Return the hosted sum over the metrics window, one point for each pass that could read the counters."""
    if isinstance(seen.signals.counters, Missing):
        return memory.spend
    kept = memory.spend
    if kept and (ledger.hosted_usd < kept[-1].hosted_usd or now < kept[-1].at):
        kept = ()  # a new month, or the clock was set back
    points = (*kept, SpendPoint(at=now, hosted_usd=ledger.hosted_usd))
    oldest: timedelta = settings.metrics_window
    before = [index for index, point in enumerate(points) if point.at <= now - oldest]
    return points[before[-1] :] if before else points


def judge_budget(spec: InferenceWorkloadSpec, cost: CostReport, previous: Reason | None) -> Reason:
    """Return how the month stands against the budget. It only reports: nothing is switched off.

    While the rate of spending is not known, a month that was on course to exceed it is not within it again.
    """
    if spec.budget is None:
        return Reason.NO_BUDGET
    budget = float(spec.budget.monthly_usd)
    if cost.month_to_date_usd is None:
        return Reason.NO_PRICES
    if cost.month_to_date_usd > budget:
        return Reason.BUDGET_EXCEEDED
    over = previous is Reason.PROJECTED_OVER_BUDGET
    if cost.projected_monthly_usd is not None:
        over = cost.projected_monthly_usd > (budget * BUDGET_BACK_WITHIN if over else budget)
    return Reason.PROJECTED_OVER_BUDGET if over else Reason.WITHIN_BUDGET


def _sum(prices: Iterable[float | None]) -> float | None:
    total = 0.0
    for price in prices:
        if price is None:
            return None
        total += price
    return total


def _hosted_usd_per_hour(
    spec: InferenceWorkloadSpec, seen: Observation, memory: Memory, backends: Sequence[HostedBackend], lengths: Lengths
) -> float | None:
    """Return hosted cost per hour: what the ledger added over the window; before there are two points, spilled requests at mean lengths."""
    if not spec.rents:
        return 0.0
    if isinstance(seen.signals.counters, Missing):
        return None
    if len(memory.spend) > 1 and (elapsed := (memory.spend[-1].at - memory.spend[0].at).total_seconds()):
        return (memory.spend[-1].hosted_usd - memory.spend[0].hosted_usd) / elapsed * 3600
    spilled = number(seen.signals.spilled_per_s)
    each = hosted_usd_per_request(spec, lengths, backends)
    return None if spilled is None or each is None else spilled * each * 3600


def _month_to_date(ledger: Ledger) -> float | None:
    return None if ledger.unpriced_accelerator_s or ledger.unpriced_tokens else ledger.dedicated_usd + ledger.hosted_usd


def _projected(to_date: float | None, dedicated: float | None, hosted: float | None, now: datetime) -> float | None:
    if to_date is None or dedicated is None or hosted is None:
        return None
    return to_date + (dedicated + hosted) * (month_end(now) - now).total_seconds() / 3600


def _all_dedicated(spec: InferenceWorkloadSpec, pool: OwnedPool | None, memory: Memory, seen: Observation) -> float | None:
    rate = current_rate(spec, seen)
    if pool is None or pool.usd_per_replica_hour is None or rate is None:
        return None
    lengths = current_lengths(spec, memory)
    if spec.spills_long_prompts:  # own replicas have not been sent the long ones, and would be
        lengths = _in_window(lengths, seen.signals)
    each = requests_per_s_alone(spec, pool, memory, lengths)
    if not each:
        return None
    replicas = max(1, lower_bound(spec), replicas_for(rate, each))
    return max(0, replicas - spec.own.committed_replicas) * pool.usd_per_replica_hour * HOURS_PER_30_DAYS


def _prices_as_of(pool: OwnedPool | None, alternatives: Sequence[HostedBackend]) -> str | None:
    dates = [backend.provider.prices.as_of for backend in alternatives if backend.provider.prices is not None]
    if pool is not None and pool.accelerator.price is not None:
        dates.append(pool.accelerator.price.as_of)
    return min(dates).isoformat() if dates else None
