"""The status of a workload: conditions and counts at once, numbers once a minute and when a replica comes or goes."""

from datetime import datetime
from typing import TypeVar

from pydantic import BaseModel

from spillway.api.status import (
    CapacityStatus,
    CostStatus,
    DedicatedStatus,
    InferenceWorkloadStatus,
    ModelStatus,
    SloStatus,
    TrafficStatus,
)
from spillway.api.vocabulary import COMPONENT_ENGINE, LABEL_COMPONENT, LABEL_WORKLOAD
from spillway.api.workload import ApplyMode, PlacementMode
from spillway.plan.decision import CostReport, Decision, Memory, OwnedPool, Workload
from spillway.plan.gateway.spill import ready_replicas
from spillway.plan.model.told_shape import ToldShape
from spillway.plan.observation import Observation, Signals
from spillway.plan.readings import number
from spillway.plan.rounding import percent, rate, significant, usd, whole
from spillway.report.conditions import merge
from spillway.report.findings import find_all
from spillway.report.outcome import ApplyOutcome
from spillway.report.passed import Pass
from spillway.report.placement import describe_placement
from spillway.report.slo import describe_slo, has_targets
from spillway.report.stored import Stored, read_stored

M = TypeVar("M", bound=BaseModel)


def report(
    workload: Workload,
    seen: Observation,
    decision: Decision,
    outcome: ApplyOutcome,
    memory: Memory,
    now: datetime,
    *,
    cluster_domain: str = "cluster.local",
    stored: Stored | None = None,
) -> InferenceWorkloadStatus:
    """Return the whole status. `memory` is the one that decide returned with this decision: it says whether numbers are due.

    `stored`: the workload's previous status as an earlier pass read it, to spare this one the reading; not counted when it is another.
    """
    asked = workload.spec.placement
    workload = decision.resolved(workload)
    if stored is None or not stored.is_of(workload.previous_status):
        stored = read_stored(workload.previous_status)
    previous, conditions = stored.status, stored.conditions
    this = Pass(workload=workload, seen=seen, decision=decision, outcome=outcome, previous=conditions, now=now)
    due = memory.numbers_written_at is None or memory.numbers_written_at == now
    owns = workload.spec.owns
    existing = _existing(seen)
    status = InferenceWorkloadStatus(
        observed_generation=workload.generation,
        url=f"{'https' if workload.spec.gateway.tls else 'http'}://{workload.key.name}.{workload.key.namespace}.svc.{cluster_domain}/v1",
        placement=describe_placement(
            decision, previous.placement, now, apply=asked.apply if asked.mode is PlacementMode.AUTO else ApplyMode.RECOMMEND
        ),
        model=_model(memory.told_shape),
        dedicated=_dedicated(this, memory, previous.dedicated, due=due) if owns else None,
        traffic=_traffic(seen.signals) if due or previous.traffic is None else previous.traffic,
        slo=_slo(workload, seen.signals, previous.slo, due=due),
        cost=_cost(decision.cost) if due or previous.cost is None else previous.cost,
        decisions=list(memory.decisions),
        replicas=existing,
        selector=f"{LABEL_WORKLOAD}={workload.key.name},{LABEL_COMPONENT}={COMPONENT_ENGINE}",
        replicas_summary=f"{ready_replicas(seen)}/{this.desired}" if owns else None,
        conditions=merge(conditions, find_all(this), generation=workload.generation, now=now),
    )
    return _without_empty_sections(status)


def _without_empty_sections(section: M) -> M:
    """Return it with every section of which nothing is known absent, at any depth.

    Written as an empty object over fields that are ours, server-side apply would make null of it, which the API server refuses.
    """
    changed: dict[str, BaseModel | None] = {}
    for name, part in vars(section).items():
        if isinstance(part, BaseModel):
            kept = _without_empty_sections(part)
            if all(value is None for value in vars(kept).values()):
                changed[name] = None
            elif kept is not part:
                changed[name] = kept
    return section.model_copy(update=changed) if changed else section


