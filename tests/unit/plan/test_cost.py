"""Money now, money otherwise, and the budget."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.api.vocabulary import Reason
from spillway.plan.decision import CostReport, Decision, Memory, SpendPoint
from spillway.plan.money.cost import judge_budget
from spillway.plan.money.periods import month_end
from spillway.plan.observation import Sample
from tests.unit.plan.situations import (
    LLAMA_8B,
    MISSING,
    NOW,
    accelerator,
    catalogue,
    counters,
    later,
    learned,
    observe,
    one_pass,
    provider,
    replica,
    signals,
    spec,
    workload,
)

# 8 requests at a time, 20 ms a step, 250 tokens: 1.6 requests/s; at 4 USD/h that is 694 USD per million requests.
LEARNED = learned(20.0, 8.0)
PER_REQUEST = (1000 * 0.1 + 250 * 0.4) / 1e6  # 0.0002 USD at the preferred backend


def cost(*passed: Any, **named: Any) -> CostReport:
    decision: Decision = one_pass(*passed, **named)[0]
    return decision.cost


@pytest.mark.parametrize(
    ("pods", "committed", "usd"),
    [
        pytest.param((), 0, 0.0, id="nothing runs"),
        pytest.param((replica(0), replica(1, ready=False)), 0, 8.0, id="idle and starting replicas cost"),
        pytest.param((replica(0, terminating=True),), 0, 4.0, id="leaving ones too"),
        pytest.param((replica(0, ended_at=NOW), replica(1, bound_at=None)), 0, 0.0, id="ended and unscheduled ones do not"),
        pytest.param((replica(0), replica(1)), 1, 4.0, id="committed ones are paid for"),
        pytest.param((replica(0, tensor_parallel_size=2), replica(1, bound_at=NOW - timedelta(hours=2))), 1, 8.0, id="the oldest of them"),
        pytest.param((replica(0),), 3, 0.0, id="more committed than running"),
        pytest.param((replica(0), replica(1, accelerator_class="gone")), 0, None, id="unknown class, unknown cost"),
        pytest.param((replica(0, accelerator_class=None),), 0, None, id="no class, unknown cost"),
    ],
)
def test_own_cost_per_hour(pods: tuple[Any, ...], committed: int, usd: float | None) -> None:
    assert cost(workload(dedicated={"committedReplicas": committed}), observe(1, replicas=pods)).dedicated_usd_per_hour == usd


def test_the_month_is_not_projected_from_a_replica_without_a_price_that_has_cost_nothing_yet() -> None:
    found = cost(seen=observe(1, replicas=(replica(accelerator_class="gone", bound_at=NOW),)))
    assert (found.month_to_date_usd, found.projected_monthly_usd) == (0.0, None)


def test_replicas_of_a_class_that_is_no_longer_listed_cost_what_they_did() -> None:
    _, memory = one_pass(seen=observe(1))
    renamed = observe(1, catalogue=catalogue({"h100-sxm": accelerator()}))
    found = cost(None, renamed, memory, later(15))
    assert found.dedicated_usd_per_hour == 4.0
    assert found.projected_monthly_usd is not None


def test_hosted_cost_starts_from_spilled_requests_at_mean_lengths() -> None:
    found = cost(seen=observe(1, signals=signals(spilled_per_s=2.0)))
    assert found.hosted_usd_per_hour == pytest.approx(2 * PER_REQUEST * 3600)
    assert found.usd_per_hour == pytest.approx(4 + 2 * PER_REQUEST * 3600)


def test_hosted_cost_follows_what_each_backend_billed_over_the_window() -> None:
    rows = (counters(input_tokens=1e6), counters(backend="acme/org/llama-70b", output_tokens=1e6))
    _, memory = one_pass(seen=observe(1))
    seen = observe(1, signals=replace(signals(), counters=Sample(value=rows, at=later(60))))
    assert cost(None, seen, memory, later(60)).hosted_usd_per_hour == pytest.approx(2.1 * 60)


def test_hosted_cost_is_no_rate_over_a_clock_that_was_set_back() -> None:
    later_on = Memory(spend=(SpendPoint(at=later(3540), hosted_usd=0.0), SpendPoint(at=later(3600), hosted_usd=0.0)))
    found, memory = one_pass(seen=observe(1, signals=signals(spilled_per_s=2.0)), memory=later_on)
    assert [point.at for point in memory.spend] == [NOW]
    assert found.cost.hosted_usd_per_hour == pytest.approx(2 * PER_REQUEST * 3600)


@pytest.mark.parametrize(
    ("wanted", "readings", "usd"),
    [
        pytest.param(workload("Dedicated"), {}, 0.0, id="nothing can be billed"),
        pytest.param(workload(), {"counters": MISSING, "spilled_per_s": 1.0}, None, id="unknown while counters cannot be read"),
        pytest.param(workload(), {"spilled_per_s": MISSING}, None, id="unknown before there is any evidence"),
    ],
)
def test_hosted_cost_without_evidence(wanted: Any, readings: dict[str, Any], usd: float | None) -> None:
    found = cost(wanted, observe(1, signals=signals(**readings)))
    assert found.hosted_usd_per_hour == usd
    assert (found.usd_per_hour is None) is (usd is None)


def test_spend_points_span_the_window_and_start_anew_with_the_month() -> None:
    memory = Memory()
    for step in range(20):
        _, memory = one_pass(memory=memory, at=later(15 * step))
    assert memory.spend[-1].at - memory.spend[0].at == timedelta(seconds=60)
    dark = one_pass(seen=observe(1, signals=signals(counters=MISSING)), memory=memory, at=later(600))[1]
    assert dark.spend == memory.spend
    richer = replace(memory, spend=(SpendPoint(at=later(290), hosted_usd=99.0),))
    assert len(one_pass(memory=richer, at=later(300))[1].spend) == 1


def test_kappa_compares_the_same_work_on_both_sides() -> None:
    found = cost(memory=LEARNED)
    assert found.kappa == pytest.approx(PER_REQUEST / (4 / 3600 / 1.6))
    assert found.kappa is not None
    assert found.kappa < 1
    assert found.break_even_requests_per_month is None  # no volume makes it pay


def test_break_even_is_where_hosted_costs_as_much_as_one_replica() -> None:
    dear = catalogue(
        providers={"acme": provider(models=[{"name": "llama-8b", "inputUSDPerMillionTokens": "1", "outputUSDPerMillionTokens": "4"}])}
    )
    found = cost(memory=LEARNED, seen=observe(1, catalogue=dear))
    assert found.break_even_requests_per_month == 1_440_000  # 2880 USD / 0.002 USD
    assert found.kappa == pytest.approx(2.88)


CACHING = catalogue(
    providers={
        "acme": provider(
            models=[
                {
                    "name": "llama-8b",
                    "inputUSDPerMillionTokens": "1",
                    "cachedInputUSDPerMillionTokens": "0.1",
                    "outputUSDPerMillionTokens": "4",
                }
            ]
        )
    }
)
CACHED = {"cachedInputPercent": 60, "inputTokens": {"mean": 1000}, "outputTokens": {"mean": 250}}


def test_what_will_be_billed_is_reckoned_with_the_share_of_prompts_that_is_declared_to_be_cached() -> None:
    """0.001 USD for a prompt becomes 0.00046, beside 0.001 for the answer."""
    seen = observe(1, catalogue=CACHING, signals=signals(spilled_per_s=2.0, arrivals_per_s=2.0))
    full, found = cost(memory=LEARNED, seen=seen), cost(workload(traffic=CACHED), seen, LEARNED)
    assert full.kappa == pytest.approx(2.88)
    assert found.kappa == pytest.approx(2.88 * 0.73)
    assert found.break_even_requests_per_month == -(-2880 // 0.00146)
    for name in ("if_all_hosted_monthly_usd", "hosted_usd_per_hour"):
        assert getattr(found, name) == pytest.approx(0.73 * getattr(full, name))


def test_hosted_cost_over_the_window_is_what_was_reported_and_not_what_was_declared() -> None:
    _, memory = one_pass(seen=observe(1, catalogue=CACHING))
    rows = (counters(input_tokens=1e6, cached_input_tokens=5e5),)
    seen = observe(1, catalogue=CACHING, signals=replace(signals(), counters=Sample(value=rows, at=later(60))))
    assert cost(workload(traffic=CACHED), seen, memory, later(60)).hosted_usd_per_hour == pytest.approx(0.55 * 60)


@pytest.mark.parametrize(
    ("wanted", "seen", "memory"),
    [
        pytest.param(workload("Dedicated"), observe(1), LEARNED, id="no hosted backend"),
        pytest.param(workload(), observe(1, catalogue=catalogue({"h100": accelerator(price=None)})), LEARNED, id="no price of owning"),
        pytest.param(workload(), observe(1), Memory(), id="no knowledge of what a replica sustains"),
        pytest.param(workload("Hosted"), observe(0), Memory(), id="nothing owned"),
    ],
)
def test_kappa_is_unknown_with(wanted: Any, seen: Any, memory: Memory) -> None:
    assert cost(wanted, seen, memory).kappa is None


def test_a_dedicated_workload_may_name_a_backend_to_compare_with() -> None:
    wanted = workload("Dedicated", hosted={"backends": [{"providerRef": {"name": "acme"}, "model": "llama-8b"}]})
    found = cost(wanted, memory=LEARNED)
    assert found.kappa is not None
    assert found.hosted_usd_per_hour == 0.0


def test_free_hosting_has_no_break_even() -> None:
    free = catalogue(
        providers={"acme": provider(models=[{"name": "llama-8b", "inputUSDPerMillionTokens": "0", "outputUSDPerMillionTokens": "0"}])}
    )
    found = cost(memory=LEARNED, seen=observe(1, catalogue=free))
    assert (found.kappa, found.break_even_requests_per_month) == (0.0, None)


def test_a_month_of_the_current_traffic_on_either_side() -> None:
    found = cost(memory=LEARNED, seen=observe(1, signals=signals(arrivals_per_s=2.0)))
    assert found.if_all_hosted_monthly_usd == pytest.approx(2 * 30 * 86400 * PER_REQUEST)
    assert found.if_all_dedicated_monthly_usd == pytest.approx(2 * 4 * 720)


@pytest.mark.parametrize(
    ("mode", "prompt", "answer"),
    [
        pytest.param("Hosted", 4000.0, 800.0, id="nothing owned, and unlike what is declared by default"),
        pytest.param("Hybrid", 1190.0, 290.0, id="less far off than what moves a cap"),
    ],
)
def test_what_is_all_hosted_costs_what_the_same_month_all_hosted_would(mode: str, prompt: float, answer: float) -> None:
    found, memory = None, Memory()
    for tick in range(120):  # of 15 seconds
        at = later(15 * tick)
        row = counters(input_tokens=2 * 15 * tick * prompt, output_tokens=2 * 15 * tick * answer)
        read = signals(arrivals_per_s=2.0, spilled_per_s=2.0, input_tokens_mean=prompt, output_tokens_mean=answer)
        seen = observe(0 if mode == "Hosted" else 1, signals=replace(read, counters=Sample(value=(row,), at=at)))
        decision, memory = one_pass(workload(mode), seen, memory, at)
        found = decision.cost
    assert found is not None
    assert found.hosted_usd_per_hour is not None
    assert found.if_all_hosted_monthly_usd == pytest.approx(found.hosted_usd_per_hour * 720, rel=0.001)


def test_all_on_own_replicas_they_rent_nothing_whatever_the_mode_is() -> None:
    asked: dict[str, Any] = {"model": {"architecture": LLAMA_8B}, "slo": {"timeToFirstTokenMs": 300, "interTokenLatencyMs": 12}}
    busy = observe(1, signals=signals(arrivals_per_s=100.0))
    hybrid, dedicated = one_pass(workload(**asked), busy)[0], one_pass(workload("Dedicated", **asked), busy)[0]
    assert hybrid.pool is not None
    assert dedicated.pool is not None
    assert (hybrid.pool.capacity.requests_per_s or 0) > 1.2 * (dedicated.pool.capacity.requests_per_s or 0), "its overflow is rented"
    assert hybrid.cost.if_all_dedicated_monthly_usd == dedicated.cost.if_all_dedicated_monthly_usd


def test_a_month_of_the_declared_traffic_while_none_is_measured() -> None:
    wanted = workload(traffic={"requestsPerSecond": {"mean": "1"}})
    found = cost(wanted, memory=LEARNED, seen=observe(1, signals=signals(arrivals_per_s=MISSING)))
    assert found.if_all_hosted_monthly_usd == pytest.approx(30 * 86400 * PER_REQUEST)
    unknown = cost(memory=LEARNED, seen=observe(1, signals=signals(arrivals_per_s=MISSING)))
    assert (unknown.if_all_hosted_monthly_usd, unknown.if_all_dedicated_monthly_usd) == (None, None)


def test_projection_adds_the_rest_of_the_month_at_the_current_rate() -> None:
    found = cost()
    hours = (month_end(NOW) - NOW).total_seconds() / 3600
    assert found.month_to_date_usd == pytest.approx(4.0)
    assert found.projected_monthly_usd == pytest.approx(4.0 + hours * 4)


def test_price_per_million_tokens_of_this_month() -> None:
    rows = (counters(backend="owned", input_tokens=3e6, output_tokens=1e6),)
    found = cost(seen=observe(1, signals=replace(signals(), counters=Sample(value=rows, at=NOW))))
    assert found.usd_per_million_tokens == pytest.approx(1.0)
    assert cost().usd_per_million_tokens is None


@pytest.mark.parametrize(
    ("known", "as_of"),
    [
        pytest.param(catalogue(), "2026-07-20", id="the oldest of those used"),
        pytest.param(catalogue({"h100": accelerator(price=None)}), "2026-08-01", id="of those that are dated"),
        pytest.param(catalogue({"h100": accelerator(price=None)}, {"acme": provider(prices=None)}), None, id="none where none is dated"),
    ],
)
def test_date_of_prices(known: Any, as_of: str | None) -> None:
    assert cost(seen=observe(1, catalogue=known)).prices_as_of == as_of


# Budget


@pytest.mark.parametrize(
    ("budget", "seen", "memory", "verdict"),
    [
        pytest.param(None, observe(1), Memory(), Reason.NO_BUDGET, id="none is set"),
        pytest.param("1000000", observe(1), Memory(), Reason.WITHIN_BUDGET, id="within it"),
        pytest.param("100", observe(1), Memory(), Reason.PROJECTED_OVER_BUDGET, id="on course to exceed it"),
        pytest.param("3", observe(1), Memory(), Reason.BUDGET_EXCEEDED, id="exceeded"),
        pytest.param(
            "3", observe(1, catalogue=catalogue({"h100": accelerator(price=None)})), Memory(), Reason.NO_PRICES, id="unknown without prices"
        ),
        pytest.param(
            "100", observe(1, signals=signals(counters=MISSING)), Memory(), Reason.WITHIN_BUDGET, id="no projection without a rate"
        ),
    ],
)
def test_budget(budget: str | None, seen: Any, memory: Memory, verdict: Reason) -> None:
    wanted = workload(budget={"monthlyUSD": budget} if budget else None)
    assert one_pass(wanted, seen, memory)[0].budget is verdict


def test_a_projection_over_budget_is_withdrawn_only_well_below_it() -> None:
    wanted, near = spec(budget={"monthlyUSD": "100"}), replace(cost(), month_to_date_usd=1.0, projected_monthly_usd=97.0)
    assert judge_budget(wanted, near, None) is Reason.WITHIN_BUDGET
    assert judge_budget(wanted, near, Reason.PROJECTED_OVER_BUDGET) is Reason.PROJECTED_OVER_BUDGET
    assert judge_budget(wanted, replace(near, projected_monthly_usd=94.0), Reason.PROJECTED_OVER_BUDGET) is Reason.WITHIN_BUDGET


def test_a_projection_over_budget_stands_while_the_rate_is_not_known() -> None:
    wanted = spec(budget={"monthlyUSD": "100"})
    unknown = replace(cost(), month_to_date_usd=1.0, projected_monthly_usd=None)
    assert judge_budget(wanted, unknown, Reason.PROJECTED_OVER_BUDGET) is Reason.PROJECTED_OVER_BUDGET
    assert judge_budget(wanted, unknown, Reason.WITHIN_BUDGET) is Reason.WITHIN_BUDGET
    assert judge_budget(wanted, replace(unknown, month_to_date_usd=101.0), Reason.PROJECTED_OVER_BUDGET) is Reason.BUDGET_EXCEEDED


# Law

AMOUNTS = st.floats(min_value=0, max_value=1e9)


@given(
    arrivals=AMOUNTS,
    spilled=AMOUNTS,
    tokens=AMOUNTS,
    step=st.floats(min_value=0.1, max_value=1e4),
    replicas=st.integers(min_value=0, max_value=4),
)
def test_no_cost_is_negative(arrivals: float, spilled: float, tokens: float, step: float, replicas: int) -> None:
    rows = (counters(input_tokens=tokens, output_tokens=tokens, unmetered_response_bytes=tokens),)
    readings = signals(arrivals_per_s=arrivals, spilled_per_s=spilled, step_time_ms=step, batch_mean=4.0, input_tokens_mean=tokens)
    seen = observe(replicas, signals=replace(readings, counters=Sample(value=rows, at=NOW)))
    found = cost(workload(model={"architecture": LLAMA_8B}), seen)
    for name in found.__slots__:
        amount = getattr(found, name)
        assert amount is None or isinstance(amount, str | tuple) or amount >= 0
