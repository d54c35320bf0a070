"""Pieces that every listener and cluster of the gateway is made of."""

import json
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from typing import TypedDict

EnvoyConfig = dict[str, object]

MAX_BODY_BYTES = 16 * 1024 * 1024
# Of a plain answer, which is kept until its tokens have been read (for a moment in nine times as much memory). Embeddings of some hundred
# texts are longer than any request may be. For what is kept of a request and of its answer a route has one limit.
MAX_ANSWER_BYTES = 64 * 1024 * 1024
# What costs tokens of the served model, all told. Anything else of an engine (metrics, adapters, sleep) or of a provider (files, batches,
# fine-tuning) is not what this workload offers. Paths are compared after Envoy has normalised them, in full and with their case.
MODEL_PATHS: EnvoyConfig = {"safe_regex": {"regex": "/v1/(chat/completions|completions|embeddings|responses)"}}
STREAMED = "x-spillway-stream"  # the edge's mark on requests for a stream
STAY = "x-spillway-spill"  # a client's header: "never" keeps its request in the cluster
UNLIMITED = (
    1_000_000  # breakers that must never be the one that opens; Envoy's defaults (3 retries, 1024 requests) lose requests in a burst
)
CONNECTION_BUFFER_BYTES = 1024 * 1024
LONGEST_UPLOAD_S = 60  # for so long may a client send its request, before what is its longest time begins
COME_AGAIN_S = 5  # of what is turned away because too much is there

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
_HTTP_FILTERS = "envoy.extensions.filters.http"
_PROTOCOL_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def typed(proto: str, **fields: object) -> EnvoyConfig:
    """Return a typed_config: the message `proto` with these fields."""
    return {"@type": f"type.googleapis.com/{proto}", **fields}


def extension(name: str, proto: str, **fields: object) -> EnvoyConfig:
    """Return a named extension with its typed_config."""
    return {"name": name, "typed_config": typed(proto, **fields)}


def http_filter(name: str, message: str, **fields: object) -> EnvoyConfig:
    """Return one of Envoy's own HTTP filters."""
    return extension(f"envoy.filters.http.{name}", f"{_HTTP_FILTERS}.{name}.v3.{message}", **fields)


def router() -> EnvoyConfig:
    """Return the last filter. Envoy's own headers stay out: a response with x-envoy-overloaded would never be retried."""
    return http_filter("router", "Router", suppress_envoy_headers=True)


def lua(*scripts: str, name: str = "envoy.filters.http.lua", above: str = "") -> EnvoyConfig:
    """Return the Lua filter with these scripts of render/envoy/lua, in order; `above` stands before them."""
    source = above + "".join(map(_script, scripts))
    return {**http_filter("lua", "Lua", clear_route_cache=False, default_source_code={"inline_string": source}), "name": name}


@cache
def _script(name: str) -> str:
    return (files("spillway.render.envoy") / "lua" / f"{name}.lua").read_text(encoding="utf-8")


def connection_manager(
    *, stat_prefix: str, idle_s: int, filters: Sequence[EnvoyConfig], routes: EnvoyConfig, **fields: object
) -> EnvoyConfig:
    """Return the filter chain of an HTTP listener."""
    manager = extension(
        "envoy.filters.network.http_connection_manager",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=stat_prefix,
        stream_idle_timeout=seconds(idle_s),
        http_filters=[*filters, router()],
        route_config=routes,
        **fields,
    )
    return {"filters": [manager]}


def internal_listener(*, name: str, idle_s: int, filters: Sequence[EnvoyConfig], routes: EnvoyConfig, **fields: object) -> EnvoyConfig:
    """Return a listener of the second tier, reached from the edge without a socket. It trusts the edge's headers."""
    chain = connection_manager(
        stat_prefix=name,
        idle_s=idle_s,
        filters=filters,
        routes=routes,
        generate_request_id=False,
        use_remote_address=False,
        skip_xff_append=True,
        server_header_transformation="PASS_THROUGH",
        **fields,
    )
    return {
        "name": name,
        "internal_listener": {},
        "bypass_overload_manager": True,  # the edge has let its requests in: they are not to be refused half-way
        "per_connection_buffer_limit_bytes": CONNECTION_BUFFER_BYTES,
        "filter_chains": [chain],
    }


def internal_cluster(listener: str, name: str, *, most_retries: int | None = None) -> EnvoyConfig:
    """Return the edge's cluster for an internal listener: HTTP/1.1, because spilled requests reset a shared HTTP/2 connection to death."""
    limits = {} if most_retries is None else {"max_retries": most_retries}
    raw = {
        "name": "envoy.transport_sockets.raw_buffer",
        "typed_config": typed("envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"),
    }
    internal = typed("envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport", transport_socket=raw)
    return {
        "name": name,
        "connect_timeout": seconds(1),
        "circuit_breakers": breakers(**limits),
        "load_assignment": endpoints(name, [{"envoy_internal_address": {"server_listener_name": listener, "endpoint_id": listener}}]),
        "transport_socket": {"name": "envoy.transport_sockets.internal_upstream", "typed_config": internal},
        "typed_extension_protocol_options": http1(),
    }


