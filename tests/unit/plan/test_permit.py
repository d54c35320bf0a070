"""The permit: what gateways may send to hosted backends by themselves, and never more than a limit leaves."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spillway.api.vocabulary import Reason
from spillway.plan.decision import HostedBackend, Lane, Ledger, Permit
from spillway.plan.gateway.permit import LIFE, MICRO, RENEWED_AFTER, WORKERS, metered, plan_permit, what_is_left, why_stopped
from spillway.plan.money import ledger_record
from spillway.plan.observation import Observation, Sample, SpillMeter
from spillway.plan.validate import resolve_backends
from tests.unit.plan.situations import (
    MISSING,
    NOW,
    catalogue,
    counters,
    gateway,
    later,
    observe,
    one_pass,
    provider,
    signals,
    spec,
    workload,
)

T = TypeVar("T")

ONE = {"backends": [{"providerRef": {"name": "acme"}, "model": "llama-8b"}]}
TEN_A_DAY = {"maxUSDPerDay": "10"}
TODAY = Ledger(month="2026-11", day="2026-11-21")


def limited(**overflow: Any) -> Any:
    return spec(hosted={**ONE, "overflow": overflow})


def backends_of(wanted: Any, seen: Observation) -> tuple[HostedBackend, ...]:
    return resolve_backends(wanted, seen.catalogue)[0]


def metering(*meters: SpillMeter, gateways: int = 1, **changes: Any) -> Observation:
    """Return an observation in which lanes show these meters."""
    plain = signals(**changes.pop("signals", {}))
    return observe(
        1,
        gateways=tuple(gateway(index) for index in range(gateways)),
        signals=replace(plain, spill_meters=Sample(value=meters, at=NOW)),
        **changes,
    )


def meter(pod: int = 0, worker: int = 0, *, micro_usd: float = 0, requests: float = 0, refused: tuple[float, float] = (0, 0)) -> SpillMeter:
    """Return a lane's meters; `refused`: requests that it turned away, and micro-USD that they might have cost."""
    return SpillMeter(
        pod=f"chat-gateway-{pod}",
        worker=worker,
        backend="acme/llama-8b",
        micro_usd=micro_usd,
        requests=requests,
        refused_requests=refused[0],
        refused_micro_usd=refused[1],
    )


def planned(wanted: Any, seen: Observation, ledger: Ledger = TODAY, now: datetime = NOW) -> Ledger:
    return plan_permit(wanted, backends_of(wanted, seen), seen=seen, ledger=ledger, now=now)


def permit_of(ledger: Ledger) -> Permit:
    assert ledger.permit is not None
    return ledger.permit


def given_usd(permit: Permit) -> float:
    return sum((each.micro_usd_to or 0) - each.micro_usd_from for each in permit.allowances) / MICRO


def test_a_workload_without_limits_has_no_permit() -> None:
    decision, memory = one_pass()
    assert decision.gateway.permit is None
    assert memory.ledger is not None
    assert (memory.ledger.permit, memory.ledger.grants) == (None, ())


def test_every_worker_of_every_gateway_has_a_lane_to_every_backend() -> None:
    both = {"backends": [{"providerRef": {"name": "acme"}, "model": name} for name in ("llama-8b", "org/llama-70b")]}
    wanted = spec(hosted={**both, "overflow": TEN_A_DAY})
    permit = permit_of(planned(wanted, metering(gateways=2)))
    assert len({each.lane for each in permit.allowances}) == len(permit.allowances) == 2 * WORKERS * 2


def test_a_permit_lasts_ten_minutes_and_gives_half_of_what_the_day_leaves() -> None:
    permit = permit_of(planned(limited(**TEN_A_DAY), metering(gateways=2), replace(TODAY, day_hosted_usd=4.0)))
    assert permit.expires_at == NOW + timedelta(minutes=10)
    assert given_usd(permit) == pytest.approx(3.0)


def test_yesterdays_spend_does_not_count_against_today() -> None:
    yesterday = replace(TODAY, day="2026-11-20", day_hosted_usd=10.0)
    _, memory = one_pass(workload(hosted={**ONE, "overflow": TEN_A_DAY}), metering(), memory_with(yesterday))
    assert memory.ledger is not None
    assert given_usd(permit_of(memory.ledger)) == pytest.approx(5.0)


def memory_with(ledger: Ledger) -> Any:
    _, memory = one_pass()
    return replace(memory, ledger=ledger)


