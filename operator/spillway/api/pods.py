"""What users may say about pods: an allow-list for replicas and one for gateways; docs/adr/0005 tells what is left out, and why."""
# ruff: noqa: RUF012 - pydantic copies a default; ruff sees only that the base class is not its own

from typing import Annotated, Literal

from pydantic import Field

from spillway.api.base import ApiModel, NamedRef
from spillway.api.quantities import Quantity

LabelValue = Annotated[str, Field(max_length=63, pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$")]

Annotations = dict[str, Annotated[str, Field(max_length=4096)]]


class Toleration(ApiModel):
    """A toleration, as in a pod's spec."""

    key: Annotated[str | None, Field(max_length=316, description="Taint key; empty matches all with operator Exists.")] = None
    operator: Annotated[Literal["Equal", "Exists"] | None, Field(description="Equal (default) or Exists.")] = None
    value: Annotated[str | None, Field(max_length=63, description="Taint value.")] = None
    effect: Annotated[
        Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None, Field(description="Taint effect; empty matches all.")
    ] = None
    toleration_seconds: Annotated[
        int | None, Field(ge=0, le=10**9, description="How long NoExecute is tolerated, seconds. Default: forever.")
    ] = None


class Resources(ApiModel):
    """CPU and memory of the engine container; accelerators are set by Spillway."""

    requests: Annotated[dict[str, Quantity], Field(max_length=3, description="Requests, for example cpu: 4 and memory: 32Gi.")] = {}
    limits: Annotated[dict[str, Quantity], Field(max_length=3, description="Limits, none by default: cpu, memory, ephemeral-storage.")] = {}


class PodTemplate(ApiModel):
    """The parts of a replica's pod that may be overridden. Volumes, containers and service accounts are left out on purpose (ADR 0005)."""

    labels: Annotated[dict[str, LabelValue], Field(max_length=32, description="Labels added to replica pods.")] = {}
    annotations: Annotated[Annotations, Field(max_length=32, description="Annotations added to replica pods.")] = {}
    resources: Annotated[Resources | None, Field(description="CPU and memory of the engine container.")] = None
    node_selector: Annotated[
        dict[str, LabelValue], Field(max_length=32, description="Added to the accelerator class's node selector.")
    ] = {}
    tolerations: Annotated[list[Toleration], Field(max_length=32, description="Added to the accelerator class's tolerations.")] = []
    priority_class_name: Annotated[str | None, Field(min_length=1, max_length=253, description="PriorityClass of replica pods.")] = None
    runtime_class_name: Annotated[str | None, Field(max_length=253, description="RuntimeClass; overrides the accelerator class's.")] = None
    image_pull_secrets: Annotated[
        list[NamedRef],
        Field(
            max_length=8,
            description="Secrets for pulling the engine image.",
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = []


class NodeSelectorRequirement(ApiModel):
    """Requirement on a node label, as in a pod's spec."""

    key: Annotated[str, Field(min_length=1, max_length=317, description="Label of the node.")]
    operator: Annotated[
        Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"], Field(description="How the label's value is compared with values.")
    ]
    values: Annotated[list[LabelValue], Field(max_length=32, description="At least one for In and NotIn, one number for Gt and Lt.")] = []


class NodeSelectorTerm(ApiModel):
    """Node requirements; all must hold."""

    match_expressions: Annotated[
        list[NodeSelectorRequirement], Field(min_length=1, max_length=16, description="Requirements; all must hold.")
    ]


class NodeSelector(ApiModel):
    """Nodes, by their labels."""

    node_selector_terms: Annotated[list[NodeSelectorTerm], Field(min_length=1, max_length=8, description="Terms; one must hold.")]


class PreferredNodes(ApiModel):
    """Preferred nodes, with a weight."""

    weight: Annotated[int, Field(ge=1, le=100, description="Weight of the preference.")]
    preference: Annotated[NodeSelectorTerm, Field(description="Which nodes.")]


class NodeAffinity(ApiModel):
    """On which nodes pods may be, and should."""

    required: Annotated[
        NodeSelector | None, Field(alias="requiredDuringSchedulingIgnoredDuringExecution", description="Nodes that pods must run on.")
    ] = None
    preferred: Annotated[
        list[PreferredNodes],
        Field(alias="preferredDuringSchedulingIgnoredDuringExecution", max_length=8, description="Nodes that pods should run on."),
    ] = []


class GatewayAffinity(ApiModel):
    """Node affinity alone: gateway pods prefer hosts without another of the same workload in any case."""

    node_affinity: Annotated[NodeAffinity | None, Field(description="Nodes that gateway pods must or should run on.")] = None


class TopologySpread(ApiModel):
    """How evenly a workload's gateway pods are spread. Tainted nodes that they do not tolerate do not count."""

    max_skew: Annotated[int, Field(ge=1, le=16, description="Maximum difference in pods between a domain and the one with the fewest.")] = 1
    topology_key: Annotated[
        str, Field(min_length=1, max_length=317, description="Node label whose values are the domains, for example kubernetes.io/hostname.")
    ]
    when_unsatisfiable: Annotated[
        Literal["DoNotSchedule", "ScheduleAnyway"], Field(description="What to do with a pod that does not satisfy it.")
    ]


class GatewayResources(ApiModel):
    """CPU and memory of the gateway's container."""

    requests: Annotated[
        dict[str, Quantity],
        Field(max_length=3, description="Requests. Default: cpu 100m and memory 128Mi, or the limit where that is lower."),
    ] = {}
    limits: Annotated[
        dict[str, Quantity],
        Field(
            max_length=3,
            description="Limits. Default: memory 2Gi, or the request where that is higher. Envoy's heap follows the memory: near its "
            "limit the newest requests are refused. A pod uses at most two cores.",
        ),
    ] = {}


class GatewayPodTemplate(ApiModel):
    """The parts of a gateway's pod that may be set. What is left out is as the chart's values have it (gateway in values.yaml)."""

    labels: Annotated[dict[str, LabelValue], Field(max_length=32, description="Labels added to gateway pods, and to the chart's.")] = {}
    annotations: Annotated[
        Annotations,
        Field(
            max_length=32, description='Annotations added to gateway pods, and to the chart\'s, such as sidecar.istio.io/inject: "false".'
        ),
    ] = {}
    resources: Annotated[GatewayResources | None, Field(description="CPU and memory of the gateway's container.")] = None
    node_selector: Annotated[
        dict[str, LabelValue] | None,
        Field(max_length=32, description="Labels of the nodes that gateways run on. Default: the chart's; {} for none."),
    ] = None
    tolerations: Annotated[
        list[Toleration] | None, Field(max_length=32, description="Tolerations of gateway pods. Default: the chart's; [] for none.")
    ] = None
    affinity: Annotated[GatewayAffinity | None, Field(description="Affinity of gateway pods. Default: the chart's; {} for none.")] = None
    topology_spread_constraints: Annotated[
        list[TopologySpread] | None,
        Field(
            max_length=4,
            description="How evenly gateway pods are spread. Default: over zones if possible; [] for none.",
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["topologyKey", "whenUnsatisfiable"]},
        ),
    ] = None
    priority_class_name: Annotated[
        str | None, Field(min_length=1, max_length=253, description="PriorityClass of gateway pods. Default: the chart's.")
    ] = None
    runtime_class_name: Annotated[str | None, Field(min_length=1, max_length=253, description="RuntimeClass of gateway pods.")] = None
    image_pull_secrets: Annotated[
        list[NamedRef],
        Field(
            max_length=8,
            description="Secrets for pulling the gateway's image, before the chart's.",
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = []
