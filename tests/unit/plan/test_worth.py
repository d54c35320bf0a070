"""How many replicas are worth owning: forecast, prices and what is on its way, weighed together."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.plan.scaling.forecast import BIN_S, DemandModel
from spillway.plan.scaling.lazy import Lazy
from spillway.plan.scaling.worth import Fleet, Stakes, Weighed, forecast_within, peak_demand, weigh, worth_at
from tests.unit.plan.demands import DAY, day, taught

STAKES = Stakes(
    usd_per_replica_hour=4.0,
    hosted_usd_per_replica_hour=10.0,
    start_up_s=180.0,
    entry_s=180.0,
    exit_s=30.0,
    batch=64,
    slots=96,
    committed=0,
)
AN_HOUR = 240  # minutes of which the last ones leave little doubt


@cache
def steady(level: float, minutes: int = AN_HOUR) -> DemandModel:
    return taught([level] * minutes)


def weighed(model: DemandModel, demand: float, *, ready: int = 0, starting_s: tuple[float, ...] = (), **changes: Any) -> Weighed:
    stakes = replace(STAKES, **{name: changes.pop(name) for name in list(changes) if hasattr(STAKES, name)})
    asked: dict[str, Any] = {"lazy": None, "most": 20, "now_s": (model.opened + 1) * BIN_S} | changes
    return weigh(model, demand=demand, stakes=stakes, fleet=Fleet(ready=ready, starting_s=starting_s), **asked)


@pytest.mark.parametrize(
    ("level", "dollars", "count"),
    [
        pytest.param(0.0, 10.0, 0, id="nothing for nothing"),
        pytest.param(0.3, 10.0, 0, id="none that is used for less than 1/kappa"),
        pytest.param(0.6, 10.0, 1, id="one that is used for more"),
        pytest.param(3.2, 10.0, 3, id="no more for what is left over"),
        pytest.param(3.6, 10.0, 4, id="one more where that is enough"),
        pytest.param(3.2, 40.0, 4, id="the dearer hosting the sooner"),
        pytest.param(3.0, 3.9, 0, id="none at all where hosting costs less than a full replica"),
        pytest.param(60.0, 10.0, 20, id="never more than the most"),
    ],
)
def test_a_steady_load_owns_what_pays(level: float, dollars: float, count: int) -> None:
    assert weighed(steady(level), level, hosted_usd_per_replica_hour=dollars).wanted == count


def test_while_little_is_known_less_is_owned() -> None:
    counts = [weighed(steady(3.0, minutes), 3.0).wanted for minutes in (1, AN_HOUR)]
    assert counts[0] <= counts[1] == 3
    assert counts[0] >= 1


def test_what_is_owned_is_kept_where_it_would_not_be_started() -> None:
    level = 2.42  # of the third replica 42 % are used, which is hardly more than 1/kappa
    for ready in (2, 3):
        assert weighed(steady(level), level, ready=ready, start_up_s=900.0, entry_s=900.0).wanted == ready


def test_replicas_on_their_way_are_counted_and_not_chased() -> None:
    for starting in ((), (30.0,), (30.0, 180.0), (180.0, 180.0, 180.0)):
        assert weighed(steady(3.0), 3.0, starting_s=starting).wanted == 3


@pytest.mark.parametrize("start_up_s", [30.0, 60.0, 100.0, 180.0, 420.0, 1000.0])
@pytest.mark.parametrize("node_wait_s", [0.0, 45.0, 600.0])
def test_a_replica_just_asked_for_is_not_given_up(start_up_s: float, node_wait_s: float) -> None:
    times: dict[str, Any] = {"start_up_s": start_up_s + node_wait_s, "entry_s": start_up_s}
    assert weighed(steady(3.0), 3.0, ready=1, **times).wanted == 3
    assert weighed(steady(3.0), 3.0, ready=1, starting_s=(start_up_s, start_up_s + node_wait_s), **times).wanted == 3


def test_a_replica_nearly_there_is_waited_for_and_one_far_from_it_is_given_up() -> None:
    load = [2.0] * AN_HOUR + [0.9] * 20
    model = taught(load)
    nearly, far = (weighed(model, 0.9, ready=1, starting_s=(left,), start_up_s=900.0, entry_s=900.0).wanted for left in (0.0, 900.0))
    assert nearly >= far == 1


def test_a_morning_is_prepared_for_by_a_start_up_time() -> None:
    load = [day(minute, mean=12.0, swing=10.0) for minute in range(2 * DAY)]
    model = taught(load)  # 12 replicas now, and 13 in 23 minutes
    quick, slow = (weighed(model, 12.0, ready=12, most=40, start_up_s=each, entry_s=60.0).wanted for each in (60.0, 1800.0))
    assert slow > quick >= 12


def test_what_is_paid_for_is_kept_whatever_comes() -> None:
    assert weighed(steady(0.0), 0.0, ready=3, committed=2).wanted == 2
    assert weighed(steady(0.0), 0.0, ready=3, committed=2, hosted_usd_per_replica_hour=0.1).wanted == 2


@given(
    level=st.floats(min_value=0, max_value=30),
    dollars=st.floats(min_value=0.5, max_value=60),
    ready=st.integers(min_value=0, max_value=12),
    starting=st.lists(st.floats(min_value=0, max_value=600), max_size=5).map(lambda each: tuple(sorted(each))),
    most=st.integers(min_value=1, max_value=12),
    start_up_s=st.floats(min_value=1, max_value=1200),
)
def test_the_count_is_always_one_that_is_allowed(
    level: float, dollars: float, ready: int, starting: tuple[float, ...], most: int, start_up_s: float
) -> None:
    found = weighed(
        steady(level, 5),
        level,
        ready=ready,
        starting_s=starting,
        most=most,
        hosted_usd_per_replica_hour=dollars,
        start_up_s=start_up_s,
        entry_s=start_up_s,
    )
    assert 0 <= found.wanted <= most
    figures = found.figures
    assert 0 <= figures.forecast_p10 <= figures.forecast_p50 <= figures.forecast_p90
    assert dollars > STAKES.usd_per_replica_hour or found.wanted == 0


# Figures


def test_a_decision_carries_what_it_was_weighed_by() -> None:
    figures = weighed(steady(2.0), 2.0, ready=2).figures
    assert figures.kappa == 2.5
    assert (figures.horizon_s, figures.start_up_s) == (180.0, 180.0)
    assert (figures.forecast_p10, figures.forecast_p50, figures.forecast_p90) == pytest.approx((2.0, 2.0, 2.0))
    assert figures.marginal_saving_usd_per_hour is not None
    assert 0 < figures.marginal_saving_usd_per_hour < 6  # the second replica, at all but 1/kappa of 10 - 4
    assert figures.rejected is not None
    assert figures.rejected_saving_usd_per_hour is not None
    assert figures.rejected == f"replica 3: net cost {-figures.rejected_saving_usd_per_hour:.2f} USD/h"


def test_going_down_tells_what_the_replica_that_goes_would_have_cost() -> None:
    found = weighed(steady(1.0), 1.0, ready=3)
    assert found.wanted < 3
    assert found.figures.marginal_saving_usd_per_hour is not None
    assert found.figures.marginal_saving_usd_per_hour < 0
    assert found.figures.rejected is not None
    assert found.figures.rejected_saving_usd_per_hour is not None
    assert found.figures.rejected == f"replica {found.wanted}: net saving {found.figures.rejected_saving_usd_per_hour:.2f} USD/h", (
        "going further"
    )


# A forecast that has been wrong


def test_a_forecast_that_has_been_wrong_is_held_by_what_the_past_proves() -> None:
    wrong = Lazy(balances=np.full(8, 210.0) * [1, 1, 1, 0, 0, 0, 0, 0], at_s=0.0, error=100.0, error_of_persistence=1.0, due=50.0)
    night = steady(0.0)
    assert weighed(night, 3.0, ready=3).wanted == 0
    assert weighed(night, 3.0, ready=3, lazy=wrong).wanted == 3


# What it would be at a glance


@pytest.mark.parametrize(("demand", "count"), [(0.0, 0), (0.5, 1), (2.3, 2), (2.6, 3), (50.0, 6)])
def test_a_first_count_is_what_a_demand_that_stays_would_own(demand: float, count: int) -> None:
    assert worth_at(demand, STAKES, most=6) == count


def test_the_peak_is_the_worst_moment_within_a_start() -> None:
    model = taught([2 + minute % 3 for minute in range(AN_HOUR)])
    now = AN_HOUR * BIN_S
    half, most = (peak_demand(forecast_within(600.0, model, now_s=now), share=share) for share in (0.5, 0.99))
    assert 2.0 <= half < most <= 5.0
    assert peak_demand(forecast_within(3600.0, model, now_s=now), share=0.99) >= most