def test_a_day_that_is_spent_gives_nothing_until_midnight() -> None:
    permit = permit_of(planned(limited(**TEN_A_DAY), metering(), replace(TODAY, day_hosted_usd=10.0)))
    assert given_usd(permit) == 0
    assert permit.retry_at == datetime(2026, 11, 22, tzinfo=UTC)


def test_a_budget_that_stops_spilling_gives_what_the_month_leaves_own_cost_included() -> None:
    wanted = spec(budget={"monthlyUSD": "100", "whenExceeded": "StopSpilling"})
    some = what_is_left(wanted, replace(TODAY, dedicated_usd=60.0, hosted_usd=30.0), NOW)
    none = what_is_left(wanted, replace(TODAY, dedicated_usd=101.0), NOW)
    assert (some.micro_usd, none.micro_usd) == (10 * MICRO, 0)
    assert none.more_at == datetime(2026, 12, 1, tzinfo=UTC)


def test_where_day_and_month_are_spent_there_is_more_only_with_the_month() -> None:
    wanted = spec(hosted={**ONE, "overflow": TEN_A_DAY}, budget={"monthlyUSD": "100", "whenExceeded": "StopSpilling"})
    spent = what_is_left(wanted, replace(TODAY, day_hosted_usd=10.0, hosted_usd=100.0), NOW)
    assert (spent.micro_usd, spent.more_at) == (0, datetime(2026, 12, 1, tzinfo=UTC))


def test_a_month_of_unknown_cost_gives_nothing_where_the_budget_is_to_stop_it() -> None:
    wanted = spec(budget={"monthlyUSD": "100", "whenExceeded": "StopSpilling"})
    assert what_is_left(wanted, replace(TODAY, unpriced_accelerator_s={"h100": 1.0}), NOW).micro_usd == 0


def test_a_budget_that_only_reports_limits_nothing() -> None:
    assert not metered(spec(budget={"monthlyUSD": "100"}))


def test_how_long_one_waits_before_a_spill_limits_nothing() -> None:
    assert not metered(limited(maxWaitMs=200))


def test_a_share_counts_the_days_requests() -> None:
    left = what_is_left(limited(maxSharePercent=20), replace(TODAY, day_requests=1000.0, day_hosted_requests=150.0), NOW)
    assert (left.micro_usd, left.requests) == (None, 50)


def test_a_share_of_all_stops_nothing_while_no_replica_answers() -> None:
    ledger = replace(TODAY, day_requests=1000.0, day_hosted_requests=1000.0)
    assert what_is_left(limited(maxSharePercent=99), ledger, NOW).requests == 0
    assert what_is_left(limited(maxSharePercent=100), ledger, NOW).requests is None
    permit = permit_of(planned(limited(maxSharePercent=100), metering(meter(requests=1000)), ledger))
    assert why_stopped(limited(maxSharePercent=100), permit, NOW) is None


def test_the_first_requests_of_a_day_are_not_held_to_a_share_of_nothing() -> None:
    assert what_is_left(limited(maxSharePercent=20), replace(TODAY, day_hosted_requests=3.0), NOW).requests == 7


def test_the_last_request_of_a_share_goes_to_somebody() -> None:
    ledger = replace(TODAY, day_requests=100.0, day_hosted_requests=19.0)
    permit = permit_of(planned(limited(maxSharePercent=20), metering(gateways=2), ledger))
    assert sum((each.requests_to or 0) - each.requests_from for each in permit.allowances) == 1


def test_meters_are_marks_to_go_on_from() -> None:
    seen = metering(meter(micro_usd=7_000_000, requests=70))
    first = permit_of(planned(limited(**TEN_A_DAY), seen, replace(TODAY, day_hosted_usd=7.0))).allowances[0]
    assert first.micro_usd_from == 7_000_000
    assert first.micro_usd_to is not None
    assert 7_000_000 < first.micro_usd_to <= 7_000_000 + 1_500_000
    assert (first.requests_from, first.requests_to) == (70, None)


def test_a_permit_is_not_renewed_while_it_is_young_and_nobody_ran_low() -> None:
    wanted = limited(**TEN_A_DAY)
    first = planned(wanted, metering())
    assert planned(wanted, metering(meter(micro_usd=100)), first, later(30)) == first
    assert planned(wanted, metering(), first, NOW + RENEWED_AFTER).permit != first.permit


