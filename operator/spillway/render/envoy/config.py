"""Envoy's configuration of a workload's gateway. docs/gateway.md tells how it works; every choice was tried on the real binary.

    edge :8080 ── owned listener ──── replicas (cap from a file that may change at any time)
        └─ next ─ hosted listener ─── hosted backend 0 (TLS, key from a file), 1, ...
    operations :9902 ── GET /metrics, GET /ready, the drain

What a request finds first is tried first: the edge goes on to the next backend as long as no byte of an answer has come.
"""

import json
from dataclasses import dataclass
from functools import lru_cache

import yaml

from spillway.api.vocabulary import CLUSTER_OWNED, PORT_GATEWAY_METRICS
from spillway.plan.decision import Decision, HostedBackend, Workload
from spillway.plan.gateway.permit import WORKERS, needs_permit
from spillway.render.envoy import capped, hosted, owned
from spillway.render.envoy.access import access_mount, access_resources
from spillway.render.envoy.address import PRODUCTION, Address, GatewayAddresses
from spillway.render.envoy.edge import edge_listener
from spillway.render.envoy.hold import HOLD_STATS, hold_of, most_held
from spillway.render.envoy.http import EnvoyConfig, internal_cluster, json_text, typed
from spillway.render.envoy.jwt import issuer_clusters, issuer_listeners
from spillway.render.envoy.metrics import stats_config
from spillway.render.envoy.operations import (
    DRAIN_HEADER,
    DRAIN_PATH,
    admin_socket,
    drain_token,
    operations_clusters,
    operations_listener,
    pause_listener,
)
from spillway.render.envoy.overload import overload_manager
from spillway.render.envoy.permit import POD_VARIABLE, guard_metadata, is_guarded, permit_file
from spillway.render.envoy.routing import hashes
from spillway.render.envoy.secrets import Mount
from spillway.render.envoy.share import has_share, share_layers
from spillway.render.envoy.tls import tls_mount, tls_resources
from spillway.render.envoy.tracing import collector_clusters, collector_mount, collector_resources
from spillway.render.envoy.wait import LISTENER as WAIT
from spillway.render.envoy.wait import WAIT_STATS, slot_cluster, wait_listener, wait_ms

__all__ = [
    "PRODUCTION",
    "Address",
    "GatewayAddresses",
    "HostedMount",
    "Mount",
    "arguments",
    "cap_files",
    "client_mounts",
    "gateway_files",
    "hosted_mounts",
    "pod_environment",
    "pre_stop",
]

_SHORTEST_HEADER_TIMEOUT_MS = 1_000  # an engine that tokenizes a long prompt is not dead
_LONGEST_HEADER_TIMEOUT_MS = 30_000
_HEADER_TIMEOUT_WITHOUT_TARGET_MS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedMount:
    """One key of a Secret that the gateway's pods mount as a folder (never as subPath, which would not follow changes).

    The volume is a projection of two sources in this order: ConfigMap <workload>-gateway-cap, whole, and the Secret's key as `file_name`,
    optional. So there is a file from the start; it gets its content when the Secret comes, and loses it when the Secret goes.
    """

    provider_name: str
    secret_name: str
    secret_key: str
    mount_path: str
    file_name: str


def gateway_files(
    workload: Workload, decision: Decision, addresses: GatewayAddresses = PRODUCTION, *, memory_bytes: int | None = None
) -> dict[str, str]:
    """Return the static files of the gateway, by name. They depend on the spec and the catalogue, never on the number of replicas.

    `memory_bytes` is the container's limit, under which the gateway is to stay; None: it has none.
    """
    files = {"envoy.json": _json(_bootstrap(workload, decision, addresses, memory_bytes), depth=3) + "\n"}
    for backend in decision.backends:
        files |= {name: _text(content) for name, content in hosted.secret_resources(backend, addresses).items()}
    gateway = workload.spec.gateway
    resources = (
        access_resources(gateway.access, addresses)
        | tls_resources(gateway.tls, addresses)
        | collector_resources(gateway.tracing, addresses)
    )
    absent = {file: content for mount in client_mounts(workload, addresses) for file, content in mount.absent.items()}
    return files | {name: _text(content) for name, content in resources.items()} | absent


def client_mounts(workload: Workload, addresses: GatewayAddresses = PRODUCTION) -> tuple[Mount, ...]:
    """Return the Secrets that gateway pods mount for the side of the clients, and for the collector of their traces."""
    gateway = workload.spec.gateway
    return access_mount(gateway.access, addresses) + tls_mount(gateway.tls, addresses) + collector_mount(gateway.tracing, addresses)


def cap_files(decision: Decision) -> dict[str, str]:
    """Return what running gateways read again whenever it changes: the concurrency cap, the permit; and the files under absent Secrets."""
    return {owned.CAP_FILE: _text(owned.cap_resource(decision.gateway.cap_per_gateway)), **permit_file(decision), **hosted.ABSENT_FILES}


