"""The second tier's way to replicas of our own."""

from spillway.api.gateway import Gateway
from spillway.api.holding import Hold
from spillway.api.vocabulary import BACKEND_OWNED, CLUSTER_OWNED
from spillway.plan.decision import Workload
from spillway.render import names
from spillway.render.envoy.address import GatewayAddresses
from spillway.render.envoy.hold import ARRIVED, HELD_SINCE, MAY_WAIT, arrival_filter, hold_replies
from spillway.render.envoy.http import (
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
from spillway.render.envoy.long import MARK, is_not_long
from spillway.render.envoy.metrics import not_taken
from spillway.render.envoy.refusal import brief_reply, small_route, whole_filter
from spillway.render.envoy.room import PRIORITY, TICKET, is_bounded, not_held, room_filter
from spillway.render.envoy.routing import KEY, balancing_policy, hash_policy, hashes, owned_filters
from spillway.render.envoy.wait import wait_replies

LISTENER = "owned"
HOP = "hop-owned"
CAP_KEY = f"circuit_breakers.{CLUSTER_OWNED}.default.max_requests"

_UNCAPPED = 1024  # no cap known and nowhere else to go: the engine's own queue limit guards
_ENGINE_KEEP_ALIVE_S = 5  # uvicorn's; the gateway must be the one that closes an idle connection


def owned_listener(
    gateway: Gateway,
    *,
    header_timeout_ms: int | None,
    hold: Hold | None,
    wait_ms: int,
    long_prompts: bool,
) -> EnvoyConfig:
    """Return the listener in front of the replicas, which makes of a full or a failing cluster an answer that the edge may retry.

    A header timeout is there only where a next backend is. `hold`: how requests wait where there is none, or where it did not take them.
    `wait_ms`: how long they do before they go there, 0: not. `long_prompts`: whether the edge marks some, which come here only when no
    hosted backend took them.
    """
    spills, bounded = header_timeout_ms is not None, hold is not None and is_bounded(hold)
    brief = spills and not wait_ms and hold is None
    logs = [
        *([not_taken(unless=MAY_WAIT if wait_ms or hold else None)] if spills else []),
        *([not_held()] if bounded else []),
    ]
    since = [*([ARRIVED] if wait_ms or (hold and not spills) else []), *([HELD_SINCE] if hold and spills else [])]
    told: EnvoyConfig = {"access_log": logs} if logs else {}
    routes = _routes(gateway, header_timeout_ms, brief=brief, holds=hold is not None, long_prompts=long_prompts)
    return internal_listener(
        name=LISTENER,
        idle_s=gateway.max_request_seconds + 5,
        filters=[
            *([arrival_filter(*since)] if since else []),
            *([room_filter(gateway, hold)] if hold is not None and bounded else []),
            *([whole_filter()] if brief else []),
            *owned_filters(gateway),
        ],
        routes={"name": LISTENER, "virtual_hosts": [{"name": LISTENER, "domains": ["*"], "routes": routes}]},
        local_reply_config={"mappers": [*([brief_reply()] if brief else []), *_replies(hold, wait_ms, spills=spills)]},
        **told,
    )


def _replies(hold: Hold | None, wait_ms: int, *, spills: bool) -> list[EnvoyConfig]:
    """Return the mappers. What no hosted backend took has waited its moment before, if any: it does not tell when that began."""
    if hold is not None and not spills:
        return hold_replies(hold)
    held = [] if hold is None else hold_replies(hold, HELD_SINCE)
    return [*held, *(wait_replies(wait_ms) if wait_ms else [error_reply(None, **NO_CAPACITY)])]


def _routes(gateway: Gateway, header_timeout_ms: int | None, *, brief: bool, holds: bool, long_prompts: bool) -> list[EnvoyConfig]:
    """Return one route for streams, which may be given up when no header comes, and one for all else, which may take its time.

    A stream that must stay is not given up, nor one that no hosted backend took: nobody else answers it. With `brief`, the same for small
    requests before them.
    """
    marks = (MARK,) if long_prompts else ()
    patient = to_replicas(gateway, timeout="0s", marks=marks)
    rest = {"match": {"prefix": "/"}, **patient}
    if header_timeout_ms is None:
        return [rest]
    hasty = to_replicas(gateway, timeout="0s", marks=marks, per_try_timeout=seconds(header_timeout_ms / 1000))
    first: list[EnvoyConfig] = [is_not_long()] if long_prompts else []
    small = [small_route(hasty, headers=[is_set(STREAMED), *first]), small_route(patient, headers=first)] if brief else []
    held: list[EnvoyConfig] = [{"name": HELD_SINCE, "present_match": False}] if holds else []
    streamed: EnvoyConfig = {"prefix": "/", "headers": [is_set(STREAMED), stays(inverted=True), *held, *first]}
    return [*small, {"match": streamed, **hasty}, rest]


def to_replicas(gateway: Gateway, *, timeout: str, marks: tuple[str, ...] = (), **patience: object) -> EnvoyConfig:
    """Return what makes a route one to the replicas. `marks`: more of the edge's, to take off; `patience`: more of its retry policy."""
    previous = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
    # Only what no replica has seen is tried on another: replaying resets would walk a request that kills engines through all of them.
    retry = {
        "retry_on": "connect-failure,refused-stream,reset-before-request",
        "num_retries": 1,
        "retry_host_predicate": [extension("envoy.retry_host_predicates.previous_hosts", previous)],
        "host_selection_retry_max_attempts": 16,  # equally idle replicas are drawn by lot, so few draws may all hit the one that failed
        "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.001s"},
        **patience,
    }
    return {
        "request_headers_to_remove": [STREAMED, STAY, *((KEY,) if hashes(gateway) else ()), *_marks_of_room(gateway), *marks],
        "response_headers_to_add": [set_header("x-served-by", BACKEND_OWNED)],
        "route": {"cluster": CLUSTER_OWNED, "timeout": timeout, "retry_policy": retry, **hash_policy(gateway)},
    }


