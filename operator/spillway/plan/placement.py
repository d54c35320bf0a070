"""What serves a workload: the requested mode, and which accelerator its replicas get."""

from dataclasses import dataclass

from spillway.api.catalogue import AcceleratorClassSpec
from spillway.api.vocabulary import Reason
from spillway.api.workload import InferenceWorkloadSpec, PlacementMode
from spillway.plan.capacity import usd_per_replica_hour
from spillway.plan.decision import Problem
from spillway.plan.names import pool_name
from spillway.plan.observation import Catalogue, Pool
from spillway.plan.validate import misfit, misshapen

MODE_REASONS = {
    PlacementMode.DEDICATED: Reason.MODE_DEDICATED,
    PlacementMode.HOSTED: Reason.MODE_HOSTED,
    PlacementMode.HYBRID: Reason.MODE_HYBRID,
    PlacementMode.AUTO: Reason.MODE_AUTO,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The accelerator class of the replicas."""

    name: str
    accelerator: AcceleratorClassSpec


def choose_accelerator(workload_name: str, spec: InferenceWorkloadSpec, catalogue: Catalogue, pools: tuple[Pool, ...]) -> Choice | Problem:
    """Return the accelerator class for a workload that owns replicas, or why there is none.

    A list of preferences is followed strictly: the first class that exists and fits. An empty list means the cheapest that fits, but a
    running pool stays where it is while its class still fits: a price that moved is no reason to restart replicas.
    """
    if (problem := misshapen(spec)) is not None:
        return problem
    preferred = spec.dedicated.accelerators if spec.dedicated else []
    candidates = [name for name in preferred if name in catalogue.accelerator_classes] if preferred else _by_price(spec, catalogue)
    if not candidates:
        return _unknown(preferred)
    if not preferred:
        candidates = _running_first(workload_name, spec, candidates, pools)
    misfits: list[Problem] = []
    for name in candidates:
        accelerator = catalogue.accelerator_classes[name]
        found = misfit(spec, name, accelerator)
        if found is None:
            return Choice(name=name, accelerator=accelerator)
        misfits.append(found)
    return misfits[0]


def resolved_mode(spec: InferenceWorkloadSpec) -> PlacementMode:
    """Return what serves: the mode asked for, and for Auto what the spec names to choose from."""
    if spec.placement.mode is not PlacementMode.AUTO:
        return spec.placement.mode
    if spec.owns and spec.rents:
        return PlacementMode.HYBRID
    return PlacementMode.DEDICATED if spec.owns else PlacementMode.HOSTED


def tensor_parallel_size(spec: InferenceWorkloadSpec) -> int:
    """Return how many accelerators one replica takes."""
    return spec.dedicated.engine.tensor_parallel_size if spec.dedicated else 1


def _by_price(spec: InferenceWorkloadSpec, catalogue: Catalogue) -> list[str]:
    def key(name: str) -> tuple[bool, float, str]:
        accelerator = catalogue.accelerator_classes[name]
        usd = usd_per_replica_hour(accelerator.price, tensor_parallel_size=tensor_parallel_size(spec), per_node=accelerator.per_node)
        return (usd is None, usd or 0.0, name)

    return sorted(catalogue.accelerator_classes, key=key)


def _running_first(workload_name: str, spec: InferenceWorkloadSpec, candidates: list[str], pools: tuple[Pool, ...]) -> list[str]:
    ready = {pool.name: pool.ready_replicas for pool in pools}

    def key(name: str) -> int:
        return -1 - ready[found] if (found := pool_name(workload_name, name, tensor_parallel_size(spec))) in ready else 0

    return sorted(candidates, key=key)


def _unknown(preferred: list[str]) -> Problem:
    if not preferred:
        return Problem(
            reason=Reason.UNKNOWN_ACCELERATOR_CLASS,
            message="the cluster has no AcceleratorClass; create one, or install the chart's catalogue.",
        )
    names = ", ".join(repr(name) for name in preferred)
    return Problem(
        reason=Reason.UNKNOWN_ACCELERATOR_CLASS,
        message=f"AcceleratorClass {names} does not exist; create it or correct dedicated.accelerators (kubectl get acceleratorclasses).",
    )
