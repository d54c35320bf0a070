"""How a model fits a class of accelerators and what one replica of it sustains within the promises: the planner's one question to capacity.

Everything here is arithmetic on values; `money/economics.py` puts prices to it and the operator asks the same.
"""

import math
from dataclasses import dataclass, replace
from enum import StrEnum

from spillway.api.catalogue import AcceleratorClassSpec
from spillway.api.dedicated import Engine
from spillway.api.model import Architecture, Quantization
from spillway.api.traffic import Slo
from spillway.plan.model.models import KnownModel
from spillway.plan.replica.calibration import HARDWARE
from spillway.plan.replica.memory import (
    DEFAULT_MAX_NUM_SEQS,
    GIB,
    Memory,
    attended_tokens,
    kv_tokens,
    kv_value_bytes,
    memory,
    request_kv_bytes,
    splits,
    step_tokens,
)
from spillway.plan.replica.roofline import StepModel, computes_in_eight_bits
from spillway.plan.replica.serving import DEFAULT_ATTAINMENT_PERCENT, Promise, Service, largest_batch, sustained
from spillway.plan.replica.speed import SAME_FACTS, step_model
from spillway.plan.traffic.lengths import Lengths

__all__ = ["Memory", "ReplicaSize", "SizeBasis", "error_percent", "own_context_misfit", "replica_size", "sizes", "too_long_requests"]

KV_FILL = 0.9  # preemption starts when the last blocks go

# What nine of ten requests-per-second figures stay within in benchmarks/capacity, leaving out the model's family or the accelerator. For a
# calibrated one: what the calibration's authors say until it is measured.
CALIBRATED_ERROR_PERCENT = 20
ESTIMATED_ERROR_PERCENT = 30
ESTIMATED_EXPERTS_ERROR_PERCENT = 50
ESTIMATED_QUANTIZED_ERROR_PERCENT = 60
UNLIKE_HARDWARE_ERROR_PERCENT = 10  # on top, for accelerators slower than any that was measured (A10G, L4)


class SizeBasis(StrEnum):
    """Where a size's figures come from."""

    CALIBRATED = "Calibrated"  # this model, accelerator and tensor parallel size were measured
    ESTIMATED = "Estimated"  # a roofline fitted on what was measured


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaSize:
    """What one replica of a class at a tensor parallel size sustains at the workload's token lengths."""

    accelerator_class: str
    tensor_parallel_size: int
    memory: Memory  # of each accelerator
    kv_tokens: int  # tokens in the KV cache of the whole replica
    concurrency: int  # largest batch within the SLO, the KV cache and the engine's own bound; 0: not even one request
    requests_per_s: float  # at that batch
    ttft_ms: float | None  # predicted at the SLO's attainment; None where nothing fits
    inter_token_latency_ms: float | None  # likewise
    end_to_end_ms: float | None  # likewise
    basis: SizeBasis
    error_percent: int  # how far off such figures were in benchmarks/capacity
    problem: str | None  # why it cannot serve, and by how much it misses; None: it fits and meets the SLO
    spilling: Promise | None = None  # at a load whose overflow is rented, so that nobody waits for a place; None: as without

    @property
    def feasible(self) -> bool:
        """Whether it fits and meets the SLO."""
        return self.problem is None

    @property
    def behind_cap(self) -> "ReplicaSize":
        """The same where the overflow is rented: it carries at least as much."""
        seen = self.spilling
        if seen is None or seen.requests_per_s < self.requests_per_s:  # both are found by halving, and off by as little as that
            return self
        return replace(
            self,
            requests_per_s=seen.requests_per_s,
            ttft_ms=seen.ttft_ms,
            inter_token_latency_ms=seen.inter_token_ms,
            end_to_end_ms=seen.end_to_end_ms,
        )

    def scaled(self, factor: float) -> "ReplicaSize":
        """Return the same at so many times the requests per second."""
        seen = self.spilling and replace(self.spilling, requests_per_s=self.spilling.requests_per_s * factor)
        return replace(self, requests_per_s=self.requests_per_s * factor, spilling=seen)


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
    running_tensor_parallel_size: int | None = None,
) -> tuple[ReplicaSize, ...]:
    """Return one size for each tensor parallel size that people run, for the engine's own and for that which runs, smallest first.

    What cannot serve is there too and says why. Of the engine its share of the memory, its bounds on the batch and on a step, and its kind
    of KV cache count for all of them.
    """
    return tuple(
        replica_size(
            model,
            quantization=quantization,
            accelerator_class=accelerator_class,
            accelerator=accelerator,
            tensor_parallel_size=parallel,
            engine=engine,
            lengths=lengths,
            slo=slo,
            max_context_tokens=max_context_tokens,
        )
        for parallel in _parallel_sizes(model, accelerator, engine.stated_tensor_parallel_size, running_tensor_parallel_size)
    )


