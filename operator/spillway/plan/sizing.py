"""How a model fits a class of accelerators and what one replica of it sustains within the promises: the planner's one question to capacity.

Everything here is arithmetic on values; `plan/economics.py` puts prices to it and the operator asks the same.
"""

from dataclasses import dataclass
from enum import StrEnum

from spillway.api.catalogue import AcceleratorClassSpec
from spillway.api.workload import Architecture, Engine, Quantization, Slo
from spillway.plan.capacity import GIB, kv_bytes_per_token, usable_bytes, weights_bytes
from spillway.plan.lengths import Lengths


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


def sizes(
    model: Architecture,
    *,
    quantization: Quantization | None,
    accelerator_class: str,
    accelerator: AcceleratorClassSpec,
    engine: Engine,
    lengths: Lengths,
    slo: Slo | None,
    max_context_tokens: int | None,
) -> tuple[ReplicaSize, ...]:
    """Return one size for each tensor parallel size a node of the class allows, smallest first; what cannot serve says why.

    The engine's own tensorParallelSize is not looked at; its memory share and its bound on the batch are.
    """
    return tuple(
        _thin(parallel, model, quantization, accelerator_class, accelerator, engine, lengths, slo, max_context_tokens)
        for parallel in range(1, accelerator.per_node + 1)
        if model.attention_heads % parallel == 0
    )


def _thin(
    parallel: int,
    model: Architecture,
    quantization: Quantization | None,
    accelerator_class: str,
    accelerator: AcceleratorClassSpec,
    engine: Engine,
    lengths: Lengths,
    slo: Slo | None,
    max_context_tokens: int | None,
) -> ReplicaSize:
    weights = weights_bytes(model, quantization)
    usable = usable_bytes(accelerator, tensor_parallel_size=parallel, utilization_percent=engine.gpu_memory_utilization_percent)
    kv_tokens = max(0, int((usable - weights) // kv_bytes_per_token(model, parallel)))
    per_ms = accelerator.memory_bandwidth_gbps * 1e6 * parallel * 0.75
    a_ms = weights / per_ms + 1.5
    prefill_ms = 2.0 * (model.active_parameters or model.parameters) / (accelerator.tera_flops.bf16 * 1e9 * parallel * 0.6)
    b_ms = lengths.context_mean * kv_bytes_per_token(model, parallel) / per_ms + lengths.input_mean / lengths.output_mean * prefill_ms
    target = slo.inter_token_latency_ms if slo else None
    batch = min(engine.max_num_seqs or 256, int(0.9 * kv_tokens / lengths.context_mean), int((target - a_ms) / b_ms) if target else 256)
    fits = batch > 0 and kv_tokens >= (max_context_tokens or 0)
    batch = batch if fits else 0
    step = a_ms + b_ms * batch
    ttft = 15 + step + lengths.input_mean * prefill_ms
    return ReplicaSize(
        accelerator_class=accelerator_class,
        tensor_parallel_size=parallel,
        memory=Memory(
            weights_gib=weights / parallel / GIB,
            activations_gib=1.0,
            graphs_gib=1.0,
            usable_gib=usable / parallel / GIB,
            kv_cache_gib=(usable - weights) / parallel / GIB,
        ),
        kv_tokens=kv_tokens,
        concurrency=batch,
        requests_per_s=0.85 * batch / ((lengths.output_mean * step + ttft) / 1000),
        ttft_ms=ttft if fits else None,
        inter_token_latency_ms=step if fits else None,
        end_to_end_ms=ttft + lengths.output_mean * step if fits else None,
        basis=SizeBasis.ESTIMATED,
        error_percent=25,
        problem=None if fits else "it does not fit",
    )
