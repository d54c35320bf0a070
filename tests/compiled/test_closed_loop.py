"""The money-aware scaler in the closed loop: engines that are not as planned, calm traffic, and a hosted side that goes away."""

from spillway.simulate.layout import FAILED, HOSTED
from spillway.simulate.setting import Trouble
from tests.compiled.test_spillway_policy import MINUTE, played

CHEAP = [{"name": "llama-8b", "inputUSDPerMillionTokens": "0.1", "outputUSDPerMillionTokens": "0.4"}]


def test_steady_traffic_does_not_flap() -> None:
    found = played((60, 1.2))
    late = [count for at, count in found.counts if at > 20 * MINUTE]
    assert len(late) <= 2
    assert (found.during(30, 60) == HOSTED).mean() < 0.25


def test_where_hosting_is_cheaper_nothing_is_owned_within_the_hour() -> None:
    found = played((40, 1.2), models=CHEAP, scaling={"minReplicas": 0})
    assert found.at(39) == 0
    assert (found.during(30, 40) == HOSTED).all()


def test_when_the_hosted_side_goes_away_own_replicas_take_all_of_it() -> None:
    outage = Trouble(begin_s=10 * MINUTE, end_s=30 * MINUTE)
    found = played((30, 1.2), models=CHEAP, troubles=(outage,))
    assert found.at(9.5) == 1
    assert found.at(25) >= 3
    assert (found.during(20, 30) == FAILED).mean() < 0.05 < (found.during(10, 12) == FAILED).mean()
