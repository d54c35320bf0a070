"""How the owned listener refuses a small request when the cap is reached: briefly, so that the connection it came on is kept.

Within the gateway, as anywhere, Envoy closes a connection on which an answer comes before the request's body, and one on which an answer
with a body is given up for a retry. Each spill met both, and opened a connection between the tiers anew. A small request is therefore
read to its end before it is refused, and refused without a body, which nobody would see: the edge goes on to the next backend.
"""

from spillway.render.envoy.http import EnvoyConfig, expression, http_filter, stays, typed

_ROUTE = "small"
# Up to here it is cheaper to take a body through the tier in vain than to open a connection: benchmarks/gateway/README.md.
_LARGEST_BYTES = 64 * 1024


def whole_filter() -> EnvoyConfig:
    """Return the filter that reads a request to its end, off but on the routes of `small_route`."""
    return {**http_filter("buffer", "Buffer", max_request_bytes=_LARGEST_BYTES), "disabled": True}


def small_route(route: EnvoyConfig, *, headers: list[EnvoyConfig]) -> EnvoyConfig:
    """Return this route to the replicas for small requests with these headers that another backend may answer."""
    length = {"name": "content-length", "range_match": {"start": 0, "end": _LARGEST_BYTES + 1}}
    whole = typed("envoy.extensions.filters.http.buffer.v3.BufferPerRoute", buffer={"max_request_bytes": _LARGEST_BYTES})
    return {
        "name": _ROUTE,
        "match": {"prefix": "/", "headers": [length, stays(inverted=True), *headers]},
        "typed_per_filter_config": {"envoy.filters.http.buffer": whole},
        **route,
    }


def brief_reply() -> EnvoyConfig:
    """Return the mapper that takes the body off what the cap refuses on such a route."""
    refused = f"xds.route_name == '{_ROUTE}' && response.code_details.contains('overflow')"
    return {"filter": expression(refused), "body_format_override": {"text_format_source": {"inline_string": ""}}}
