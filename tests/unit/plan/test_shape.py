"""What requests are like: over minutes for demand, over hours for prices."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.plan.traffic.lengths import Lengths
from spillway.plan.traffic.shape import (
    DECLARED_FOR_HOURS,
    DECLARED_FOR_MINUTES,
    HOURS_S,
    MINUTES_S,
    Mean,
    Shape,
    declared_shape,
    seen_shape,
)

DECLARED = declared_shape(Lengths(input_mean=1000, input_p95=3000, output_mean=250, output_p95=700), 0.0)
tokens = st.floats(min_value=1, max_value=1e5)
readings = st.lists(st.tuples(st.floats(min_value=0, max_value=100), tokens, tokens, st.floats(min_value=0, max_value=300)), max_size=30)


def after(shape: Shape, *, seconds: float, per_s: float, input_tokens: float, output_tokens: float, every_s: float = 60.0) -> Shape:
    for _ in range(round(seconds / every_s)):
        shape = seen_shape(
            shape, per_s=per_s, input_tokens=input_tokens, output_tokens=output_tokens, now_s=shape.at_s + every_s, longest_s=every_s
        )
    return shape


def test_before_anything_is_seen_it_is_what_was_declared() -> None:
    assert DECLARED.minutes == Mean(requests=DECLARED_FOR_MINUTES, input_tokens=1000, output_tokens=250)
    assert DECLARED.hours == Mean(requests=DECLARED_FOR_HOURS, input_tokens=1000, output_tokens=250)


def test_demand_follows_within_minutes_and_prices_within_hours() -> None:
    soon = after(DECLARED, seconds=1200, per_s=1.0, input_tokens=2000, output_tokens=500)
    assert soon.minutes.output_tokens > 480
    early = after(
        after(DECLARED, seconds=4 * HOURS_S, per_s=1.0, input_tokens=1000, output_tokens=250),
        seconds=1200,
        per_s=1.0,
        input_tokens=2000,
        output_tokens=500,
    )
    assert early.hours.output_tokens < 300
    late = after(early, seconds=3 * HOURS_S, per_s=1.0, input_tokens=2000, output_tokens=500)
    assert late.hours.output_tokens == pytest.approx(500, rel=0.05)


def test_what_was_declared_counts_until_as_many_requests_were_seen() -> None:
    found = after(DECLARED, seconds=60, per_s=DECLARED_FOR_HOURS / 60, input_tokens=2000, output_tokens=500)
    assert found.hours.input_tokens == pytest.approx(1500, rel=0.01)


def test_a_few_requests_hardly_move_it() -> None:
    found = after(DECLARED, seconds=60, per_s=0.05, input_tokens=100_000, output_tokens=4000)
    assert found.hours.output_tokens < 320


def test_a_minute_without_requests_moves_nothing() -> None:
    found = after(DECLARED, seconds=6 * MINUTES_S, per_s=0.0, input_tokens=5.0, output_tokens=5.0)
    assert (found.minutes.input_tokens, found.hours.output_tokens) == pytest.approx((1000, 250))


def test_a_reading_after_a_gap_counts_for_no_longer_than_its_window() -> None:
    gap = seen_shape(DECLARED, per_s=1.0, input_tokens=2000, output_tokens=500, now_s=86_400.0, longest_s=60.0)
    assert gap.hours.output_tokens == pytest.approx((200 * 250 + 60 * 500) / 260, rel=0.01)


def test_a_second_reading_at_the_same_moment_counts_for_nothing() -> None:
    once = after(DECLARED, seconds=60, per_s=1.0, input_tokens=2000, output_tokens=500)
    again = seen_shape(once, per_s=50.0, input_tokens=9000, output_tokens=9000, now_s=once.at_s, longest_s=60.0)
    assert (again.minutes, again.hours) == (once.minutes, once.hours)


@given(found=readings)
def test_it_stays_within_what_was_declared_and_seen(found: list[tuple[float, float, float, float]]) -> None:
    shape = DECLARED
    for per_s, prompt, answer, passed_s in found:
        shape = seen_shape(shape, per_s=per_s, input_tokens=prompt, output_tokens=answer, now_s=shape.at_s + passed_s, longest_s=60.0)
    prompts, answers = [1000, *(each[1] for each in found)], [250, *(each[2] for each in found)]
    for mean in (shape.minutes, shape.hours):
        assert min(prompts) * (1 - 1e-9) <= mean.input_tokens <= max(prompts) * (1 + 1e-9)
        assert min(answers) * (1 - 1e-9) <= mean.output_tokens <= max(answers) * (1 + 1e-9)
        assert mean.requests >= 0
