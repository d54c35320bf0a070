"""The ledger: nothing is counted twice, nothing that can be known is lost."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.plan.decision import Allowance, Grant, Lane, Ledger, LedgerEntry, Memory, Permit, Workload
from spillway.plan.money import ledger as book
from spillway.plan.money import ledger_record, periods
from spillway.plan.observation import Observation, Sample, TokenCounters
from tests.unit.plan.situations import (
    MISSING,
    NOW,
    SETTINGS,
    accelerator,
    catalogue,
    counters,
    gateway,
    later,
    observe,
    one_pass,
    provider,
    replica,
    signals,
    workload,
)

MONTH_END = datetime(2026, 12, 1, tzinfo=UTC)


def scraped(*rows: TokenCounters, at: datetime = NOW, **changes: Any) -> Observation:
    """Return an observation without replicas whose gateways show these counters."""
    return observe(0, **({"signals": replace(signals(), counters=Sample(value=rows, at=at))} | changes))


def advanced(ledger: Ledger | None, seen: Observation, now: datetime = NOW, wanted: Workload | None = None) -> Ledger:
    return book.advance(ledger, workload=wanted or workload(), seen=seen, now=now, settings=SETTINGS)


MILLION = counters(input_tokens=1e6, output_tokens=1e6)  # 0.1 + 0.4 USD


def test_hosted_tokens_are_priced_per_backend() -> None:
    found = advanced(None, scraped(MILLION, counters(backend="acme/org/llama-70b", input_tokens=1e6, output_tokens=1e6)))
    assert found.hosted_usd == pytest.approx(0.5 + 3.0)
    assert (found.input_tokens, found.output_tokens) == (2e6, 2e6)


def test_own_tokens_count_and_cost_nothing_more() -> None:
    found = advanced(None, scraped(counters(backend="owned", input_tokens=1e6, output_tokens=1e6), counters(backend="none", requests=3)))
    assert (found.hosted_usd, found.input_tokens, found.unpriced_tokens) == (0.0, 1e6, {})


def test_the_same_answer_twice_counts_once() -> None:
    once = advanced(None, scraped(MILLION))
    assert advanced(once, scraped(MILLION)) == once


def test_only_growth_counts() -> None:
    first = advanced(None, scraped(MILLION))
    second = advanced(first, scraped(counters(input_tokens=3e6, output_tokens=1e6), at=later(15)), later(15))
    assert second.hosted_usd == pytest.approx(0.5 + 0.2)


def test_a_restarted_container_counts_whole() -> None:
    first = advanced(None, scraped(MILLION))
    # Requests went on growing past their mark: any one counter below its own gives the restart away.
    second = advanced(first, scraped(counters(requests=20.0, input_tokens=5e5), at=later(15)), later(15))
    assert second.hosted_usd == pytest.approx(0.5 + 0.05)
    assert second.counters["chat-gateway-0|acme/llama-8b"].requests == 20.0


def test_an_older_scrape_of_another_prometheus_is_no_restart() -> None:
    running: dict[str, Any] = {"gateways": (gateway(restarts=0),)}
    again: dict[str, Any] = {"gateways": (gateway(restarts=1),)}
    first = advanced(None, scraped(MILLION, **running))
    older = advanced(first, scraped(counters(input_tokens=9e5, output_tokens=9e5), at=later(15), **running), later(15))
    assert (older.hosted_usd, older.counters) == (first.hosted_usd, first.counters)
    assert ledger_record.from_json(ledger_record.to_json(older)) == older
    gone = advanced(first, scraped(counters(input_tokens=9e5, output_tokens=9e5), at=later(15), gateways=()), later(15))
    assert gone.hosted_usd == first.hosted_usd
    end = advanced(older, scraped(counters(input_tokens=2e6, output_tokens=1e6), at=later(30), **again), later(30))
    assert end.hosted_usd == pytest.approx(0.5 + 0.1)
    begun = advanced(end, scraped(counters(input_tokens=5e5), at=later(45), **again), later(45))
    assert begun.hosted_usd == pytest.approx(0.5 + 0.1 + 0.05)
    assert advanced(begun, scraped(counters(input_tokens=4e5), at=later(60), **again), later(60)).hosted_usd == begun.hosted_usd


def test_after_a_restart_that_the_counters_did_not_show_an_older_scrape_is_none_either() -> None:
    """A container that had counted next to nothing has soon counted more: nothing falls, and the pod says that it restarted ever after."""
    again: dict[str, Any] = {"gateways": (gateway(restarts=1),)}
    ledger = advanced(None, scraped(counters(input_tokens=1e3), gateways=(gateway(restarts=0),)))
    for minute in range(1, 8):
        now = later(60 * minute)
        ledger = advanced(ledger, scraped(counters(input_tokens=minute * 1e6), at=now, **again), now)
        ledger = ledger_record.from_json(ledger_record.to_json(ledger))
    now = later(60 * 7 + 15)
    older = advanced(ledger, scraped(counters(input_tokens=6.9e6), at=now, **again), now)
    assert older.input_tokens == ledger.input_tokens == 7e6
    now = later(60 * 8)
    crashed = advanced(older, scraped(counters(input_tokens=1e6), at=now, gateways=(gateway(restarts=2),)), now)
    assert crashed.input_tokens == 8e6


def test_a_gateway_that_restarts_again_before_the_first_restart_is_taken_for_one_counts_whole() -> None:
    """What a scrape shows while a container of just now has shown nothing yet is of the one before it."""
    ledger = advanced(None, scraped(counters(input_tokens=1e3), gateways=(gateway(restarts=0),)))
    for second, restarts in ((60, 1), (240, 1), (355, 1), (365, 2)):
        now = later(second)
        ledger = advanced(ledger, scraped(counters(input_tokens=1e6), at=now, gateways=(gateway(restarts=restarts),)), now)
    now = later(390)
    ledger = advanced(ledger, scraped(counters(input_tokens=4e5), at=now, gateways=(gateway(restarts=2),)), now)
    assert ledger.input_tokens == 1.4e6


def test_a_new_pod_counts_whole_beside_the_old_ones() -> None:
    first = advanced(None, scraped(MILLION))
    second = advanced(first, scraped(MILLION, replace(MILLION, pod="chat-gateway-1"), at=later(15)), later(15))
    assert second.hosted_usd == pytest.approx(1.0)


def test_without_samples_nothing_is_counted_and_the_mark_stays() -> None:
    first = advanced(None, scraped(MILLION))
    dark = advanced(first, observe(0, signals=replace(signals(), counters=MISSING)), later(900))
    assert (dark.hosted_usd, dark.counters) == (first.hosted_usd, first.counters)
    back = advanced(dark, scraped(counters(input_tokens=2e6, output_tokens=2e6), at=later(1800)), later(1800))
    assert back.hosted_usd == pytest.approx(1.0)
    assert back.unaccounted_s == 0.0


def test_an_answer_older_than_the_mark_is_not_a_restart() -> None:
    first = advanced(None, scraped(MILLION))
    stale = advanced(first, scraped(counters(input_tokens=9e5), at=later(-30)), later(15))
    assert stale.hosted_usd == first.hosted_usd


def test_a_reading_that_is_no_number_is_not_counted() -> None:
    assert advanced(None, scraped(counters(input_tokens=float("nan")))).counters == {}


def test_a_pod_that_two_jobs_scrape_counts_once() -> None:
    found = advanced(None, scraped(MILLION, counters(input_tokens=9e5, output_tokens=1e6)))
    assert found.hosted_usd == pytest.approx(0.5)


def test_a_price_that_is_not_listed_is_unknown_and_not_zero() -> None:
    gone = catalogue(
        providers={"acme": provider(models=[{"name": "other", "inputUSDPerMillionTokens": "1", "outputUSDPerMillionTokens": "1"}])}
    )
    for known in (gone, catalogue(providers={})):
        found = advanced(None, scraped(MILLION, catalogue=known))
        assert (found.hosted_usd, found.unpriced_tokens) == (0.0, {"acme/llama-8b": (1e6, 1e6)})
    decision, _ = one_pass(seen=scraped(MILLION, catalogue=gone), wanted=workload("Dedicated"))
    assert decision.cost.month_to_date_usd is None


def test_tokens_without_a_price_are_charged_when_there_is_one() -> None:
    decision, memory = one_pass(seen=scraped(MILLION, catalogue=catalogue(providers={})), wanted=workload("Dedicated"))
    decision, memory = one_pass(seen=scraped(MILLION, at=later(15)), memory=memory, at=later(15))
    assert decision.cost.month_to_date_usd == pytest.approx(0.5)
    assert decision.cost.hosted_usd_per_hour == 0.0  # what is owed from before is no rate
    decision, memory = one_pass(seen=scraped(MILLION, at=later(30)), memory=memory, at=later(30))
    assert decision.cost.month_to_date_usd == pytest.approx(0.5)


def test_one_backend_without_a_price_leaves_the_others_debts_alone() -> None:
    owed = Ledger(month="2026-11", unpriced_tokens={"acme/llama-8b": (1e6, 1e6), "gone/m": (5.0, 5.0)})
    settled = book.settle(owed, catalogue())
    assert settled.hosted_usd == pytest.approx(0.5)
    assert settled.unpriced_tokens == {"gone/m": (5.0, 5.0)}


def test_requests_without_usage_are_estimated_priced_and_counted_apart() -> None:
    """A token is an event of a stream, and a few letters of a plain answer."""
    row = counters(requests=3.0, unmetered_requests=3.0, unmetered_request_bytes=4e6)
    for answered in (replace(row, unmetered_response_bytes=2e8), replace(row, unmetered_plain_response_bytes=4e6)):
        found = advanced(None, scraped(answered))
        assert (found.estimated_requests, found.estimated_tokens) == (3.0, 2e6)
        assert (found.input_tokens, found.output_tokens) == (0.0, 0.0)
        assert found.hosted_usd == pytest.approx(0.5)
        assert found.day_hosted_usd == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("pods", "after", "kept"),
    [
        pytest.param((), timedelta(hours=23), True, id="a gone pod's mark stays for a day"),
        pytest.param((), timedelta(hours=25), False, id="and is dropped after it"),
        pytest.param((gateway(0),), timedelta(hours=25), True, id="unless the pod is still there, only quiet"),
    ],
)
def test_marks_of_gone_pods(pods: tuple[Any, ...], after: timedelta, kept: bool) -> None:  # noqa: FBT001
    first = advanced(None, scraped(MILLION))
    found = advanced(first, scraped(at=NOW + after, gateways=pods), NOW + after)
    assert bool(found.counters) is kept


# Own replicas


def test_a_replica_costs_from_binding_to_end() -> None:
    found = advanced(None, observe(1))
    assert found.dedicated_usd == pytest.approx(4.0)  # bound an hour ago at 4 USD/h
    half = advanced(found, observe(0, replicas=(replica(ended_at=later(1800)),)), later(3600))
    assert half.dedicated_usd == pytest.approx(6.0)
    assert advanced(half, observe(0, replicas=(replica(ended_at=later(1800)),)), later(7200)).dedicated_usd == pytest.approx(6.0)


@pytest.mark.parametrize(
    ("changes", "usd"),
    [
        pytest.param({"ready": False, "ready_since": None}, 4.0, id="ready or not"),
        pytest.param({"terminating": True}, 4.0, id="until it is really gone"),
        pytest.param({"bound_at": None}, 0.0, id="nothing without a node"),
        pytest.param({"bound_at": later(60)}, 0.0, id="nothing before"),
        pytest.param({"tensor_parallel_size": 2}, 8.0, id="for each accelerator"),
    ],
)
def test_what_a_replica_costs(changes: dict[str, Any], usd: float) -> None:
    assert advanced(None, observe(1, replicas=(replica(**changes),))).dedicated_usd == pytest.approx(usd)


def test_committed_replicas_cost_nothing_more() -> None:
    wanted = workload(dedicated={"committedReplicas": 1})
    seen = observe(0, replicas=(replica(0, bound_at=later(-7200), ended_at=later(-1800)), replica(1, bound_at=later(-3600))))
    # The older one is free, and after its end the other one is: of that one's hour half is paid.
    assert advanced(None, seen, wanted=wanted).dedicated_usd == pytest.approx(2.0)


def test_replicas_that_ended_and_are_charged_neither_cost_again_nor_are_those_that_were_paid_for() -> None:
    wanted = workload(dedicated={"committedReplicas": 1})
    ended = tuple(replica(2 + index, bound_at=later(60 * index - 3000), ended_at=later(60 * index - 2990)) for index in range(40))
    seen = observe(0, replicas=(replica(0, bound_at=later(-7200)), replica(1, bound_at=later(-3600)), *ended))
    first = advanced(None, seen, wanted=wanted)
    assert first.dedicated_usd == pytest.approx(4.0 + 4.0 * 40 * 10 / 3600)
    assert advanced(first, seen, later(900), wanted=wanted).dedicated_usd == pytest.approx(first.dedicated_usd + 1.0)


def test_time_without_a_price_is_unknown_until_there_is_one() -> None:
    unpriced = observe(1, catalogue=catalogue({"h100": accelerator(price=None)}))
    for seen in (unpriced, observe(1, catalogue=catalogue({}))):
        found = advanced(None, seen)
        assert (found.dedicated_usd, found.unpriced_accelerator_s) == (0.0, {"h100": 3600.0})
    decision, memory = one_pass(seen=unpriced)
    assert decision.cost.month_to_date_usd is None
    decision, _ = one_pass(seen=observe(1), memory=memory)
    assert decision.cost.month_to_date_usd == pytest.approx(4.0)


def test_time_without_a_price_is_charged_by_class_with_or_without_replicas() -> None:
    two_of_a_node = accelerator(price={"onDemandUSDPerHour": "16", "per": "Node", "asOf": "2026-07-20", "source": "x"})
    unpriced = observe(1, catalogue=catalogue({}), replicas=(replica(tensor_parallel_size=2), replica(1, accelerator_class="l4")))
    owed = advanced(None, unpriced)
    assert owed.unpriced_accelerator_s == {"h100": 7200.0, "l4": 3600.0}
    settled = book.settle(owed, catalogue({"h100": two_of_a_node, "l4": accelerator(price=None)}))
    assert settled.dedicated_usd == pytest.approx(4.0)
    assert settled.unpriced_accelerator_s == {"l4": 3600.0}


# Months


def test_the_month_boundary_splits_own_cost_exactly() -> None:
    before = MONTH_END - timedelta(minutes=30)
    seen = observe(1, replicas=(replica(bound_at=before - timedelta(hours=1)),))
    november = advanced(None, seen, before)
    december = advanced(november, seen, MONTH_END + timedelta(minutes=30))
    assert (november.month, december.month) == ("2026-11", "2026-12")
    assert november.dedicated_usd == pytest.approx(4.0)
    assert december.dedicated_usd == pytest.approx(2.0)


def test_the_month_boundary_splits_token_growth_by_time() -> None:
    before = MONTH_END - timedelta(seconds=30)
    november = advanced(None, scraped(MILLION, at=before), before)
    after = MONTH_END + timedelta(seconds=10)
    december = advanced(november, scraped(counters(input_tokens=2e6, output_tokens=2e6), at=after), after)
    assert december.hosted_usd == pytest.approx(0.5 / 4)
    fresh = advanced(november, scraped(MILLION, replace(MILLION, pod="new"), at=after), after)
    assert fresh.hosted_usd == pytest.approx(0.5 / 4)


def test_a_new_month_leaves_gateways_the_permit_they_have_and_what_they_hold_of_it() -> None:
    before = MONTH_END - timedelta(seconds=10)
    given = Allowance(lane=Lane(pod="chat-gateway-0", worker=0, backend="acme/llama-8b"), micro_usd_to=5_000_000)
    permit = Permit(issued_at=before, expires_at=MONTH_END + timedelta(minutes=9), retry_at=MONTH_END, allowances=(given,))
    grants = (Grant(allowance=given, expires_at=MONTH_END + timedelta(minutes=9)),)
    november = replace(advanced(None, scraped(MILLION, at=before), before), permit=permit, grants=grants)
    december = advanced(november, observe(0, signals=replace(signals(), counters=MISSING)), MONTH_END)
    assert (december.month, december.permit, december.grants) == ("2026-12", permit, grants)


@pytest.mark.parametrize(
    ("moment", "month"),
    [
        (datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC), "2026-11"),
        (datetime(2026, 12, 1, 0, 30, tzinfo=UTC), "2026-12"),
        (datetime.fromisoformat("2026-12-01T00:30:00+01:00"), "2026-11"),
    ],
)
def test_months_are_utc(moment: datetime, month: str) -> None:
    assert periods.month_of(moment) == month
    assert periods.month_start(moment) <= moment < periods.month_end(moment)


@pytest.mark.parametrize("ahead", [timedelta(hours=1), timedelta(days=400)])
def test_after_a_clock_was_set_back_money_is_counted_on_and_nothing_twice(ahead: timedelta) -> None:
    pods = (replica(bound_at=NOW),)
    before = advanced(None, scraped(MILLION, replicas=pods))
    wrong = replace(advanced(before, scraped(MILLION, at=NOW + ahead, replicas=pods), NOW + ahead), former=None)
    again = advanced(wrong, scraped(MILLION, at=NOW + ahead, replicas=pods), later(10))  # the answer is still that of the last tick
    twice = counters(input_tokens=2e6, output_tokens=2e6)
    right = advanced(again, scraped(twice, at=later(25), replicas=pods), later(25))
    assert (right.month, right.day) == ("2026-11", "2026-11-21")
    assert again.hosted_usd == wrong.hosted_usd
    assert right.hosted_usd - again.hosted_usd == pytest.approx(0.5)
    assert right.dedicated_usd == wrong.dedicated_usd  # the hours ahead, of which some are over by now
    december = advanced(right, scraped(twice, at=MONTH_END, replicas=pods), MONTH_END)
    assert (december.month, december.hosted_usd) == ("2026-12", 0.0)
    assert advanced(december, observe(0, replicas=pods), MONTH_END + timedelta(hours=1)).dedicated_usd == pytest.approx(4.0)


@pytest.mark.parametrize("ahead", [timedelta(hours=14), timedelta(days=12), timedelta(days=400)], ids=["a day", "a month", "a year"])
def test_a_day_and_month_that_ended_by_the_clocks_error_go_on_once_it_is_set_right(ahead: timedelta) -> None:
    pods = (replica(bound_at=NOW),)
    seen = [counters(requests=million, input_tokens=million * 1e6, output_tokens=million * 1e6) for million in (1, 2, 3)]
    before = advanced(None, scraped(seen[0], replicas=pods))
    wrong = advanced(before, scraped(seen[1], at=NOW + ahead, replicas=pods), NOW + ahead)
    kept = ledger_record.from_json(ledger_record.to_json(wrong))
    right = advanced(kept, scraped(seen[2], at=later(900), replicas=pods), later(900))
    assert (right.month, right.day, right.former) == ("2026-11", "2026-11-21", None)
    assert (right.hosted_usd, right.day_hosted_usd, right.day_requests) == pytest.approx((1.5, 1.5, 3))
    assert right.dedicated_usd == pytest.approx(1.0)


@pytest.mark.parametrize("behind", [timedelta(days=1), timedelta(days=40)], ids=["a day", "a month"])
def test_a_day_and_month_go_on_after_a_clock_that_was_behind(behind: timedelta) -> None:
    """Else a limit could be spent twice on that day."""
    seen = [counters(requests=million, input_tokens=million * 1e6, output_tokens=million * 1e6) for million in (1, 2, 3)]
    before = advanced(None, scraped(seen[0]))
    wrong = advanced(before, scraped(seen[1], at=NOW - behind), NOW - behind)
    still = advanced(ledger_record.from_json(ledger_record.to_json(wrong)), scraped(seen[1], at=later(15) - behind), later(15) - behind)
    right = advanced(still, scraped(seen[2], at=later(30)), later(30))
    assert (right.month, right.day, right.former) == (before.month, before.day, None)
    assert (right.hosted_usd, right.day_hosted_usd, right.day_requests) == pytest.approx((1.5, 1.5, 3))


def test_a_day_that_comes_in_its_time_starts_anew_also_after_a_clock_that_was_ahead() -> None:
    ahead, midnight = NOW + timedelta(days=1), datetime(2026, 11, 22, tzinfo=UTC)
    wrong = advanced(None, scraped(MILLION, at=ahead), ahead)
    right = advanced(wrong, scraped(MILLION, at=midnight - timedelta(seconds=15)), midnight - timedelta(seconds=15))
    assert advanced(right, scraped(MILLION, at=midnight), midnight).day_hosted_usd == 0.0


def test_a_day_that_has_ended_an_hour_ago_is_over() -> None:
    before = advanced(None, scraped(MILLION))
    next_day = advanced(before, scraped(MILLION, at=NOW + timedelta(days=1)), NOW + timedelta(days=1))
    assert next_day.former is not None
    assert advanced(next_day, observe(0), NOW + timedelta(days=1, minutes=59)).former == next_day.former
    assert advanced(next_day, observe(0), NOW + timedelta(days=1, hours=1)).former is None


def test_a_ledger_fits_its_config_map_whatever_day_it_is() -> None:
    """Pods that nodes put out one after the other leave thousands of marks."""
    before = replace(advanced(None, scraped(MILLION)), replicas={f"{place:036}": NOW for place in range(10_000)})
    next_day = advanced(before, scraped(MILLION, at=NOW + timedelta(hours=14)), NOW + timedelta(hours=14))
    assert next_day.day > before.day
    assert len(ledger_record.to_json(next_day)) < 2**20


@pytest.mark.parametrize("watched_until", [None, NOW])
@pytest.mark.parametrize("ahead", [{"month": "2027-05"}, {"day": "2027-05-05"}], ids=["month", "day"])
def test_a_month_or_day_that_somebody_wrote_ahead_ends_as_this_one_does(ahead: dict[str, Any], watched_until: datetime | None) -> None:
    edited = replace(advanced(None, scraped(MILLION)), watched_until=watched_until, hosted_usd=7.0, day_hosted_usd=7.0, **ahead)
    found = advanced(edited, observe(0), later(15))
    assert (found.month, found.day, found.hosted_usd, found.day_hosted_usd) == ("2026-11", "2026-11-21", 7.0, 7.0)
    december = advanced(found, observe(0), MONTH_END)
    assert (december.month, december.hosted_usd, december.day_hosted_usd) == ("2026-12", 0.0, 0.0)


def test_a_lost_ledger_of_an_old_workload_starts_from_marks_and_says_so() -> None:
    old = replace(workload(), created_at=NOW - timedelta(days=90))
    first = advanced(None, scraped(MILLION), wanted=old)
    assert (first.hosted_usd, first.unaccounted_s) == (0.0, (NOW - datetime(2026, 11, 1, tzinfo=UTC)).total_seconds())
    second = advanced(first, scraped(counters(input_tokens=2e6, output_tokens=1e6), at=later(15)), later(15), old)
    assert second.hosted_usd == pytest.approx(0.1)


# What is taken from the list while it still serves


def test_what_a_class_that_was_renamed_costs_until_its_replicas_are_gone_is_counted_at_its_last_price() -> None:
    pods: dict[str, Any] = {"replicas": (replica(bound_at=NOW, tensor_parallel_size=2),)}
    first = advanced(None, observe(0, **pods))
    renamed = catalogue({"h100-sxm": accelerator()})
    again = ledger_record.from_json(ledger_record.to_json(first))
    second = advanced(again, observe(0, catalogue=renamed, **pods), later(3600))
    assert second.dedicated_usd == pytest.approx(8.0)
    assert second.unpriced_accelerator_s == {}
    gone = advanced(second, observe(0, catalogue=renamed), later(3615))
    assert gone.last_usd_per_accelerator_hour == {}


def test_what_a_backend_that_was_renamed_answers_until_its_gateways_are_gone_is_counted_at_its_last_prices() -> None:
    first = advanced(None, scraped(MILLION))
    renamed = catalogue(providers={"acme-eu": provider()})
    grown = counters(input_tokens=3e6, output_tokens=1e6)
    for known in (first, ledger_record.from_json(ledger_record.to_json(first))):
        second = advanced(known, scraped(grown, at=later(15), catalogue=renamed), later(15))
        assert (second.hosted_usd, second.day_hosted_usd) == pytest.approx((0.7, 0.7))
        assert second.unpriced_tokens == {}
    december = advanced(first, scraped(grown, at=MONTH_END + timedelta(days=1), catalogue=renamed), MONTH_END + timedelta(days=1))
    assert december.unpriced_tokens == {}
    assert december.hosted_usd > 0


def test_a_class_that_lost_its_price_is_owed_as_long_as_it_has_none() -> None:
    first = advanced(None, observe(0, replicas=(replica(bound_at=NOW),)))
    without = catalogue({"h100": accelerator(price=None)})
    second = advanced(first, observe(0, replicas=(replica(bound_at=NOW),), catalogue=without), later(3600))
    assert (second.dedicated_usd, second.unpriced_accelerator_s) == (0.0, {"h100": 3600.0})


# Made again under the same name


def test_what_replicas_of_a_deleted_workload_of_the_name_cost_before_is_not_this_ones() -> None:
    made = replace(workload(), uid="uid-2", created_at=NOW - timedelta(minutes=30))
    draining = replica(bound_at=NOW - timedelta(days=10), terminating=True)
    first = advanced(None, observe(0, replicas=(draining,)), wanted=made)
    assert first.dedicated_usd == pytest.approx(2.0)  # half an hour
    second = advanced(first, observe(0, replicas=(draining,)), later(3600), made)
    assert second.dedicated_usd == pytest.approx(6.0)


def test_what_gateways_of_a_deleted_workload_of_the_name_have_counted_is_not_this_ones() -> None:
    made = replace(workload(), uid="uid-2", created_at=NOW)
    old, own = gateway(0, created_at=NOW - timedelta(days=9)), gateway(1, created_at=later(2))
    first = advanced(None, scraped(MILLION, at=later(5), gateways=(old, own)), later(5), made)
    assert (first.hosted_usd, first.input_tokens, first.day_hosted_usd) == (0.0, 0.0, 0.0)
    rows = (counters(input_tokens=2e6, output_tokens=1e6), replace(MILLION, pod="chat-gateway-1"))
    second = advanced(first, scraped(*rows, at=later(20), gateways=(old, own)), later(20), made)
    assert second.hosted_usd == pytest.approx(0.1 + 0.5)


def test_nor_is_what_those_had_counted_that_are_gone_by_then_while_prometheus_still_shows_it() -> None:
    made = replace(workload(), uid="uid-2", created_at=NOW)
    first = advanced(None, observe(0, signals=replace(signals(), counters=MISSING)), later(1), made)
    second = advanced(first, scraped(MILLION, at=later(15), gateways=()), later(15), made)
    assert second.hosted_usd == 0.0
    much_later = advanced(second, scraped(MILLION, replace(MILLION, pod="chat-gateway-1"), at=later(900), gateways=()), later(900), made)
    assert much_later.hosted_usd == pytest.approx(0.5)


# Breaks in the watch


def test_a_break_that_counters_and_replicas_bridge_loses_nothing() -> None:
    pods: dict[str, Any] = {"replicas": (replica(),)}
    first = advanced(None, scraped(MILLION, **pods))
    after = advanced(first, scraped(counters(input_tokens=3e6, output_tokens=1e6, requests=99.0), at=later(3600), **pods), later(3600))
    assert after.unaccounted_s == 0.0
    assert after.dedicated_usd == pytest.approx(8.0)
    assert after.hosted_usd == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("seen", "after", "lost"),
    [
        pytest.param(scraped(MILLION, at=later(3600)), 3600, 3600.0, id="a replica that vanished in a break"),
        pytest.param(scraped(at=later(3600), replicas=(replica(),)), 3600, 3600.0, id="a gateway that vanished in a break"),
        pytest.param(scraped(counters(), at=later(3600), replicas=(replica(),)), 3600, 3600.0, id="a gateway that restarted in a break"),
        pytest.param(
            scraped(MILLION, at=later(3600), replicas=(replica(ended_at=later(60)),)), 3600, 0.0, id="not a replica whose end is known"
        ),
        pytest.param(scraped(at=later(45)), 45, 0.0, id="not within two ticks and the grace"),
    ],
)
def test_what_slips_through_a_break_is_told(seen: Observation, after: float, lost: float) -> None:
    first = advanced(None, scraped(MILLION, replicas=(replica(),)))
    assert advanced(first, seen, later(after)).unaccounted_s == lost


def test_a_break_over_the_months_end_counts_in_the_new_month_only_from_its_start() -> None:
    before = MONTH_END - timedelta(hours=1)
    first = advanced(None, scraped(MILLION, at=before), before)
    after = MONTH_END + timedelta(hours=1)
    assert advanced(first, scraped(at=after), after).unaccounted_s == 3600.0


def test_an_outage_of_prometheus_is_no_break_in_the_watch_of_replicas() -> None:
    dark = replace(signals(), counters=MISSING)
    ledger = advanced(None, scraped(MILLION, replicas=(replica(),)))
    for minute in range(1, 31):
        there = (replica(),) if minute < 10 else ()
        ledger = advanced(ledger, observe(0, replicas=there, signals=dark), later(60 * minute))
    ledger = advanced(ledger, scraped(MILLION, at=later(1860)), later(1860))
    assert ledger.unaccounted_s == 0.0


# What a provider found in its cache

CACHING = catalogue(
    providers={
        "acme": provider(
            models=[
                {
                    "name": "llama-8b",
                    "inputUSDPerMillionTokens": "0.1",
                    "cachedInputUSDPerMillionTokens": "0.02",
                    "outputUSDPerMillionTokens": "0.4",
                }
            ]
        )
    }
)
HIT = replace(MILLION, cached_input_tokens=5e5)  # 0.46 USD where it is cheaper


def test_cached_prompt_tokens_cost_what_the_provider_says_of_these() -> None:
    found = advanced(None, scraped(HIT, catalogue=CACHING))
    assert (found.hosted_usd, found.day_hosted_usd) == pytest.approx((0.46, 0.46))
    assert found.input_tokens == 1e6
    grown = counters(input_tokens=3e6, output_tokens=1e6, cached_input_tokens=15e5)
    assert advanced(found, scraped(grown, at=later(15), catalogue=CACHING), later(15)).hosted_usd == pytest.approx(0.46 + 0.12)
    assert advanced(None, scraped(HIT)).hosted_usd == pytest.approx(0.5)  # no price of its own
    assert advanced(None, scraped(replace(HIT, backend="owned"), catalogue=CACHING)).hosted_usd == 0.0


def test_a_gateway_that_counts_no_cached_tokens_costs_the_full_price() -> None:
    assert advanced(None, scraped(MILLION, catalogue=CACHING)).hosted_usd == pytest.approx(0.5)


def test_a_restart_counts_cached_tokens_anew_and_none_twice() -> None:
    first = advanced(None, scraped(HIT, catalogue=CACHING, gateways=(gateway(restarts=0),)))
    row = counters(input_tokens=1e5, cached_input_tokens=1e5)
    second = advanced(first, scraped(row, at=later(15), catalogue=CACHING, gateways=(gateway(restarts=1),)), later(15))
    assert second.hosted_usd == pytest.approx(0.46 + 0.002)
    again = advanced(second, scraped(row, at=later(30), catalogue=CACHING, gateways=(gateway(restarts=1),)), later(30))
    assert again.hosted_usd == second.hosted_usd


def test_cached_tokens_that_are_shown_no_more_are_no_restart() -> None:
    first = advanced(None, scraped(HIT, catalogue=CACHING))
    second = advanced(first, scraped(counters(input_tokens=2e6, output_tokens=1e6), at=later(15), catalogue=CACHING), later(15))
    assert (second.input_tokens, second.hosted_usd) == pytest.approx((2e6, 0.46 + 0.1))


def test_a_ledger_of_before_there_were_cached_tokens_is_gone_on_from() -> None:
    """Its mark has none of them: what was counted at the full price is not given back."""
    text = ledger_record.to_json(advanced(None, scraped(MILLION)))
    old = json.loads(text)
    for gone in ("unpriced_cached_tokens", "last_usd_per_million_cached_tokens"):
        del old[gone]
    for entry in old["counters"].values():
        del entry["cached_input_tokens"]
    ledger = ledger_record.from_json(json.dumps(old))
    grown = counters(input_tokens=2e6, output_tokens=1e6, cached_input_tokens=19e5)
    assert advanced(ledger, scraped(grown, at=later(15), catalogue=CACHING), later(15)).hosted_usd == pytest.approx(0.5 + 0.02)
    renamed = catalogue(providers={"acme-eu": provider()})
    assert advanced(ledger, scraped(grown, at=later(15), catalogue=renamed), later(15)).hosted_usd == pytest.approx(0.5 + 0.1)


def test_a_ledger_is_read_by_versions_that_know_of_no_cached_tokens() -> None:
    """They take pairs apart, and pass over names that they do not know."""
    owed, priced = (
        json.loads(ledger_record.to_json(advanced(None, scraped(HIT, catalogue=each)))) for each in (catalogue({}, {}), CACHING)
    )
    assert owed["unpriced_tokens"] == {"acme/llama-8b": [1e6, 1e6]}
    assert priced["last_usd_per_million_tokens"] == {"acme/llama-8b": [0.1, 0.4]}


def test_cached_tokens_without_a_price_are_charged_when_there_is_one() -> None:
    owed = advanced(None, scraped(HIT, catalogue=catalogue({}, {})))
    assert ledger_record.from_json(ledger_record.to_json(owed)) == owed
    settled = book.settle(owed, CACHING)
    assert settled.hosted_usd == pytest.approx(0.46)
    assert (settled.unpriced_tokens, settled.unpriced_cached_tokens) == ({}, {})


def test_cached_tokens_of_a_backend_that_was_renamed_cost_what_they_did() -> None:
    first = ledger_record.from_json(ledger_record.to_json(advanced(None, scraped(HIT, catalogue=CACHING))))
    renamed = catalogue(providers={"acme-eu": provider()})
    for now in (later(15), MONTH_END + timedelta(days=1)):
        grown = counters(input_tokens=2e6, output_tokens=1e6, cached_input_tokens=15e5)
        second = advanced(first, scraped(grown, at=now, catalogue=renamed), now)
        usd = second.hosted_usd - (first.hosted_usd if second.month == first.month else 0.0)
        share = 1.0 if second.month == first.month else (now - MONTH_END) / (now - NOW)
        assert usd == pytest.approx(0.02 * share)


@given(
    looks=st.lists(st.tuples(*[st.integers(min_value=0, max_value=10**6)] * 3, st.booleans()), min_size=1, max_size=12),
    forgetful=st.booleans(),
)
def test_whatever_is_told_of_the_cache_a_prompt_costs_no_less_than_if_all_of_it_were_cached(
    looks: list[tuple[int, int, int, bool]], *, forgetful: bool
) -> None:
    """Scrapes may fall between two counters, show one of them no more, or meet a ledger that an older version has written."""
    ledger: Ledger | None = None
    prompts = answers = cached = 0
    for place, (prompt, answer, hit, shown) in enumerate(looks):
        prompts, answers, cached = prompts + prompt, answers + answer, cached + hit
        row = counters(input_tokens=prompts, output_tokens=answers, cached_input_tokens=cached if shown else 0)
        ledger = advanced(ledger, scraped(row, at=later(15 * place), catalogue=CACHING), later(15 * place))
        if forgetful:
            marks = {key: replace(mark, cached_input_tokens=0.0) for key, mark in ledger.counters.items()}
            ledger = replace(ledger, counters=marks)
    assert ledger is not None
    full, least = (prompts * 0.1 + answers * 0.4) / 1e6, (prompts * 0.02 + answers * 0.4) / 1e6
    for usd in (ledger.hosted_usd, ledger.day_hosted_usd):
        assert least * (1 - 1e-9) <= usd <= full * (1 + 1e-9)


# Written and read


def test_what_is_written_is_read_back() -> None:
    ledger = advanced(None, scraped(MILLION, replicas=(replica(),)))
    text = ledger_record.to_json(ledger)
    assert ledger_record.from_json(text) == ledger
    assert ledger_record.to_json(ledger_record.from_json(text)) == text
    assert ledger_record.from_json('{"month": "2026-11", "later": 1}') == Ledger(month="2026-11")


def test_what_is_owed_is_written_and_read_back() -> None:
    owed = advanced(None, scraped(MILLION, catalogue=catalogue({}, {}), replicas=(replica(),)))
    assert owed.unpriced_tokens
    assert owed.unpriced_accelerator_s
    assert ledger_record.from_json(ledger_record.to_json(owed)) == owed


def test_a_ledger_of_the_first_form_is_read() -> None:
    found = ledger_record.from_json('{"month":"2026-11","hosted_usd":2.0,"unpriced_replica_s":60.0,"unpriced_tokens":9.0}')
    assert (found.hosted_usd, found.unpriced_accelerator_s, found.unpriced_tokens) == (2.0, {"": 60.0}, {"": (9.0, 0.0)})
    assert book.settle(found, catalogue()) == found  # nobody knows whose they were
    priced = ledger_record.from_json('{"month":"2026-11","unpriced_replica_s":0.0,"unpriced_tokens":0.0}')
    assert priced == Ledger(month="2026-11")


def test_marks_of_the_first_form_are_gone_on_from() -> None:
    """They lack what was counted later, and when they were seen."""
    found = ledger_record.from_json(
        '{"month":"2026-11","counters":{"chat-gateway-0|acme/llama-8b":{"input_tokens":1e6,"output_tokens":1e6}}}'
    )
    assert found.counters == {"chat-gateway-0|acme/llama-8b": LedgerEntry(input_tokens=1e6, output_tokens=1e6)}
    broken_off = replace(found, counted_until=NOW)
    assert advanced(broken_off, scraped(at=later(3600), gateways=()), later(3600)).counters == found.counters
    grown = advanced(broken_off, scraped(counters(input_tokens=2e6, output_tokens=1e6), at=later(3600)), later(3600))
    assert grown.hosted_usd == pytest.approx(0.1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "null",
        '{"watched_until": "2026-11-21T12:00:00", "month": "2026-11"}',
        '{"month": "2026-11", "counters": {"a": 1}}',
        '{"month": "2026-11", "hosted_usd": "x"}',
        '{"month": "2026-11", "hosted_usd": NaN}',
        '{"month": "2026-11", "unpriced_accelerator_s": {"h100": 1e999}}',
        '{"month": "November"}',
        '{"month": "2026-11", "day": "tomorrow"}',
        '{"month": "2026-11", "grants": [{"allowance": {"lane": {"pod": "a", "worker": "first", "backend": "b"}}}]}',
        "[" * 100_000,
    ],
    ids=lambda text: text[:50] or "nothing",
)
def test_what_is_no_ledger_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        ledger_record.from_json(text)


# The law: however the same history is looked at, the total is the same.


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One look at the world, and what happened to those who look."""

    seconds: int
    growth: tuple[int, int]  # tokens at two gateway containers since the moment before
    restarted: tuple[bool, bool]  # containers that restarted just after the moment before; only where that one was looked at
    looked: bool
    prometheus_up: bool
    operator_restarts: bool
    times: int