def test_a_lane_that_runs_low_is_topped_up_from_what_nobody_holds() -> None:
    wanted = limited(**TEN_A_DAY)
    first = planned(wanted, metering())
    given = permit_of(first).allowances[0].micro_usd_to or 0
    second = planned(wanted, metering(meter(micro_usd=given, requests=9)), replace(first, day_hosted_usd=given / MICRO), later(15))
    assert (permit_of(second).allowances[0].micro_usd_to or 0) > given + MICRO


def parts_of(permit: Permit) -> list[int]:
    return [(each.micro_usd_to or 0) - each.micro_usd_from for each in permit.allowances]


def test_lanes_are_given_a_half_evenly_and_a_half_by_what_they_sent_and_turned_away_since_the_last_permit() -> None:
    wanted = limited(**TEN_A_DAY)
    first = replace(planned(wanted, metering()), grants=())
    shown = [meter(worker=0, micro_usd=1000, requests=10), meter(worker=1, micro_usd=1000, requests=10, refused=(30, 30_000))]
    second = replace(planned(wanted, metering(*shown), first, NOW + RENEWED_AFTER), grants=())
    assert parts_of(permit_of(second)) == [1_750_000, 3_250_000]
    shown = [meter(worker=0, micro_usd=2000, requests=50), meter(worker=1, micro_usd=2000, requests=20, refused=(30, 30_000))]
    third = replace(planned(wanted, metering(*shown), second, NOW + 2 * RENEWED_AFTER), grants=())
    assert parts_of(permit_of(third)) == [3_250_000, 1_750_000]
    begun_anew = [meter(worker=0, micro_usd=3000, requests=60), meter(worker=1, micro_usd=900, requests=10, refused=(20, 20_000))]
    assert parts_of(permit_of(planned(wanted, metering(*begun_anew), third, NOW + 3 * RENEWED_AFTER))) == [1_875_000, 3_125_000]


def test_what_a_lane_was_given_before_is_forgotten_once_it_is_given_as_much() -> None:
    ledger = planned(limited(**TEN_A_DAY), metering())
    for minute in (2, 4, 6):
        ledger = planned(limited(**TEN_A_DAY), metering(), ledger, later(60 * minute))
    assert [each.allowance for each in ledger.grants] == list(permit_of(ledger).allowances)


def test_a_gateway_that_is_gone_holds_its_part_until_that_expires() -> None:
    wanted = limited(**TEN_A_DAY)
    first = planned(wanted, metering(gateways=2))
    gone = planned(wanted, metering(gateways=1), first, later(15))
    held = {each.allowance.lane.pod for each in gone.grants}
    assert held == {"chat-gateway-0", "chat-gateway-1"}
    after = planned(wanted, metering(gateways=1), gone, NOW + LIFE)
    assert {each.allowance.lane.pod for each in after.grants} == {"chat-gateway-0"}


def test_gateways_that_are_replaced_leave_their_part_and_not_all_that_they_ever_spent() -> None:
    wanted, spent = limited(**TEN_A_DAY), replace(TODAY, day_hosted_usd=4.0)
    lanes = [meter(pod, worker, micro_usd=90_000_000, requests=900) for pod in (0, 1) for worker in range(WORKERS)]
    before = planned(wanted, metering(*lanes, gateways=2), spent)
    successors = replace(metering(), gateways=(gateway(2), gateway(3)))
    assert given_usd(permit_of(planned(wanted, successors, before, later(15)))) >= 2.5


def test_gateways_that_are_replaced_one_after_the_other_are_together_given_what_the_day_leaves_and_no_more() -> None:
    """Each may still spend its part while it ends, out of the operator's sight."""
    wanted, ledger, given_in_all = limited(**TEN_A_DAY), TODAY, 0.0
    for generation in range(6):
        seen = replace(metering(), gateways=(gateway(generation),))
        ledger = planned(wanted, seen, ledger, later(15 * generation))
        given_in_all += given_usd(permit_of(ledger))
    assert 7 < given_in_all <= 10


def test_without_the_gateways_metrics_nothing_is_renewed() -> None:
    wanted = limited(**TEN_A_DAY)
    first, seen, much_later = planned(wanted, metering()), metering(), NOW + timedelta(minutes=30)
    for blind in (replace(seen.signals, spill_meters=MISSING), replace(seen.signals, counters=MISSING)):
        assert planned(wanted, replace(seen, signals=blind), first, much_later).permit == first.permit


