"""The catalogue of models: ids as people write them find the shape, and rows are sound."""

import pytest

from spillway.api.workload import Model, Quantization
from spillway.plan.decision import Problem
from spillway.plan.memory import splits, weights_bytes
from spillway.plan.model_catalogue import MODELS, CatalogueModel
from spillway.plan.models import KnownModel, catalogue_model, known_model, plain_name, resolve_model, stored_as
from tests.unit.plan.shapes import shape


@pytest.mark.parametrize(
    ("written", "found"),
    [
        pytest.param("meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-8B-Instruct", id="as published"),
        pytest.param("meta-llama/Meta-Llama-3.1-8B", "meta-llama/Llama-3.1-8B-Instruct", id="the untuned one, under its older name"),
        pytest.param("unsloth/llama-3.1-8b-instruct-bnb-4bit", "meta-llama/Llama-3.1-8B-Instruct", id="published again by others"),
        pytest.param("meta-llama/Llama-3.1-70B-Instruct", "meta-llama/Llama-3.3-70B-Instruct", id="an earlier release of the same shape"),
        pytest.param("deepseek-ai/DeepSeek-R1-Distill-Qwen-32B", "Qwen/Qwen2.5-32B-Instruct", id="a distilled model has its base's shape"),
        pytest.param("Qwen/Qwen3-32B-FP8", "Qwen/Qwen3-32B", id="quantized"),
        pytest.param("RedHatAI/Llama-3.3-70B-Instruct-quantized.w4a16", "meta-llama/Llama-3.3-70B-Instruct", id="in another way"),
        pytest.param("Qwen/Qwen3-30B-A3B-Instruct-2507", "Qwen/Qwen3-30B-A3B", id="of a certain month"),
        pytest.param("mistralai/Mistral-7B-Instruct-v0.2", "mistralai/Mistral-7B-Instruct-v0.3", id="of another version"),
        pytest.param("codellama/CodeLlama-34b-Instruct-hf", "codellama/CodeLlama-34b-Instruct-hf", id="with its format in the name"),
    ],
)
def test_ids_as_people_write_them_find_the_shape(written: str, found: str) -> None:
    model = catalogue_model(written)
    assert model is not None
    assert model.id == found


@pytest.mark.parametrize(
    "written", ["acme/chat-8b", "meta-llama/Llama-3.1-9B", "microsoft/phi", "nvidia/Llama-3.1-70B-Instruct-NVFP4", "-"]
)
def test_what_is_not_in_the_catalogue_is_not_guessed(written: str) -> None:
    assert catalogue_model(written) is None


@pytest.mark.parametrize(
    ("written", "quantization"),
    [
        ("Qwen/Qwen3-32B-FP8", Quantization.FP8),
        ("Qwen/Qwen2.5-72B-Instruct-AWQ", Quantization.AWQ),
        ("Qwen/Qwen2.5-72B-Instruct-GPTQ-Int4", Quantization.GPTQ),
        ("RedHatAI/Llama-3.3-70B-Instruct-quantized.w8a8", Quantization.INT8),
        ("meta-llama/Llama-3.3-70B-Instruct", None),
        pytest.param("nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-FP8", None, id="a row that is fp8 itself: as published"),
    ],
)
def test_the_id_tells_how_weights_are_stored(written: str, quantization: Quantization | None) -> None:
    assert stored_as(written) is quantization


def test_the_spec_goes_before_the_catalogue_and_before_the_name() -> None:
    mine = shape(layers=40)
    given = known_model(Model(id="Qwen/Qwen3-32B-FP8", architecture=mine, quantization=Quantization.INT8))
    assert given == KnownModel(architecture=mine, quantization=Quantization.INT8, source="model.architecture")


def test_a_catalogue_model_says_where_its_shape_was_read_and_how_long_its_context_may_be() -> None:
    found = known_model(Model(id="Qwen/Qwen3-8B"))
    assert found is not None
    assert found.source.startswith("config.json of Qwen/Qwen3-8B")
    assert found.context_tokens == 40_960


def test_an_unknown_model_names_three_ways_out() -> None:
    found = resolve_model(Model(id="acme/chat-8b"))
    assert isinstance(found, Problem)
    for way in ("acme/chat-8b", "model.architecture", "--model-config", "catalogue"):
        assert way in found.message


def test_the_catalogue_has_at_least_forty_models_of_the_families_that_people_run() -> None:
    assert len(MODELS) >= 40
    families = {model.family for model in MODELS}
    wanted = {"Llama", "Qwen2.5", "Qwen3", "Mistral", "Gemma", "DeepSeek", "Phi", "gpt-oss", "CodeLlama", "GLM", "Granite"}
    assert wanted <= families


def test_no_name_stands_for_two_models() -> None:
    names = [plain_name(name) for model in MODELS for name in (model.id, *model.also)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.id)
def test_a_row_is_sound(model: CatalogueModel) -> None:
    found = model.architecture
    assert found.attention_heads % found.key_value_heads == 0
    assert splits(found, 1)
    assert (found.active_parameters or 1) < found.parameters
    assert (found.attention_layers or 0) <= found.layers
    assert (found.sliding_window_layers is None) == (found.sliding_window_tokens is None)
    assert (found.attention_layers is None) == (found.recurrent_state_kib is None)
    assert model.context_tokens >= 2048
    assert 0.4 < weights_bytes(found, None) / found.parameters < 2.1
