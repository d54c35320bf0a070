"""What engine readings add to the memory, and which of them."""

from dataclasses import replace
from typing import Any

import pytest

from spillway.api.workload import InferenceWorkloadSpec
from spillway.plan.decision import Memory
from spillway.plan.learned import Learned, from_json, to_json
from spillway.plan.observation import Sample, Signals
from spillway.plan.replica import capacity
from spillway.plan.replica.learned_step import LearnedStep
from spillway.plan.replica.measuring import Measured, remember
from spillway.plan.traffic.lengths import declared_lengths
from tests.unit.plan.situations import (
    LLAMA_8B,
    MISSING,
    NOW,
    accelerator,
    later,
    observe,
    one_pass,
    pool,
    replica,
    signals,
    spec,
    workload,
)

KNOWN = spec(engine={"maxNumSeqs": None}, model={"id": "meta/llama-8b", "architecture": LLAMA_8B}, slo={"interTokenLatencyMs": 35})


def subject(wanted: InferenceWorkloadSpec = KNOWN, pool: str = "pool") -> Measured:
    return Measured(pool=pool, spec=wanted, accelerator=accelerator(), running=None)


def at(seconds: float, **readings: Any) -> Signals:
    """Return readings of a later moment."""
    took = readings.pop("step_time_ms")
    return replace(signals(**readings), step_time_ms=Sample(value=took, at=later(seconds)))


def learned(memory: Memory) -> LearnedStep:
    assert memory.step is not None
    return memory.step


def factor(memory: Memory, batch: float = 100.0) -> float:
    """Return how much longer a step with this batch is learned to be than was expected."""
    expected = capacity.expected_service(KNOWN, accelerator(), declared_lengths(KNOWN))
    assert expected is not None
    return replace(expected, step=learned(memory).step).step_ms(batch) / expected.step_ms(batch)


def expected_ms(batch: float) -> float:
    expected = capacity.expected_service(KNOWN, accelerator(), declared_lengths(KNOWN))
    assert expected is not None
    return expected.step_ms(batch)


@pytest.mark.parametrize("off", [0.5, 1.0, 2.0])
def test_ten_minutes_of_ticks_teach_the_step_of_a_full_batch(off: float) -> None:
    memory = Memory()
    for tick in range(40):
        batch = 20.0 + tick
        memory = remember(memory, at(15 * tick, step_time_ms=off * expected_ms(batch), batch_mean=batch), subject(), NOW)
    assert factor(memory, 168) == pytest.approx(off, rel=0.1)


def test_what_the_engine_says_of_cache_and_prompts_counts_before_what_lengths_would_have_it() -> None:
    told = {"prompt_tokens_per_step": 2000.0, "kv_tokens_per_step": 200_000.0}
    plain = remember(Memory(), at(0, step_time_ms=30.0, batch_mean=50.0), subject(), NOW)
    heavy = remember(Memory(), at(0, step_time_ms=30.0, batch_mean=50.0, **told), subject(), NOW)
    assert factor(heavy) < factor(plain)  # more was done in the same time


def test_cache_use_is_taken_of_the_planned_size_where_the_engine_tells_none() -> None:
    planned = capacity.kv_capacity_tokens(KNOWN, accelerator())
    assert planned is not None
    known = remember(Memory(), at(0, step_time_ms=30.0, batch_mean=50.0, kv_tokens_per_step=0.5 * planned), subject(), NOW)
    used = remember(Memory(), at(0, step_time_ms=30.0, batch_mean=50.0, kv_cache_usage_ratio=0.5), subject(), NOW)
    assert learned(used).factors == learned(known).factors


def test_a_gap_a_quiet_time_and_nonsense_leave_what_was_learned() -> None:
    first = remember(Memory(), at(0, step_time_ms=20.0, batch_mean=8.0), subject(), NOW)
    for quiet in (signals(), signals(step_time_ms=float("nan"), batch_mean=float("nan")), signals(step_time_ms=20.0)):
        assert remember(first, quiet, subject(), NOW) == first


