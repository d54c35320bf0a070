"""InferenceWorkload: the model, its promises, its traffic and its budget. See docs/adr for why a field is absent."""
# ruff: noqa: RUF012 - pydantic copies a default; ruff sees only that the base class is not its own

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from spillway.api.access import Access, GatewayTls
from spillway.api.base import ApiModel, NamedRef, SecretKeyRef
from spillway.api.holding import Hold
from spillway.api.pods import GatewayPodTemplate, PodTemplate
from spillway.api.quantities import DecimalString
from spillway.api.routing import PrefixBytes, Routing
from spillway.api.tracing import Tracing

# Written into commands, headers and metric labels: no spaces, no quotes, and no dash first, which would make it a flag.
MODEL_NAME_PATTERN = r"^[A-Za-z0-9@][A-Za-z0-9._:/@+-]*$"
MOST_TOKENS = 10**7  # of a prompt or an answer, on average or at the 95th percentile


class PlacementMode(StrEnum):
    """Where requests are served."""

    AUTO = "Auto"
    DEDICATED = "Dedicated"
    HOSTED = "Hosted"
    HYBRID = "Hybrid"


class DataResidency(StrEnum):
    """Whether requests may leave the cluster."""

    HOSTED_ALLOWED = "HostedAllowed"
    CLUSTER_ONLY = "ClusterOnly"


class ApplyMode(StrEnum):
    """What becomes of a recommendation."""

    AUTOMATIC = "Automatic"
    RECOMMEND = "Recommend"


class LatencyNeed(StrEnum):
    """Who waits for an answer, and how long."""

    INTERACTIVE = "Interactive"
    BACKGROUND = "Background"
    OFFLINE = "Offline"


class TrafficPattern(StrEnum):
    """How the load moves around its mean."""

    STEADY = "Steady"
    BURSTY = "Bursty"


class Quantization(StrEnum):
    """How weights are stored; decides their bytes per parameter."""

    BF16 = "bf16"
    FP16 = "fp16"
    FP8 = "fp8"
    INT8 = "int8"
    AWQ = "awq"
    GPTQ = "gptq"


class ScalingMode(StrEnum):
    """Who decides the number of replicas."""

    SPILLWAY = "Spillway"
    EXTERNAL = "External"


class Architecture(ApiModel):
    """The shape of a model, as its Hugging Face config.json states it; needed to check that it fits an accelerator."""

    parameters: Annotated[int, Field(ge=1, le=10**13, description="Number of parameters in all, for example 8030000000.")]
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
        Field(ge=1, le=2, description="2: prompts and answers have a table of embeddings each; 1: they share it (tie_word_embeddings)."),
    ] = 2
    weight_bytes: Annotated[
        int | None,
        Field(
            ge=1,
            le=10**14,
            description="Bytes of the published weights, used where model.quantization says nothing. Default: two per parameter.",
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
            description="Branch, tag or commit. Name a commit to make restarts repeatable. Default: the newest on the main branch.",
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
    path: Annotated[str, Field(max_length=500, pattern="^/", description="Folder of the model on the volume, from its root.")] = "/"


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
            description="Name that clients send as `model`; it never changes, whoever serves. Default: the last part of model.id.",
        ),
    ] = None
    source: Annotated[
        ModelSource | None, Field(description="Where replicas get the weights. Default: Hugging Face, repository model.id.")
    ] = None
    architecture: Annotated[
        Architecture | None, Field(description="Shape of the model; given, it is checked against the accelerator's memory.")
    ] = None
    quantization: Annotated[
        Quantization | None,
        Field(
            description="Storage of the weights. bf16 and fp16 also set the engine's data type, and fp8 converts weights that are not "
            "fp8 yet while loading. Default: what the model's own configuration says, bf16 for sizing.",
        ),
    ] = None
    max_context_tokens: Annotated[
        int | None,
        Field(ge=16, le=10**7, description="Longest prompt plus answer that is served (--max-model-len). Default: the model's own."),
    ] = None


class Slo(ApiModel):
    """The promise: each request must meet every target given here; attainmentPercent of the requests must do so."""

    time_to_first_token_ms: Annotated[
        int | None, Field(ge=1, le=3_600_000, description="Longest wait for the first token, milliseconds.")
    ] = None
    inter_token_latency_ms: Annotated[
        int | None, Field(ge=1, le=60_000, description="Longest mean gap between tokens of a request, milliseconds.")
    ] = None
    end_to_end_ms: Annotated[int | None, Field(ge=1, le=3_600_000, description="Longest time for a whole request, milliseconds.")] = None
    attainment_percent: Annotated[int, Field(ge=1, le=100, description="Share of requests that must meet every target.")] = 99


