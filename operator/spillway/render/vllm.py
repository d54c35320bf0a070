"""How vLLM is called: arguments and environment, by the version that the image holds.

Every argument here is a function of the spec and the accelerator class. None may follow a measurement: a changed argument restarts
every replica.
"""

import posixpath
import re
from typing import NamedTuple

from spillway.api.model import HuggingFaceSource, PersistentVolumeClaimSource, Quantization
from spillway.api.vocabulary import PORT_HTTP
from spillway.plan.decision import OwnedPool, Workload
from spillway.render.manifest import KubernetesObject

MODEL_MOUNT = "/model"
CACHE_MOUNT = "/cache"
SCRATCH_MOUNT = "/tmp"  # noqa: S108 a volume of the pod's own

_DTYPES = {Quantization.BF16: "bfloat16", Quantization.FP16: "float16"}


class Version(NamedTuple):
    """A release of vLLM."""

    major: int
    minor: int
    patch: int = 0

    @classmethod
    def parse(cls, text: str) -> "Version":
        """Return the release in "0.32.0", "v0.32" or "0.32.0+cpu"."""
        found = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", text)
        if found is None:
            raise ValueError(f"{text!r} is not a vLLM version; write it like 0.32.0")
        return cls(*(int(part or 0) for part in found.groups()))


# From here on the V1 engine is the only one, and caches prefixes by default wherever the model allows it.
PREFIX_CACHING_BY_DEFAULT = Version(0, 11)
SHUTDOWN_TIMEOUT = Version(0, 18)  # vllm-project/vllm#34730
QUEUE_LIMITS = Version(0, 29)  # vllm-project/vllm#49445


def arguments(workload: Workload, pool: OwnedPool, version: Version, *, host: str = "0.0.0.0") -> list[str]:  # noqa: S104  see below
    """Return the command of a replica; the user's extra arguments come last, and the last one counts."""
    return [
        *("vllm", "serve", loaded_model(workload)),
        *("--host", host, "--port", str(PORT_HTTP)),  # the kubelet probes from outside the pod; a NetworkPolicy guards it
        *("--served-model-name", workload.spec.served_name),
        *_weights(workload),
        *_size(workload, pool),
        *_limits(workload, pool, version),
        *([] if version >= PREFIX_CACHING_BY_DEFAULT else ["--enable-prefix-caching"]),
        *_shutdown(workload, version),
        *workload.spec.own.engine.extra_args,
    ]


def environment(workload: Workload) -> list[KubernetesObject]:
    """Return the environment of a replica; the user's variables replace ours of the same name."""
    variables: dict[str, KubernetesObject] = {name: {"name": name, "value": value} for name, value in _defaults(workload).items()}
    hub = hub_source(workload)
    if hub is not None and hub.token_secret_ref is not None:
        secret = {"name": hub.token_secret_ref.name, "key": hub.token_secret_ref.key}
        variables["HF_TOKEN"] = {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": secret}}
    for own in workload.spec.own.engine.env:
        variables[own.name] = {"name": own.name, "value": own.value}
    return list(variables.values())


def volume_source(workload: Workload) -> PersistentVolumeClaimSource | None:
    """Return the claim that holds the weights; None when they come from a hub."""
    source = workload.spec.model.source
    return source.persistent_volume_claim if source else None


def hub_source(workload: Workload) -> HuggingFaceSource | None:
    """Return what the spec says of the hub; None where it says nothing or the weights are on a volume."""
    source = workload.spec.model.source
    return source.hugging_face if source else None


def loaded_model(workload: Workload) -> str:
    """Return what to load: a repository of the hub, or a folder of the mounted volume that no path can leave."""
    volume = volume_source(workload)
    if volume is not None:
        return posixpath.normpath(MODEL_MOUNT + posixpath.normpath(f"/{volume.path}"))
    hub = hub_source(workload)
    return (hub.repo if hub else None) or workload.spec.model.id


def _weights(workload: Workload) -> list[str]:
    hub = hub_source(workload)
    # The tokenizer is in the same repository, and must be of the same commit.
    revision = ["--revision", hub.revision, "--tokenizer-revision", hub.revision] if hub and hub.revision else []
    return [*revision, *_precision(workload)]


def _precision(workload: Workload) -> list[str]:
    """Return what makes vLLM hold the weights as the spec says.

    Quantized weights name their method in their own configuration. To name it again forces a slower kernel (awq, gptq) or is refused
    (fp8 made by llm-compressor is "compressed-tensors" to vLLM). Only weights that are not fp8 yet have to be made so while loading.
    """
    quantization = workload.spec.model.quantization
    if quantization in _DTYPES:
        return ["--dtype", _DTYPES[quantization]]
    if quantization is Quantization.FP8 and "fp8" not in f"{workload.spec.model.id} {loaded_model(workload)}".lower():
        return ["--quantization", "fp8"]
    return []


def _size(workload: Workload, pool: OwnedPool) -> list[str]:
    context = workload.spec.model.max_context_tokens
    utilization = workload.spec.own.engine.gpu_memory_utilization_percent
    return [
        *("--tensor-parallel-size", str(pool.tensor_parallel_size)),
        *("--gpu-memory-utilization", f"{utilization / 100:.2f}"),
        *(["--max-model-len", str(context)] if context else []),
    ]


def _limits(workload: Workload, pool: OwnedPool, version: Version) -> list[str]:
    """Return the batch that meets the inter-token target, and behind it the net under the gateway's cap."""
    capacity = pool.capacity
    batched = workload.spec.own.engine.max_num_batched_tokens
    limits = ["--max-num-seqs", str(capacity.max_num_seqs), *(["--max-num-batched-tokens", str(batched)] if batched else [])]
    if version < QUEUE_LIMITS:
        return limits
    limits += ["--max-num-queued-reqs", str(capacity.max_queued_requests)]
    if capacity.max_queued_tokens is not None:
        limits += ["--max-num-queued-tokens", str(capacity.max_queued_tokens)]
    return limits


def _shutdown(workload: Workload, version: Version) -> list[str]:
    # The default is 0: requests in flight at SIGTERM hang until the client gives up (seen on 0.32.0).
    return ["--shutdown-timeout", str(workload.spec.gateway.max_request_seconds)] if version >= SHUTDOWN_TIMEOUT else []


def _defaults(workload: Workload) -> dict[str, str]:
    """Return what a replica needs that runs under a number without a name, on a root file system it cannot write to."""
    variables = {
        "HOME": SCRATCH_MOUNT,
        "TMPDIR": SCRATCH_MOUNT,
        "USER": "engine",  # torch asks who runs it, and the image's /etc/passwd does not know
        "LOGNAME": "engine",
        "XDG_CACHE_HOME": f"{SCRATCH_MOUNT}/cache",
        "XDG_CONFIG_HOME": f"{SCRATCH_MOUNT}/config",
        "VLLM_CACHE_ROOT": f"{SCRATCH_MOUNT}/vllm",  # compiled graphs: of one replica, two writers would race on a shared volume
        "TRITON_CACHE_DIR": f"{SCRATCH_MOUNT}/triton",
        "TORCHINDUCTOR_CACHE_DIR": f"{SCRATCH_MOUNT}/inductor",
        "HF_HOME": f"{CACHE_MOUNT}/huggingface",
        "VLLM_HOST_IP": "127.0.0.1",  # all of a replica is in one pod
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
    }
    if volume_source(workload) is not None:
        variables |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    return variables
