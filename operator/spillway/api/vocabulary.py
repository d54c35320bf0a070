"""Names that are part of the API: groups, labels, annotations, condition types and reasons. Users match on them."""

import hashlib
from enum import StrEnum

GROUP = "spillway.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
FIELD_MANAGER = "spillway"

# Labels. `SELECTOR` labels are immutable and minimal; the rest may change with a version.
LABEL_WORKLOAD = f"{GROUP}/workload"  # on every child; also the server-side selector of every watch, and a metric label
LABEL_COMPONENT = "app.kubernetes.io/component"  # "engine" | "gateway" | "ledger" | "learned"
LABEL_POOL = f"{GROUP}/pool"  # on an engine Deployment and its pods: the Deployment's name
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGED_BY = "spillway"
COMPONENT_ENGINE = "engine"
COMPONENT_GATEWAY = "gateway"

# Annotations
ANNOTATION_CONFIG_GENERATION = f"{GROUP}/gateway-config"  # touched on gateway pods so that the kubelet syncs a ConfigMap at once
ANNOTATION_GATEWAY_SHARE = f"{GROUP}/gateway-share"  # on gateway pods: the part of the cap that is theirs, as Envoy reads it
ANNOTATION_ACCELERATOR_CLASS = f"{GROUP}/accelerator-class"  # on an engine Deployment and its pods
ANNOTATION_TENSOR_PARALLEL = f"{GROUP}/tensor-parallel-size"
# On an engine Deployment whose spec leaves them open: the defaults its replicas were made with. A later default must not restart them,
# so the observation reads them back (Pool.engine_image, Pool.engine_version) and the plan keeps them.
ANNOTATION_ENGINE_IMAGE = f"{GROUP}/default-engine-image"
ANNOTATION_ENGINE_LIMITS = f"{GROUP}/engine-limits"  # what its arguments were made with, and for what: JSON
ANNOTATION_ENGINE_VERSION = f"{GROUP}/default-engine-version"
ANNOTATION_CONFIG_HASH = f"{GROUP}/config-hash"  # on gateway pods: a changed static configuration rolls them
# In a replica's pod, where nothing else knows the shape of its model: what tells config.json, and the variable that says of which model.
CONTAINER_CONFIG = "model-config"
VARIABLE_MODEL = "SPILLWAY_MODEL"
# Kubernetes' own, on replicas when there are too many of them: of those that are equally ready, the lowest goes first.
ANNOTATION_DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"

# Ports
PORT_HTTP = 8000  # the engine's and, as the Service sees it, the gateway's
PORT_GATEWAY = 8080  # where Envoy listens in the gateway pod; the Service maps 80 -> 8080
PORT_GATEWAY_METRICS = 9902
SERVICE_PORT = 80
SERVICE_TLS_PORT = 443

CLUSTER_OWNED = "owned"  # Envoy's cluster of our own replicas, and its `envoy_cluster_name` label
BACKEND_NONE = "none"  # nobody could answer
BACKEND_OWNED = "owned"  # value of the `backend` metric label and of x-served-by for our own replicas


def hosted_cluster_name(provider: str, model: str) -> str:
    """Envoy's cluster of one hosted backend: free of dots and slashes, which Envoy's stat names would split at."""
    return f"hosted-{provider.replace('.', '_')}-{hashlib.sha256(model.encode()).hexdigest()[:8]}"


class ConditionType(StrEnum):
    """Every condition of an InferenceWorkload, in display order. All of them are written on every pass."""

    READY = "Ready"
    SPEC_VALID = "SpecValid"
    PLACEMENT_RESOLVED = "PlacementResolved"
    REPLICAS_READY = "ReplicasReady"
    HOSTED_BACKEND_READY = "HostedBackendReady"
    HOSTED_BACKEND_EQUIVALENT = "HostedBackendEquivalent"
    GATEWAY_READY = "GatewayReady"
    ACCESS_CONTROLLED = "AccessControlled"
    DEGRADED = "Degraded"
    SLO_MET = "SLOMet"
    WITHIN_BUDGET = "WithinBudget"
    METRICS_AVAILABLE = "MetricsAvailable"
    SCALING_LIMITED = "ScalingLimited"
    SPILL_ACTIVE = "SpillActive"
    SELF_HOSTING_ECONOMIC = "SelfHostingEconomic"