class RequestRate(ApiModel):
    """Requests per second, as decimal strings."""

    mean: Annotated[DecimalString, Field(description='Mean rate, for example "2.5".')]
    peak: Annotated[
        DecimalString | None,
        Field(
            description="Highest rate sustained for a minute. Default: the mean for a Steady pattern, four times the mean for a Bursty one."
        ),
    ] = None


class TokenLengths(ApiModel):
    """Tokens per request."""

    mean: Annotated[int, Field(ge=1, le=MOST_TOKENS, description="Mean number of tokens.")]
    p95: Annotated[int | None, Field(ge=1, le=MOST_TOKENS, description="95th percentile of the number of tokens.")] = None


class Traffic(ApiModel):
    """What is expected to arrive. It sizes the workload until there is observed traffic, which then counts instead."""

    requests_per_second: Annotated[RequestRate | None, Field(description="Expected rate. Give this or requestsPerMonth.")] = None
    requests_per_month: Annotated[int | None, Field(ge=0, le=10**12, description="Expected volume in 30 days.")] = None
    input_tokens: Annotated[TokenLengths | None, Field(description="Tokens of a prompt. Default: mean 1000.")] = None
    output_tokens: Annotated[TokenLengths | None, Field(description="Tokens of an answer. Default: mean 250.")] = None
    cached_input_percent: Annotated[
        int,
        Field(
            ge=0,
            le=100,
            description="Share of the prompt tokens that repeat the beginning of an earlier prompt; a hosted provider may bill them less, "
            "which plans reckon with.",
        ),
    ] = 0
    latency: Annotated[
        LatencyNeed,
        Field(
            description="Interactive: somebody waits for each answer. Background: a program waits and may ask again. Offline: the answer "
            "may take hours, so plans let peaks wait, which the program that sends them sees to, and name hosted batch APIs. Plans alone "
            "go by it: gateways treat all requests alike."
        ),
    ] = LatencyNeed.INTERACTIVE
    pattern: Annotated[
        TrafficPattern,
        Field(
            description="How plans take the load to move. Steady: it follows the day. Bursty: it leaps within a minute, faster than a "
            "replica starts."
        ),
    ] = TrafficPattern.STEADY


class Placement(ApiModel):
    """What may serve the workload."""

    mode: Annotated[
        PlacementMode,
        Field(
            description="Dedicated: own replicas only. Hosted: the hosted backends only. Hybrid: own replicas first, the rest to hosted. "
            "Auto: the cheapest of them that keeps the promises."
        ),
    ]
    data_residency: Annotated[
        DataResidency,
        Field(description="ClusterOnly: no request ever leaves the cluster; needs mode Dedicated or Auto, and no hosted backends."),
    ] = DataResidency.HOSTED_ALLOWED
    apply: Annotated[
        ApplyMode,
        Field(
            description="Automatic: scale as decided and, under mode Auto, move to what is recommended once the saving has lasted. "
            "Recommend: only say so, in status.placement.recommended and status.dedicated.recommendedReplicas. What has no placement yet "
            "gets one, with as few replicas as dedicated.scaling allows; from then on replicas are left as somebody sets them on the "
            "Deployment. Under dedicated.scaling.mode External spec.replicas is followed either way."
        ),
    ] = ApplyMode.AUTOMATIC


class Scaling(ApiModel):
    """How many replicas."""

    mode: Annotated[
        ScalingMode, Field(description="Spillway: decided here. External: spec.replicas, as written by HPA, KEDA or kubectl scale.")
    ] = ScalingMode.SPILLWAY
    min_replicas: Annotated[
        int, Field(ge=0, le=1000, description="Fewest replicas. 0 needs a hosted backend to answer while none runs, or gateway.hold.")
    ] = 1
    max_replicas: Annotated[int, Field(ge=1, le=1000, description="Most replicas.")] = 1
    scale_up_stabilization_seconds: Annotated[
        int, Field(ge=0, le=3600, description="A scale-up must have been wanted for this long; from zero it is made at once.")
    ] = 0
    scale_down_stabilization_seconds: Annotated[
        int, Field(ge=10, le=3600, description="A scale-down must have been wanted for this long, without a break.")
    ] = 300


