"""Names that a decision and its rendering must agree on."""

import hashlib
from functools import lru_cache


@lru_cache(maxsize=8192)  # eight for each workload and class, one for each size that may be running; some 200 bytes each
def pool_name(workload_name: str, accelerator_class: str, tensor_parallel_size: int) -> str:
    """Return the name of the engine Deployment for this shape of replica.

    The shape is in the name because it decides what a replica is: a changed class or tensor parallel size makes a new Deployment
    beside the old one, instead of a rollout within one Deployment whose replicas are not worth the same.
    """
    shape = f"{accelerator_class}/{tensor_parallel_size}"
    return f"{workload_name}-engine-{hashlib.sha256(shape.encode()).hexdigest()[:8]}"
