"""Laws of whole histories: passes in any order of calm and trouble, each of which decides on what the one before remembered."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from spillway.plan import learned as knowledge
from spillway.plan.decide import decide
from spillway.plan.decision import Decision, Memory, Workload
from spillway.plan.learned import Learned
from spillway.plan.money import ledger_record
from spillway.plan.observation import Observation, Sample
from spillway.plan.scaling.scale import lower_bound, upper_bound
from tests.unit.plan.situations import (
    LLAMA_8B,
    MISSING,
    NOW,
    SETTINGS,
    accelerator,
    catalogue,
    counters,
    observe,
    pool,
    provider,
    replica,
    signals,
    workload,
)

WINDOW = timedelta(seconds=120)
PRICED = {"per": "Accelerator", "asOf": "2026-07-20", "source": "a price list"}


@dataclass(frozen=True, kw_only=True)
class Step:
    """What has happened since the pass before."""

    seconds: float
    per_s: float | None  # what arrives; None: Prometheus does not answer
    spilled_share: float
    hosted_answers: bool
    usd_per_million_tokens: str
    usd_per_hour: str | None
    replicas_ready: bool
    bounds: tuple[int, int]
    counters_anew: bool  # the gateway's container has restarted
    operator_anew: bool


BOUNDS = st.tuples(st.integers(0, 3), st.integers(1, 8)).map(lambda each: (min(each), max(each)))
CALM = st.builds(
    Step,
    seconds=st.just(15.0),
    per_s=st.sampled_from([0.0, 0.2, 3.0, 12.0]),
    spilled_share=st.sampled_from([0.0, 0.5]),
    hosted_answers=st.just(value=True),
    usd_per_million_tokens=st.just("4"),
    usd_per_hour=st.just("4"),
    replicas_ready=st.just(value=True),
    bounds=st.just((0, 8)),
    counters_anew=st.just(value=False),
    operator_anew=st.just(value=False),
)
TROUBLE = st.builds(
    Step,
    seconds=st.sampled_from([0.0, 15.0, 15.0, 300.0, 86_400.0 * 20, -30.0, -7200.0]),
    per_s=st.sampled_from([None, None, 0.0, 1e-3, 500.0]),
    spilled_share=st.sampled_from([0.0, 1.0]),
    hosted_answers=st.booleans(),
    usd_per_million_tokens=st.sampled_from(["0", "0.01", "100"]),
    usd_per_hour=st.sampled_from([None, "0", "40"]),
    replicas_ready=st.booleans(),
    bounds=BOUNDS,
    counters_anew=st.booleans(),
    operator_anew=st.booleans(),
)
STRETCHES = st.one_of(
    st.tuples(CALM, st.integers(1, 14)).map(lambda each: [each[0]] * each[1]),
    st.tuples(TROUBLE, st.integers(1, 3)).map(lambda each: [each[0]] * each[1]),
)
HISTORIES = st.lists(STRETCHES, min_size=1, max_size=8).map(lambda stretches: [step for stretch in stretches for step in stretch])
MODES = st.sampled_from(["Hybrid", "Hybrid", "Dedicated"])


@dataclass(frozen=True, kw_only=True)
class Passed:
    """One pass: what it was given and what came of it."""

    step: Step
    at: datetime
    wanted: Workload
    before: Memory
    decision: Decision
    after: Memory


def passes(mode: str, history: Sequence[Step]) -> list[Passed]:
    """Return all passes over a workload whose replicas are as many as was decided last."""
    memory, now, watched_since, there, tokens, restarts, done = Memory(), NOW, NOW - timedelta(days=1), 1, 0.0, 0, []
    for step in history:
        now += timedelta(seconds=step.seconds)
        if step.operator_anew:
            memory, watched_since = restarted(memory), now
        tokens, restarts = (0.0, restarts + 1) if step.counters_anew else (tokens, restarts)
        tokens += 1000.0
        wanted = workload(
            mode,
            model={"architecture": LLAMA_8B},
            traffic={"inputTokens": {"mean": 500}, "outputTokens": {"mean": 200}},
            scaling={
                "minReplicas": step.bounds[0],
                "maxReplicas": step.bounds[1],
                "scaleDownStabilizationSeconds": round(WINDOW.total_seconds()),
            },
        )
        seen = shown(step, there, tokens, restarts, now=now, watched_since=min(now, watched_since))
        decision, after = decide(wanted, seen, memory, now, SETTINGS)
        assert decide(wanted, seen, memory, now, SETTINGS)[0] == decision
        done.append(Passed(step=step, at=now, wanted=wanted, before=memory, decision=decision, after=after))
        memory = after
        there = decision.scale.replicas if decision.scale is not None else there
    return done


def restarted(memory: Memory) -> Memory:
    """Return what a new operator knows by what the one before wrote down."""
    learned = Learned.of(memory)
    ledger = None if memory.ledger is None else ledger_record.from_json(ledger_record.to_json(memory.ledger))
    fresh = Memory(ledger=ledger)
    return fresh if learned is None else knowledge.from_json(knowledge.to_json(learned)).into(fresh)


def shown(step: Step, there: int, tokens: float, restarts: int, *, now: datetime, watched_since: datetime) -> Observation:
    prices = {"inputUSDPerMillionTokens": step.usd_per_million_tokens, "outputUSDPerMillionTokens": step.usd_per_million_tokens}
    price = None if step.usd_per_hour is None else PRICED | {"onDemandUSDPerHour": step.usd_per_hour}
    return observe(
        there,
        catalogue=catalogue({"h100": accelerator(price=price)}, {"acme": provider(models=[{"name": "llama-8b"} | prices])}),
        replicas=tuple(replica(index, ready=step.replicas_ready) for index in range(there)),
        gateways=(replace(observe().gateways[0], restarts=restarts, created_at=NOW),),
        pools=(pool(there),),
        signals=readings(step, there, tokens, now),
        watched_since=watched_since,
    )


def readings(step: Step, there: int, tokens: float, now: datetime) -> Any:
    lost = step.per_s is None
    per_s = step.per_s or 0.0
    held = min(16.0 * there, 4 * per_s)
    plain = signals(
        arrivals_per_s=MISSING if lost else per_s,
        spilled_per_s=MISSING if lost else per_s * step.spilled_share,
        in_flight_owned=MISSING if lost else held,
        running=MISSING if lost else held,
        waiting=MISSING if lost else 0.0,
        input_tokens_mean=500.0 if per_s else MISSING,
        output_tokens_mean=200.0 if per_s else MISSING,
        residence_s=4.0 if per_s else MISSING,
        hosted_healthy={"acme/llama-8b": step.hosted_answers},
    )
    return replace(plain, counters=MISSING if lost else Sample(value=(counters(input_tokens=tokens),), at=now))


@settings(max_examples=15)
@given(mode=MODES, history=HISTORIES)
def test_the_count_follows_its_rules_whatever_happened_before(mode: str, history: list[Step]) -> None:
    done = passes(mode, history)
    downs = 0
    for place, each in enumerate(done):
        scaled, spec = each.decision.scale, each.wanted.spec
        assert scaled is not None
        assert lower_bound(spec) <= scaled.replicas <= upper_bound(spec)
        if scaled.previous is None or scaled.replicas >= scaled.previous or scaled.previous > upper_bound(spec):
            continue
        downs += 1
        assert each.step.per_s is not None, "what is missing takes no replica away"
        within = [one for one in done[: place + 1] if each.at - WINDOW <= one.at <= each.at]
        unbroken = within[1 + max((index for index, one in enumerate(within) if one.step.operator_anew), default=-1) :]
        assert max(one.after.demand[-1].wanted for one in unbroken) <= max(scaled.replicas, lower_bound(spec))
        assert each.after.demand[0].at <= each.at - WINDOW, "a whole window was watched"
    event(f"{min(downs, 2)} times down")


@settings(max_examples=15)
@given(mode=MODES, history=HISTORIES)
def test_what_is_told_is_of_what_was_decided(mode: str, history: list[Step]) -> None:
    for each in passes(mode, history):
        scaled = each.decision.scale
        assert scaled is not None
        figures = scaled.figures
        if figures is None:
            continue
        assert 0 <= figures.forecast_p10 <= figures.forecast_p50 <= figures.forecast_p90
        if figures.kappa is None:
            assert (figures.marginal_saving_usd_per_hour, figures.rejected) == (None, None), "money did not decide"
        else:
            assert figures.kappa >= 0, "0 where hosting costs nothing"
        assert (figures.rejected is None) == (figures.rejected_saving_usd_per_hour is None)
        if figures.rejected is not None:
            assert figures.rejected.startswith((f"replica {scaled.replicas}: ", f"replica {scaled.replicas + 1}: "))


@settings(max_examples=15)
@given(history=HISTORIES)
def test_money_never_falls_within_a_month_and_all_that_is_remembered_can_be_written_down(history: list[Step]) -> None:
    for each in passes("Hybrid", history):
        before, after = each.before.ledger, each.after.ledger
        assert after is not None
        assert ledger_record.from_json(ledger_record.to_json(after)) == after
        if before is not None and before.month == after.month:
            assert after.hosted_usd >= before.hosted_usd
            assert after.dedicated_usd >= before.dedicated_usd
            assert after.input_tokens >= before.input_tokens
        learned = Learned.of(each.after)
        if learned is not None:
            again = knowledge.from_json(knowledge.to_json(learned))
            assert (again.demand is None, again.lazy is None) == (learned.demand is None, learned.lazy is None)
            assert replace(again, demand=None, lazy=None) == replace(learned, demand=None, lazy=None)
