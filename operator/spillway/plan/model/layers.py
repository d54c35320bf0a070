"""What kinds of layers a config.json lists: attention over everything or a window, recurrent, dense or of experts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

STATE_BYTES = 4  # recurrent state is kept in float32 (mamba_ssm_dtype, mamba_ssm_cache_dtype)
SSM_GROUPS = 8  # mamba2's default groups
GEMMA2_PERIOD = 2  # every second layer of Gemma 2 sees everything; its config.json does not say so
GEMMA3_PERIOD = 6
BLOCK_LETTERS = {"mamba": "M", "attention": "*", "mlp": "-", "moe": "E"}
LLAMA4_PERIOD = 4  # no_rope_layer_interval
WINDOWED = frozenset({"sliding_attention", "chunked_attention"})
RECURRENT = frozenset({"linear_attention", "mamba", "recurrent"})
KINDS = WINDOWED | RECURRENT | {"attention", "full_attention", "global_attention"}
# What says that some layers are recurrent, in kinds of models that do not list their layers.
RECURRENT_FIELDS = ("attn_layer_indices", "attn_layer_period", "attn_type_list", "block_types", "mamba_d_ssm", "mamba_d_state")


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPlan:
    """How many layers of each kind there are."""

    attention: int  # that keep keys and values
    windowed: int  # of those: the ones that keep a window only
    window_tokens: int | None
    recurrent: int  # that keep a state instead
    recurrent_parameters: int  # of one such layer
    state_kib: int  # of all of them, per request
    dense: int  # with one feed-forward
    expert_layers: int  # with experts


def whole_number(found: object) -> int | None:
    """Return the value where it is a whole number, else None; true and false are not numbers here."""
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def layer_plan(raw: Mapping[str, object], layers: int) -> LayerPlan:
    """Return the kinds of layers. Raises ValueError where the file contradicts itself."""
    pattern = block_letters(raw)
    if pattern is not None:
        return _by_letters(raw, pattern, layers)
    kinds = _kinds(raw, layers)
    windowed = sum(kind in WINDOWED for kind in kinds)
    window = _window(raw)
    recurrent = sum(kind in RECURRENT for kind in kinds)
    experts = _expert_layers(raw, layers)
    return LayerPlan(
        attention=layers - recurrent,
        windowed=windowed if window is not None else 0,
        window_tokens=window,
        recurrent=recurrent,
        recurrent_parameters=_recurrent_parameters(raw) if recurrent else 0,
        state_kib=recurrent * _state_bytes(raw) // 1024 if recurrent else 0,
        dense=layers - experts,
        expert_layers=experts,
    )


def block_letters(raw: Mapping[str, object]) -> str | None:
    """Return a letter for each layer of a model whose layers are one thing each; None for the usual layer of attention and feed-forward."""
    pattern, blocks = raw.get("hybrid_override_pattern"), raw.get("layers_block_type")
    if isinstance(pattern, str):
        return pattern.replace("|", "")
    if isinstance(blocks, Sequence) and not isinstance(blocks, str):
        return "".join(BLOCK_LETTERS.get(str(block), "?") for block in blocks)
    if raw.get("model_type") == "nemotron_h":
        raise ValueError("it has no hybrid_override_pattern with the kind of each layer")
    return None


def _by_letters(raw: Mapping[str, object], pattern: str, layers: int) -> LayerPlan:
    """Nemotron-H: M is a recurrent layer, * attention, - a dense feed-forward, E experts; each is a layer by itself."""
    if len(pattern) != layers or set(pattern) - set("M*-E"):
        raise ValueError(f"hybrid_override_pattern has {len(pattern)} letters for {layers} layers, each of M, *, - and E")
    recurrent = pattern.count("M")
    return LayerPlan(
        attention=pattern.count("*"),
        windowed=0,
        window_tokens=None,
        recurrent=recurrent,
        recurrent_parameters=_recurrent_parameters(raw) if recurrent else 0,
        state_kib=recurrent * _state_bytes(raw) // 1024 if recurrent else 0,
        dense=pattern.count("-"),
        expert_layers=pattern.count("E"),
    )


def unknown_kind(raw: Mapping[str, object]) -> str | None:
    """Return a kind of layer that the file lists and that is not known here; None where all are."""
    stated = raw.get("layer_types")
    listed = stated if isinstance(stated, Sequence) and not isinstance(stated, str) else ()
    return next((str(kind) for kind in listed if str(kind) not in KINDS), None)


def _kinds(raw: Mapping[str, object], layers: int) -> Sequence[str]:
    stated = raw.get("layer_types")
    if isinstance(stated, Sequence) and not isinstance(stated, str) and stated:
        if len(stated) != layers:
            raise ValueError(f"layer_types lists {len(stated)} of {layers} layers")
        return [str(kind) for kind in stated]
    model_type = str(raw.get("model_type", ""))
    period = _whole(raw, "sliding_window_pattern", "full_attention_interval")
    if period is None and model_type.startswith(("gemma2", "gemma3", "llama4")):
        period = GEMMA2_PERIOD if model_type.startswith("gemma2") else LLAMA4_PERIOD if model_type.startswith("llama4") else GEMMA3_PERIOD
    others = "linear_attention" if "full_attention_interval" in raw else "sliding_attention"
    letters = raw.get("sliding_window_pattern")
    if isinstance(letters, str) and letters:  # EXAONE 4: a letter for each layer, over and over, L for a window and G for everything
        return ["full_attention" if letters[layer % len(letters)] == "G" else others for layer in range(layers)]
    if period:
        return ["full_attention" if layer % period == period - 1 else others for layer in range(layers)]
    return ["sliding_attention" if raw.get("use_sliding_window", True) else "full_attention"] * layers


def _window(raw: Mapping[str, object]) -> int | None:
    """Return the tokens a window keeps; None without a window, or where it is as long as the longest context."""
    found = _whole(raw, "sliding_window", "attention_chunk_size")
    longest = _whole(raw, "max_position_embeddings")
    return None if found is None or found < 1 or (longest is not None and found >= longest) else found


def _expert_layers(raw: Mapping[str, object], layers: int) -> int:
    if not _whole(raw, "n_routed_experts", "num_experts", "num_local_experts"):
        return 0
    kinds = raw.get("mlp_layer_types")
    if isinstance(kinds, Sequence) and not isinstance(kinds, str) and len(kinds) == layers:
        return sum(kind == "sparse" for kind in kinds)
    dense = raw.get("mlp_only_layers")
    if isinstance(dense, Sequence) and not isinstance(dense, str) and dense:
        return layers - len(dense)
    first = _whole(raw, "first_k_dense_replace", "num_dense_layers") or 0
    every = _whole(raw, "interleave_moe_layer_step", "decoder_sparse_step") or 1
    return (layers - first) // every


def _recurrent_parameters(raw: Mapping[str, object]) -> int:
    hidden = _whole(raw, "hidden_size") or 0
    value_heads = _whole(raw, "linear_num_value_heads")
    if value_heads is not None:  # gated delta net: queries, keys, values and a gate in; values out; two scalars per head
        keys = _needed(raw, "linear_num_key_heads") * _needed(raw, "linear_key_head_dim")
        values = value_heads * _needed(raw, "linear_value_head_dim")
        return hidden * (2 * keys + 2 * values + 2 * value_heads) + values * hidden
    heads = _needed(raw, "mamba_num_heads", "mamba_n_heads")  # mamba2: value and gate in, the state's two projections per group; value out
    inner = heads * _needed(raw, "mamba_head_dim", "mamba_d_head")
    groups = _whole(raw, "n_groups", "mamba_n_groups") or SSM_GROUPS
    return hidden * (2 * inner + 2 * groups * _needed(raw, "ssm_state_size", "mamba_d_state") + heads) + inner * hidden


def _state_bytes(raw: Mapping[str, object]) -> int:
    value_heads = _whole(raw, "linear_num_value_heads")
    if value_heads is not None:
        return value_heads * _needed(raw, "linear_value_head_dim") * _needed(raw, "linear_key_head_dim") * STATE_BYTES
    heads = _needed(raw, "mamba_num_heads", "mamba_n_heads")
    return heads * _needed(raw, "mamba_head_dim", "mamba_d_head") * _needed(raw, "ssm_state_size", "mamba_d_state") * STATE_BYTES


def _needed(raw: Mapping[str, object], *names: str) -> int:
    found = _whole(raw, *names)
    if found is None:
        raise ValueError(f"it has recurrent layers but no {' or '.join(names)}")
    return found


def _whole(raw: Mapping[str, object], *names: str) -> int | None:
    return next((found for name in names if (found := whole_number(raw.get(name))) is not None), None)
