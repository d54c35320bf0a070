"""Where the memory of one accelerator goes: weights, KV cache, and what a step and the runtime need.

Everything is per accelerator of a replica, because that is where memory runs out: a tensor parallel replica splits weights and key-value
heads over its accelerators, and keeps whole on each of them what cannot be split (a latent cache, heads fewer than accelerators).
"""

import math
from dataclasses import dataclass
from itertools import pairwise

from spillway.api.catalogue import AcceleratorClassSpec
from spillway.api.dedicated import Engine
from spillway.api.model import Architecture, Quantization

GIB = 1024**3

BYTES_PER_PARAMETER = {
    Quantization.BF16: 2.0,
    Quantization.FP16: 2.0,
    Quantization.FP8: 1.0,
    Quantization.INT8: 1.0,
    Quantization.AWQ: 0.53,  # 4 bits, and a 16-bit scale and a 4-bit zero for each group of 128
    Quantization.GPTQ: 0.53,
}
EMBEDDING_BYTES = 2.0  # embeddings and the output head stay in 16 bits whatever the layers are quantized to
KV_BYTES_PER_VALUE = 2  # vLLM keeps the KV cache in 16 bits unless told otherwise
FP8_KV_BYTES_PER_VALUE = 1
KV_FLAG = "--kv-cache-dtype"

# What a replica needs besides weights and KV cache. The calibration leaves 3.6 GiB on one accelerator and 3.9 GiB on each of several, for
# 8B to 70B on 48 to 180 GiB (kv_tokens in replica/calibration.py, compared in benchmarks/capacity); how it is split is an estimate.
RUNTIME_BYTES = 1.3 * GIB  # CUDA context and the allocator's slack
COLLECTIVES_BYTES = 0.3 * GIB  # NCCL's buffers, with more than one accelerator
GRAPH_BYTES_PER_LAYER = 16 * 1024**2  # captured CUDA graphs: 0.5 GiB at 32 layers, 1.3 GiB at 80
WHOLE_WIDTHS = 8  # hidden vectors per token that every accelerator holds: residual, norms, the sum of a collective
SPLIT_WIDTHS = 12  # those that are split: projections and the feed-forward's middle
ACTIVATION_BYTES = 2
VOCABULARY_PADDING = 64  # vLLM rounds the table of embeddings up to a multiple of it, and shares that out
LOGIT_BYTES = 8  # logits in float32 and a sorted copy while sampling
DEFAULT_VOCABULARY = 128_000
DEFAULT_MAX_NUM_SEQS = 256
# The most tokens of a step of `vllm serve` where nothing is said, by the memory of an accelerator (EngineArgs.get_batch_defaults, 0.32).
STEP_TOKENS_FROM_GIB = ((160, 16384), (70, 8192), (0, 2048))
SMALL_STEPS_UNLIKE_OTHERS = "a100"  # named so, it has the smallest however much it holds


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


def hidden_size(model: Architecture) -> int:
    """Return the width of a layer; that of all heads where it is not stated."""
    return model.hidden_size or model.attention_heads * model.head_size


def embedding_parameters(model: Architecture) -> int:
    """Return the parameters of embeddings and output head; none where the vocabulary is not stated."""
    table = (model.vocabulary_size or 0) * hidden_size(model)
    return min(table * model.embedding_tables, model.parameters)


def weights_bytes(model: Architecture, quantization: Quantization | None) -> float:
    """Return the bytes of all weights: parameters by their storage, embeddings and head in 16 bits; as published when nothing is asked."""
    if quantization is None and model.weight_bytes is not None:
        return float(model.weight_bytes)
    stored = BYTES_PER_PARAMETER[quantization or Quantization.BF16]
    embeddings = embedding_parameters(model)
    return (model.parameters - embeddings) * stored + embeddings * max(stored, EMBEDDING_BYTES)


def weights_bytes_per_accelerator(model: Architecture, quantization: Quantization | None, tensor_parallel_size: int) -> float:
    """Return the weights on each accelerator: an even share, and key-value projections again where heads are fewer than accelerators."""
    share = weights_bytes(model, quantization) / tensor_parallel_size
    if model.latent_size is not None or tensor_parallel_size <= model.key_value_heads:
        return share
    stored = BYTES_PER_PARAMETER[quantization or Quantization.BF16]
    projections = 2.0 * attention_layers(model) * hidden_size(model) * model.key_value_heads * model.head_size * stored
    return share + projections * (1 / model.key_value_heads - 1 / tensor_parallel_size)


def attention_layers(model: Architecture) -> int:
    """Return how many layers keep keys and values."""
    return model.layers if model.attention_layers is None else min(model.attention_layers, model.layers)


def window_layers(model: Architecture) -> int:
    """Return how many of them keep a window only."""
    return min(model.sliding_window_layers or 0, attention_layers(model)) if model.sliding_window_tokens else 0


