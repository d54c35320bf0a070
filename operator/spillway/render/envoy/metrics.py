"""What the gateway counts of each request: tokens, codes and times, by the backend that answered."""

from collections.abc import Mapping, Sequence

from spillway.api.access import Access
from spillway.plan.decision import GatewayPlan
from spillway.render.envoy.http import LIMITED, EnvoyConfig, all_of, expression, extension, http_filter, method_is, status_is, typed
from spillway.render.envoy.tokens import TOKENS_LIMITED

CLIENT_METADATA: EnvoyConfig = {"filter": "access", "path": [{"key": "client"}]}  # where the script puts the client's name
MANY_CLIENTS = 10_000  # as many are told apart, in limits and in metrics
_MOST_SERIES = 1000  # of a logger; what comes beyond them is lost, and counts in envoy_server_stats_overflow_counter
_MOST_SERIES_OF_CLIENTS = 2 * MANY_CLIENTS  # input and output tokens; or two codes
_FIRST_BODY_MS = "%DYNAMIC_METADATA(spillway:first_body_ms)%"
_PACE_US = "%DYNAMIC_METADATA(spillway:inter_token_us)%"
_CLIENT_HASH = "%DYNAMIC_METADATA(access:client_hash)%"
_USAGE = "usage"  # metadata namespace
_INPUT, _OUTPUT, _TOTAL = "input_tokens", "output_tokens", "total_tokens"
_CACHED = "cached_input_tokens"  # of the input, what the provider found in its cache and may bill less
# What tells of as many, or of fewer than none, tells nothing: a counter would leap, or turn back by its whole range. Nor does what tells
# of a prompt without a token, as some servers do of every one.
_MOST_TOKENS = 1e9
_FEWEST_TOKENS = {_INPUT: 1.0, _OUTPUT: 0.0}
_TOLD = f"metadata.filter_metadata['{_USAGE}']"
_IS_REPORTED = f"'{_USAGE}' in metadata.filter_metadata" + "".join(
    f" && '{key}' in {_TOLD} && {_TOLD}['{key}'] >= {fewest} && {_TOLD}['{key}'] < {_MOST_TOKENS:.1f}"
    for key, fewest in _FEWEST_TOKENS.items()
)
# Some (xAI's, Gemini's) tell of what was thought in the total alone, and bill it as output.
_OUTPUT_TOLD = (
    f"'{_TOTAL}' in {_TOLD} && {_TOLD}['{_TOTAL}'] < {_MOST_TOKENS:.1f}"
    f" && {_TOLD}['{_TOTAL}'] - {_TOLD}['{_INPUT}'] > {_TOLD}['{_OUTPUT}']"
    f" ? {_TOLD}['{_TOTAL}'] - {_TOLD}['{_INPUT}'] : {_TOLD}['{_OUTPUT}']"
)
# A number, and of no more than there are.
_IS_CACHED = f"'{_CACHED}' in {_TOLD} && {_TOLD}['{_CACHED}'] > 0.0 && {_TOLD}['{_CACHED}'] <= {_TOLD}['{_INPUT}']"
TOKENS = {_INPUT: f"%DYNAMIC_METADATA({_USAGE}:{_INPUT})%", _OUTPUT: f"%CEL({_OUTPUT_TOLD})%"}  # of an answer that has reported both
_STREAM_ERROR = ("spillway", "stream_error")  # where the script puts that an event was an error
# Ended by their backend or by `maxRequestSeconds` after they had begun, as flags and as what Envoy 1.40 writes beside them.
_BROKEN_OFF = ["UC", "UPE", "UR", "UT"]
_BROKE_OFF = "response.code_details.startsWith('upstream_reset_after') || response.code_details == 'response_timeout'"
# Where APIs put the counts: chat and completions; responses and messages; their streams' last and first event.
_PLACES = (
    ((_USAGE, "prompt_tokens"), _INPUT),
    ((_USAGE, "completion_tokens"), _OUTPUT),
    ((_USAGE, "input_tokens"), _INPUT),
    ((_USAGE, "output_tokens"), _OUTPUT),
    (("response", _USAGE, "input_tokens"), _INPUT),
    (("response", _USAGE, "output_tokens"), _OUTPUT),
    (("message", _USAGE, "input_tokens"), _INPUT),
    ((_USAGE, "total_tokens"), _TOTAL),
    (("response", _USAGE, "total_tokens"), _TOTAL),
    ((_USAGE, "cached_tokens"), _CACHED),  # Moonshot's
    ((_USAGE, "prompt_cache_hit_tokens"), _CACHED),  # DeepSeek's
    ((_USAGE, "prompt_tokens_details", "cached_tokens"), _CACHED),  # OpenAI's, and most others'; what is found last counts
    ((_USAGE, "input_tokens_details", "cached_tokens"), _CACHED),
    (("response", _USAGE, "input_tokens_details", "cached_tokens"), _CACHED),
)
_PLAIN_PLACES = tuple(each for each in _PLACES if each[0][0] == _USAGE)
# How many bytes are a token differs: an event of a stream is one, a plain answer is its text. Embeddings are paid for by the prompt alone.
_STREAMS = "('content-type' in response.headers && response.headers['content-type'].contains('event-stream'))"
_EMBEDS = "request.url_path.endsWith('/embeddings')"
_DEFAULT_EDGES_MS = (
    *(5, 10, 25, 50, 75, 100, 150, 200, 300, 400, 500, 750, 1000, 1500, 2000, 3000, 4000, 5000, 7500),
    *(10_000, 15_000, 20_000, 30_000, 45_000, 60_000, 120_000, 300_000, 600_000, 1_800_000, 3_600_000),
)
_GAP_EDGES_MS = (1, 2, 3, 5, 7, 10, 15, 20, 25, 30, 40, 50, 60, 75, 100, 150, 200, 300, 400, 500, 750, 1000, 2000, 5000, 10_000, 60_000)
_LARGEST_EVENT_BYTES = 1024 * 1024
_KEPT = ("spillway.", "cluster.owned.", "cluster.hosted-", "http.edge.", "http.hosted-", "server.", "runtime.", "sds.", "listener_manager.")


