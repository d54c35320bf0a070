"""What a pass decides, and what it must remember. Rendering and reporting read these; nothing else passes between them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from spillway.api.catalogue import AcceleratorClassSpec, HostedProviderSpec
from spillway.api.status import Basis, DecisionStatus
from spillway.api.vocabulary import Reason
from spillway.api.workload import InferenceWorkloadSpec, PlacementMode
from spillway.plan.model.told_shape import ToldShape
from spillway.plan.place.placed import Placing
from spillway.plan.replica.learned_step import LearnedStep
from spillway.plan.replica.start_up import LearnedStarts, StartUp
from spillway.plan.replica.work import Work
from spillway.plan.scaling.forecast import DemandModel
from spillway.plan.scaling.lazy import Lazy
from spillway.plan.traffic.shape import Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A workload's identity."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One InferenceWorkload, as read. `previous_status` is the raw status, for transition times only."""

    key: Key
    uid: str
    generation: int
    created_at: datetime
    spec: InferenceWorkloadSpec
    previous_status: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why the spec cannot be acted upon: a constant reason and a sentence that says what, which and what next."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What one replica sustains within the SLO."""

    max_num_seqs: int  # largest batch that should meet the inter-token target: --max-num-seqs
    batch: int  # largest batch that does by what is known now, never more than that
    queue_per_replica: int  # requests that may wait and still meet the TTFT target
    requests_per_s: float | None  # None when neither lengths nor step time are known
    prefill_tokens_per_s: float | None
    step_time_ms: float | None
    kv_tokens: int | None  # KV cache of one replica; None when the architecture is unknown
    max_queued_tokens: int | None  # engine's own refusal limit; well above what the gateway's cap sends
    max_queued_requests: int
    sized_for: str  # fingerprint of what the batch and the refusal limits follow from
    basis: Basis
    work: Work | None  # what of a replica a request takes at the full batch, not derated; None while a step is of unknown length

    @property
    def slots(self) -> int:
        """Requests that one replica may hold at a time at the gateway's cap."""
        return self.batch + self.queue_per_replica

    @property
    def work_s_per_request(self) -> float | None:
        """Replica-seconds that a request of the mean lengths takes."""
        return None if self.work is None else self.work.seconds_per_request


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnedPool:
    """The engine Deployment that should exist."""

    name: str  # <workload>-engine-<hash of class and tensor parallel size>
    accelerator_class: str
    accelerator: AcceleratorClassSpec
    tensor_parallel_size: int
    replicas: int
    usd_per_replica_hour: float | None  # None when the class has no price
    capacity: Capacity
    start_up: StartUp
    surge: bool  # rollout may need one more replica at a time (nothing hosted carries the gap, and no volume is for one node only)
    tells_config: bool = False  # its pods begin with telling their model's config.json, since nothing else knows the model's shape
    start_up_budget_s: int | None = None  # what its pods have to serve in, which a newer catalogue leaves alone; None: today's
    engine_image: str | None = None  # the default that this pool runs already; None: the operator's default
    engine_version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedBackend:
    """One resolved hosted backend, in order of preference."""

    provider_name: str
    provider: HostedProviderSpec
    model: str
    input_usd_per_million: float
    cached_input_usd_per_million: float  # of prompt tokens that it finds in its cache; the same where no other price is stated
    output_usd_per_million: float

    @property
    def label(self) -> str:
        """Value of the `backend` metric label and of x-served-by."""
        return f"{self.provider_name}/{self.model}"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Lane:
    """A way to a hosted backend that shares nothing with any other: of one gateway pod, worker thread and backend."""

    pod: str
    worker: int
    backend: str  # label of the hosted backend


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What one lane may send. Its meters only grow; `…_from` is where they were seen, `…_to` how far they may run (None: any)."""

    lane: Lane
    micro_usd_from: int = 0
    micro_usd_to: int | None = None
    requests_from: int = 0
    requests_to: int | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    refused_from: int = 0  # requests that the lane had turned away by then, and what they would have been charged
    refused_micro_usd_from: int = 0
    wanted_micro_usd: int | None = None  # what one of those since the permit before would have been; None: there was none


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """What gateways may send to hosted backends, and until when."""

    issued_at: datetime
    expires_at: datetime | None  # None: it limits rates only, which need no renewal
    retry_at: datetime  # when a request that was turned away may find more
    allowances: tuple[Allowance, ...]
    is_short: bool = False  # requests are turned away, and what limits leave is only a few like them


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a lane was given and may use until then, whether or not a later permit gives less: nobody knows which one it has read."""

    allowance: Allowance
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayPlan:
    """What the gateway should do. `cap_per_gateway` follows ready replicas, `permit` is renewed; all else changes with the spec only."""

    replicas: int
    cap_total: int  # concurrent requests on own replicas over all gateways
    cap_per_gateway: int
    ttft_edge_ms: int | None  # histogram edges at the targets
    end_to_end_edge_ms: int | None
    inter_token_edge_ms: int | None = None
    cap_known: bool = True  # False: replicas serve, and nothing tells how much they may hold; the cap before stays
    permit: Permit | None = None  # None: nothing limits hosted backends, or nothing may be sent there
    longest_own_prompt_tokens: int | None = None  # longer ones go to a hosted backend first; None: none do, or there is one side only


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleFigures:
    """What a replica count was decided by, for people and for metrics. None is unknown."""

    forecast_p10: float  # demand in replicas after `horizon_s`, which nine times out of ten is at least this much
    forecast_p50: float
    forecast_p90: float
    horizon_s: float  # how far the forecast looks
    kappa: float | None  # hosted price over own cost of the same work; None without a price or a hosted side
    marginal_saving_usd_per_hour: float | None  # what the last replica decided upon saves; below zero: what it costs more than it saves
    rejected: str | None  # the alternative and its figure, for example "2 replicas: +1.20 USD/h"
    start_up_s: float  # from asking for a replica until it serves
    rejected_saving_usd_per_hour: float | None = None  # what the alternative's replica saves; below zero: what it costs


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleDecision:
    """How many replicas and why."""

    replicas: int
    previous: int | None  # spec.replicas found; None when there was no Deployment
    demand_replicas: float | None  # unrounded demand; None when unknown
    reason: Reason
    why: str  # the figures
    limited: Reason | None = None  # AT_MAX_REPLICAS, UNSCHEDULABLE, ...
    recommended: int | None = None  # the count decided, where it is only told and `replicas` is what there is; None: `replicas` is it
    figures: ScaleFigures | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """Marks of one gateway container and backend: raw counters up to which the ledger has counted."""

    input_tokens: float = 0.0
    output_tokens: float = 0.0
    requests: float = 0.0
    unmetered_requests: float = 0.0
    unmetered_request_bytes: float = 0.0
    unmetered_response_bytes: float = 0.0
    unmetered_plain_response_bytes: float = 0.0
    cached_input_tokens: float = 0.0
    seen_at: datetime | None = None
    restarts: int | None = None  # of the pod's containers when this one's counters began; None: not known
    restarted_by: datetime | None = None  # when the pod first showed more restarts than these counters did; None: it shows none


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The month's money. Written to ConfigMap <name>-ledger; everything needed not to count twice is in it."""

    month: str  # "2026-11", UTC
    dedicated_usd: float = 0.0
    hosted_usd: float = 0.0
    input_tokens: float = 0.0
    output_tokens: float = 0.0
    estimated_requests: float = 0.0
    estimated_tokens: float = 0.0
    unaccounted_s: float = 0.0
    unpriced_accelerator_s: Mapping[str, float] = field(default_factory=dict)  # class -> owned time while it had no price
    unpriced_tokens: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # backend -> prompt and answer tokens without a price
    unpriced_cached_tokens: Mapping[str, float] = field(default_factory=dict)  # of those of prompts
    last_usd_per_accelerator_hour: Mapping[str, float] = field(default_factory=dict)  # of the classes of replicas, while they had a price
    last_usd_per_million_tokens: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # of backends: prompt and answer
    last_usd_per_million_cached_tokens: Mapping[str, float] = field(default_factory=dict)
    watched_until: datetime | None = None  # last pass
    counted_until: datetime | None = None  # last pass that could read the counters
    counters: Mapping[str, LedgerEntry] = field(default_factory=dict)  # "<pod>|<backend>"
    replicas: Mapping[str, datetime] = field(default_factory=dict)  # pod uid -> charged up to
    day: str = ""  # "2026-11-26", UTC; its sums follow, and start anew with it
    day_hosted_usd: float = 0.0
    day_requests: float = 0.0
    day_hosted_requests: float = 0.0
    permit: Permit | None = None
    grants: tuple[Grant, ...] = ()  # what lanes hold of this permit and of earlier ones
    former: "Ledger | None" = None  # as it was on the day that came before, should that have ended by the clock's error
    former_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CostReport:
    """Money now. None is unknown."""

    dedicated_usd_per_hour: float | None
    hosted_usd_per_hour: float | None
    month_to_date_usd: float | None
    projected_monthly_usd: float | None
    usd_per_million_tokens: float | None
    if_all_hosted_monthly_usd: float | None
    if_all_dedicated_monthly_usd: float | None
    kappa: float | None
    break_even_requests_per_month: int | None
    prices_as_of: str | None
    unaccounted_s: float
    estimated_requests: float
    unpriced: tuple[str, ...] = ()  # accelerator classes, and backends as "provider/model", that were used this month without a known price

    @property
    def usd_per_hour(self) -> float | None:
        """Owned plus hosted; unknown when either is."""
        if self.dedicated_usd_per_hour is None or self.hosted_usd_per_hour is None:
            return None
        return self.dedicated_usd_per_hour + self.hosted_usd_per_hour


