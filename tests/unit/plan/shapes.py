"""Shapes, accelerators and questions for the tests of sizing."""

from typing import Any

from spillway.api.catalogue import AcceleratorClassSpec
from spillway.api.dedicated import Engine
from spillway.api.model import Architecture
from spillway.api.traffic import Slo
from spillway.plan.replica.sizing import ReplicaSize, replica_size, sizes
from spillway.plan.traffic.lengths import Lengths

CHAT = Lengths(input_mean=1000, input_p95=3000, output_mean=250)
PROMISE = Slo(inter_token_latency_ms=50, time_to_first_token_ms=2000)


def shape(**changes: Any) -> Architecture:
    """Return Llama 3.1 8B, with these changes."""
    plain: dict[str, Any] = {
        "parameters": 8_030_261_248,
        "layers": 32,
        "attention_heads": 32,
        "key_value_heads": 8,
        "head_size": 128,
        "hidden_size": 4096,
        "vocabulary_size": 128_256,
    }
    return Architecture(**(plain | changes))


def h100(**changes: Any) -> AcceleratorClassSpec:
    """Return a node of eight H100, with these changes."""
    plain: dict[str, Any] = {
        "product": "NVIDIA H100 SXM 80GB",
        "memoryGiB": 79,
        "memoryBandwidthGBps": 3350,
        "teraFLOPs": {"bf16": 989, "fp8": 1979},
        "perNode": 8,
        "interconnectGBps": 900,
    }
    return AcceleratorClassSpec.model_validate(plain | changes)


def sized(model: Architecture | None = None, accelerator: AcceleratorClassSpec | None = None, **changes: Any) -> tuple[ReplicaSize, ...]:
    """Return the sizes of a model on a class, of 8B on H100 unless told otherwise."""
    asked: dict[str, Any] = {
        "quantization": None,
        "accelerator_class": "h100",
        "engine": Engine(),
        "lengths": CHAT,
        "slo": PROMISE,
        "max_context_tokens": 16_384,
    }
    return sizes(model or shape(), accelerator=accelerator or h100(), **(asked | changes))


def sized_at(
    parallel: int, model: Architecture | None = None, accelerator: AcceleratorClassSpec | None = None, **changes: Any
) -> ReplicaSize:
    """Return one size, for a law that asks often."""
    asked: dict[str, Any] = {
        "quantization": None,
        "accelerator_class": "h100",
        "engine": Engine(),
        "lengths": CHAT,
        "slo": PROMISE,
        "max_context_tokens": None,
    }
    return replica_size(model or shape(), accelerator=accelerator or h100(), tensor_parallel_size=parallel, **(asked | changes))
