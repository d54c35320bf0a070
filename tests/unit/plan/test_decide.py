"""The whole pass: problems, the log of decisions, what is remembered."""

from dataclasses import replace
from typing import Any

import pytest

from spillway.api.status import Basis
from spillway.api.vocabulary import Reason
from spillway.plan.decision import Ledger, Memory
from spillway.plan.observation import Observation, Pool
from spillway.report.outcome import ApplyOutcome
from spillway.report.status import report
from tests.unit.plan.situations import (
    LLAMA_8B,
    NOW,
    POOL,
    SETTINGS,
    accelerator,
    catalogue,
    later,
    observe,
    one_pass,
    pool,
    provider,
    replica,
    signals,
    workload,
)

BUSY = signals(running=16.0)


def said(decision: Any) -> list[str]:
    return [event.what for event in decision.events]


def test_the_first_pass_tells_placement_and_count() -> None:
    decision, memory = one_pass(seen=observe(0, pools=()))
    assert said(decision) == ["replicas 0 -> 1", "placement Hybrid on 1 x h100 per replica"]
    assert decision.events == memory.decisions
    assert decision.events[0].usd_per_hour == "4"
    assert decision.events[1].why == "requested by placement.mode; batch of 8 per replica (estimated); hosted: acme/llama-8b"


def test_a_decision_costs_what_is_billed_for_it() -> None:
    decision, _ = one_pass(
        workload(dedicated={"committedReplicas": 1, "scaling": {"minReplicas": 3, "maxReplicas": 4}}), seen=observe(0, pools=())
    )
    first = decision.events[0]
    assert (first.what, first.usd_per_hour) == ("replicas 0 -> 3", "8"), "one is paid for already"


@pytest.mark.parametrize(("mode", "words"), [("Hosted", "placement Hosted"), ("Dedicated", "placement Dedicated on 1 x h100 per replica")])
def test_placement_is_told_in_words(mode: str, words: str) -> None:
    assert words in said(one_pass(workload(mode))[0])


def test_a_pass_that_changes_nothing_decides_nothing() -> None:
    _, memory = one_pass()
    decision, after = one_pass(memory=memory, at=later(15))
    assert decision.events == ()
    assert after.decisions == memory.decisions
    assert decision.revisit_after == SETTINGS.tick


def test_changes_are_logged_newest_first_and_ten_are_kept() -> None:
    wanted, memory, now, count = workload(), Memory(), NOW, 1
    for step in range(12):
        now = later(600 * step)
        busy = step % 2 == 0
        seen = observe(count, signals=BUSY if busy else signals(), watched_since=later(-9999))
        for tick in range(22):
            decision, memory = one_pass(wanted, seen, memory, now + tick * SETTINGS.tick)
            assert decision.scale is not None
            seen = replace(seen, pools=(pool(decision.scale.replicas),))
        count = seen.pools[0].replicas
    assert len(memory.decisions) == 10
    assert [entry.what for entry in memory.decisions[:2]] == ["replicas 2 -> 1", "replicas 1 -> 2"]
    assert memory.decisions[0].time > memory.decisions[1].time


def test_a_change_on_its_way_is_not_told_twice() -> None:
    first, memory = one_pass(seen=observe(1, signals=BUSY))
    again, _ = one_pass(seen=observe(1, signals=BUSY), memory=memory, at=later(15))
    assert "replicas 1 -> 2" in said(first)
    assert said(again) == []


def test_another_accelerator_is_a_decision() -> None:
    _, memory = one_pass()
    classes = {"h100": accelerator(), "h200": accelerator(memoryGiB=141)}
    moved = workload(dedicated={"accelerators": ["h200"]})
    decision, _ = one_pass(moved, observe(1, catalogue=catalogue(classes)), memory, later(15))
    assert "placement Hybrid on 1 x h200 per replica" in said(decision)