def _existing(seen: Observation) -> int:
    return sum(1 for pod in seen.replicas if pod.stays)


def _dedicated(this: Pass, memory: Memory, before: DedicatedStatus | None, *, due: bool) -> DedicatedStatus:
    """Return the owned side. While the spec has problems, what runs is still described."""
    pool = this.decision.pool
    running = next((pod for pod in this.seen.replicas if pod.ended_at is None), None)
    fresh = due or before is None
    start_up = pool.start_up if pool is not None and (fresh or before is None or before.start_up_seconds is None) else None
    return DedicatedStatus(
        accelerator_class=pool.accelerator_class if pool else running.accelerator_class if running else None,
        tensor_parallel_size=pool.tensor_parallel_size if pool else running.tensor_parallel_size if running else None,
        replicas=_existing(this.seen),
        ready_replicas=ready_replicas(this.seen),
        desired_replicas=this.desired,
        recommended_replicas=this.decision.scale.recommended if this.decision.scale is not None else None,
        gpu_utilization_percent=whole(number(this.seen.signals.gpu_utilization_percent))
        if fresh or before is None
        else before.gpu_utilization_percent,
        prefix_hit_percent=_whole_percent(memory.prefix_hit_ratio) if fresh or before is None else before.prefix_hit_percent,
        capacity=_capacity(pool) if fresh or before is None or before.capacity is None else before.capacity,
        start_up_seconds=round(start_up.median_s) if start_up else before.start_up_seconds if before else None,
        start_up_basis=start_up.basis if start_up else before.start_up_basis if before else None,
    )


def _whole_percent(ratio: float | None) -> int | None:
    return None if ratio is None else whole(100 * ratio)


def _model(told: ToldShape | None) -> ModelStatus | None:
    return None if told is None else ModelStatus(read_from=told.model, architecture=told.architecture, problem=told.problem)


def _capacity(pool: OwnedPool | None) -> CapacityStatus | None:
    if pool is None:
        return None
    capacity = pool.capacity
    return CapacityStatus(requests_per_second=rate(capacity.requests_per_s), concurrency=capacity.max_num_seqs, basis=capacity.basis)


def _traffic(signals: Signals) -> TrafficStatus:
    arrivals, spilled = number(signals.arrivals_per_s), number(signals.spilled_per_s)
    return TrafficStatus(
        requests_per_second=rate(arrivals),
        input_tokens_mean=whole(number(signals.input_tokens_mean)),
        output_tokens_mean=whole(number(signals.output_tokens_mean)),
        spilled_percent=percent(spilled / arrivals) if arrivals and spilled is not None else None,
    )


def _slo(workload: Workload, signals: Signals, before: SloStatus | None, *, due: bool) -> SloStatus | None:
    slo = workload.spec.slo
    if slo is None or not has_targets(slo):
        return None
    return describe_slo(slo, signals) if due or before is None else before


def _cost(cost: CostReport) -> CostStatus:
    return CostStatus(
        usd_per_hour=usd(cost.usd_per_hour),
        dedicated_usd_per_hour=usd(cost.dedicated_usd_per_hour),
        hosted_usd_per_hour=usd(cost.hosted_usd_per_hour),
        month_to_date_usd=usd(cost.month_to_date_usd),
        projected_monthly_usd=usd(cost.projected_monthly_usd),
        usd_per_million_tokens=usd(cost.usd_per_million_tokens),
        if_all_hosted_monthly_usd=usd(cost.if_all_hosted_monthly_usd),
        if_all_dedicated_monthly_usd=usd(cost.if_all_dedicated_monthly_usd),
        kappa=significant(cost.kappa, 3),
        break_even_requests_per_month=cost.break_even_requests_per_month,
        prices_as_of=cost.prices_as_of,
        unaccounted_seconds=round(cost.unaccounted_s),
        estimated_requests=round(cost.estimated_requests),
    )