def test_a_new_gateway_is_dealt_a_part_at_once() -> None:
    wanted = limited(**TEN_A_DAY)
    first = planned(wanted, metering())
    second = permit_of(planned(wanted, metering(gateways=2), first, later(1)))
    assert any(each.lane.pod == "chat-gateway-1" and (each.micro_usd_to or 0) > 0 for each in second.allowances)


def test_a_gateway_that_no_node_takes_is_dealt_nothing_until_one_does() -> None:
    """It could spend nothing, for hours: neither a part of the day's money nor one of the account's requests a minute."""
    known = catalogue(providers={"acme": provider(limits={"requestsPerMinute": 120})})
    serving = metering(meter(), catalogue=known)
    placed = replace(serving, gateways=(gateway(), gateway(1, ready=False)))
    waiting = replace(serving, gateways=(gateway(), gateway(1, ready=False, unschedulable="0/1 nodes are available")))
    alone, both, one = (permit_of(planned(limited(maxUSDPerDay="10"), each)).allowances for each in (serving, placed, waiting))
    assert one == alone
    assert len(both) == 2 * len(alone)


def test_a_process_that_restarted_gets_marks_of_its_own() -> None:
    wanted = limited(**TEN_A_DAY)
    first = planned(wanted, metering(meter(micro_usd=1_000_000, requests=10)))
    second = permit_of(planned(wanted, metering(), replace(first, day_hosted_usd=1.0), later(15)))
    assert second.allowances[0].micro_usd_from == 0


def test_provider_limits_are_shared_by_workloads_and_lanes_and_need_no_renewal() -> None:
    known = catalogue(providers={"acme": provider(limits={"requestsPerMinute": 120, "tokensPerMinute": 6000})})
    seen = metering(gateways=2, catalogue=known, provider_users={"acme": 3})
    permit = permit_of(planned(spec(), seen))
    assert permit.expires_at is None
    assert sum(each.requests_per_minute or 0 for each in permit.allowances) == pytest.approx(40)
    assert sum(each.tokens_per_minute or 0 for each in permit.allowances) == pytest.approx(2000)
    ledger = replace(TODAY, permit=permit)
    assert planned(spec(), seen, ledger, later(600)).permit is permit


def test_the_permit_survives_the_ledgers_own_writing() -> None:
    seen = metering(gateways=2, catalogue=catalogue(providers={"acme": provider(limits={"requestsPerMinute": 60, "tokensPerMinute": 600})}))
    ledger = planned(limited(**TEN_A_DAY, maxSharePercent=50), seen, replace(TODAY, day_requests=100.0, day_hosted_usd=1.5))
    assert ledger_record.from_json(ledger_record.to_json(ledger)) == ledger


@pytest.mark.parametrize("overflow", [TEN_A_DAY, {"maxSharePercent": 20}], ids=["money", "a share"])
def test_a_limit_that_comes_while_meters_are_missing_ends_a_permit_that_knew_none(overflow: dict[str, Any]) -> None:
    seen = metering(catalogue=catalogue(providers={"acme": provider(limits={"requestsPerMinute": 60})}))
    before = planned(spec(), seen)
    assert permit_of(before).expires_at is None
    wanted = limited(**overflow)
    blind = replace(seen, signals=replace(seen.signals, spill_meters=MISSING))
    after = planned(wanted, blind, before, later(15))
    assert after.permit is None
    assert why_stopped(wanted, after.permit, later(15)) is Reason.SPILL_PERMIT_MISSING


def replaced(*old: int, new: int) -> Observation:
    """Return an observation amid a rollout: these gateways, which run what was asked for before, and one that does not."""
    return replace(metering(), gateways=tuple(gateway(index) for index in (*old, new)))


def test_a_limit_that_is_taken_away_takes_the_permit_with_it_once_the_gateways_that_ask_for_one_are_gone() -> None:
    first = planned(limited(**TEN_A_DAY), metering(gateways=2))
    for seen, pods in ((metering(gateways=2), {0, 1}), (replaced(1, new=2), {1})):
        first = planned(spec(), seen, first, later(15))
        permit = permit_of(first)
        assert {each.lane.pod for each in permit.allowances} == {f"chat-gateway-{index}" for index in pods}
        assert all(each.micro_usd_to is None and each.requests_per_minute is None for each in permit.allowances)
        assert permit.expires_at is None
    assert planned(spec(), seen, first, later(30)).permit is permit
    assert planned(spec(), replaced(new=2), first, later(45)).permit is None