@pytest.mark.parametrize("apply", ["Automatic", "Recommend"])
def test_the_replicas_of_another_class_are_told_though_they_are_as_many_as_the_first(apply: str) -> None:
    both = catalogue({"h100": accelerator(), "l40s": accelerator(product="NVIDIA L40S")})
    on = [workload(placement={"mode": "Hybrid", "apply": apply}, dedicated={"accelerators": [name]}) for name in ("h100", "l40s")]
    none = observe(0, pools=(), catalogue=both)
    first, memory = one_pass(on[0], none)
    assert "replicas 0 -> 1" in said(first)
    waiting, memory = one_pass(on[0], none, memory, later(60))
    assert said(waiting) == [], "it is still on its way"
    other = observe(1, catalogue=both)
    found, memory = one_pass(on[1], other, memory, later(600))
    assert {"placement Hybrid on 1 x l40s per replica", "replicas 0 -> 1"} <= set(said(found))
    again, _ = one_pass(on[1], other, memory, later(660))
    assert said(again) == [], "this one is"


def test_a_budget_is_told_when_the_verdict_changes() -> None:
    wanted = workload(budget={"monthlyUSD": "100"})
    first, memory = one_pass(wanted)
    assert "budget projected to be exceeded" in said(first)
    again, memory = one_pass(wanted, memory=memory, at=later(15))
    assert said(again) == []
    raised, memory = one_pass(workload(budget={"monthlyUSD": "100000"}), memory=memory, at=later(30))
    assert said(raised) == ["budget met again"]
    lowered, _ = one_pass(workload(budget={"monthlyUSD": "1"}), memory=memory, at=later(45))
    assert said(lowered) == ["budget exceeded"]


@pytest.mark.parametrize(
    ("monthly_usd", "then_usd", "told"),
    [
        pytest.param("1", "1", [], id="exceeded before and after"),
        pytest.param("1", "100000", ["budget met again"], id="raised meanwhile"),
    ],
)
def test_a_moment_without_prices_is_no_other_verdict(monthly_usd: str, then_usd: str, told: list[str]) -> None:
    before = Memory(ledger=Ledger(month="2026-11", dedicated_usd=50.0))
    first, memory = one_pass(workload(budget={"monthlyUSD": monthly_usd}), memory=before)
    assert "budget exceeded" in said(first)
    owed = replace(memory, ledger=replace(memory.ledger or Ledger(month=""), unpriced_accelerator_s={"gone": 60.0}))
    blind, memory = one_pass(workload(budget={"monthlyUSD": monthly_usd}), memory=owed, at=later(15))
    assert (blind.budget, said(blind)) == (Reason.NO_PRICES, [])
    known = replace(memory, ledger=replace(memory.ledger or Ledger(month=""), unpriced_accelerator_s={}))
    after, _ = one_pass(workload(budget={"monthlyUSD": then_usd}), memory=known, at=later(30))
    assert said(after) == told


@pytest.mark.parametrize(
    "seen", [pytest.param(observe(1), id="as decided"), pytest.param(observe(1, pools=()), id="its Deployment is not there yet")]
)
def test_a_new_operator_repeats_nothing_that_the_status_tells(seen: Observation) -> None:
    wanted = workload(budget={"monthlyUSD": "100"})
    decision, memory = one_pass(wanted, seen)
    status = report(wanted, seen, decision, ApplyOutcome(), memory, NOW).model_dump(mode="json", by_alias=True, exclude_none=True)
    restarted, after = one_pass(replace(wanted, previous_status=status), seen, Memory(ledger=memory.ledger), later(15))
    assert said(restarted) == []
    assert after.decisions == memory.decisions
    assert after.budget is Reason.PROJECTED_OVER_BUDGET


@pytest.mark.parametrize(
    "status",
    [
        pytest.param({"conditions": "nonsense"}, id="not a status"),
        pytest.param({"url": "http://x"}, id="a status without placement"),
        pytest.param(
            {"placement": {"mode": "Hosted", "reason": "x", "evaluatedAt": "2026-11-21T00:00:00Z"}}, id="a status of another placement"
        ),
    ],
)
def test_a_status_that_tells_nothing_is_no_obstacle(status: dict[str, object]) -> None:
    assert said(one_pass(workload(previous_status=status))[0]) == ["placement Hybrid on 1 x h100 per replica"]


def test_with_problems_nothing_is_decided_but_money_is_counted() -> None:
    _, memory = one_pass()
    decision, after = one_pass(workload(dedicated={"accelerators": ["b200"]}), memory=memory, at=later(3600))
    assert (decision.pool, decision.scale, decision.backends, decision.events) == (None, None, (), ())
    assert after.ledger is not None
    assert after.ledger.dedicated_usd == pytest.approx(8.0)
    assert after.placing is not None
    assert memory.placing is not None
    assert after.placing.placed == memory.placing.placed