def token_filters() -> list[EnvoyConfig]:
    """Return the filters that read token counts out of plain and streamed answers."""
    plain = http_filter(
        "json_to_metadata",
        "JsonToMetadata",
        response_rules={
            "rules": [_rule(path, key) | _without_output(path) for path, key in _PLAIN_PLACES],
            "allow_content_types_regex": {"regex": "application/json(;.*)?"},
        },
    )
    parser = extension(
        "envoy.content_parsers.json",
        "envoy.extensions.content_parsers.json.v3.JsonContentParser",
        rules=[{"rule": _rule(path, key)} for path, key in _PLACES],
    )
    streamed = http_filter(
        "sse_to_metadata", "SseToMetadata", response_rules={"content_parser": parser, "max_event_size": _LARGEST_EVENT_BYTES}
    )
    return [streamed, plain]


def edge_token_filters() -> list[EnvoyConfig]:
    """Return the same for the edge, where the script that streamed answers pass (answer.lua) reads their counts.

    What is streamed without having been asked for in so many words does not pass it.
    """
    streamed, plain = token_filters()
    started = typed("envoy.extensions.matching.common_inputs.network.v3.DynamicMetadataInput", filter="spillway", path=[{"key": "started"}])
    present = typed("envoy.extensions.matching.input_matchers.metadata.v3.Metadata", value={"present_match": True})
    # Not the edge's mark on the request: a filter of answers alone sees no request.
    is_read = {
        "single_predicate": {
            "input": {"name": "envoy.matching.inputs.dynamic_metadata", "typed_config": started},
            "custom_match": {"name": "envoy.matching.matchers.metadata_matcher", "typed_config": present},
        }
    }
    skip = extension("skip", "envoy.extensions.filters.common.matcher.action.v3.SkipFilter")
    unread = typed(
        "envoy.extensions.common.matching.v3.ExtensionWithMatcher",
        extension_config=streamed,
        xds_matcher={"matcher_list": {"matchers": [{"predicate": is_read, "on_match": {"action": skip}}]}},
    )
    return [{"name": streamed["name"], "typed_config": unread}, plain]


def _rule(path: Sequence[str], key: str) -> EnvoyConfig:
    # NUMBER takes a text or `true` for a number. What lowers a bill is kept as it was told, and has to be one.
    return {
        "selectors": [{"key": part} for part in path],
        "on_present": {"metadata_namespace": _USAGE, "key": key, "type": "PROTOBUF_VALUE" if key == _CACHED else "NUMBER"},
    }


