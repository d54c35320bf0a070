from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.api.traffic import TrafficPattern
from spillway.api.workload import InferenceWorkloadSpec
from spillway.plan.money.economics import (
    Fleet,
    Pricing,
    ReplicaPrice,
    break_even_requests,
    dedicated_cost,
    hosted_cost,
    hybrid_cost,
    kappa,
    replica_price,
    request_usd,
    stranded_share,
    usd_per_million_tokens,
)
from spillway.plan.traffic.lengths import Lengths
from spillway.plan.traffic.load import SECONDS_PER_MONTH, Load, declared_load
from tests.unit.plan.planning import accelerator, load, provider

LENGTHS = Lengths(input_mean=1000, input_p95=3000, output_mean=250)
RATES = st.floats(0.01, 50)
LOADS = st.builds(
    lambda mean, ratio, pattern: Load(mean_per_s=mean, peak_per_s=mean * ratio, pattern=pattern),
    RATES,
    st.floats(1, 10),
    st.sampled_from(TrafficPattern),
)
PRICES = st.builds(
    lambda usd, reserved, spot: ReplicaPrice(on_demand=usd, reserved=usd * reserved, spot=usd * spot),
    st.floats(0.1, 100),
    st.floats(0.2, 1),
    st.floats(0.1, 1),
)
FLEETS = st.builds(
    Fleet,
    requests_per_s=st.floats(0.5, 30),
    price=PRICES,
    pricing=st.sampled_from(Pricing),
    least=st.integers(0, 3),
    committed=st.integers(0, 3),
)
REQUEST_USD = st.floats(1e-6, 0.1)


def fleet(usd: float = 2.0, requests_per_s: float = 2.0, least: int = 1, committed: int = 0) -> Fleet:
    return Fleet(requests_per_s=requests_per_s, price=ReplicaPrice(on_demand=usd), least=least, committed=committed)


# The load


