"""The edge: the listener that clients reach, which tries one backend after the other until an answer has begun."""

from urllib.parse import quote

from spillway.api.access import Access
from spillway.api.gateway import Gateway
from spillway.api.holding import Hold
from spillway.api.vocabulary import BACKEND_NONE, CLUSTER_OWNED
from spillway.api.workload import InferenceWorkloadSpec
from spillway.plan.decision import Workload
from spillway.render.envoy import capped
from spillway.render.envoy.access import access_filters, access_replies, token_filters
from spillway.render.envoy.address import GatewayAddresses
from spillway.render.envoy.content_type import not_grpc, not_json
from spillway.render.envoy.hold import ARRIVED, HELD_SINCE, MAY_WAIT, arrival, hold_policy
from spillway.render.envoy.http import (
    CONNECTION_BUFFER_BYTES,
    LONGEST_UPLOAD_S,
    MAX_ANSWER_BYTES,
    MAX_BODY_BYTES,
    MODEL_PATHS,
    NO_CAPACITY,
    STREAMED,
    EnvoyConfig,
    connection_manager,
    error_reply,
    extension,
    http_filter,
    is_set,
    json_text,
    listening,
    lua,
    method_is,
    seconds,
    set_header,
    status_is,
    stays,
    typed,
)
from spillway.render.envoy.long import MARK, REASON, REFUSED_STATUSES, long_prompt_logs, longer_than, marked
from spillway.render.envoy.metrics import access_logs, edge_token_filters
from spillway.render.envoy.overload import overload_reply
from spillway.render.envoy.owned import to_replicas
from spillway.render.envoy.permit import PERMITTED
from spillway.render.envoy.room import TICKET, is_bounded, ticket
from spillway.render.envoy.routing import KEY, hashes, key_filters
from spillway.render.envoy.tls import tls_socket
from spillway.render.envoy.tracing import tracing
from spillway.render.envoy.wait import wait_ms

# What the second tier trusts must come from the edge alone, and an answer must not be compressed, or its tokens could not be counted.
_NEVER_FROM_CLIENTS = (STREAMED, "x-spillway-rewritten", "accept-encoding")
_ANSWER = "spillway.answer"  # the filter that streamed answers pass
_UNKNOWN_PATH = "unknown path; available are /v1/models, /v1/chat/completions, /v1/completions, /v1/embeddings and /v1/responses"
_NEXT_BACKEND_STATUSES = (429, 500, 502, 503, 504)


def edge_listener(
    workload: Workload,
    addresses: GatewayAddresses,
    *,
    backends: tuple[str, ...],
    kept: tuple[str, ...] | None,
    guarded: bool,
    hold: Hold | None,
    longest_prompt_tokens: int | None,
) -> EnvoyConfig:
    """Return the listener.

    `backends` are clusters of the second tier in order of preference, or the replicas' alone; `kept` those of requests that must stay
    (None: all stay anyway).
    `guarded`: whether a script of limits stands in front of a hosted backend, whose mark no client may set. `hold`: how
    requests wait where nothing hosted answers them. `longest_prompt_tokens`: streams with longer prompts ask hosted backends first.
    """
    longs = longest_prompt_tokens is not None
    longest_s = workload.spec.gateway.max_request_seconds
    strip = typed(
        "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
        mutations=[{"remove": name} for name in (*_never_from_clients(workload, guarded=guarded), *((MARK,) if longs else ()))],
    )
    access = workload.spec.gateway.access
    chain = connection_manager(
        stat_prefix="edge",
        idle_s=longest_s + 5,  # a plain answer may take all its time without a byte
        # Answers pass these from the last to the first.
        filters=[
            not_grpc(),
            *access_filters(workload, addresses),
            http_filter("buffer", "Buffer", max_request_bytes=MAX_BODY_BYTES),
            *token_filters(workload),
            *key_filters(workload.spec.gateway),
            lua("json", "request"),
            lua("json", "usage", "answer", name=_ANSWER),
            *edge_token_filters(),
        ],
        routes=_routes(workload, backends=backends, kept=kept, hold=hold, longest_prompt_tokens=longest_prompt_tokens),
        early_header_mutation_extensions=[{"name": "envoy.http.early_header_mutation.header_mutation", "typed_config": strip}],
        use_remote_address=True,
        preserve_external_request_id=True,
        server_name="spillway",
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action="UNESCAPE_AND_FORWARD",
        request_headers_timeout=seconds(10),
        request_timeout=seconds(LONGEST_UPLOAD_S),
        local_reply_config=_replies(access),
        access_log=[
            *access_logs(access, traced=workload.spec.gateway.tracing is not None, more={REASON: f"%REQ({MARK})%"} if longs else {}),
            *(long_prompt_logs() if longs else ()),
        ],
        **tracing(workload),
    )
    return {
        "name": "edge",
        "address": listening(addresses.listen.host, addresses.listen.port),
        "traffic_direction": "INBOUND",  # what the drain closes
        "per_connection_buffer_limit_bytes": CONNECTION_BUFFER_BYTES,
        "filter_chains": [{**chain, **tls_socket(workload.spec.gateway.tls, addresses)}],
    }


