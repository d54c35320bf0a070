"""What is expected to arrive: it follows what arrived, knows days, and says how little it knows."""

import math
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.plan.scaling.forecast import (
    BIN_S,
    DAMPING,
    DAY_BINS,
    EXPERTS,
    HORIZONS,
    LEVEL_WEIGHTS,
    PRIOR_ERRORS,
    QUANTILES,
    WEEK_BINS,
    DemandModel,
    Forecast,
    _quantiles,
    _shape_at,
    _shape_of,
    forecast,
    learn,
)
from tests.unit.plan.demands import DAY, day, taught, two_days

SLOTS, SLOT_S = 60, 120.0
demands = st.floats(min_value=0, max_value=1e5)
loads = st.lists(st.none() | demands, min_size=1, max_size=30).filter(lambda load: load[0] is not None)


def after(model: DemandModel, minutes: float) -> Forecast:
    return forecast(model, now_s=minutes * BIN_S, slots=SLOTS, slot_s=SLOT_S)


def middle(found: Forecast, minutes: float) -> float:
    return found.quantile(0.5, minutes * BIN_S)


def width(found: Forecast, minutes: float) -> float:
    return found.quantile(0.9, minutes * BIN_S) - found.quantile(0.1, minutes * BIN_S)


def state(model: DemandModel) -> list[Any]:
    """Return copies of all that a model holds."""
    found = [getattr(model, each.name) for each in fields(model) if each.name != "shapes"]
    return [np.array(math.nan if each is None else each, dtype=float) for each in (*found, *model.shapes)]


def same(one: list[Any], other: list[Any]) -> bool:
    return all(np.array_equal(each, there, equal_nan=True) for each, there in zip(one, other, strict=True))


@pytest.mark.parametrize("level", [0.0, 0.3, 2.0, 40.0])
def test_a_constant_load_is_expected_to_stay(level: float) -> None:
    found = after(taught([level] * 400), 400)
    assert found.samples == pytest.approx(np.full(found.samples.shape, level), abs=1e-6)


@pytest.mark.parametrize("factor", [0.125, 8.0])
def test_counted_in_other_replicas_the_same_is_expected(factor: float) -> None:
    known = taught(np.random.default_rng(1).uniform(300, 500, 400).tolist(), model=two_days(), first=2 * DAY)
    before, found = (after(each, 2 * DAY + 400) for each in (known, known.recounted(factor)))
    assert found.samples == pytest.approx(factor * before.samples, rel=1e-6)


def test_a_load_that_trembles_is_expected_to_go_on_trembling() -> None:
    trembling = np.random.default_rng(1).uniform(3, 5, 400).tolist()
    found = after(taught(trembling), 400)
    assert 3.5 < middle(found, 30) < 4.5
    assert 1.2 < width(found, 30) < 2.2  # that of the load is 1.6


@pytest.mark.parametrize(("before", "level"), [(2.0, 5.0), (5.0, 2.0), (0.0, 1.0)])
def test_a_new_level_is_followed_within_minutes(before: float, level: float) -> None:
    shifted = taught([before] * 180 + [level] * 10)
    soon = after(shifted, 190)
    assert middle(soon, 1) == pytest.approx(level, rel=0.1)
    later = after(taught([level] * 50, first=190, model=shifted), 240)
    assert [middle(later, ahead) for ahead in (1, 15, 60)] == pytest.approx([level] * 3, rel=0.1)


def test_a_rise_that_goes_on_is_expected_to_go_on() -> None:
    found = after(taught([1 + minute / 30 for minute in range(120)]), 120)
    assert middle(found, 15) > 5.2  # it is 5 now


def test_the_slope_of_a_rise_is_learned_and_goes_on_with_damping() -> None:
    risen = taught([1 + minute / 30 for minute in range(120)])
    slope = risen.trends[1]
    assert (slope > 0.3 / 30).all()
    assert (slope < 1 / 30).all()
    one_trend = np.zeros_like(risen.shares)
    one_trend[:, len(LEVEL_WEIGHTS)] = 1
    alone = replace(risen, reading=None, shares=one_trend, spread=np.zeros_like(risen.spread))
    found = forecast(alone, now_s=120 * BIN_S, slots=3, slot_s=SLOT_S).samples[:, 0]
    minutes = (1, 3, 5)  # the middles of slots of two minutes
    assert found == pytest.approx([risen.trends[0][0] + slope[0] * sum(DAMPING**n for n in range(1, ahead + 1)) for ahead in minutes])


