"""What users may say about a gateway's pods: the workload's own `gateway.podTemplate`, over the chart's defaults, over ours.

Where nobody says anything, a template is what it was before one could, to the byte: else an upgrade would roll every gateway.
"""

import math

from spillway.api.pods import GatewayPodTemplate, GatewayResources
from spillway.api.quantities import amount
from spillway.api.vocabulary import COMPONENT_GATEWAY
from spillway.plan.decision import Workload
from spillway.plan.gateway.permit import WORKERS
from spillway.render.manifest import KubernetesObject, pull_secrets, selector, tolerations_of
from spillway.render.settings import RenderSettings


def own_labels(workload: Workload, settings: RenderSettings) -> dict[str, str]:
    """Return the labels that users add."""
    return {**settings.gateway_pod_template.labels, **_own(workload).labels}


def own_annotations(workload: Workload, settings: RenderSettings) -> dict[str, str]:
    """Return the annotations that users add."""
    return {**settings.gateway_pod_template.annotations, **_own(workload).annotations}


def resources(workload: Workload, settings: RenderSettings) -> KubernetesObject:
    """Return the container's requests and limits. A default gives way to what is named beside it: no request exceeds its limit."""
    default, own = settings.gateway_resources, _own(workload).resources or GatewayResources()
    requests, limits = {**default.requests, **own.requests}, {**default.limits, **own.limits}
    for name in requests.keys() & limits.keys():
        if amount(requests[name]) > amount(limits[name]):
            given_way, other = (requests, limits) if name in own.limits else (limits, requests)
            given_way[name] = other[name]
    return {"requests": requests, "limits": limits}


def memory_limit_bytes(workload: Workload, settings: RenderSettings) -> int | None:
    """Return what Envoy's heap has to stay within; None where nothing limits it."""
    limit = resources(workload, settings)["limits"].get("memory")
    return None if limit is None else math.floor(amount(limit))


def usable_millicores(workload: Workload, settings: RenderSettings) -> int:
    """Return the CPU that a pod can use: a core for each worker thread, unless its limit is lower."""
    limit = resources(workload, settings)["limits"].get("cpu")
    most = 1000 * WORKERS
    return most if limit is None else min(most, math.floor(1000 * amount(limit)))


def scheduling(workload: Workload, settings: RenderSettings) -> KubernetesObject:
    """Return where gateways may run and how they are spread: over hosts where that can be, and over zones unless the user says how."""
    return {"affinity": _affinity(workload, settings), "topologySpreadConstraints": _spread(workload)}


def further(workload: Workload, settings: RenderSettings) -> KubernetesObject:
    """Return what a pod has only where somebody asks for it."""
    own, default = _own(workload), settings.gateway_pod_template
    tolerations = default.tolerations if own.tolerations is None else own.tolerations
    asked = {
        "imagePullSecrets": pull_secrets(*(each.name for each in own.image_pull_secrets), *settings.gateway_pull_secrets),
        "nodeSelector": default.node_selector if own.node_selector is None else own.node_selector,
        "tolerations": tolerations_of(*(tolerations or ())),
        "priorityClassName": own.priority_class_name or default.priority_class_name,
        "runtimeClassName": own.runtime_class_name,
    }
    return {field: value for field, value in asked.items() if value}


def _own(workload: Workload) -> GatewayPodTemplate:
    return workload.spec.gateway.pod_template or GatewayPodTemplate()


def _affinity(workload: Workload, settings: RenderSettings) -> KubernetesObject:
    own = _own(workload).affinity
    asked = settings.gateway_pod_template.affinity if own is None else own
    nodes = {} if asked is None else asked.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
    apart = {"topologyKey": "kubernetes.io/hostname", "labelSelector": _of(workload)}
    return {
        **{kind: terms for kind, terms in nodes.items() if terms},
        "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": apart}]},
    }


def _spread(workload: Workload) -> list[KubernetesObject]:
    own = _own(workload).topology_spread_constraints
    if own is None:
        return [
            {
                "maxSkew": 1,
                "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": _of(workload),
            }
        ]
    # By default a tainted node counts as a place without a pod, for which others would have to wait where the constraint is strict.
    return [{**each.model_dump(mode="json", by_alias=True), "nodeTaintsPolicy": "Honor", "labelSelector": _of(workload)} for each in own]


def _of(workload: Workload) -> KubernetesObject:
    return {"matchLabels": selector(workload, COMPONENT_GATEWAY)}
