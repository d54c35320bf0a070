"""Capacity: what a replica holds, and which figures may move with measurements."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.api.status import Basis
from spillway.api.workload import InferenceWorkloadSpec
from spillway.plan import capacity
from spillway.plan.decision import Memory
from spillway.plan.lengths import declared_lengths
from spillway.plan.observation import EngineLimits
from spillway.plan.sizing import sizes
from tests.unit.plan.situations import LLAMA_8B, MISSING, accelerator, signals, spec

SHAPED = {"model": {"id": "meta/llama-8b", "architecture": LLAMA_8B}}


def shaped(mode: str = "Hybrid", **changes: Any) -> InferenceWorkloadSpec:
    return spec(mode, **({"engine": {"maxNumSeqs": None}} | SHAPED | changes))


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
    measured = Memory(measured_step_ms=step, measured_batch=batch, measured_input_tokens=prompt, measured_output_tokens=answer)
    estimate, learned = (capacity.size(wanted, accelerator(), memory) for memory in (Memory(), measured))
    for name in ("max_num_seqs", "max_queued_tokens", "max_queued_requests", "kv_tokens"):
        assert getattr(estimate, name) == getattr(learned, name)
    assert (estimate.basis, learned.basis) == (Basis.ESTIMATED, Basis.MEASURED)


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
    found = capacity.size(wanted, accelerator(), Memory(measured_step_ms=step, measured_batch=1.0))
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
            shaped(engine={"maxNumSeqs": 100}, slo={"timeToFirstTokenMs": 2000}), 15, id="as many as leave it within half the TTFT target"
        ),
        pytest.param(shaped(engine={"maxNumSeqs": 100}, slo={"endToEndMs": 10_000}), 30, id="as many as leave time for the whole request"),
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
        pytest.param(spec(slo={"timeToFirstTokenMs": 5000}), 1, id="at the inter-token target's pace for an unknown shape"),
    ],
)
def test_queue_that_still_meets_the_targets(wanted: InferenceWorkloadSpec, queue: int) -> None:
    assert capacity.size(wanted, accelerator(), Memory()).queue_per_replica == queue


def test_requests_per_second_follow_from_batch_and_residence() -> None:
    found = capacity.size(spec(), accelerator(), Memory(measured_step_ms=20.0, measured_batch=8.0))
    assert found.requests_per_s == pytest.approx(8 / (250 * 0.020))
    assert found.step_time_ms == pytest.approx(20.0)


def test_requests_per_second_are_unknown_without_shape_and_measurement() -> None:
    found = capacity.size(spec(), accelerator(), Memory())
    assert found.requests_per_s is None
    assert capacity.assumed_residence_s(spec(), found, Memory()) == pytest.approx(250 * 0.050)


def test_a_measured_step_keeps_the_shape_of_the_estimate() -> None:
    wanted = shaped()
    estimate = capacity.expected_service(wanted, accelerator(), declared_lengths(wanted))
    assert estimate is not None
    twice = capacity.measured_service(estimate, Memory(measured_step_ms=2 * estimate.step_ms(40), measured_batch=40))
    assert twice is not None
    assert twice.step_ms(40) == pytest.approx(2 * estimate.step_ms(40))
    assert twice.step_ms(100) == pytest.approx(2 * estimate.step_ms(100), rel=0.05)


def test_a_step_that_seems_to_take_nothing_makes_no_replica_infinitely_fast() -> None:
    estimate = capacity.expected_service(shaped(), accelerator(), declared_lengths(shaped()))
    assert estimate is not None
    misread = capacity.measured_service(estimate, Memory(measured_step_ms=0.01, measured_batch=40))
    assert misread is not None
    assert misread.step_ms(40) > 1.5


SUBJECT = ("pool", spec().model, spec().dedicated.engine)  # type: ignore[union-attr]


def test_measurements_rest_until_they_move_visibly() -> None:
    first = capacity.remember(
        Memory(), signals(step_time_ms=20.0, batch_mean=8.0, input_tokens_mean=500.0, output_tokens_mean=90.0), SUBJECT
    )
    near = capacity.remember(first, signals(step_time_ms=22.0, batch_mean=8.5, input_tokens_mean=550.0, output_tokens_mean=99.0), SUBJECT)
    far = capacity.remember(first, signals(step_time_ms=30.0, batch_mean=8.0, input_tokens_mean=900.0, output_tokens_mean=200.0), SUBJECT)
    assert near == first
    assert (far.measured_step_ms, far.measured_input_tokens, far.measured_output_tokens) == (30.0, 900.0, 200.0)


def test_measurements_outlive_a_gap_and_a_quiet_time() -> None:
    first = capacity.remember(Memory(), signals(step_time_ms=20.0, batch_mean=8.0), SUBJECT)
    assert capacity.remember(first, signals(), SUBJECT) == first
    assert capacity.remember(first, signals(step_time_ms=7.0, batch_mean=1.0), SUBJECT) == first
    assert capacity.remember(first, signals(step_time_ms=float("nan"), batch_mean=float("nan")), SUBJECT) == first


def test_measurements_of_another_engine_are_forgotten() -> None:
    first = capacity.remember(Memory(), signals(step_time_ms=20.0, batch_mean=8.0), SUBJECT)
    other = capacity.remember(first, signals(step_time_ms=MISSING), ("another pool", SUBJECT[1], SUBJECT[2]))
    assert other.measured_step_ms is None


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