def test_a_day_leaves_three_quarters_of_itself_in_the_shape_at_most_and_the_week_keeps_its_days_apart() -> None:
    known = taught([4.0] * 16, first=DAY, model=taught([2.0] * 15))
    assert known.shapes[0][0] == pytest.approx(4 - 2 * (1 - 0.75 / 15) ** 15)
    assert (known.shapes[1][0], known.shapes[1][24]) == (2.0, 4.0)


@pytest.mark.parametrize("bins", [DAY_BINS, WEEK_BINS])
def test_a_shape_is_told_between_the_middles_of_its_bins(bins: int) -> None:
    shape, per_bin = np.arange(bins, dtype=float), (DAY if bins == DAY_BINS else 7 * DAY) // bins
    minutes = np.array([0, per_bin, 3 * per_bin, 7 * DAY + 5 * per_bin, 7 * DAY - 1])
    found = _shape_at(shape, minutes)
    assert found[1:4] == pytest.approx([0.5, 2.5, 4.5])
    assert [_shape_of(shape, int(minute)) for minute in minutes] == pytest.approx(list(found))


def test_the_shape_of_a_day_is_used_from_the_third_day_on() -> None:
    found = after(two_days(), 2 * DAY)
    assert [middle(found, ahead) for ahead in (15, 61, 119)] == pytest.approx([day(ahead) for ahead in (15, 61, 119)], abs=0.15)