def _never_from_clients(workload: Workload, *, guarded: bool) -> tuple[str, ...]:
    permit, key = (PERMITTED,) if guarded else (), (KEY,) if hashes(workload.spec.gateway) else ()
    arrived = (ARRIVED,) if wait_ms(workload.spec) else ()
    held = (HELD_SINCE, TICKET) if workload.spec.waits else ()
    return (*_NEVER_FROM_CLIENTS, *permit, *key, *arrived, *held)


def _routes(
    workload: Workload, *, backends: tuple[str, ...], kept: tuple[str, ...] | None, hold: Hold | None, longest_prompt_tokens: int | None
) -> EnvoyConfig:
    served = workload.spec.served_name
    model = _model(workload)
    model_paths = ["/v1/models", *(f"/v1/models/{name}" for name in sorted({served, quote(served, safe="/")}))]
    again = _again(workload.spec, kept or ())
    gateway = workload.spec.gateway
    to = _backends(gateway, (*backends, *again), hold=hold)
    catch_all: list[EnvoyConfig] = [
        _answer({"path": "/v1/models", "headers": [method_is("GET")]}, body={"object": "list", "data": [model]}),
        *(_answer({"path": path, "headers": [method_is("GET")]}, body=model) for path in model_paths[1:]),
        {"match": {**MODEL_PATHS, "headers": [method_is("POST"), not_json()]}, "direct_response": {"status": 415}},
        *(_staying(gateway, kept, again=again) if kept is not None else ()),
        *(
            [_hosted_first(gateway, longest_prompt_tokens, backends=backends, kept=kept or (), again=again)]
            if longest_prompt_tokens is not None
            else ()
        ),
        _to_backends([method_is("POST"), is_set(STREAMED)], to),
        # No script looks at a plain answer: it would cost every request some 4 % of the gateway's time.
        _to_backends([method_is("POST")], to, without=_ANSWER),
        _wrong_method(MODEL_PATHS, allow="POST"),
        *(_wrong_method({"path": path}, allow="GET") for path in model_paths),
        {"match": {"prefix": "/"}, "direct_response": {"status": 404}},
    ]
    host: EnvoyConfig = {"name": "openai", "domains": ["*"], "include_attempt_count_in_response": True, "routes": catch_all}
    if hold is not None:
        marks = [arrival(), *([ticket()] if is_bounded(hold) else [])]
        host |= {"request_headers_to_add": marks, "response_headers_to_remove": [MAY_WAIT]}
    return {"name": "edge", "virtual_hosts": [host]}


def _again(spec: InferenceWorkloadSpec, kept: tuple[str, ...]) -> tuple[str, ...]:
    """Return where a request that no limit lets go asks again, which has waited its moment before the limit."""
    return (capped.HOP,) if kept and spec.waits else ()


def _wrong_method(match: EnvoyConfig, *, allow: str) -> EnvoyConfig:
    return {"match": match, "direct_response": {"status": 405}, "response_headers_to_add": [set_header("allow", allow)]}


def _staying(gateway: Gateway, kept: tuple[str, ...], *, again: tuple[str, ...]) -> list[EnvoyConfig]:
    """Return the routes of requests that a client keeps in the cluster. Where it has no replicas, nobody can answer them."""
    post = method_is("POST")
    if not kept:
        return [{"match": {**MODEL_PATHS, "headers": [stays(), post]}, "direct_response": {"status": 503}}]
    to = _backends(gateway, (*kept, *again))
    return [_to_backends([stays(), post, is_set(STREAMED)], to), _to_backends([stays(), post], to, without=_ANSWER)]


def _hosted_first(
    gateway: Gateway, longest_tokens: int, *, backends: tuple[str, ...], kept: tuple[str, ...], again: tuple[str, ...]
) -> EnvoyConfig:
    """Return the route of streams whose prompt no replica reads in time."""
    order = (*(each for each in backends if each not in kept), *kept, *again)
    to = _backends(gateway, order, also_next=REFUSED_STATUSES)
    route = _to_backends([method_is("POST"), is_set(STREAMED), longer_than(longest_tokens)], to)
    return {**route, "request_headers_to_add": [marked()]}


