"""What was measured of running replicas, for a plan: by what factor they are faster than their estimate.

All sizes of a plan are taken by the same factor, as in the advice of comparing/case.py: they are estimated alike and err together, and a
saving must not be the difference between a measurement and a model. So the plan expects of what runs what the scaler expects of it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from spillway.api.catalogue import AcceleratorClassSpec
from spillway.api.workload import InferenceWorkloadSpec, PlacementMode
from spillway.plan.comparing.case import MOST_SCALED
from spillway.plan.decision import Memory
from spillway.plan.model.told_shape import as_stated
from spillway.plan.names import pool_name
from spillway.plan.observation import Pool
from spillway.plan.place.placed import Placed
from spillway.plan.place.placement import effective_spec
from spillway.plan.replica.capacity import size
from spillway.plan.replica.measuring import Measured
from spillway.plan.replica.sizing import ReplicaSize


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredPace:
    """How a measured replica compares with its estimate."""

    accelerator_class: str
    tensor_parallel_size: int
    factor: float  # requests per second within the SLO, measured over estimated, at the same token lengths

    def __str__(self) -> str:
        """Return it in words."""
        return f"replica capacity {self.factor:.2f} times the estimate, measured on {self.tensor_parallel_size} x {self.accelerator_class}"


def measured_pace(
    name: str, spec: InferenceWorkloadSpec, classes: Mapping[str, AcceleratorClassSpec], memory: Memory, pools: Iterable[Pool]
) -> MeasuredPace | None:
    """Return the pace of the replicas that the learned step speaks of, whether or not they run now; None where none was learned.

    Or where there is no estimate to compare it with, or one so far off that the reading is taken as gone wrong.
    """
    if memory.step is None or not memory.step.evidence or spec.dedicated is None:
        return None
    running = {pool.name: pool for pool in pools}
    for class_name, accelerator in sorted(classes.items()):
        for parallel in range(1, accelerator.per_node + 1):
            pool = pool_name(name, class_name, parallel)
            placed = Placed(mode=PlacementMode.DEDICATED, accelerator_class=class_name, tensor_parallel_size=parallel)
            served = effective_spec(spec, placed)
            subject = Measured(pool=pool, spec=as_stated(served), accelerator=accelerator, running=running.get(pool))
            if subject.fingerprint == memory.measured_for:
                return _compared(served, subject, memory, placed)
    return None


def at_pace(sizes: Iterable[ReplicaSize], pace: MeasuredPace | None) -> tuple[ReplicaSize, ...]:
    """Return the sizes at the pace that was measured."""
    factor = 1.0 if pace is None else pace.factor
    return tuple(each.scaled(factor) for each in sizes)


def _compared(served: InferenceWorkloadSpec, subject: Measured, memory: Memory, placed: Placed) -> MeasuredPace | None:
    measured = size(subject.spec, subject.accelerator, memory, subject.running).requests_per_s
    estimated = size(served, subject.accelerator, replace(memory, step=None), subject.running).requests_per_s
    if not measured or not estimated or not 1 / MOST_SCALED <= measured / estimated <= MOST_SCALED:
        return None
    return MeasuredPace(
        accelerator_class=placed.accelerator_class or "",
        tensor_parallel_size=placed.tensor_parallel_size or 1,
        factor=measured / estimated,
    )
