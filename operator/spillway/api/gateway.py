"""The gateway in front of a workload."""

from typing import Annotated

from pydantic import Field

from spillway.api.access import Access, GatewayTls
from spillway.api.base import ApiModel
from spillway.api.holding import Hold
from spillway.api.pods import GatewayPodTemplate
from spillway.api.routing import PrefixBytes, Routing
from spillway.api.tracing import Tracing


class GatewayAutoscaling(ApiModel):
    """How many gateway pods there are, by their own CPU."""

    max_replicas: Annotated[int, Field(ge=2, le=16, description="Maximum gateway pods.")]
    target_cpu_percent: Annotated[
        int,
        Field(
            alias="targetCPUPercent",
            ge=10,
            le=95,
            description="Target mean CPU use of a pod, relative to the two cores that its two worker threads can use, or to its CPU limit "
            "(podTemplate.resources) if that is lower. Needs metrics-server.",
        ),
    ] = 60


class Gateway(ApiModel):
    """The Envoy that holds the workload's URL."""

    replicas: Annotated[int, Field(ge=1, le=16, description="Gateway pods; the minimum with autoscaling.")] = 2
    autoscaling: Annotated[
        GatewayAutoscaling | None, Field(description="Let a HorizontalPodAutoscaler set the number of pods. Default: replicas.")
    ] = None
    max_request_seconds: Annotated[
        int,
        Field(ge=10, le=86_400, description="Maximum duration of a request; sets route timeout, drain time and termination grace period."),
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
    tracing: Annotated[Tracing | None, Field(description="Send spans of requests to a collector. Default: no tracing.")] = None
    routing: Annotated[
        Routing,
        Field(
            description="Which replica a request goes to. LeastLoad: the one with the least in flight. PrefixHash: the one that got the "
            "same prefix before and may have it cached, unless it has 1.25 times the mean in flight; then another."
        ),
    ] = Routing.LEAST_LOAD
    prefix_bytes: PrefixBytes | None = None
    pod_template: Annotated[GatewayPodTemplate | None, Field(description="Overrides for gateway pods. A change rolls them.")] = None

    @property
    def most_replicas(self) -> int:
        """Most pods that there may be, but for those of a rollout."""
        return self.autoscaling.max_replicas if self.autoscaling else self.replicas