def test_where_nothing_is_rented_any_more_no_gateway_keeps_a_permit() -> None:
    first = planned(limited(**TEN_A_DAY), metering())
    assert planned(spec("Dedicated"), metering(), first).permit is None


def test_gateways_that_send_to_another_backend_until_they_are_replaced_keep_their_lanes_to_it() -> None:
    other = {"backends": [{"providerRef": {"name": "acme"}, "model": "org/llama-70b"}], "overflow": TEN_A_DAY}
    first = planned(limited(**TEN_A_DAY), metering(gateways=1))
    amid = planned(spec(hosted=other), replaced(0, new=1), first, later(15))
    lanes = {(each.lane.pod, each.lane.backend) for each in permit_of(amid).allowances if each.micro_usd_to}
    assert lanes == {
        ("chat-gateway-0", "acme/llama-8b"),
        ("chat-gateway-0", "acme/org/llama-70b"),
        ("chat-gateway-1", "acme/org/llama-70b"),
    }
    after = planned(spec(hosted=other), replaced(new=1), amid, later(30))
    assert {(each.lane.pod, each.lane.backend) for each in permit_of(after).allowances} == {("chat-gateway-1", "acme/org/llama-70b")}


def test_a_backend_that_no_provider_lists_any_more_has_no_lane_though_a_gateway_that_knew_it_is_there() -> None:
    other = {"backends": [{"providerRef": {"name": "acme"}, "model": "org/llama-70b"}], "overflow": TEN_A_DAY}
    first = planned(limited(**TEN_A_DAY), metering())
    models = [{"name": "org/llama-70b", "inputUSDPerMillionTokens": "1", "outputUSDPerMillionTokens": "2"}]
    seen = metering(catalogue=catalogue(providers={"acme": provider(models=models)}))
    amid = permit_of(planned(spec(hosted=other), seen, first, later(15)))
    assert {each.lane.backend for each in amid.allowances} == {"acme/org/llama-70b"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(TEN_A_DAY, {**TEN_A_DAY, "maxSharePercent": 20}, id="a share beside money"),
        pytest.param({**TEN_A_DAY, "maxSharePercent": 20}, TEN_A_DAY, id="money alone"),
        pytest.param({"maxSharePercent": 20}, {**TEN_A_DAY, "maxSharePercent": 20}, id="money beside a share"),
        pytest.param({**TEN_A_DAY, "maxSharePercent": 20}, {"maxSharePercent": 20}, id="a share alone"),
    ],
)
def test_another_kind_of_limit_is_in_the_next_permit_at_once(before: dict[str, Any], after: dict[str, Any]) -> None:
    first = planned(limited(**before), metering())
    given = permit_of(planned(limited(**after), metering(), first, later(1))).allowances
    assert {each.micro_usd_to is not None for each in given} == {"maxUSDPerDay" in after}
    assert {each.requests_to is not None for each in given} == {"maxSharePercent" in after}


TYPO = {"backends": [{"providerRef": {"name": "acme"}, "model": "llama-8bb"}]}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(ONE, TYPO, id="a provider's limits"),
        pytest.param({**ONE, "overflow": TEN_A_DAY}, {**TYPO, "overflow": TEN_A_DAY}, id="a day's money"),
        pytest.param({**ONE, "overflow": TEN_A_DAY}, TYPO, id="a day's money, and none any more"),
    ],
)
def test_a_spec_that_cannot_be_acted_upon_leaves_gateways_that_run_their_permit(before: dict[str, Any], after: dict[str, Any]) -> None:
    seen = metering(catalogue=catalogue(providers={"acme": provider(limits={"requestsPerMinute": 60})}))
    first, memory = one_pass(workload(hosted=before), seen)
    assert first.gateway.permit is not None
    wanted = workload(hosted=after, generation=2)
    for seconds in (15, 300, 900, 1500):
        decision, memory = one_pass(wanted, seen, memory, at=later(seconds))
        permit = decision.gateway.permit
        assert decision.problems
        assert permit is not None
        assert [each.lane for each in permit.allowances] == [each.lane for each in first.gateway.permit.allowances]
        assert why_stopped(wanted.spec, permit, later(seconds)) is None


