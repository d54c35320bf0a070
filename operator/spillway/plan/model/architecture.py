"""A model's config.json, as Hugging Face repositories carry it, read into the shape that sizing needs.

Parameters are counted from the shape, since config.json does not state them; the count is within 1 % of what is published of the models of
the catalogue (tests/unit/plan/test_architecture.py). Biases, norms and routers, which make the difference, are left out.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from spillway.api.model import Architecture
from spillway.plan.model.layers import RECURRENT_FIELDS, LayerPlan, block_letters, layer_plan, unknown_kind, whole_number

# Shapes that this reader does not know how to count or whose cache is of another kind: better no answer than a wrong one.
UNLIKE_OTHERS = {
    "deepseek_ref": "its cache is compressed by layer",
    "deepseek_v4": "its cache is compressed by layer",
    "dbrx": "its experts and heads are described in other fields",
    "jamba": "its layers mix attention and recurrent ones",
    "bamba": "its layers mix attention and recurrent ones",
    "zamba2": "its layers mix attention and recurrent ones",
    "kimi_linear": "its layers mix two kinds of attention",
    "nemotron-nas": "every layer has a different shape",
    **dict.fromkeys(("minimax_m3", "minimax_m3_vl_text"), "its layers mix two kinds of attention"),
    # Some files say it under names of their own, or in a part that a replica's last words have no room for.
    **dict.fromkeys(
        ("gemma4", "gemma4_text", "gemma4_unified", "gemma4_unified_text"), "its layers do not all cache the same keys and values"
    ),
    "mamba": "it has no attention",
    "mamba2": "it has no attention",
    "rwkv": "it has no attention",
    "t5": "it is an encoder and decoder",
    "bert": "it is not a generative model",
}
UNGATED = frozenset(
    {"apertus", "arcee", "bloom", "falcon", "gpt2", "gpt_bigcode", "gpt_neox", "gptj", "jais2", "mpt", "nemotron", "nemotron_h", "opt"}
    | {"persimmon", "phi", "starcoder2"}
)
# Kinds whose one table serves input and output unless config.json says otherwise, which then need not say it (transformers' defaults).
TIED = ("bloom", "cohere", "ernie4_5", "falcon", "gemma", "gpt2", "gpt_bigcode", "minicpm3", "mpt", "opt", "smollm3", "starcoder2")
GATED_ATTENTION = ("qwen3_5", "qwen3_next")  # kinds whose attention has an output gate, which their files need not say
_ALL_ATTENTION = re.compile(r"(re:)?(model\.layers)?[.*]*self_attn[.*]*")  # as lists of what is not quantized have it
MOST_LAYERS = 1000  # as in the API; the layers are listed one by one
GATED_MATRICES = 3  # gate, up and down
UNGATED_MATRICES = 2  # up and down


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """Why a config.json does not give a shape: what, which and what next."""

    message: str


class _MissingError(Exception):
    """A field is not there or not what it should be."""


@dataclass(frozen=True, slots=True)
class _Config:
    """The fields, under the names that different families use for them."""

    raw: Mapping[str, object]

    def maybe(self, *names: str) -> int | None:
        for name in names:
            if self.raw.get(name) is not None:
                return self._whole(name)
        return None

    def number(self, *names: str) -> int:
        found = self.maybe(*names)
        if found is None:
            raise _MissingError(f"it has no {' or '.join(names)}")
        return found

    def _whole(self, name: str) -> int:
        found = whole_number(self.raw[name])
        if found is None or found < 0:
            raise _MissingError(f"{name} is {self.raw[name]!r}, which is not a whole number")
        return found

    @property
    def model_type(self) -> str:
        return str(self.raw.get("model_type", ""))


def architecture_of(config: Mapping[str, object]) -> Architecture | Unreadable:
    """Return the shape that a config.json describes, or why it does not describe one."""
    inner = config.get("text_config")  # a model that sees images keeps its language model there
    raw = {**config, **inner} if isinstance(inner, Mapping) else dict(config)
    read = _Config(raw)
    why = UNLIKE_OTHERS.get(read.model_type)
    if why is not None:
        return _unreadable(f"model_type {read.model_type!r} is not supported: {why}")
    try:
        return _read(read, config)
    except _MissingError as missing:
        return _unreadable(str(missing))
    except ValidationError as error:
        first = error.errors()[0]
        return _unreadable(f"{'.'.join(str(part) for part in first['loc'])} {first['msg'].lower()}")
    except (TypeError, ValueError, ZeroDivisionError, OverflowError) as error:
        return _unreadable(f"its fields are inconsistent ({error})")


def _unreadable(why: str) -> Unreadable:
    return Unreadable(message=f"config.json gives no usable shape: {why}. Correct the file, or set model.architecture instead.")


def _read(read: _Config, config: Mapping[str, object]) -> Architecture:
    hidden = read.number("hidden_size", "n_embd", "d_model")
    heads = read.number("num_attention_heads", "n_head", "n_heads")
    letters = block_letters(read.raw)
    layers = read.number("num_hidden_layers", "n_layer", "n_layers") if letters is None else len(letters)
    vocabulary = read.number("vocab_size")
    latent = read.maybe("kv_lora_rank")
    head = read.maybe("head_dim") or hidden // heads
    _same_everywhere(read, head)
    if latent:
        head = read.number("qk_nope_head_dim") + read.number("qk_rope_head_dim")
    if layers > MOST_LAYERS:
        raise _MissingError(f"num_hidden_layers is {layers}, which no model has")
    plan = layer_plan(read.raw, layers)
    _only_known_parts(read.raw, plan)
    kv_heads = 1 if _one_key(read.raw) else read.maybe("num_key_value_heads", "num_kv_heads", "n_head_kv") or heads
    tables = 1 if _tied(read.raw) else 2
    embeddings = tables * vocabulary * hidden
    attention = plan.attention * _attention_parameters(read, hidden=hidden, heads=heads, kv_heads=kv_heads, head=head)
    total, active = _count(read, plan, hidden=hidden, attention=attention)
    return Architecture(
        parameters=total + embeddings,
        active_parameters=active + embeddings if active < total else None,
        layers=layers,
        attention_heads=heads,
        key_value_heads=kv_heads,
        head_size=head,
        hidden_size=hidden,
        vocabulary_size=vocabulary,
        embedding_tables=tables,
        weight_bytes=_stored_bytes(config, read, total=total, attention=attention, embeddings=embeddings),
        latent_size=_latent_size(read, latent) if latent else None,
        attention_layers=plan.attention if plan.attention < layers else None,
        sliding_window_layers=plan.windowed or None,
        sliding_window_tokens=plan.window_tokens if plan.windowed else None,
        recurrent_state_kib=plan.state_kib or None,
    )


def _same_everywhere(read: _Config, head: int) -> None:
    """Layers with a window may have heads of their own; one shape for all would be wrong then."""
    heads = read.maybe("num_key_value_heads")
    other_heads, other_head = read.maybe("swa_num_key_value_heads", "num_global_key_value_heads"), read.maybe("global_head_dim")
    of_each = read.raw.get("per_layer_config")  # how transformers 5 writes down what differs from layer to layer
    if other_heads not in (None, heads) or other_head not in (None, head) or read.maybe("num_kv_shared_layers") or of_each:
        raise _MissingError("its layers do not all cache the same keys and values")


def _tied(raw: Mapping[str, object]) -> bool:
    """Whether one table serves input and output: by a field, or else by the model's kind."""
    stated = raw.get("tie_word_embeddings")
    return bool(stated) if stated is not None else str(raw.get("model_type", "")).startswith(TIED)


