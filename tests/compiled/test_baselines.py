"""Each rule on sights made by hand, with the answer its source gives."""

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spillway.simulate.baselines.apa import Apa
from spillway.simulate.baselines.catalogue import RULES, Rule, rule
from spillway.simulate.baselines.dynamo import Dynamo, Steps
from spillway.simulate.baselines.facts import Facts
from spillway.simulate.baselines.hpa import Behaviour, Follower, HpaConcurrency, HpaUtilisation
from spillway.simulate.baselines.keda import KedaQueue, KedaQueueAndCache
from spillway.simulate.baselines.kpa import AIBRIX, Kpa
from spillway.simulate.baselines.kubeai import KubeAi
from spillway.simulate.baselines.llmd import SloLoop
from spillway.simulate.baselines.static import Static
from spillway.simulate.baselines.wva import WvaSaturation, WvaTokenBudget
from spillway.simulate.policy import Policy, Seen
from tests.unit.simulate.sights import seen

FACTS = Facts(
    slots=10,
    max_replicas=20,
    peak_replicas=8,
    ttft_slo_ms=2000.0,
    inter_token_slo_ms=50.0,
    kv_tokens=10_000.0,
    work_s_per_input_token=0.0001,
    work_s_per_output_token=0.002,
)
SHAPE: dict[str, Any] = {"input_tokens_mean": 1000.0, "output_tokens_mean": 200.0}  # half a replica-second a request


def last(policy: Policy, sights: Iterable[Seen]) -> int:
    return [policy.replicas(each) for each in sights][-1]


def minutes(policy: Policy, count: float, **shown: Any) -> list[Seen]:
    """Return the same sight at every tick for so many minutes."""
    return [seen(now_s=tick * policy.tick_s, **shown) for tick in range(int(count * 60 / policy.tick_s) + 1)]


every_rule = pytest.mark.parametrize("each", RULES, ids=lambda each: each.name)


@every_rule
def test_a_rule_says_where_it_is_written_down_and_its_grid_fits_its_parameters(each: Rule) -> None:
    assert each.source
    assert all(len(values) in {0, len(each.parameters)} for values in (*each.defaults, *each.grid))
    for values in (*each.defaults, *each.grid):
        assert each.policy(FACTS, values).tick_s > 0


@every_rule
@pytest.mark.parametrize("lowest", [0, 3])
@settings(max_examples=25)
@given(
    sights=st.lists(
        st.fixed_dictionaries(
            {
                "ready": st.integers(0, 30),
                "starting": st.integers(0, 10),
                "queue_each": st.integers(0, 50),
                "arrivals_per_s": st.floats(0, 100),
                "running_mean": st.floats(0, 400),
                "kv_usage_ratio": st.floats(0, 1),
                "busy_ratio": st.floats(0, 1),
                "ttft_p90_ms": st.none() | st.floats(0, 1e5),
                "inter_token_p90_ms": st.none() | st.floats(0, 1e3),
                "step_ms": st.none() | st.floats(1, 1e3),
                "batch_mean": st.none() | st.floats(0.1, 10),
                "input_tokens_mean": st.none() | st.floats(1, 1e5),
                "output_tokens_mean": st.none() | st.floats(1, 1e4),
            }
        ),
        min_size=1,
        max_size=8,
    )
)
def test_a_rule_stays_within_its_bounds_whatever_it_sees(each: Rule, lowest: int, sights: list[dict[str, Any]]) -> None:
    facts = Facts(
        slots=10,
        max_replicas=6,
        min_replicas=lowest,
        peak_replicas=9,
        ttft_slo_ms=2000.0,
        inter_token_slo_ms=50.0,
        kv_tokens=1e4,
        work_s_per_input_token=1e-4,
        work_s_per_output_token=2e-3,
    )
    policy = each.policy(facts)
    for index, shown in enumerate(sights):
        assert lowest <= policy.replicas(seen(now_s=index * policy.tick_s, **shown)) <= 6


