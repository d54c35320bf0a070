"""The gateway: Envoy as a Deployment, its files in two ConfigMaps.

The static files roll the pods when they change (their hash is in the template). The cap changes with every replica that comes or
goes: it is a file of its own that running pods read again, in a directory of its own, because a subPath mount is never updated.
Where there are several pods, each one's share of the cap is an annotation of its own, shown as a file.
"""

import hashlib
import json
import math
from collections.abc import Mapping

from spillway.api.vocabulary import ANNOTATION_CONFIG_HASH, COMPONENT_GATEWAY, PORT_GATEWAY, PORT_GATEWAY_METRICS
from spillway.plan.decision import Decision, Workload
from spillway.render import gateway_pod, names
from spillway.render.envoy import config as envoy
from spillway.render.envoy.http import LONGEST_UPLOAD_S
from spillway.render.envoy.operations import DRAIN_IDLE_S
from spillway.render.envoy.share import has_share, share_annotation, share_mount, share_volume
from spillway.render.manifest import KubernetesObject, child, container_security, labels, pod_security, selector
from spillway.render.settings import RenderSettings

# The preStop hook takes until the last request is done; after it Envoy has nothing left to do.
EXIT_S = 15
# One that does not answer its probes does not answer the hook either.
HUNG_GRACE_S = 30


def static_files(workload: Workload, decision: Decision, settings: RenderSettings) -> Mapping[str, str]:
    """Return the static files. Writing them takes longer than all the rest of a rendering, so it is done once for both who need them."""
    return envoy.gateway_files(workload, decision, _addresses(settings), memory_bytes=gateway_pod.memory_limit_bytes(workload, settings))


def gateway_config(workload: Workload, files: Mapping[str, str]) -> KubernetesObject:
    """Return the ConfigMap of the static files."""
    return _config_map(workload, name=names.gateway(workload.key.name), files=files)


def gateway_cap(workload: Workload, decision: Decision) -> KubernetesObject:
    """Return the ConfigMap of the concurrency cap."""
    return _config_map(workload, name=names.gateway_cap(workload.key.name), files=envoy.cap_files(decision))


def gateway_deployment(workload: Workload, decision: Decision, settings: RenderSettings, files: Mapping[str, str]) -> KubernetesObject:
    """Return the gateway's Deployment: a rollout never goes below the wanted number of pods."""
    spec = {
        **({} if workload.spec.gateway.autoscaling else {"replicas": decision.gateway.replicas}),  # else the autoscaler's field
        "revisionHistoryLimit": 2,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "selector": {"matchLabels": selector(workload, COMPONENT_GATEWAY)},
        "template": _pod(workload, decision, settings, files),
    }
    name = names.gateway(workload.key.name)
    return child(workload, api_version="apps/v1", kind="Deployment", name=name, component=COMPONENT_GATEWAY, spec=spec)


def gateway_autoscaler(workload: Workload, settings: RenderSettings) -> tuple[KubernetesObject, ...]:
    """Return the HorizontalPodAutoscaler of the gateway; none where the spec says how many pods there are.

    CPU is counted in cores, of those that a pod's worker threads can use: a share of the request would follow the request. And in Envoy's
    container alone: a mesh's sidecar beside it takes about as much.
    """
    autoscaling = workload.spec.gateway.autoscaling
    if autoscaling is None:
        return ()
    name = names.gateway(workload.key.name)
    millicores = autoscaling.target_cpu_percent * gateway_pod.usable_millicores(workload, settings) // 100
    target = {"type": "AverageValue", "averageValue": f"{millicores}m"}
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
        "minReplicas": workload.spec.gateway.replicas,
        "maxReplicas": autoscaling.max_replicas,
        "metrics": [{"type": "ContainerResource", "containerResource": {"name": "cpu", "container": COMPONENT_GATEWAY, "target": target}}],
    }
    kind = "HorizontalPodAutoscaler"
    return (child(workload, api_version="autoscaling/v2", kind=kind, name=name, component=COMPONENT_GATEWAY, spec=spec),)


def _addresses(settings: RenderSettings) -> envoy.GatewayAddresses:
    host = settings.listen_address
    return envoy.GatewayAddresses(
        cluster_domain=settings.cluster_domain,
        listen=envoy.Address(host=host, port=PORT_GATEWAY),
        metrics=envoy.Address(host=host, port=PORT_GATEWAY_METRICS),
    )


def _config_map(workload: Workload, *, name: str, files: Mapping[str, str]) -> KubernetesObject:
    return child(workload, kind="ConfigMap", name=name, component=COMPONENT_GATEWAY, data=dict(files))