def _to_backends(headers: list[EnvoyConfig], to: EnvoyConfig, *, without: str | None = None) -> EnvoyConfig:
    disabled = typed("envoy.extensions.filters.http.lua.v3.LuaPerRoute", disabled=True)
    filters: EnvoyConfig = {"typed_per_filter_config": {without: disabled}} if without else {}
    return {
        "name": BACKEND_NONE,  # what is counted until a backend has answered
        "match": {**MODEL_PATHS, "headers": headers},
        "request_body_buffer_limit": MAX_ANSWER_BYTES,
        **filters,
        **to,
    }


def _model(workload: Workload) -> EnvoyConfig:
    created = int(workload.created_at.timestamp())
    model: EnvoyConfig = {"id": workload.spec.served_name, "object": "model", "created": created, "owned_by": "spillway"}
    if workload.spec.model.max_context_tokens is not None:
        model["max_model_len"] = workload.spec.model.max_context_tokens
    return model


def _answer(match: EnvoyConfig, *, body: EnvoyConfig) -> EnvoyConfig:
    """Return a route that the gateway answers itself, so that it works with no backend at all."""
    return {"match": match, "direct_response": {"status": 200, "body": {"inline_string": json_text(body)}}}


def _backends(gateway: Gateway, backends: tuple[str, ...], *, hold: Hold | None = None, also_next: tuple[int, ...] = ()) -> EnvoyConfig:
    """Return where a route goes. Replicas that are all there is need no tier behind this one, which costs a third of a request's CPU.

    `also_next`: further statuses on which the next backend is asked.
    """
    if backends == (CLUSTER_OWNED,):
        return to_replicas(gateway, timeout=seconds(gateway.max_request_seconds))
    groups = [
        {"name": f"{place}-{cluster}", "clusters": [{"cluster_name": cluster, "weight": 1}]} for place, cluster in enumerate(backends)
    ]
    proto = "envoy.extensions.router.cluster_specifiers.priority_group.v3.PriorityGroupClusterSpecifier"
    specifier = extension("envoy.router.cluster_specifier_plugin.priority_group", proto, priority_groups=groups)
    route: EnvoyConfig = {"timeout": seconds(gateway.max_request_seconds), "inline_cluster_specifier_plugin": {"extension": specifier}}
    if hold is not None:
        route["retry_policy"] = hold_policy(hold)
    elif len(backends) > 1:
        route["retry_policy"] = {
            "retry_on": "connect-failure,refused-stream,reset,retriable-status-codes",
            "retriable_status_codes": [*also_next, *_NEXT_BACKEND_STATUSES],
            "num_retries": len(backends) - 1,
            "refresh_cluster_on_retry": True,
            "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.001s"},  # the next backend is another one; do not wait for it
        }
    return {"route": route}


_WHY = "%RESPONSE_CODE_DETAILS%"  # Envoy's own word for it
# Not taken: there a stream that is cut looks like one that has ended. nginx speaks it to upstreams by default, before 1.29.7.
_OLD_HTTP = "HTTP/1.0 is not supported; a proxy in between must use HTTP/1.1 (nginx: proxy_http_version 1.1)"


def _replies(access: Access) -> EnvoyConfig:
    """Return how Envoy's own answers read to an OpenAI client; the first that matches."""
    client, server = "invalid_request_error", "server_error"
    verbatim = {
        "filter": {"status_code_filter": status_is("LE", 399)},
        "headers_to_add": [set_header("x-served-by", "none")],
        "body_format_override": {
            "text_format_source": {"inline_string": "%LOCAL_REPLY_BODY%"},
            "content_type": "application/json",
        },
    }
    return {
        "mappers": [
            verbatim,
            *access_replies(access),
            overload_reply(),
            error_reply(404, message=_UNKNOWN_PATH, kind=client, code="not_found"),
            error_reply(405, message="method not allowed for this path; see the Allow header", kind=client, code="method_not_allowed"),
            error_reply(413, message="request body too large: the limit is 16 MiB", kind=client, code="body_too_large"),
            error_reply(415, message="content-type must be application/json", kind=client, code="unsupported_content_type"),
            error_reply(426, message=_OLD_HTTP, kind=client, code="http_version"),
            {
                **error_reply(None, message=f"bad request: {_WHY}", kind=client, code="bad_request"),
                "filter": {"status_code_filter": status_is("LE", 499)},
            },
            error_reply(501, message="bad request: the transfer-encoding has to be chunked", kind=client, code="bad_request"),
            error_reply(503, **NO_CAPACITY),
            error_reply(504, message="no response within this workload's maxRequestSeconds", kind=server, code="timeout"),
            error_reply(None, message=f"gateway error: {_WHY}", kind=server, code="gateway_error"),
        ]
    }
