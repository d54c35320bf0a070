"""Sizes: what one replica sustains within the SLO, why it cannot, and how sure that is."""

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.api.catalogue import AcceleratorClassSpec
from spillway.api.dedicated import Engine
from spillway.api.model import Model, Quantization
from spillway.api.traffic import Slo
from spillway.cli.questions import default_classes
from spillway.plan.model.models import known_model
from spillway.plan.replica.first_token import erlang_c
from spillway.plan.replica.roofline import StepModel
from spillway.plan.replica.serving import Service, largest_batch, sustained
from spillway.plan.replica.sizing import SizeBasis, own_context_misfit, too_long_requests
from spillway.plan.traffic.lengths import Lengths, length_at, length_spread
from tests.unit.plan.shapes import CHAT, PROMISE, h100, shape, sized, sized_at

L4 = h100(product="NVIDIA L4", memoryGiB=22, memoryBandwidthGBps=300, teraFLOPs={"bf16": 121, "fp8": 242}, perNode=4, interconnectGBps=64)


def service(*, attainment: float = 99, lengths: Lengths = CHAT, longest: float | None = None) -> Service:
    plain = StepModel(base_ms=6.4, experts_ms=0.0, expert_share=1.0, sequence_ms=0.0115, kv_ms=0.0412, prompt_ms=0.015, square_ms=1.16)
    return Service(
        step=plain,
        lengths=lengths,
        attended_tokens=lengths.context_mean,
        step_tokens=8192,
        longest_prompt_tokens=longest,
        attainment_percent=attainment,
    )


@pytest.mark.parametrize(
    ("heads", "per_node", "stated", "expected"),
    [
        pytest.param(32, 8, None, [1, 2, 4, 8], id="whose heads are a power of two"),
        pytest.param(32, 2, None, [1, 2], id="within a node"),
        pytest.param(40, 8, None, [1, 2, 4, 8], id="as Llama 2 13B, which five do not share out though they divide the heads"),
        pytest.param(40, 10, None, [1, 2, 4, 5, 8, 10], id="in a node that five divide"),
        pytest.param(24, 6, None, [1, 2, 3, 4, 6], id="in a node of six, of which four are used as a rule"),
        pytest.param(40, 8, 5, [1, 2, 4, 5, 8], id="as the spec says"),
        pytest.param(40, 8, 3, [1, 2, 4, 8], id="as the spec says, which does not divide the heads"),
    ],
)
def test_there_is_a_size_for_each_number_of_accelerators_that_people_share_such_a_model_out_to(
    heads: int, per_node: int, stated: int | None, expected: list[int]
) -> None:
    model = shape(attention_heads=heads, key_value_heads=heads, vocabulary_size=64 * 120)
    found = sized(model, h100(perNode=per_node), engine=Engine(tensorParallelSize=stated))
    assert [each.tensor_parallel_size for each in found] == expected


def test_a_calibrated_size_is_feasible_and_says_so() -> None:
    found = sized()[0]
    assert found.feasible
    assert found.basis is SizeBasis.CALIBRATED
    assert found.kv_tokens == pytest.approx(433_000, rel=0.02)
    assert found.memory.weights_gib == pytest.approx(14.96, rel=0.01)
    assert found.concurrency > 64
    assert found.inter_token_latency_ms is not None
    assert found.inter_token_latency_ms <= 50