@pytest.mark.parametrize(
    "name",
    ["hpa-utilisation", "hpa-concurrency", "keda-queue", "keda-queue-kv", "aibrix-apa", "llmd-slo", "wva-v1", "wva-v2", "dynamo"],
)
def test_holds_while_no_replica_can_be_asked(name: str) -> None:
    policy = rule(name).policy(FACTS)
    assert last(policy, minutes(policy, 2, starting=4, arrivals_per_s=3.0)) == 4


@pytest.mark.parametrize("name", ["kubeai", "knative-kpa", "aibrix-kpa"])
def test_the_first_request_starts_the_first_replica_where_the_rule_can_be_at_zero(name: str) -> None:
    policy = rule(name).policy(FACTS)
    assert policy.replicas(seen(now_s=0.0)) == 0
    assert policy.replicas(seen(now_s=policy.tick_s, arrivals_per_s=0.1)) == 1


@pytest.mark.parametrize("name", ["kubeai", "knative-kpa", "aibrix-kpa"])
def test_the_first_replica_is_waited_for_though_the_request_that_asked_for_it_was_spilled(name: str) -> None:
    policy = rule(name).policy(FACTS)
    policy.replicas(seen(now_s=0.0, arrivals_per_s=0.1, spilled_per_s=0.1))
    ticks = range(1, int(300 / policy.tick_s))
    assert {policy.replicas(seen(now_s=policy.tick_s * tick, starting=1)) for tick in ticks} == {1}
    assert policy.replicas(seen(now_s=300.0, ready=1)) == 1, "and for what comes next"


@pytest.mark.parametrize("name", ["kubeai", "knative-kpa"])
def test_what_a_gateway_holds_while_there_is_no_replica_is_in_flight(name: str) -> None:
    policy = rule(name).policy(FACTS, (0.7,))
    assert last(policy, minutes(policy, 10, starting=2, held=21)) == 3


@pytest.mark.parametrize("name", ["keda-queue", "wva-v1"])
def test_a_rule_that_waits_for_a_queue_asks_for_nothing_where_requests_spill_instead(name: str) -> None:
    policy = rule(name).policy(FACTS)
    sights = minutes(policy, 10, ready=1, running=10, running_mean=10.0, arrivals_per_s=50.0, spilled_per_s=45.0, kv_usage_ratio=0.5)
    assert last(policy, sights) == 1


def test_an_unknown_rule_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="no policy 'guess'; there are all-hosted, all-owned"):
        rule("guess")


# Static


def test_static_is_the_share_of_the_peak_rounded_up() -> None:
    assert [Static(FACTS, share_of_peak=share).replicas(seen()) for share in (0.0, 0.3, 0.5, 1.0)] == [0, 3, 4, 8]


# HPA


@pytest.mark.parametrize(
    ("ready", "starting", "busy", "expected"),
    [
        (4, 0, 0.80, 4),  # on target
        (4, 0, 0.87, 4),  # within the tolerance of 10 %
        (4, 0, 0.90, 5),  # 4 x 0.9 / 0.8 = 4.5
        (4, 4, 0.90, 8),  # those on their way count as idle: nothing more
        (2, 1, 1.00, 3),  # 2 x 1.25 = 2.5 of 3
    ],
)
def test_hpa_scales_by_the_ratio_to_its_target(ready: int, starting: int, busy: float, expected: int) -> None:
    assert HpaUtilisation(FACTS, target=0.8).replicas(seen(ready=ready, starting=starting, busy_ratio=busy)) == expected


def test_hpa_goes_down_only_after_five_minutes_of_asking_for_it() -> None:
    policy = HpaUtilisation(FACTS, target=0.8)
    policy.replicas(seen(now_s=0.0, ready=4, busy_ratio=0.8))
    assert {policy.replicas(seen(now_s=now, ready=4, busy_ratio=0.2)) for now in range(15, 300, 15)} == {4}
    assert policy.replicas(seen(now_s=300.0, ready=4, busy_ratio=0.2)) == 1


