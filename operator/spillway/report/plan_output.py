"""From a plan to the document that is printed: figures rounded as they are read, sentences beside them."""

import math
from collections.abc import Iterable
from datetime import date

from spillway.api.plan_output import (
    EngineeringOutput,
    OptionOutput,
    PlanOutput,
    Recommended,
    SelfHosting,
    SweepPoint,
    TrafficOutput,
)
from spillway.api.workload import InferenceWorkloadSpec, PlacementMode
from spillway.plan.comparing.choice import Engineering, Plan
from spillway.plan.comparing.options import Option, ServedBy
from spillway.plan.comparing.sweep import Point
from spillway.plan.rounding import CENT, fine
from spillway.plan.saving.instructions import as_backends, as_list, backend_of, complete
from spillway.report.plan_relax import relaxations
from spillway.report.plan_words import assumptions, describe, engineering_remark, near_ties, warnings, why


def plan_output(
    plan: Plan,
    *,
    label: str,
    today: date,
    engineering: Engineering | None,
    points: Iterable[Point],
    remarks: Iterable[str],
) -> PlanOutput:
    """Return the document of a plan. `today` dates the prices, `points` are of a sweep, `remarks` speak of the input."""
    load, lengths = plan.load, plan.question.lengths
    return PlanOutput(
        workload=label,
        model=plan.question.spec.model.id,
        traffic=TrafficOutput(
            requests_per_month=round(load.requests_per_month),
            requests_per_second_mean=fine(load.mean_per_s, 4),
            requests_per_second_peak=fine(load.peak_per_s, 4),
            input_tokens_mean=lengths.input_mean,
            output_tokens_mean=lengths.output_mean,
            tokens_per_second_peak=round(load.peak_per_s * (lengths.input_mean + lengths.output_mean)),
        ),
        recommended=_recommended(plan),
        settings=settings(plan),
        near_ties=near_ties(plan),
        options=[_option(option) for option in plan.options],
        break_even_requests_per_month=plan.break_even.break_even_requests if plan.break_even else None,
        break_even_utilization_percent=_break_even_use(plan.break_even),
        self_hosting_economic=SelfHosting(economic=plan.verdict.economic, reason=plan.verdict.reason.value, message=plan.verdict.message),
        engineering=None if engineering is None else _engineering(plan, engineering),
        relax=relaxations(plan),
        warnings=warnings(plan, today, remarks),
        assumptions=assumptions(plan),
        sweep=[_point(point) for point in points],
    )


def settings(plan: Plan) -> dict[str, str]:
    """Return the fields to set for what is recommended, of those that the spec has otherwise, and what has to change for them."""
    chosen, spec = plan.recommended, plan.question.spec
    if chosen is None or chosen.mode is ServedBy.BATCH:
        return {}
    wanted: dict[str, str] = {"placement.mode": chosen.mode.value}
    has: dict[str, str | None] = {"placement.mode": spec.placement.mode.value}
    if chosen.size is not None and chosen.cost is not None:
        own = spec.dedicated
        most = max(chosen.cost.replicas_peak, own.scaling.max_replicas if own else 0)  # room for more is not in the way
        wanted |= {
            "dedicated.accelerators": as_list(chosen.size.accelerator_class),
            "dedicated.engine.tensorParallelSize": str(chosen.size.tensor_parallel_size),
            "dedicated.scaling.maxReplicas": str(most),
        }
        has |= {
            "dedicated.accelerators": as_list(*own.accelerators) if own else None,
            "dedicated.engine.tensorParallelSize": str(own.engine.stated_tensor_parallel_size) if own else None,
            "dedicated.scaling.maxReplicas": str(own.scaling.max_replicas) if own else None,
        }
    if chosen.offer is not None:
        wanted["hosted.backends"] = backend_of(chosen.offer)
        first = spec.hosted.backends[0] if spec.hosted and spec.hosted.backends else None
        has["hosted.backends"] = as_backends((first.provider_ref.name, first.model)) if first else None
    decided = _left_to_auto(spec, chosen)
    return complete(spec, {field: value for field, value in wanted.items() if has[field] != value and field not in decided})


def _left_to_auto(spec: InferenceWorkloadSpec, chosen: Option) -> frozenset[str]:
    """Return the fields that mode Auto decides within what the spec allows."""
    if spec.placement.mode is not PlacementMode.AUTO:
        return frozenset()
    own, size = spec.dedicated, chosen.size
    fields = {"placement.mode"}
    if own is not None and size is not None and (not own.accelerators or size.accelerator_class in own.accelerators):
        fields.add("dedicated.accelerators")
    if own is not None and own.engine.stated_tensor_parallel_size is None:
        fields.add("dedicated.engine.tensorParallelSize")
    return frozenset(fields)


