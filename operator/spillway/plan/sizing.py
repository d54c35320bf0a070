"""How a model fits a class of accelerators and what one replica of it sustains within the promises: the planner's one question to capacity.

Everything here is arithmetic on values; `plan/economics.py` puts prices to it and the operator asks the same.
"""

from dataclasses import dataclass
from enum import StrEnum


class SizeBasis(StrEnum):
    """Where a size's figures come from."""

    CALIBRATED = "Calibrated"  # this model, accelerator and tensor parallel size were measured
    ESTIMATED = "Estimated"  # a roofline fitted on what was measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Where the memory of one accelerator goes, GiB."""

    weights_gib: float
    activations_gib: float  # the largest step's, and what the runtime itself holds
    graphs_gib: float  # captured CUDA graphs
    usable_gib: float  # memory x gpuMemoryUtilizationPercent
    kv_cache_gib: float  # what is left; negative: so much is missing

    @property
    def fits(self) -> bool:
        """Whether anything is left for the KV cache."""
        return self.kv_cache_gib > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaSize:
    """What one replica of a class at a tensor parallel size sustains at the workload's token lengths."""

    accelerator_class: str
    tensor_parallel_size: int
    memory: Memory
    kv_tokens: int  # tokens in the KV cache of the whole replica
    concurrency: int  # largest batch within the SLO, the KV cache and the engine's own bound; 0: not even one request
    requests_per_s: float  # at that batch
    ttft_ms: float | None  # predicted at the SLO's attainment; None where nothing fits
    inter_token_latency_ms: float | None  # likewise
    end_to_end_ms: float | None  # likewise
    basis: SizeBasis
    error_percent: int  # how far off such figures were in benchmarks/capacity
    problem: str | None  # why it cannot serve, and by how much it misses; None: it fits and meets the SLO

    @property
    def feasible(self) -> bool:
        """Whether it fits and meets the SLO."""
        return self.problem is None