@pytest.mark.parametrize(
    ("model_id", "changes", "said"),
    [
        pytest.param("meta-llama/Llama-3.3-70B-Instruct", {}, "missing", id="the weights do not fit"),
        pytest.param("meta-llama/Llama-3.1-8B-Instruct", {"max_context_tokens": 10**6}, "maxContextTokens", id="not one long request fits"),
        pytest.param("meta-llama/Llama-3.1-8B-Instruct", {"slo": Slo(inter_token_latency_ms=5)}, "interTokenLatencyMs 5", id="too slow"),
        pytest.param("meta-llama/Llama-3.1-8B-Instruct", {"slo": Slo(time_to_first_token_ms=50)}, "timeToFirstTokenMs 50", id="too late"),
        pytest.param("meta-llama/Llama-3.1-8B-Instruct", {"slo": Slo(end_to_end_ms=1000)}, "endToEndMs 1000", id="too long"),
    ],
)
def test_what_cannot_serve_says_why_and_by_how_much(model_id: str, changes: dict[str, Any], said: str) -> None:
    known = known_model(Model(id=model_id))
    assert known is not None
    found = sized(known.architecture, **changes)[0]
    assert not found.feasible
    assert found.problem is not None
    assert said in found.problem
    assert (found.concurrency, found.requests_per_s) == (0, 0.0)


@pytest.mark.parametrize("slo", [None, Slo(end_to_end_ms=3_600_000), Slo(inter_token_latency_ms=60_000)])
def test_a_cache_for_one_request_serves_one(slo: Slo | None) -> None:
    long = Lengths(input_mean=400_000, input_p95=400_000, output_mean=250)
    found = sized(lengths=long, slo=slo, max_context_tokens=410_000)[0]
    assert 410_000 <= found.kv_tokens < 450_000
    assert (found.problem, found.concurrency) == (None, 1)


def test_a_cache_that_holds_not_one_request_of_mean_length_is_what_is_told() -> None:
    longer = Lengths(input_mean=600_000, input_p95=600_000, output_mean=250)
    for slo in (None, Slo(end_to_end_ms=3_600_000)):
        problem = sized(lengths=longer, slo=slo, max_context_tokens=1000)[0].problem
        assert problem == "the KV cache cannot hold a mean request of 600125 tokens: correct traffic, or choose more memory"


def test_a_target_that_only_an_idle_replica_keeps_is_missed() -> None:
    slo = Slo(time_to_first_token_ms=200, inter_token_latency_ms=60)
    long = Lengths(input_mean=5000, input_p95=15_000, output_mean=250)
    engine, b200 = Engine(max_num_batched_tokens=100), default_classes()["nvidia-b200"]
    found = sized(accelerator=b200, lengths=long, slo=slo, engine=engine, max_context_tokens=2048)[-1]
    assert found.problem == "misses timeToFirstTokenMs 200 at any load: 199 ms at 99 % with none"
    assert found.requests_per_s == 0


def test_a_later_first_token_makes_no_class_impossible() -> None:
    known = known_model(Model(id="openai/gpt-oss-20b"))
    assert known is not None
    lengths = Lengths(input_mean=10_000, input_p95=16_842.357162158783, output_mean=5, output_p95=21.018879098789014)
    sooner, later = (
        sized(known.architecture, default_classes()["nvidia-l4"], lengths=lengths, slo=slo, max_context_tokens=8192)[0]
        for slo in (Slo(time_to_first_token_ms=ms, attainment_percent=90) for ms in (5000, 6500))
    )
    assert (sooner.problem, later.problem) == (None, None)
    assert later.requests_per_s > sooner.requests_per_s
    assert later.ttft_ms is not None
    assert later.ttft_ms <= 6500


def test_a_replica_whose_overflow_is_rented_carries_at_least_as_much() -> None:
    known = known_model(Model(id="openai/gpt-oss-20b"))
    assert known is not None
    slo = Slo(time_to_first_token_ms=200, inter_token_latency_ms=60, end_to_end_ms=2000, attainment_percent=50)
    lengths, a100 = Lengths(input_mean=10_000, input_p95=39_018.50435455502, output_mean=100), default_classes()["nvidia-a100-40gb"]
    found = sized(known.architecture, a100, lengths=lengths, slo=slo, max_context_tokens=32_768)
    assert any(each.feasible for each in found)
    assert all(each.behind_cap.requests_per_s >= each.requests_per_s for each in found)