class EnvVar(ApiModel):
    """One environment variable with a literal value; secrets have fields of their own."""

    name: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="Name of the variable.")]
    value: Annotated[str, Field(max_length=4000, description="Its value.")] = ""


class Engine(ApiModel):
    """vLLM, which serves each replica."""

    image: Annotated[
        str | None,
        Field(
            min_length=1, max_length=500, pattern=r"^\S+$", description="Image with a `vllm` command. Default: the chart's engine image."
        ),
    ] = None
    version: Annotated[
        str | None,
        Field(
            max_length=40,
            pattern=r"^[0-9]+\.[0-9]+(\.[0-9]+)?$",
            description="vLLM version in the image; decides flags and metric names. Default: the chart's.",
        ),
    ] = None
    stated_tensor_parallel_size: Annotated[
        int | None,
        Field(
            alias="tensorParallelSize",
            ge=1,
            le=64,
            description="Accelerators per replica, which share every layer; within one node. Default: what the plan finds cheapest within "
            "the promises when the first replica is made, and that from then on.",
        ),
    ] = None
    gpu_memory_utilization_percent: Annotated[int, Field(ge=10, le=99, description="Share of accelerator memory that vLLM may use.")] = 90
    max_num_seqs: Annotated[
        int | None,
        Field(ge=1, le=4096, description="Most requests in one batch. Default: the largest batch that meets the inter-token target."),
    ] = None
    max_num_batched_tokens: Annotated[int | None, Field(ge=1, le=10**6, description="Most tokens in one engine step. Default: vLLM's.")] = (
        None
    )
    extra_args: Annotated[
        list[Annotated[str, Field(max_length=1000)]], Field(max_length=64, description="Further arguments of `vllm serve`, appended.")
    ] = []
    env: Annotated[
        list[EnvVar],
        Field(
            max_length=64,
            description="Environment variables of the engine container.",
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = []

    @property
    def tensor_parallel_size(self) -> int:
        """Accelerators per replica: what the spec states or the plan has chosen; one until then."""
        return self.stated_tensor_parallel_size or 1

    @property
    def most_num_seqs(self) -> int | None:
        """The largest batch that is stated, or that a step has tokens for: vLLM starts with no larger one. None: neither is stated."""
        return min((each for each in (self.max_num_seqs, self.max_num_batched_tokens) if each is not None), default=None)


class CacheAccessMode(StrEnum):
    """How many nodes may mount the cache."""

    READ_WRITE_ONCE = "ReadWriteOnce"
    READ_WRITE_MANY = "ReadWriteMany"


class ModelCache(ApiModel):
    """A volume that keeps downloaded weights between restarts."""

    claim_name: Annotated[str, Field(min_length=1, max_length=253, description="PersistentVolumeClaim in the workload's namespace.")]
    access_mode: Annotated[
        CacheAccessMode,
        Field(
            description="Access mode of the claim. ReadWriteOnce serves one node, so maxReplicas must be 1, and a rollout ends the replica "
            "before it starts the next one."
        ),
    ] = CacheAccessMode.READ_WRITE_MANY


class Dedicated(ApiModel):
    """The replicas that are owned."""

    accelerators: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=253)]],
        Field(
            max_length=16,
            description="AcceleratorClass names in order of preference; the first that exists and fits is used. Default: the cheapest that "
            "fits, of all there are, whether or not a node has it; a pool that runs keeps its own.",
        ),
    ] = []
    scaling: Annotated[Scaling, Field(description="Bounds and pace of scaling.")] = Scaling()
    engine: Annotated[Engine, Field(description="Settings of vLLM.")] = Engine()
    model_cache: Annotated[ModelCache | None, Field(description="Volume that keeps downloaded weights.")] = None
    pod_template: Annotated[PodTemplate | None, Field(description="Allowed overrides of replica pods.")] = None
    committed_replicas: Annotated[
        int, Field(ge=0, le=1000, description="Replicas already paid for (reserved or owned): they cost nothing more at the margin.")
    ] = 0


class HostedBackendRef(ApiModel):
    """One model of one provider."""

    provider_ref: Annotated[NamedRef, Field(description="HostedProvider in the workload's namespace.")]
    model: Annotated[str, Field(min_length=1, max_length=200, description="Model name at the provider; must be listed in its models[].")]


class LimitAction(StrEnum):
    """What becomes of a request that would go to a hosted backend when a limit does not let it."""

    REFUSE = "Refuse"
    WAIT = "Wait"


