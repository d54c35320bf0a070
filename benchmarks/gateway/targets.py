"""What is compared: the gateway as rendered, two lesser Envoys in front of the same engine, and the provider to which it spills."""

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spillway.render.envoy import config as envoy
from spillway.render.envoy.config import Address, GatewayAddresses
from spillway.render.envoy.http import endpoints, socket_address, typed
from tests.dataplane import decisions
from tests.dataplane.process import MEMORY_BYTES

ANSWER = {
    "object": "chat.completion",
    "model": decisions.SERVED,
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello " * 40}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 120, "completion_tokens": 40, "total_tokens": 160},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """Where a gateway finds its backends, by port on loopback."""

    engine: int
    provider: int
    authority: str  # PEM
    path: str = "/v1"  # of the provider's base URL


def gateway(folder: Path, sides: Sides, *, listen: int, metrics: int, mode: str = "Hybrid", cap: int = 1000) -> dict[str, Any]:
    """Write the gateway's files as production has them and return its configuration."""
    spec: dict[str, Any] = {
        "model": {"id": decisions.MODEL},
        "slo": {"timeToFirstTokenMs": 30_000, "endToEndMs": 60_000},  # streams wait for their turn on a busy machine
        "placement": {"mode": mode},
        "dedicated": {},
        "gateway": {"replicas": 1},
    }
    if mode == "Hybrid":
        spec["hosted"] = {"backends": [{"providerRef": {"name": "alpha"}, "model": "alpha-model"}]}
    workload = decisions.workload(spec)
    decision = decisions.decision(
        workload, {"alpha": decisions.provider(f"https://alpha.test:{sides.provider}{sides.path}", "alpha-model")}, cap=cap
    )
    addresses = GatewayAddresses(
        listen=Address(host="127.0.0.1", port=listen),
        metrics=Address(host="127.0.0.1", port=metrics),
        engines=(Address(host="127.0.0.1", port=sides.engine),),
        hosted={"alpha": Address(host="127.0.0.1", port=sides.provider)},
        config_folder=str(folder),
        cap_folder=str(folder),
        hosted_folder=str(folder),
        run_folder=str(folder),
    )
    rendered = envoy.gateway_files(workload, decision, addresses, memory_bytes=MEMORY_BYTES)
    for name, content in (rendered | envoy.cap_files(decision)).items():
        (folder / name).write_text(content)
    for mount in envoy.hosted_mounts(decision, addresses):
        Path(mount.mount_path).mkdir(parents=True)
        (Path(mount.mount_path) / mount.file_name).write_text(sides.authority if mount.file_name == "ca.crt" else "bench-key")
    config = json.loads((folder / "envoy.json").read_text())
    assert isinstance(config, dict)
    return config


def single_tier(config: dict[str, Any]) -> dict[str, Any]:
    """Return the same edge, filters and counting included, which goes straight to the replicas: no second tier, no spill."""
    lesser = copy.deepcopy(config)
    edge, *_ = listeners = lesser["static_resources"]["listeners"]
    lesser["static_resources"]["listeners"] = [edge, *(each for each in listeners if each["name"] == "operations")]
    for route in manager(edge)["route_config"]["virtual_hosts"][0]["routes"]:
        if "inline_cluster_specifier_plugin" in route.get("route", {}):
            route["route"] = {"cluster": "owned", "timeout": route["route"]["timeout"]}
            route["response_headers_to_add"] = [{"header": {"key": "x-served-by", "value": "owned"}}]
    clusters = lesser["static_resources"]["clusters"]
    lesser["static_resources"]["clusters"] = [each for each in clusters if each["name"] in ("owned", "admin")]
    return lesser


def plain(config: dict[str, Any]) -> dict[str, Any]:
    """Return an Envoy that passes requests to the same cluster and does nothing else: no counting, no log, no body limit."""
    lesser = single_tier(config)
    edge = manager(lesser["static_resources"]["listeners"][0])
    edge["http_filters"] = edge["http_filters"][-1:]
    for extra in ("access_log", "early_header_mutation_extensions", "local_reply_config"):
        del edge[extra]
    edge["route_config"]["virtual_hosts"][0]["routes"] = [{"match": {"prefix": "/"}, "route": {"cluster": "owned", "timeout": "0s"}}]
    return lesser


def manager(listener: dict[str, Any]) -> dict[str, Any]:
    """Return a listener's connection manager."""
    found = listener["filter_chains"][0]["filters"][0]["typed_config"]
    assert isinstance(found, dict)
    return found


def provider(port: int, *, streams: int, held: int, chain: Path, key: Path) -> dict[str, Any]:
    """Return an Envoy with TLS that answers at once under /v1, because a benchmark of a gateway should not be one of its backends.

    It cannot stream by itself: what accepts events goes on to the engine `streams`, and what comes under /held to the engine `held`.
    """
    manager_type = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    router = {"name": "envoy.filters.http.router", "typed_config": typed("envoy.extensions.filters.http.router.v3.Router")}
    whole = {
        "name": "envoy.filters.http.buffer",  # an answer before the body is read would close the connection
        "typed_config": typed("envoy.extensions.filters.http.buffer.v3.Buffer", max_request_bytes=1024 * 1024),
    }
    json_type = {"header": {"key": "content-type", "value": "application/json"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    events = {"name": "accept", "string_match": {"exact": "text/event-stream"}}
    routes = [
        {"match": {"prefix": "/held/"}, "route": {"cluster": "held", "timeout": "0s"}},
        {"match": {"prefix": "/", "headers": [events]}, "route": {"cluster": "streams", "timeout": "0s"}},
        {
            "match": {"prefix": "/"},
            "direct_response": {"status": 200, "body": {"inline_string": json.dumps(ANSWER)}},
            "response_headers_to_add": [json_type],
        },
    ]
    hosts = [{"name": "all", "domains": ["*"], "routes": routes}]
    chained = {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": typed(manager_type, stat_prefix="provider", http_filters=[whole, router], route_config={"virtual_hosts": hosts}),
    }
    certificate = {"certificate_chain": {"filename": str(chain)}, "private_key": {"filename": str(key)}}
    context = typed(
        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext", common_tls_context={"tls_certificates": [certificate]}
    )
    secure = {"filters": [chained], "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": context}}
    clusters = [
        {"name": name, "type": "STATIC", "load_assignment": endpoints(name, [socket_address("127.0.0.1", engine)])}
        for name, engine in (("streams", streams), ("held", held))
    ]
    listener = {"name": "provider", "address": socket_address("127.0.0.1", port), "filter_chains": [secure]}
    return {"static_resources": {"listeners": [listener], "clusters": clusters}}
