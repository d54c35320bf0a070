"""What a decision may know. A reading that could not be had is `Missing`, which is a value and never zero."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar

from spillway.api.catalogue import AcceleratorClassSpec, HostedProviderSpec
from spillway.api.vocabulary import Reason

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """No value, and why. `reason` is METRICS_MISSING, METRICS_STALE or PROMETHEUS_ERROR."""

    reason: Reason
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Sample(Generic[T]):
    """A value and the moment it speaks of."""

    value: T
    at: datetime


Reading = Sample[T] | Missing


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldConfig:
    """The last words of the container that reads a model's config.json, and of which model it was asked."""

    model: str  # as model/told_shape.py names it
    text: str


# Why a container waits that does not start as things are. The kubelet goes back and forth between some of them: see observe/trouble.py.
CRASH_LOOP, NOT_PULLED = "CrashLoopBackOff", "ImagePullBackOff"
CANNOT_START = frozenset(
    {
        CRASH_LOOP,
        NOT_PULLED,
        "ErrImageNeverPull",
        "ImageInspectError",
        "SignatureValidationFailed",
        "InvalidImageName",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaPod:
    """One engine pod, as the API server shows it."""

    uid: str
    name: str
    pool: str  # name of its engine Deployment
    accelerator_class: str | None
    tensor_parallel_size: int
    ready: bool
    terminating: bool
    bound_at: datetime | None  # when it got a node: from here on it costs
    ready_since: datetime | None
    ended_at: datetime | None  # terminal phase or gone
    waiting_reason: str | None = None  # CrashLoopBackOff, ImagePullBackOff, ...
    waiting_words: str | None = None  # more of it, without what changes from start to start
    last_words: str | None = None  # the end of the log of an engine that ended before it served
    ended_words: str | None = None  # why its node did not take it, or put it out; None: it did neither
    fell_silent: bool = False  # it served and is not ready any more, though its engine runs as far as is known
    preparing_since: datetime | None = None  # since when its node has no volumes or no network for it; None: it has, or tells nothing
    unschedulable: str | None = None  # the scheduler's sentence
    template: str | None = None  # hash of the pod template it was made from
    created_at: datetime | None = None  # None: not known, and nothing is learned from its start
    restarts: int = 0  # of the engine's container
    max_num_seqs: int | None = None  # the batch it was told; None: not known
    told_config: ToldConfig | None = None  # None: it was not asked, or has not said anything yet

    @property
    def stays(self) -> bool:
        """Whether it has neither ended nor been told to."""
        return self.ended_at is None and not self.terminating

    @property
    def is_stuck(self) -> bool:
        """Whether it is wanted and cannot start as things are, though it has a node."""
        return self.waiting_reason in CANNOT_START and self.stays


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayPod:
    """One gateway pod."""

    uid: str
    name: str
    ready: bool
    config_mounted_problem: str | None = None  # why it cannot start, for example a missing ConfigMap
    config_hash: str | None = None  # of the static configuration it runs with
    created_at: datetime | None = None  # None: not known
    restarts: int | None = None  # of Envoy's container; None: not known
    unschedulable: str | None = None  # the scheduler's sentence
    ends_by: datetime | None = None  # when its time to end is over; None: nobody has asked it to
    preparing_since: datetime | None = None  # as of a replica

    @property
    def is_stuck(self) -> bool:
        """Whether it cannot start as things are."""
        return not self.ready and (self.unschedulable is not None or self.config_mounted_problem is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLimits:
    """What is rendered into a replica's arguments: a function of spec and accelerator class only."""

    sized_for: str  # fingerprint of what in them it follows from
    max_num_seqs: int
    max_queued_requests: int
    max_queued_tokens: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """One engine Deployment that exists."""

    name: str
    replicas: int  # spec.replicas
    ready_replicas: int
    engine_image: str | None = None  # what its pods run: a changed default of the chart must not restart them
    engine_version: str | None = None
    rollout_blocked: str | None = None  # a changed spec cannot be rolled out, and why
    refused: str | None = None  # why the API server takes no pod of it: a quota, a limit, a class that is not there
    is_rolling: bool = False  # whether pods of a spec before this one are still among its pods
    max_num_seqs: int | None = None  # the batch its replicas are told
    limits: EngineLimits | None = None  # as it was made, and for what
    tells_config: bool = False  # whether its pods begin with telling their model's config.json
    start_up_budget_s: int | None = None  # how long its pods may take to serve


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """What the workload's references resolve to; a name that is absent everywhere does not exist in the cluster."""

    accelerator_classes: Mapping[str, AcceleratorClassSpec] = field(default_factory=dict)
    providers: Mapping[str, HostedProviderSpec] = field(default_factory=dict)
    unreadable_classes: Mapping[str, str] = field(default_factory=dict)  # by name, what of the spec this version cannot read
    unreadable_providers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCounters:
    """Raw, ever-growing counters of one gateway container for one backend, as Envoy exports them."""

    pod: str  # pod name
    backend: str  # "owned" or "<provider>/<model>"
    requests: float
    input_tokens: float
    output_tokens: float
    unmetered_requests: float  # sent or answered, but no usage seen: given up, aborted or not reported
    unmetered_request_bytes: float
    unmetered_response_bytes: float  # of streams
    unmetered_plain_response_bytes: float
    cached_input_tokens: float = 0.0  # of the input, what the provider found in its cache; older gateways do not count them


@dataclass(frozen=True, slots=True, kw_only=True)
class SpillMeter:
    """Raw meters of one lane to a hosted backend since its Envoy started: requests that are done, each at what it was charged.

    And requests that were turned away because the lane's part was used up, each at what it would have been charged at first.
    """

    pod: str
    worker: int
    backend: str
    micro_usd: float
    requests: float
    refused_micro_usd: float = 0.0
    refused_requests: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LongPromptTraffic:
    """What hosted backends answered because no own replica reads such prompts in time, per second over the window."""

    per_s: float
    input_tokens_per_s: float
    output_tokens_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SideLatency:
    """Latency at the gateway on one side over the window."""

    requests: float  # with a first body byte, over the window
    within_ttft: float | None  # share 0..1 within the target; None without a target or without requests
    within_end_to_end: float | None
    ttft_p95_ms: float | None
    paced: float = 0.0  # streams whose mean token gap is known, over the window
    within_inter_token: float | None = None  # share 0..1 of these within the target
    inter_token_p95_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """Readings from Prometheus for one workload. Rates are per second over `window_s`."""

    window_s: float
    arrivals_per_s: Reading[
        float
    ]  # at the gateway, spilled and failed ones included; not what the gateway itself turns down as no request to the model
    spilled_per_s: Reading[float]  # answered by a hosted backend
    failed_per_s: Reading[float]  # the client got 5xx, 429, or a stream that brought an error or broke off
    refused_per_s: Reading[float]  # those of them that no backend answered
    cancelled_per_s: Reading[float]  # the client left before anybody answered
    in_flight_owned: Reading[float]  # open requests on own replicas, seen at the gateways
    input_tokens_mean: Reading[float]
    output_tokens_mean: Reading[float]
    residence_s: Reading[float]  # mean duration of a served request on own replicas, seen at the gateway
    running: Reading[float]  # summed over replicas, vLLM
    waiting: Reading[float]
    kv_cache_usage_ratio: Reading[float]  # mean over replicas, 0..1
    step_time_ms: Reading[float]  # mean engine step while busy
    batch_mean: Reading[float]  # mean requests per step while busy
    prompt_tokens_per_step: Reading[float]  # computed ones, those found in the prefix cache not counted
    kv_tokens_per_step: Reading[float]  # in the cache of a replica during a mean step; Missing where the engine does not tell its size
    prefix_hit_ratio: Reading[float]  # share of prompt tokens found in the prefix cache, 0..1
    ttft_p95_ms: Reading[float]  # over both sides
    inter_token_within_ratio: Reading[float]  # share of requests on own replicas whose mean token gap is within the target, as these tell
    inter_token_p95_ms: Reading[float]  # of streams at the gateway; where there are none, of requests as own replicas tell
    gpu_utilization_percent: Reading[float]  # DCGM; never the only signal
    owned_latency: Reading[SideLatency]
    hosted_latency: Reading[SideLatency]
    hosted_healthy: Mapping[str, Reading[bool]]  # by backend: its TLS health check passes at some gateway
    hosted_rejected_per_s: Mapping[str, Reading[float]]  # by backend: its 401, 402 and 403
    hosted_credential_loaded: Mapping[str, Reading[bool]]  # by backend: whether gateways have its key
    counters: Reading[tuple[TokenCounters, ...]]
    in_flight_by_pod: Mapping[str, float] = field(default_factory=dict)  # engine pod -> running plus waiting; absent where not read
    closed_per_s: Reading[float] = Missing(reason=Reason.METRICS_MISSING)  # requests refused because there are no API keys at all
    held_at_gateway: Reading[float] = Missing(reason=Reason.METRICS_MISSING)  # requests that wait there for a replica; with gateway.hold
    spill_meters: Reading[tuple[SpillMeter, ...]] = Missing(reason=Reason.METRICS_MISSING)
    stream_errors_per_s: Reading[float] = Missing(reason=Reason.METRICS_MISSING)  # those of the failed that were streams, and had begun
    long_prompts: Reading[LongPromptTraffic] = Missing(reason=Reason.METRICS_MISSING)  # part of what arrived and what was spilled
    owned_in_reach: Reading[bool] = Missing(reason=Reason.METRICS_MISSING)  # some own replica passes its health check at some gateway


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """Everything one pass knows of one workload besides its spec."""

    catalogue: Catalogue
    replicas: tuple[ReplicaPod, ...]
    gateways: tuple[GatewayPod, ...]
    pools: tuple[Pool, ...]
    foreign_objects: tuple[str, ...]  # "Service/x": a child's name taken by an object that is not ours
    signals: Signals
    watched_since: datetime  # since when this operator has watched without a break
    provider_users: Mapping[str, int] = field(default_factory=dict)  # by provider: workloads of the namespace that name it
    gateway_refused: str | None = None  # why the API server takes no pod of the gateway
