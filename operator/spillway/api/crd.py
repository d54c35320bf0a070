"""The three CustomResourceDefinitions, made from the models. `spillway crds` prints them, `make generate` writes them."""

from dataclasses import dataclass
from typing import Any

from spillway.api.base import ApiModel
from spillway.api.catalogue import AcceleratorClassSpec, HostedProviderSpec
from spillway.api.rules import RULES
from spillway.api.schema import Schema, structural
from spillway.api.status import InferenceWorkloadStatus
from spillway.api.vocabulary import GROUP, VERSION, ConditionType
from spillway.api.workload import InferenceWorkloadSpec

_API_VERSION_TEXT = "Version of this representation of the object."
_KIND_TEXT = "Kind of the object."


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of `kubectl get`; a wide one shows with `-o wide` only."""

    name: str
    path: str
    description: str
    type: str = "string"
    wide: bool = False

    def as_column(self) -> dict[str, Any]:
        """Return the entry of `additionalPrinterColumns`."""
        column = {"name": self.name, "type": self.type, "jsonPath": self.path, "description": self.description}
        return column | ({"priority": 1} if self.wide else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind: its names, its models and how `kubectl get` shows it."""

    kind: str
    plural: str
    short_names: tuple[str, ...]
    description: str
    spec: type[ApiModel]
    columns: tuple[Column, ...]
    status: type[ApiModel] | None = None
    namespaced: bool = True
    scale: bool = False


def _condition(condition: ConditionType, what: str) -> str:
    return f'.status.conditions[?(@.type=="{condition.value}")].{what}'


AGE = Column(name="Age", path=".metadata.creationTimestamp", type="date", description="Time since creation.")

WORKLOAD = Kind(
    kind="InferenceWorkload",
    plural="inferenceworkloads",
    short_names=("iw",),
    description="One model behind one URL, served by replicas in the cluster, hosted backends or both, with its SLO, traffic and budget.",
    spec=InferenceWorkloadSpec,
    status=InferenceWorkloadStatus,
    scale=True,
    columns=(
        Column(name="Model", path=".spec.model.id", description="The model."),
        Column(name="Placement", path=".status.placement.mode", description="Where requests are served now."),
        Column(name="Ready", path=_condition(ConditionType.READY, "status"), description="Whether requests are served."),
        Column(name="Replicas", path=".status.replicasSummary", description="Replicas, ready/desired."),
        Column(name="SLO", path=_condition(ConditionType.SLO_MET, "status"), description="Whether the latency SLO is met."),
        Column(name="USD/h", path=".status.cost.usdPerHour", description="Cost per hour now, owned plus hosted."),
        AGE,
        Column(name="Recommended", path=".status.placement.recommended.mode", wide=True, description="Cheapest mode by the plan."),
        Column(
            name="Spilled %", path=".status.traffic.spilledPercent", wide=True, description="Share of requests served by hosted backends."
        ),
        Column(
            name="$/1M tokens",
            path=".status.cost.usdPerMillionTokens",
            wide=True,
            description="Blended cost per million tokens this month.",
        ),
        Column(name="URL", path=".status.url", wide=True, description="OpenAI-compatible base URL."),
        Column(name="Reason", path=_condition(ConditionType.READY, "reason"), wide=True, description="Reason of the Ready condition."),
    ),
)
PROVIDER = Kind(
    kind="HostedProvider",
    plural="hostedproviders",
    short_names=("hp",),
    description="An OpenAI-compatible endpoint that bills by the token, with its models, their prices and the key to use it. Anyone "
    "who can write one can send a Secret of its namespace to a URL.",
    spec=HostedProviderSpec,
    columns=(
        Column(name="URL", path=".spec.baseURL", description="Base URL."),
        Column(name="Prices as of", path=".spec.prices.asOf", description="Date of the prices."),
        AGE,
    ),
)
ACCELERATOR = Kind(
    kind="AcceleratorClass",
    plural="acceleratorclasses",
    short_names=("ac",),
    description="One kind of accelerator in the cluster: its capabilities, how a pod requests it and what it costs.",
    spec=AcceleratorClassSpec,
    namespaced=False,
    columns=(
        Column(name="Product", path=".spec.product", description="Name of the product."),
        Column(name="GiB", path=".spec.memoryGiB", type="integer", description="Memory per accelerator."),
        Column(name="Per node", path=".spec.perNode", type="integer", description="Accelerators in one node."),
        Column(name="USD/h", path=".spec.price.onDemandUSDPerHour", description="On-demand price per hour."),
        Column(name="For one", path=".spec.price.per", description="What the price is for: Accelerator or Node."),
        Column(name="Prices as of", path=".spec.price.asOf", wide=True, description="Date of the price."),
        AGE,
    ),
)
KINDS = (WORKLOAD, PROVIDER, ACCELERATOR)


def crds() -> tuple[dict[str, Any], ...]:
    """Return the CustomResourceDefinitions of all kinds."""
    return tuple(crd(kind) for kind in KINDS)


def crd(kind: Kind) -> dict[str, Any]:
    """Return one CustomResourceDefinition."""
    version: dict[str, Any] = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": [column.as_column() for column in kind.columns],
        "schema": {"openAPIV3Schema": schema(kind)},
    }
    if kind.status:
        version["subresources"] = {"status": {}}
    if kind.scale:
        version["subresources"]["scale"] = {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{kind.plural}.{GROUP}",
            # Removing the CRD removes every object of the kind, and with a workload all it serves: no uninstallation may do that.
            "annotations": {"helm.sh/resource-policy": "keep"},
        },
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.kind.lower(),
                "shortNames": list(kind.short_names),
                "categories": ["spillway"],
            },
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "versions": [version],
        },
    }


def schema(kind: Kind) -> Schema:
    """Return the structural schema of a whole object."""
    rules = RULES[kind.kind]
    properties: Schema = {
        "apiVersion": {"type": "string", "description": _API_VERSION_TEXT},
        "kind": {"type": "string", "description": _KIND_TEXT},
        "metadata": {"type": "object"},
        "spec": structural(kind.spec, rules),
    }
    if kind.status:
        properties["status"] = structural(kind.status, ())
    out: Schema = {"type": "object", "description": kind.description, "required": ["spec"], "properties": properties}
    whole = [rule.as_validation() for rule in rules if rule.model == kind.kind]
    return out | ({"x-kubernetes-validations": whole} if whole else {})