def hosted_mounts(decision: Decision, addresses: GatewayAddresses = PRODUCTION) -> tuple[HostedMount, ...]:
    """Return the Secret keys that gateway pods mount, one for a provider's key and one for its certificate authority."""
    mounts: dict[str, HostedMount] = {}
    for backend in decision.backends:
        name, provider = backend.provider_name, backend.provider
        if provider.auth:
            path = hosted.key_folder(addresses, name)
            ref = provider.auth.secret_ref
            mounts[path] = HostedMount(
                provider_name=name, secret_name=ref.name, secret_key=ref.key, mount_path=path, file_name=hosted.KEY_FILE
            )
        if provider.tls:
            path = hosted.authority_folder(addresses, name)
            ref = provider.tls.ca_secret_ref
            mounts[path] = HostedMount(
                provider_name=name, secret_name=ref.name, secret_key=ref.key, mount_path=path, file_name=hosted.AUTHORITY_FILE
            )
    return tuple(mounts.values())


def pod_environment(workload: Workload, decision: Decision) -> list[dict[str, object]]:
    """Return the environment of the gateway's container: its pod's name where a permit has a part for it."""
    if not needs_permit(workload.spec, decision.backends):
        return []
    return [{"name": POD_VARIABLE, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}]


def arguments(addresses: GatewayAddresses = PRODUCTION, *, workers: int = WORKERS) -> list[str]:
    """Return the arguments of `envoy`. Two workers: a large body that Lua rewrites stalls one of them for a moment."""
    return [
        *("-c", f"{addresses.config_folder}/envoy.json"),
        *("--concurrency", str(workers)),
        *("--log-level", "warning"),
        *("--component-log-level", "misc:error"),  # says of each extension that it is work in progress; they are pinned and tested
        "--disable-hot-restart",
        "--reject-unknown-dynamic-fields",  # a mistake in a watched file is refused and the last good one kept
    ]


def pre_stop(workload: Workload) -> dict[str, object]:
    """Return the preStop hook: a GET that is answered when the last request is done. It needs no shell in the image."""
    headers = [{"name": DRAIN_HEADER, "value": drain_token(workload)}]
    return {"httpGet": {"path": DRAIN_PATH, "port": PORT_GATEWAY_METRICS, "scheme": "HTTP", "httpHeaders": headers}}


def _bootstrap(workload: Workload, decision: Decision, addresses: GatewayAddresses, memory_bytes: int | None) -> EnvoyConfig:
    listeners, clusters, order = _second_tier(workload, decision, addresses)
    internal = {
        "name": "envoy.bootstrap.internal_listener",
        "typed_config": typed("envoy.extensions.bootstrap.internal_listener.v3.InternalListener"),
    }
    return {
        "node": {"id": "gateway", "cluster": f"{workload.key.namespace}/{workload.key.name}"},
        "admin": {"address": {"pipe": {"path": admin_socket(addresses), "mode": 0o600}}},
        "bootstrap_extensions": [internal],
        "stats_config": stats_config(decision.gateway, also=_stats_of_waiting(workload, decision)),
        "stats_flush_interval": "1s",  # histograms appear at a flush
        "layered_runtime": {"layers": _layers(workload, decision, addresses)},
        "overload_manager": overload_manager(memory_bytes),
        "static_resources": {
            "listeners": [
                edge_listener(
                    workload,
                    addresses,
                    backends=order,
                    kept=_kept(decision, order),
                    guarded=any(is_guarded(workload.spec, each) for each in decision.backends),
                    hold=None if decision.backends else hold_of(workload, decision),
                    longest_prompt_tokens=decision.gateway.longest_own_prompt_tokens,
                ),
                *listeners,
                *issuer_listeners(workload.spec.gateway.access, addresses),
                operations_listener(workload, addresses, tells_cap=has_share(workload, decision)),
                pause_listener(),
            ],
            "clusters": [
                *clusters,
                *issuer_clusters(workload.spec.gateway.access, addresses),
                *collector_clusters(workload, addresses),
                *operations_clusters(addresses),
            ],
        },
    }


def _layers(workload: Workload, decision: Decision, addresses: GatewayAddresses) -> list[EnvoyConfig]:
    """Return the runtime: what is always so, the cap that all gateways read, and this one's own share of it."""
    return [owned.fixed_layer(), owned.cap_layer(addresses), *share_layers(workload, decision, addresses)] if decision.pool else []


