"""The simulated gateway sends prompts that no replica reads in time to hosted first, as the real one does."""

from dataclasses import replace

import pytest

from spillway.simulate.layout import FAILED, HOSTED, OWNED
from spillway.simulate.outcome import Prices
from spillway.simulate.setting import Trouble
from tests.unit.simulate.fleets import HOSTED as PLAIN_HOSTED
from tests.unit.simulate.fleets import Scripted, played, trace

SHORT, LONG = (0.1, 1000, 5), (0.2, 1001, 5)
TWO = trace(SHORT, LONG, duration_s=30)
OUTAGE = replace(PLAIN_HOSTED, troubles=(Trouble(begin_s=0.0, end_s=60.0),))


def test_only_what_is_longer_goes_to_hosted_though_replicas_are_free() -> None:
    assert played(TWO, longest_own_prompt_tokens=1000).side.tolist() == [OWNED, HOSTED]
    assert played(TWO, longest_own_prompt_tokens=None).side.tolist() == [OWNED, OWNED]


def test_without_a_hosted_side_all_stay() -> None:
    assert played(TWO, hosted=None, longest_own_prompt_tokens=1000).side.tolist() == [OWNED, OWNED]


def test_in_an_outage_replicas_take_it_and_nothing_fails_that_they_would_have_answered() -> None:
    assert played(TWO, hosted=OUTAGE, longest_own_prompt_tokens=1000).side.tolist() == [OWNED, OWNED]


def test_where_neither_side_answers_it_has_failed() -> None:
    assert played(TWO, (0.0, 0), hosted=OUTAGE, longest_own_prompt_tokens=1000, initial=0).side.tolist() == [FAILED, FAILED]


def test_when_the_days_money_is_spent_replicas_take_it() -> None:
    prices = Prices(usd_per_replica_hour=1.0, hosted_input_usd_per_million=1.0, hosted_output_usd_per_million=1.0)
    one = replace(PLAIN_HOSTED, most_usd_per_day=0.0011)
    traffic = trace(LONG, (1.0, 1001, 5), duration_s=30)
    assert played(traffic, hosted=one, prices=prices, longest_own_prompt_tokens=1000).side.tolist() == [HOSTED, OWNED]


def test_a_scaler_is_told_of_them_as_a_part_of_what_spilled() -> None:
    policy = Scripted(script=((0.0, 2),))
    played(TWO, policy=policy, longest_own_prompt_tokens=1000)
    last = policy.seen[-1]
    over_s = 30.0
    assert last.long_per_s == last.spilled_per_s == pytest.approx(1 / over_s)
    assert (last.long_input_tokens_per_s, last.long_output_tokens_per_s) == pytest.approx((1001 / over_s, 5 / over_s))
    assert last.arrivals_per_s == pytest.approx(2 / over_s)
