"""Objects with a workload's label."""

from dataclasses import dataclass
from datetime import datetime

from spillway.api.vocabulary import ANNOTATION_CONFIG_GENERATION, LABEL_COMPONENT
from spillway.observe.body import Body, controller_uid, version
from spillway.observe.pods import SharingPod, gateway_pod, has_ended, pool, ready_since, refused, replica_pod, sharing_pod
from spillway.plan.observation import GatewayPod, Pool, ReplicaPod


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """An object with a workload's label, as last seen."""

    kind: str
    name: str
    uid: str
    version: int
    controller_uid: str | None
    component: str | None
    facts: ReplicaPod | GatewayPod | Pool | None
    config_generation: str | None  # of a gateway pod: the cap it was last told of
    ready_since: datetime | None  # of a gateway pod
    sharing: SharingPod | None  # of a gateway pod that can be told a share of the cap
    refused: str | None  # of a gateway's Deployment: why the API server takes no pod of it


def child_of(kind: str, body: Body) -> Child:
    """Return an object as a child."""
    metadata = body["metadata"]
    component = (metadata.get("labels") or {}).get(LABEL_COMPONENT)
    facts: ReplicaPod | GatewayPod | Pool | None = None
    told, since, sharing, without_pods = None, None, None, None
    match kind, component:
        case "Pod", "engine":
            facts = replica_pod(body)
        case "Pod", "gateway" if not has_ended(body):
            facts, since, sharing = gateway_pod(body), ready_since(body), sharing_pod(body)
            told = (metadata.get("annotations") or {}).get(ANNOTATION_CONFIG_GENERATION)
        case "Deployment", "engine":
            facts = pool(body)
        case "Deployment", "gateway":
            without_pods = refused(body)
    return Child(
        kind=kind,
        name=metadata["name"],
        uid=metadata.get("uid", ""),
        version=version(body),
        controller_uid=controller_uid(body),
        component=component,
        facts=facts,
        config_generation=told,
        ready_since=since,
        sharing=sharing,
        refused=without_pods,
    )
