"""The gateway's second port: metrics and readiness to read, and the drain that the preStop hook asks for."""

import hashlib

from spillway.plan.decision import Workload
from spillway.render.envoy.address import GatewayAddresses
from spillway.render.envoy.http import (
    LONGEST_UPLOAD_S,
    EnvoyConfig,
    connection_manager,
    endpoints,
    http_filter,
    internal_cluster,
    internal_listener,
    listening,
    lua,
    method_is,
    seconds,
)

DRAIN_PATH = "/drain"
IN_FORCE_PATH = "/runtime"
DRAIN_HEADER = "x-spillway-drain"
DRAIN_IDLE_S = 6.0  # httpx, which OpenAI's client for Python uses, closes a connection that was idle for 5 s
_PAUSE_S = 0.25


def drain_token(workload: Workload) -> str:
    """Return what the preStop hook must show, so that who can merely reach the port cannot take a gateway out of service."""
    return hashlib.sha256(f"drain/{workload.uid}".encode()).hexdigest()[:32]


def operations_listener(workload: Workload, addresses: GatewayAddresses, *, tells_cap: bool) -> EnvoyConfig:
    """Return the listener of GET /metrics, /ready and, with the token, /drain. Everything else of the admin interface stays shut.

    With shares of the cap, GET /runtime says which one is in force, and nothing else: the runtime holds nothing but the cap.
    """
    longest_s = workload.spec.gateway.max_request_seconds
    routes = [_read("/metrics", to="/stats/prometheus"), _read("/ready", to="/ready"), _drain(workload, addresses)]
    if tells_cap:
        routes.append(_read(IN_FORCE_PATH, to="/runtime"))
    chain = connection_manager(
        stat_prefix="operations",
        idle_s=LONGEST_UPLOAD_S + longest_s + 60,  # the drain has no byte until the last request is done
        filters=[lua("drain")],
        routes={"name": "operations", "virtual_hosts": [{"name": "operations", "domains": ["*"], "routes": routes}]},
    )
    return {
        "name": "operations",
        "address": listening(addresses.metrics.host, addresses.metrics.port),
        "bypass_overload_manager": True,  # a gateway that is full is neither dead nor unseen
        "ignore_global_conn_limit": True,
        "filter_chains": [chain],
    }


def _drain(workload: Workload, addresses: GatewayAddresses) -> EnvoyConfig:
    token = {"name": DRAIN_HEADER, "string_match": {"exact": drain_token(workload)}}
    settings = {"drain_settle_pauses": round(addresses.drain_settle_s / _PAUSE_S), "drain_idle_pauses": round(DRAIN_IDLE_S / _PAUSE_S)}
    return {
        "match": {"path": DRAIN_PATH, "headers": [method_is("GET"), token]},
        "metadata": {"filter_metadata": {"envoy.filters.http.lua": settings}},
        "direct_response": {"status": 500},  # the script answers before this
    }


def _read(path: str, *, to: str) -> EnvoyConfig:
    return {"match": {"path": path, "headers": [method_is("GET")]}, "route": {"cluster": "admin", "prefix_rewrite": to}}


def pause_listener() -> EnvoyConfig:
    """Return a listener that answers after a quarter of a second: how a Lua script waits."""
    delay = {"fixed_delay": seconds(_PAUSE_S), "percentage": {"numerator": 100}}
    routes: EnvoyConfig = {"name": "pause", "virtual_hosts": [{"name": "pause", "domains": ["*"], "routes": [_paused()]}]}
    return internal_listener(name="pause", idle_s=10, filters=[http_filter("fault", "HTTPFault", delay=delay)], routes=routes)


def _paused() -> EnvoyConfig:
    return {"match": {"prefix": "/"}, "direct_response": {"status": 204}}


def operations_clusters(addresses: GatewayAddresses) -> list[EnvoyConfig]:
    """Return the admin interface's cluster and the pause's."""
    admin: EnvoyConfig = {
        "name": "admin",
        "type": "STATIC",
        "connect_timeout": seconds(1),
        "load_assignment": endpoints("admin", [{"pipe": {"path": admin_socket(addresses)}}]),
    }
    return [admin, internal_cluster("pause", "pause")]


def admin_socket(addresses: GatewayAddresses) -> str:
    """Return the admin interface's socket, which only the gateway's user can open."""
    return f"{addresses.run_folder}/admin.sock"
