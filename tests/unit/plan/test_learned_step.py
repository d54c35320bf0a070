"""The learned step: how fast it finds the truth, what does not disturb it, and what it says where nothing was seen."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spillway.plan.replica.learned_step import LearnedStep, MeasuredStep, StepLoad, learn, step_ms
from spillway.plan.replica.roofline import StepModel, scaled
from spillway.plan.replica.serving import STEP_OVERHEAD_MS

START = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
TICK_S, WINDOW_S = 15.0, 60.0
MINUTES_10 = 40  # ticks
# Qwen3-32B on two H100 (plan/replica/calibration.py).
EXPECTED = StepModel(base_ms=13.6, experts_ms=0.0, expert_share=1.0, sequence_ms=0.026, kv_ms=0.042, prompt_ms=0.0384, square_ms=0.5)
CONTEXT, PER_TOKEN = 1260.0, 1155 / 211  # tokens of a running request, and prompt tokens computed for each answer token


def load(batch: float) -> StepLoad:
    prompts = max(0.0, batch - 1) * PER_TOKEN
    return StepLoad(batch=batch, kv_tokens=batch * CONTEXT, prompt_tokens=prompts, prompt_squares=prompts * 2000)


FULL = load(128)


def truth(base: float, sequences: float, cache: float, prompts: float) -> StepModel:
    """Return an engine whose four coefficients are off by these factors."""
    whole = scaled(EXPECTED, 1.0)
    return replace(
        whole,
        base_ms=base * (whole.base_ms + STEP_OVERHEAD_MS) - STEP_OVERHEAD_MS,
        sequence_ms=sequences * whole.sequence_ms,
        kv_ms=cache * whole.kv_ms,
        prompt_ms=prompts * whole.prompt_ms,
        square_ms=prompts * whole.square_ms,
    )


def same(factor: float) -> StepModel:
    return truth(factor, factor, factor, factor)


def tell(learned: LearnedStep, engine: StepModel, batches: list[float], *, off: list[float] | None = None) -> LearnedStep:
    """Return the fit after one tick at each of these batches; `off`: factors by which readings are wrong."""
    errors = off or [1.0] * len(batches)
    for batch, error in zip(batches, errors, strict=True):
        at = (learned.measured_at or START) + timedelta(seconds=TICK_S)
        found = MeasuredStep(load=load(batch), step_ms=error * step_ms(engine, load(batch)), at=at, window_s=WINDOW_S)
        learned = learn(learned, found, full=FULL)
    return learned


def error_at(learned: LearnedStep, engine: StepModel, where: StepLoad = FULL) -> float:
    return abs(step_ms(learned.step, where) / step_ms(engine, where) - 1)


FRESH = LearnedStep(prior=EXPECTED)
BUSY_DAY = [8.0 + 100 * (0.5 - 0.5 * math.cos(tick * math.tau / MINUTES_10)) for tick in range(MINUTES_10)]
factors = st.floats(min_value=0.5, max_value=2.0)
slight = st.floats(min_value=0.95, max_value=1.05)


def test_begins_at_the_estimate() -> None:
    assert error_at(FRESH, EXPECTED) < 1e-9


@pytest.mark.parametrize("factor", [0.5, 2.0], ids=["twice as fast", "half as fast"])
@pytest.mark.parametrize("batch", [4.0, 30.0, 100.0], ids=["at low load", "at middle load", "at high load"])
def test_ten_minutes_at_one_load_correct_an_estimate_that_is_off(factor: float, batch: float) -> None:
    assert error_at(tell(FRESH, same(factor), [batch] * MINUTES_10), same(factor)) < 0.1


@given(
    true=st.tuples(factors, factors, factors, factors),
    noise=st.lists(slight, min_size=MINUTES_10, max_size=MINUTES_10),
    order=st.permutations(BUSY_DAY),
)
def test_ten_minutes_over_many_loads_find_any_engine(
    true: tuple[float, float, float, float], noise: list[float], order: list[float]
) -> None:
    engine = truth(*true)
    assert error_at(tell(FRESH, engine, order, off=noise), engine) < 0.1


@given(factor=factors, batch=st.floats(min_value=4, max_value=120))
def test_one_load_moves_all_coefficients_alike(factor: float, batch: float) -> None:
    learned = tell(FRESH, same(factor), [batch] * MINUTES_10)
    assert error_at(learned, same(factor), load(batch)) < 0.051  # what makes no visible difference is not followed
    assert max(learned.factors) / min(learned.factors) < 1.25
    for there in (1.0, 16.0, 120.0):  # smoothly, and towards what was seen
        low, high = sorted((1.0, factor))
        assert low * 0.85 < step_ms(learned.step, load(there)) / step_ms(EXPECTED, load(there)) < high * 1.15


@settings(max_examples=20)
@given(factor=factors, batch=st.floats(min_value=1, max_value=3.9))
def test_one_or_two_requests_tell_how_long_their_steps_take_and_never_that_a_full_replica_is_faster(factor: float, batch: float) -> None:
    learned = tell(FRESH, same(factor), [batch] * MINUTES_10)
    assert error_at(learned, same(factor), load(batch)) < 0.051
    assert min(learned.factors[1:]) > 0.99
    assert not learned.telling
    busy = tell(learned, same(factor), [30.0] * MINUTES_10)
    assert busy.telling
    assert error_at(busy, same(factor)) < 0.1


def test_a_real_gpu_whose_steps_are_short_and_prompts_long_is_not_taken_for_fast_while_it_idles() -> None:
    engine = truth(0.79, 1.0, 1.0, 1.53)  # benchmarks/reality/GPU.md
    idle = tell(FRESH, engine, [1.2, 1.5, 1.9, 1.1] * 10)
    assert step_ms(idle.step, FULL) > 0.9 * step_ms(EXPECTED, FULL)
    assert error_at(tell(idle, engine, BUSY_DAY), engine) < 0.1


@pytest.mark.parametrize(("prompt_tokens", "tells"), [(40.0, False), (250.0, True)], ids=["short prompts", "long prompts"])
def test_few_requests_with_long_prompts_tell_how_fast_a_full_replica_is(*, prompt_tokens: float, tells: bool) -> None:
    engine, learned = same(0.8), FRESH
    seen = StepLoad(batch=2.0, kv_tokens=2 * CONTEXT, prompt_tokens=prompt_tokens)
    for tick in range(MINUTES_10):
        at = START + timedelta(seconds=tick * TICK_S)
        learned = learn(learned, MeasuredStep(load=seen, step_ms=step_ms(engine, seen), at=at, window_s=WINDOW_S), full=FULL)
    assert learned.telling is learned.tells_of(128) is tells
    assert (error_at(learned, engine) < 0.1) is tells


@pytest.mark.parametrize(
    ("batch", "seen", "tells"), [(1, 1.0, True), (2, 1.0, True), (4, 1.9, False), (4, 2.5, True), (64, 3.9, False), (64, 4.0, True)]
)
def test_a_replica_that_takes_few_is_known_by_half_of_them(*, batch: int, seen: float, tells: bool) -> None:
    assert tell(FRESH, same(1.0), [seen] * MINUTES_10).tells_of(batch) is tells


@pytest.mark.parametrize("error", [0.2, 1.6, 5.0, 1000.0])
def test_an_outlier_moves_nothing(error: float) -> None:
    learned = tell(FRESH, same(1.3), BUSY_DAY)
    disturbed = tell(learned, same(1.3), [60.0] * 4, off=[error] * 4)  # four windows overlap one event
    assert (disturbed.factors, disturbed.used) == (learned.factors, learned.used)
    assert tell(disturbed, same(1.3), [60.0]).rejected_windows == 0


def test_two_events_with_a_quiet_night_between_them_are_not_another_engine() -> None:
    learned = tell(FRESH, same(1.3), BUSY_DAY)
    first = tell(learned, same(1.3), [60.0], off=[5.0])
    second = tell(replace(first, measured_at=START + timedelta(days=1)), same(1.3), [60.0] * 2, off=[5.0] * 2)
    assert second.factors == learned.factors


@pytest.mark.parametrize("factor", [0.1, 0.5, 1.0, 3.0, 12.0])
def test_another_engine_is_believed_within_ten_readings(factor: float) -> None:
    learned = tell(FRESH, same(1.5), BUSY_DAY)
    assert error_at(tell(learned, same(factor), [80.0] * 10), same(factor)) < 0.1


def test_a_quiet_week_forgets_neither_the_busy_day_nor_how_sure_it_was() -> None:
    engine = truth(1.2, 0.8, 1.9, 0.6)
    learned = tell(FRESH, engine, BUSY_DAY)
    after = tell(learned, engine, [1.5] * 2000, off=[1.03, 0.97] * 1000)
    assert error_at(after, engine) < 0.1
    assert tell(after, engine, [100.0], off=[1.8]).rejected_windows > 0


def test_a_slow_drift_is_followed() -> None:
    learned = tell(FRESH, same(1.0), BUSY_DAY)
    for percent in range(1, 31):
        learned = tell(learned, same(1 + percent / 100), BUSY_DAY)
    assert error_at(learned, same(1.3)) < 0.1


def test_the_same_reading_counts_once() -> None:
    once = tell(FRESH, same(1.5), [50.0])
    assert once.measured_at is not None
    again = MeasuredStep(load=load(50.0), step_ms=99.0, at=once.measured_at, window_s=WINDOW_S)
    assert learn(once, again, full=FULL) == once


def test_more_frequent_ticks_over_the_same_windows_tell_no_more() -> None:
    seldom = tell(FRESH, same(2.0), [50.0] * 4)
    often = FRESH
    for second in range(1, 61):
        found = MeasuredStep(
            load=load(50.0), step_ms=step_ms(same(2.0), load(50.0)), at=START + timedelta(seconds=second), window_s=WINDOW_S
        )
        often = learn(often, found, full=FULL)
    assert often.evidence[0].information[0] == pytest.approx(seldom.evidence[0].information[0], rel=0.35)


def test_what_makes_no_visible_difference_leaves_the_coefficients_in_use_alone() -> None:
    learned = tell(FRESH, same(1.3), BUSY_DAY)
    nearly = tell(learned, same(1.31), BUSY_DAY)
    assert nearly.used == learned.used
    assert nearly.factors != learned.factors


@given(
    readings=st.lists(
        st.tuples(
            st.floats(allow_nan=True, allow_infinity=True),
            st.floats(allow_nan=True, allow_infinity=True),
            st.floats(min_value=0, max_value=1e9),
            st.floats(min_value=0, max_value=1e9),
            st.floats(min_value=0, max_value=300),
        ),
        max_size=30,
    )
)
def test_whatever_is_read_the_step_stays_a_number_within_twenty_times_the_estimate(readings: list[tuple[float, ...]]) -> None:
    def run() -> LearnedStep:
        learned, at = FRESH, START
        for took, batch, kv, prompts, gap in readings:
            at += timedelta(seconds=gap)
            seen = StepLoad(batch=batch, kv_tokens=kv, prompt_tokens=prompts)
            learned = learn(learned, MeasuredStep(load=seen, step_ms=took, at=at, window_s=WINDOW_S), full=FULL)
        return learned

    learned = run()
    assert learned == run()
    for there in (load(1.0), FULL):
        assert 1 / 20.001 <= step_ms(learned.step, there) / step_ms(EXPECTED, there) <= 20.001


def test_a_mixture_of_experts_keeps_the_experts_place() -> None:
    mixture = replace(EXPECTED, base_ms=3.0, experts_ms=20.0, expert_share=0.06)
    learned = tell(LearnedStep(prior=mixture), scaled(mixture, 2.0), BUSY_DAY)
    assert learned.step.experts_ms == pytest.approx(2 * mixture.experts_ms, rel=0.15)
    assert error_at(learned, scaled(mixture, 2.0)) < 0.1


def test_a_clock_that_was_ahead_does_not_stop_learning() -> None:
    learned = replace(tell(FRESH, same(1.0), BUSY_DAY), measured_at=START + timedelta(days=365))
    now = replace(learned, measured_at=None)
    found = MeasuredStep(load=FULL, step_ms=step_ms(same(1.2), FULL), at=START + timedelta(hours=1), window_s=WINDOW_S)
    assert learn(learned, found, full=FULL) == learn(now, found, full=FULL)
    assert learn(replace(learned, measured_at=found.at + timedelta(seconds=30)), found, full=FULL).factors == learned.factors
