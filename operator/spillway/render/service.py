"""The two Services: the stable URL, and the headless one in which the gateway finds ready replicas."""

from spillway.api.vocabulary import COMPONENT_ENGINE, COMPONENT_GATEWAY, PORT_HTTP, SERVICE_PORT, SERVICE_TLS_PORT
from spillway.plan.decision import Workload
from spillway.render import names
from spillway.render.manifest import KubernetesObject, child, selector


def stable_service(workload: Workload) -> KubernetesObject:
    """Return the Service clients call; it selects gateways whoever serves behind them."""
    scheme, port = ("http", SERVICE_PORT) if workload.spec.gateway.tls is None else ("https", SERVICE_TLS_PORT)
    spec = {
        "type": "ClusterIP",
        "selector": selector(workload, COMPONENT_GATEWAY),
        "ports": [{"name": scheme, "port": port, "targetPort": "http", "protocol": "TCP", "appProtocol": scheme}],
    }
    return child(workload, kind="Service", name=names.service(workload.key.name), component=COMPONENT_GATEWAY, spec=spec)


def replicas_service(workload: Workload) -> KubernetesObject:
    """Return the headless Service of the replicas of all pools.

    A replica is in DNS exactly while it is ready and not being deleted, which is what makes "out of routing first" possible.
    """
    spec = {
        "type": "ClusterIP",
        "clusterIP": "None",
        "publishNotReadyAddresses": False,
        "selector": selector(workload, COMPONENT_ENGINE),
        "ports": [{"name": "http", "port": PORT_HTTP, "targetPort": "http", "protocol": "TCP", "appProtocol": "http"}],
    }
    return child(workload, kind="Service", name=names.replicas(workload.key.name), component=COMPONENT_ENGINE, spec=spec)