def test_with_problems_a_permit_to_spend_is_renewed_by_the_limits_that_are_stated() -> None:
    seen = metering()
    _, memory = one_pass(workload(hosted={**ONE, "overflow": TEN_A_DAY}), seen)
    assert memory.ledger is not None
    memory = replace(memory, ledger=replace(memory.ledger, day_hosted_usd=10.0))
    after, _ = one_pass(workload(hosted={**TYPO, "overflow": TEN_A_DAY}, generation=2), seen, memory, at=later(300))
    assert after.problems
    assert after.gateway.permit is not None
    assert given_usd(after.gateway.permit) == 0


def test_hosted_spend_of_the_day_is_counted_by_backend_and_side() -> None:
    seen = metering(signals={"counters": (counters(requests=10.0, input_tokens=1e6), counters(backend="owned", requests=90.0))})
    _, memory = one_pass(workload(hosted={**ONE, "overflow": TEN_A_DAY}), seen)
    ledger = memory.ledger
    assert ledger is not None
    assert (ledger.day, ledger.day_requests, ledger.day_hosted_requests) == ("2026-11-21", 100.0, 10.0)
    assert ledger.day_hosted_usd == pytest.approx(0.1)


def test_a_permit_of_a_clock_that_was_ahead_is_renewed_once_it_was_set_back() -> None:
    wanted, seen = workload(hosted={**ONE, "overflow": TEN_A_DAY}), metering()
    _, memory = one_pass(wanted, seen, at=later(3600))
    decision, memory = one_pass(wanted, seen, memory, at=later(60))
    permit = decision.gateway.permit
    assert permit is not None
    assert (permit.issued_at, permit.expires_at) == (later(60), later(60) + LIFE)
    assert memory.numbers_written_at == later(60)


def reached(wanted: Any, ledger: Ledger, now: datetime = NOW) -> bool:
    return why_stopped(wanted, ledger.permit, now) is Reason.SPILL_LIMIT_REACHED


def test_a_limit_is_reached_when_what_is_left_is_less_than_a_request_that_was_turned_away() -> None:
    wanted, spent = limited(**TEN_A_DAY), replace(TODAY, day_hosted_usd=9.99)
    before = planned(wanted, metering(gateways=2), spent)
    refusing = metering(meter(refused=(3, 3 * 20_000)), gateways=2)
    after = planned(wanted, refusing, before, later(15))
    assert (reached(wanted, before), reached(wanted, after, later(15))) == (False, True)
    assert permit_of(after).retry_at == datetime(2026, 11, 22, tzinfo=UTC)


def test_a_limit_that_leaves_only_a_few_requests_is_reached_though_the_lane_that_turns_some_away_has_one_left() -> None:
    wanted, spent = limited(**TEN_A_DAY), replace(TODAY, day_hosted_usd=9.95)
    after = planned(wanted, metering(meter(refused=(3, 3 * 20_000))), spent)
    assert (permit_of(after).allowances[0].micro_usd_to or 0) >= 20_000
    assert reached(wanted, after)


@pytest.mark.parametrize(("given", "stopped"), [(19_999, True), (20_000, False)], ids=["less than a request", "a request"])
def test_lanes_that_turn_requests_away_are_stopped_where_none_of_them_has_enough_for_one(given: int, stopped: bool) -> None:  # noqa: FBT001
    permit = permit_of(planned(limited(**TEN_A_DAY), metering()))
    asking, other = permit.allowances[0], permit.allowances[1]
    permit = replace(permit, allowances=(replace(asking, micro_usd_from=0, micro_usd_to=given, wanted_micro_usd=20_000), other))
    assert reached(limited(**TEN_A_DAY), replace(TODAY, permit=permit)) is stopped


ABSURD = (1, 1e12)  # a request for 10^9 tokens


@pytest.mark.parametrize("idle", [{"worker": 1}, {"backend": "acme/org/llama-70b"}], ids=["another thread", "the next backend"])
def test_a_request_that_all_of_the_limit_is_too_little_for_takes_nothing_from_lanes_that_serve_others(idle: dict[str, Any]) -> None:
    """Its lane was dealt all that was left, and held it for ten minutes, in which nothing was spilled."""
    both = {"backends": [{"providerRef": {"name": "acme"}, "model": name} for name in ("llama-8b", "org/llama-70b")]}
    wanted = spec(hosted={**both, "overflow": TEN_A_DAY})
    before = planned(wanted, metering(meter(micro_usd=1000, requests=100)))
    asked = metering(meter(micro_usd=2000, requests=200), replace(meter(refused=ABSURD), **idle))
    permit = permit_of(planned(wanted, asked, before, NOW + RENEWED_AFTER))
    assert min(parts_of(permit)) > MICRO / 2
    assert why_stopped(wanted, permit, NOW + RENEWED_AFTER) is None