@pytest.mark.parametrize("ttft_ms", [100, 1000])
def test_prompts_that_are_read_in_one_step_read_its_experts_once_however_short_answers_are(ttft_ms: int) -> None:
    known = known_model(Model(id="openai/gpt-oss-120b"))
    assert known is not None
    slo = Slo(time_to_first_token_ms=ttft_ms, attainment_percent=95)
    tokens, rates = (1, 3, 7, 20, 80), []
    for output in tokens:
        lengths = Lengths(input_mean=92, input_p95=276, output_mean=output)
        rates.append(sized(known.architecture, lengths=lengths, slo=slo)[0].requests_per_s)
    assert all(shorter >= longer > 0 for shorter, longer in pairwise(rates))


def test_what_needs_more_than_a_node_is_refused_with_that_reason() -> None:
    known = known_model(Model(id="deepseek-ai/DeepSeek-R1"))
    assert known is not None
    whole_node = sized(known.architecture)[-1]
    assert whole_node.problem is not None
    assert "within one node, which has 8" in whole_node.problem


def test_accelerators_that_were_never_measured_are_estimates_with_a_wider_error() -> None:
    on_l4, on_unlike_h100 = sized(accelerator=L4)[0], sized(accelerator=h100(memoryBandwidthGBps=3900))[0]
    assert on_l4.basis is SizeBasis.ESTIMATED
    assert on_l4.error_percent > on_unlike_h100.error_percent > sized()[0].error_percent


def test_experts_and_quantized_weights_are_less_sure_than_dense_ones_in_16_bits() -> None:
    unmeasured = h100(memoryBandwidthGBps=3900)
    dense, experts, quantized = (
        sized(shape(**changes), unmeasured, quantization=quantization)[0].error_percent
        for changes, quantization in (({}, None), ({"active_parameters": 10**9}, None), ({}, Quantization.AWQ))
    )
    assert dense < experts < quantized


@pytest.mark.parametrize(
    ("accelerator", "stated", "said"),
    [
        pytest.param(L4, None, "model.maxContextTokens", id="too long for an L4, and nothing else asked for"),
        pytest.param(L4, 8192, None, id="less asked for"),
        pytest.param(h100(), None, None, id="there is room for it"),
    ],
)
def test_says_where_the_engine_would_not_start_with_the_models_own_context(
    accelerator: AcceleratorClassSpec, stated: int | None, said: str | None
) -> None:
    known = known_model(Model(id="meta-llama/Llama-3.1-8B-Instruct"))
    assert known is not None
    size = sized_at(1, known.architecture, accelerator)
    found = own_context_misfit(known, size, engine=Engine(), max_context_tokens=stated)
    assert found is None if said is None else said in (found or "")


@pytest.mark.parametrize(
    ("model", "stated", "said"),
    [
        pytest.param("meta-llama/Llama-2-7b-chat-hf", None, "the model's own context is 4096", id="longer than the model's own"),
        pytest.param("meta-llama/Llama-3.1-8B-Instruct", 4096, "model.maxContextTokens allows 4096", id="longer than asked for"),
        pytest.param("meta-llama/Llama-3.1-8B-Instruct", None, None, id="there is room for it"),
    ],
)
def test_says_where_the_engine_would_refuse_the_mean_request(model: str, stated: int | None, said: str | None) -> None:
    known = known_model(Model(id=model))
    assert known is not None
    found = too_long_requests(known, Lengths(input_mean=8000, input_p95=9000, output_mean=250), max_context_tokens=stated)
    assert found is None if said is None else f"A mean request has 8250 tokens and {said}" in (found or "")


def test_a_window_lets_a_long_context_fit_where_full_attention_would_not() -> None:
    gemma, llama = (known_model(Model(id=name)) for name in ("google/gemma-3-12b-it", "microsoft/phi-4"))
    assert gemma is not None
    assert llama is not None
    l40s = h100(product="NVIDIA L40S", memoryGiB=44, memoryBandwidthGBps=864, perNode=1)
    long_phi = replace(llama, context_tokens=131_072)
    windowed, full = (
        own_context_misfit(known, sized_at(1, known.architecture, l40s), engine=Engine(), max_context_tokens=None)
        for known in (gemma, long_phi)
    )
    assert windowed is None
    assert full is not None


