"""Status of the placement: what serves, what is recommended, and what that rests on. Its figures change when a new plan was made."""

from collections.abc import Mapping
from datetime import datetime

from spillway.api.status import ObservedLoadStatus, PlacementStatus, PlannedTrafficStatus, RecommendedStatus
from spillway.api.workload import ApplyMode
from spillway.plan.decision import Decision
from spillway.plan.place.placed import MOVING, Evaluation, ObservedLoad, PlannedTraffic, Recommendation
from spillway.plan.rounding import rate, significant, usd, whole

PERCENT_DIGITS = 3


def describe_placement(decision: Decision, before: PlacementStatus | None, now: datetime, *, apply: ApplyMode) -> PlacementStatus:
    """Return what serves and what should. Without a plan of this operator's own, what was written of the last one stays."""
    placing, pool, plan = decision.placing, decision.pool, decision.placing.evaluation
    placed = placing.placed
    told = placed if placed is not None else pool
    status = PlacementStatus(
        mode=decision.mode if placed is None else placed.mode,
        accelerator_class=told.accelerator_class if told else None,
        tensor_parallel_size=told.tensor_parallel_size if told else None,
        reason=decision.mode_reason if placing.destination is None else MOVING[placing.destination],
        evaluated_at=now.replace(microsecond=0),
        saving_since=None if placing.saving_since is None else placing.saving_since.replace(microsecond=0),
        apply=apply,
    )
    if plan is not None and plan.traffic is not None:
        return status.model_copy(update=_of_plan(plan, plan.traffic))
    if before is None:
        return status
    last = ("recommended", "current_monthly_usd", "saving_percent", "traffic", "observed") if plan is None else ()
    same = (before.mode, before.reason) == (status.mode, status.reason)
    kept = {name: getattr(before, name) for name in (*last, *(("evaluated_at",) if same else ()))}
    return status.model_copy(update=kept)


def _of_plan(plan: Evaluation, traffic: PlannedTraffic) -> Mapping[str, object]:
    return {
        "recommended": None if plan.recommended is None else _recommended(plan.recommended),
        "current_monthly_usd": usd(plan.usd),
        "saving_percent": None if plan.saving is None else significant(max(0.0, plan.saving) * 100, PERCENT_DIGITS),
        "traffic": PlannedTrafficStatus(
            basis=traffic.basis,
            requests_per_second_mean=rate(traffic.mean_per_s),
            requests_per_second_peak=rate(traffic.peak_per_s),
            input_tokens_mean=whole(traffic.input_tokens),
            output_tokens_mean=whole(traffic.output_tokens),
        ),
        "observed": None if plan.observed is None else _observed(plan.observed),
        "evaluated_at": plan.at.replace(microsecond=0),
    }


def _recommended(best: Recommendation) -> RecommendedStatus:
    return RecommendedStatus(
        mode=best.mode,
        accelerator_class=best.accelerator_class,
        tensor_parallel_size=best.tensor_parallel_size,
        replicas_mean=significant(best.replicas_mean, PERCENT_DIGITS),
        replicas_peak=best.replicas_peak,
        monthly_usd=usd(best.monthly_usd),
        usd_per_million_tokens=usd(best.usd_per_million_tokens),
        reason=best.why,
    )


def _observed(load: ObservedLoad) -> ObservedLoadStatus:
    return ObservedLoadStatus(
        requests_per_second_mean=rate(load.mean_per_s) or "0",
        requests_per_second_peak=rate(load.peak_per_s) or "0",
        input_tokens_mean=whole(load.input_tokens),
        output_tokens_mean=whole(load.output_tokens),
        seconds=round(load.watched_s),
        until=load.at.replace(microsecond=0),
    )