def _marks_of_room(gateway: Gateway) -> tuple[str, ...]:
    return (TICKET, PRIORITY) if gateway.hold is not None and is_bounded(gateway.hold) else ()


def owned_cluster(workload: Workload, addresses: GatewayAddresses, *, spills: bool) -> EnvoyConfig:
    """Return the cluster of the replicas. Its concurrency cap comes from the cap file; until one is read, requests go where it is safe."""
    policy = balancing_policy(workload.spec.gateway)
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
    """Return outlier detection on failures to connect: an engine's own errors say nothing of the next request.

    Envoy counts requests that we give up, and connections that an engine ends, as such failures, too. So the last replica is left alone.
    """
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
        "max_ejection_percent": 99,
    }


# Requests that wait for a connection count as their replica's load. Without it a burst that finds no open connections sees every replica
# idle and is drawn by lot until the first connection is there, then goes to whichever replica has none yet: 16 went 15 and 1.
# With it 8 and 8, on a fresh process and on a warm one (test_burst.py). Envoy 1.40 has it, off by default (its pull request 45168).
COUNT_PENDING = "envoy.reloadable_features.least_request_lb_count_pending_requests"


def fixed_layer() -> EnvoyConfig:
    """Return the runtime layer of what is always so."""
    return {"name": "fixed", "static_layer": {COUNT_PENDING: True}}


CAP_FILE = "runtime.yaml"
CAP_LAYER = "cap"
SHARE_FILE = "runtime.json"
SHARE_LAYER = "share"


def cap_layer(addresses: GatewayAddresses) -> EnvoyConfig:
    """Return the runtime layer that follows the cap file; a ConfigMap's new content arrives as a renamed symlink in its folder."""
    return _layer(CAP_LAYER, addresses.cap_folder, CAP_FILE)


def share_layer(addresses: GatewayAddresses) -> EnvoyConfig:
    """Return the runtime layer above the cap's, which follows the pod's own annotation."""
    return _layer(SHARE_LAYER, addresses.share_folder, SHARE_FILE)


def cap_resource(cap: int) -> EnvoyConfig:
    """Return the content of the cap file."""
    return _resource(CAP_LAYER, {CAP_KEY: cap})


def share_resource(requests: int | None) -> EnvoyConfig:
    """Return the content of the share's file; None leaves the cap file's number in force."""
    return _resource(SHARE_LAYER, {} if requests is None else {CAP_KEY: requests})


def _layer(name: str, folder: str, file: str) -> EnvoyConfig:
    source = {
        "initial_fetch_timeout": seconds(1),
        "path_config_source": {"path": f"{folder}/{file}", "watched_directory": {"path": folder}},
    }
    return {"name": name, "rtds_layer": {"name": name, "rtds_config": source}}


def _resource(name: str, layer: EnvoyConfig) -> EnvoyConfig:
    return {"resources": [typed("envoy.service.runtime.v3.Runtime", name=name, layer=layer)]}