def test_a_second_pass_over_the_same_reading_teaches_nothing() -> None:
    first = remember(Memory(), at(0, step_time_ms=20.0, batch_mean=8.0), subject(), NOW)
    assert remember(first, at(0, step_time_ms=30.0, batch_mean=8.0), subject(), NOW).step == first.step


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(subject(pool="another"), id="pool"),
        pytest.param(subject(spec(model={"id": "meta/llama-8b", "architecture": LLAMA_8B | {"layers": 33}})), id="model"),
        pytest.param(subject(KNOWN.model_copy(update={"dedicated": spec(engine={"maxNumSeqs": 9}).dedicated})), id="engine settings"),
    ],
)
def test_learning_starts_anew_for_another(other: Measured) -> None:
    first = remember(Memory(), at(0, step_time_ms=20.0, batch_mean=8.0), subject(), NOW)
    assert remember(first, signals(step_time_ms=MISSING), other, NOW).step is None


def test_other_files_are_another_model_where_its_shape_is_not_known() -> None:
    one, other = (
        subject(spec(model={"id": "acme/own", "source": {"persistentVolumeClaim": {"claimName": claim}}})) for claim in ("small", "large")
    )
    first = remember(Memory(), at(0, step_time_ms=20.0, batch_mean=8.0), one, NOW)
    assert first.step is not None
    assert remember(first, signals(step_time_ms=MISSING), other, NOW).step is None


def busy_for(memory: Memory, minutes: int, *, begin: int, **found: float) -> Memory:
    """Return the memory after so many minutes of 20 requests a second of these lengths."""
    for minute in range(begin, begin + minutes):
        memory = remember(memory, signals(arrivals_per_s=20.0, **found), subject(), later(60 * minute))
    return memory


@pytest.mark.parametrize(
    "edited",
    [
        pytest.param({"model": {"servedName": "another"}}, id="the model's name"),
        pytest.param({"model": {"source": {"persistentVolumeClaim": {"claimName": "weights"}}}}, id="where its weights are"),
        pytest.param({"slo": {"interTokenLatencyMs": 35}}, id="the promises"),
        pytest.param({"dedicated": {"podTemplate": {"labels": {"team": "a"}}}}, id="labels of its pods"),
        pytest.param({"hosted": None}, id="hosted backends"),
    ],
)
def test_what_was_learned_stays_where_an_edit_changes_no_speed(edited: dict[str, Any]) -> None:
    written = KNOWN.model_dump(mode="json", by_alias=True, exclude_unset=True)
    changed = {part: value if value is None else {**(written.get(part) or {}), **value} for part, value in edited.items()}
    other = InferenceWorkloadSpec.model_validate({name: value for name, value in {**written, **changed}.items() if value is not None})
    first = remember(Memory(), at(0, step_time_ms=20.0, batch_mean=8.0), subject(), NOW)
    assert remember(first, signals(step_time_ms=MISSING), subject(other), NOW).step == first.step is not None


def test_lengths_and_hits_rest_until_they_move_visibly() -> None:
    first = busy_for(Memory(), 60, begin=0, input_tokens_mean=500.0, output_tokens_mean=90.0, prefix_hit_ratio=0.4)
    near = busy_for(first, 60, begin=60, input_tokens_mean=550.0, output_tokens_mean=99.0, prefix_hit_ratio=0.44)
    far = busy_for(first, 60, begin=60, input_tokens_mean=900.0, output_tokens_mean=200.0, prefix_hit_ratio=0.0)
    told = [(each.measured_input_tokens, each.measured_output_tokens, each.prefix_hit_ratio) for each in (first, near, far)]
    assert told[0] == told[1]
    assert list(told[2]) == pytest.approx([900, 200, 0.0], rel=0.2)