def test_the_shape_of_a_day_counts_by_the_level_of_this_one() -> None:
    busy = [1.5 * day(minute) for minute in range(DAY // 4)]
    found = after(taught(busy, first=2 * DAY, model=two_days()), 2.25 * DAY)
    assert middle(found, 119) == pytest.approx(1.5 * day(DAY // 4 + 119), rel=0.2)


@pytest.mark.parametrize(
    ("seen", "known"), [pytest.param(7 * DAY, False, id="not in its first"), pytest.param(7 * DAY + 1, True, id="then on")]
)
def test_the_shape_of_a_week_is_used_from_its_second_week_on_where_it_did_best(seen: int, *, known: bool) -> None:
    losses = np.ones((len(HORIZONS), EXPERTS))
    losses[:, -1] = 0.01
    weekend = np.where(np.arange(WEEK_BINS) < 5 * 24, 6.0, 1.0)
    days = two_days()
    taught_weeks = replace(
        days, seen=seen, reading=None, shapes=(days.shapes[0], weekend), shape_levels=np.ones(2), losses=losses, scored=np.ones_like(losses)
    )
    found = after(taught_weeks.reshared(), 5 * DAY - 60)
    assert ([middle(found, ahead) for ahead in (1, 119)] == pytest.approx([6.0, 1.0], abs=0.1)) is known


def test_on_its_first_day_it_knows_no_shape() -> None:
    found = after(taught([day(minute) for minute in range(DAY // 2)]), DAY // 2)
    assert abs(middle(found, 119) - day(DAY // 2 + 119)) > 0.15


def test_the_first_hour_is_wide() -> None:
    widths = [width(after(taught([2.0] * minutes), minutes), 30) for minutes in (1, 30, 400)]
    assert widths[0] > 1.5
    assert widths[0] >= widths[1] > 10 * widths[2]


def test_what_lies_further_ahead_is_less_sure() -> None:
    found = after(taught([2.0] * 5), 5)
    assert width(found, 1) < width(found, 20) < width(found, 60)


def test_a_gap_teaches_nothing() -> None:
    before = taught([2.0, 3.0] * 50)
    gap = taught([None] * 600, first=100, model=before)
    assert same(state(gap), state(before))
    went_on = taught([2.5], first=700, model=gap)
    assert went_on.seen == before.seen + 1  # the minute that was open is closed, and no other
    assert 2.0 < middle(after(went_on, 701), 5) < 3.2


GAP = range(1000, 1180)  # three hours of each day, in minutes


@pytest.mark.parametrize("ahead_of_gap", [60, 5, -70])
def test_an_hour_without_readings_on_every_day_is_forecast_though_the_shape_that_was_always_right_knows_nothing_of_it(
    ahead_of_gap: int,
) -> None:
    """As where Prometheus is backed up every night: a load so regular leaves the day's shape the only expert that counts."""
    end = 3 * DAY + GAP.start - ahead_of_gap
    regular = taught([None if minute % DAY in GAP else day(minute, mean=3.0, swing=3.0) for minute in range(end)])
    assert regular.shares[-1][-2] == 1.0, "nobody else has a share"
    assert np.isfinite(after(regular, end).samples).all()


@pytest.mark.parametrize("minutes", [70, 100])
def test_what_was_forecast_before_a_long_gap_is_not_held_against_what_comes_after_it(minutes: int) -> None:
    before = taught([2.0] * 120)
    first = taught([50.0], first=120 + minutes, model=before)  # closes the minute that was open
    within_the_hour = taught([50.0] * 58, first=121 + minutes, model=first)
    assert within_the_hour.scored[-1] == pytest.approx(first.scored[-1])


def test_a_clock_that_was_an_hour_ahead_leaves_no_hour_in_which_nothing_is_learned() -> None:
    ahead = taught([2.0] * 30, first=60)
    back = taught([8.0] * 30, first=30, model=ahead)
    assert back.seen == ahead.seen + 29
    assert middle(after(back, 60), 5) == pytest.approx(8.0, rel=0.1)


def test_a_clock_that_is_set_back_by_seconds_learns_no_minute_twice() -> None:
    before = taught([2.0] * 30)
    assert learn(before, 2.0, 28.9 * BIN_S).seen == before.seen
    assert learn(before, 2.0, 28.9 * BIN_S).opened == before.opened


def test_several_readings_of_a_minute_count_as_the_last() -> None:
    often = taught([2.0] * 10)
    for second in (0, 15, 30, 45):
        often = learn(often, 5.0 if second < 45 else 2.0, 10 * BIN_S + second)
    assert same(state(often), state(taught([2.0] * 11)))


def test_the_minute_that_has_not_ended_counts_already() -> None:
    found = after(taught([2.0] * 60 + [6.0]), 60.9)
    assert middle(found, 1) > 2.5


@given(load=loads)
def test_demand_is_never_negative_and_always_a_number(load: list[float | None]) -> None:
    found = after(taught(load), len(load))
    assert np.isfinite(found.samples).all()
    assert (found.samples >= 0).all()
    assert (np.diff(found.samples, axis=1) >= -1e-9).all()


@given(errors=st.lists(st.floats(min_value=-1e3, max_value=1e3), min_size=PRIOR_ERRORS, max_size=80))
def test_the_spread_is_told_by_quantiles_as_everybody_knows_them(errors: list[float]) -> None:
    assert _quantiles(np.array(errors)) == pytest.approx(np.quantile(errors, QUANTILES), rel=1e-12, abs=1e-12)


@given(load=loads)
def test_the_same_load_teaches_the_same(load: list[float | None]) -> None:
    assert np.array_equal(after(taught(load), len(load)).samples, after(taught(load), len(load)).samples)


@given(load=loads, next_one=demands)
def test_learning_leaves_the_model_before_as_it_was(load: list[float | None], next_one: float) -> None:
    model = taught(load)
    before = state(model)
    learn(model, next_one, (len(load) + 0.5) * BIN_S)
    after(model, len(load))
    assert same(state(model), before)


@given(load=st.lists(st.floats(min_value=0.2, max_value=50), min_size=2, max_size=20), factor=st.floats(min_value=0.5, max_value=20))
def test_more_of_the_same_load_is_expected_to_be_more(load: list[float], factor: float) -> None:
    one, other = taught(load), taught([factor * each for each in load])
    assert other.levels == pytest.approx(factor * one.levels)
    assert other.trends == pytest.approx(factor * one.trends, abs=1e-9)