def replica_size(
    model: Architecture,
    *,
    quantization: Quantization | None,
    accelerator_class: str,
    accelerator: AcceleratorClassSpec,
    tensor_parallel_size: int,
    engine: Engine,
    lengths: Lengths,
    slo: Slo | None,
    max_context_tokens: int | None,
) -> ReplicaSize:
    """Return what one replica of this tensor parallel size sustains, or why it cannot serve."""
    value_bytes = kv_value_bytes(engine)
    found = memory(model, quantization=quantization, accelerator=accelerator, tensor_parallel_size=tensor_parallel_size, engine=engine)
    longest = max_context_tokens or math.ceil(lengths.input_p95 + lengths.output_mean)
    tokens = kv_tokens(model, found, tensor_parallel_size, context_tokens=longest, value_bytes=value_bytes)
    speed = step_model(
        model, quantization=quantization, accelerator=accelerator, tensor_parallel_size=tensor_parallel_size, value_bytes=value_bytes
    )
    service = service_of(
        model,
        speed.step,
        lengths=lengths,
        slo=slo,
        step_tokens=step_tokens(engine, accelerator),
        max_context_tokens=max_context_tokens,
        cache_places=places_in_memory(model, found, tensor_parallel_size, lengths=lengths, engine=engine),
    )
    limit = batch_in_memory(model, found, tensor_parallel_size, lengths=lengths, engine=engine)
    batch = largest_batch(service, slo, limit=limit)
    seen = sustained(service, slo, bound=max(1, batch))
    problem = (
        _misfit(found, accelerator, tensor_parallel_size, model)
        or _too_few(tokens, longest)
        or _too_long(limit, lengths)
        or _missed(slo, service, batch=batch, seen=seen)
    )
    return ReplicaSize(
        accelerator_class=accelerator_class,
        tensor_parallel_size=tensor_parallel_size,
        memory=found,
        kv_tokens=tokens,
        concurrency=batch if problem is None else 0,
        requests_per_s=seen.requests_per_s if problem is None else 0.0,
        ttft_ms=seen.ttft_ms if found.fits else None,
        inter_token_latency_ms=seen.inter_token_ms if found.fits else None,
        end_to_end_ms=seen.end_to_end_ms if found.fits else None,
        basis=SizeBasis.CALIBRATED if speed.calibrated else SizeBasis.ESTIMATED,
        error_percent=error_percent(model, quantization, accelerator, calibrated=speed.calibrated),
        problem=problem,
        spilling=sustained(service, slo, bound=max(1, batch), spills=True) if problem is None else None,
    )


def service_of(
    model: Architecture,
    step: StepModel,
    *,
    lengths: Lengths,
    slo: Slo | None,
    step_tokens: int,
    max_context_tokens: int | None,
    cache_places: float = math.inf,
) -> Service:
    """Return a replica at work on requests of these lengths. `cache_places`: see places_in_memory; without it the cache never fills."""
    return Service(
        step=step,
        lengths=lengths,
        attended_tokens=attended_tokens(model, lengths.context_mean),
        step_tokens=step_tokens,
        longest_prompt_tokens=max_context_tokens,
        attainment_percent=slo.attainment_percent if slo else DEFAULT_ATTAINMENT_PERCENT,
        cache_places=cache_places,
    )


def batch_in_memory(model: Architecture, found: Memory, tensor_parallel_size: int, *, lengths: Lengths, engine: Engine) -> int:
    """Return how many requests the KV cache and the engine's own bound let run together; 0 where not one fits.

    One may have the whole cache: there is nobody to be preempted for.
    """
    if not found.fits:
        return 0
    bound = min(engine.max_num_seqs or DEFAULT_MAX_NUM_SEQS, engine.most_num_seqs or DEFAULT_MAX_NUM_SEQS)
    places = places_in_memory(model, found, tensor_parallel_size, lengths=lengths, engine=engine)
    return int(min(bound, max(min(1.0, places), KV_FILL * places)))


def places_in_memory(model: Architecture, found: Memory, tensor_parallel_size: int, *, lengths: Lengths, engine: Engine) -> float:
    """Return how many requests of mean length the KV cache has room for; endless where none is kept, and where the weights do not fit."""
    if not found.fits:
        return math.inf
    each = request_kv_bytes(model, lengths.context_mean, tensor_parallel_size, value_bytes=kv_value_bytes(engine))
    return found.kv_cache_gib * GIB / each if each else math.inf


def own_context_misfit(known: KnownModel, size: ReplicaSize, *, engine: Engine, max_context_tokens: int | None) -> str | None:
    """Return what to set where vLLM would not start: it wants room for one request of the model's own longest context, unless told less."""
    own = known.context_tokens
    if own is None or max_context_tokens is not None or not size.memory.fits:
        return None
    held = kv_tokens(known.architecture, size.memory, size.tensor_parallel_size, context_tokens=own, value_bytes=kv_value_bytes(engine))
    if held >= own:
        return None
    return (
        f"vLLM does not start on {size.tensor_parallel_size} x {size.accelerator_class} with the model's own context of {own} tokens, as "
        f"the KV cache holds only {held}: set model.maxContextTokens to what requests need."
    )


