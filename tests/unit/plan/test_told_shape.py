"""A model that neither the spec nor the catalogue knows: its replica tells the shape, and nothing that runs is touched by that."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.api.model import Architecture
from spillway.api.vocabulary import ConditionType, Reason
from spillway.api.workload import PlacementMode
from spillway.plan.decision import Decision, Memory, Workload
from spillway.plan.learned import Learned, from_json, to_json
from spillway.plan.model.architecture import Unreadable
from spillway.plan.model.told_shape import ToldShape, as_stated, listen, named, read_told, with_told
from spillway.plan.observation import EngineLimits, Observation, Pool, ReplicaPod, ToldConfig
from spillway.report.outcome import ApplyOutcome
from spillway.report.status import report
from tests.unit.plan.situations import NOW, accelerator, catalogue, observe, one_pass, pool, replica, workload
from tests.unit.plan.test_architecture import LLAMA

STEADY = {"requestsPerSecond": {"mean": "1"}, "inputTokens": {"mean": 1000}, "outputTokens": {"mean": 250}}
TOLD = json.dumps({"config": LLAMA})
OTHER = json.dumps({"config": LLAMA | {"num_hidden_layers": 16}})
UNTOLD = json.dumps({"problem": "GatedRepoError: access to this model is restricted"})


def unknown(mode: str = "Hybrid", **changes: Any) -> Workload:
    return workload(mode, traffic=STEADY, **({"model": {"id": "acme/chat-8b"}} | changes))


def telling(text: str | None, index: int = 0, **changes: Any) -> ReplicaPod:
    told = None if text is None else ToldConfig(model="acme/chat-8b@main", text=text)
    return replica(index, told_config=told, **({"created_at": NOW - timedelta(hours=1)} | changes))


def seeing(*pods: ReplicaPod) -> Observation:
    return observe(len(pods), replicas=pods)


def said(decision: Decision, memory: Memory, wanted: Workload, seen: Observation) -> Any:
    return report(wanted, seen, decision, ApplyOutcome(), memory, NOW)


def why_no_plan(decision: Decision) -> str:
    evaluation = decision.placing.evaluation
    assert evaluation is not None
    return evaluation.unknown or ""


def test_without_a_word_from_its_replica_it_goes_on_as_before() -> None:
    decision, memory = one_pass(unknown(), seeing(telling(None)))
    assert not decision.problems
    assert memory.told_shape is None
    assert "is unknown" in why_no_plan(decision)


def test_what_the_replica_told_is_planned_with_as_a_file_would_be() -> None:
    decision, memory = one_pass(unknown(), seeing(telling(TOLD)))
    known, _ = one_pass(
        unknown(model={"architecture": read_told(TOLD).model_dump(by_alias=True)}),  # type: ignore[union-attr]
        seeing(telling(None)),
    )
    assert memory.told_shape is not None
    assert decision.placing.evaluation is not None
    assert known.placing.evaluation is not None
    assert decision.placing.evaluation.recommended is not None
    assert decision.placing.evaluation.recommended == known.placing.evaluation.recommended
    later, _ = one_pass(unknown(), seeing(telling(TOLD)), memory, NOW + timedelta(seconds=15))
    assert later.placing.evaluation == decision.placing.evaluation, "it is not planned anew at every pass"
    (event,) = [each for each in decision.events if each.reason == Reason.MODEL_TOLD]
    assert "8.0B parameters, 32 layers" in event.why


def test_it_is_planned_for_the_batch_that_such_replicas_are_made_with() -> None:
    """Without a stated batch they are made with a careful one, whatever they tell; a plan with a larger one would promise too much."""
    free = unknown(engine={"maxNumSeqs": None})
    told, _ = one_pass(free, seeing(telling(TOLD)))
    stated, _ = one_pass(unknown(engine={"maxNumSeqs": 32}), seeing(telling(TOLD)))
    assert told.pool is not None
    assert told.pool.capacity.max_num_seqs == 32
    assert told.placing.evaluation is not None
    assert stated.placing.evaluation is not None
    assert told.placing.evaluation.recommended == stated.placing.evaluation.recommended


def test_nothing_that_a_pod_or_a_gateway_is_made_of_follows_what_was_told() -> None:
    before, _ = one_pass(unknown(), seeing(telling(None)))
    after, _ = one_pass(unknown(), seeing(telling(TOLD)))
    assert after.placing.evaluation != before.placing.evaluation
    assert (after.pool, after.gateway, after.spec) == (before.pool, before.gateway, before.spec)


def test_a_told_shape_that_does_not_fit_moves_nothing_that_runs_and_is_advised() -> None:
    """Estimates err; a replica that serves has proved that it fits."""
    big = json.dumps({"config": LLAMA | {"num_hidden_layers": 160}})  # 36B parameters on an accelerator of 48 GiB
    small = catalogue({"h100": accelerator(memoryGiB=48)})
    for mode in ("Hybrid", "Dedicated", "Auto"):
        wanted, seen = unknown(mode), replace(seeing(telling(None)), catalogue=small)
        before, memory = one_pass(wanted, seen)
        after, _ = one_pass(wanted, replace(seeing(telling(big)), catalogue=small), memory)
        assert not after.problems
        assert (after.mode, after.pool) == (before.mode, before.pool)


def test_a_class_that_is_new_is_chosen_and_split_by_what_was_told() -> None:
    big = json.dumps({"config": LLAMA | {"num_hidden_layers": 160}})
    classes = catalogue({"h100": accelerator(memoryGiB=48, price=None), "other": accelerator(memoryGiB=48)})
    wanted = unknown("Dedicated", dedicated={"accelerators": ["h100"]})
    _, memory = one_pass(wanted, replace(seeing(telling(big)), catalogue=classes))
    moved, _ = one_pass(unknown("Dedicated", dedicated={"accelerators": ["other"]}), replace(observe(0), catalogue=classes), memory)
    assert moved.pool is not None
    assert (moved.pool.accelerator_class, moved.pool.tensor_parallel_size) == ("other", 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(UNTOLD, "access to this model is restricted", id="the file could not be had"),
        pytest.param("", "nothing at all", id="no last words"),
        pytest.param('{"config": {"hidden_', "wrote no JSON", id="cut off"),
        pytest.param(json.dumps({"config": {"model_type": "bert"}}), "not a generative model", id="no language model"),
        pytest.param("\x1b[31m\x00 line\nline" + "x" * 5000, "[31m line line", id="a terminal's worst"),
        pytest.param("[]", "[]", id="a list"),
    ],
)
def test_what_gives_no_shape_is_told_and_changes_nothing_else(text: str, words: str) -> None:
    wanted, seen = unknown(), seeing(telling(text))
    before, _ = one_pass(wanted, seeing(telling(None)))
    decision, memory = one_pass(wanted, seen)
    assert decision.pool == before.pool
    (event,) = [each for each in decision.events if each.reason == Reason.MODEL_UNREADABLE]
    assert words in event.why
    status = said(decision, memory, wanted, seen)
    economic = next(each for each in status.conditions if each.type == ConditionType.SELF_HOSTING_ECONOMIC)
    assert economic.status == "Unknown"
    assert words in economic.message
    assert economic.message.isprintable()
    assert len(economic.message) < 1000
    again, _ = one_pass(wanted, seen, memory)
    assert not [each for each in again.events if each.reason == Reason.MODEL_UNREADABLE], "it is told once"


def test_before_anything_was_measured_the_plan_says_whether_owning_pays() -> None:
    wanted, seen = unknown(), seeing(telling(TOLD))
    decision, memory = one_pass(wanted, seen)
    assert decision.cost.kappa is None
    economic = next(each for each in said(decision, memory, wanted, seen).conditions if each.type == ConditionType.SELF_HOSTING_ECONOMIC)
    assert economic.status == "False"
    assert economic.reason == Reason.HOSTED_CHEAPER_AT_ANY_LOAD


@given(st.text(max_size=200) | st.recursive(st.none() | st.integers() | st.text(max_size=5), st.lists).map(json.dumps))
def test_any_last_words_are_a_shape_or_a_reason_and_never_an_error(text: str) -> None:
    assert isinstance(read_told(text), Architecture | Unreadable)


values = st.none() | st.booleans() | st.integers(-10, 10**20) | st.floats() | st.text(max_size=5) | st.lists(st.integers(0, 9), max_size=3)


@given(st.dictionaries(st.sampled_from([*LLAMA, "num_experts", "kv_lora_rank", "layer_types", "text_config"]), values))
def test_any_config_is_a_shape_or_a_reason_and_never_an_error(changes: dict[str, Any]) -> None:
    assert isinstance(read_told(json.dumps({"config": LLAMA | changes})), Architecture | Unreadable)


def test_it_is_remembered_at_zero_replicas_and_across_a_restart() -> None:
    wanted = unknown()
    decision, memory = one_pass(wanted, seeing(telling(TOLD)))
    learned = Learned.of(memory)
    assert learned is not None
    text = to_json(learned)
    assert to_json(from_json(text)) == text
    later, again = one_pass(wanted, observe(0), from_json(text).into(Memory()))
    assert again.told_shape == memory.told_shape
    assert decision.placing.evaluation is not None
    assert later.placing.evaluation is not None
    assert later.placing.evaluation.traffic == decision.placing.evaluation.traffic
    assert not why_no_plan(later)
    assert not [each for each in later.events if each.reason == Reason.MODEL_TOLD], "a restart is no news"


def test_a_file_of_an_operator_that_did_not_ask_is_read_and_one_with_a_shape_that_no_model_has_is_not() -> None:
    learned = Learned(told_shape=ToldShape(model="acme/chat-8b@main", problem="it is restricted"))
    document = json.loads(to_json(learned))
    assert from_json(json.dumps(document)) == learned
    del document["told_shape"]
    assert from_json(json.dumps(document)).told_shape is None
    with pytest.raises(ValueError, match="layers"):
        from_json(json.dumps(document | {"told_shape": {"model": "a@main", "architecture": {"parameters": 1}}}))


def test_the_status_tells_the_shape_so_that_it_can_be_copied_into_the_spec() -> None:
    wanted, seen = unknown(), seeing(telling(TOLD))
    told = said(*one_pass(wanted, seen), wanted, seen).model
    assert told is not None
    assert told.read_from == "acme/chat-8b@main"
    stated = unknown(
        model={"id": "acme/chat-8b", "architecture": told.architecture.model_dump(mode="json", by_alias=True, exclude_none=True)}
    )
    decision, memory = one_pass(stated, seen)
    assert decision.pool is not None
    assert not decision.pool.tells_config
    assert said(decision, memory, stated, seen).model is None
    untold = said(*one_pass(wanted, seeing(telling(UNTOLD))), wanted, seen).model
    assert untold is not None
    assert untold.architecture is None
    assert "restricted" in (untold.problem or "")


def test_the_newest_replica_counts_and_one_that_could_not_read_forgets_nothing() -> None:
    old, new = telling(TOLD, 0), telling(OTHER, 1, created_at=NOW)
    model = unknown().spec.model
    first = listen(None, model, [old])
    second = listen(first, model, [old, new])
    assert first is not None
    assert second is not None
    assert first.architecture is not None
    assert second.architecture is not None
    assert (first.architecture.layers, second.architecture.layers) == (32, 16)
    assert listen(second, model, [old]) == second, "the older one is no news"
    assert listen(second, model, [telling(UNTOLD, 2, created_at=NOW + timedelta(hours=1))]) == second
    assert listen(listen(None, model, [telling(UNTOLD)]), model, [telling(TOLD)]) == first, "it was asked once more"


@pytest.mark.parametrize(
    "model",
    [
        pytest.param({"id": "acme/other"}, id="another repository"),
        pytest.param({"id": "acme/chat-8b", "source": {"huggingFace": {"revision": "v2"}}}, id="another revision"),
        pytest.param({"id": "acme/chat-8b", "source": {"persistentVolumeClaim": {"claimName": "models"}}}, id="a volume instead"),
    ],
)
def test_what_replicas_of_another_model_told_does_not_count(model: dict[str, Any]) -> None:
    _, memory = one_pass(unknown(), seeing(telling(TOLD)))
    decision, memory = one_pass(unknown(model=model), seeing(telling(TOLD)), memory)
    assert memory.told_shape is None
    assert "is unknown" in why_no_plan(decision)


def test_a_served_name_is_no_other_model() -> None:
    assert named(unknown(model={"id": "a/b", "servedName": "x"}).spec.model) == named(unknown(model={"id": "a/b"}).spec.model)


@pytest.mark.parametrize(
    "model", [pytest.param({"id": "meta-llama/Llama-3.1-8B-Instruct"}, id="the catalogue knows it"), pytest.param({}, id="the spec has it")]
)
def test_a_known_model_is_not_asked_for_and_not_listened_to(model: dict[str, Any]) -> None:
    wanted = workload(traffic=STEADY, model=model or {"architecture": read_told(OTHER).model_dump(by_alias=True)})  # type: ignore[union-attr]
    pods = replica(told_config=ToldConfig(model=named(wanted.spec.model), text=TOLD))
    decision, memory = one_pass(wanted, seeing(pods))
    assert memory.told_shape is None
    assert decision.pool is not None
    assert not decision.pool.tells_config


def made(limits: EngineLimits | None, *, tells: bool) -> Pool:
    return pool(1, limits=limits, tells_config=tells)


def test_a_pool_goes_on_as_it_was_made_until_its_spec_says_something_else() -> None:
    fresh, _ = one_pass(unknown(), observe(0, pools=()))
    assert fresh.pool is not None
    assert fresh.pool.tells_config
    capacity = fresh.pool.capacity
    limits = EngineLimits(
        sized_for=capacity.sized_for,
        max_num_seqs=capacity.max_num_seqs,
        max_queued_requests=capacity.max_queued_requests,
        max_queued_tokens=capacity.max_queued_tokens,
    )

    def asks(wanted: Workload, running: Pool) -> bool:
        decision, _ = one_pass(wanted, observe(1, pools=(running,)))
        assert decision.pool is not None
        return decision.pool.tells_config

    assert asks(unknown(), made(limits, tells=True))
    assert not asks(unknown(), made(limits, tells=False)), "a version made it that did not ask: an upgrade restarts nothing"
    assert not asks(unknown(), made(None, tells=False)), "nor where it wrote no limits down"
    assert asks(unknown(model={"id": "acme/other"}), made(limits, tells=False)), "another model restarts its replicas anyway"
    known = workload(traffic=STEADY, model={"id": "meta-llama/Llama-3.1-8B-Instruct"})
    decision, _ = one_pass(known, observe(0, pools=()))
    assert decision.pool is not None
    same = replace(limits, sized_for=decision.pool.capacity.sized_for)
    assert asks(known, made(same, tells=True)), "a later catalogue knows it: that restarts nothing either"


def test_what_was_told_is_no_part_of_a_spec_that_is_written_or_compared_by_what_is_in_it() -> None:
    spec = unknown().spec
    told = with_told(spec, ToldShape(model="acme/chat-8b@main", problem="x"))
    assert told != spec
    assert told.model_dump() == spec.model_dump()
    assert as_stated(told) == spec
    assert as_stated(spec) is spec
    assert spec.placement.mode is PlacementMode.HYBRID