def _pod(workload: Workload, decision: Decision, settings: RenderSettings, files: Mapping[str, str]) -> KubernetesObject:
    addresses = _addresses(settings)
    share = share_annotation(None) if has_share(workload, decision) else {}
    longest_s = LONGEST_UPLOAD_S + workload.spec.gateway.max_request_seconds
    grace_s = math.ceil(addresses.drain_settle_s + DRAIN_IDLE_S) + longest_s + EXIT_S
    # A user's labels and annotations are added; ours are what Services, metrics and shares hang on, so they win.
    metadata = {
        "labels": {**gateway_pod.own_labels(workload, settings), **labels(workload, COMPONENT_GATEWAY)},
        "annotations": {**gateway_pod.own_annotations(workload, settings), ANNOTATION_CONFIG_HASH: _hash(files), **share},
    }
    spec = {
        "serviceAccountName": names.service_account(workload.key.name),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": grace_s,
        "securityContext": pod_security(),
        **gateway_pod.scheduling(workload, settings),
        "containers": [_container(workload, decision, settings)],
        "volumes": _volumes(workload, decision, config=names.gateway(workload.key.name), cap=names.gateway_cap(workload.key.name)),
        **gateway_pod.further(workload, settings),
    }
    return {"metadata": metadata, "spec": spec}


def _hash(files: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(dict(files), sort_keys=True).encode()).hexdigest()[:16]


def _container(workload: Workload, decision: Decision, settings: RenderSettings) -> KubernetesObject:
    ready = {"httpGet": {"path": "/ready", "port": "metrics"}, "timeoutSeconds": 2}
    environment = envoy.pod_environment(workload, decision)
    return {
        "name": COMPONENT_GATEWAY,
        "image": settings.gateway_image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": ["envoy"],
        "args": envoy.arguments(_addresses(settings)),
        **({"env": environment} if environment else {}),
        "ports": [
            {"name": "http", "containerPort": PORT_GATEWAY, "protocol": "TCP"},
            {"name": "metrics", "containerPort": PORT_GATEWAY_METRICS, "protocol": "TCP"},
        ],
        "resources": gateway_pod.resources(workload, settings),
        "securityContext": container_security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "lifecycle": {"preStop": envoy.pre_stop(workload)},
        "startupProbe": {**ready, "periodSeconds": 1, "failureThreshold": 120},
        "readinessProbe": {**ready, "periodSeconds": 2, "failureThreshold": 2},
        "livenessProbe": {**ready, "periodSeconds": 10, "failureThreshold": 6, "terminationGracePeriodSeconds": HUNG_GRACE_S},
        "volumeMounts": _mounts(workload, decision, _addresses(settings)),
    }


def _volumes(workload: Workload, decision: Decision, *, config: str, cap: str) -> list[KubernetesObject]:
    return [
        {"name": "config", "configMap": {"name": config}},
        {"name": "cap", "configMap": {"name": cap}},
        *([share_volume()] if has_share(workload, decision) else []),
        {"name": "run", "emptyDir": {}},
        *(_secret_volume(place, mount, cap=cap) for place, mount in enumerate(envoy.hosted_mounts(decision))),
        *(_client_volume(mount, config=config) for mount in envoy.client_mounts(workload)),
    ]


def _mounts(workload: Workload, decision: Decision, folders: envoy.GatewayAddresses) -> list[KubernetesObject]:
    return [
        {"name": "config", "mountPath": folders.config_folder, "readOnly": True},
        {"name": "cap", "mountPath": folders.cap_folder, "readOnly": True},
        *([share_mount(folders)] if has_share(workload, decision) else []),
        {"name": "run", "mountPath": folders.run_folder},
        *(
            {"name": _volume_name(place), "mountPath": mount.mount_path, "readOnly": True}
            for place, mount in enumerate(envoy.hosted_mounts(decision, folders))
        ),
        *({"name": each.name, "mountPath": each.mount_path, "readOnly": True} for each in envoy.client_mounts(workload, folders)),
    ]


def _secret_volume(place: int, mount: envoy.HostedMount, *, cap: str) -> KubernetesObject:
    """Return one key of a Secret as a volume. Optional: without it own replicas go on serving, and it is picked up when it comes.

    The cap's ConfigMap lies under it, with a file in the Secret's place: Envoy learns of a file's content only when its link exists.
    """
    secret = {"name": mount.secret_name, "optional": True, "items": [{"key": mount.secret_key, "path": mount.file_name}]}
    return {"name": _volume_name(place), "projected": {"sources": [{"configMap": {"name": cap}}, {"secret": secret}]}}


def _client_volume(mount: envoy.Mount, *, config: str) -> KubernetesObject:
    """Return entries of a Secret as a volume, and under them what stands for them while it is not there.

    Both are optional: a pod of before a change of the spec must be able to start again after it.
    """
    below = {"name": config, "optional": True}
    items = [{"key": mount.entries.get(file, file), "path": file} for file in mount.absent]
    above = {mount.kind: {"name": mount.source_name, "optional": True, "items": items}}
    return {"name": mount.name, "projected": {"sources": [{"configMap": below}, above]}}


def _volume_name(place: int) -> str:
    return f"hosted-{place}"
