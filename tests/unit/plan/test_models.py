"""The catalogue of models: ids as people write them find the shape, and rows are sound."""

import pytest

from spillway.api.model import Model, Quantization
from spillway.plan.decision import Problem
from spillway.plan.model.model_catalogue import (
    AICONFIGURATOR,
    COPIES,
    INFERENCE_SIM,
    MLC,
    MODELS,
    OTHERS,
    OWN_CONTEXTS,
    READ,
    TT_METAL,
    UNCONFIRMED,
    CatalogueModel,
)
from spillway.plan.model.models import KnownModel, catalogue_model, known_model, plain_name, resolve_model, stored_as
from spillway.plan.replica.memory import splits, weights_bytes
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
        pytest.param("Qwen/Qwen2.5-72B-Instruct-GPTQ-Int8", Quantization.INT8, id="the same method in twice the bits"),
        ("RedHatAI/Llama-3.3-70B-Instruct-quantized.w8a8", Quantization.INT8),
        pytest.param("unsloth/Llama-3.3-70B-Instruct-bnb-4bit", Quantization.GPTQ, id="four bits, whose they are"),
        pytest.param("unsloth/Llama-3.3-70B-Instruct-bnb-8bit", Quantization.INT8, id="eight"),
        ("Qwen/Qwen2.5-7B-Instruct-GPTQ-8bit", Quantization.INT8),
        pytest.param("unsloth/DeepSeek-V3-bf16", Quantization.BF16, id="in more bits than its maker publishes"),
        ("meta-llama/Llama-3.3-70B-Instruct", None),
        pytest.param("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", None, id="a row that is bf16 itself: as published"),
        pytest.param("nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-FP8", None, id="a row that is fp8 itself: as published"),
    ],
)
def test_the_id_tells_how_weights_are_stored(written: str, quantization: Quantization | None) -> None:
    assert stored_as(written) is quantization


@pytest.mark.parametrize(
    ("written", "gigabytes"),
    [
        pytest.param("unsloth/Llama-3.3-70B-Instruct-bnb-4bit", 40.5, id="a 70B model in four bits"),
        pytest.param("unsloth/DeepSeek-V3-bf16", 1342, id="one of fp8 in sixteen"),
        pytest.param("deepseek-ai/DeepSeek-V3", 673, id="as published"),
        pytest.param("openai/gpt-oss-20b", 13.74, id="12.8 GiB by its model card, attention in 16 bits"),
        pytest.param("openai/gpt-oss-120b", 65.28, id="60.8 GiB by its model card"),
        pytest.param("moonshotai/Kimi-K2-Thinking", 594, id="as its files are long, experts alone in four bits"),
        pytest.param("Qwen/Qwen3-235B-A22B-Thinking-2507-FP8", 236, id="of a release that thinks, in eight"),
        pytest.param("google/gemma-3-27b-pt", 54.0, id="before it was tuned"),
    ],
)
def test_weights_take_what_the_id_says(written: str, gigabytes: float) -> None:
    found = known_model(Model(id=written))
    assert found is not None
    assert weights_bytes(found.architecture, found.quantization) / 1e9 == pytest.approx(gigabytes, rel=0.01)


def test_the_spec_goes_before_the_catalogue_and_before_the_name() -> None:
    mine = shape(layers=40)
    given = known_model(Model(id="Qwen/Qwen3-32B-FP8", architecture=mine, quantization=Quantization.INT8))
    assert given == KnownModel(architecture=mine, quantization=Quantization.INT8, source="model.architecture")


def test_a_catalogue_model_says_where_its_shape_was_read_and_how_long_its_context_may_be() -> None:
    found = known_model(Model(id="Qwen/Qwen3-8B"))
    assert found is not None
    assert found.source.startswith("config.json of Qwen/Qwen3-8B")
    assert found.context_tokens == 40_960


@pytest.mark.parametrize(
    ("written", "context_tokens"),
    [
        pytest.param("meta-llama/Meta-Llama-3-8B-Instruct", 8_192, id="an earlier release allows less"),
        pytest.param("meta-llama/Llama-3.1-8B-Instruct", 131_072, id="than the one of the row"),
        pytest.param("Qwen/Qwen3-30B-A3B-Instruct-2507-FP8", 262_144, id="a later one allows more"),
        pytest.param("Qwen/Qwen3-235B-A22B-Instruct-2507", 262_144, id="of the largest, too"),
        pytest.param("Qwen/Qwen3-30B-A3B", 40_960, id="than the first"),
        pytest.param("Qwen/Qwen3-235B-A22B-Thinking-2507", 262_144, id="and that which only thinks"),
        pytest.param("deepseek-ai/DeepSeek-V3.1-Terminus", 163_840, id="a release with a name"),
        pytest.param("zai-org/GLM-5.2-FP8", 1_048_576, id="five times as much"),
        pytest.param("MiniMaxAI/MiniMax-M2.7", 204_800, id="a little more"),
        pytest.param("moonshotai/Kimi-K2-Instruct-0905", 262_144, id="of a certain month"),
        pytest.param("deepseek-ai/DeepSeek-R1-0528-Qwen3-8B", 131_072, id="distilled, with its date inside"),
        pytest.param("deepseek-ai/DeepSeek-R1-Distill-Qwen-32B", 131_072, id="distilled"),
        pytest.param("mistralai/Mistral-Small-3.2-24B-Instruct-2506", 131_072, id="another version"),
        pytest.param("mistralai/Mistral-Small-24B-Instruct-2501", 32_768, id="the version of the row, dated too"),
    ],
)
def test_a_model_of_another_ones_shape_keeps_a_context_of_its_own(written: str, context_tokens: int) -> None:
    found = known_model(Model(id=written))
    assert found is not None
    assert found.context_tokens == context_tokens


