"""Limits that a pool of replicas keeps: an operator with a better formula or a newer catalogue must not restart GPU pods.

The engine's batch and refusal limits are arguments of its pods. They are made once for what a spec and an accelerator class say; that is
written on the engine Deployment as a fingerprint, beside the limits, and they stay until the spec or the class says something else.
"""

import hashlib
import json

from spillway.api.catalogue import AcceleratorClassSpec
from spillway.api.workload import InferenceWorkloadSpec
from spillway.plan.observation import EngineLimits, Pool
from spillway.plan.same import of_the_same
from spillway.plan.traffic.lengths import declared_lengths

NO_FIGURES = {"served_name", "source"}  # of a model: a name and a place, from which no figure follows
_ENGINE = {"image", "version", "env", "stated_tensor_parallel_size"}  # pods are replaced for these anyway; the last counts as resolved
_FIGURES = {"memory_gib", "memory_bandwidth_gbps", "tera_flops", "per_node", "interconnect_gbps"}


@of_the_same
def sized_for(spec: InferenceWorkloadSpec, accelerator: AcceleratorClassSpec, *, alone: bool, most_replicas: int) -> str:
    """Return a fingerprint of all in a spec and a class that the limits follow from; `alone`: nothing hosted takes what they refuse.

    What has its default counts as left out, so that a field that a later version adds changes no fingerprint.
    """
    lengths, engine = declared_lengths(spec), spec.own.engine
    inputs = {
        "model": spec.model.model_dump(mode="json", exclude=NO_FIGURES, exclude_defaults=True),
        "slo": spec.slo.model_dump(mode="json", exclude_defaults=True) if spec.slo else {},
        "lengths": [lengths.input_mean, lengths.input_p95, lengths.output_mean, lengths.output_p95],
        "engine": engine.model_dump(mode="json", exclude=_ENGINE, exclude_defaults=True),
        "parallel": engine.tensor_parallel_size,
        "alone": alone,
        "most": most_replicas,
        "accelerator": accelerator.model_dump(mode="json", include=_FIGURES, exclude_defaults=True),
    }
    return hashlib.blake2b(json.dumps(inputs, sort_keys=True).encode(), digest_size=8).hexdigest()


def is_as_made(pool: Pool, fingerprint: str) -> bool:
    """Whether a pool goes on as it was made: the spec and the class say what they said then, or nobody wrote down what that was."""
    return pool.limits is None or pool.limits.sized_for == fingerprint


def kept(pool: Pool | None, fingerprint: str) -> EngineLimits | None:
    """Return the limits that a pool has, while they are those of the same inputs."""
    return pool.limits if pool is not None and is_as_made(pool, fingerprint) else None