def _without_output(path: Sequence[str]) -> EnvoyConfig:
    """Return what makes an answer without output tokens (embeddings) one with none, so that one logger can count both."""
    if path != (_USAGE, "completion_tokens"):
        return {}
    none = {"metadata_namespace": _USAGE, "key": _OUTPUT, "value": 0, "preserve_existing_metadata_value": True}
    return {"on_missing": none}


def long_prompt_tokens() -> list[EnvoyConfig]:
    """Return the counters of the tokens of requests that went to a hosted backend first, because of their length."""
    return [counter(f"long_prompt_{key}", value=value) for key, value in TOKENS.items()]


def access_logs(access: Access, *, traced: bool, more: Mapping[str, str]) -> list[EnvoyConfig]:
    """Return the loggers: one JSON line per request without content, and the metrics of requests to the model (not of GET /v1/models).

    `more`: further fields of the line.
    """
    post: EnvoyConfig = {"header_filter": {"header": method_is("POST")}}
    # A request over its client's limit is no demand, and nobody's failure: it is counted with its client alone.
    over = [*([LIMITED] if access.limits_requests else []), *([TOKENS_LIMITED] if access.limits_tokens else [])]
    demand: EnvoyConfig = all_of(post, *(expression(f"!({each})") for each in over)) if over else post
    unmetered = [post, *_success(), expression(f"!({_IS_REPORTED})")]
    return [
        _line(access, traced=traced, more=more),
        stats_logger(
            demand,
            counters=[counter("requests", tags={"backend": _BACKEND_OR_NONE, "code": "%RESPONSE_CODE%"}, fixed=1)],
            histograms=[_histogram("duration_ms", "%DURATION%", backend=_BACKEND_OR_NONE)],
        ),
        stats_logger(reported(), counters=[counter(key, value=value) for key, value in TOKENS.items()]),
        stats_logger(
            all_of(reported(), expression(_IS_CACHED)), counters=[counter(_CACHED, value=f"%DYNAMIC_METADATA({_USAGE}:{_CACHED})%")]
        ),
        stats_logger(
            all_of(*unmetered),
            counters=[
                counter("unmetered_requests", fixed=1),
                counter("unmetered_request_bytes", value="%BYTES_RECEIVED%"),
                counter("unmetered_response_bytes", value=f"%CEL({_STREAMS} ? response.size : 0)%"),
                counter("unmetered_plain_response_bytes", value=f"%CEL({_STREAMS} || {_EMBEDS} ? 0 : response.size)%"),
            ],
        ),
        stats_logger(
            {
                "or_filter": {
                    "filters": [has_metadata(*_STREAM_ERROR), all_of(*_success(), {"response_flag_filter": {"flags": _BROKEN_OFF}})]
                }
            },
            counters=[counter("stream_errors", fixed=1)],
        ),
        stats_logger(
            # Whoever fails later has met no target.
            all_of(has_metadata("spillway", "first_body_ms"), _lacks(*_STREAM_ERROR), expression(f"!({_BROKE_OFF})")),
            histograms=[_histogram("first_body_ms", _FIRST_BODY_MS)],
        ),
        stats_logger(
            has_metadata("spillway", "inter_token_us"),
            histograms=[_histogram("inter_token_us", _PACE_US, unit="Microseconds")],
        ),
        _streamed(),
        *(_by_client(post) if access.authenticates else ()),
    ]


def _streamed() -> EnvoyConfig:
    """Return what the mean gap between tokens follows from: streams of one answer that came to their end, their times and their tokens.

    Mean gap = (streamed_ms - streamed_first_body_ms) / (streamed_output_tokens - streamed_answers).
    """
    return stats_logger(
        all_of(has_metadata("spillway", "first_body_ms"), reported(), _lacks("spillway", "answers")),
        counters=[
            counter("streamed_answers", fixed=1),
            counter("streamed_ms", value="%DURATION%"),
            counter("streamed_first_body_ms", value=_FIRST_BODY_MS),
            counter("streamed_output_tokens", value=TOKENS[_OUTPUT]),
        ],
    )