def _one_key(raw: Mapping[str, object]) -> bool:
    """Whether all queries share one key; of Falcon the newer form counts them, whatever this field says."""
    return bool(raw.get("multi_query")) and not raw.get("new_decoder_architecture")


def _only_known_parts(raw: Mapping[str, object], plan: LayerPlan) -> None:
    """Refuse what has parts under names that are not read here: they would be left out of the count without a word."""
    if raw.get("hidden_size_per_layer_input"):
        raise _MissingError("it has embeddings per layer, which are not supported")
    kind = unknown_kind(raw)
    if kind is not None:
        raise _MissingError(f"it has layers of kind {kind!r}, which are not supported")
    experts = next((name for name, found in raw.items() if "num_experts" in name and "per_tok" not in name and found), None)
    if experts is not None and not plan.expert_layers:
        raise _MissingError(f"it has experts with an unsupported field {experts}")
    recurrent = next((name for name in RECURRENT_FIELDS if raw.get(name) is not None), None)
    if recurrent is not None and not plan.recurrent and not raw.get("layer_types"):
        raise _MissingError(f"it has {recurrent}, but nothing says which of its layers are recurrent")


def _count(read: _Config, plan: LayerPlan, *, hidden: int, attention: int) -> tuple[int, int]:
    """Return the parameters of all layers, and those that one token passes through."""
    mixing = attention + plan.recurrent * plan.recurrent_parameters
    matrices = UNGATED_MATRICES if read.model_type in UNGATED else GATED_MATRICES
    inner = read.maybe("intermediate_size_mlp", "intermediate_size", "ffn_hidden_size", "n_inner") or 4 * hidden
    dense = plan.dense * matrices * hidden * inner
    if not plan.expert_layers:
        return mixing + dense, mixing + dense
    width = read.maybe("moe_intermediate_size") or inner
    if read.model_type.startswith("llama4"):
        width = read.number("intermediate_size")
    latent = read.maybe("moe_latent_size") or hidden
    expert = matrices * latent * width
    shared = read.maybe("n_shared_experts", "num_shared_experts")
    shared_width = read.maybe("shared_expert_intermediate_size", "moe_shared_expert_intermediate_size", "shared_intermediate_size")
    if shared_width is None:
        shared_width = (shared or (1 if read.model_type.startswith("llama4") else 0)) * width
    always = matrices * hidden * shared_width + (plan.expert_layers and 2 * hidden * (latent if latent != hidden else 0))
    experts = read.number("n_routed_experts", "num_experts", "num_local_experts")
    chosen = read.number("num_experts_per_tok", "num_experts_per_token", "top_k_experts")
    beside = mixing + dense + plan.expert_layers * always
    return beside + plan.expert_layers * experts * expert, beside + plan.expert_layers * chosen * expert


