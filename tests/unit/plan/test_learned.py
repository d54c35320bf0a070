"""What was learned is read back as it was written, and nothing else is."""

import json
import math
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.plan.decision import Counted, Memory
from spillway.plan.learned import Learned, from_json, to_json
from spillway.plan.replica.learned_step import LearnedStep, MeasuredStep, StepLoad, learn
from spillway.plan.replica.roofline import StepModel
from spillway.plan.replica.start_up import LearnedStarts, StartUps
from spillway.plan.scaling.demand_state import dump, load
from spillway.plan.scaling.forecast import DemandModel
from spillway.plan.scaling.forecast import learn as learn_demand
from spillway.plan.scaling.lazy import clamped
from tests.unit.plan.situations import NOW
from tests.unit.plan.test_lazy import TERMS, watched

EXPECTED = StepModel(base_ms=13.6, experts_ms=0.0, expert_share=1.0, sequence_ms=0.026, kv_ms=0.042, prompt_ms=0.0384, square_ms=0.5)
FULL = StepLoad(batch=100, kv_tokens=100_000)

numbers = st.floats(min_value=0, max_value=1e6)
readings = st.lists(st.tuples(st.floats(min_value=1, max_value=500), st.floats(min_value=1, max_value=200)), max_size=12)


def step_after(found: list[tuple[float, float]]) -> LearnedStep:
    learned = LearnedStep(prior=EXPECTED)
    for index, (took, batch) in enumerate(found):
        seen = StepLoad(batch=batch, kv_tokens=1000 * batch, prompt_tokens=batch)
        at = NOW + timedelta(seconds=15 * index)
        learned = learn(learned, MeasuredStep(load=seen, step_ms=took, at=at, window_s=60), full=FULL)
    return learned


def taught(demands: list[float]) -> DemandModel:
    model = None
    for minute, demand in enumerate(demands):
        model = learn_demand(model, demand, 60.0 * minute)
    return load(dump(model))  # type: ignore[arg-type, return-value]  # as it comes back: quantiles for errors, four digits


DISTRUSTING = watched([2.0] * 200, lambda _: 7.0)
steps = st.builds(step_after, readings)
memories = st.builds(
    lambda step, lengths, starts, waits, demand: Memory(
        measured_for="0123",
        step=step,
        measured_input_tokens=lengths,
        prefix_hit_ratio=0.25,
        starts=LearnedStarts(by_kind={"h100/1/a/b": StartUps(starts_s=tuple(starts), node_waits_s=tuple(waits))}),
        demand_model=demand,
        lazy=None if demand is None else DISTRUSTING,
        counted=None if demand is None else Counted(pool="chat-engine-0123", work_s=0.25, measured_for="0123"),
        slots=72,
    ),
    steps,
    st.none() | numbers,
    st.lists(numbers, max_size=20),
    st.lists(numbers, max_size=20),
    st.none() | st.lists(numbers, min_size=1, max_size=200).map(taught),
)


@given(memories)
def test_what_was_written_is_read_back_as_it_was(memory: Memory) -> None:
    learned = Learned.of(memory)
    assert learned is not None
    text = to_json(learned)
    assert to_json(from_json(text)) == text
    assert replace(from_json(text), demand=None, lazy=None) == replace(learned, demand=None, lazy=None)
    assert replace(from_json(text).into(Memory()), demand_model=None, lazy=None) == replace(memory, demand_model=None, lazy=None)


def test_learning_goes_on_where_it_stopped() -> None:
    before = step_after([(20.0, 8.0), (30.0, 90.0)])
    learned = Learned.of(Memory(measured_for="0123", step=before))
    assert learned is not None
    after = from_json(to_json(learned)).step
    assert after is not None
    more = MeasuredStep(load=FULL, step_ms=33.0, at=NOW + timedelta(minutes=9), window_s=60)
    assert learn(after, more, full=FULL) == learn(before, more, full=FULL)


def test_a_forecast_that_was_wrong_is_not_believed_after_a_restart_either() -> None:
    learned = Learned.of(Memory(demand_model=taught([3.0]), lazy=DISTRUSTING))
    assert learned is not None
    lazy = from_json(to_json(learned)).into(Memory()).lazy
    assert lazy is not None
    assert lazy.distrusts
    assert [clamped(lazy, wanted, TERMS) for wanted in range(9)] == [clamped(DISTRUSTING, wanted, TERMS) for wanted in range(9)]


