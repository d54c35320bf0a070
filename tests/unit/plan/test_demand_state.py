"""What is known of the traffic is written down, and forecasts go on from there."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.plan.scaling.demand_state import dump, load
from spillway.plan.scaling.forecast import BIN_S, DemandModel, forecast
from tests.unit.plan.demands import DAY, day, taught, two_days

MOST_BYTES = 40_000  # a ConfigMap holds a megabyte, and everything else that was learned is in it too


def restarted(model: DemandModel) -> DemandModel:
    found = load(json.loads(json.dumps(dump(model), allow_nan=False)))
    assert found is not None
    return found


def expected(model: DemandModel, minutes: float) -> Any:
    return forecast(model, now_s=minutes * BIN_S, slots=60, slot_s=120.0).samples


@pytest.mark.parametrize("minutes", [3, 40, 200, 500, 2 * DAY + 300])
def test_a_restart_forecasts_about_the_same(minutes: int) -> None:
    noise = np.random.default_rng(minutes)
    model = taught([max(0.0, day(minute) + noise.normal(0, 0.3)) for minute in range(minutes)])
    before, after = expected(model, minutes), expected(restarted(model), minutes)
    assert np.abs(after.mean(axis=1) - before.mean(axis=1)).max() < 0.2
    assert np.abs(after - before).max() < 0.5


def test_it_goes_on_learning_after_a_restart() -> None:
    model = two_days()
    load_then = [day(minute) for minute in range(2 * DAY, 2 * DAY + 120)]
    one, other = (taught(load_then, first=2 * DAY, model=each) for each in (model, restarted(model)))
    assert other.seen == pytest.approx(one.seen, abs=1)
    assert expected(other, 2 * DAY + 120).mean(axis=1) == pytest.approx(expected(one, 2 * DAY + 120).mean(axis=1), abs=0.1)


def test_a_restart_hours_later_knows_the_day_still() -> None:
    model = restarted(two_days())
    now = 2 * DAY + 300
    woken = taught([day(minute) for minute in range(now, now + 5)], first=now, model=model)
    assert expected(woken, now + 5).mean(axis=1)[[7, 29]] == pytest.approx([day(now + 20), day(now + 64)], rel=0.15)


def test_a_week_takes_little_room() -> None:
    noise = np.random.default_rng(1)
    text = json.dumps(dump(taught([day(minute) + noise.uniform() for minute in range(DAY)])))
    assert len(text) < MOST_BYTES


@given(demands=st.lists(st.none() | st.floats(min_value=0, max_value=1e6), max_size=30))
def test_what_was_written_twice_is_written_the_same(demands: list[float | None]) -> None:
    once = taught(demands)
    assert json.dumps(dump(restarted(once))) == json.dumps(dump(once))


GOOD = dump(taught([1.0, 2.0, 3.0]))


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(None, id="nothing"),
        pytest.param([], id="a list"),
        pytest.param(GOOD | {"version": 2}, id="another version"),
        pytest.param({key: GOOD[key] for key in GOOD if key != "levels"}, id="a field that is missing"),
        pytest.param(GOOD | {"levels": [1.0]}, id="too few numbers"),
        pytest.param(GOOD | {"day": "sunny"}, id="words"),
        pytest.param(GOOD | {"seen": None}, id="no count"),
        pytest.param(GOOD | {"errors": GOOD["errors"][1:]}, id="another set of horizons"),
    ],
)
def test_what_was_not_written_by_this_is_learned_anew(said: Any) -> None:
    assert load(said) is None


@pytest.mark.parametrize("name", ["levels", "trends", "losses", "scored", "errors", "shapeLevels"])
@pytest.mark.parametrize("nonsense", [math.nan, math.inf, None])
def test_numbers_that_no_learning_gives_are_learned_anew(name: str, nonsense: float | None) -> None:
    numbers = np.array(GOOD[name], dtype=object)
    numbers.flat[-1] = nonsense  # one among good ones
    assert load(GOOD | {name: numbers.tolist()}) is None


def test_a_shape_without_end_is_learned_anew() -> None:
    assert load(GOOD | {"day": [*GOOD["day"][1:], math.inf]}) is None
    assert load(GOOD | {"minute": math.inf}) is None