class Reason(StrEnum):
    """Reasons of conditions, decisions and Events: constants that users and alerts may match."""

    # good or neutral
    AS_EXPECTED = "AsExpected"
    NOT_REQUESTED = "NotRequested"
    PENDING = "Pending"
    NO_EVIDENCE = "NoEvidence"
    NO_TRAFFIC = "NoTraffic"
    # SpecValid
    VALID = "Valid"
    INVALID_SPEC = "InvalidSpec"
    UNKNOWN_ACCELERATOR_CLASS = "UnknownAcceleratorClass"
    UNKNOWN_PROVIDER = "UnknownProvider"
    UNKNOWN_PROVIDER_MODEL = "UnknownProviderModel"
    NAME_CONFLICT = "NameConflict"
    TENSOR_PARALLEL_MISMATCH = "TensorParallelDoesNotDivideHeads"
    MODEL_DOES_NOT_FIT = "ModelDoesNotFit"
    # placement
    MODE_DEDICATED = "DedicatedRequested"
    MODE_HOSTED = "HostedRequested"
    MODE_HYBRID = "HybridRequested"
    MODE_AUTO = "AutoResolved"
    MOVING_TO_DEDICATED = "MovingToDedicated"
    MOVING_TO_HOSTED = "MovingToHosted"
    NOTHING_FEASIBLE = "NothingFeasible"
    FIRST_PLACEMENT = "FirstPlacement"
    SAVING_HELD = "SavingHeld"
    PLACEMENT_IMPOSSIBLE = "PlacementImpossible"
    MOVE_COMPLETED = "MoveCompleted"
    RECOMMENDATION_CHANGED = "RecommendationChanged"
    MODEL_TOLD = "ModelTold"  # a replica told the shape of its model
    MODEL_UNREADABLE = "ModelUnreadable"
    # replicas
    REPLICAS_READY = "ReplicasReady"
    REPLICAS_STARTING = "ReplicasStarting"
    SCALED_TO_ZERO = "ScaledToZero"
    UNSCHEDULABLE = "Unschedulable"
    CRASH_LOOP = "CrashLoop"
    # hosted
    HOSTED_HEALTHY = "HostedHealthy"
    HOSTED_UNREACHABLE = "HostedUnreachable"
    HOSTED_CREDENTIAL_MISSING = "HostedCredentialMissing"
    HOSTED_CREDENTIAL_REJECTED = "HostedCredentialRejected"
    HOSTED_EQUIVALENT = "HostedEquivalent"
    HOSTED_NOT_STATED = "HostedNotStated"
    HOSTED_CONTEXT_SHORTER = "HostedContextShorter"
    HOSTED_QUANTIZATION_DIFFERS = "HostedQuantizationDiffers"
    HOSTED_CAPABILITY_MISSING = "HostedCapabilityMissing"
    # gateway
    GATEWAY_READY = "GatewayReady"
    GATEWAY_STARTING = "GatewayStarting"
    NO_BACKEND = "NoBackend"
    # who may call
    API_KEYS_REQUIRED = "APIKeysRequired"
    TOKENS_REQUIRED = "TokensRequired"
    API_KEYS_MISSING = "APIKeysMissing"
    NAMESPACE_ONLY = "NamespaceOnly"
    GATEWAY_OPEN = "GatewayOpen"
    # SLO
    SLO_MET = "SLOMet"
    SLO_MISSED = "SLOMissed"
    NO_SLO = "NoSLO"
    # budget
    WITHIN_BUDGET = "WithinBudget"
    BUDGET_EXCEEDED = "BudgetExceeded"
    PROJECTED_OVER_BUDGET = "ProjectedOverBudget"
    NO_BUDGET = "NoBudget"
    # metrics
    METRICS_FOUND = "MetricsFound"
    METRICS_MISSING = "MetricsMissing"
    METRICS_STALE = "MetricsStale"
    PROMETHEUS_ERROR = "PrometheusError"
    # scaling
    DEMAND_ROSE = "DemandRose"
    DEMAND_FELL = "DemandFell"
    WITHIN_TOLERANCE = "WithinTolerance"
    CHEAPEST_COUNT = "CheapestCount"  # no other replica count would save money
    STABILIZING = "Stabilizing"
    WOKEN_BY_SPILL = "WokenBySpill"
    WOKEN_BY_WAITING = "WokenByWaiting"  # by requests that wait at the gateway
    IDLE = "Idle"
    HELD_METRICS_MISSING = "HeldMetricsMissing"
    HELD_WATCHING = "HeldWatching"
    AT_MIN_REPLICAS = "AtMinReplicas"
    AT_MAX_REPLICAS = "AtMaxReplicas"
    NOT_LIMITED = "NotLimited"
    EXTERNAL = "External"
    INITIAL = "Initial"
    # spill
    SPILLING = "Spilling"
    NOT_SPILLING = "NotSpilling"
    SPILL_LIMIT_REACHED = "SpillLimitReached"
    SPILL_PERMIT_MISSING = "SpillPermitMissing"
    # economics
    SELF_HOSTING_CHEAPER = "SelfHostingCheaper"
    BELOW_BREAK_EVEN = "BelowBreakEven"
    HOSTED_CHEAPER_AT_ANY_LOAD = "HostedCheaperAtAnyLoad"
    NO_PRICES = "NoPrices"
    NO_HOSTED_ALTERNATIVE = "NoHostedAlternative"
    RESIDENCY_FORCES_DEDICATED = "ResidencyForcesDedicated"
    OWN_WEIGHTS_FORCE_DEDICATED = "OwnWeightsForceDedicated"
    # degraded
    FULLY_SERVING = "FullyServing"
    OWNED_UNAVAILABLE = "OwnedUnavailable"
    HOSTED_UNAVAILABLE = "HostedUnavailable"
    APPLY_FAILED = "ApplyFailed"
    ROLLOUT_BLOCKED = "RolloutBlocked"