@given(LOADS, st.floats(0, 100), st.floats(0, 100))
def test_a_larger_capacity_never_serves_less_and_is_never_exceeded_for_longer(given_load: Load, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert given_load.served_per_s(low) <= given_load.served_per_s(high) + 1e-9
    assert given_load.share_above(low) >= given_load.share_above(high)
    assert given_load.served_per_s(low) <= min(low, given_load.mean_per_s) + 1e-9


@given(LOADS)
def test_the_curve_goes_through_the_mean_and_the_peak(given_load: Load) -> None:
    steps = 4000
    capacity = given_load.peak_per_s
    area = sum(given_load.share_above(capacity * (step + 0.5) / steps) for step in range(steps)) * capacity / steps
    assert area == pytest.approx(given_load.mean_per_s, rel=0.02)
    assert given_load.share_above(capacity) == 0
    assert given_load.share_above(0) == 1


@given(LOADS, st.floats(0.05, 0.95))
def test_what_a_capacity_serves_is_the_area_below_it(given_load: Load, share: float) -> None:
    steps, capacity = 4000, given_load.peak_per_s * share
    area = sum(given_load.share_above(capacity * (step + 0.5) / steps) for step in range(steps)) * capacity / steps
    assert given_load.served_per_s(capacity) == pytest.approx(area, rel=0.02)


@pytest.mark.parametrize(
    ("traffic", "mean", "peak"),
    [
        ({"requestsPerMonth": 2_592_000}, 1.0, 1.0),
        ({"requestsPerMonth": 2_592_000, "pattern": "Bursty"}, 1.0, 4.0),
        ({"requestsPerSecond": {"mean": "2", "peak": "3"}, "pattern": "Bursty"}, 2.0, 3.0),
        ({"requestsPerSecond": {"mean": "2", "peak": "9"}, "latency": "Offline"}, 2.0, 2.0),
    ],
    ids=["no peak is stated", "a bursty peak is assumed", "a stated peak counts", "offline peaks wait"],
)
def test_the_load_is_read_from_the_spec(traffic: dict[str, object], mean: float, peak: float) -> None:
    found = declared_load(InferenceWorkloadSpec.model_validate({"model": {"id": "a/b"}, "placement": {"mode": "Auto"}, "traffic": traffic}))
    assert found is not None
    assert (found.mean_per_s, found.peak_per_s) == (mean, peak)


def test_the_load_of_a_mean_of_nothing_is_never_above_anything() -> None:
    nothing, little = (Load(mean_per_s=mean, peak_per_s=5.0) for mean in (0.0, 1e-6))
    assert nothing.share_above(2.0) <= little.share_above(2.0)
    assert dedicated_cost(nothing, fleet()).usd <= dedicated_cost(little, fleet()).usd


def test_offline_traffic_of_no_volume_yet_has_no_peaks_at_any_other() -> None:
    traffic = {"requestsPerMonth": 0, "latency": "Offline", "pattern": "Bursty"}
    found = declared_load(InferenceWorkloadSpec.model_validate({"model": {"id": "a/b"}, "placement": {"mode": "Auto"}, "traffic": traffic}))
    assert found is not None
    there = found.at(SECONDS_PER_MONTH)
    assert there.peak_per_s == there.mean_per_s == pytest.approx(1.0)


def test_without_a_volume_there_is_no_load() -> None:
    spec = {"model": {"id": "a/b"}, "placement": {"mode": "Auto"}, "traffic": {"inputTokens": {"mean": 5}}}
    assert declared_load(InferenceWorkloadSpec.model_validate(spec)) is None


# What it costs


def test_idle_replicas_are_paid_so_half_the_use_is_twice_the_price_of_a_token() -> None:
    busy, idle = load(2.0), load(1.0)
    costs = [dedicated_cost(each, fleet()) for each in (busy, idle)]
    assert [cost.usd for cost in costs] == [1440, 1440]
    assert [cost.utilization for cost in costs] == [1.0, 0.5]
    per_token = [usd_per_million_tokens(cost.usd, each, LENGTHS) for cost, each in zip(costs, (busy, idle), strict=True)]
    assert per_token[1] == pytest.approx(2 * (per_token[0] or 0))


def test_replicas_follow_the_load_between_the_least_and_the_peak() -> None:
    cost = dedicated_cost(load(4.0, peak=10.0), fleet(requests_per_s=2.0))
    assert cost.replicas_peak == 5
    assert 2 < cost.replicas_mean < 5
    assert cost.usd == pytest.approx(cost.replicas_mean * 2 * 720)
    assert dedicated_cost(load(4.0, peak=10.0), fleet(requests_per_s=2.0, least=5)).replicas_mean == 5


def test_a_hybrid_owns_the_base_and_rents_the_peak_when_the_peak_is_short() -> None:
    bursty, request = load(4.0, peak=16.0, pattern=TrafficPattern.BURSTY), 0.0008
    cost = hybrid_cost(bursty, fleet(), request)
    assert 0 < cost.replicas_peak < dedicated_cost(bursty, fleet()).replicas_peak
    assert cost.hosted_usd > 0
    assert cost.usd < dedicated_cost(bursty, fleet()).usd
    assert cost.usd < hosted_cost(bursty, request).usd


@given(LOADS, FLEETS, REQUEST_USD)
def test_a_hybrid_is_never_dearer_than_both_its_ends(given_load: Load, owned: Fleet, request: float) -> None:
    ends = dedicated_cost(given_load, owned).usd, hosted_cost(given_load, request).usd
    hybrid = hybrid_cost(given_load, owned, request).usd
    assert hybrid <= max(ends) * (1 + 1e-9)
    assert hybrid <= ends[0] * (1 + 1e-9)


@given(LOADS, FLEETS, REQUEST_USD, st.integers(1, 12))
def test_a_hybrid_owns_of_the_numbers_it_may_the_one_that_costs_least(given_load: Load, owned: Fleet, request: float, most: int) -> None:
    least = max(1, owned.least)
    allowed = range(least, max(least, min(most, dedicated_cost(given_load, owned).replicas_peak)) + 1)

    def usd(count: int) -> float:
        always = count if given_load.pattern is TrafficPattern.BURSTY else least
        shares = [1.0 if index < always else given_load.share_above(index * owned.requests_per_s) for index in range(count)]
        paid = sum(owned.price.usd(owned.pricing, share=share) for share in shares[owned.committed :])
        spilled = 1 - given_load.served_per_s(count * owned.requests_per_s) / given_load.mean_per_s
        return 720 * paid + hosted_cost(given_load, request).usd * spilled

    found = hybrid_cost(given_load, replace(owned, most=most), request)
    assert found.replicas_peak in allowed
    assert found.usd == pytest.approx(min(usd(count) for count in allowed))


@given(LOADS, FLEETS, REQUEST_USD, st.floats(1, 5))
def test_more_load_never_costs_less(given_load: Load, owned: Fleet, request: float, factor: float) -> None:
    more = given_load.scaled(factor)
    assert dedicated_cost(more, owned).usd >= dedicated_cost(given_load, owned).usd * (1 - 1e-9)
    assert hybrid_cost(more, owned, request).usd >= hybrid_cost(given_load, owned, request).usd * (1 - 1e-9)
    assert hosted_cost(more, request).usd >= hosted_cost(given_load, request).usd


@given(LOADS, FLEETS, REQUEST_USD, st.floats(1, 5))
def test_a_faster_replica_never_makes_it_dearer(given_load: Load, owned: Fleet, request: float, factor: float) -> None:
    faster = replace(owned, requests_per_s=owned.requests_per_s * factor)
    assert dedicated_cost(given_load, faster).usd <= dedicated_cost(given_load, owned).usd * (1 + 1e-9)
    assert hybrid_cost(given_load, faster, request).usd <= hybrid_cost(given_load, owned, request).usd * (1 + 1e-9)


@given(LOADS, FLEETS)
def test_a_commitment_never_costs_more_than_paying_on_demand(given_load: Load, owned: Fleet) -> None:
    reserved, on_demand = (dedicated_cost(given_load, replace(owned, pricing=each)).usd for each in (Pricing.RESERVED, Pricing.ON_DEMAND))
    assert reserved <= on_demand * (1 + 1e-9)


def test_committed_replicas_cost_nothing_more() -> None:
    three = load(6.0)
    assert dedicated_cost(three, fleet()).usd == pytest.approx(3 * 1440)
    assert dedicated_cost(three, fleet(committed=2)).usd == pytest.approx(1440)
    assert dedicated_cost(three, fleet(committed=9)).usd == 0


def test_a_reserved_replica_is_paid_always_and_one_that_runs_little_is_paid_on_demand() -> None:
    price = ReplicaPrice(on_demand=2.0, reserved=1.2)
    assert price.usd(Pricing.RESERVED, share=1.0) == 1.2
    assert price.usd(Pricing.RESERVED, share=0.1) == pytest.approx(0.2)


# Prices


def test_a_replica_pays_its_share_of_a_node_and_the_rest_is_told() -> None:
    node = accelerator("8", price={"per": "Node", "reservedUSDPerHour": "4", "spotUSDPerHour": "2"}).price
    assert node is not None
    found = replica_price(node, tensor_parallel_size=2, per_node=8)
    assert found == ReplicaPrice(on_demand=2.0, reserved=1.0, spot=0.5)
    assert stranded_share(node, paid_shares=(1.0,), tensor_parallel_size=2, per_node=8) == 3.0
    assert stranded_share(node, paid_shares=(1.0,) * 4, tensor_parallel_size=2, per_node=8) == 0.0
    assert stranded_share(node, paid_shares=(1.0,) * 3, tensor_parallel_size=3, per_node=8) == pytest.approx(7 / 9)
    fills_it_at_the_peak = stranded_share(node, paid_shares=(1.0, 0.1, 0.1, 0.1), tensor_parallel_size=2, per_node=8)
    assert fills_it_at_the_peak == pytest.approx(0.9 * 6 / (0.9 * 2 + 0.1 * 8)), "for nine tenths of the time six are left over"
    one = accelerator("2").price
    assert one is not None
    assert stranded_share(one, paid_shares=(1.0,), tensor_parallel_size=2, per_node=8) == 0.0


@pytest.mark.parametrize(
    ("ways", "shares"),
    [
        pytest.param({}, (1.0, 0.59, 0.22), id="by the hour, while they run"),
        pytest.param({"pricing": Pricing.RESERVED}, (1.0, 1.0, 0.22), id="reserved, where that is cheaper"),
        pytest.param({"committed": 3}, (1.0, 1.0, 1.0), id="paid for already"),
    ],
)
def test_a_node_that_is_paid_for_leaves_nothing_over_while_its_replicas_rest(ways: dict[str, Any], shares: tuple[float, ...]) -> None:
    ramp = Load(mean_per_s=2.8, peak_per_s=6.0)
    owned = Fleet(requests_per_s=2.0, price=ReplicaPrice(on_demand=2.0, reserved=0.8), **ways)
    assert dedicated_cost(ramp, owned).paid_shares == pytest.approx(shares, abs=0.01)


def test_without_a_price_there_is_none() -> None:
    assert replica_price(None, tensor_parallel_size=1, per_node=1) is None


def test_cached_prompt_tokens_are_billed_at_their_price_where_there_is_one() -> None:
    with_price = provider("1", "2", model={"cachedInputUSDPerMillionTokens": "0.1"}).models[0]
    without = provider("1", "2").models[0]
    assert request_usd(with_price, LENGTHS) == pytest.approx(0.0015)
    assert request_usd(with_price, LENGTHS, cached_share=0.5) == pytest.approx(0.00105)
    assert request_usd(without, LENGTHS, cached_share=0.5) == pytest.approx(0.0015)


# Break-even


def test_kappa_is_the_hosted_price_over_a_full_replicas() -> None:
    assert kappa(hosted_usd_per_request=0.001, usd_per_replica_hour=3.6, requests_per_s=2.0) == pytest.approx(2.0)
    assert kappa(hosted_usd_per_request=None, usd_per_replica_hour=3.6, requests_per_s=2.0) is None


def test_the_break_even_of_a_flat_load_is_the_replicas_price_over_the_requests() -> None:
    assert break_even_requests(load(1.0), fleet(usd=1.0), 0.001) == 720_000


def test_below_kappa_one_no_volume_pays() -> None:
    full = fleet(usd=10.0, requests_per_s=1.0)
    assert break_even_requests(load(1.0), full, 0.001) is None


@given(LOADS, FLEETS, REQUEST_USD)
def test_from_the_break_even_on_a_hybrid_costs_no_more_than_renting(given_load: Load, owned: Fleet, request: float) -> None:
    found = break_even_requests(given_load, owned, request)
    if found is not None and found > 10:
        at, below = given_load.at(found + 1), given_load.at(found * 0.98 - 1)
        assert hybrid_cost(at, owned, request).usd <= hosted_cost(at, request).usd * (1 + 1e-6)
        assert hybrid_cost(below, owned, request).usd >= hosted_cost(below, request).usd * (1 - 1e-6)


def test_replicas_that_come_for_peaks_may_pay_before_the_first_does_alone() -> None:
    steep, flat = (break_even_requests(load(1.0, peak), fleet(usd=3600.0, requests_per_s=1.0), 2.0) for peak in (12.0, 1.0))
    assert flat == 0.5 * SECONDS_PER_MONTH
    assert steep == pytest.approx(0.637 * SECONDS_PER_MONTH, rel=0.005)  # 0.815 for the first alone


def test_longer_answers_and_cheaper_hosting_move_the_break_even_as_prices_say() -> None:
    longer = replace(LENGTHS, output_mean=500)
    listed, cheap = provider("1", "2").models[0], provider("0.5", "1").models[0]
    base, more, cheaper = (
        break_even_requests(load(0.01), fleet(usd=1.0), request_usd(each, lengths))
        for each, lengths in ((listed, LENGTHS), (listed, longer), (cheap, LENGTHS))
    )
    assert base == 480_000
    assert more == 360_000
    assert cheaper == 960_000
