"""What is compared: the gateway as rendered, and two lesser Envoys in front of the same backend."""

import copy
import json
from pathlib import Path
from typing import Any

from spillway.render import envoy
from spillway.render.envoy import Address, GatewayAddresses
from tests.dataplane import decisions

ANSWER = {
    "object": "chat.completion",
    "model": decisions.SERVED,
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello " * 40}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 120, "completion_tokens": 40, "total_tokens": 160},
}


def gateway(folder: Path, *, listen: int, metrics: int, backend: int) -> dict[str, Any]:
    """Write the gateway's files as production has them and return its configuration."""
    spec = {
        "model": {"id": decisions.MODEL},
        "slo": {"timeToFirstTokenMs": 1000, "endToEndMs": 20_000},
        "placement": {"mode": "Hybrid"},
        "dedicated": {},
        "hosted": {"backends": [{"providerRef": {"name": "alpha"}, "model": "alpha-model"}]},
    }
    workload = decisions.workload(spec)
    hosted = {"alpha": decisions.provider("https://alpha.test/v1", "alpha-model", authority=False)}
    decision = decisions.decision(workload, hosted, cap=1000)
    addresses = GatewayAddresses(
        listen=Address(host="127.0.0.1", port=listen),
        metrics=Address(host="127.0.0.1", port=metrics),
        engines=(Address(host="127.0.0.1", port=backend),),
        hosted={"alpha": Address(host="127.0.0.1", port=9)},
        config_folder=str(folder),
        cap_folder=str(folder),
        hosted_folder=str(folder),
        run_folder=str(folder),
    )
    for name, content in (envoy.gateway_files(workload, decision, addresses) | envoy.cap_files(decision)).items():
        (folder / name).write_text(content)
    for mount in envoy.hosted_mounts(decision, addresses):
        Path(mount.mount_path).mkdir(parents=True)
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


def backend(port: int, *, keep_alive: bool) -> dict[str, Any]:
    """Return an Envoy that answers at once, because a benchmark of a gateway should not be one of its backend.

    Without `keep_alive` it answers before it has read the body, as in the measurements from which the bars come; Envoy then closes the
    connection, so that every target pays for a new one with each request. Engines read the body and keep the connection.
    """
    kind = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
    }
    whole = {
        "name": "envoy.filters.http.buffer",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer",
            "max_request_bytes": 1024 * 1024,
        },
    }
    routes = [
        {"match": {"path": "/health"}, "direct_response": {"status": 200}},
        {
            "match": {"prefix": "/"},
            "direct_response": {"status": 200, "body": {"inline_string": json.dumps(ANSWER)}},
            "response_headers_to_add": [
                {"header": {"key": "content-type", "value": "application/json"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
            ],
        },
    ]
    chain = {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": f"type.googleapis.com/{kind}",
            "stat_prefix": "backend",
            "http_filters": [*([whole] if keep_alive else []), router],
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        },
    }
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {"static_resources": {"listeners": [{"name": "backend", "address": address, "filter_chains": [{"filters": [chain]}]}]}}
