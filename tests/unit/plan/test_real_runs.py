"""The planner beside a real vLLM on a real GPU (benchmarks/capacity/on_gpu.json)."""

import json
from pathlib import Path

import pytest

from benchmarks.capacity.on_gpu import SHAPES
from benchmarks.capacity.real_runs import H200, RUNS, Compared, Load, compared, machine, tables
from spillway.api.dedicated import Engine
from spillway.api.model import Model, Quantization
from spillway.plan.model.models import known_model
from spillway.plan.replica.sizing import replica_size
from spillway.plan.traffic.lengths import Lengths

FOUND = {each.model: each for each in compared()}
CATALOGUED = {
    "llama-3.1-8b": "meta-llama/Llama-3.1-8B-Instruct",
    "qwen3-8b": "Qwen/Qwen3-8B",
    "qwen3-14b": "Qwen/Qwen3-14B",
    "qwen3-32b-fp8": "Qwen/Qwen3-32B",
    "qwen3-30b-a3b": "Qwen/Qwen3-30B-A3B",
}


def test_what_is_compared_is_what_a_plan_says_of_the_same_replica() -> None:
    for model, quantization in (("meta-llama/Llama-3.1-8B-Instruct", None), ("Qwen/Qwen3-32B", Quantization.FP8)):
        known = known_model(Model(id=model))
        assert known is not None
        size = replica_size(
            known.architecture,
            quantization=quantization,
            accelerator_class="h200",
            accelerator=H200,
            tensor_parallel_size=1,
            engine=Engine(),
            lengths=Lengths(input_mean=1000, input_p95=3000, output_mean=250),
            slo=None,
            max_context_tokens=2048,
        )
        run = FOUND[f"{model}, fp8" if quantization else model]
        assert (run.weights.told, run.kv.told) == (size.memory.weights_gib, size.kv_tokens)
        assert run.calibrated == (size.basis == "Calibrated")


@pytest.mark.parametrize("run", FOUND.values(), ids=lambda run: run.model)
def test_a_gpu_held_what_the_plan_said(run: Compared) -> None:
    assert abs(run.weights.error) < 0.01
    assert -0.05 < run.kv.error < 0, "a plan must not promise more cache than there is"


@pytest.mark.parametrize("run", [each for each in FOUND.values() if each.steps and "fp8" not in each.model], ids=lambda run: run.model)
def test_a_full_step_took_about_what_the_plan_said_in_sixteen_bits(run: Compared) -> None:
    by_batch = {each.of: each.error for each in run.steps}
    assert abs(by_batch["64 x 2048"]) < 0.15
    assert abs(by_batch["128 x 2048"]) < 0.10


SIXTEEN_BITS_UNDER_LOAD = [(each, load) for each in FOUND.values() if "fp8" not in each.model for load in each.loads if load.share < 0.7]


@pytest.mark.parametrize(("run", "load"), SIXTEEN_BITS_UNDER_LOAD, ids=[each.model for each, _ in SIXTEEN_BITS_UNDER_LOAD])
def test_first_tokens_came_about_as_late_as_the_gpus_own_steps_tell(run: Compared, load: Load) -> None:
    errors = {each.of: each.error for each in load.figures}
    assert abs(errors["with its own steps"]) < 0.35, run.model
    assert -0.5 < errors["first token ms, p99"] < 0, "the plan's steps are shorter, and so are its waits"


@pytest.mark.parametrize(("name", "model"), CATALOGUED.items())
def test_the_shapes_that_ran_are_those_of_the_catalogue(name: str, model: str) -> None:
    known, ran = known_model(Model(id=model)), SHAPES[name]
    assert known is not None
    shape = known.architecture
    assert (shape.layers, shape.attention_heads, shape.key_value_heads) == (
        ran["num_hidden_layers"],
        ran["num_attention_heads"],
        ran["num_key_value_heads"],
    )
    assert (shape.head_size, shape.hidden_size, shape.vocabulary_size) == (ran["head_dim"], ran["hidden_size"], ran["vocab_size"])


def test_the_tables_have_a_row_of_every_run_and_every_load() -> None:
    text = tables(list(FOUND.values()), machine())
    for each in FOUND.values():
        assert sum(line.startswith(f"| {each.model} |") for line in text) == 1 + bool(each.steps) + len(each.loads)


def test_a_run_of_a_model_nobody_knows_is_named(tmp_path: Path) -> None:
    runs = json.loads(RUNS.read_text())
    runs["runs"][0]["model"] = "nobody/knows-it"
    (tmp_path / "runs.json").write_text(json.dumps(runs))
    with pytest.raises(LookupError, match="nobody/knows-it"):
        compared(tmp_path / "runs.json")