def test_hpa_begins_with_what_it_finds() -> None:
    assert HpaUtilisation(FACTS, target=0.8).replicas(seen(ready=4, busy_ratio=0.1)) == 4


def test_hpa_at_most_doubles_or_adds_four_in_a_sync() -> None:
    assert HpaConcurrency(FACTS, target=0.5).replicas(seen(ready=1, running_mean=200.0)) == 5
    assert HpaConcurrency(FACTS, target=0.5).replicas(seen(ready=6, running_mean=200.0)) == 12


def test_hpa_on_concurrency_divides_what_is_in_flight_by_the_target() -> None:
    assert HpaConcurrency(FACTS, target=0.8).replicas(seen(ready=4, running_mean=38.0, queue_each=1)) == 6  # 42 / 8


def test_a_behaviour_counts_what_changed_in_its_period() -> None:
    follower = Follower(Behaviour(down_window_s=0.0, down_period_s=120.0, down_pods=1))
    count, course = 5, []
    for now in range(0, 300, 30):
        count = follower.follow(now, count, 2)
        course.append(count)
    assert course == [4, 4, 4, 4, 3, 3, 3, 3, 2, 2]


# KEDA


def test_keda_asks_for_one_replica_for_every_five_that_wait() -> None:
    assert KedaQueue(FACTS).replicas(seen(ready=4, queue_each=8)) == 7  # 32 / 5
    assert KedaQueue(FACTS).replicas(seen(ready=4, queue_each=5)) == 4


def test_keda_takes_the_larger_of_queue_and_cache() -> None:
    assert KedaQueueAndCache(FACTS).replicas(seen(ready=4, kv_usage_ratio=0.9)) == 6  # 4 x 0.9 / 0.6
    assert KedaQueueAndCache(FACTS).replicas(seen(ready=4, queue_each=8, kv_usage_ratio=0.1)) == 7


# KubeAI


def test_kubeai_averages_ten_minutes_against_a_hundred_requests_by_default() -> None:
    policy = KubeAi(FACTS)
    sights = [seen(now_s=10.0 * tick, ready=2, running=0 if tick < 30 else 500) for tick in range(60)]
    assert last(policy, sights) == 3  # a mean of 250


def test_kubeai_goes_down_at_the_third_ask_in_a_row() -> None:
    policy = KubeAi(FACTS, target_share=0.8)
    policy.replicas(seen(now_s=0.0, ready=4, running=32))
    asked = [policy.replicas(seen(now_s=10.0 * tick, ready=4, running=0)) for tick in range(1, 6)]
    assert asked == [4, 4, 1, 1, 1]  # means of 16, 11, 8, ... on a target of 8


# Knative and AIBrix


def test_knative_sizes_for_its_stable_mean_at_seventy_percent() -> None:
    policy = Kpa(FACTS)
    assert last(policy, minutes(policy, 2, ready=4, running_mean=27.0)) == 4  # 27 / 7


def test_knative_panics_on_the_short_mean_and_stays_up_for_a_stable_window() -> None:
    policy = Kpa(FACTS)
    for tick in range(30):
        policy.replicas(seen(now_s=2.0 * tick, ready=1, running_mean=5.0))
    burst = [policy.replicas(seen(now_s=60.0 + 2 * tick, ready=1, running_mean=70.0)) for tick in range(3)]
    assert burst[-1] == 10
    calm = {policy.replicas(seen(now_s=66.0 + 2 * tick, ready=10, running_mean=5.0)) for tick in range(25)}
    assert calm == {10}
    assert last(policy, [seen(now_s=130.0 + 2 * tick, ready=10, running_mean=5.0) for tick in range(3)]) == 5  # half of ten at a time


