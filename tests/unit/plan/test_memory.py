"""Memory: what weights and KV cache take on each accelerator, for every kind of attention."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.api.catalogue import AcceleratorClassSpec
from spillway.api.dedicated import Engine
from spillway.api.model import Model, Quantization
from spillway.cli.questions import default_classes
from spillway.plan.model.models import known_model
from spillway.plan.replica.calibration import HARDWARE, ROWS, CalibrationRow
from spillway.plan.replica.memory import (
    GIB,
    attended_tokens,
    kv_tokens,
    kv_value_bytes,
    memory,
    request_kv_bytes,
    splits,
    step_tokens,
    weights_bytes,
)
from spillway.plan.replica.memory import weights_bytes_per_accelerator as per_accelerator
from spillway.plan.replica.speed import row_architecture, row_quantization, row_value_bytes
from tests.unit.plan.shapes import h100, shape

NOMINAL_GIB = {"l40s": 48, "a100_sxm": 80, "h100_sxm": 80, "h200_sxm": 141, "b200_sxm": 180, "rtx_pro_6000_server": 96}


@pytest.mark.parametrize(
    ("quantization", "gigabytes"),
    [
        pytest.param(None, 16.06, id="two bytes each where nothing is said"),
        pytest.param(Quantization.BF16, 16.06, id="bf16"),
        pytest.param(Quantization.FP8, 9.08, id="fp8 layers, embeddings and head in 16 bits"),
        pytest.param(Quantization.INT8, 9.08, id="int8 likewise"),
        pytest.param(Quantization.AWQ, 5.80, id="4 bits and scales, embeddings and head in 16 bits"),
    ],
)
def test_weights_by_quantization(quantization: Quantization | None, gigabytes: float) -> None:
    assert weights_bytes(shape(), quantization) / 1e9 == pytest.approx(gigabytes, rel=0.01)


def test_weights_published_quantized_take_what_was_published_until_something_else_is_asked() -> None:
    published = shape(weight_bytes=5_000_000_000)
    assert weights_bytes(published, None) == 5_000_000_000
    assert weights_bytes(published, Quantization.BF16) == pytest.approx(16.06e9, rel=0.01)


def test_one_shared_table_of_embeddings_is_kept_in_16_bits_once() -> None:
    table = 2 * 128_256 * 4096
    assert weights_bytes(shape(), Quantization.FP8) - weights_bytes(shape(embedding_tables=1), Quantization.FP8) == table / 2


def test_key_value_projections_are_repeated_where_heads_are_fewer_than_accelerators() -> None:
    few = shape(key_value_heads=2)
    assert per_accelerator(few, None, 2) == weights_bytes(few, None) / 2
    assert per_accelerator(few, None, 8) > weights_bytes(few, None) / 8


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        pytest.param("nvidia-b200", 16_384, id="from 160 GiB on"),
        pytest.param("nvidia-h200", 8_192, id="from 70 GiB on"),
        pytest.param("nvidia-rtx-pro-6000", 8_192, id="likewise"),
        pytest.param("nvidia-a100-80gb", 2_048, id="but an A100, whose name vLLM looks at"),
        pytest.param("nvidia-l40s", 2_048, id="below"),
    ],
)
def test_a_step_has_as_many_tokens_as_vllm_takes_where_nothing_is_said(name: str, tokens: int) -> None:
    accelerator = default_classes()[name]
    assert step_tokens(Engine(), accelerator) == tokens
    assert step_tokens(Engine(max_num_batched_tokens=512), accelerator) == 512


@pytest.mark.parametrize(
    ("changes", "parallel", "bytes_held"),
    [
        pytest.param({}, 1, 131_072, id="grouped queries: a key and a value per head and layer"),
        pytest.param({}, 8, 16_384, id="heads are split over accelerators"),
        pytest.param({}, 16, 16_384, id="and never thinner than one head on each"),
        pytest.param({"latent_size": 576, "layers": 61}, 1, 70_272, id="latent attention: one vector per layer"),
        pytest.param({"latent_size": 576, "layers": 61}, 8, 70_272, id="kept whole on each accelerator"),
        pytest.param({"attention_layers": 8}, 1, 32_768, id="hybrid: only the layers that attend"),
    ],
)
def test_kv_cache_of_one_token_on_each_accelerator(changes: dict[str, int], parallel: int, bytes_held: int) -> None:
    assert request_kv_bytes(shape(**changes), 1, parallel) == bytes_held


def test_a_window_stops_growing_and_the_other_layers_go_on() -> None:
    gemma = shape(sliding_window_layers=24, sliding_window_tokens=1024)
    assert request_kv_bytes(gemma, 1024, 1) == request_kv_bytes(shape(), 1024, 1)
    assert request_kv_bytes(gemma, 8192, 1) == 4096 * (8 * 8192 + 24 * 1024)


def test_recurrent_state_is_held_by_the_shortest_request_and_split_over_accelerators() -> None:
    hybrid = shape(attention_layers=4, recurrent_state_kib=4096)
    assert request_kv_bytes(hybrid, 0, 1) == 4096 * 1024
    assert request_kv_bytes(hybrid, 0, 4) == 1024 * 1024


def test_reading_a_window_or_a_state_is_counted_in_tokens_of_full_attention() -> None:
    assert attended_tokens(shape(), 5000) == 5000
    assert attended_tokens(shape(sliding_window_layers=32, sliding_window_tokens=1024), 5000) == 1024
    assert attended_tokens(shape(attention_layers=0, recurrent_state_kib=64), 5000) == 0


@pytest.mark.parametrize(
    ("arguments", "bytes_each"),
    [
        pytest.param([], 2, id="16 bits"),
        pytest.param(["--kv-cache-dtype", "fp8"], 1, id="fp8 when asked for"),
        pytest.param(["--kv-cache-dtype=fp8_e4m3"], 1, id="in either way of writing it"),
        pytest.param(["--kv_cache_dtype=fp8"], 1, id="with underscores, which vLLM takes too"),
        pytest.param(["--kv-cache-dtype", "auto", "--seed", "fp8"], 2, id="and only by that flag"),
    ],
)
def test_the_kind_of_cache_is_read_from_the_engines_arguments(arguments: list[str], bytes_each: int) -> None:
    assert kv_value_bytes(Engine(extra_args=arguments)) == bytes_each


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.model} on {row.tensor_parallel_size} x {row.accelerator}")
def test_kv_capacity_agrees_with_the_calibration(row: CalibrationRow) -> None:
    """Counted as the table counts it: the memory of the data sheet, and windows like full attention."""
    whole = row_architecture(row).model_copy(update={"sliding_window_layers": None})
    facts = HARDWARE[row.accelerator]
    accelerator = AcceleratorClassSpec.model_validate(
        {
            "product": row.accelerator,
            "memoryGiB": NOMINAL_GIB[row.accelerator],
            "memoryBandwidthGBps": int(facts.bandwidth_gbps),
            "teraFLOPs": {"bf16": int(facts.bf16_tflops)},
            "perNode": 8,
        }
    )
    found = memory(
        whole,
        quantization=row_quantization(row),
        accelerator=accelerator,
        tensor_parallel_size=row.tensor_parallel_size,
        engine=Engine(),
    )
    tokens = kv_tokens(whole, found, row.tensor_parallel_size, context_tokens=2048, value_bytes=row_value_bytes(row))
    # The table's weights of gpt-oss-120b are 5 GB lighter than the published files: a third of what an H100 has left.
    lighter = row.model == "openai/gpt-oss-120b" and row.accelerator == "h100_sxm" and row.tensor_parallel_size == 1
    assert tokens == pytest.approx(row.kv_tokens, rel=0.35 if lighter else 0.07)


def test_what_does_not_fit_is_said_in_gib() -> None:
    known = known_model(Model(id="meta-llama/Llama-3.3-70B-Instruct"))
    assert known is not None
    found = memory(known.architecture, quantization=None, accelerator=h100(), tensor_parallel_size=1, engine=Engine())
    assert not found.fits
    assert found.weights_gib == pytest.approx(131.4, rel=0.01)
    assert found.usable_gib == pytest.approx(71.1)
    assert found.kv_cache_gib == pytest.approx(71.1 - found.weights_gib - found.activations_gib - found.graphs_gib)
    assert kv_tokens(known.architecture, found, 1, context_tokens=1000, value_bytes=2) == 0


@pytest.mark.parametrize(
    ("parallel", "heads", "kv_heads", "latent", "possible"),
    [
        pytest.param(4, 32, 8, None, True, id="divides both"),
        pytest.param(16, 32, 8, None, True, id="a multiple of the key-value heads"),
        pytest.param(5, 40, 8, None, False, id="divides one only"),
        pytest.param(3, 32, 8, None, False, id="divides neither"),
        pytest.param(16, 128, 128, 576, True, id="latent attention has no key-value heads to split"),
    ],
)
def test_which_sizes_split_the_heads(parallel: int, heads: int, kv_heads: int, latent: int | None, possible: bool) -> None:  # noqa: FBT001
    assert splits(shape(attention_heads=heads, key_value_heads=kv_heads, latent_size=latent), parallel) is possible


@pytest.mark.parametrize(
    ("parallel", "vocabulary", "possible"),
    [
        pytest.param(8, 32_001, True, id="a power of two divides what it is rounded up to"),
        pytest.param(3, 49_152, True, id="three times something"),
        pytest.param(6, 151_552, False, id="as GLM 4 32B on six"),
        pytest.param(3, None, True, id="not stated"),
    ],
)
def test_a_vocabulary_is_shared_out_evenly(parallel: int, vocabulary: int | None, possible: bool) -> None:  # noqa: FBT001
    assert splits(shape(attention_heads=48, key_value_heads=24, vocabulary_size=vocabulary), parallel) is possible


@given(
    gib=st.integers(min_value=8, max_value=300),
    more=st.integers(min_value=0, max_value=100),
    percent=st.integers(min_value=50, max_value=98),
    parallel=st.sampled_from([1, 2, 4, 8]),
    context=st.integers(min_value=1, max_value=200_000),
)
def test_more_memory_never_holds_fewer_tokens(gib: int, more: int, percent: int, parallel: int, context: int) -> None:
    # The step's default size grows with an accelerator's memory, and takes some of it: here it is held.
    engine = Engine(gpu_memory_utilization_percent=percent, max_num_batched_tokens=4096)

    def held(accelerator: AcceleratorClassSpec) -> int:
        found = memory(shape(), quantization=None, accelerator=accelerator, tensor_parallel_size=parallel, engine=engine)
        return kv_tokens(shape(), found, parallel, context_tokens=context, value_bytes=2)

    assert held(h100(memoryGiB=gib + more)) >= held(h100(memoryGiB=gib))


@given(
    tokens=st.integers(min_value=0, max_value=500_000),
    layers=st.integers(min_value=0, max_value=40),
    window=st.integers(min_value=1, max_value=100_000),
    parallel=st.sampled_from([1, 2, 8, 16]),
)
def test_a_window_never_holds_more_than_full_attention(tokens: int, layers: int, window: int, parallel: int) -> None:
    windowed = shape(sliding_window_layers=layers, sliding_window_tokens=window)
    assert request_kv_bytes(windowed, tokens, parallel) <= request_kv_bytes(shape(), tokens, parallel)


@given(parallel=st.sampled_from([1, 2, 4, 8]), quantization=st.sampled_from([None, *Quantization]))
def test_more_accelerators_never_hold_more_weights_each(parallel: int, quantization: Quantization | None) -> None:
    assert per_accelerator(shape(), quantization, 2 * parallel) <= per_accelerator(shape(), quantization, parallel)
    assert per_accelerator(shape(), quantization, 1) / GIB < 16
