"""What a replica is weighed against: a hosted side that limits have closed is none."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from spillway.plan.decision import Decision, Ledger, Memory
from spillway.plan.gateway.permit import LIFE, NEARLY_SPENT, plan_permit
from spillway.plan.observation import Observation, Sample
from spillway.plan.scaling.stakes import stakes_of
from spillway.plan.scaling.worth import Stakes
from spillway.plan.validate import resolve_backends
from tests.unit.plan.situations import LLAMA_8B, MISSING, NOW, counters, observe, one_pass, signals, workload

ONE: dict[str, Any] = {"backends": [{"providerRef": {"name": "acme"}, "model": "llama-8b"}]}
SHAPED: dict[str, Any] = {"model": {"architecture": LLAMA_8B}}
TEN_A_DAY: dict[str, Any] = {"hosted": {**ONE, "overflow": {"maxUSDPerDay": "10"}}}
A_TENTH: dict[str, Any] = {"hosted": {**ONE, "overflow": {"maxSharePercent": 10}}}
A_BUDGET: dict[str, Any] = {"budget": {"monthlyUSD": "10", "whenExceeded": "StopSpilling"}}
TODAY = Ledger(month="2026-11", day="2026-11-21")


def shown(**changes: Any) -> Observation:
    """Return an observation with the gateways' meters, of nothing yet."""
    return observe(1, signals=replace(signals(), spill_meters=Sample(value=(), at=NOW)), **changes)


def staked(
    ledger: Ledger | None = TODAY, *, seen: Observation | None = None, after: timedelta = timedelta(0), **limits: Any
) -> Stakes | None:
    """Return the stakes of a workload with these limits, and with the permit that its ledger gives; `after`: that much later."""
    wanted, seen = workload(**SHAPED, **limits), seen or shown()
    decision, memory = one_pass(wanted, seen)
    assert decision.pool is not None
    backends = resolve_backends(wanted.spec, seen.catalogue)[0]
    if ledger is not None:
        ledger = plan_permit(wanted.spec, backends, seen=seen, ledger=ledger, now=NOW)
    return stakes_of(wanted, seen, replace(memory, ledger=ledger), decision.pool, backends, NOW + after)


def test_without_limits_the_hosted_side_counts_whatever_was_spent() -> None:
    assert staked(replace(TODAY, day_hosted_usd=1e6, hosted_usd=1e6)) is not None
    assert staked(None) is not None


@pytest.mark.parametrize("limits", [TEN_A_DAY, A_TENTH, A_BUDGET], ids=["a day's USD", "a share", "the budget"])
def test_within_its_limits_the_hosted_side_counts(limits: Any) -> None:
    assert staked(**limits) is not None


@pytest.mark.parametrize(
    ("limits", "spent"),
    [
        pytest.param(TEN_A_DAY, {"day_hosted_usd": 10.0}, id="a day's USD"),
        pytest.param(A_TENTH, {"day_requests": 1000.0, "day_hosted_requests": 100.0}, id="a share"),
        pytest.param(A_BUDGET, {"dedicated_usd": 10.0}, id="the budget"),
    ],
)
def test_a_reached_limit_leaves_no_hosted_side(limits: Any, spent: Any) -> None:
    assert staked(replace(TODAY, **spent), **limits) is None


def test_the_last_of_a_day_is_not_counted_on_though_its_parts_are_dealt_out() -> None:
    assert staked(replace(TODAY, day_hosted_usd=NEARLY_SPENT * 10), **TEN_A_DAY) is None
    assert staked(replace(TODAY, day_hosted_usd=NEARLY_SPENT * 10 - 0.01), **TEN_A_DAY) is not None


def test_without_a_permit_there_is_no_hosted_side() -> None:
    blind = observe(1, signals=replace(signals(), spill_meters=MISSING))
    assert staked(seen=blind, **TEN_A_DAY) is None
    assert staked(None, **TEN_A_DAY) is None
    assert staked(after=LIFE, **TEN_A_DAY) is None


@pytest.mark.parametrize(("when_exceeded", "counts"), [("Wait", False), ("Refuse", True)])
def test_what_waits_at_the_gateway_was_taken_by_no_hosted_side(when_exceeded: str, *, counts: bool) -> None:
    """Within the day's limit too: a provider that is down, or its own limit, holds requests just so."""
    limits: dict[str, Any] = {"hosted": {**ONE, "overflow": {"maxUSDPerDay": "10", "whenExceeded": when_exceeded}}}
    held = observe(1, signals=replace(signals(held_at_gateway=3.0), spill_meters=Sample(value=(), at=NOW)))
    assert (staked(seen=held, **limits, gateway={"hold": {"seconds": 60}}) is not None) is counts


def weighed(decision: Decision) -> bool:
    assert decision.scale is not None
    return decision.scale.figures is not None


def test_a_limit_is_heeded_in_the_pass_that_sees_it_reached() -> None:
    wanted, memory = workload(**SHAPED, **TEN_A_DAY), Memory()
    calm, spent = shown(), (counters(requests=100.0, input_tokens=1e9),)
    before, memory = one_pass(wanted, calm, memory)
    reached = observe(1, signals=replace(signals(counters=spent), spill_meters=Sample(value=(), at=NOW)))
    after, _ = one_pass(wanted, reached, memory)
    assert (weighed(before), weighed(after)) == (True, False)
