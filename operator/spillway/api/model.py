"""The model that a workload serves, and where its weights are."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from spillway.api.base import ApiModel, SecretKeyRef

# Written into commands, headers and metric labels: no spaces, no quotes, and no dash first, which would make it a flag.
MODEL_NAME_PATTERN = r"^[A-Za-z0-9@][A-Za-z0-9._:/@+-]*$"


class Quantization(StrEnum):
    """How weights are stored; decides their bytes per parameter."""

    BF16 = "bf16"
    FP16 = "fp16"
    FP8 = "fp8"
    INT8 = "int8"
    AWQ = "awq"
    GPTQ = "gptq"


class Architecture(ApiModel):
    """The shape of a model, as its Hugging Face config.json states it; needed to check that it fits an accelerator."""

    parameters: Annotated[int, Field(ge=1, le=10**13, description="Total number of parameters, for example 8030000000.")]
    active_parameters: Annotated[
        int | None, Field(ge=1, le=10**13, description="Parameters used per token, for a mixture of experts. Default: all of them.")
    ] = None
    layers: Annotated[int, Field(ge=1, le=1000, description="Number of transformer layers (num_hidden_layers).")]
    attention_heads: Annotated[int, Field(ge=1, le=1024, description="Query heads per layer (num_attention_heads).")]
    key_value_heads: Annotated[int, Field(ge=1, le=1024, description="Key-value heads per layer (num_key_value_heads).")]
    head_size: Annotated[int, Field(ge=1, le=1024, description="Size of one head (head_dim).")]
    hidden_size: Annotated[
        int | None, Field(ge=1, le=10**6, description="Width of a layer (hidden_size). Default: attentionHeads x headSize.")
    ] = None
    vocabulary_size: Annotated[
        int | None,
        Field(ge=1, le=10**7, description="Tokens of the vocabulary (vocab_size); embeddings stay in 16 bits when weights are quantized."),
    ] = None
    embedding_tables: Annotated[
        int,
        Field(ge=1, le=2, description="2: separate input and output embeddings; 1: shared ones (tie_word_embeddings)."),
    ] = 2
    weight_bytes: Annotated[
        int | None,
        Field(
            ge=1,
            le=10**14,
            description="Bytes of the published weights, used if model.quantization is not set. Default: two per parameter.",
        ),
    ] = None
    latent_size: Annotated[
        int | None,
        Field(
            ge=1,
            le=10**5,
            description="Multi-head latent attention: values cached per token and layer (kv_lora_rank + qk_rope_head_dim), kept on every "
            "accelerator. Default: keys and values per head.",
        ),
    ] = None
    attention_layers: Annotated[
        int | None,
        Field(
            ge=0,
            le=1000,
            description="Layers that keep keys and values, in a hybrid model whose other layers are recurrent. Default: all.",
        ),
    ] = None
    sliding_window_layers: Annotated[
        int | None, Field(ge=0, le=1000, description="Layers among them that attend to the last slidingWindowTokens only. Default: none.")
    ] = None
    sliding_window_tokens: Annotated[int | None, Field(ge=1, le=10**7, description="Tokens that such a layer keeps (sliding_window).")] = (
        None
    )
    recurrent_state_kib: Annotated[
        int | None,
        Field(alias="recurrentStateKiB", ge=1, le=10**8, description="State of the recurrent layers per running request, KiB."),
    ] = None


class HuggingFaceSource(ApiModel):
    """Weights fetched from a Hugging Face compatible hub when a replica starts."""

    repo: Annotated[
        str | None,
        Field(
            max_length=200,
            pattern=MODEL_NAME_PATTERN,
            description="Repository, for example meta-llama/Llama-3.1-8B-Instruct. Default: model.id.",
        ),
    ] = None
    revision: Annotated[
        str | None,
        Field(
            max_length=100,
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$",
            description="Branch, tag or commit. Set a commit for reproducible restarts. Default: the latest of the main branch.",
        ),
    ] = None
    token_secret_ref: Annotated[
        SecretKeyRef | None, Field(description="Secret key that holds the hub's access token, for gated models.")
    ] = None


class PersistentVolumeClaimSource(ApiModel):
    """Weights already on a volume."""

    claim_name: Annotated[
        str, Field(min_length=1, max_length=253, description="PersistentVolumeClaim in the workload's namespace. Mounted read-only.")
    ]
    path: Annotated[str, Field(max_length=500, pattern="^/", description="Path of the model on the volume, from its root.")] = "/"


class ModelSource(ApiModel):
    """Where weights come from; exactly one member."""

    hugging_face: Annotated[HuggingFaceSource | None, Field(description="Fetch from a Hugging Face compatible hub (the default).")] = None
    persistent_volume_claim: Annotated[PersistentVolumeClaimSource | None, Field(description="Read from a volume.")] = None


class Model(ApiModel):
    """The model to serve."""

    id: Annotated[
        str,
        Field(
            min_length=1,
            max_length=200,
            pattern=MODEL_NAME_PATTERN,
            description="Repository id of the model, for example meta-llama/Llama-3.1-8B-Instruct.",
        ),
    ]
    served_name: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=200,
            pattern=MODEL_NAME_PATTERN,
            description="Name that clients send as `model`, the same for every backend. Default: the last part of model.id.",
        ),
    ] = None
    source: Annotated[
        ModelSource | None, Field(description="Where replicas get the weights. Default: Hugging Face, repository model.id.")
    ] = None
    architecture: Annotated[
        Architecture | None, Field(description="Shape of the model; if set, it is checked against the accelerator's memory.")
    ] = None
    quantization: Annotated[
        Quantization | None,
        Field(
            description="Data type of the weights. bf16 and fp16 also set the engine's data type, and fp8 converts other weights while "
            "loading. Default: that of the model's configuration, bf16 for sizing.",
        ),
    ] = None
    max_context_tokens: Annotated[
        int | None,
        Field(ge=16, le=10**7, description="Maximum prompt plus answer served (--max-model-len). Default: the model's own."),
    ] = None
