"""config.json: the shape comes out right for every kind of attention, and what is wrong with a file is said."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.api.model import Architecture
from spillway.plan.model.architecture import Unreadable, architecture_of
from spillway.plan.model.models import catalogue_model

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14_336,
    "vocab_size": 128_256,
    "tie_word_embeddings": False,
    "max_position_embeddings": 131_072,
}
MIXTRAL = LLAMA | {"model_type": "mixtral", "vocab_size": 32_000, "num_local_experts": 8, "num_experts_per_tok": 2}
DEEPSEEK: dict[str, Any] = {
    "model_type": "deepseek_v3",
    "hidden_size": 7168,
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "intermediate_size": 18_432,
    "moe_intermediate_size": 2048,
    "n_routed_experts": 256,
    "num_experts_per_tok": 8,
    "n_shared_experts": 1,
    "first_k_dense_replace": 3,
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "vocab_size": 129_280,
    "tie_word_embeddings": False,
    "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]},
}
GPT_OSS: dict[str, Any] = {
    "model_type": "gpt_oss",
    "hidden_size": 2880,
    "num_hidden_layers": 24,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "intermediate_size": 2880,
    "num_local_experts": 32,
    "num_experts_per_tok": 4,
    "layer_types": ["sliding_attention", "full_attention"] * 12,
    "sliding_window": 128,
    "vocab_size": 201_088,
    "tie_word_embeddings": False,
    "max_position_embeddings": 131_072,
    "quantization_config": {
        "quant_method": "mxfp4",
        "modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"],
    },
}
GEMMA: dict[str, Any] = {
    "model_type": "gemma3",
    "text_config": {
        "model_type": "gemma3_text",
        "hidden_size": 3840,
        "num_hidden_layers": 48,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 256,
        "intermediate_size": 15_360,
        "sliding_window": 1024,
        "vocab_size": 262_208,
        "max_position_embeddings": 131_072,
    },
}
QWEN_NEXT: dict[str, Any] = {
    "model_type": "qwen3_next",
    "hidden_size": 2048,
    "num_hidden_layers": 48,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "head_dim": 256,
    "attn_output_gate": True,
    "full_attention_interval": 4,
    "linear_num_key_heads": 16,
    "linear_key_head_dim": 128,
    "linear_num_value_heads": 32,
    "linear_value_head_dim": 128,
    "num_experts": 512,
    "num_experts_per_tok": 10,
    "moe_intermediate_size": 512,
    "shared_expert_intermediate_size": 512,
    "vocab_size": 151_936,
    "tie_word_embeddings": False,
}
NEMOTRON: dict[str, Any] = {
    "model_type": "nemotron_h",
    "hidden_size": 2688,
    "num_hidden_layers": 52,
    "num_attention_heads": 32,
    "num_key_value_heads": 2,
    "head_dim": 128,
    "hybrid_override_pattern": "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME",
    "mamba_num_heads": 64,
    "mamba_head_dim": 64,
    "ssm_state_size": 128,
    "n_groups": 8,
    "n_routed_experts": 128,
    "num_experts_per_tok": 6,
    "moe_intermediate_size": 1856,
    "moe_shared_expert_intermediate_size": 3712,
    "vocab_size": 131_072,
    "tie_word_embeddings": False,
}

FALCON: dict[str, Any] = {
    "model_type": "falcon",
    "hidden_size": 4544,
    "num_hidden_layers": 32,
    "num_attention_heads": 71,
    "vocab_size": 65_024,
    "multi_query": True,
    "new_decoder_architecture": False,
}
FALCON_40B: dict[str, Any] = {
    "hidden_size": 8192,
    "num_hidden_layers": 60,
    "num_attention_heads": 128,
    "num_kv_heads": 8,
    "new_decoder_architecture": True,
}
STARCODER: dict[str, Any] = {
    "model_type": "gpt_bigcode",
    "n_embd": 6144,
    "n_layer": 40,
    "n_head": 48,
    "n_inner": 24_576,
    "vocab_size": 49_152,
    "multi_query": True,
}
COMMAND_R: dict[str, Any] = {
    "model_type": "cohere",
    "hidden_size": 8192,
    "num_hidden_layers": 40,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "intermediate_size": 24_576,
    "vocab_size": 256_000,
}
APERTUS: dict[str, Any] = {
    "model_type": "apertus",
    "hidden_size": 8192,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "intermediate_size": 43_008,
    "vocab_size": 131_072,
    "tie_word_embeddings": False,
}
MPT: dict[str, Any] = {"model_type": "mpt", "d_model": 4096, "n_layers": 32, "n_heads": 32, "vocab_size": 50_432}


def read(config: dict[str, Any]) -> Architecture:
    found = architecture_of(config)
    assert isinstance(found, Architecture), found
    return found


@pytest.mark.parametrize(
    ("config", "model_id", "published_billions"),
    [
        pytest.param(LLAMA, "meta-llama/Llama-3.1-8B-Instruct", 8.03, id="grouped queries"),
        pytest.param(MIXTRAL, "mistralai/Mixtral-8x7B-Instruct-v0.1", 46.7, id="experts"),
        pytest.param(DEEPSEEK, "deepseek-ai/DeepSeek-V3", 671, id="latent attention, fp8, dense layers first"),
        pytest.param(GPT_OSS, "openai/gpt-oss-20b", 20.9, id="every second layer a window, 4 bits"),
        pytest.param(GEMMA, "google/gemma-3-12b-it", 11.8, id="five windows of six, language model inside"),
        pytest.param(QWEN_NEXT, "Qwen/Qwen3-Next-80B-A3B-Instruct", 79.7, id="three of four layers recurrent"),
        pytest.param(NEMOTRON, "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", 31.6, id="each layer one thing"),
    ],
)
def test_a_file_gives_the_shape_of_the_catalogue_and_the_published_count(
    config: dict[str, Any], model_id: str, published_billions: float
) -> None:
    found, listed = read(config), catalogue_model(model_id)
    assert listed is not None
    assert found == listed.architecture
    assert found.parameters / 1e9 == pytest.approx(published_billions, rel=0.01)


def test_a_gate_of_attention_is_counted_where_the_kind_has_one_and_the_file_does_not_say_so() -> None:
    unsaid = {name: found for name, found in QWEN_NEXT.items() if name != "attn_output_gate"}
    assert read(unsaid) == read(QWEN_NEXT)
    assert read(QWEN_NEXT | {"attn_output_gate": False}).parameters < read(QWEN_NEXT).parameters


@pytest.mark.parametrize(
    ("config", "active_billions"),
    [pytest.param(MIXTRAL, 12.9, id="Mixtral"), pytest.param(DEEPSEEK, 37, id="DeepSeek"), pytest.param(QWEN_NEXT, 3.9, id="Qwen3 Next")],
)
def test_experts_that_a_token_does_not_pass_are_not_active(config: dict[str, Any], active_billions: float) -> None:
    found = read(config)
    assert found.active_parameters is not None
    assert found.active_parameters / 1e9 == pytest.approx(active_billions, rel=0.03)


@pytest.mark.parametrize(
    ("config", "published_billions", "key_value_heads"),
    [
        pytest.param(FALCON, 6.92, 1, id="Falcon: all queries share one key"),
        pytest.param(FALCON | FALCON_40B, 41.3, 8, id="newer Falcon: its keys are counted, whatever multi_query says"),
        pytest.param(STARCODER, 15.5, 1, id="StarCoder: one key, one table, no gate"),
        pytest.param(COMMAND_R, 32.3, 8, id="Command R: one table, which its file does not say"),
        pytest.param(APERTUS, 70.6, 8, id="Apertus: no gate"),
        pytest.param(MPT, 6.65, 32, id="MPT: one table, no gate"),
    ],
)
def test_what_a_file_leaves_to_the_kind_of_model_is_known(config: dict[str, Any], published_billions: float, key_value_heads: int) -> None:
    found = read(config)
    assert found.parameters / 1e9 == pytest.approx(published_billions, rel=0.01)
    assert found.key_value_heads == key_value_heads


@pytest.mark.parametrize(
    ("changes", "layers", "tokens"),
    [
        pytest.param({"sliding_window": 4096}, 32, 4096, id="all layers"),
        pytest.param({"sliding_window": 4096, "use_sliding_window": False}, None, None, id="not where it is switched off"),
        pytest.param({"sliding_window": 131_072}, None, None, id="not where it is as long as the context"),
        pytest.param({"sliding_window": None}, None, None, id="not where it is null"),
        pytest.param({"model_type": "gemma2", "sliding_window": 4096}, 16, 4096, id="every second layer of Gemma 2"),
        pytest.param({"sliding_window": 4096, "sliding_window_pattern": "LLLG"}, 24, 4096, id="three of four, as letters say"),
    ],
)
def test_windows(changes: dict[str, Any], layers: int | None, tokens: int | None) -> None:
    found = read(LLAMA | changes)
    assert (found.sliding_window_layers, found.sliding_window_tokens) == (layers, tokens)


@pytest.mark.parametrize(
    ("quantized", "bytes_each"),
    [
        pytest.param({"quant_method": "fp8"}, 1.0, id="fp8"),
        pytest.param({"quant_method": "awq", "bits": 4}, 0.53, id="awq"),
        pytest.param({"quant_method": "bitsandbytes", "load_in_4bit": True}, 0.53, id="bitsandbytes in 4 bits"),
        pytest.param({"quant_method": "bitsandbytes", "load_in_8bit": True, "load_in_4bit": False}, 1.0, id="bitsandbytes in 8 bits"),
        pytest.param(
            {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": {"num_bits": 8}}}}, 1.0, id="in groups"
        ),
    ],
)
def test_weights_published_quantized_are_counted_so_and_embeddings_in_16_bits(quantized: dict[str, Any], bytes_each: float) -> None:
    found = read(LLAMA | {"quantization_config": quantized})
    table = 2 * 128_256 * 4096
    assert found.weight_bytes == pytest.approx((found.parameters - table) * bytes_each + 2 * table, rel=0.001)


KIMI_INT4 = {"group_0": {"weights": {"num_bits": 4, "group_size": 32}}}


@pytest.mark.parametrize(
    ("quantized", "bits", "attention_bits"),
    [
        pytest.param({"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn", "lm_head"]}, 4.25, 16, id="gpt-oss"),
        pytest.param(
            {"quant_method": "compressed-tensors", "config_groups": KIMI_INT4, "ignore": ["lm_head", "re:.*self_attn.*"]},
            4.5,
            16,
            id="Kimi, with scales of smaller groups",
        ),
        pytest.param(
            {"quant_method": "fp8", "modules_to_not_convert": ["visual.blocks.0.self_attn", "model.layers.0.self_attn"]},
            8,
            8,
            id="in parts",
        ),
    ],
)
def test_attention_is_counted_in_16_bits_where_it_is_left_so(quantized: dict[str, Any], bits: float, attention_bits: int) -> None:
    found = read(LLAMA | {"quantization_config": quantized})
    table, attention = 2 * 128_256 * 4096, 32 * 4096 * 128 * (2 * 32 + 2 * 8)
    rest = found.parameters - table - attention
    assert found.weight_bytes == pytest.approx((rest * bits + attention * attention_bits) / 8 + 2 * table, rel=0.001)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        pytest.param({}, "hidden_size", id="nothing in it"),
        pytest.param({key: value for key, value in LLAMA.items() if key != "num_hidden_layers"}, "num_hidden_layers", id="no layers"),
        pytest.param(LLAMA | {"num_hidden_layers": "32"}, "num_hidden_layers is '32'", id="a number in quotes"),
        pytest.param(LLAMA | {"num_hidden_layers": True}, "num_hidden_layers is True", id="a truth for a number"),
        pytest.param(LLAMA | {"num_attention_heads": 0}, "are inconsistent", id="no heads"),
        pytest.param(LLAMA | {"num_hidden_layers": 10**9}, "which no model has", id="beyond any bound"),
        pytest.param(GPT_OSS | {"layer_types": ["full_attention"]}, "layer_types lists 1 of 24 layers", id="a list that is too short"),
        pytest.param(NEMOTRON | {"hybrid_override_pattern": "MX"}, "hybrid_override_pattern", id="letters it does not know"),
        pytest.param(MIXTRAL | {"num_experts_per_tok": None}, "num_experts_per_tok", id="experts without how many"),
        pytest.param({"model_type": "deepseek_v4"}, "compressed by layer", id="a cache of another kind"),
        pytest.param({"model_type": "bert"}, "not a generative model", id="a model that does not generate"),
        pytest.param(LLAMA | {"swa_num_key_value_heads": 4}, "same keys and values", id="layers with different heads"),
        pytest.param(LLAMA | {"per_layer_config": {"05": {"head_dim": 512}}}, "same keys and values", id="in transformers 5's way"),
        pytest.param({"model_type": "gemma4", "text_config": LLAMA | {"model_type": "gemma4_text"}}, "same keys and values", id="Gemma 4"),
        pytest.param(LLAMA | {"hidden_size_per_layer_input": 256}, "embeddings per layer", id="more tables"),
        pytest.param(LLAMA | {"model_type": "minimax_m3_vl_text"}, "two kinds of attention", id="a language model within another"),
        pytest.param(LLAMA | {"moe_num_experts": 64, "moe_k": 6}, "moe_num_experts", id="experts under another name"),
        pytest.param(LLAMA | {"layer_types": ["conv", "full_attention"] * 16}, "'conv'", id="layers of a kind it does not know"),
        pytest.param(LLAMA | {"attn_type_list": [0, 1] * 16}, "attn_type_list", id="recurrent layers listed in another way"),
        pytest.param(LLAMA | {"mamba_d_ssm": 3072}, "mamba_d_ssm", id="layers that are recurrent beside attention"),
        pytest.param({"model_type": "jamba"}, "mix attention and recurrent", id="recurrent layers by a period"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_what_to_do(config: dict[str, Any], said: str) -> None:
    found = architecture_of(config)
    assert isinstance(found, Unreadable)
    assert said in found.message
    assert "set model.architecture" in found.message


@given(
    base=st.sampled_from([LLAMA, MIXTRAL, DEEPSEEK, GPT_OSS, QWEN_NEXT, NEMOTRON]),
    changes=st.dictionaries(
        st.sampled_from(sorted({key for config in (LLAMA, MIXTRAL, DEEPSEEK, GPT_OSS, QWEN_NEXT, NEMOTRON) for key in config})),
        st.one_of(
            st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.integers(), max_size=3), st.just({})
        ),
        max_size=4,
    ),
)
def test_no_file_makes_it_fall_over(base: dict[str, Any], changes: dict[str, Any]) -> None:
    assert isinstance(architecture_of(base | changes), Architecture | Unreadable)