MOMENTS = st.lists(
    st.builds(
        Moment,
        seconds=st.integers(min_value=1, max_value=40),
        growth=st.tuples(st.integers(min_value=1, max_value=10_000), st.integers(min_value=1, max_value=10_000)),
        restarted=st.tuples(st.booleans(), st.booleans()),
        looked=st.booleans(),
        prometheus_up=st.booleans(),
        operator_restarts=st.booleans(),
        times=st.integers(min_value=1, max_value=3),
    ),
    min_size=1,
    max_size=30,
)


def replay(moments: Sequence[Moment]) -> tuple[Ledger, int, float]:
    """Return the ledger after all looks and a last good one, the tokens that really were, and the seconds the replica ran."""
    ledger: Ledger | None = None
    shown, total, now = [0, 0], 0, NOW
    restartable = True  # a restart loses what grew since the last good look, so the law lets restarts happen only right after one
    pods = (replica(bound_at=NOW),)
    for moment in (
        *moments,
        Moment(seconds=15, growth=(1, 1), restarted=(False, False), looked=True, prometheus_up=True, operator_restarts=False, times=1),
    ):
        now += timedelta(seconds=moment.seconds)
        for index in range(2):
            if moment.restarted[index] and restartable:
                shown[index] = 0
            shown[index] += moment.growth[index]
            total += moment.growth[index]
        # A container that restarted and grew past its old mark unseen cannot be told from one that did not: see the assumption below.
        if not moment.looked:
            restartable = False
            continue
        rows = tuple(counters(pod=f"chat-gateway-{index}", input_tokens=float(shown[index]), requests=0.0) for index in range(2))
        reading = Sample(value=rows, at=now) if moment.prometheus_up else MISSING
        for _ in range(moment.times):
            ledger = advanced(ledger, observe(0, replicas=pods, signals=replace(signals(), counters=reading)), now)
            if moment.operator_restarts:
                ledger = ledger_record.from_json(ledger_record.to_json(ledger))
        restartable = False if not moment.prometheus_up else restartable
    assert ledger is not None
    return ledger, total, (now - NOW).total_seconds()


