"""What a request says its body is: JSON, or it is refused, by the gateway as by replicas, whoever would have answered it."""

from spillway.render.envoy.http import EnvoyConfig, extension, lua, typed

_HEADER = "content-type"


def not_json() -> EnvoyConfig:
    """Return a header matcher on requests that say they are something else, or nothing."""
    json: EnvoyConfig = {"prefix": "application/json", "ignore_case": True}
    return {"name": _HEADER, "string_match": json, "invert_match": True, "treat_missing_header_as_empty": True}


def not_grpc() -> EnvoyConfig:
    """Return the filter that refuses what says it is gRPC, on every path; others pass it by."""
    said = typed("envoy.type.matcher.v3.HttpRequestHeaderMatchInput", header_name=_HEADER)
    is_grpc = {"input": {"name": "said", "typed_config": said}, "value_match": {"prefix": "application/grpc"}}
    skip = extension("skip", "envoy.extensions.filters.common.matcher.action.v3.SkipFilter")
    others = {"predicate": {"not_matcher": {"single_predicate": is_grpc}}, "on_match": {"action": skip}}
    script = lua("grpc", name="spillway.grpc")
    matched = typed(
        "envoy.extensions.common.matching.v3.ExtensionWithMatcher",
        extension_config=script,
        xds_matcher={"matcher_list": {"matchers": [others]}},
    )
    return {"name": script["name"], "typed_config": matched}