def test_numbers_are_due_once_a_minute() -> None:
    memory, written = Memory(), []
    for step in range(9):
        _, memory = one_pass(memory=memory, at=later(15 * step))
        written.append(memory.numbers_written_at == later(15 * step))
    assert written == [True, False, False, False, True, False, False, False, True]


def test_numbers_are_due_at_once_when_a_replica_has_come_or_gone() -> None:
    memory, written = Memory(), []
    for step, replicas in enumerate((1, 1, 2, 2, 1)):
        _, memory = one_pass(seen=observe(replicas), memory=memory, at=later(5 * step))
        written.append(memory.numbers_written_at == later(5 * step))
    assert written == [True, False, True, False, True]


def test_measurements_reach_the_capacity() -> None:
    decision, _ = one_pass(seen=observe(1, signals=signals(step_time_ms=20.0, batch_mean=8.0)))
    assert decision.pool is not None
    assert decision.pool.capacity.requests_per_s == pytest.approx(1.6)


@pytest.mark.parametrize(
    "url", ["https://api.example.com:80800/v1", "https://api.example.com:65536", "https://api.example.com:0/v1", "https://[1:2]/v1"]
)
def test_a_base_url_that_cannot_be_dialled_is_a_problem_and_not_an_error(url: str) -> None:
    decision, _ = one_pass(seen=observe(catalogue=catalogue(providers={"acme": provider(baseURL=url)})))
    (problem,) = decision.problems
    assert problem.reason is Reason.INVALID_SPEC
    assert url in problem.message


def test_the_cap_follows_ready_replicas_whatever_is_wrong_with_the_spec() -> None:
    before, memory = one_pass(seen=observe(2))
    assert before.pool is not None
    nowhere = catalogue(providers={})
    for ready in (2, 1, 0):
        decision, memory = one_pass(seen=observe(ready, catalogue=nowhere), memory=memory)
        assert decision.problems
        assert decision.gateway.cap_known
        assert decision.gateway.cap_total == ready * before.pool.capacity.slots


@pytest.mark.parametrize(
    ("others", "basis"),
    [
        pytest.param((), Basis.MEASURED, id="its own"),
        pytest.param((replica(1, pool="before"),), Basis.ESTIMATED, id="those of the pool before, which serve yet"),
        pytest.param((replica(1, pool="before", terminating=True),), Basis.ESTIMATED, id="likewise as they end their requests"),
        pytest.param((replica(2, pool="before", ready=False),), Basis.ESTIMATED, id="and those that are scraped yet"),
        pytest.param((replica(1, pool="before", ready=False, terminating=True),), Basis.MEASURED, id="not one on a node that is gone"),
        pytest.param((replica(1, pool="before", ended_at=later(-30)),), Basis.ESTIMATED, id="and while the window has them"),
        pytest.param((replica(1, pool="before", ended_at=later(-90)),), Basis.MEASURED, id="not any more"),
        pytest.param((replica(1, pool="before", ready=False, bound_at=None),), Basis.MEASURED, id="one that never ran"),
    ],
)
def test_a_pool_is_measured_by_its_own_replicas_alone(others: tuple[Any, ...], basis: Basis) -> None:
    read = signals(step_time_ms=20.0, batch_mean=8.0)
    seen = observe(1, replicas=(replica(), *others), signals=replace(read, in_flight_by_pod={replica(2).name: 3.0}))
    decision, _ = one_pass(workload(model={"architecture": LLAMA_8B}), seen)
    assert decision.pool is not None
    assert decision.pool.capacity.basis is basis


def test_a_new_operator_reckons_with_the_batch_that_replicas_were_told() -> None:
    told = replace(observe(2), pools=(Pool(name=POOL, replicas=2, ready_replicas=2, max_num_seqs=8),))
    decision, _ = one_pass(workload("Hosted"), told)
    assert (decision.pool, decision.gateway.cap_total) == (None, 16)


def test_a_cap_of_which_nothing_is_known_is_only_ever_lowered_to_none() -> None:
    broken = catalogue(providers={})
    assert not one_pass(seen=observe(1, catalogue=broken))[0].gateway.cap_known
    without = one_pass(seen=observe(0, catalogue=broken))[0].gateway
    assert (without.cap_known, without.cap_total) == (True, 0)
