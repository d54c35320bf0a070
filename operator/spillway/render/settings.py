"""What the operator's installation decides about every workload's objects."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from spillway.api.pods import GatewayPodTemplate, Resources
from spillway.render.vllm import Version


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderSettings:
    """Defaults of the chart.

    A change of the engine's image or version does not reach a pool that exists (see OwnedPool.engine_image). Whatever else here
    shapes a replica's pod restarts replicas when it is changed, so its defaults stay as they are from version to version.
    """

    engine_image: str
    engine_version: str
    gateway_image: str
    image_pull_policy: str = "IfNotPresent"
    engine_pull_secrets: tuple[str, ...] = ()  # names, in the workload's namespace; of replicas behind those of their podTemplate
    gateway_pull_secrets: tuple[str, ...] = ()
    gateway_pod_template: GatewayPodTemplate = field(default_factory=GatewayPodTemplate)  # what workloads leave open; resources are below
    cluster_domain: str = "cluster.local"
    listen_address: str = "0.0.0.0"  # noqa: S104  a pod's own network namespace; or "::", for IPv6 and IPv4
    scrape_namespace_labels: tuple[Mapping[str, str], ...] = ()  # of each namespace that may scrape
    operator_namespace: str = "default"
    operator_labels: Mapping[str, str] = field(
        default_factory=dict
    )  # of the operator's pods; empty: it may not ask gateways what they hold
    # Loading weights wants one core and a few GiB of page cache; what a GPU server really has is for podTemplate.resources to say.
    engine_resources: Resources = field(default_factory=lambda: Resources(requests={"cpu": "1", "memory": "4Gi"}))
    # Two workers at 1 KiB bodies take 70 MiB; the limit is for bodies that are kept for a retry or wait (see render/envoy/overload.py).
    gateway_resources: Resources = field(
        default_factory=lambda: Resources(requests={"cpu": "100m", "memory": "128Mi"}, limits={"memory": "2Gi"})
    )

    def __post_init__(self) -> None:
        Version.parse(self.engine_version)  # a wrong one is found when the operator starts, not at the first workload