def test_where_nothing_else_was_ever_sent_it_tells_that_the_limit_is_too_little() -> None:
    wanted = limited(**TEN_A_DAY)
    before = planned(wanted, metering())
    permit = permit_of(planned(wanted, metering(meter(refused=ABSURD)), before, NOW + RENEWED_AFTER))
    assert why_stopped(wanted, permit, NOW + RENEWED_AFTER) is Reason.SPILL_LIMIT_REACHED
    assert min(parts_of(permit)) > MICRO  # for who asks for less


def test_a_burst_that_outruns_its_part_of_an_ample_limit_reaches_none() -> None:
    wanted = limited(**TEN_A_DAY)
    before = planned(wanted, metering(gateways=2))
    given = permit_of(before).allowances[0].micro_usd_to or 0
    after = planned(wanted, metering(meter(micro_usd=given, refused=(500, 500 * 20_000)), gateways=2), before, later(15))
    assert not reached(wanted, after, later(15))
    assert (permit_of(after).allowances[0].micro_usd_to or 0) >= given + MICRO


def test_a_reached_limit_stays_reached_while_nobody_asks_until_the_next_day() -> None:
    wanted, spent = limited(**TEN_A_DAY), replace(TODAY, day_hosted_usd=9.99)
    seen = metering(meter(refused=(1, 20_000)))
    ledger = planned(wanted, seen, spent)
    quiet = planned(wanted, seen, ledger, NOW + RENEWED_AFTER)
    assert permit_of(quiet) != permit_of(ledger)
    assert reached(wanted, quiet, NOW + RENEWED_AFTER)
    tomorrow = planned(wanted, seen, replace(quiet, day_hosted_usd=0.0), NOW + timedelta(days=1))
    assert not reached(wanted, tomorrow, NOW + timedelta(days=1))


def test_a_reached_limit_that_is_asked_for_all_the_time_is_not_written_down_every_time() -> None:
    wanted, spent = limited(**TEN_A_DAY), replace(TODAY, day_hosted_usd=9.99)
    first = planned(wanted, metering(meter(refused=(3, 60_000))), spent)
    assert reached(wanted, first)
    again = planned(wanted, metering(meter(refused=(9, 180_000))), first, later(30))
    assert again.permit is first.permit


def test_nor_is_a_reached_share() -> None:
    wanted, busy = limited(maxSharePercent=20), replace(TODAY, day_requests=100.0, day_hosted_requests=20.0)
    first = planned(wanted, metering(meter(requests=20, refused=(3, 0))), busy)
    again = planned(wanted, metering(meter(requests=20, refused=(9, 0))), first, later(30))
    assert again.permit is first.permit


def test_a_reached_share_shows_by_what_is_turned_away_though_another_lane_has_a_request_left() -> None:
    wanted, busy = limited(maxSharePercent=20), replace(TODAY, day_requests=100.0, day_hosted_requests=19.0)
    first = planned(wanted, metering(gateways=2), busy)
    lane = next(each.lane for each in permit_of(first).allowances if each.requests_to == each.requests_from)
    shown = SpillMeter(
        pod=lane.pod, worker=lane.worker, backend=lane.backend, micro_usd=0, requests=0, refused_requests=2, refused_micro_usd=9
    )
    second = planned(wanted, metering(shown, gateways=2), first, later(15))
    assert (reached(wanted, first), reached(wanted, second)) == (False, True)