def breakers(**thresholds: object) -> EnvoyConfig:
    """Return circuit breakers that are open but for `thresholds`."""
    limits = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
    return {"thresholds": [{**dict.fromkeys(limits, UNLIMITED), **thresholds}]}


def http1(*, idle_s: int | None = None) -> EnvoyConfig:
    """Return the protocol options of an HTTP/1.1 upstream."""
    options = typed(_PROTOCOL_OPTIONS, explicit_http_config={"http_protocol_options": {}})
    if idle_s is not None:
        options["common_http_protocol_options"] = {"idle_timeout": seconds(idle_s)}
    return {_PROTOCOL_OPTIONS: options}


def dns_cluster(**fields: object) -> EnvoyConfig:
    """Return the type of a cluster whose endpoints are what DNS says."""
    return extension("envoy.cluster.dns", "envoy.extensions.clusters.dns.v3.DnsCluster", dns_lookup_family="V4_PREFERRED", **fields)


def endpoints(cluster: str, addresses: Iterable[EnvoyConfig], *, hostname: str | None = None) -> EnvoyConfig:
    """Return the load assignment of `cluster`."""
    named: EnvoyConfig = {"hostname": hostname} if hostname else {}
    return {"cluster_name": cluster, "endpoints": [{"lb_endpoints": [{"endpoint": {**named, "address": each}} for each in addresses]}]}


def socket_address(host: str, port: int) -> EnvoyConfig:
    """Return a TCP address."""
    return {"socket_address": {"address": host, "port_value": port}}


def listening(host: str, port: int) -> EnvoyConfig:
    """Return a TCP address to listen at; "::" is every address of IPv4, too."""
    both = {"ipv4_compat": True} if host == "::" else {}
    return {"socket_address": {"address": host, "port_value": port, **both}}


def set_header(name: str, value: str) -> EnvoyConfig:
    """Return an option that sets a header whatever it was."""
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def method_is(method: str) -> EnvoyConfig:
    """Return a header matcher on the request's method."""
    return {"name": ":method", "string_match": {"exact": method}}


class ErrorText(TypedDict):
    """What an OpenAI client reads of an error."""

    message: str
    kind: str
    code: str


NO_CAPACITY = ErrorText(message="no backend is available; try again later", kind="overloaded_error", code="no_capacity")


def is_set(header: str) -> EnvoyConfig:
    """Return a header matcher on one of our own marks."""
    return {"name": header, "string_match": {"exact": "1"}}


def stays(*, inverted: bool = False) -> EnvoyConfig:
    """Return a header matcher on requests that their clients keep in the cluster; `inverted`, on all others."""
    # Without the second, Envoy 1.40 finds no match where there is no such header, inverted or not.
    invert: EnvoyConfig = {"invert_match": True, "treat_missing_header_as_empty": True} if inverted else {}
    return {"name": STAY, "string_match": {"contains": "never", "ignore_case": True}, **invert}


def error_reply(status: int | None, *, message: str, kind: str, code: str) -> EnvoyConfig:
    """Return a mapper that makes Envoy's own replies (of `status`, else all) OpenAI-style errors."""
    error = {"message": message, "type": kind, "param": None, "code": code}
    return {
        "filter": {"status_code_filter": status_is("EQ" if status else "GE", status or 0)},
        "headers_to_add": unanswered(retry_after_s=1 if code == NO_CAPACITY["code"] else None),
        "body_format_override": {"json_format": {"error": error}},
    }


def unanswered(*, retry_after_s: int | None = None) -> list[EnvoyConfig]:
    """Return the headers of a reply that no backend gave; None: it does not say when to come again."""
    later = [] if retry_after_s is None else [set_header("retry-after", str(retry_after_s))]
    return [set_header("x-served-by", "none"), *later]


def status_is(operator: str, status: int) -> EnvoyConfig:
    """Return a comparison with the response's status. Envoy insists on a runtime key; this one is never set."""
    return {"comparison": {"op": operator, "value": {"default_value": status, "runtime_key": "spillway.never_set"}}}


# Whether a client was over its limit, in CEL. The response flag RL says the same, but comes too late for a mapper.
LIMITED = "response.code_details == 'local_rate_limited'"


def expression(text: str) -> EnvoyConfig:
    """Return an access log's or a mapper's filter in CEL."""
    return {"extension_filter": extension("cel", "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter", expression=text)}


def all_of(*filters: EnvoyConfig) -> EnvoyConfig:
    """Return an access log's filter of what passes each of these."""
    return {"and_filter": {"filters": list(filters)}}


def json_text(value: object) -> str:
    """Return compact JSON."""
    return _encode(value)


def seconds(value: float) -> str:
    """Return a duration as protobuf's JSON writes it."""
    return f"{value:.3f}".rstrip("0").rstrip(".") + "s"
