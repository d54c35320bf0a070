"""InferenceWorkload: the model, its promises, its traffic and its budget. See docs/adr for why a field is absent."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from spillway.api.base import ApiModel
from spillway.api.dedicated import CacheAccessMode, Dedicated
from spillway.api.gateway import Gateway
from spillway.api.hosted import Hosted, LimitAction, LongPrompts, Overflow
from spillway.api.model import Model
from spillway.api.quantities import DecimalString
from spillway.api.traffic import Slo, Traffic


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


class Placement(ApiModel):
    """What may serve the workload."""

    mode: Annotated[
        PlacementMode,
        Field(
            description="Dedicated: replicas only. Hosted: hosted backends only. Hybrid: replicas first, overflow to hosted backends. "
            "Auto: the cheapest of these that meets the SLO."
        ),
    ]
    data_residency: Annotated[
        DataResidency,
        Field(description="ClusterOnly: no request ever leaves the cluster; needs mode Dedicated or Auto, and no hosted backends."),
    ] = DataResidency.HOSTED_ALLOWED
    apply: Annotated[
        ApplyMode,
        Field(
            description="Automatic: scale as decided and, under mode Auto, move to the recommended placement once the saving has "
            "lasted. Recommend: only report it, in status.placement.recommended and status.dedicated.recommendedReplicas. A "
            "workload without a placement gets one, with the minimum of dedicated.scaling; from then on replicas stay as set on "
            "the Deployment. Under dedicated.scaling.mode External spec.replicas is followed either way."
        ),
    ] = ApplyMode.AUTOMATIC


class Budget(ApiModel):
    """What the workload may cost."""

    monthly_usd: Annotated[DecimalString, Field(alias="monthlyUSD", description='USD per calendar month (UTC), for example "1500".')]
    when_exceeded: Annotated[
        Literal["Report", "StopSpilling"],
        Field(
            description="Report: in WithinBudget, an Event and metrics. StopSpilling: also send no more requests to hosted backends "
            "this month."
        ),
    ] = "Report"


_NOTHING_SAID = Dedicated()


class InferenceWorkloadSpec(ApiModel):
    """Desired state of the workload."""

    model: Annotated[Model, Field(description="The model to serve.")]
    slo: Annotated[Slo | None, Field(description="Latency targets and the share of requests that must meet them.")] = None
    traffic: Annotated[Traffic | None, Field(description="Expected traffic.")] = None
    placement: Annotated[Placement, Field(description="Self-hosted, hosted, or both.")]
    dedicated: Annotated[Dedicated | None, Field(description="Replicas in the cluster; required for Dedicated and Hybrid.")] = None
    hosted: Annotated[Hosted | None, Field(description="Hosted backends; required for Hosted and Hybrid.")] = None
    gateway: Annotated[Gateway, Field(description="The gateway in front of the backends.")] = Gateway()
    budget: Annotated[Budget | None, Field(description="Monthly budget.")] = None
    replicas: Annotated[
        int | None,
        Field(
            ge=0,
            le=1000,
            description="Desired replicas under dedicated.scaling.mode External, bounded by minReplicas and maxReplicas. HPA, KEDA and "
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
    def cached_input_share(self) -> float:
        """Share of prompt tokens that a provider may bill as cached, 0 to 1."""
        return self.traffic.cached_input_percent / 100 if self.traffic else 0.0

    @property
    def spills_long_prompts(self) -> bool:
        """Whether a prompt that no own replica reads in time goes to a hosted backend first."""
        return self.rents and self.owns and self.overflow is not None and self.overflow.long_prompts is LongPrompts.SPILL