def test_the_engines_own_bound_holds() -> None:
    assert sized(engine=Engine(max_num_seqs=17))[0].concurrency == 17


def test_half_a_cache_per_value_holds_twice_the_tokens() -> None:
    halves = sized(engine=Engine(extra_args=["--kv-cache-dtype", "fp8"]))[0]
    assert halves.kv_tokens == pytest.approx(2 * sized()[0].kv_tokens, abs=2)


def test_without_targets_memory_and_the_engine_alone_bound_the_batch() -> None:
    assert sized(slo=None)[0].concurrency == 256


def test_a_stricter_attainment_promises_later_tokens_and_serves_less() -> None:
    tight = PROMISE.model_copy(update={"inter_token_latency_ms": 35})
    lax, strict = (sized_at(1, slo=tight.model_copy(update={"attainment_percent": percent})) for percent in (50, 99))
    assert strict.concurrency < lax.concurrency
    assert strict.requests_per_s < lax.requests_per_s


def test_a_hundred_percent_is_promised_as_far_as_any_load_can() -> None:
    assert sized(slo=PROMISE.model_copy(update={"attainment_percent": 100}))[0].requests_per_s > 0


def test_a_bounded_context_bounds_the_longest_prompt() -> None:
    wide = Lengths(input_mean=1000, input_p95=3500, output_mean=250)
    bounded, free = (service(lengths=wide, longest=each).promise(mean_batch=8, bound=64).ttft_ms for each in (2000, None))
    assert bounded < free


def test_answers_count_at_their_length_of_the_attainment_where_it_is_stated() -> None:
    stated = Lengths(input_mean=1000, input_p95=3000, output_mean=250, output_p95=900)
    told, silent = (service(lengths=each).promise(mean_batch=8, bound=64).end_to_end_ms for each in (stated, CHAT))
    assert told > 3 * silent


def test_long_prompts_are_computed_in_chunks_that_wait_for_the_others() -> None:
    one, two = (service().first_token_ms(64, tokens) - service().first_token_ms(1, tokens) for tokens in (8000, 8200))
    assert two == pytest.approx(2 * one, rel=0.05)


@pytest.mark.parametrize(
    ("places", "load", "waiting"),
    [
        pytest.param(1, 0.5, 0.5, id="one place: the load"),
        pytest.param(2, 1.0, 1 / 3, id="two places half used"),
        pytest.param(5, 4.0, 0.5541, id="five places, four used"),
    ],
)
def test_the_share_that_waits_is_erlangs(places: int, load: float, waiting: float) -> None:
    assert erlang_c(places, load) == pytest.approx(waiting, rel=1e-3)


@pytest.mark.parametrize("answer", [1, 2, 5, 10])
@pytest.mark.parametrize("slo", [None, Slo(inter_token_latency_ms=60_000)], ids=["no target", "none of the first token"])
def test_a_replica_without_a_target_of_the_first_token_computes_all_the_prompts_that_it_takes(answer: int, slo: Slo | None) -> None:
    lengths = replace(CHAT, output_mean=answer, output_p95=None)
    found = sized_at(1, lengths=lengths, slo=slo)
    alone = sized_at(1, lengths=lengths, slo=slo, engine=Engine(max_num_seqs=1))
    assert found.ttft_ms is not None
    assert math.isfinite(found.ttft_ms)
    # A hundred at once share steps, but nothing makes their prompts less work: 67 times the rate was promised of answers of one token.
    assert alone.requests_per_s < found.requests_per_s < 20 * alone.requests_per_s


def test_the_first_token_target_leaves_places_free_and_more_room_takes_more_load() -> None:
    tight, loose = (sustained(service(), Slo(time_to_first_token_ms=target), bound=32) for target in (200, 20_000))
    assert tight.requests_per_s < loose.requests_per_s
    assert tight.ttft_ms <= 200