def _attention_parameters(read: _Config, *, hidden: int, heads: int, kv_heads: int, head: int) -> int:
    latent = read.maybe("kv_lora_rank")
    if not latent:
        gate = 1 if read.raw.get("attn_output_gate", read.model_type.startswith(GATED_ATTENTION)) else 0
        return hidden * head * (heads * (2 + gate) + 2 * kv_heads)
    rope, value = read.number("qk_rope_head_dim"), read.number("v_head_dim")
    query = read.maybe("q_lora_rank")
    queries = hidden * query + query * heads * head if query else hidden * heads * head
    keys_values = hidden * (latent + rope) + latent * heads * (head - rope + value)
    return queries + keys_values + heads * value * hidden


def _latent_size(read: _Config, latent: int) -> int:
    """Return the values cached per token: the latent, the rotated key, and of sparse attention an index in one byte each."""
    return latent + read.number("qk_rope_head_dim") + (read.maybe("index_head_dim") or 0) // 2


def _stored_bytes(config: Mapping[str, object], read: _Config, *, total: int, attention: int, embeddings: int) -> int | None:
    """Return the bytes of weights that are published quantized; None for 16 bits."""
    quantized = config.get("quantization_config") or read.raw.get("quantization_config")
    if not isinstance(quantized, Mapping) or (bits := _bits(quantized)) is None:
        return None
    in_16_bits = attention if _leaves_attention(quantized) else 0
    return int((total - in_16_bits) * bits / 8) + 2 * (in_16_bits + embeddings)


def _leaves_attention(quantized: Mapping[str, object]) -> bool:
    """Whether attention stays in 16 bits in all layers, as in gpt-oss and in Kimi's int4 releases."""
    listed = [quantized.get(name) for name in ("modules_to_not_convert", "ignore")]
    names = [str(name) for each in listed if isinstance(each, list) for name in each]
    return any(_ALL_ATTENTION.fullmatch(name) for name in names)


def _bits(quantized: Mapping[str, object]) -> float | None:
    method = str(quantized.get("quant_method", ""))
    if method == "mxfp4":
        return 4.25  # 4 bits and an 8-bit scale for each 32
    if "fp8" in method or quantized.get("load_in_8bit") is True:
        return 8.0
    stated = 4 if quantized.get("load_in_4bit") is True else whole_number(quantized.get("bits"))  # bitsandbytes says it so
    group = whole_number(quantized.get("group_size"))
    if stated is None and isinstance(groups := quantized.get("config_groups"), Mapping):
        weights = [each.get("weights") for each in groups.values() if isinstance(each, Mapping)]
        first = next((each for each in weights if isinstance(each, Mapping)), {})
        stated, group = whole_number(first.get("num_bits")), whole_number(first.get("group_size"))
    if stated is None or stated >= 8:  # noqa: PLR2004 - below 8 bits, scales of groups count
        return stated
    return max(stated * 1.06, stated + 16 / group if group is not None and group > 0 else 0.0)
