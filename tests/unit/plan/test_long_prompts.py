"""Which prompts no own replica reads in time, and what is left of the traffic without them."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.plan.decision import Memory, Workload
from spillway.plan.observation import LongPromptTraffic, Sample, Signals
from spillway.plan.readings import value
from spillway.plan.replica.capacity import expected_service
from spillway.plan.replica.long_prompts import READ_SHARE, longest_own_prompt_tokens, read_within_tokens, without_long_prompts
from spillway.plan.traffic.lengths import declared_lengths
from tests.unit.plan.situations import LLAMA_8B, MISSING, NOW, accelerator, later, observe, one_pass, signals, spec, workload

BACKENDS = [{"providerRef": {"name": "acme"}, "model": "llama-8b"}]
KNOWN: dict[str, Any] = {"model": {"id": "meta/llama-8b", "architecture": LLAMA_8B}}


def spilling(**overflow: Any) -> dict[str, Any]:
    return {"hosted": {"backends": BACKENDS, "overflow": {"longPrompts": "Spill", **overflow}}}


def limit(mode: str = "Hybrid", *, ttft_ms: int | None = 2000, **changes: Any) -> int | None:
    slo = {"slo": {"timeToFirstTokenMs": ttft_ms}} if ttft_ms else {}
    return longest_own_prompt_tokens(spec(mode, **{**KNOWN, **slo, **spilling(), **changes}), accelerator())


def test_a_prompt_of_that_length_is_read_twice_within_the_target_and_a_longer_one_is_not() -> None:
    tokens = limit()
    service = expected_service(spec(**KNOWN), accelerator(), declared_lengths(spec()))
    assert tokens is not None
    assert service is not None
    assert service.first_token_ms(1, tokens) <= READ_SHARE * 2000 < service.first_token_ms(1, tokens + 1)
    assert 2 * service.first_token_ms(1, tokens) <= 2000


@given(st.integers(min_value=200, max_value=20_000))
def test_more_time_is_never_for_shorter_prompts(limit_ms: int) -> None:
    service = expected_service(spec(**KNOWN), accelerator(), declared_lengths(spec()))
    assert service is not None
    assert read_within_tokens(service, limit_ms) <= read_within_tokens(service, limit_ms + 100)


def test_a_class_that_computes_half_as_fast_reads_shorter_prompts() -> None:
    whole = spec(**KNOWN, slo={"timeToFirstTokenMs": 2000}, **spilling())
    slow = longest_own_prompt_tokens(whole, accelerator(teraFLOPs={"bf16": 494}))
    fast = longest_own_prompt_tokens(whole, accelerator())
    assert slow is not None
    assert fast is not None
    assert slow < fast


def test_what_replicas_are_sized_for_they_serve_however_short_the_target() -> None:
    usual: dict[str, Any] = {"traffic": {"inputTokens": {"mean": 1000, "p95": 3000}}}
    assert (limit(ttft_ms=50, **usual) or 0) > 3000


def test_a_limit_in_the_spec_counts_as_it_stands() -> None:
    assert limit(**spilling(longPromptTokens=5000)) == 5000
    assert limit(ttft_ms=None, **spilling(longPromptTokens=5000)) == 5000
    assert limit(model={"id": "acme/unheard-of"}, **spilling(longPromptTokens=5000)) == 5000


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"hosted": {"backends": BACKENDS}}, id="nobody asked for it"),
        pytest.param({"hosted": {"backends": BACKENDS, "overflow": {"longPrompts": "Keep"}}}, id="kept"),
        pytest.param({"ttft_ms": None}, id="no time to the first token is promised"),
        pytest.param({"model": {"id": "acme/unheard-of"}}, id="a model of unknown shape"),
        pytest.param({"mode": "Dedicated"}, id="nothing is hosted"),
        pytest.param({"mode": "Hosted"}, id="nothing is owned"),
        pytest.param({"placement": {"mode": "Hybrid", "dataResidency": "ClusterOnly"}}, id="nothing may leave the cluster"),
    ],
)
def test_without_one_of_what_it_takes_no_prompt_is_long(changes: dict[str, Any]) -> None:
    assert limit(**changes) is None


def test_the_gateway_is_told_the_limit_whatever_was_measured() -> None:
    wanted = workload(**KNOWN, slo={"timeToFirstTokenMs": 2000}, **spilling())
    quiet, _ = one_pass(wanted, observe(1))
    busy, _ = one_pass(wanted, observe(1, signals=signals(step_time_ms=80.0, batch_mean=8.0, arrivals_per_s=3.0, input_tokens_mean=9000.0)))
    assert quiet.gateway.longest_own_prompt_tokens == busy.gateway.longest_own_prompt_tokens == limit()


# What is left for replicas

LONG_OF_200 = Sample(value=LongPromptTraffic(per_s=20.0, input_tokens_per_s=400_000.0, output_tokens_per_s=4000.0), at=NOW)


def read(*, long: Any = None, **readings: Any) -> Signals:
    """Return signals of ten requests a second, of which one had a long prompt that hosted answered."""
    plain = {"arrivals_per_s": 10.0, "spilled_per_s": 3.0, "input_tokens_mean": 2900.0, "output_tokens_mean": 110.0}
    taken = LongPromptTraffic(per_s=1.0, input_tokens_per_s=20_000.0, output_tokens_per_s=200.0)
    return replace(signals(**(plain | readings)), long_prompts=long or Sample(value=taken, at=NOW))


def test_long_prompts_that_hosted_answered_are_no_demand_for_replicas() -> None:
    left = without_long_prompts(read())
    assert (value(left.arrivals_per_s), value(left.spilled_per_s)) == (9.0, 2.0)
    assert (value(left.input_tokens_mean), value(left.output_tokens_mean)) == (1000.0, 100.0)


def test_what_is_all_hosted_counts_long_prompts_too() -> None:
    wanted, seen = workload(**KNOWN, slo={"timeToFirstTokenMs": 2000}, **spilling()), observe(1, signals=read())
    cost = one_pass(wanted, seen)[0].cost
    assert cost.if_all_hosted_monthly_usd == pytest.approx(10 * 30 * 86400 * (2900 * 0.1 + 110 * 0.4) / 1e6)


def all_owned(wanted: Workload, seen: Signals) -> float | None:
    """Return what a month all on own replicas is told to cost, once these readings have gone on for a while."""
    memory, found = Memory(), None
    for tick in range(60):  # of 15 seconds
        decision, memory = one_pass(wanted, observe(1, signals=seen), memory, later(15 * tick))
        found = decision.cost.if_all_dedicated_monthly_usd
    return found


def test_what_is_all_owned_reads_long_prompts_as_a_dedicated_workload_would() -> None:
    known: dict[str, Any] = {**KNOWN, "slo": {"timeToFirstTokenMs": 3000}}
    spilled = all_owned(workload(**known, **spilling()), read(arrivals_per_s=200.0, long=LONG_OF_200))
    assert spilled is not None
    assert spilled == all_owned(workload("Dedicated", **known), read(arrivals_per_s=200.0, long=MISSING))


def test_lengths_are_those_of_what_was_answered() -> None:
    left = without_long_prompts(read(arrivals_per_s=14.0, failed_per_s=4.0))
    assert (value(left.arrivals_per_s), value(left.input_tokens_mean)) == (13.0, 1000.0)


@pytest.mark.parametrize("lost", ["arrivals_per_s", "spilled_per_s", "input_tokens_mean", "output_tokens_mean"])
def test_what_is_missing_stays_missing(lost: str) -> None:
    assert getattr(without_long_prompts(read(**{lost: MISSING})), lost) == MISSING


def test_where_long_prompts_were_not_read_everything_counts() -> None:
    seen = read(long=MISSING)
    assert without_long_prompts(seen) == seen


@given(per_s=st.floats(0, 20), tokens_per_s=st.floats(0, 1e6))
def test_nothing_falls_below_zero(per_s: float, tokens_per_s: float) -> None:
    long = LongPromptTraffic(per_s=per_s, input_tokens_per_s=tokens_per_s, output_tokens_per_s=tokens_per_s)
    left = without_long_prompts(read(long=Sample(value=long, at=NOW)))
    for each in (left.arrivals_per_s, left.spilled_per_s, left.input_tokens_mean, left.output_tokens_mean):
        assert (value(each) or 0.0) >= 0


def demand(seen: Signals) -> float:
    wanted = workload(**KNOWN, slo={"timeToFirstTokenMs": 2000}, **spilling())
    decision, _ = one_pass(wanted, observe(1, signals=seen))
    assert decision.scale is not None
    assert decision.scale.demand_replicas is not None
    return decision.scale.demand_replicas


def test_replicas_are_not_asked_for_by_prompts_that_they_never_see() -> None:
    nine = {"arrivals_per_s": 9.0, "spilled_per_s": 2.0, "input_tokens_mean": 1000.0, "output_tokens_mean": 100.0}
    assert demand(read()) == pytest.approx(demand(signals(**nine)))
    assert demand(read()) < demand(read(long=MISSING))


def test_they_stay_in_what_is_told_of_traffic_and_cost() -> None:
    wanted = workload(**KNOWN, slo={"timeToFirstTokenMs": 2000}, **spilling())
    with_them, _ = one_pass(wanted, observe(1, signals=read()))
    without, _ = one_pass(wanted, observe(1, signals=read(long=MISSING)))
    assert with_them.cost.hosted_usd_per_hour is not None
    assert with_them.cost.hosted_usd_per_hour > 0
    assert without.cost.hosted_usd_per_hour is not None