class LongPrompts(StrEnum):
    """Where a prompt goes first that no own replica reads within the time to the first token."""

    KEEP = "Keep"
    SPILL = "Spill"


class Overflow(ApiModel):
    """When requests go to hosted backends, and limits on what these may serve and cost.

    Gateways keep the limits even while the operator is down: then nothing is spilled.
    """

    max_usd_per_day: Annotated[
        DecimalString | None,
        Field(
            alias="maxUSDPerDay",
            description='Most that hosted backends may cost in a day (UTC), for example "25". A request counts at its longest answer until '
            "it is done.",
        ),
    ] = None
    max_share_percent: Annotated[
        int | None,
        Field(
            ge=1, le=100, description="Largest share of a day's (UTC) answers that hosted backends may give, of those so far; ten are free."
        ),
    ] = None
    when_exceeded: Annotated[
        LimitAction,
        Field(
            description="What a request gets that own replicas cannot take and no limit lets go. Refuse: 429 with Retry-After. Wait: "
            "some seconds for room on own replicas, or with gateway.hold as long as that says, then 503 with Retry-After."
        ),
    ] = LimitAction.REFUSE
    max_wait_ms: Annotated[
        int | None,
        Field(
            ge=0,
            le=5000,
            description="Longest wait for a slot, milliseconds, of a request that finds own replicas full, before it is spilled. At most "
            "256 wait at a gateway; the others are spilled at once. Part of the time to the first token, whoever answers then. Default: 0, "
            "it is spilled at once.",
        ),
    ] = None

    long_prompts: Annotated[
        LongPrompts,
        Field(
            description="Where a streamed request goes first whose prompt no own replica reads within slo.timeToFirstTokenMs. Keep: to own "
            "replicas, as any other. Spill: to a hosted backend, and to own replicas where none takes it. The gateway judges by the bytes "
            "of the body, four a token, and cannot know what of a prompt is in a replica's cache: for prompts that are long because a chat "
            "goes on, Keep is cheaper."
        ),
    ] = LongPrompts.KEEP
    long_prompt_tokens: Annotated[
        int | None,
        Field(
            ge=256,
            le=10**7,
            description="With longPrompts Spill: the longest prompt, in tokens, that goes to own replicas first. Default: the longest that "
            "a replica of the accelerator class is estimated to read within half of slo.timeToFirstTokenMs.",
        ),
    ] = None

    @property
    def limits(self) -> bool:
        """Whether it limits what is spilled, or says what becomes of what may not be."""
        return self.max_usd_per_day is not None or self.max_share_percent is not None or self.when_exceeded is LimitAction.WAIT


class Hosted(ApiModel):
    """What is rented."""

    backends: Annotated[list[HostedBackendRef], Field(max_length=4, description="Hosted backends in order of preference.")] = []
    overflow: Annotated[Overflow | None, Field(description="When requests go to hosted backends, and limits on that.")] = None


class GatewayAutoscaling(ApiModel):
    """How many gateway pods there are, by their own CPU."""

    max_replicas: Annotated[int, Field(ge=2, le=16, description="Most gateway pods.")]
    target_cpu_percent: Annotated[
        int,
        Field(
            alias="targetCPUPercent",
            ge=10,
            le=95,
            description="CPU that a pod uses on the average, of the two cores that its two worker threads can use, or of its CPU limit "
            "(podTemplate.resources) where that is lower. Needs metrics-server.",
        ),
    ] = 60


class Gateway(ApiModel):
    """The Envoy that holds the workload's URL."""

    replicas: Annotated[int, Field(ge=1, le=16, description="Gateway pods; with autoscaling the fewest.")] = 2
    autoscaling: Annotated[
        GatewayAutoscaling | None, Field(description="Let a HorizontalPodAutoscaler set the number of pods. Default: replicas.")
    ] = None
    max_request_seconds: Annotated[
        int, Field(ge=10, le=86_400, description="Longest request: route timeout, drain and termination grace follow from it.")
    ] = 600
    access: Annotated[Access, Field(description="Who may call. Default: pods of the workload's namespace, without keys.")] = Access()
    hold: Annotated[
        Hold | None,
        Field(
            description="Let requests wait for a replica instead of refusing them, where no hosted backend may answer, or no limit lets "
            "them go there (hosted.overflow.whenExceeded Wait). Default: they are refused."
        ),
    ] = None
    tls: Annotated[GatewayTls | None, Field(description="Serve HTTPS, on port 443. Default: HTTP, on port 80.")] = None
    tracing: Annotated[Tracing | None, Field(description="Send spans of requests to a collector. Default: none are made.")] = None
    routing: Annotated[
        Routing,
        Field(
            description="Which own replica a request goes to. LeastLoad: the one with the least in flight. PrefixHash: the one that was "
            "asked with the same beginning before and may have it in its cache, unless it has 1.25 times the mean in flight; then another."
        ),
    ] = Routing.LEAST_LOAD
    prefix_bytes: PrefixBytes | None = None
    pod_template: Annotated[GatewayPodTemplate | None, Field(description="Allowed overrides of gateway pods. A change rolls them.")] = None

    @property
    def most_replicas(self) -> int:
        """Most pods that there may be, but for those of a rollout."""
        return self.autoscaling.max_replicas if self.autoscaling else self.replicas


