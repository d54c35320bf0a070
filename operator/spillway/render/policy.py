"""Who may disturb a workload's pods: PodDisruptionBudgets, NetworkPolicies and the account without rights."""

from collections.abc import Mapping, Sequence

from spillway.api.access import Callers
from spillway.api.vocabulary import COMPONENT_ENGINE, COMPONENT_GATEWAY, PORT_GATEWAY, PORT_GATEWAY_METRICS, PORT_HTTP
from spillway.api.workload import DataResidency
from spillway.plan.decision import Decision, Workload
from spillway.render import names
from spillway.render.envoy.share import has_share
from spillway.render.manifest import KubernetesObject, child, selector
from spillway.render.settings import RenderSettings

DNS_PORT = 53
POLICY_VERSION = "networking.k8s.io/v1"


def service_account(workload: Workload) -> KubernetesObject:
    """Return the account of all pods: no token is mounted, and nothing is granted to it."""
    name = names.service_account(workload.key.name)
    return child(workload, kind="ServiceAccount", name=name, component=COMPONENT_GATEWAY, automountServiceAccountToken=False)


def gateway_budget(workload: Workload) -> KubernetesObject:
    """Return the budget that lets a node drain take one gateway at a time."""
    return _budget(workload, name=names.gateway(workload.key.name), component=COMPONENT_GATEWAY)


def engine_budget(workload: Workload) -> KubernetesObject:
    """Return the budget that lets a node drain take one replica at a time, over all pools."""
    return _budget(workload, name=names.engine(workload.key.name), component=COMPONENT_ENGINE)


def gateway_network_policy(workload: Workload, decision: Decision, settings: RenderSettings) -> KubernetesObject:
    """Return the gateway's policy: the workload's namespace or anyone may call the URL, the metrics are for the scraping namespace.

    Where the cap is shared between pods, the operator may ask each what it holds.

    It may call out, to hosted providers; with ClusterOnly it reaches pods of this cluster and DNS, nothing else.
    """
    ingress = [
        {**_callers(workload), "ports": [_port(PORT_GATEWAY)]},
        *_scraped(settings.scrape_namespace_labels, PORT_GATEWAY_METRICS),
        *(_asked(settings) if has_share(workload, decision) else []),
    ]
    egress = _cluster_only() if _stays_in_cluster(workload) else None
    return _network_policy(workload, name=names.gateway(workload.key.name), component=COMPONENT_GATEWAY, ingress=ingress, egress=egress)


def engine_network_policy(workload: Workload, *, scrape: Sequence[Mapping[str, str]]) -> KubernetesObject:
    """Return the replicas' policy: only their own gateway and the scraping namespace reach them.

    Calling out stays allowed, because weights come from a hub, unless they are on a volume and the data must not leave the cluster.
    """
    gateway = {"podSelector": {"matchLabels": selector(workload, COMPONENT_GATEWAY)}}
    ingress = [{"from": [gateway], "ports": [_port(PORT_HTTP)]}, *_scraped(scrape, PORT_HTTP)]
    source = workload.spec.model.source
    on_volume = source is not None and source.persistent_volume_claim is not None
    egress = _cluster_only() if on_volume and _stays_in_cluster(workload) else None
    return _network_policy(workload, name=names.engine(workload.key.name), component=COMPONENT_ENGINE, ingress=ingress, egress=egress)


def _budget(workload: Workload, *, name: str, component: str) -> KubernetesObject:
    spec = {
        "maxUnavailable": 1,
        "selector": {"matchLabels": selector(workload, component)},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",  # a pod that serves nobody must not hold up a node's drain
    }
    return child(workload, api_version="policy/v1", kind="PodDisruptionBudget", name=name, component=component, spec=spec)


def _network_policy(
    workload: Workload, *, name: str, component: str, ingress: list[KubernetesObject], egress: list[KubernetesObject] | None
) -> KubernetesObject:
    spec: KubernetesObject = {"podSelector": {"matchLabels": selector(workload, component)}, "policyTypes": ["Ingress"], "ingress": ingress}
    if egress is not None:
        spec |= {"policyTypes": ["Ingress", "Egress"], "egress": egress}
    return child(workload, api_version=POLICY_VERSION, kind="NetworkPolicy", name=name, component=component, spec=spec)


def _callers(workload: Workload) -> KubernetesObject:
    """Return whom the URL's port is open to. A pod selector without a namespace's means pods of the policy's own."""
    return {"from": [{"podSelector": {}}]} if workload.spec.gateway.access.admits is Callers.NAMESPACE else {}


def _scraped(scrape: Sequence[Mapping[str, str]], port: int) -> list[KubernetesObject]:
    """Admit the scraping namespaces; none is named: admit none, since an empty selector would admit all."""
    named = [{"namespaceSelector": {"matchLabels": dict(each)}} for each in scrape if each]
    return [{"from": named, "ports": [_port(port)]}] if named else []


def _asked(settings: RenderSettings) -> list[KubernetesObject]:
    """Admit the operator's pods to the second port."""
    if not settings.operator_labels:
        return []
    operator = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": settings.operator_namespace}},
        "podSelector": {"matchLabels": dict(settings.operator_labels)},
    }
    return [{"from": [operator], "ports": [_port(PORT_GATEWAY_METRICS)]}]


def _stays_in_cluster(workload: Workload) -> bool:
    return workload.spec.placement.data_residency is DataResidency.CLUSTER_ONLY


def _cluster_only() -> list[KubernetesObject]:
    # DNS by port alone: a node-local DNS cache is no pod, so no selector matches it.
    return [{"to": [{"namespaceSelector": {}}]}, {"ports": [_port(DNS_PORT, "UDP"), _port(DNS_PORT)]}]


def _port(number: int, protocol: str = "TCP") -> KubernetesObject:
    return {"port": number, "protocol": protocol}