def too_long_requests(known: KnownModel, lengths: Lengths, *, max_context_tokens: int | None) -> str | None:
    """Return that the mean request is longer than the model serves, where it is: vLLM refuses such requests, whatever owning costs."""
    most, needed = max_context_tokens or known.context_tokens, math.ceil(lengths.input_mean + lengths.output_mean)
    if most is None or needed <= most:
        return None
    whose = "model.maxContextTokens allows" if max_context_tokens else "the model's own context is"
    fields = "model.maxContextTokens or traffic" if max_context_tokens else "traffic, or choose another model"
    return f"A mean request has {needed} tokens and {whose} {most}: the engine rejects longer ones. Correct {fields}."


def error_percent(model: Architecture, quantization: Quantization | None, accelerator: AcceleratorClassSpec, *, calibrated: bool) -> int:
    """Return how far off such a figure may be: what benchmarks/capacity measured of models and accelerators the fit had not seen."""
    if calibrated:
        return CALIBRATED_ERROR_PERCENT
    dense = model.active_parameters is None or model.active_parameters == model.parameters
    plain = not computes_in_eight_bits(model, quantization) and quantization in (None, Quantization.BF16, Quantization.FP16)
    error = ESTIMATED_ERROR_PERCENT if dense and plain else ESTIMATED_EXPERTS_ERROR_PERCENT if plain else ESTIMATED_QUANTIZED_ERROR_PERCENT
    slow = accelerator.memory_bandwidth_gbps < min(each.bandwidth_gbps for each in HARDWARE.values()) * (1 - SAME_FACTS)
    return error + (UNLIKE_HARDWARE_ERROR_PERCENT if slow else 0)


def _parallel_sizes(model: Architecture, accelerator: AcceleratorClassSpec, *also: int | None) -> list[int]:
    """Return the sizes that share out the model, of those that fill a node, are powers of two, or are asked for, too.

    Others strand accelerators, and may not start: vLLM also shares out the feed-forward, whose width is not known here. Five divides the
    40 heads of Llama 2 13B and not its 13,824.
    """
    node = accelerator.per_node
    usual = (each for each in range(1, node + 1) if each in also or node % each == 0 or each.bit_count() == 1)
    return [each for each in usual if splits(model, each)]


def _misfit(found: Memory, accelerator: AcceleratorClassSpec, tensor_parallel_size: int, model: Architecture) -> str | None:
    if found.fits:
        return None
    wider = max(_parallel_sizes(model, accelerator), default=0) > tensor_parallel_size
    node = "" if wider else f"; a replica runs within one node, which has {accelerator.per_node}"
    needed = found.weights_gib + found.activations_gib + found.graphs_gib
    return (
        f"does not fit: {needed:.1f} GiB per accelerator for weights ({found.weights_gib:.1f}), activations and CUDA graphs, "
        f"{found.usable_gib:.1f} usable, {-found.kv_cache_gib:.1f} missing{node}"
    )


def _too_few(tokens: int, longest: int) -> str | None:
    if tokens >= longest:
        return None
    return f"the KV cache holds {tokens} tokens, and one request may need {longest}: lower model.maxContextTokens or choose more memory"


def _too_long(limit: int, lengths: Lengths) -> str | None:
    """Return that not one request of mean length fits: it may be longer than the longest that is served."""
    if limit:
        return None
    return f"the KV cache cannot hold a mean request of {lengths.context_mean:.0f} tokens: correct traffic, or choose more memory"


def _missed(slo: Slo | None, service: Service, *, batch: int, seen: Promise) -> str | None:
    """Return which target is missed with one request at a time, and by how much."""
    if slo is None:
        return None
    if batch < 1:
        alone = service.inter_token_ms(1)
        return f"misses interTokenLatencyMs {slo.inter_token_latency_ms}: {alone:.0f} ms with one request at a time"
    targets = (("timeToFirstTokenMs", slo.time_to_first_token_ms, seen.ttft_ms), ("endToEndMs", slo.end_to_end_ms, seen.end_to_end_ms))
    kept = [(name, target, found) for name, target, found in targets if target is not None]
    for name, target, found in kept:
        if found > target:
            return f"misses {name} {target}: {found:.0f} ms at {slo.attainment_percent} % with one request at a time"
    if kept and not seen.requests_per_s:  # so near to the target that any load is too much
        name, target, found = max(kept, key=lambda each: each[2] / each[1])
        return f"misses {name} {target} at any load: {found:.0f} ms at {slo.attainment_percent} % with none"
    return None
