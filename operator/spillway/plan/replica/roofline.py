"""How long one engine step takes by data sheets and shape: reading weights and cache, computing, and talking between accelerators.

A step with B sequences holding KV tokens in all, and P prompt tokens in chunks of prompts of N tokens, takes, in milliseconds,

    T = base + experts * touched(B + P) + sequence * B + kv * KV/1000 + prompt * P + square * sum(N^2)/10^6

base holds the weights that every step reads, and the layers' fixed costs. A mixture of experts reads only the experts its tokens touch:
touched(n) = 1 - (1 - active/total parameters)^n of all of them, so that one token reads the active parameters and a full batch nearly all.

The constants are fitted on replica/calibration.py by benchmarks/capacity, which also reports how far the roofline is off for models and
accelerators that the fit has not seen.
"""

from dataclasses import dataclass, replace

from spillway.api.model import Architecture, Quantization
from spillway.plan.replica.calibration import Hardware
from spillway.plan.replica.memory import (
    EMBEDDING_BYTES,
    KV_BYTES_PER_VALUE,
    attention_layers,
    hidden_size,
    kv_bytes_per_layer,
    weights_bytes_per_accelerator,
    window_layers,
)

ACTIVATION_BYTES = 2
EIGHT_BITS = (0.9, 1.3)  # bytes per parameter of published weights that compute in fp8, embeddings in 16 bits included


@dataclass(frozen=True, slots=True, kw_only=True)
class Efficiency:
    """What share of data sheets an engine reaches, and what a layer costs besides."""

    weights: float  # of the memory bandwidth, reading weights
    cache: float  # and reading the KV cache
    layer_ms: float  # kernel launches, norms and sampling, per layer and step
    link: float  # of one direction of the interconnect
    decode: float  # of the dense peak, for one more sequence in a step; above 1, since much of it hides behind reading weights
    prompt: float  # and for prompts, in 16 bits
    prompt_fp8: float  # in fp8
    prompt_experts: float  # a further share, for experts
    attention: float  # for the quadratic part of attention


@dataclass(frozen=True, slots=True, kw_only=True)
class StepModel:
    """The coefficients of a step, milliseconds."""

    base_ms: float
    experts_ms: float
    expert_share: float  # active of all parameters; 1 for a dense model
    sequence_ms: float  # per running sequence
    kv_ms: float  # per thousand tokens in the KV cache
    prompt_ms: float  # per prompt token
    square_ms: float  # per million of a prompt's tokens squared

    def step_ms(self, *, sequences: float, kv_tokens: float, prompt_tokens: float = 0.0, prompt_squares: float = 0.0) -> float:
        """Return the duration of one step, milliseconds."""
        return (
            self.base_ms
            + self.experts_ms * self.touched(sequences + prompt_tokens)
            + self.sequence_ms * sequences
            + self.kv_ms * kv_tokens / 1e3
            + self.prompt_ms * prompt_tokens
            + self.square_ms * prompt_squares / 1e6
        )

    def touched(self, tokens: float) -> float:
        """Return the share of the experts that a step with so many tokens reads."""
        return 1.0 if self.expert_share >= 1 else 1.0 - (1.0 - self.expert_share) ** max(1.0, tokens)


# benchmarks/capacity, fitted on the 43 usable rows of replica/calibration.py; starting an all-reduce costs nothing that the fit could see.
# Other constants give new replicas of a known shape another --max-num-seqs; those that run keep theirs (replica/kept_limits.py).
FITTED = Efficiency(
    weights=0.86,
    cache=0.91,
    layer_ms=0.050,
    link=0.53,
    decode=1.4,
    prompt=0.95,
    prompt_fp8=0.64,
    prompt_experts=0.80,
    attention=0.31,
)


def roofline(
    model: Architecture,
    *,
    quantization: Quantization | None,
    hardware: Hardware,
    tensor_parallel_size: int,
    value_bytes: int = KV_BYTES_PER_VALUE,
    efficiency: Efficiency = FITTED,
) -> StepModel:
    """Return the coefficients that follow from data sheets and shape.

    Weights and cache are read at a share of the memory bandwidth, prompts and sequences computed at a share of the peak, and two
    all-reduces per layer move each token's hidden vector: 2 (n-1)/n of it through one direction of each accelerator's link.
    """
    bytes_per_ms = hardware.bandwidth_gbps * 1e6
    read_ms = _read_bytes(model, quantization, tensor_parallel_size) / (bytes_per_ms * efficiency.weights)
    fixed_ms = model.layers * efficiency.layer_ms
    share = min(1.0, (model.active_parameters or model.parameters) / model.parameters)
    operations = 2.0 * (model.active_parameters or model.parameters) / tensor_parallel_size
    moved_ms = _moved_bytes(model, tensor_parallel_size) / (hardware.link_gbps / 2 * 1e6 * efficiency.link)
    cached = kv_bytes_per_layer(model, tensor_parallel_size, value_bytes=value_bytes) * attention_layers(model)
    quadratic = 2.0 * (attention_layers(model) - window_layers(model)) * model.attention_heads * model.head_size / tensor_parallel_size
    eight = computes_in_eight_bits(model, quantization)
    peak = (hardware.fp8_tflops if eight else hardware.bf16_tflops) * 1e9  # operations per millisecond
    prompt_peak = max(hardware.bf16_tflops * efficiency.prompt, hardware.fp8_tflops * efficiency.prompt_fp8 if eight else 0.0) * 1e9
    return StepModel(
        base_ms=fixed_ms + (read_ms if share >= 1 else 0.0),
        experts_ms=0.0 if share >= 1 else read_ms,
        expert_share=share,
        sequence_ms=operations / (peak * efficiency.decode) + moved_ms,
        kv_ms=cached * 1e3 / (bytes_per_ms * efficiency.cache),
        prompt_ms=operations / (prompt_peak * (1.0 if share >= 1 else efficiency.prompt_experts)) + moved_ms,
        square_ms=quadratic * 1e6 / (peak * efficiency.attention),
    )


def scaled(step: StepModel, factor: float) -> StepModel:
    """Return the step with every duration multiplied."""
    return replace(
        step,
        base_ms=step.base_ms * factor,
        experts_ms=step.experts_ms * factor,
        sequence_ms=step.sequence_ms * factor,
        kv_ms=step.kv_ms * factor,
        prompt_ms=step.prompt_ms * factor,
        square_ms=step.square_ms * factor,
    )


def computes_in_eight_bits(model: Architecture, quantization: Quantization | None) -> bool:
    """Whether matrices are multiplied in 8 bits: asked for, or published so."""
    if quantization is not None:
        return quantization in (Quantization.FP8, Quantization.INT8)
    return model.weight_bytes is not None and EIGHT_BITS[0] <= model.weight_bytes / model.parameters <= EIGHT_BITS[1]


def _read_bytes(model: Architecture, quantization: Quantization | None, tensor_parallel_size: int) -> float:
    """Return the weights a full step reads on each accelerator: all but the prompts' table of embeddings, of which it reads a few rows."""
    whole = weights_bytes_per_accelerator(model, quantization, tensor_parallel_size)
    table = (model.vocabulary_size or 0) * hidden_size(model) * EMBEDDING_BYTES / tensor_parallel_size
    return max(whole / 2, whole - table * (model.embedding_tables - 1))


def _moved_bytes(model: Architecture, tensor_parallel_size: int) -> float:
    rounds = 2.0 * (tensor_parallel_size - 1) / tensor_parallel_size
    return 2.0 * model.layers * hidden_size(model) * ACTIVATION_BYTES * rounds
