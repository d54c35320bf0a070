"""What a stored status still says of a placement, for an operator that has just started."""

from spillway.api.status import Condition, InferenceWorkloadStatus, ObservedLoadStatus
from spillway.api.vocabulary import ConditionType, Reason
from spillway.api.workload import PlacementMode
from spillway.plan.place.evaluation import CANNOT
from spillway.plan.place.placed import MOVING, ObservedLoad, Placed, Placing, called


def restored_placing(status: InferenceWorkloadStatus) -> Placing | None:
    """Return what was placed, where a move was going, what was seen of the traffic and since when a saving has held."""
    said, dedicated = status.placement, status.dedicated
    if said is None:
        return None
    observed = None if said.observed is None else _observed(said.observed)
    best = said.recommended
    name, parallel = said.accelerator_class, said.tensor_parallel_size
    if name is None and said.mode is not PlacementMode.HOSTED and dedicated is not None:
        name, parallel = dedicated.accelerator_class, dedicated.tensor_parallel_size  # of a version that did not tell it here
    return Placing(
        placed=None if said.mode is PlacementMode.AUTO else Placed(mode=said.mode, accelerator_class=name, tensor_parallel_size=parallel),
        destination=next((mode for mode, reason in MOVING.items() if reason == said.reason), None),
        observed=observed,
        evidence_at=None if observed is None or said.saving_since is None else observed.at,
        saving_since=said.saving_since,
        planned_at=said.evaluated_at,
        told=None if best is None else called(best.mode, best.accelerator_class, best.tensor_parallel_size),
        told_stuck=any(map(_says_stuck, status.conditions)) or any(each.reason == Reason.NOTHING_FEASIBLE for each in status.decisions),
    )


def _says_stuck(condition: Condition) -> bool:
    """Whether a condition says that nothing is possible; of what has no price it does not, and the decisions alone tell, while they do."""
    if condition.type != ConditionType.PLACEMENT_RESOLVED:
        return False
    return condition.reason == Reason.NOTHING_FEASIBLE or CANNOT in condition.message


def _observed(said: ObservedLoadStatus) -> ObservedLoad | None:
    try:
        mean, peak = float(said.requests_per_second_mean), float(said.requests_per_second_peak)
    except ValueError:
        return None  # written by something else
    return ObservedLoad(
        mean_per_s=mean,
        peak_per_s=peak,
        input_tokens=said.input_tokens_mean,
        output_tokens=said.output_tokens_mean,
        watched_s=float(said.seconds),
        at=said.until,
    )
