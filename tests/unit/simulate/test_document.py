"""What is told of simulated runs: the order, the ratios, the sentence, and plots no finer than a screen."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.api.simulate_output import SimulateOutput
from spillway.simulate.document import coarse, simulate_output
from spillway.simulate.outcome import Outcome
from spillway.simulate.trace import Trace
from tests.unit.report.simulations import UNKNOWN, bound, course, outcome, setting, simulation

PROMISED = {
    "policy", "costUSD", "costOverOracle", "costOverOracleReplay", "ownUSD", "hostedUSD", "sloAttainmentPercent",
    "worst5MinAttainmentPercent", "spilledPercent", "replicaHours", "starts", "ttftP95Ms", "interTokenP95Ms",
}  # fmt: skip


def test_the_document_has_the_keys_that_are_promised_and_follows_its_schema() -> None:
    found = simulation().model_dump(by_alias=True, mode="json")
    assert all(set(each) >= PROMISED for each in found["policies"])
    assert {"trace", "workload", "assumptions"} <= set(found)
    schema = json.loads(Path("docs/simulate-output.schema.json").read_text())
    assert set(schema["required"]) == set(schema["properties"]) == set(found)
    assert SimulateOutput.model_validate(found).model_dump(by_alias=True, mode="json") == found


def test_those_that_keep_the_slo_come_first_cheapest_first_and_clairvoyant_ones_last() -> None:
    assert [each.policy for each in simulation().policies] == [
        "spillway", "static", "all-hosted", "keda-queue", "oracle-replay", "oracle",
    ]  # fmt: skip


def test_costs_are_compared_with_the_bound_and_with_its_replay() -> None:
    ours = simulation().policies[0]
    assert (ours.cost_usd, ours.cost_over_oracle, ours.cost_over_oracle_replay) == (8.0, round(8 / 6, 4), round(8 / 7.5, 4))


def test_without_a_clairvoyant_run_there_is_nothing_to_compare_with() -> None:
    (ours,) = simulation(outcome()).policies
    assert (ours.cost_over_oracle, ours.cost_over_oracle_replay) == (None, None)


def test_the_bound_says_nothing_of_what_it_does_not_serve() -> None:
    last = simulation(outcome(), bound()).policies[-1]
    assert (last.slo_attainment_percent, last.failed_percent, last.keeps_slo, last.course, last.clairvoyant) == (
        None,
        None,
        None,
        None,
        True,
    )


def test_who_costs_less_than_the_bound_is_named_with_why_and_nobody_else() -> None:
    assert simulation(outcome(), outcome("all-owned", 6.0, 0.0), bound()).warnings == ["Look here."]
    assert simulation(outcome(), outcome("all-owned", 1.0, 0.0, 70.0), bound()).warnings[1].startswith("all-owned: less than oracle")


def test_the_busiest_minute_is_no_quieter_than_the_whole() -> None:
    arrivals = np.concatenate([np.arange(60.0), np.linspace(60, 90, 90)])  # the last minute is a half
    ones = np.ones(len(arrivals), dtype=np.int64)
    late = Trace(name="late", arrival_s=arrivals, input_tokens=ones, output_tokens=ones, duration_s=90.0)
    found = simulate_output(setting(), late, [outcome()]).trace
    assert found.requests_per_second_peak >= found.requests_per_second_mean


KEPT = "is the cheapest that keeps the SLO of 99 %:"
VERDICTS: dict[str, tuple[tuple[Outcome, ...], str]] = {
    "ours wins": (
        (),
        f"spillway {KEPT} $8.00, 1.07 times the cost of the clairvoyant plan. The next, static, costs 50 % more.",
    ),
    "ours misses": (
        (outcome(attained=98.0), outcome("static", 12.0)),
        f"static {KEPT} $13.00. spillway costs $8.00 and keeps it for 98 % only.",
    ),
    "ours is dearer": ((outcome(own_usd=12.0), outcome("static", 9.0)), f"static {KEPT} $10.00. spillway costs $13.00."),
    "none keeps it": (
        (outcome(attained=90.0), outcome("static", 12.0, 0.0, 98.9)),
        "No policy keeps the SLO of 99 %: static comes closest with 98.9 % for $12.00.",
    ),
    "one nearly keeps it": (
        (outcome(attained=98.9999),),
        "No policy keeps the SLO of 99 %: spillway comes closest with 98.99 % for $8.00.",
    ),
    "the clairvoyant plan misses": (
        (outcome(), outcome("oracle-replay", 4.0, 0.0, 90.0)),
        f"spillway {KEPT} $8.00, 2.00 times the cost of the clairvoyant plan, which keeps it for 90 % only.",
    ),
    "alone": ((outcome(),), f"spillway {KEPT} $8.00."),
    "only the bound": ((bound(),), "Only clairvoyant policies were simulated; name one with --policy."),
}


@pytest.mark.parametrize(("outcomes", "told"), VERDICTS.values(), ids=VERDICTS.keys())
def test_the_verdict_names_the_cheapest_that_keeps_the_slo(outcomes: tuple[Outcome, ...], told: str) -> None:
    assert simulation(*outcomes).verdict == told


@given(intervals=st.integers(1, 2500), most=st.integers(1, 400), last=st.floats(0.01, 1))
def test_a_coarser_course_keeps_the_money_and_the_levels_and_is_short_enough(intervals: int, most: int, last: float) -> None:
    fine = course(intervals, ready_replicas=np.r_[np.full(intervals - 1, 2.0), 2.0 * last])
    found = coarse(fine, duration_s=60.0 * (intervals - 1 + last), most=most)
    assert len(found.ready_replicas) <= most
    assert found.interval_seconds == 60 * math.ceil(intervals / most)
    assert sum(each or 0 for each in found.own_usd) == pytest.approx(fine.own_usd.sum(), abs=1e-4 * len(found.own_usd))
    assert found.ready_replicas == pytest.approx([2.0] * len(found.ready_replicas), abs=2e-3)


def test_shares_are_weighted_by_what_arrived_and_nothing_is_said_where_nothing_did() -> None:
    fine = course(
        6,
        arrivals_per_s=np.array([3.0, 1.0, 0.0, 0.0, 2.0, 0.0]),
        spilled_percent=np.array([0.0, 100.0, UNKNOWN, UNKNOWN, 50.0, UNKNOWN]),
    )
    assert coarse(fine, duration_s=360, most=3).spilled_percent == [25.0, None, 50.0]


def test_the_busiest_minute_is_told() -> None:
    found = simulation().trace
    assert found.requests_per_second_mean == pytest.approx(1 / 6, rel=0.01)
    assert found.requests_per_second_peak == pytest.approx(11 / 60, rel=0.15)


def test_a_trace_that_costs_less_than_a_cent_is_told_what_it_costs_and_who_serves_it_for_least() -> None:
    found = simulation(outcome(own_usd=0.0031, hosted_usd=0.0002), outcome("all-hosted", 0.0, 0.0007), bound(0.0006, 0.0))
    assert [(each.policy, each.cost_usd) for each in found.policies] == [("all-hosted", 0.0007), ("spillway", 0.0033), ("oracle", 0.0006)]
    assert found.policies[1].own_usd == 0.0031
    assert found.verdict == "all-hosted is the cheapest that keeps the SLO of 99 %: $0.0007. spillway costs $0.0033."


def test_the_worst_five_minutes_are_rounded_down_as_all_that_has_to_be_reached() -> None:
    assert simulation(outcome(worst_5_min_attainment_percent=99.9966)).policies[0].worst_5_min_attainment_percent == 99.99