def kv_bytes_per_layer(model: Architecture, tensor_parallel_size: int, *, value_bytes: int = KV_BYTES_PER_VALUE) -> float:
    """Return what one layer keeps of one token on each accelerator.

    Grouped queries: a key and a value per head, heads split over accelerators, at least one each. Latent attention: one compressed
    vector for all heads, whole on each.
    """
    if model.latent_size is not None:
        return float(model.latent_size * value_bytes)
    return 2.0 * math.ceil(model.key_value_heads / tensor_parallel_size) * model.head_size * value_bytes


def request_kv_bytes(model: Architecture, tokens: float, tensor_parallel_size: int, *, value_bytes: int = KV_BYTES_PER_VALUE) -> float:
    """Return what a request of so many tokens holds on each accelerator: windows stop growing, recurrent state never grows."""
    windows = window_layers(model)
    kept = (attention_layers(model) - windows) * tokens + windows * min(tokens, model.sliding_window_tokens or 0)
    state = (model.recurrent_state_kib or 0) * 1024 / tensor_parallel_size
    return kv_bytes_per_layer(model, tensor_parallel_size, value_bytes=value_bytes) * kept + state


def attended_tokens(model: Architecture, tokens: float) -> float:
    """Return how many tokens of full attention cost as much to read as a request of so many: windows and recurrent state read less."""
    per_token = kv_bytes_per_layer(model, 1) * attention_layers(model)
    return request_kv_bytes(model, tokens, 1) / per_token if per_token else 0.0


def splits(model: Architecture, tensor_parallel_size: int) -> bool:
    """Whether so many accelerators can share the model: its heads, evenly or each key-value head on an equal number, and its vocabulary."""
    heads = model.key_value_heads
    evenly = model.latent_size is not None or heads % tensor_parallel_size == 0 or tensor_parallel_size % heads == 0
    return model.attention_heads % tensor_parallel_size == 0 and evenly and splits_vocabulary(model, tensor_parallel_size)


def splits_vocabulary(model: Architecture, tensor_parallel_size: int) -> bool:
    """Whether the padded table of embeddings has an equal part for each accelerator, without which vLLM does not start."""
    padded = math.ceil((model.vocabulary_size or 0) / VOCABULARY_PADDING) * VOCABULARY_PADDING
    return padded % tensor_parallel_size == 0


def kv_value_bytes(engine: Engine) -> int:
    """Return the bytes of one cached value: two, or one where extraArgs ask for an fp8 cache."""
    arguments = " ".join(engine.extra_args).replace("=", " ").split()
    asked = any(flag.replace("_", "-") == KV_FLAG and kind.startswith("fp8") for flag, kind in pairwise(arguments))
    return FP8_KV_BYTES_PER_VALUE if asked else KV_BYTES_PER_VALUE


def step_tokens(engine: Engine, accelerator: AcceleratorClassSpec) -> int:
    """Return the most tokens of one step: what the spec says, else vLLM's default for that accelerator."""
    if engine.max_num_batched_tokens is not None:
        return engine.max_num_batched_tokens
    held = 0 if SMALL_STEPS_UNLIKE_OTHERS in accelerator.product.lower() else accelerator.memory_gib
    return next(tokens for from_gib, tokens in STEP_TOKENS_FROM_GIB if held >= from_gib)


def memory(
    model: Architecture, *, quantization: Quantization | None, accelerator: AcceleratorClassSpec, tensor_parallel_size: int, engine: Engine
) -> Memory:
    """Return where the memory of each accelerator of a replica goes."""
    weights = weights_bytes_per_accelerator(model, quantization, tensor_parallel_size)
    activations = _activation_bytes(model, accelerator, tensor_parallel_size, engine)
    graphs = float(GRAPH_BYTES_PER_LAYER * model.layers)
    usable = accelerator.memory_gib * GIB * engine.gpu_memory_utilization_percent / 100
    return Memory(
        weights_gib=weights / GIB,
        activations_gib=activations / GIB,
        graphs_gib=graphs / GIB,
        usable_gib=usable / GIB,
        kv_cache_gib=(usable - weights - activations - graphs) / GIB,
    )


def kv_tokens(model: Architecture, found: Memory, tensor_parallel_size: int, *, context_tokens: float, value_bytes: int) -> int:
    """Return how many tokens the KV cache holds, in requests of this length; 0 when the weights alone do not fit."""
    if not found.fits:
        return 0
    each = request_kv_bytes(model, context_tokens, tensor_parallel_size, value_bytes=value_bytes)
    return int(found.kv_cache_gib * GIB * context_tokens / each) if each else 0


def _activation_bytes(model: Architecture, accelerator: AcceleratorClassSpec, tensor_parallel_size: int, engine: Engine) -> float:
    widths = WHOLE_WIDTHS + SPLIT_WIDTHS / tensor_parallel_size
    largest_step = step_tokens(engine, accelerator) * hidden_size(model) * ACTIVATION_BYTES * widths
    sequences = engine.max_num_seqs or DEFAULT_MAX_NUM_SEQS
    logits = sequences * (model.vocabulary_size or DEFAULT_VOCABULARY) * LOGIT_BYTES
    collectives = COLLECTIVES_BYTES if tensor_parallel_size > 1 else 0.0
    return RUNTIME_BYTES + collectives + largest_step + logits