def test_who_has_learned_nothing_writes_nothing() -> None:
    assert Learned.of(Memory(measured_for="0123", slots=72)) is None


def test_what_a_later_version_adds_is_ignored() -> None:
    learned = Learned(starts={"h100/1/a/b": StartUps(starts_s=(90.0,))}, demand=taught([3.0]))
    document = json.loads(to_json(learned)) | {"more": 1}
    assert to_json(from_json(json.dumps(document))) == to_json(learned)


STEP: dict[str, Any] = json.loads(to_json(Learned(step=step_after([(20.0, 8.0)]))))["step"]
EVIDENCE: dict[str, Any] = {"octave": 0, "information": [1] * 10, "pull": [1] * 4}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("", "Expecting value", id="nothing"),
        pytest.param("[]", "not what was learned", id="a list"),
        pytest.param('{"version":2}', "version 2", id="another version"),
        pytest.param("{}", "version None", id="no version"),
        pytest.param("[" * 100_000, "not what was learned", id="more brackets than anybody reads"),
        *(
            pytest.param(json.dumps({"version": 1, **document}), told, id=name)
            for name, told, document in (
                ("half a step", "not what was learned", {"step": {"prior": {}}}),
                ("a length that is no number", "is no number", {"measured_input_tokens": float("nan")}),
                ("starts that are none", "not what was learned", {"starts": {"a": 3}}),
                ("a factor out of bounds", "no fit gives", {"step": STEP | {"used": [1, 1, 1, 99]}}),
                ("demand in replicas that do nothing", "0 s is no work", {"counted": {"pool": "a", "work_s": 0}}),
                ("replicas that hold nothing", "0 requests are none", {"slots": 0}),
                ("a moment without a time zone", "no time zone", {"step": STEP | {"measured_at": "2026-11-21T12:00:00"}}),
                ("three factors", "not enough values", {"step": STEP | {"used": [1, 1, 1]}}),
                ("a range without end", "not what was learned", {"step": STEP | {"evidence": [EVIDENCE | {"octave": math.inf}]}}),
                ("evidence of another shape", "no fit gives", {"step": STEP | {"evidence": [EVIDENCE | {"information": [1]}]}}),
                ("evidence that is none", "no fit gives", {"step": STEP | {"evidence": [EVIDENCE | {"information": [-1] * 10}]}}),
                ("an estimate without sequences", "no fit gives", {"step": STEP | {"prior": STEP["prior"] | {"sequence_ms": 0}}}),
                ("an estimate below zero", "no fit gives", {"step": STEP | {"prior": STEP["prior"] | {"kv_ms": -1}}}),
                ("an estimate without experts", "no fit gives", {"step": STEP | {"prior": STEP["prior"] | {"expert_share": 0}}}),
            )
        ),
    ],
)
def test_what_cannot_be_read_is_an_error_that_says_why(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        from_json(text)


@pytest.mark.parametrize("said", ["[1]", "{}", '{"version":1,"minute":3}', '{"version":2}'])
def test_traffic_that_cannot_be_read_is_learned_anew(said: str) -> None:
    assert from_json(f'{{"version":1,"demand":{said}}}') == Learned()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"balances": [[1.0]]}, id="balances in rows"),
        pytest.param({"balances": [-1.0]}, id="a balance below zero"),
        pytest.param({"balances": [None]}, id="a balance that is none"),
        pytest.param({"balances": "full"}, id="a word"),
        pytest.param({"due": float("nan")}, id="a count that is no number"),
        pytest.param({"at": float("inf")}, id="no moment"),
        pytest.param({"error": None}, id="no error"),
    ],
)
def test_balances_that_no_past_gives_are_learned_anew(change: dict[str, Any]) -> None:
    kept = json.loads(to_json(Learned(lazy=DISTRUSTING)))
    assert from_json(json.dumps(kept)).lazy is not None
    assert from_json(json.dumps(kept | {"lazy": kept["lazy"] | change})).lazy is None