class Budget(ApiModel):
    """What the workload may cost."""

    monthly_usd: Annotated[DecimalString, Field(alias="monthlyUSD", description='USD per calendar month (UTC), for example "1500".')]
    when_exceeded: Annotated[
        Literal["Report", "StopSpilling"],
        Field(
            description="Report: say so in WithinBudget, in an Event and in metrics. StopSpilling: also send nothing more to hosted "
            "backends until the month is over."
        ),
    ] = "Report"


_NOTHING_SAID = Dedicated()


class InferenceWorkloadSpec(ApiModel):
    """What a user asks for."""

    model: Annotated[Model, Field(description="The model to serve.")]
    slo: Annotated[Slo | None, Field(description="Latency targets and the share of requests that must meet them.")] = None
    traffic: Annotated[Traffic | None, Field(description="Expected traffic.")] = None
    placement: Annotated[Placement, Field(description="Own, rent, or both.")]
    dedicated: Annotated[Dedicated | None, Field(description="Own replicas; needed for Dedicated and Hybrid.")] = None
    hosted: Annotated[Hosted | None, Field(description="Hosted backends; needed for Hosted and Hybrid.")] = None
    gateway: Annotated[Gateway, Field(description="The gateway in front.")] = Gateway()
    budget: Annotated[Budget | None, Field(description="Monthly budget.")] = None
    replicas: Annotated[
        int | None,
        Field(
            ge=0,
            le=1000,
            description="Replicas wanted under dedicated.scaling.mode External, held between minReplicas and maxReplicas. HPA, KEDA and "
            "kubectl scale write it through the scale subresource.",
        ),
    ] = None

    @property
    def served_name(self) -> str:
        """The `model` that clients send."""
        return self.model.served_name or self.model.id.rstrip("/").rsplit("/", 1)[-1]

    @property
    def owns(self) -> bool:
        """Whether replicas of our own may serve."""
        if self.placement.mode is PlacementMode.AUTO:
            return self.dedicated is not None
        return self.placement.mode is not PlacementMode.HOSTED

    @property
    def rents(self) -> bool:
        """Whether hosted backends may serve."""
        if self.placement.data_residency is DataResidency.CLUSTER_ONLY:
            return False
        if self.placement.mode is PlacementMode.AUTO:
            return self.hosted is not None and bool(self.hosted.backends)
        return self.placement.mode is not PlacementMode.DEDICATED

    @property
    def own(self) -> Dedicated:
        """What is said of own replicas; the defaults where nothing is."""
        return self.dedicated or _NOTHING_SAID

    @property
    def overflow(self) -> Overflow | None:
        """When requests go to hosted backends; None where that is not said."""
        return self.hosted.overflow if self.hosted else None

    @property
    def holds(self) -> bool:
        """Whether requests wait at the gateway for own replicas: those are all there is, or no limit lets a request go elsewhere."""
        return self.gateway.hold is not None and self.owns and (not self.rents or self.waits)

    @property
    def waits(self) -> bool:
        """Whether a request that may not be spilled waits for room on own replicas."""
        return self.rents and self.owns and self.overflow is not None and self.overflow.when_exceeded is LimitAction.WAIT

    @property
    def keeps_to_one_node(self) -> bool:
        """Whether a replica on another node waits for its volume until the one that has it is gone."""
        cache = self.own.model_cache
        return cache is not None and cache.access_mode is CacheAccessMode.READ_WRITE_ONCE

    @property
    def spills_long_prompts(self) -> bool:
        """Whether a prompt that no own replica reads in time goes to a hosted backend first."""
        return self.rents and self.owns and self.overflow is not None and self.overflow.long_prompts is LongPrompts.SPILL
