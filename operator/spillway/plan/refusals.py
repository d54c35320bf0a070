"""The engine's own refusal limits where the mode may change without an edit."""

from dataclasses import replace

from spillway.api.catalogue import AcceleratorClassSpec
from spillway.api.workload import InferenceWorkloadSpec, PlacementMode
from spillway.plan.capacity import engine_limits
from spillway.plan.decision import Capacity


def with_steady_refusals(capacity: Capacity, spec: InferenceWorkloadSpec, accelerator: AcceleratorClassSpec) -> Capacity:
    """Return the capacity with the limits of mode Dedicated, which are the higher ones, whatever the mode is now.

    They are arguments of the engine. A move between Hybrid and Dedicated must not restart the replicas that it was made for.
    """
    alone = spec.placement.model_copy(update={"mode": PlacementMode.DEDICATED})
    limits = engine_limits(spec.model_copy(update={"placement": alone}), accelerator)
    return replace(capacity, max_queued_requests=limits.max_queued_requests, max_queued_tokens=limits.max_queued_tokens)