def test_aibrix_at_most_doubles() -> None:
    policy = Kpa(FACTS, pace=AIBRIX)
    assert last(policy, minutes(policy, 5, ready=2, running_mean=200.0)) == 4


def test_apa_leaves_its_tolerance_alone_and_limits_its_steps() -> None:
    assert Apa(FACTS).replicas(seen(ready=4, kv_usage_ratio=0.54)) == 4
    assert Apa(FACTS).replicas(seen(ready=4, kv_usage_ratio=0.70)) == 6  # 4 x 1.4
    assert Apa(FACTS).replicas(seen(ready=2, kv_usage_ratio=1.0)) == 4
    assert Apa(FACTS).replicas(seen(ready=8, kv_usage_ratio=0.05)) == 4


def test_apa_goes_down_only_after_its_cooldown() -> None:
    policy = Apa(FACTS)
    policy.replicas(seen(now_s=0.0, ready=8, kv_usage_ratio=0.5))
    assert {policy.replicas(seen(now_s=now, ready=8, kv_usage_ratio=0.3)) for now in range(10, 300, 10)} == {8}
    assert policy.replicas(seen(now_s=300.0, ready=8, kv_usage_ratio=0.3)) == 5


# llm-d


@pytest.mark.parametrize(
    ("ready", "starting", "ttft_ms", "inter_token_ms", "expected"),
    [
        (10, 0, 900.0, 10.0, 10),  # 0.45: in the band
        (10, 0, 1600.0, 10.0, 15),  # 0.8: 10 + ceil(10 x 0.4545)
        (10, 0, 100.0, 40.0, 15),  # the worse of the two
        (10, 0, 90_000.0, 10.0, 20),  # cut at 2, doubled at most
        (8, 2, 1600.0, 10.0, 12),  # credit 0.8: 10 + ceil(10 x (0.8 x 0.8 / 0.55 - 1))
    ],
)
def test_slo_loop_follows_its_formula_up(ready: int, starting: int, ttft_ms: float, inter_token_ms: float, expected: int) -> None:
    policy = SloLoop(FACTS)
    shown = {"ready": ready, "starting": starting, "ttft_p90_ms": ttft_ms, "inter_token_p90_ms": inter_token_ms, "arrivals_per_s": 1.0}
    assert last(policy, minutes(policy, 0.5, **shown)) == expected


def test_slo_loop_waits_half_a_minute_before_it_goes_up() -> None:
    policy = SloLoop(FACTS)
    slow = [seen(now_s=15.0 * tick, ready=4, ttft_p90_ms=1600.0, inter_token_p90_ms=5.0, arrivals_per_s=1.0) for tick in range(3)]
    assert [policy.replicas(each) for each in slow] == [4, 4, 6]


def test_slo_loop_sheds_one_replica_in_two_minutes() -> None:
    policy = SloLoop(FACTS)
    count, course = 4, []
    for tick in range(40):
        count = policy.replicas(seen(now_s=15.0 * tick, ready=count, ttft_p90_ms=100.0, inter_token_p90_ms=5.0, arrivals_per_s=1.0))
        course.append(count)
    assert [course.count(each) for each in (4, 3, 2)] == [12, 8, 8]  # a window of 180 s, then one in 120 s


def test_slo_loop_holds_where_requests_came_and_none_was_timed() -> None:
    policy = SloLoop(FACTS)
    assert last(policy, minutes(policy, 10, ready=4, arrivals_per_s=1.0)) == 4


# WVA


@pytest.mark.parametrize(
    ("ready", "starting", "queue_each", "kv", "expected"),
    [
        (4, 0, 0, 0.65, 4),  # spare 0.15, but 0.65 x 4/3 is not clear
        (4, 0, 0, 0.72, 5),  # spare 0.08
        (4, 0, 3, 0.30, 5),  # spare queue 2
        (4, 0, 6, 0.30, 5),  # all saturated
        (4, 1, 6, 0.95, 5),  # one on its way: nothing
        (4, 0, 0, 0.30, 3),  # 0.4 on three
        (1, 0, 0, 0.05, 1),
    ],
)
def test_wva_moves_by_one_on_spare_capacity(ready: int, starting: int, queue_each: int, kv: float, expected: int) -> None:
    assert WvaSaturation(FACTS).replicas(seen(ready=ready, starting=starting, queue_each=queue_each, kv_usage_ratio=kv)) == expected


