"""A plan reckons with what was measured of the replicas, so that it does not contradict what they are scaled by."""

from dataclasses import replace
from typing import Any

import pytest

from spillway.plan.comparing.offers import Offers
from spillway.plan.comparing.options import Question
from spillway.plan.comparing.owning import all_sizes
from spillway.plan.decision import Memory, Workload
from spillway.plan.names import pool_name
from spillway.plan.place.measured_pace import MeasuredPace, at_pace, measured_pace
from spillway.plan.replica.measuring import Measured, remember
from spillway.plan.replica.sizing import ReplicaSize
from tests.unit.plan.situations import LLAMA_8B, NOW, accelerator, learned, observe, one_pass, signals, workload

TRAFFIC = {"requestsPerSecond": {"mean": "1"}, "inputTokens": {"mean": 1000}, "outputTokens": {"mean": 250}}
CLASSES = {
    "h100": accelerator(),
    "l40s": accelerator(product="NVIDIA L40S", memoryGiB=48, memoryBandwidthGBps=864, teraFLOPs={"bf16": 362}),
}


def served(**changes: Any) -> Workload:
    return workload(traffic=TRAFFIC, **({"model": {"architecture": LLAMA_8B}} | changes))


def pace(memory: Memory, wanted: Workload | None = None) -> MeasuredPace | None:
    wanted = wanted or served()
    return measured_pace(wanted.key.name, wanted.spec, CLASSES, memory, observe().pools)


def sizes(wanted: Workload) -> tuple[ReplicaSize, ...]:
    found = all_sizes(Question(name="chat", spec=wanted.spec, classes=CLASSES, offers=Offers(found=(), by_name=False), most_replicas=4))
    assert isinstance(found, tuple)
    return found


@pytest.mark.parametrize("step_ms", [8.0, 12.0, 20.0])
def test_what_runs_is_planned_with_as_it_is_scaled_by(step_ms: float) -> None:
    wanted = served()
    memory = learned(step_ms, 8.0, wanted)
    decision, _ = one_pass(wanted, observe(), memory)
    assert decision.pool is not None
    planned = next(
        each for each in at_pace(sizes(wanted), pace(memory)) if (each.accelerator_class, each.tensor_parallel_size) == ("h100", 1)
    )
    assert planned.requests_per_s == pytest.approx(decision.pool.capacity.requests_per_s)


def test_all_that_could_run_is_taken_by_the_same_factor() -> None:
    found = pace(learned(12.0, 8.0, served()))
    assert found is not None
    assert found.factor < 1
    before, after = sizes(served()), at_pace(sizes(served()), found)
    assert [each.requests_per_s for each in after] == pytest.approx([each.requests_per_s * found.factor for each in before])
    assert at_pace(before, None) == before


def test_the_recommendation_says_what_it_was_reckoned_with() -> None:
    decision, _ = one_pass(served(), observe(), learned(12.0, 8.0, served()))
    evaluation = decision.placing.evaluation
    assert evaluation is not None
    assert "times the estimate, measured on 1 x h100" in evaluation.target_why
    blank, _ = one_pass(served(), observe())
    assert blank.placing.evaluation is not None
    assert "measured" not in blank.placing.evaluation.target_why


def test_it_is_remembered_while_nothing_is_owned() -> None:
    """Or a workload would go back and forth between what was measured and what was estimated."""
    memory = learned(12.0, 8.0, served())
    assert measured_pace("chat", served().spec, CLASSES, memory, ()) == pace(memory)


def test_it_is_found_of_replicas_that_take_a_whole_node() -> None:
    wanted = served()
    subject = Measured(pool=pool_name("chat", "h100", 8), spec=wanted.spec, accelerator=accelerator(), running=None)
    memory = remember(Memory(), signals(step_time_ms=8.0, batch_mean=8.0), subject, NOW)
    found = pace(replace(memory, measured_for=subject.fingerprint), wanted)
    assert found is not None
    assert (found.accelerator_class, found.tensor_parallel_size) == ("h100", 8)


@pytest.mark.parametrize(
    ("memory", "wanted"),
    [
        pytest.param(Memory(), served(), id="nothing was measured"),
        pytest.param(learned(12.0, 8.0, served()), served(model={"id": "acme/other"}), id="it was another model"),
        pytest.param(learned(12.0, 8.0, served()), served(engine={"extraArgs": ["--enforce-eager"]}), id="it was set up otherwise"),
        pytest.param(learned(900.0, 8.0, served()), served(), id="a reading that has gone wrong"),
        pytest.param(learned(12.0, 8.0, workload(traffic=TRAFFIC, model={"id": "a/b"})), served(model={"id": "a/b"}), id="no estimate"),
        pytest.param(replace(learned(12.0, 8.0, served()), measured_for="of a class that is gone"), served(), id="a class that is gone"),
    ],
)
def test_what_says_nothing_of_these_replicas_changes_nothing(memory: Memory, wanted: Workload) -> None:
    assert pace(memory, wanted) is None