def test_hits_are_forgotten_once_the_engine_is_told_to_keep_no_prompts() -> None:
    first = busy_for(Memory(), 60, begin=0, input_tokens_mean=500.0, output_tokens_mean=90.0, prefix_hit_ratio=0.4)
    off = spec(engine={"extraArgs": ["--no-enable-prefix-caching"]})
    assert remember(first, signals(), subject(), later(3615)).prefix_hit_ratio == 0.4
    assert remember(first, signals(), subject(off), later(3615)).prefix_hit_ratio is None


def test_a_minute_of_odd_requests_moves_no_cap() -> None:
    first = busy_for(Memory(), 60, begin=0, input_tokens_mean=500.0, output_tokens_mean=90.0)
    odd = busy_for(first, 1, begin=60, input_tokens_mean=600.0, output_tokens_mean=150.0)
    assert (odd.measured_input_tokens, odd.measured_output_tokens) == (first.measured_input_tokens, first.measured_output_tokens)


def test_a_restart_goes_on_with_the_lengths_that_were_seen_and_not_with_the_declared_ones() -> None:
    before = busy_for(Memory(), 60, begin=0, input_tokens_mean=200.0, output_tokens_mean=900.0)
    written = Learned.of(before)
    assert written is not None
    restarted = from_json(to_json(written)).into(Memory())
    after = remember(restarted, signals(arrivals_per_s=0.1, input_tokens_mean=200.0, output_tokens_mean=900.0), subject(), later(3600))
    assert (after.measured_input_tokens, after.measured_output_tokens) == (before.measured_input_tokens, before.measured_output_tokens)
    assert after.shape is not None
    assert (after.shape.hours.input_tokens, after.shape.hours.output_tokens) == pytest.approx((200, 900), rel=0.2)


def test_caps_rest_while_readings_only_tremble() -> None:
    memory = Memory()
    found = set()
    for tick in range(80):
        tremble = 1.02 if tick % 2 else 0.98
        memory = remember(memory, at(15 * tick, step_time_ms=1.4 * tremble * expected_ms(60), batch_mean=60.0), subject(), NOW)
        found.add(capacity.size(KNOWN, accelerator(), memory).slots)
    assert len(found) == 1


def test_a_pass_learns_and_sizes_by_what_it_learned() -> None:
    wanted = workload(engine={"maxNumSeqs": 64}, slo={"interTokenLatencyMs": 25})
    before, _ = one_pass(wanted)
    after, memory = one_pass(wanted, observe(1, signals=signals(step_time_ms=40.0, batch_mean=8.0)))
    assert before.pool is not None
    assert after.pool is not None
    assert (before.pool.capacity.batch, after.pool.capacity.batch) == (64, 1)
    assert after.gateway.cap_total == after.pool.capacity.slots
    assert memory.step is not None


def test_steps_of_the_spec_before_are_not_learned_of_the_one_that_is_rolled_out() -> None:
    told: dict[str, Any] = {"step_time_ms": 200.0, "batch_mean": 4.0}
    _, memory = one_pass(seen=observe(signals=signals(**told)))
    assert memory.step is not None
    changed = workload(engine={"maxNumSeqs": 16, "gpuMemoryUtilizationPercent": 80}, generation=2)
    scenes = (
        (observe(1), False),  # the Deployment is as it was
        (observe(1, pools=(pool(1, is_rolling=True),)), False),
        (observe(replicas=(replica(0, template="a", terminating=True), replica(1, template="b"))), False),
        (observe(replicas=(replica(0, template="a", ready=False, terminating=True), replica(1, template="b"))), True),  # its node is lost
    )
    for tick, (seen, learns) in enumerate(scenes):
        readings = replace(signals(**told), step_time_ms=Sample(value=200.0, at=later(60 + tick)))
        _, memory = one_pass(changed, replace(seen, signals=readings), memory, at=later(60 + tick))
        assert (memory.step is not None) is learns
