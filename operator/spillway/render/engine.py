"""The Deployment of one pool of replicas: vLLM, hardened, probed and drained.

The pod template is byte-identical for an unchanged spec across versions of the operator (tests/golden/objects): a difference
restarts GPUs all over the cluster.
"""

import json
import math

from spillway.api.pods import PodTemplate, Resources
from spillway.api.vocabulary import (
    ANNOTATION_ACCELERATOR_CLASS,
    ANNOTATION_ENGINE_IMAGE,
    ANNOTATION_ENGINE_LIMITS,
    ANNOTATION_ENGINE_VERSION,
    ANNOTATION_TENSOR_PARALLEL,
    COMPONENT_ENGINE,
    CONTAINER_CONFIG,
    LABEL_POOL,
    PORT_HTTP,
)
from spillway.plan.decision import OwnedPool, Workload
from spillway.plan.model.models import known_model
from spillway.plan.replica.memory import weights_bytes
from spillway.render import drain, names, told_config, vllm
from spillway.render.manifest import (
    KubernetesObject,
    child,
    container_security,
    label_value,
    labels,
    pod_security,
    pull_secrets,
    selector,
    tolerations_of,
)
from spillway.render.settings import RenderSettings

# What OpenCost groups the cost of serving by.
LABEL_LLM_MODEL = "llm-d.ai/model"
LABEL_LLM_SERVING = "llm-d.ai/inference-serving"

# From scheduled to serving: image unpacked, weights loaded, graphs compiled and captured.
START_UP_S = 1200
START_UP_BYTES_PER_S = 100_000_000  # a hub over a busy link or a network disk; a local disk is ten times as fast
# A rollout waits for a GPU to come free as well; longer than this without progress is reported, not undone.
PROGRESS_MARGIN_S = 1800
# A probe that has given up needs no drain: nobody is being served.
HUNG_GRACE_S = 30


def engine_deployment(workload: Workload, pool: OwnedPool, settings: RenderSettings) -> KubernetesObject:
    """Return the engine Deployment. `replicas` is always there: once applied and then left out it would fall back to 1."""
    own = {**selector(workload, COMPONENT_ENGINE), LABEL_POOL: pool.name}
    start_up_s = _start_up_s(workload, pool)
    spec = {
        "replicas": pool.replicas,
        "revisionHistoryLimit": 2,
        "progressDeadlineSeconds": start_up_s + PROGRESS_MARGIN_S,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": _rollout(pool)},
        "selector": {"matchLabels": own},
        "template": _pod(workload, pool, settings),
    }
    deployment = child(
        workload,
        api_version="apps/v1",
        kind="Deployment",
        name=pool.name,
        component=COMPONENT_ENGINE,
        annotations={**_shape(pool), **_chosen_defaults(workload, pool, settings), ANNOTATION_ENGINE_LIMITS: _limits(pool)},
        spec=spec,
    )
    deployment["metadata"]["labels"][LABEL_POOL] = pool.name
    return deployment