def test_a_lognormal_goes_through_mean_and_p95() -> None:
    sigma = length_spread(1000, 3000)
    assert 1000 * math.exp(1.6449 * sigma - sigma**2 / 2) == pytest.approx(3000, rel=1e-3)
    assert length_at(95, mean=1000, p95=3000) == pytest.approx(3000)
    assert length_at(99, mean=1000, p95=1000) == 1000


def test_the_largest_batch_is_the_last_that_keeps_the_target() -> None:
    one, slo = service(), Slo(inter_token_latency_ms=30)
    batch = largest_batch(one, slo, limit=512)
    assert one.inter_token_ms(batch) <= 30 < one.inter_token_ms(batch + 1)


LENGTHS = st.builds(
    lambda mean, ratio, output: Lengths(input_mean=mean, input_p95=mean * ratio, output_mean=output),
    st.integers(min_value=10, max_value=20_000),
    st.floats(min_value=1.0, max_value=3.8),
    st.integers(min_value=1, max_value=2000),
)
TARGETS = st.builds(
    lambda pace, first: Slo(inter_token_latency_ms=pace, time_to_first_token_ms=first),
    st.one_of(st.none(), st.integers(min_value=5, max_value=200)),
    st.integers(min_value=50, max_value=10_000),
)


@given(lengths=LENGTHS, longer=st.floats(min_value=1.0, max_value=5.0), slo=TARGETS, parallel=st.sampled_from([1, 2, 8]))
def test_longer_prompts_never_raise_the_rate(lengths: Lengths, longer: float, slo: Slo, parallel: int) -> None:
    long = Lengths(input_mean=lengths.input_mean * longer, input_p95=lengths.input_p95 * longer, output_mean=lengths.output_mean)
    short_rate, long_rate = (sized_at(parallel, lengths=each, slo=slo).requests_per_s for each in (lengths, long))
    assert long_rate <= short_rate * 1.001


@given(
    lengths=LENGTHS,
    slo=TARGETS,
    faster=st.floats(min_value=1.0, max_value=3.0),
    parallel=st.sampled_from([1, 2, 4]),
    start=st.floats(min_value=0.2, max_value=1.5),
)
def test_a_faster_class_never_lowers_the_rate(lengths: Lengths, slo: Slo, faster: float, parallel: int, start: float) -> None:
    def rate(factor: float) -> float:
        accelerator = h100(
            memoryBandwidthGBps=int(3350 * factor),
            teraFLOPs={"bf16": int(989 * factor), "fp8": int(1979 * factor)},
            interconnectGBps=int(900 * factor),
        )
        return sized_at(parallel, accelerator=accelerator, lengths=lengths, slo=slo).requests_per_s

    assert rate(start * faster) >= rate(start) * 0.999


@given(lengths=LENGTHS, slo=TARGETS, looser=st.floats(min_value=1.0, max_value=10.0))
def test_a_looser_promise_never_lowers_the_rate(lengths: Lengths, slo: Slo, looser: float) -> None:
    pace, first = slo.inter_token_latency_ms, slo.time_to_first_token_ms
    assert first is not None
    loose = Slo(inter_token_latency_ms=pace and int(pace * looser), time_to_first_token_ms=int(first * looser))
    tight_rate, loose_rate = (sized_at(1, lengths=lengths, slo=each).requests_per_s for each in (slo, loose))
    assert loose_rate >= tight_rate * 0.999


@given(lengths=LENGTHS, slo=TARGETS)
def test_what_is_feasible_keeps_the_promise_at_the_rate_it_states(lengths: Lengths, slo: Slo) -> None:
    found = sized_at(1, lengths=lengths, slo=slo)
    if found.feasible:
        assert found.requests_per_s > 0
        assert found.ttft_ms is not None
        assert found.ttft_ms <= (slo.time_to_first_token_ms or math.inf)
        assert found.inter_token_latency_ms is not None
        assert found.inter_token_latency_ms <= (slo.inter_token_latency_ms or math.inf)