def _each(count: int, choices: Sequence[T]) -> st.SearchStrategy[tuple[T, ...]]:
    """Return any so many of these choices: as one number: to draw each of them took longer than all that is tried with them."""
    return st.integers(0, len(choices) ** count - 1).map(
        lambda number: tuple(choices[number // len(choices) ** place % len(choices)] for place in range(count))
    )


_STEPS = st.lists(
    st.tuples(
        st.integers(min_value=1, max_value=400),  # seconds that pass
        st.integers(min_value=1, max_value=3),  # gateways
        _each(3 * WORKERS, (0, 0, 50, 100)),  # percent of a lane's part it uses
        _each(3, (False, True)),  # which gateways read this permit
        st.booleans(),  # Prometheus answers
        _each(3 * WORKERS, range(4)),  # requests that a lane turns away
    ),
    min_size=1,
    max_size=16,
)


def test_what_a_gateway_has_that_reads_no_later_permit_is_not_dealt_out_again() -> None:
    """One gateway spends all it is given, permit after permit; the other has not read any since the first, and then spends that."""
    wanted, ledger = limited(**TEN_A_DAY), planned(limited(**TEN_A_DAY), metering(gateways=2))
    unread = sum(each.micro_usd_to or 0 for each in permit_of(ledger).allowances if each.lane.pod == "chat-gateway-1")
    spent = 0
    for step in range(1, 20):
        mine = [each for each in permit_of(ledger).allowances if each.lane.pod == "chat-gateway-0"]
        spent = sum(each.micro_usd_to or 0 for each in mine)
        shown = [meter(worker=each.lane.worker, micro_usd=each.micro_usd_to or 0, requests=step) for each in mine]
        ledger = planned(wanted, metering(*shown, gateways=2), replace(ledger, day_hosted_usd=spent / MICRO), later(20 * step))
    assert 7 * MICRO < spent + unread <= 10 * MICRO


def test_nor_are_requests_of_a_share() -> None:
    busy = replace(TODAY, day_requests=1000.0)  # of which 200 may be hosted
    wanted, ledger = limited(maxSharePercent=20), planned(limited(maxSharePercent=20), metering(gateways=2), busy)
    unread = sum(each.requests_to or 0 for each in permit_of(ledger).allowances if each.lane.pod == "chat-gateway-1")
    sent = 0
    for step in range(1, 20):
        mine = [each for each in permit_of(ledger).allowances if each.lane.pod == "chat-gateway-0"]
        sent = sum(each.requests_to or 0 for each in mine)
        shown = [meter(worker=each.lane.worker, micro_usd=5000 * step, requests=each.requests_to or 0) for each in mine]
        ledger = planned(wanted, metering(*shown, gateways=2), replace(ledger, day_hosted_requests=float(sent)), later(20 * step))
    assert 140 < sent + unread <= 200


def _valid(permit: Permit, given: Any, pod: str, now: datetime) -> bool:
    return given.lane.pod == pod and permit.expires_at is not None and now < permit.expires_at


@settings(max_examples=300)
@given(steps=_STEPS, limit=st.integers(min_value=1, max_value=50))
def test_whatever_gateways_read_use_and_refuse_the_day_never_costs_more_than_its_limit(steps: list[Any], limit: int) -> None:
    """Gateways use what the last permit that they read gives, while it lasts; the operator sees the meters as they were a step before."""
    wanted, now, ledger = limited(maxUSDPerDay=str(limit)), NOW.replace(hour=1), TODAY
    used: dict[Lane, int] = {}
    refused: Counter[Lane] = Counter()
    in_force: dict[str, Permit] = {}
    for passed, gateways, percents, reads, answers, refusals in steps:
        shown = [
            SpillMeter(
                pod=lane.pod,
                worker=lane.worker,
                backend=lane.backend,
                micro_usd=n,
                requests=n // 1000,
                refused_requests=refused[lane],
                refused_micro_usd=refused[lane] * MICRO,
            )
            for lane, n in used.items()
        ]
        seen = metering(*shown, gateways=gateways)
        if not answers:
            seen = replace(seen, signals=replace(seen.signals, spill_meters=MISSING))
        else:
            ledger = replace(ledger, day_hosted_usd=sum(used.values()) / MICRO)
        ledger = planned(wanted, seen, ledger, now)
        if ledger.permit is not None:
            pods = {f"chat-gateway-{place}" for place, read in enumerate(reads) if read}
            in_force |= {each.lane.pod: ledger.permit for each in ledger.permit.allowances if each.lane.pod in pods}
        lanes = [each for pod, permit in sorted(in_force.items()) for each in permit.allowances if _valid(permit, each, pod, now)]
        for each, percent, turned_away in zip(lanes, percents, refusals, strict=False):
            refused[each.lane] += turned_away
            meter_now = used.get(each.lane, 0)
            used[each.lane] = meter_now + max(0, (each.micro_usd_to or 0) - meter_now) * percent // 100
        assert sum(used.values()) <= limit * MICRO
        now += timedelta(seconds=passed)