def test_a_context_of_its_own_belongs_to_a_name_of_the_catalogue_and_differs() -> None:
    for name, tokens in OWN_CONTEXTS.items():
        row = catalogue_model(name)
        assert row is not None, name
        assert row.context_tokens != tokens, name


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


# The config.json that each copy holds and that was read, as the copy names it.
READ_FILES = {
    AICONFIGURATOR: {
        *("MiniMaxAI/MiniMax-M2.5", "XiaomiMiMo/MiMo-7B-Base", "zai-org/GLM-5", "openai/gpt-oss-20b", "openai/gpt-oss-120b"),
        *("Qwen/Qwen3-0.6B", "Qwen/Qwen3-1.7B", "Qwen/Qwen3-8B", "Qwen/Qwen3-32B"),
        *("Qwen/Qwen3-30B-A3B", "Qwen/Qwen3-235B-A22B", "Qwen/Qwen3-Coder-480B-A35B-Instruct"),
        *("Qwen/Qwen3.5-27B", "Qwen/Qwen3.5-35B-A3B", "Qwen/Qwen3.5-122B-A10B", "Qwen/Qwen3.5-397B-A17B"),
        *("deepseek-ai/DeepSeek-V3", "deepseek-ai/DeepSeek-V3.2", "moonshotai/Kimi-K2-Instruct", "moonshotai/Kimi-K2.5"),
        *("meta-llama/Llama-4-Scout-17B-16E-Instruct", "meta-llama/Llama-4-Maverick-17B-128E-Instruct"),
        *("meta-llama/Meta-Llama-3.1-70B", "meta-llama/Meta-Llama-3.1-405B"),
        *("mistralai/Mixtral-8x7B-v0.1", "mistralai/Mixtral-8x22B-v0.1"),
        *("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", "nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-FP8"),
    },
    INFERENCE_SIM: {
        *("meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-2-7b-hf", "codellama/CodeLlama-34b-Instruct-hf", "01-ai/Yi-34B"),
        *("Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen3-14B", "mistralai/Mistral-Nemo-Instruct-2407", "deepseek-ai/DeepSeek-V2-Lite"),
    },
    MLC: {
        *("codellama/CodeLlama-7b-hf", "codellama_13b", "tinyllama_1b_chat_v1.0", "Phi-4-mini-instruct", "olmo2_32b"),
        *("gemma2_2b", "gemma2_9b", "gemma2_27b", "gemma3_1b_it"),
    },
    TT_METAL: {
        *("meta-llama/Llama-3.2-1B-Instruct", "meta-llama/Llama-3.2-3B-Instruct"),
        *("mistralai/Mistral-7B-Instruct-v0.3", "microsoft/phi-4"),
    },
}


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.id)
def test_a_row_says_where_it_was_read_and_claims_no_file_that_was_not(model: CatalogueModel) -> None:
    assert model.read_in in COPIES | OTHERS | {UNCONFIRMED}
    assert model.read_in in model.source
    assert model.read_of
    assert model.source.startswith("config.json of ") == (model.read_in in COPIES)
    assert ("config.json" in model.source) == (model.read_of in READ_FILES.get(model.read_in, ()))
    assert (READ in model.source) == (model.read_in != UNCONFIRMED)


def test_every_copy_and_every_other_place_is_one_that_a_row_was_read_in() -> None:
    assert {model.read_in for model in MODELS} == COPIES | OTHERS | {UNCONFIRMED}
    assert {(model.read_in, model.read_of) for model in MODELS if model.read_in in COPIES} == {
        (copy, name) for copy, names in READ_FILES.items() for name in names
    }


@pytest.mark.parametrize(
    ("written", "found"),
    [
        pytest.param("moonshotai/Kimi-K2-Thinking", "moonshotai/Kimi-K2.5", id="published in 4 bits, unlike Kimi K2 Instruct"),
        pytest.param(
            "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", id="two tables, unlike Qwen"
        ),
        pytest.param("CohereForAI/c4ai-command-r", None, id="the first one keeps 64 heads, not 8"),
    ],
)
def test_a_name_stands_for_a_shape_only_where_the_shape_is_the_same(written: str, found: str | None) -> None:
    model = catalogue_model(written)
    assert (model.id if model is not None else None) == found