def _kept(decision: Decision, order: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return where a request goes that is to stay in the cluster; None where every request does."""
    if not decision.backends:
        return None
    return tuple(each for each in order if each == owned.HOP)


def _second_tier(
    workload: Workload, decision: Decision, addresses: GatewayAddresses
) -> tuple[list[EnvoyConfig], list[EnvoyConfig], tuple[str, ...]]:
    """Return listeners, clusters, and the edge's clusters in order of preference.

    With nobody to spill to there is no second tier, unless requests wait in front of it or the key of a prompt has to be kept in it.
    """
    gateway = workload.spec.gateway
    patience_ms = _header_timeout_ms(decision.gateway.ttft_edge_ms)
    listeners: list[EnvoyConfig] = []
    clusters: list[EnvoyConfig] = []
    order: list[str] = []
    spills, hold = bool(decision.backends), hold_of(workload, decision)
    if decision.pool and not spills and hold is None and not hashes(gateway):
        return [], [owned.owned_cluster(workload, addresses, spills=False)], (CLUSTER_OWNED,)
    if decision.pool:
        most_ms = wait_ms(workload.spec) if spills else 0
        given_up_ms = patience_ms if spills else None
        long = decision.gateway.longest_own_prompt_tokens is not None
        listeners.append(owned.owned_listener(gateway, header_timeout_ms=given_up_ms, hold=hold, wait_ms=most_ms, long_prompts=long))
        first = WAIT if most_ms else owned.LISTENER
        clusters += [
            internal_cluster(first, owned.HOP, most_retries=None if hold is None or spills else most_held(gateway, hold)),
            owned.owned_cluster(workload, addresses, spills=spills),
        ]
        if most_ms:
            listeners.append(wait_listener(gateway, most_ms=most_ms))
            clusters.append(slot_cluster(owned.LISTENER))
        if spills and hold is not None:
            listeners.append(capped.capped_listener(gateway, hold))
            clusters += capped.capped_clusters(gateway, hold, owned_listener=owned.LISTENER)
        order.append(owned.HOP)
    for backend in decision.backends:
        last = backend is decision.backends[-1]
        listeners.append(_hosted(workload, decision, backend, addresses, header_timeout_ms=None if last else patience_ms))
        clusters += [internal_cluster(hosted.cluster_name(backend), hosted.hop_name(backend)), hosted.hosted_cluster(backend, addresses)]
        order.append(hosted.hop_name(backend))
    return listeners, clusters, tuple(order)


def _stats_of_waiting(workload: Workload, decision: Decision) -> tuple[str, ...]:
    hold, spills = hold_of(workload, decision), bool(decision.pool and decision.backends)
    held = () if hold is None else (capped.STATS if spills else HOLD_STATS,)
    return (*held, *((WAIT_STATS,) if wait_ms(workload.spec) and spills else ()))


def _hosted(
    workload: Workload, decision: Decision, backend: HostedBackend, addresses: GatewayAddresses, *, header_timeout_ms: int | None
) -> EnvoyConfig:
    spec, patience_ms = workload.spec, _header_timeout_ms(decision.gateway.ttft_edge_ms)
    return hosted.hosted_listener(
        backend,
        addresses,
        served_name=spec.served_name,
        owns=decision.pool is not None,
        longest_s=spec.gateway.max_request_seconds,
        header_timeout_ms=header_timeout_ms,
        guard=guard_metadata(spec, decision.backends, backend, addresses.cap_folder) if is_guarded(spec, backend) else None,
        long_timeout_ms=patience_ms if header_timeout_ms is None and decision.gateway.longest_own_prompt_tokens is not None else None,
    )


def _header_timeout_ms(ttft_target_ms: int | None) -> int:
    """Return how long a stream may wait for headers while there is a next backend: the target, within reason."""
    if ttft_target_ms is None:
        return _HEADER_TIMEOUT_WITHOUT_TARGET_MS
    return min(max(ttft_target_ms, _SHORTEST_HEADER_TIMEOUT_MS), _LONGEST_HEADER_TIMEOUT_MS)


class _Dumper(yaml.CSafeDumper):
    """Repeated values written out."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002  (the signature is PyYAML's)
        return True


def _text(config: EnvoyConfig) -> str:
    return _yaml(json_text(config))


# Few differ: a cap is a small number, and a provider's key is mounted alike by all who use it.
@lru_cache(maxsize=1024)
def _yaml(config: str) -> str:
    return yaml.dump(json.loads(config), Dumper=_Dumper, sort_keys=False, width=1000, allow_unicode=True)


def _json(value: object, *, depth: int) -> str:
    """Return a value as JSON with a line for each member, down to this depth: three make one for each listener and cluster.

    As YAML the bootstrap took more than half of a workload's first pass.
    """
    if depth and isinstance(value, dict):
        members = (f"{json_text(key)}:{_json(each, depth=depth - 1)}" for key, each in value.items())
        return "{\n" + ",\n".join(members) + "\n}"
    if depth and isinstance(value, list):
        return "[\n" + ",\n".join(_json(each, depth=depth - 1) for each in value) + "\n]"
    return json_text(value)