def not_taken(*, unless: str | None = None) -> EnvoyConfig:
    """Return the logger of the listener before own replicas where there is a next backend: what replicas did not take, and why.

    `flags` are Envoy's: UO the cap is reached, UH no replica is in routing, UF or UC a replica could not be reached or went, UT no header
    in time; none: the replica itself said `code`. It sees neither that a request must stay nor that it comes again.

    Answers with the header `unless` are those of requests that do come again, and do not count.
    """
    failed: EnvoyConfig = {
        "or_filter": {"filters": [{"status_code_filter": status_is("EQ", 429)}, {"status_code_filter": status_is("GE", 500)}]}
    }
    if unless is not None:
        failed = all_of(failed, expression(f"!('{unless}' in response.headers)"))
    return stats_logger(failed, counters=[_not_taken()])


_PLAIN = "response.headers['content-type'].startsWith('application/json')"  # what is kept until its tokens are read
_NOT_WHOLE = "response.code_details.contains('after_response_started') || response.code_details == 'response_payload_too_large'"


def unanswered(backend: str, *, keeps: bool) -> list[EnvoyConfig]:
    """Return the loggers of the listener before a hosted backend: what the provider may bill though the edge counts no answer of it.

    That is what had no headers within the target; what its client, or the edge, left before anything of it was passed on; a plain answer
    that broke off, or was too long. `keeps`: whether plain answers are kept here, too, until their tokens are read.
    """
    nothing = f"(!has(response.code) || response.size == 0 && {_PLAIN})" if keeps else "!has(response.code)"
    condition = (
        "has(upstream.address) && (response.code_details == 'upstream_per_try_timeout'"
        f" || response.code_details == 'downstream_remote_disconnect' && {nothing}"
        f" || ({_NOT_WHOLE}) && {_PLAIN})"
    )
    tags = {"backend": backend}
    return [
        stats_logger(
            expression(condition),
            counters=[
                counter("unanswered_requests", fixed=1, tags=tags),
                counter("unanswered_request_bytes", value="%BYTES_RECEIVED%", tags=tags),
            ],
        ),
        stats_logger(
            expression(f"{condition} && !{_EMBEDS}"),
            counters=[counter("unanswered_plain_response_bytes", value="%UPSTREAM_WIRE_BYTES_RECEIVED%", tags=tags)],
        ),
    ]


def too_many_wait() -> EnvoyConfig:
    """Return the logger of the listener that waits: what it could not let wait, as `not_taken` counts what the cap refuses."""
    return stats_logger({"response_flag_filter": {"flags": ["UO"]}}, counters=[_not_taken()])


def _not_taken() -> EnvoyConfig:
    return counter("not_taken", fixed=1, tags={"flags": "%RESPONSE_FLAGS%", "code": "%RESPONSE_CODE%"})


def _by_client(post: EnvoyConfig) -> list[EnvoyConfig]:
    """Return what each client used, by a digest of its name: who may read metrics need not know who the clients are."""
    client = {"client": _CLIENT_HASH}
    known = has_metadata("access", "client_hash")
    tokens = [counter(f"client_{key}", value=value, tags=client) for key, value in TOKENS.items()]
    return [
        stats_logger(
            all_of(known, post),
            most_series=_MOST_SERIES_OF_CLIENTS,
            counters=[counter("client_requests", tags={**client, "code": "%RESPONSE_CODE%"}, fixed=1)],
        ),
        stats_logger(all_of(known, reported()), most_series=_MOST_SERIES_OF_CLIENTS, counters=tokens),
        stats_logger(has_metadata("access", "closed"), counters=[counter("closed_requests", fixed=1)]),
    ]


_BACKEND = "%RESP(x-served-by)%"  # who answered
# The same, and "none", which is the route's name, where a client left before anybody did.
_BACKEND_OR_NONE = '%COALESCE({"operators":[{"command":"RESP","param":"x-served-by"},{"command":"ROUTE_NAME"}]})%'


def _success() -> list[EnvoyConfig]:
    return [{"status_code_filter": status_is("GE", 200)}, {"status_code_filter": status_is("LE", 299)}]


def has_metadata(namespace: str, key: str) -> EnvoyConfig:
    """Return the condition that a request has this metadata."""
    return _metadata_is(namespace, key, {"present_match": True})


def reported() -> EnvoyConfig:
    """Return the condition that an answer has told how many tokens it took, in numbers that can be."""
    return all_of(
        *(
            _metadata_is(_USAGE, key, {"double_match": {"range": {"start": fewest, "end": _MOST_TOKENS}}})
            for key, fewest in _FEWEST_TOKENS.items()
        )
    )