def start_up_budget_s(workload: Workload) -> int:
    """Return how long a replica may take to serve: 20 minutes, and more for weights that take longer to load."""
    known = known_model(workload.spec.model)
    if known is None:
        return START_UP_S
    weights = weights_bytes(known.architecture, known.quantization)
    loading_s = math.ceil(weights / START_UP_BYTES_PER_S / 60) * 60
    return max(START_UP_S, START_UP_S // 2 + loading_s)


def _start_up_s(workload: Workload, pool: OwnedPool) -> int:
    return pool.start_up_budget_s or start_up_budget_s(workload)


def engine_image(workload: Workload, pool: OwnedPool, settings: RenderSettings) -> str:
    """Return the image: the spec's, else the default this pool has already, else today's default."""
    return workload.spec.own.engine.image or pool.engine_image or settings.engine_image


def engine_version(workload: Workload, pool: OwnedPool, settings: RenderSettings) -> str:
    """Return the version of vLLM in that image, by the same order."""
    return workload.spec.own.engine.version or pool.engine_version or settings.engine_version


def _overrides(workload: Workload) -> PodTemplate:
    return workload.spec.own.pod_template or PodTemplate()


def _rollout(pool: OwnedPool) -> dict[str, int]:
    """Return who carries the gap of a rollout: one replica more, or else the hosted backend while there is one replica less.

    Nobody where the cache serves one node: on another one a replica more would wait for it for good.
    """
    return {"maxSurge": 1, "maxUnavailable": 0} if pool.surge else {"maxSurge": 0, "maxUnavailable": 1}


def _shape(pool: OwnedPool) -> dict[str, str]:
    return {ANNOTATION_ACCELERATOR_CLASS: pool.accelerator_class, ANNOTATION_TENSOR_PARALLEL: str(pool.tensor_parallel_size)}


def _chosen_defaults(workload: Workload, pool: OwnedPool, settings: RenderSettings) -> dict[str, str]:
    """Write down the defaults that were taken, so that later ones leave this pool alone."""
    engine = workload.spec.own.engine
    chosen = {}
    if engine.image is None:
        chosen[ANNOTATION_ENGINE_IMAGE] = engine_image(workload, pool, settings)
    if engine.version is None:
        chosen[ANNOTATION_ENGINE_VERSION] = engine_version(workload, pool, settings)
    return chosen


def _limits(pool: OwnedPool) -> str:
    """Return the limits in the engine's arguments with what they were made for, so that a later formula leaves this pool alone."""
    made = pool.capacity
    limits = {
        "sizedFor": made.sized_for,
        "maxNumSeqs": made.max_num_seqs,
        "maxQueuedRequests": made.max_queued_requests,
        "maxQueuedTokens": made.max_queued_tokens,
    }
    return json.dumps(limits, separators=(",", ":"))


def _pod(workload: Workload, pool: OwnedPool, settings: RenderSettings) -> KubernetesObject:
    overrides = _overrides(workload)
    # A user's labels and annotations are added; ours are what Services, metrics and prices hang on, so they win.
    metadata = {
        "labels": {
            **overrides.labels,
            **labels(workload, COMPONENT_ENGINE),
            LABEL_POOL: pool.name,
            LABEL_LLM_MODEL: label_value(workload.spec.model.id.rstrip("/").rsplit("/", 1)[-1]),
            LABEL_LLM_SERVING: "true",
        },
        "annotations": {**overrides.annotations, **_shape(pool)},
    }
    spec = {
        "serviceAccountName": names.service_account(workload.key.name),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,  # a Service called "vllm" would set VLLM_PORT, on which vLLM dies
        "shareProcessNamespace": True,  # so that the preStop hook can kill an engine that still loads
        "terminationGracePeriodSeconds": drain.grace_period_s(workload.spec.gateway.max_request_seconds),
        "securityContext": pod_security(),
        **({"initContainers": [_telling_container(workload, pool, settings)]} if pool.tells_config else {}),
        "containers": [_container(workload, pool, settings)],
        "volumes": _volumes(workload, pool),
        **_scheduling(pool, overrides, settings),
    }
    return {"metadata": metadata, "spec": spec}


def _container(workload: Workload, pool: OwnedPool, settings: RenderSettings) -> KubernetesObject:
    version = vllm.Version.parse(engine_version(workload, pool, settings))
    stop = drain.command(port=PORT_HTTP, max_request_seconds=workload.spec.gateway.max_request_seconds)
    return {
        "name": COMPONENT_ENGINE,
        "image": engine_image(workload, pool, settings),
        "imagePullPolicy": settings.image_pull_policy,
        "command": vllm.arguments(workload, pool, version, host=settings.listen_address),
        "env": vllm.environment(workload),
        "ports": [{"name": "http", "containerPort": PORT_HTTP, "protocol": "TCP"}],
        "resources": _resources(pool, _overrides(workload).resources, settings.engine_resources),
        "securityContext": container_security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "lifecycle": {"preStop": {"exec": {"command": stop}}},
        "volumeMounts": _mounts(workload),
        **_probes(workload, pool),
    }


def _telling_container(workload: Workload, pool: OwnedPool, settings: RenderSettings) -> KubernetesObject:
    """Return what tells the model's config.json before the engine starts, with all that the engine has but its accelerators."""
    named = _resources(pool, _overrides(workload).resources, settings.engine_resources)
    resources = {
        kind: {name: amount for name, amount in amounts.items() if name != pool.accelerator.resource_name}
        for kind, amounts in named.items()
    }
    return {
        "name": CONTAINER_CONFIG,
        "image": engine_image(workload, pool, settings),
        "imagePullPolicy": settings.image_pull_policy,
        "command": told_config.command(workload),
        "env": told_config.environment(workload),
        "resources": {kind: amounts for kind, amounts in resources.items() if amounts},
        "securityContext": container_security(),
        "volumeMounts": [each for each in _mounts(workload) if each["name"] != "shm"],
    }


def _probes(workload: Workload, pool: OwnedPool) -> KubernetesObject:
    """Return the probes. Until it serves, vLLM refuses connections; busy, it may answer late; dead, it exits by itself."""
    health = {"httpGet": {"path": "/health", "port": "http"}, "timeoutSeconds": 5}
    return {
        "startupProbe": {
            **health,
            "periodSeconds": 1,
            "failureThreshold": _start_up_s(workload, pool),
            "terminationGracePeriodSeconds": HUNG_GRACE_S,
        },
        "readinessProbe": {**health, "periodSeconds": 2, "failureThreshold": 3},
        # Two minutes without an answer: a prompt that blocks the server for seconds must not cost its replica.
        "livenessProbe": {
            **health,
            "timeoutSeconds": 10,
            "periodSeconds": 10,
            "failureThreshold": 12,
            "terminationGracePeriodSeconds": HUNG_GRACE_S,
        },
    }


def _resources(pool: OwnedPool, own: Resources | None, default: Resources) -> KubernetesObject:
    """Return the user's CPU and memory, defaults for what is not named, and one accelerator per tensor parallel rank."""
    requests, limits = (own.requests, own.limits) if own else ({}, {})
    named = {*requests, *limits}
    requests = {**{name: amount for name, amount in default.requests.items() if name not in named}, **requests}
    limits = {**{name: amount for name, amount in default.limits.items() if name not in named}, **limits}
    accelerators = {pool.accelerator.resource_name: str(pool.tensor_parallel_size)}
    return {"requests": {**requests, **accelerators}, "limits": {**limits, **accelerators}}


def _volumes(workload: Workload, pool: OwnedPool) -> list[KubernetesObject]:
    cache = workload.spec.own.model_cache
    volume = vllm.volume_source(workload)
    # Ranks talk over shared memory, and what they do not use costs nothing.
    shared_gib = 2 * pool.tensor_parallel_size
    return [
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": f"{shared_gib}Gi"}},
        {"name": "scratch", "emptyDir": {}},
        {"name": "cache", **({"persistentVolumeClaim": {"claimName": cache.claim_name}} if cache else {"emptyDir": {}})},
        *([{"name": "model", "persistentVolumeClaim": {"claimName": volume.claim_name, "readOnly": True}}] if volume else []),
    ]


def _mounts(workload: Workload) -> list[KubernetesObject]:
    return [
        {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 the kernel's name for it
        {"name": "scratch", "mountPath": vllm.SCRATCH_MOUNT},
        {"name": "cache", "mountPath": vllm.CACHE_MOUNT},
        *([{"name": "model", "mountPath": vllm.MODEL_MOUNT, "readOnly": True}] if vllm.volume_source(workload) else []),
    ]


def _scheduling(pool: OwnedPool, overrides: PodTemplate, settings: RenderSettings) -> KubernetesObject:
    """Return where replicas may run. The class's node labels win: its price and arithmetic are those of its nodes."""
    accelerator = pool.accelerator
    tolerations = tolerations_of(*accelerator.tolerations, *overrides.tolerations)
    wanted = {
        "nodeSelector": {**overrides.node_selector, **accelerator.node_selector},
        "tolerations": [each for place, each in enumerate(tolerations) if each not in tolerations[:place]],
        "runtimeClassName": overrides.runtime_class_name or accelerator.runtime_class_name,
        "priorityClassName": overrides.priority_class_name,
        "imagePullSecrets": pull_secrets(*(secret.name for secret in overrides.image_pull_secrets), *settings.engine_pull_secrets),
    }
    return {field: value for field, value in wanted.items() if value}
