"""A gateway pod's own share of the cap: a JSON document in an annotation of the pod, which a volume of the pod shows Envoy as a file.

The kubelet brings it within a second, as the annotation is the pod's own. A pod that nobody has told a share goes by the cap file.
"""

import json

from spillway.api.vocabulary import ANNOTATION_GATEWAY_SHARE
from spillway.plan.decision import Decision, Workload
from spillway.plan.gateway.shares import MOST_COUNTED, is_shared
from spillway.render.envoy.address import GatewayAddresses
from spillway.render.envoy.http import json_text
from spillway.render.envoy.owned import CAP_KEY, SHARE_FILE, share_layer, share_resource
from spillway.render.manifest import KubernetesObject


def has_share(workload: Workload, decision: Decision) -> bool:
    """Whether the gateway's pods get shares."""
    return decision.pool is not None and is_shared(workload.spec)


def share_layers(workload: Workload, decision: Decision, addresses: GatewayAddresses) -> list[KubernetesObject]:
    """Return the runtime layer of the share, which overrides the cap's; nothing where there are no shares."""
    return [share_layer(addresses)] if has_share(workload, decision) else []


def share_annotation(requests: int | None) -> dict[str, str]:
    """Return the annotation; with None as it is in the pod's template: a file that says nothing."""
    return {ANNOTATION_GATEWAY_SHARE: json_text(share_resource(requests))}


def share_told(annotation: str) -> int | None:
    """Return the share in an annotation; None where it says nothing, or nothing that can be read."""
    try:
        found = json.loads(annotation)["resources"][0]["layer"].get(CAP_KEY)
        return share if found is not None and 0 <= (share := int(found)) <= MOST_COUNTED else None
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def share_volume() -> KubernetesObject:
    """Return the volume that shows the annotation."""
    field = {"apiVersion": "v1", "fieldPath": f"metadata.annotations['{ANNOTATION_GATEWAY_SHARE}']"}
    return {"name": "share", "downwardAPI": {"items": [{"path": SHARE_FILE, "fieldRef": field}]}}


def share_mount(addresses: GatewayAddresses) -> KubernetesObject:
    """Return where the container finds it."""
    return {"name": "share", "mountPath": addresses.share_folder, "readOnly": True}