@given(moments=MOMENTS)
def test_any_way_of_looking_at_one_history_gives_the_same_total(moments: list[Moment]) -> None:
    calm = [replace(moment, restarted=(False, False)) for moment in moments]
    ledger, total, seconds = replay(calm)
    assert ledger.input_tokens == pytest.approx(total)
    assert ledger.hosted_usd == pytest.approx(total * 0.1 / 1e6)
    assert ledger.dedicated_usd == pytest.approx(4.0 * seconds / 3600)
    assert ledger.unaccounted_s == 0.0


@given(moments=MOMENTS)
def test_restarts_that_show_in_the_counters_lose_and_double_nothing(moments: list[Moment]) -> None:
    """Each growth is smaller than the one before a restart, so that every restart shows as a value below its mark."""
    seen_all = [replace(moment, looked=True, prometheus_up=True) for moment in moments]
    shrinking = [replace(moment, growth=(10_000 - 100 * index, 10_000 - 100 * index)) for index, moment in enumerate(seen_all)]
    ledger, total, _ = replay(shrinking)
    assert ledger.input_tokens == pytest.approx(total)


def test_the_ledger_of_a_pass_is_the_one_in_memory() -> None:
    _, memory = one_pass(seen=scraped(MILLION), memory=Memory())
    assert memory.ledger is not None
    assert memory.ledger.hosted_usd == pytest.approx(0.5)