def _recommended(plan: Plan) -> Recommended | None:
    chosen = plan.recommended
    if chosen is None or chosen.cost is None:
        return None
    return Recommended(
        mode=chosen.mode.value,
        accelerator_class=chosen.size.accelerator_class if chosen.size else None,
        tensor_parallel_size=chosen.size.tensor_parallel_size if chosen.size else None,
        pricing=chosen.pricing.value if chosen.pricing else None,
        provider=chosen.offer.label if chosen.offer else None,
        replicas_mean=_round(chosen.cost.replicas_mean, 2) or 0.0,
        replicas_peak=chosen.cost.replicas_peak,
        monthly_usd=_usd(chosen.cost.usd) or 0.0,
        usd_per_million_tokens=_round(chosen.usd_per_million_tokens, 4),
        reason=why(plan),
    )


def _option(option: Option) -> OptionOutput:
    size, cost, listing = option.size, option.cost, option.offer.listing if option.offer else None
    utilization = cost.utilization if cost else None
    batch = option.mode is ServedBy.BATCH
    stated_ttft = None if listing is None or batch else listing.time_to_first_token_ms
    stated_gap = None if listing is None or batch else listing.inter_token_latency_ms
    return OptionOutput(
        mode=option.mode.value,
        accelerator_class=size.accelerator_class if size else None,
        tensor_parallel_size=size.tensor_parallel_size if size else None,
        pricing=option.pricing.value if option.pricing else None,
        provider=option.offer.label if option.offer else None,
        feasible=option.feasible,
        reason=describe(option),
        replicas_mean=_round(cost.replicas_mean, 2) if cost else None,
        replicas_peak=cost.replicas_peak if cost else None,
        utilization_percent=None if utilization is None else _round(100 * utilization, 1),
        monthly_usd=_usd(cost.usd) if cost else None,
        usd_per_million_tokens=_round(option.usd_per_million_tokens, 4),
        stranded_monthly_usd=_round(option.stranded_usd, 2),
        kappa=_round(option.kappa, 3),
        break_even_requests_per_month=option.break_even_requests,
        break_even_utilization_percent=_break_even_use(option),
        ttft_ms=_round(size.ttft_ms if size else stated_ttft, 1),
        inter_token_latency_ms=_round(size.inter_token_latency_ms if size else stated_gap, 1),
        requests_per_second_per_replica=fine(size.requests_per_s, 3) if size and size.concurrency else None,
        concurrency=size.concurrency if size else None,
        kv_tokens=size.kv_tokens if size else None,
        memory_gib_per_accelerator=_round(size.memory.weights_gib + size.memory.activations_gib + size.memory.graphs_gib, 1)
        if size
        else None,
        basis=size.basis.value if size else None,
        error_percent=size.error_percent if size else None,
    )


def _engineering(plan: Plan, people: Engineering) -> EngineeringOutput:
    chosen = plan.recommended
    owns = chosen is not None and chosen.owns and chosen.usd is not None
    return EngineeringOutput(
        once_usd=people.once_usd,
        monthly_usd=people.monthly_usd,
        amortised_monthly_usd=_round(people.usd_per_month, 2) or 0.0,
        first_month_usd=_round((chosen.usd or 0.0) + people.once_usd + people.monthly_usd, 2) if owns and chosen else None,
        remark=engineering_remark(plan, people),
    )


def _point(point: Point) -> SweepPoint:
    def usd(mode: ServedBy) -> float | None:
        option = point.by_mode.get(mode)
        return None if option is None else _usd(option.usd)

    cheapest = point.cheapest
    return SweepPoint(
        requests_per_month=round(point.requests_per_month),
        hosted_usd=usd(ServedBy.HOSTED),
        batch_usd=usd(ServedBy.BATCH),
        dedicated_usd=usd(ServedBy.DEDICATED),
        hybrid_usd=usd(ServedBy.HYBRID),
        recommended=cheapest.mode.value if cheapest else None,
        accelerator_class=cheapest.size.accelerator_class if cheapest and cheapest.size else None,
    )


def _break_even_use(option: Option | None) -> float | None:
    return None if option is None or option.kappa is None or option.kappa < 1 else round(100 / option.kappa, 1)


def _usd(amount: float | None) -> float | None:
    """Return an amount in cents; what is less than one in two digits, lest little is told as nothing."""
    return _round(amount, 2) if amount is None or abs(amount) >= CENT else fine(amount, 2)


def _round(number: float | None, digits: int) -> float | None:
    return None if number is None or not math.isfinite(number) else round(number, digits)  # JSON has no infinity
