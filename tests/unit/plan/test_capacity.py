"""Capacity: what a replica holds, and which figures may move with measurements."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.api.status import Basis
from spillway.api.workload import InferenceWorkloadSpec
from spillway.plan.decision import Capacity, Memory
from spillway.plan.observation import EngineLimits
from spillway.plan.replica import capacity
from spillway.plan.replica.measuring import Measured, remember
from spillway.plan.replica.sizing import sizes
from spillway.plan.traffic.lengths import declared_lengths
from tests.unit.plan.situations import LLAMA_8B, NOW, accelerator, signals, spec

SHAPED = {"model": {"id": "meta/llama-8b", "architecture": LLAMA_8B}}


def shaped(mode: str = "Hybrid", **changes: Any) -> InferenceWorkloadSpec:
    return spec(mode, **({"engine": {"maxNumSeqs": None}} | SHAPED | changes))


def measure(wanted: InferenceWorkloadSpec, step_ms: float, batch: float) -> Memory:
    """Return the memory after one reading of a step of this length at this batch."""
    subject = Measured(pool="pool", spec=wanted, accelerator=accelerator(), running=None)
    return remember(Memory(), signals(step_time_ms=step_ms, batch_mean=batch), subject, NOW)


def step_at(wanted: InferenceWorkloadSpec, batch: float) -> float:
    service = capacity.expected_service(wanted, accelerator(), declared_lengths(wanted))
    assert service is not None
    return service.step_ms(batch)


def positive(found: float | None) -> float:
    assert found
    return found


def rate(found: Capacity) -> float:
    return positive(found.requests_per_s)


def work_s(found: Capacity) -> float:
    return positive(found.work_s_per_request)


def test_a_model_of_the_catalogue_is_sized_without_its_shape_in_the_spec() -> None:
    by_name = spec(engine={"maxNumSeqs": None}, model={"id": "meta-llama/Llama-3.1-8B-Instruct"}, slo={"interTokenLatencyMs": 50})
    by_shape = capacity.engine_limits(shaped(slo={"interTokenLatencyMs": 50}), accelerator())
    assert capacity.engine_limits(by_name, accelerator()).max_num_seqs == by_shape.max_num_seqs
    assert capacity.size(by_name, accelerator(), Memory()).requests_per_s is not None


def test_the_operator_and_the_planner_say_the_same_of_a_replica() -> None:
    wanted = shaped("Dedicated", slo={"interTokenLatencyMs": 50, "timeToFirstTokenMs": 2000})
    assert wanted.dedicated is not None
    assert wanted.model.architecture is not None
    planned = sizes(
        wanted.model.architecture,
        quantization=None,
        accelerator_class="h100",
        accelerator=accelerator(),
        engine=wanted.dedicated.engine,
        lengths=declared_lengths(wanted),
        slo=wanted.slo,
        max_context_tokens=None,
    )[0]
    found = capacity.size(wanted, accelerator(), Memory())
    assert (found.max_num_seqs, found.requests_per_s) == (planned.concurrency, planned.requests_per_s)


@pytest.mark.parametrize(
    ("wanted", "batch"),
    [
        pytest.param(spec(), 8, id="what the spec says"),
        pytest.param(shaped(slo={"interTokenLatencyMs": 35}), 168, id="the largest that meets the inter-token target"),
        pytest.param(shaped(), 256, id="vLLM's own default without a target"),
        pytest.param(shaped(slo={"interTokenLatencyMs": 5}), 1, id="one where the target cannot be met"),
        pytest.param(shaped(traffic={"inputTokens": {"mean": 100_000}}), 3, id="what the KV cache holds"),
        pytest.param(spec(engine={"maxNumSeqs": None}), 32, id="a careful one for an unknown shape"),
        pytest.param(spec(engine={"maxNumSeqs": None}, slo={"interTokenLatencyMs": 25}), 16, id="a smaller one for a tight target"),
        pytest.param(spec("Hosted"), 32, id="a careful one where nothing is owned"),
    ],
)
def test_largest_batch(wanted: InferenceWorkloadSpec, batch: int) -> None:
    assert capacity.engine_limits(wanted, accelerator()).max_num_seqs == batch


@given(
    step=st.floats(min_value=0.1, max_value=1000),
    batch=st.floats(min_value=1, max_value=300),
    prompt=st.floats(min_value=1, max_value=1e5),
    answer=st.floats(min_value=1, max_value=1e5),
)
def test_nothing_measured_moves_what_is_rendered_into_the_pod_template(step: float, batch: float, prompt: float, answer: float) -> None:
    wanted = shaped(slo={"interTokenLatencyMs": 50, "timeToFirstTokenMs": 2000})
    measured = replace(measure(wanted, step, batch), measured_input_tokens=prompt, measured_output_tokens=answer)
    estimate, found = (capacity.size(wanted, accelerator(), memory) for memory in (Memory(), measured))
    for name in ("max_num_seqs", "max_queued_tokens", "max_queued_requests", "kv_tokens"):
        assert getattr(estimate, name) == getattr(found, name)
    believed = measured.step is not None and bool(measured.step.evidence)
    assert (estimate.basis, found.basis) == (Basis.ESTIMATED, Basis.MEASURED if believed else Basis.ESTIMATED)
    assert 1 <= found.batch <= found.max_num_seqs


@given(
    seqs=st.integers(min_value=1, max_value=512),
    most=st.integers(min_value=1, max_value=64),
    context=st.integers(min_value=16, max_value=200_000),
    mode=st.sampled_from(["Hybrid", "Dedicated"]),
    ttft=st.one_of(st.none(), st.integers(min_value=1, max_value=100_000)),
    step=st.floats(min_value=0.01, max_value=1000),
)
def test_the_engine_never_refuses_what_the_gateways_cap_may_send(
    seqs: int, most: int, context: int, mode: str, ttft: int | None, step: float
) -> None:
    wanted = spec(
        mode,
        engine={"maxNumSeqs": seqs},
        scaling={"maxReplicas": most},
        model={"maxContextTokens": context},
        slo={"timeToFirstTokenMs": ttft} if ttft else None,
    )
    found = capacity.size(wanted, accelerator(), measure(wanted, step, 1.0))
    assert found.max_queued_requests >= 2 * most * found.slots
    assert found.max_queued_tokens is not None
    assert found.max_queued_tokens >= max(context, found.max_queued_requests * declared_lengths(wanted).input_p95)
    assert found.max_queued_requests & (found.max_queued_requests - 1) == 0


@pytest.mark.parametrize("mode", ["Hybrid", "Dedicated"])
def test_another_upper_bound_moves_nothing_in_the_pod_template_up_to_sixteen_replicas(mode: str) -> None:
    def limits(most: int) -> EngineLimits:
        wanted = spec(mode, model={"maxContextTokens": 4096}, scaling={"maxReplicas": most})
        return capacity.engine_limits(wanted, accelerator())

    assert all(limits(most) == limits(1) for most in range(2, 17))
    assert limits(17) == limits(32) != limits(16)


def test_no_token_limit_where_the_longest_prompt_is_unknown() -> None:
    assert capacity.size(spec(), accelerator(), Memory()).max_queued_tokens is None


@pytest.mark.parametrize(
    ("wanted", "queue"),
    [
        pytest.param(
            shaped(engine={"maxNumSeqs": 100}, slo={"timeToFirstTokenMs": 2000}), 9, id="as many as leave it within a third of the target"
        ),
        pytest.param(shaped(engine={"maxNumSeqs": 100}, slo={"endToEndMs": 10_000}), 18, id="as many as leave time for the whole request"),
        pytest.param(
            shaped(engine={"maxNumSeqs": 100}, slo={"timeToFirstTokenMs": 20}), 0, id="none where the prompt alone takes the target"
        ),
        pytest.param(shaped(engine={"maxNumSeqs": 100}, slo={"timeToFirstTokenMs": 3_000_000}), 200, id="never more than two batches"),
        pytest.param(shaped(engine={"maxNumSeqs": 100}), 100, id="one batch without a target"),
        pytest.param(
            shaped("Dedicated", engine={"maxNumSeqs": 100}, slo={"timeToFirstTokenMs": 20}),
            800,
            id="all there is room for when nothing can be spilled",
        ),
        pytest.param(spec(slo={"timeToFirstTokenMs": 8000}), 1, id="at the inter-token target's pace for an unknown shape"),
    ],
)
def test_queue_that_still_meets_the_targets(wanted: InferenceWorkloadSpec, queue: int) -> None:
    assert capacity.size(wanted, accelerator(), Memory()).queue_per_replica == queue


def test_no_queue_waits_for_prompts_that_a_replica_cannot_compute_in_time() -> None:
    one, many = (
        shaped(slo={"timeToFirstTokenMs": 1000}, traffic={"inputTokens": {"mean": 1000}, "outputTokens": {"mean": answer}})
        for answer in (1, 50)
    )
    short, longer = (capacity.size(wanted, accelerator(), Memory()) for wanted in (one, many))
    # Each place of a batch is free again after one token, but its prompt took as long: not hundreds leave the queue in a third of a second.
    assert short.queue_per_replica <= 4 * longer.queue_per_replica


def test_prompts_that_wait_for_prompts_lower_what_a_replica_carries_and_not_the_queue_that_a_cap_bounds() -> None:
    wide, alike = (
        shaped(traffic={"inputTokens": {"mean": 4000, "p95": p95}}, engine={"maxNumSeqs": 64}, slo={"timeToFirstTokenMs": 1500})
        for p95 in (12_000, 4000)
    )
    varied, even = (capacity.size(each, accelerator(), Memory()) for each in (wide, alike))
    assert rate(varied) < 0.9 * rate(even)
    assert varied.queue_per_replica <= even.queue_per_replica


def test_a_replica_whose_overflow_is_rented_carries_more_than_one_by_itself() -> None:
    crowded: dict[str, Any] = {"traffic": {"inputTokens": {"mean": 1000, "p95": 3000}}, "engine": {"maxNumSeqs": 8}}
    promised: dict[str, Any] = {"slo": {"timeToFirstTokenMs": 3000}}
    by_itself, renting = (capacity.size(shaped(mode, **crowded, **promised), accelerator(), Memory()) for mode in ("Dedicated", "Hybrid"))
    assert rate(by_itself) < rate(renting)


def test_requests_per_second_follow_from_batch_and_residence() -> None:
    found = capacity.size(spec(), accelerator(), measure(spec(), 20.0, 8.0))
    assert found.requests_per_s == pytest.approx(8 / (250 * 0.020))
    assert found.step_time_ms == pytest.approx(20.0)


def test_requests_per_second_are_unknown_without_shape_and_measurement() -> None:
    found = capacity.size(spec(), accelerator(), Memory())
    assert found.requests_per_s is None
    assert capacity.assumed_residence_s(spec(), found, Memory()) == pytest.approx(250 * 0.050)


def test_a_learned_step_moves_all_that_only_the_gateway_and_the_scaler_use() -> None:
    wanted = shaped(slo={"interTokenLatencyMs": 35, "timeToFirstTokenMs": 2000})
    estimate = capacity.size(wanted, accelerator(), Memory())
    slow = capacity.size(wanted, accelerator(), measure(wanted, 2 * step_at(wanted, 40), 40.0))
    assert estimate.batch == estimate.max_num_seqs == slow.max_num_seqs
    assert slow.batch < 0.8 * estimate.batch
    assert slow.slots < estimate.slots
    assert rate(slow) < 0.8 * rate(estimate)
    assert slow.prefill_tokens_per_s == pytest.approx(positive(estimate.prefill_tokens_per_s) / 2, rel=0.1)
    assert work_s(slow) > 2 * work_s(estimate)  # and fewer share what every step takes


def test_a_faster_engine_than_expected_gets_no_larger_batch_than_it_was_told() -> None:
    wanted = shaped(slo={"interTokenLatencyMs": 35})
    fast = capacity.size(wanted, accelerator(), measure(wanted, step_at(wanted, 40) / 2, 40.0))
    assert fast.batch == fast.max_num_seqs == capacity.size(wanted, accelerator(), Memory()).max_num_seqs
    assert work_s(fast) < work_s(capacity.size(wanted, accelerator(), Memory()))


def test_an_engine_that_cannot_keep_the_target_still_gets_one_request_at_a_time() -> None:
    wanted = shaped(slo={"interTokenLatencyMs": 12})
    hopeless = capacity.size(wanted, accelerator(), measure(wanted, 3 * step_at(wanted, 10), 10.0))
    assert hopeless.batch == 1
    assert rate(hopeless) > 0


def test_a_reading_that_nobody_believes_yet_changes_nothing() -> None:
    wanted = shaped(slo={"interTokenLatencyMs": 35})
    assert capacity.size(wanted, accelerator(), measure(wanted, 10 * step_at(wanted, 40), 40.0)) == capacity.size(
        wanted, accelerator(), Memory()
    )


def test_an_unknown_shapes_batch_is_what_the_learned_line_keeps_within_the_target() -> None:
    wanted = spec(engine={"maxNumSeqs": 64}, slo={"interTokenLatencyMs": 25})
    found = capacity.size(wanted, accelerator(), measure(wanted, 20.0, 8.0))
    assert found.batch == int((25 * 1.12 / 20 - 1) / 0.015)
    assert capacity.size(wanted, accelerator(), Memory()).batch == 64


def test_work_is_what_a_full_batch_shares_out() -> None:
    wanted = shaped(slo={"interTokenLatencyMs": 35})
    found = capacity.size(wanted, accelerator(), Memory())
    service = capacity.expected_service(wanted, accelerator(), declared_lengths(wanted))
    assert service is not None
    # Undisturbed by waits for a free place, a full batch of mean requests leaves at one over their work.
    assert 1 / work_s(found) == pytest.approx(service.requests_per_s(found.batch), rel=0.1)
    assert found.work is not None
    half = replace(found.work, prefix_hit_ratio=0.5)
    assert half.seconds(input_tokens=2000, output_tokens=0) == pytest.approx(found.work.seconds(input_tokens=2000, output_tokens=0) / 2)
    assert found.work.seconds(input_tokens=0, output_tokens=0) == 0


def test_work_is_unknown_without_shape_and_measurement() -> None:
    assert capacity.size(spec(), accelerator(), Memory()).work_s_per_request is None
    measured = capacity.size(spec(), accelerator(), measure(spec(), 20.0, 8.0))
    assert measured.work_s_per_request == pytest.approx(250 * 0.020 / 8)


@pytest.mark.parametrize(
    ("traffic", "rate"),
    [
        pytest.param(None, None, id="nothing declared"),
        pytest.param({}, None, id="no rate declared"),
        pytest.param({"requestsPerSecond": {"mean": "2.5"}}, 2.5, id="per second"),
        pytest.param({"requestsPerMonth": 2_592_000}, 1.0, id="per 30 days"),
    ],
)
def test_declared_rate(traffic: dict[str, Any] | None, rate: float | None) -> None:
    assert capacity.declared_rate(spec(traffic=traffic)) == rate


def test_declared_lengths() -> None:
    lengths = declared_lengths(spec(traffic={"inputTokens": {"mean": 100, "p95": 400}, "outputTokens": {"mean": 30}}))
    assert (lengths.input_mean, lengths.input_p95, lengths.output_mean) == (100, 400, 30)


def test_a_hosted_workload_has_no_replica_to_size() -> None:
    hosted = spec("Hosted", model={"architecture": LLAMA_8B})
    assert capacity.kv_capacity_tokens(hosted, accelerator()) is None
    assert capacity.expected_service(hosted, accelerator(), declared_lengths(hosted)) is None


@pytest.mark.parametrize(
    ("per", "parallel", "usd"),
    [pytest.param("Accelerator", 2, 8.0, id="each accelerator has its price"), pytest.param("Node", 2, 1.0, id="a share of the node")],
)
def test_price_of_a_replica(per: str, parallel: int, usd: float) -> None:
    price = accelerator(price={"onDemandUSDPerHour": "4", "per": per, "asOf": "2026-07-20", "source": "x"}).price
    assert capacity.usd_per_replica_hour(price, tensor_parallel_size=parallel, per_node=8) == usd
    assert capacity.usd_per_replica_hour(None, tensor_parallel_size=parallel, per_node=8) is None
