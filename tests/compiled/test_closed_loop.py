"""The money-aware scaler in the closed loop: engines that are not as planned, calm traffic, and a hosted side that goes away."""

from spillway.plan.decision import Memory
from spillway.plan.scaling.forecast import forecast, learn
from spillway.simulate.layout import FAILED, HOSTED
from spillway.simulate.outcome import Prices
from spillway.simulate.setting import Trouble
from spillway.simulate.spillway_policy import DEFAULT_START
from tests.compiled.test_spillway_policy import MINUTE, Played, played

PER_REPLICA = 0.53  # requests a second
CHEAP = [{"name": "llama-8b", "inputUSDPerMillionTokens": "0.1", "outputUSDPerMillionTokens": "0.4"}]


def test_steady_traffic_does_not_flap() -> None:
    found = played((60, 1.2))
    late = [count for at, count in found.counts if at > 20 * MINUTE]
    assert len(late) <= 2
    assert (found.during(30, 60) == HOSTED).mean() < 0.25


def test_where_hosting_is_cheaper_nothing_is_owned_within_the_hour() -> None:
    found = played((40, 1.2), models=CHEAP, scaling={"minReplicas": 0}, initial=3)
    assert found.at(1) == 3
    assert found.at(39) == 0
    assert (found.during(30, 40) == HOSTED).all()


def test_when_the_hosted_side_goes_away_own_replicas_take_all_of_it() -> None:
    outage = Trouble(begin_s=10 * MINUTE, end_s=30 * MINUTE)
    found = played((30, 1.2), models=CHEAP, troubles=(outage,))
    assert found.at(9.5) == 1
    assert found.at(25) >= 3
    assert (found.during(20, 30) == FAILED).mean() < 0.05 < (found.during(10, 12) == FAILED).mean()


def test_days_that_taught_the_opposite_cost_little_more_than_having_learned_nothing() -> None:
    quiet, busy, half, begin_s = 0.17, 1.33, 60, DEFAULT_START.timestamp()
    model = None
    for minute in range(-3 * 24 * 60, 0):
        model = learn(model, (quiet if minute // half % 2 else busy) / PER_REPLICA, begin_s + (minute + 0.5) * MINUTE)
    assert model is not None
    expected = forecast(model, now_s=begin_s, slots=2 * half, slot_s=MINUTE).samples.mean(axis=1)
    assert expected[half // 2] > 3 * expected[half + half // 2], "a busy hour, then a quiet one"
    opposite = [(half, quiet), (half, busy)] * 2
    assert usd(played(*opposite, memory=Memory(demand_model=model))) < 1.05 * usd(played(*opposite))


def usd(found: Played) -> float:
    """Return what a run cost, at the prices that its policy was shown."""
    return found.run.outcome(Prices(usd_per_replica_hour=4.0, hosted_input_usd_per_million=4.2, hosted_output_usd_per_million=4.2)).cost_usd
