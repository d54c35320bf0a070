"""The fluid evaluator: what it conserves, and that the oracle is not beaten in it."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.simulate.baselines.catalogue import RULES, Rule, rule
from spillway.simulate.baselines.facts import Facts
from spillway.simulate.demand import Demand
from spillway.simulate.fluid import Plant, run, tune
from spillway.simulate.knapsack import savings_of
from spillway.simulate.oracle import Terms, solve
from spillway.simulate.policy import Seen
from spillway.simulate.trace import Trace

SLOT_S = 30.0
FACTS = Facts(
    slots=50,
    max_replicas=30,
    peak_replicas=10,
    ttft_slo_ms=2000.0,
    inter_token_slo_ms=50.0,
    kv_tokens=100_000.0,
    work_s_per_input_token=0.0002,
    work_s_per_output_token=0.003,
)
PLANT = Plant(facts=FACTS, empty_step_ms=10.0, full_step_ms=40.0, start_up_s=75.0, warm_replicas=2)


@dataclass
class Scripted:
    """Wants what it is told, at every slot from the second."""

    counts: list[int]
    tick_s: float = SLOT_S
    window_s: float = SLOT_S

    def __post_init__(self) -> None:
        self.sights: list[Seen] = []

    def replicas(self, seen: Seen) -> int:
        self.sights.append(seen)
        return self.counts[len(self.sights) - 1]


def demand(replicas: list[float]) -> Demand:
    """Return that many replicas' work per slot, half a replica-second a request."""
    work_s = np.array(replicas) * SLOT_S
    return Demand(slot_s=SLOT_S, work_s=work_s, requests=work_s / 0.5, input_tokens=work_s * 2000, output_tokens=work_s * 400)


def wave(slots: int = 480) -> Demand:
    return demand([4 + 3 * np.sin(slot / 40) for slot in range(slots)])


def test_a_launched_replica_works_a_start_up_later_and_is_billed_from_the_start() -> None:
    course = run(Scripted([3] * 5), demand([3.0] * 6), PLANT, spills=True)
    # Asked for at 30 s, ready at 105 s, in the middle of the fourth slot.
    assert course.spilled_s == pytest.approx(30 + 30 + 30 + 15)
    assert course.owned_s == pytest.approx(2 * 30 + 3 * 150)
    assert course.starts == 1


def test_those_on_their_way_go_first_and_cost_no_capacity() -> None:
    course = run(Scripted([4, 2, 2, 2]), demand([2.0] * 5), PLANT, spills=True)
    assert course.spilled_s == 0
    assert course.starts == 2


def test_without_spill_work_waits_and_what_waits_long_is_late() -> None:
    course = run(Scripted([2, 2, 2, 2]), demand([1.0, 4.0, 0.0, 1.0, 1.0]), PLANT, spills=False)
    # 60 s of work too much on two replicas: the wait grows from 0 to 30 s, so all but its first fifteenth is late.
    assert course.late_s == pytest.approx(120 * 28 / 30)
    assert course.spilled_s == 0


def test_work_without_a_replica_is_late_once() -> None:
    course = run(Scripted([0] * 4), demand([1.0] * 5), replace(PLANT, warm_replicas=0), spills=False)
    assert course.served_share == pytest.approx(0.0)


def test_a_policy_sees_arrivals_and_where_they_went() -> None:
    policy = Scripted([2, 2])
    run(policy, demand([4.0, 1.0, 1.0]), PLANT, spills=True)
    full, half = policy.sights
    assert (full.arrivals_per_s, full.spilled_per_s, full.finished_per_s) == pytest.approx((8.0, 4.0, 4.0))
    assert (full.running_mean, full.step_ms) == pytest.approx((100.0, 40.0))  # two full batches
    assert half.spilled_per_s == 0
    assert half.running_mean == pytest.approx(2 * 50 * 0.5 * 0.25 / (1 - 0.5 * 0.75))


@given(st.floats(0, 1), st.floats(0.01, 1))
def test_a_batch_makes_the_throughput_it_stands_for(use: float, ratio: float) -> None:
    plant = replace(PLANT, empty_step_ms=40.0 * ratio)
    batch = plant.batch(use)
    assert batch / plant.step_ms(batch) == pytest.approx(use * FACTS.slots / 40.0)


@pytest.mark.parametrize("each", RULES, ids=lambda each: each.name)
def test_no_rule_beats_the_oracle(each: Rule) -> None:
    load = wave()
    plant = replace(PLANT, warm_replicas=4)
    trace = Trace(
        name="wave",
        arrival_s=np.arange(load.slots, dtype=np.float64) * SLOT_S,
        input_tokens=np.ones(load.slots, dtype=np.int64),
        output_tokens=np.ones(load.slots, dtype=np.int64),
        duration_s=load.slots * SLOT_S,
    )
    best = solve(savings_of(trace, load.work_s, 2.5 * load.work_s, SLOT_S), Terms(own_usd_per_s=1.0, start_up_s=75.0, warm_replicas=4))
    course = run(each.policy(FACTS), load, plant, spills=True)
    assert course.cost_s(2.5) >= best.cost_usd - 1e-6


def test_the_oracles_replay_costs_what_the_oracle_said() -> None:
    load = wave()
    arrivals = np.arange(load.slots, dtype=np.float64) * SLOT_S
    ones = np.ones(load.slots, dtype=np.int64)
    trace = Trace(name="wave", arrival_s=arrivals, input_tokens=ones, output_tokens=ones, duration_s=load.slots * SLOT_S)
    plant = replace(PLANT, start_up_s=60.0, warm_replicas=4)
    plan = solve(savings_of(trace, load.work_s, 2.5 * load.work_s, SLOT_S), Terms(own_usd_per_s=1.0, start_up_s=60.0, warm_replicas=4))
    course = run(replace(plan, tick_s=SLOT_S), load, plant, spills=True)
    assert course.cost_s(2.5) == pytest.approx(plan.cost_usd, rel=1e-9)
    assert course.starts == plan.starts


def test_tuning_takes_the_cheapest_for_each_price() -> None:
    tuned = tune(rule("static"), wave(), PLANT, (0.5, 2.5, 10.0), spills=True)
    assert [tuned[kappa].run.counts[-1] for kappa in (0.5, 2.5, 10.0)] == sorted(tuned[kappa].run.counts[-1] for kappa in (0.5, 2.5, 10.0))
    assert tuned[2.5].cost_s == min(
        run(rule("static").policy(FACTS, values), wave(), PLANT, spills=True).cost_s(2.5) for values in rule("static").grid
    )


def test_tuning_without_spill_takes_the_cheapest_that_serves() -> None:
    plant = replace(PLANT, warm_replicas=8)
    tuned = tune(rule("static"), wave(), plant, (2.5,), spills=False)[2.5]
    assert tuned.serves
    assert tuned.run.served_share >= 0.99
    fewer = rule("static").policy(FACTS, (tuned.values[0] - 1 / 8,))
    assert run(fewer, wave(), plant, spills=False).served_share < 0.99


def test_tuning_says_when_no_value_serves() -> None:
    tuned = tune(rule("keda-queue"), wave(), replace(PLANT, start_up_s=900.0), (2.5,), spills=False)[2.5]
    assert not tuned.serves