@dataclass(frozen=True, slots=True, kw_only=True)
class DemandPoint:
    """One past evaluation, for stabilization windows."""

    at: datetime
    wanted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendPoint:
    """The ledger's hosted sum at a moment at which the counters could be read: two of them give a rate."""

    at: datetime
    hosted_usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Settling:
    """The replica count decided last. Trusted for a moment over what the API server shows, which may still be the count before."""

    pool: str
    replicas: int
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What demand is counted in: replicas of a pool, of which a mean request takes so much."""

    pool: str
    work_s: float
    measured_for: str | None = None  # fingerprint of pool, model and engine settings; None: not known


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What one pass hands to the next. In memory only, but for the ledger, what was learned, and decisions, which are written down."""

    demand: tuple[DemandPoint, ...] = ()
    demand_model: DemandModel | None = None  # what was learned of the traffic
    counted: Counted | None = None  # in what replicas; None: not known
    lazy: Lazy | None = None
    shape: Shape | None = None
    ledger: Ledger | None = None
    decisions: tuple[DecisionStatus, ...] = ()  # newest first, at most ten
    numbers_written_at: datetime | None = None  # when status numbers were last written
    numbers_replicas: int | None = None  # paid for then
    measured_for: str | None = None  # fingerprint of the pool, model and engine settings that `step` speaks of
    step: LearnedStep | None = None
    measured_input_tokens: float | None = None
    measured_output_tokens: float | None = None
    prefix_hit_ratio: float | None = None
    starts: LearnedStarts = field(default_factory=LearnedStarts)
    told_shape: ToldShape | None = None  # of a model that neither the spec nor the catalogue knows
    spend: tuple[SpendPoint, ...] = ()
    settling: Settling | None = None
    recommended_replicas: int | None = None  # the count last told, where counts are only told
    slots: int | None = None  # requests that a replica may hold, as the cap was last reckoned with
    key_trouble: Mapping[str, Reason] = field(default_factory=dict)  # hosted backend -> what its last request showed of its key
    placing: Placing | None = None  # None: nothing has been placed, or this operator has just started
    budget: Reason | None = None  # verdict on the budget last given; NO_PRICES is none


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One pass's answer. With problems, nothing is applied and what runs goes on running."""

    problems: tuple[Problem, ...] = ()
    mode: PlacementMode  # in force; Auto while nothing has been placed
    mode_reason: Reason
    spec: InferenceWorkloadSpec | None = None  # with mode, class and tensor parallel size resolved; None: as it is written
    placing: Placing = field(default_factory=Placing)
    pool: OwnedPool | None = None  # None: nothing is owned
    backends: tuple[HostedBackend, ...] = ()  # empty: nothing ever leaves the cluster
    gateway: GatewayPlan
    alone: bool = False  # nothing hosted takes what own replicas do not: none is allowed, all are down, or a limit is reached
    scale: ScaleDecision | None = None
    cost: CostReport
    budget: Reason = Reason.NO_BUDGET  # NO_BUDGET, NO_PRICES, WITHIN_BUDGET, PROJECTED_OVER_BUDGET or BUDGET_EXCEEDED
    key_trouble: Mapping[str, Reason] = field(default_factory=dict)  # hosted backends whose key is missing or refused
    events: tuple[DecisionStatus, ...] = ()  # decisions newly taken in this pass
    revisit_after: timedelta = timedelta(seconds=15)

    def resolved(self, workload: Workload) -> Workload:
        """Return the workload as it is served: rendering and reporting need not know how its mode came about."""
        return workload if self.spec is None or self.spec is workload.spec else replace(workload, spec=self.spec)
