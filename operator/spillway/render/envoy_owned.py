"""The second tier's way to replicas of our own."""

from spillway.api.holding import Hold
from spillway.api.vocabulary import BACKEND_OWNED, CLUSTER_OWNED
from spillway.plan.decision import Workload
from spillway.render import names
from spillway.render.envoy_address import GatewayAddresses
from spillway.render.envoy_hold import arrival_filter, hold_replies
from spillway.render.envoy_http import (
    NO_CAPACITY,
    STAY,
    STREAMED,
    UNLIMITED,
    EnvoyConfig,
    breakers,
    dns_cluster,
    endpoints,
    error_reply,
    extension,
    http1,
    internal_listener,
    is_set,
    seconds,
    set_header,
    socket_address,
    stays,
    typed,
)

LISTENER = "owned"
HOP = "hop-owned"
CAP_KEY = f"circuit_breakers.{CLUSTER_OWNED}.default.max_requests"

_UNCAPPED = 1024  # no cap known and nowhere else to go: the engine's own queue limit guards
_ENGINE_KEEP_ALIVE_S = 5  # uvicorn's; the gateway must be the one that closes an idle connection


def owned_listener(*, longest_s: int, header_timeout_ms: int | None, hold: Hold | None = None) -> EnvoyConfig:
    """Return the listener in front of the replicas."""
    return internal_listener(
        name=LISTENER,
        idle_s=longest_s + 5,
        filters=[arrival_filter()] if hold else [],
        routes={"name": LISTENER, "virtual_hosts": [{"name": LISTENER, "domains": ["*"], "routes": _routes(header_timeout_ms)}]},
        local_reply_config={"mappers": hold_replies(hold) if hold else [error_reply(None, **NO_CAPACITY)]},
    )


def _routes(header_timeout_ms: int | None) -> list[EnvoyConfig]:
    """Return one route for streams, which may be given up when no header comes, and one for all else, which may take its time.

    A stream that must stay is not given up: nobody else answers it.
    """
    if header_timeout_ms is None:
        return [_route({"prefix": "/"}, {})]
    streamed: EnvoyConfig = {"prefix": "/", "headers": [is_set(STREAMED), stays(inverted=True)]}
    return [_route(streamed, {"per_try_timeout": seconds(header_timeout_ms / 1000)}), _route({"prefix": "/"}, {})]


def _route(match: EnvoyConfig, timeout: EnvoyConfig) -> EnvoyConfig:
    previous = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
    # Only what no replica has seen is tried on another: replaying resets would walk a request that kills engines through all of them.
    retry = {
        "retry_on": "connect-failure,refused-stream,reset-before-request",
        "num_retries": 1,
        "retry_host_predicate": [extension("envoy.retry_host_predicates.previous_hosts", previous)],
        "host_selection_retry_max_attempts": 16,  # equally idle replicas are drawn by lot, so few draws may all hit the one that failed
        "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.001s"},
        **timeout,
    }
    return {
        "match": match,
        "request_headers_to_remove": [STREAMED, STAY],
        "response_headers_to_add": [set_header("x-served-by", BACKEND_OWNED)],
        "route": {"cluster": CLUSTER_OWNED, "timeout": "0s", "retry_policy": retry},
    }


def owned_cluster(workload: Workload, addresses: GatewayAddresses, *, spills: bool) -> EnvoyConfig:
    """Return the cluster of the replicas. Its concurrency cap comes from the cap file; until one is read, requests go where it is safe."""
    least = "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest"
    policy = extension("envoy.load_balancing_policies.least_request", least, selection_method="FULL_SCAN")
    return {
        "name": CLUSTER_OWNED,
        **_discovery(workload, addresses),
        "connect_timeout": seconds(0.25),
        "load_balancing_policy": {"policies": [{"typed_extension_config": policy}]},
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}, "update_merge_window": "0s"},  # workers learn of health at once
        "ignore_health_on_host_removal": True,  # DNS removes a draining replica; its streams go on, and no new request may come
        "circuit_breakers": breakers(max_requests=0 if spills else _UNCAPPED, track_remaining=True),
        "outlier_detection": _ejection(),
        "health_checks": [
            {
                "timeout": seconds(1),
                "interval": seconds(2),
                "no_traffic_interval": seconds(2),
                "unhealthy_threshold": 2,
                "healthy_threshold": 1,
                "http_health_check": {"path": "/health"},
            }
        ],
        "typed_extension_protocol_options": http1(idle_s=_ENGINE_KEEP_ALIVE_S - 1),
    }


def _discovery(workload: Workload, addresses: GatewayAddresses) -> EnvoyConfig:
    if addresses.engines:
        found = [socket_address(each.host, each.port) for each in addresses.engines]
        return {"type": "STATIC", "load_assignment": endpoints(CLUSTER_OWNED, found)}
    host = f"{names.replicas(workload.key.name)}.{workload.key.namespace}.svc.{addresses.cluster_domain}"
    resolver: EnvoyConfig = {"dns_resolver_options": {"no_default_search_domain": True}}  # the name is complete: one query, not five
    if addresses.dns:
        resolver["resolvers"] = [socket_address(addresses.dns.host, addresses.dns.port)]
    cares = extension(
        "envoy.network.dns_resolver.cares", "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig", **resolver
    )
    every_second = {
        "dns_refresh_rate": seconds(1),
        "dns_failure_refresh_rate": {"base_interval": seconds(1), "max_interval": seconds(1)},
        "typed_dns_resolver_config": cares,
    }
    return {
        "cluster_type": dns_cluster(**every_second),
        "load_assignment": endpoints(CLUSTER_OWNED, [socket_address(host, addresses.engine_port)]),
    }


def _ejection() -> EnvoyConfig:
    """Return outlier detection on failures to connect alone: an engine's own errors say nothing of the next request."""
    return {
        "consecutive_5xx": UNLIMITED,
        "consecutive_gateway_failure": UNLIMITED,
        "enforcing_consecutive_5xx": 0,
        "enforcing_consecutive_gateway_failure": 0,
        "enforcing_success_rate": 0,
        "split_external_local_origin_errors": True,
        "consecutive_local_origin_failure": 2,
        "enforcing_local_origin_success_rate": 0,
        "base_ejection_time": seconds(2),
        "max_ejection_time": seconds(10),
        "interval": seconds(1),
        "max_ejection_percent": 100,
    }


def cap_layer(addresses: GatewayAddresses) -> EnvoyConfig:
    """Return the runtime layer that follows the cap file; a ConfigMap's new content arrives as a renamed symlink in its folder."""
    source = {
        "initial_fetch_timeout": seconds(1),
        "path_config_source": {"path": f"{addresses.cap_folder}/{CAP_FILE}", "watched_directory": {"path": addresses.cap_folder}},
    }
    return {"name": CAP_LAYER, "rtds_layer": {"name": CAP_LAYER, "rtds_config": source}}


CAP_FILE = "runtime.yaml"
CAP_LAYER = "cap"


def cap_resource(cap: int) -> EnvoyConfig:
    """Return the content of the cap file."""
    runtime = typed("envoy.service.runtime.v3.Runtime", name=CAP_LAYER, layer={CAP_KEY: cap})
    return {"resources": [runtime]}
