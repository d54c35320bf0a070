"""A run over a trace: what spills, waits and fails, replicas that come and go, and what it all comes to."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from spillway.simulate.arrivals import poisson, superposed
from spillway.simulate.layout import FAILED, HOSTED, OWNED
from spillway.simulate.outcome import Prices
from spillway.simulate.run import Lives
from spillway.simulate.setting import FAST, SLOW, Rules, Targets, Trouble
from spillway.simulate.simulate import run, simulate
from spillway.simulate.trace import Trace
from tests.unit.simulate.fleets import HOSTED as PLAIN_HOSTED
from tests.unit.simulate.fleets import TARGETS, Scripted, engine, played, trace

RULES: dict[str, Any] = {"slots_per_replica": 12, "gateways": 1}
PRICES = Prices(usd_per_replica_hour=3.6, hosted_input_usd_per_million=1.0, hosted_output_usd_per_million=2.0)


def busy(seconds: float = 300.0, rate: float = 4.0, seed: int = 5) -> Trace:
    return poisson([(seconds, rate)], input_tokens=300, output_tokens=100, seed=seed)


def at_once(count: int, *, at_s: float = 1.0, answer: int = 100, duration_s: float = 60.0) -> Trace:
    return trace(*((at_s + number * 1e-4, 50, answer) for number in range(count)), duration_s=duration_s)


def sides(found: Any) -> list[int]:
    return [int((found.side == side).sum()) for side in (OWNED, HOSTED, FAILED)]


# The same and not the same


def test_the_same_seed_gives_the_same_run_and_another_seed_another() -> None:
    wild = engine(start_up_cv=0.3, start_failure_share=0.3)
    one, two, other = (played(busy(120.0), (0.0, 1), (30.0, 3), model=wild, gateways=2, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.e2e_ms, two.e2e_ms)
    assert np.array_equal(one.lives.ready_s, two.lives.ready_s)
    assert not np.array_equal(one.lives.ready_s, other.lives.ready_s)


def test_what_hosted_takes_for_a_request_does_not_depend_on_what_else_happened() -> None:
    none, some = played(busy(), (0.0, 0)), played(busy(), (0.0, 1))
    both = (none.side == HOSTED) & (some.side == HOSTED)
    assert 0 < both.sum() < len(both)
    assert none.ttft_ms[both] == pytest.approx(some.ttft_ms[both])


def test_how_often_the_policy_is_asked_changes_no_request() -> None:
    often, seldom = (played(busy(120.0), policy=Scripted(script=[(0.0, 2)], tick_s=tick_s), initial=2) for tick_s in (0.7, 60.0))
    assert often.e2e_ms == pytest.approx(seldom.e2e_ms, rel=1e-6)


def test_a_schedule_is_shown_nothing_and_runs_as_a_policy_that_wants_the_same() -> None:
    script = [(0.0, 1), (30.0, 3), (60.0, 2)]

    @dataclass(kw_only=True)
    class Planned(Scripted):
        def replicas_at(self, now_s: float) -> int:
            return next(count for begin, count in reversed(script) if begin <= now_s)

    planned, asked = Planned(script=script), Scripted(script=script)
    one, two = (played(busy(120.0), policy=policy, initial=1) for policy in (planned, asked))
    assert (len(planned.seen), len(asked.seen)) == (0, 13)
    assert np.array_equal(one.e2e_ms, two.e2e_ms)
    assert np.array_equal(one.lives.ready_s, two.lives.ready_s, equal_nan=True)


# The gateway


def test_one_request_above_the_cap_goes_to_hosted_at_once() -> None:
    found = played(at_once(13), (0.0, 1), slots_per_replica=12)
    assert sides(found) == [12, 1, 0]
    assert found.side[12] == HOSTED


def test_without_a_ready_replica_all_goes_to_hosted() -> None:
    found = played(at_once(5), (0.0, 0))
    assert sides(found) == [0, 5, 0]
    assert len(found.lives.launched_s) == 0


def test_requests_spread_evenly_over_replicas() -> None:
    policy = Scripted(script=[(0.0, 3)], tick_s=2.0)
    played(at_once(24), policy=policy, initial=3, slots_per_replica=8)
    assert [each.running + each.waiting for each in policy.seen[1].replicas] == [8, 8, 8]


def test_each_gateway_knows_only_its_own_requests_and_its_share_of_the_cap() -> None:
    found = played(at_once(200), (0.0, 2), slots_per_replica=9, gateways=4)
    assert sides(found)[0] == 4 * math.ceil(18 / 4)


def test_what_a_full_engine_refuses_goes_to_hosted_and_fails_without() -> None:
    assert sides(played(at_once(12), (0.0, 1), max_queued_requests=9)) == [9, 3, 0]
    assert sides(played(at_once(12), (0.0, 1), max_queued_requests=9, hosted=None)) == [9, 0, 3]


def test_where_nothing_spills_requests_wait_at_the_gateway_up_to_a_number_and_a_time() -> None:
    waiting: dict[str, Any] = {"hosted": None, "slots_per_replica": 4, "most_held": 6}
    assert sides(played(at_once(12), (0.0, 1), hold_s=100.0, **waiting)) == [10, 0, 2]
    short = played(at_once(12, answer=3000, duration_s=600), (0.0, 1), hold_s=5.0, **waiting)
    assert sides(short) == [4, 0, 8]
    assert short.e2e_ms[short.side == FAILED].tolist() == pytest.approx([5000.0] * 6 + [0.0] * 2)


def test_at_zero_replicas_requests_are_held_until_the_first_is_ready() -> None:
    found = played(at_once(3), (0.0, 0), (10.0, 1), hosted=None, most_held=10, hold_s=100.0, model=engine(start_up_s=30.0))
    assert sides(found) == [3, 0, 0]
    assert found.ttft_ms[0] == pytest.approx(39_000, abs=200)


MOMENT: dict[str, Any] = {"slots_per_replica": 4, "most_pausing": 256}


def test_a_request_that_finds_own_replicas_full_takes_a_slot_that_frees_within_its_moment() -> None:
    found = played(at_once(6), (0.0, 1), pause_s=10.0, **MOMENT)
    assert sides(found) == [6, 0, 0]
    assert found.ttft_ms[4:].min() > found.e2e_ms[:4].min() - 1


def test_a_request_that_waited_in_vain_is_spilled_and_that_is_part_of_its_first_token() -> None:
    at_once_there, after = (played(at_once(6), (0.0, 1), pause_s=pause_s, **MOMENT) for pause_s in (0.0, 0.5))
    assert sides(after) == sides(at_once_there) == [4, 2, 0]
    assert after.ttft_ms[4:] == pytest.approx(at_once_there.ttft_ms[4:] + 500)


def test_no_more_than_may_wait_a_moment_and_none_without_a_replica() -> None:
    assert sides(played(at_once(12), (0.0, 1), pause_s=10.0, **{**MOMENT, "most_pausing": 3})) == [7, 5, 0]
    bridged = played(at_once(5), (0.0, 0), pause_s=10.0, **MOMENT)
    assert sides(bridged) == [0, 5, 0]
    assert bridged.ttft_ms.max() < 1500


def test_what_waits_a_moment_is_spilled_when_the_last_replica_goes() -> None:
    found = played(at_once(6, answer=2000, duration_s=90), (0.0, 1), (10.0, 0), pause_s=15.0, **MOMENT)
    assert sides(found) == [4, 2, 0]
    assert found.ttft_ms[4:] == pytest.approx(played(at_once(6), (0.0, 0)).ttft_ms[4:] + 9000, abs=2)


def test_what_a_days_budget_does_not_let_go_waits_its_moment_and_is_then_held() -> None:
    budget = replace(PLAIN_HOSTED, most_usd_per_day=0.0)
    held: dict[str, Any] = {"hosted": budget, "prices": PRICES, "pause_s": 0.2, "most_held": 5, "hold_s": 60.0}
    assert sides(played(at_once(12), (0.0, 1), **MOMENT, **held)) == [9, 0, 3]
    asleep = played(at_once(3), (0.0, 0), (10.0, 1), **MOMENT, **held, model=engine(start_up_s=20.0))
    assert sides(asleep) == [3, 0, 0]


def test_what_hosted_would_not_answer_is_held_where_requests_may_wait() -> None:
    down = replace(PLAIN_HOSTED, troubles=(Trouble(begin_s=0.0, end_s=60.0),))
    assert sides(played(at_once(6), (0.0, 1), hosted=down, slots_per_replica=4)) == [4, 0, 2]
    assert sides(played(at_once(6), (0.0, 1), hosted=down, slots_per_replica=4, most_held=5, hold_s=60.0)) == [6, 0, 0]


# Replicas


def test_a_replica_is_billed_from_launch_and_serves_from_ready() -> None:
    policy = Scripted(script=[(0.0, 0), (10.0, 1), (100.0, 0)])
    found = played(trace(duration_s=200), policy=policy, initial=0, model=engine(start_up_s=50.0))
    assert (found.lives.launched_s.tolist(), found.lives.ready_s.tolist(), found.lives.ended_s.tolist()) == ([10.0], [60.0], [100.0])
    assert [seen.starting for seen in policy.seen] == [0, 0, 1, 1, 1, 1, *[0] * 15]
    assert [seen.ready for seen in policy.seen] == [*[0] * 6, *[1] * 5, *[0] * 10]
    assert found.own_billed_s == 90.0


def test_bills_are_rounded_up_to_the_increment_of_those_that_ended() -> None:
    lives = Lives(launched_s=np.array([0.0, 0.0, 50.0]), ready_s=np.array([1.0, 1.0, 51.0]), ended_s=np.array([61.0, 120.0, math.inf]))
    assert lives.billed_s(100.0, 1.0).tolist() == [61.0, 100.0, 50.0]
    assert lives.billed_s(130.0, 60.0).tolist() == [120.0, 120.0, 80.0]


def test_a_failed_start_is_billed_and_starts_anew() -> None:
    sure = played(trace(duration_s=1000), (0.0, 0), (10.0, 40), model=engine(start_up_s=60.0))
    shaky = played(trace(duration_s=1000), (0.0, 0), (10.0, 40), model=engine(start_up_s=60.0, start_failure_share=0.5))
    assert sure.lives.ready_s == pytest.approx(70.0)
    attempts = (shaky.lives.ready_s - 10.0) / 60.0
    assert attempts == pytest.approx(np.rint(attempts))
    assert 1.4 < attempts.mean() < 2.8
    assert len(shaky.lives.launched_s) == 40
    assert shaky.own_billed_s == sure.own_billed_s


def test_start_up_times_have_their_mean_and_spread() -> None:
    found = played(trace(duration_s=200), (0.0, 0), (10.0, 300), model=engine(start_up_s=100.0, start_up_cv=0.3))
    took_s = found.lives.ready_s - 10.0
    assert np.isfinite(took_s).all()
    assert took_s.mean() == pytest.approx(100.0, rel=0.06)
    assert took_s.std() / took_s.mean() == pytest.approx(0.3, rel=0.15)


def test_a_scale_down_takes_what_is_starting_first_the_youngest_of_it() -> None:
    found = played(trace(duration_s=100), (0.0, 1), (10.0, 2), (20.0, 3), (30.0, 2), (40.0, 1), model=engine(start_up_s=500.0))
    assert found.lives.ended_s.tolist() == [math.inf, 40.0, 30.0]


def test_the_replica_with_the_least_in_flight_goes_and_is_billed_until_it_is_empty() -> None:
    # The first two take one each; the third goes to either, so that one has two.
    crowd = trace((1.0, 50, 2000), (1.1, 50, 2000), (1.2, 50, 2000), duration_s=200)
    policy = Scripted(script=[(0.0, 2), (10.0, 1)])
    found = played(crowd, policy=policy, initial=2)
    before, after = policy.seen[1].replicas, policy.seen[2].replicas
    idle = min(before, key=lambda each: each.running).index
    assert [each.draining for each in after] == [each.index == idle for each in after]
    assert sides(found) == [3, 0, 0]
    assert 20.0 < found.lives.ended_s[idle] < 30.0


def test_what_drains_takes_no_new_requests() -> None:
    policy = Scripted(script=[(0.0, 1), (10.0, 0)])
    found = played(trace((1.0, 50, 2000), (15.0, 50, 10), duration_s=100), policy=policy, initial=1)
    assert found.side.tolist() == [OWNED, HOSTED]


def test_a_crash_cuts_streams_and_spills_what_had_no_token_yet() -> None:
    crowd = at_once(12, answer=500)
    found = played(crowd, (0.0, 1), crashes_s=(3.0,), model=engine(start_up_s=20.0))
    assert sides(found) == [0, 4, 8]  # a batch of 8 was being answered, 4 waited
    assert found.ttft_ms[found.side == HOSTED].min() > 2000


def test_what_a_crash_breaks_off_is_not_held_for_another_replica() -> None:
    waiting: dict[str, Any] = {"hosted": None, "most_held": 20, "hold_s": 60.0, "slots_per_replica": 10}
    found = played(at_once(12, answer=500), (0.0, 1), crashes_s=(3.0,), model=engine(start_up_s=20.0), **waiting)
    assert sides(found) == [2, 0, 10]


def test_what_a_request_takes_beside_its_steps_is_waited_for_once_and_only_on_own_replicas() -> None:
    plain, real = (played(busy(), (0.0, 1), model=engine(request_overhead_ms=milliseconds)) for milliseconds in (0.0, 15.0))
    own, hosted = plain.side == OWNED, plain.side == HOSTED
    assert own.any()
    assert hosted.any()
    assert np.array_equal(plain.side, real.side)
    for before, after in ((plain.ttft_ms, real.ttft_ms), (plain.e2e_ms, real.e2e_ms)):
        assert after[own] - before[own] == pytest.approx(15.0, abs=0.01)
        assert np.array_equal(after[hosted], before[hosted])
    assert real.inter_token_ms[own] == pytest.approx(plain.inter_token_ms[own], abs=0.01, nan_ok=True)


# Hosted


def test_hosted_latencies_are_those_of_the_model() -> None:
    found = played(busy(1000.0, 5.0), (0.0, 0), hosted=FAST)
    assert np.nanmedian(found.ttft_ms) == pytest.approx(500, rel=0.05)
    assert np.nanpercentile(found.ttft_ms, 99) == pytest.approx(2000, rel=0.15)
    assert 10.0 <= np.nanmin(found.inter_token_ms) < np.nanmax(found.inter_token_ms) <= 20.0


def test_the_fast_preset_meets_a_usual_slo_and_the_slow_one_does_not() -> None:
    fast, slow = (played(busy(1000.0, 5.0), (0.0, 0), hosted=hosted).met().mean() for hosted in (FAST, SLOW))
    assert fast > 0.98
    assert slow < 0.5


def test_an_error_of_hosted_is_tried_once_more() -> None:
    found = played(busy(1000.0, 5.0), (0.0, 0), hosted=replace(PLAIN_HOSTED, error_share=0.3))
    assert (found.side == FAILED).mean() == pytest.approx(0.09, abs=0.015)


def test_an_outage_fails_what_spills_and_touches_nothing_owned() -> None:
    outage = replace(PLAIN_HOSTED, troubles=(Trouble(begin_s=100.0, end_s=200.0),))
    traffic = busy(300.0, 4.0)
    within = (traffic.arrival_s >= 100) & (traffic.arrival_s < 200)
    without, found = played(traffic, (0.0, 1)), played(traffic, (0.0, 1), hosted=outage)
    assert np.array_equal(found.side == OWNED, without.side == OWNED)
    assert (found.side[within] == FAILED).any()
    assert not (found.side[within] == HOSTED).any()
    assert not (found.side[~within] == FAILED).any()


def test_a_storm_of_429_fails_the_share_that_is_refused_twice() -> None:
    storm = replace(PLAIN_HOSTED, troubles=(Trouble(begin_s=0.0, end_s=500.0, refused_share=0.8),))
    traffic = busy(1000.0, 5.0)
    found = played(traffic, (0.0, 0), hosted=storm)
    stormy = traffic.arrival_s < 500
    assert (found.side[stormy] == FAILED).mean() == pytest.approx(0.64, abs=0.05)
    assert not (found.side[~stormy] == FAILED).any()


def test_a_days_budget_is_never_overspent_and_begins_anew_the_next_day() -> None:
    traffic = poisson([(2 * 86400.0, 0.005)], input_tokens=1000, output_tokens=500, seed=2)
    budget = replace(PLAIN_HOSTED, most_usd_per_day=0.2)
    found = run(
        traffic,
        engine=engine(),
        rules=Rules(spills=True, **RULES),
        hosted=budget,
        targets=TARGETS,
        policy=Scripted(script=[(0.0, 0)], tick_s=3600.0),
        name="none",
        seed=1,
        initial_replicas=0,
        prices=PRICES,
    )
    usd = (traffic.input_tokens * 1.0 + traffic.output_tokens * 2.0) / 1e6 * (found.side == HOSTED)
    first = traffic.arrival_s < 86400
    for day in (usd[first].sum(), usd[~first].sum()):
        assert 0.19 < day <= 0.2 + 1e-6
    assert (found.side == FAILED).any()


def test_a_budget_without_prices_is_refused() -> None:
    with pytest.raises(ValueError, match="give run\\(\\) the prices"):
        played(busy(10.0), (0.0, 0), hosted=replace(PLAIN_HOSTED, most_usd_per_day=1.0))


# What it comes to


def test_all_hosted_and_all_owned_cost_what_prices_say() -> None:
    traffic = busy()
    tokens = float(traffic.input_tokens.sum()), float(traffic.output_tokens.sum())
    rented = played(traffic, (0.0, 0)).outcome(PRICES)
    assert (rented.own_usd, rented.starts, rented.spilled_percent) == (0.0, 0, 100.0)
    assert rented.hosted_usd == pytest.approx((tokens[0] + 2 * tokens[1]) / 1e6)
    owned = played(traffic, (0.0, 4), hosted=None, slots_per_replica=1000).outcome(PRICES)
    assert (owned.hosted_usd, owned.spilled_percent, owned.failed) == (0.0, 0.0, 0)
    assert owned.own_usd == pytest.approx(4 * traffic.duration_s / 3600 * 3.6)
    assert owned.replica_hours == pytest.approx(4 * traffic.duration_s / 3600)


def test_one_run_is_priced_for_any_prices() -> None:
    done = played(busy(), (0.0, 1))
    cheap, dear = done.outcome(PRICES), done.outcome(replace(PRICES, hosted_output_usd_per_million=20.0))
    assert dear.own_usd == cheap.own_usd
    assert dear.hosted_usd - cheap.hosted_usd == pytest.approx(18.0 * done.hosted_tokens[1] / 1e6)
    assert dear.cost_usd == dear.own_usd + dear.hosted_usd


def test_simulate_is_a_run_with_its_prices() -> None:
    traffic, policy = busy(60.0), Scripted(script=[(0.0, 1)])
    found = simulate(
        traffic,
        engine=engine(),
        rules=Rules(spills=True, **RULES),
        hosted=PLAIN_HOSTED,
        targets=TARGETS,
        prices=PRICES,
        policy=policy,
        name="one",
        seed=1,
        initial_replicas=1,
    )
    assert (found.policy, found.requests) == ("one", traffic.requests)
    assert found.cost_usd == played(traffic, (0.0, 1), **RULES).outcome(PRICES).cost_usd


def test_failed_requests_miss_the_slo_and_each_target_counts() -> None:
    found = played(at_once(16), (0.0, 1), hosted=None, slots_per_replica=12)
    assert sides(found) == [12, 0, 4]
    assert replace(found, targets=Targets()).outcome(PRICES).slo_attainment_percent == 75.0
    strict = replace(found, targets=Targets(end_to_end_ms=float(np.sort(found.e2e_ms[found.side == OWNED])[5])))
    assert strict.met().sum() == 6
    assert not replace(found, targets=Targets(ttft_ms=1.0)).met().any()
    assert not replace(found, targets=Targets(inter_token_ms=1.0)).met().any()


def test_the_worst_five_minutes_are_of_windows_with_twenty_requests() -> None:
    calm, crowd = at_once(19, at_s=10.0), at_once(40, at_s=700.0)
    both = trace(
        *zip(
            np.concatenate([calm.arrival_s, crowd.arrival_s]),
            np.concatenate([calm.input_tokens, crowd.input_tokens]),
            np.concatenate([calm.output_tokens, crowd.output_tokens]),
            strict=True,
        ),
        duration_s=1000.0,
    )
    found = replace(played(both, (0.0, 1), hosted=None, slots_per_replica=10), targets=Targets()).outcome(PRICES)
    assert found.worst_5_min_attainment_percent == 25.0
    assert played(calm, (0.0, 1)).outcome(PRICES).worst_5_min_attainment_percent is None


def test_the_course_adds_up_to_the_outcome() -> None:
    done = played(busy(900.0, 0.8), (0.0, 1), (300.0, 3), (600.0, 2))
    found = done.outcome(PRICES)
    course = found.course
    assert len(course.own_usd) == 15
    assert course.own_usd.sum() == pytest.approx(found.own_usd)
    assert course.hosted_usd.sum() == pytest.approx(found.hosted_usd)
    assert (course.arrivals_per_s * course.interval_s).sum() == pytest.approx(found.requests)
    assert (course.demand_replicas * course.interval_s).sum() == pytest.approx(done.work_s.sum())
    assert course.billed_replicas[-1] == pytest.approx(2.0, abs=0.05)
    assert (course.ready_replicas <= course.billed_replicas + 1e-9).all()
    assert course.ready_replicas[5] == pytest.approx(1.0)
    assert course.billed_replicas[5] == pytest.approx(3.0)


@pytest.mark.parametrize("seed", [1, 2])
def test_more_replicas_never_serve_worse(seed: int) -> None:
    attained = [played(busy(90.0, 6.0, seed), (0.0, count), hosted=None, slots_per_replica=1000).met().mean() for count in (1, 2, 4)]
    assert attained == sorted(attained)
    spilled = [int((played(busy(90.0, 6.0, seed), (0.0, count)).side == HOSTED).sum()) for count in (0, 1, 2, 4)]
    assert spilled == sorted(spilled, reverse=True)


def test_an_empty_trace_comes_to_its_idle_replicas() -> None:
    found = played(trace(duration_s=3600), (0.0, 1)).outcome(PRICES)
    assert (found.requests, found.slo_attainment_percent, found.ttft_p95_ms, found.worst_5_min_attainment_percent) == (0, None, None, None)
    assert found.cost_usd == pytest.approx(3.6)


def test_a_trace_out_of_order_is_refused() -> None:
    with pytest.raises(ValueError, match="sort its requests"):
        played(trace((2.0, 1, 1), (1.0, 1, 1), duration_s=3))


# What is seen


def test_rates_and_means_are_those_of_the_window() -> None:
    policy = Scripted(script=[(0.0, 2)], tick_s=10.0, window_s=60.0)
    traffic = busy(300.0)
    found = played(traffic, policy=policy, initial=2, slots_per_replica=1000)
    last = policy.seen[-1]
    ended_s = traffic.arrival_s + found.e2e_ms / 1000
    recent = (ended_s > 240) & (ended_s <= 300)
    assert last.arrivals_per_s == pytest.approx((traffic.arrival_s > 240).sum() / 60)
    assert last.finished_per_s == pytest.approx(recent.sum() / 60)
    assert last.residence_s == pytest.approx(found.e2e_ms[recent].mean() / 1000, rel=1e-4)
    assert last.output_tokens_mean == pytest.approx(traffic.output_tokens[recent].mean())
    assert last.ttft_p90_ms == pytest.approx(np.percentile(found.ttft_ms[recent], 90), rel=0.15)
    assert last.inter_token_p90_ms == pytest.approx(np.nanpercentile(found.inter_token_ms[recent], 90), rel=0.15)
    assert last.running + last.waiting == ((traffic.arrival_s <= 300) & (ended_s > 300)).sum()
    assert last.residence_s is not None
    assert last.running_mean + last.waiting_mean == pytest.approx(last.arrivals_per_s * last.residence_s, rel=0.25)  # Little
    assert last.answered == (float((ended_s <= 300).sum()), 0.0)


def test_step_figures_lie_on_the_engines_model() -> None:
    policy, model = Scripted(script=[(0.0, 1)]), engine()
    played(busy(300.0, 2.0), policy=policy, initial=1, model=model, slots_per_replica=1000)
    for seen in policy.seen[3:]:
        assert seen.step_ms is not None
        assert seen.batch_mean is not None
        assert seen.prompt_tokens_per_step is not None
        assert seen.kv_tokens_mean is not None
        expected = model.step.step_ms(sequences=seen.batch_mean, kv_tokens=seen.kv_tokens_mean, prompt_tokens=seen.prompt_tokens_per_step)
        assert seen.step_ms == pytest.approx(expected, rel=0.03)
        assert 0 < seen.busy_ratio <= 1
        assert 0 <= seen.kv_usage_ratio <= 1


def test_what_did_not_happen_is_none() -> None:
    policy = Scripted(script=[(0.0, 1)])
    played(trace((5.0, 10, 1), duration_s=200), policy=policy, initial=1)
    assert policy.seen[1].ttft_p90_ms is not None
    assert policy.seen[1].inter_token_p90_ms is None  # an answer of one token has no gap
    last = policy.seen[-1]
    assert (last.residence_s, last.step_ms, last.ttft_p90_ms, last.input_tokens_mean) == (None, None, None, None)


def test_copies_of_a_trace_keep_its_lengths_and_its_course() -> None:
    traffic = poisson([(3600.0, 0.2), (3600.0, 1.0)], input_tokens=10, output_tokens=50, seed=1)
    five = superposed(traffic, copies=5, seed=1)
    assert five.requests == 5 * traffic.requests
    assert five.output_tokens.sum() == 5 * traffic.output_tokens.sum()
    assert (np.diff(five.arrival_s) >= 0).all()
    assert (five.arrival_s < 3600).sum() == pytest.approx(5 * (traffic.arrival_s < 3600).sum(), rel=0.1)