def _metadata_is(namespace: str, key: str, value: EnvoyConfig) -> EnvoyConfig:
    return {"metadata_filter": {"matcher": {"filter": namespace, "path": [{"key": key}], "value": value}, "match_if_key_not_found": False}}


def _lacks(namespace: str, key: str) -> EnvoyConfig:
    # Envoy ignores `invert` here: a number that is there matches no text, one that is not there matches by default.
    nothing = {"filter": namespace, "path": [{"key": key}], "value": {"string_match": {"exact": "never"}}}
    return {"metadata_filter": {"matcher": nothing, "match_if_key_not_found": True}}


def stats_logger(condition: EnvoyConfig, *, most_series: int = _MOST_SERIES, **metrics: object) -> EnvoyConfig:
    """Return an access log that counts under `envoy_spillway_` where the condition holds."""
    scope = {"prefix": "spillway", "max_counters": most_series}  # no sharing_name: Envoy 1.40 then crashes at the end of `--mode validate`
    logger = typed("envoy.extensions.access_loggers.stats.v3.Config", stats_scope=scope, **metrics)
    return {"name": "envoy.access_loggers.stats", "filter": condition, "typed_config": logger}


def counter(name: str, *, value: str | None = None, fixed: int | None = None, tags: dict[str, str] | None = None) -> EnvoyConfig:
    """Return a counter that grows by a formatted value or a fixed one; by backend unless tagged otherwise."""
    amount: EnvoyConfig = {"value_format": value} if value is not None else {"value_fixed": fixed}
    return {"stat": _stat(name, tags or {"backend": _BACKEND}), **amount}


def _histogram(name: str, value: str, *, backend: str = _BACKEND, unit: str = "Milliseconds") -> EnvoyConfig:
    return {"stat": _stat(name, {"backend": backend}), "unit": unit, "value_format": value}


def _stat(name: str, tags: dict[str, str]) -> EnvoyConfig:
    return {"name": name, "tags": [{"name": tag, "value_format": value} for tag, value in tags.items()]}


def _line(access: Access, *, traced: bool, more: Mapping[str, str]) -> EnvoyConfig:
    fields: EnvoyConfig = {
        "time": "%START_TIME%",
        "method": "%REQ(:METHOD)%",
        "path": "%PATH(NQ)%",
        "code": "%RESPONSE_CODE%",
        "details": "%RESPONSE_CODE_DETAILS%",
        "flags": "%RESPONSE_FLAGS%",
        "backend": _BACKEND,
        "attempts": "%RESP(x-envoy-attempt-count)%",
        "duration_ms": "%DURATION%",
        "first_body_ms": _FIRST_BODY_MS,
        "request_bytes": "%BYTES_RECEIVED%",
        "response_bytes": "%BYTES_SENT%",
        **TOKENS,
        _OUTPUT: f"%TYPED_CEL({_OUTPUT_TOLD})%",  # a number in JSON, too
        "request_id": "%REQ(X-REQUEST-ID)%",
        **({"trace_id": "%TRACE_ID%"} if traced else {}),
        **({"client": _CLIENT_HASH} if access.authenticates else {}),
        **more,
    }
    return extension(
        "envoy.access_loggers.stdout",
        "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
        log_format={"json_format": fields},
    )


def stats_config(gateway: GatewayPlan, *, also: tuple[str, ...]) -> EnvoyConfig:
    """Return which statistics are kept, those whose names begin as in `also` too, and histogram edges with one exactly at each target."""
    edges = {
        "spillway.first_body_ms": _edges(_DEFAULT_EDGES_MS, gateway.ttft_edge_ms),
        "spillway.duration_ms": _edges(_DEFAULT_EDGES_MS, gateway.end_to_end_edge_ms),
        "spillway.inter_token_us": [1000 * each for each in _edges(_GAP_EDGES_MS, gateway.inter_token_edge_ms)],
    }
    buckets = [{"match": {"prefix": name}, "buckets": found} for name, found in edges.items()]
    return {
        "histogram_bucket_settings": buckets,
        "stats_matcher": {"inclusion_list": {"patterns": [{"prefix": name} for name in (*_KEPT, *also)]}},
    }


def _edges(usual: Sequence[int], target: int | None) -> list[int]:
    return sorted({*usual, *([target] if target else [])})