def test_wva_budget_covers_demand_at_its_thresholds() -> None:
    # 10 slots x (1000 + 100) = 11,000 tokens: 80 % of the cache, 8,000, is less.
    policy = WvaTokenBudget(FACTS)
    assert policy.replicas(seen(ready=4, kv_usage_ratio=0.8, **SHAPE)) == 5  # 32,000 / 0.85 = 37,600
    assert policy.replicas(seen(ready=4, kv_usage_ratio=0.6, **SHAPE)) == 4
    assert policy.replicas(seen(ready=4, kv_usage_ratio=0.2, **SHAPE)) == 2  # 8,000 / 0.70 = 11,400
    assert policy.replicas(seen(ready=4, starting=1, kv_usage_ratio=0.8, **SHAPE)) == 5


def test_wva_budget_learns_from_a_saturated_queue() -> None:
    policy = WvaTokenBudget(FACTS)
    # 2,000 tokens in use when the queue fills: that is what a replica can do. (2,000 x 4 + 20 x 1,000) / 0.85 / 2,000 = 16.5
    assert policy.replicas(seen(ready=4, queue_each=5, kv_usage_ratio=0.2, **SHAPE)) == 17


# Dynamo


def test_dynamo_plans_every_three_minutes_for_the_rate_that_arrived() -> None:
    policy = Dynamo(FACTS)
    sights = [seen(now_s=5.0 * tick, ready=2, starting=1, arrivals_per_s=14.0, finished_per_s=1.0, **SHAPE) for tick in range(37)]
    asked = [policy.replicas(each) for each in sights]
    assert set(asked[:36]) == {3}
    assert asked[36] == 7  # 14 x 0.5


def test_dynamo_without_its_load_loop_follows_the_floor_alone() -> None:
    policy = Dynamo(FACTS, by_load=False)
    assert last(policy, minutes(policy, 3, ready=9, arrivals_per_s=5.0, batch_mean=9.0, step_ms=60.0, **SHAPE)) == 3  # 5 x 0.5


def test_dynamo_steps_up_above_the_objective_and_down_where_the_rest_stays_below_it() -> None:
    def after(batch: float, step_ms: float) -> int:
        policy = Dynamo(FACTS)
        points = [
            seen(now_s=5.0 * tick, ready=4, arrivals_per_s=0.1, batch_mean=2.0 + tick % 4, step_ms=20.0 + 4 * (tick % 4), **SHAPE)
            for tick in range(37)
        ]
        last(policy, points[:-1])
        return policy.replicas(seen(now_s=180.0, ready=4, arrivals_per_s=0.1, batch_mean=batch, step_ms=step_ms, **SHAPE))

    assert after(10.0, 52.0) == 5  # 12 + 4 x 10 ms is over 50
    assert after(7.0, 40.0) == 4  # 40 ms, and 49 on three
    assert after(4.0, 28.0) == 3  # 33 ms on three


def test_steps_learn_a_line_and_forget_what_is_old() -> None:
    steps = Steps()
    for index in range(400):
        steps.add(float(index % 5), 10.0 + index % 5 if index < 200 else 20.0 + 2 * (index % 5))
    assert steps.step_ms(10.0) == pytest.approx(40.0)


def test_steps_without_spread_grow_in_proportion() -> None:
    steps = Steps()
    steps.add(4.0, 20.0)
    assert steps.step_ms(8.0) == pytest.approx(40.0)
    assert steps.step_ms(2.0) == pytest.approx(20.0)
