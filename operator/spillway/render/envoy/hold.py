"""Requests that wait at the gateway for a replica, where nothing hosted may answer them (`gateway.hold`).

The second tier marks its own refusals (no replica, no free slot, no connection) while a request has time left; the edge asks again what
is marked. What a replica answered, or broke off, is never asked again: it might be the request that breaks it. The edge's breaker for
retries bounds how many wait. Where hosted backends come first, a listener of its own asks again (envoy_capped).
"""

import math

from spillway.api.gateway import Gateway
from spillway.api.holding import Hold
from spillway.plan.decision import Decision, Workload
from spillway.render.envoy.http import (
    COME_AGAIN_S,
    NO_CAPACITY,
    EnvoyConfig,
    error_reply,
    expression,
    http_filter,
    seconds,
    set_header,
    unanswered,
)

ARRIVED = "x-spillway-arrived"  # the edge's mark: when the request came
MAY_WAIT = "x-spillway-may-wait"  # the second tier's mark on a refusal: ask again
HELD_SINCE = "x-spillway-held-since"  # the same of one that no hosted backend took: since when it waits
HOLD_STATS = "cluster.hop-owned.upstream_rq_retry"  # prefix of the statistics that tell of waiting

_FIRST_POLL_S = 0.025  # a drawn part of 25, 75, 175 ... ms: a slot that is about to be free is found soon
_LONGEST_POLL_S = 1.0  # then of a second: as late is a replica found that has become ready
_POLLS_PER_S = 20  # far more than are drawn (two): the time ends a wait, never the count
# Without `gateway.hold`, where `whenExceeded: Wait` is all that is said: of one that no limit lets go.
_SOME_SECONDS, _MOST_AT_A_GATEWAY, _MOST = 4, 1024, 10_000
_METADATA = "hold"
_KEPT = {ARRIVED: "since", HELD_SINCE: "held_since"}
# Envoy's own words for what no replica has seen: no replica, the cap, a replica that refuses connections.
_UNSEEN = (
    "response.code_details.contains('no_healthy_upstream') || response.code_details.contains('overflow') "
    "|| response.code_details.contains('connection_failure') || response.code_details.contains('connection_timeout')"
)


def hold_of(workload: Workload, decision: Decision) -> Hold | None:
    """Return how requests wait for replicas; None where they do not."""
    spec = workload.spec
    if spec.holds and decision.pool:
        return spec.gateway.hold
    if spec.waits and decision.pool and decision.backends:
        return Hold(seconds=_SOME_SECONDS, max_requests=min(_MOST, _MOST_AT_A_GATEWAY * spec.gateway.most_replicas))
    return None


def most_held(gateway: Gateway, hold: Hold) -> int:
    """Return how many requests may wait at one gateway pod."""
    return math.ceil(hold.max_requests / gateway.most_replicas)


def arrival(header: str = ARRIVED) -> EnvoyConfig:
    """Return the header that tells the second tier since when a request has been waiting."""
    return set_header(header, "%START_TIME%")


def arrival_filter(*headers: str) -> EnvoyConfig:
    """Return the second tier's filter that takes these headers off: a replica must not get them, and the mappers read what is left then."""
    rules = [
        {"header": each, "on_header_present": {"metadata_namespace": _METADATA, "key": _KEPT[each]}, "remove": True} for each in headers
    ]
    return http_filter("header_to_metadata", "Config", request_rules=rules)


def hold_policy(hold: Hold) -> EnvoyConfig:
    """Return the retry policy of what waits: asks again what is marked, until it no longer is."""
    return ask_again(times=hold.seconds * _POLLS_PER_S + _POLLS_PER_S, first_s=_FIRST_POLL_S, longest_s=_LONGEST_POLL_S)


def ask_again(*, times: int, first_s: float, longest_s: float) -> EnvoyConfig:
    """Return a retry policy for what is marked: after a drawn part of `first_s`, then of ever more, up to `longest_s`."""
    return {
        "retry_on": "retriable-headers",
        "retriable_headers": [{"name": MAY_WAIT, "string_match": {"exact": "1"}}],
        "num_retries": times,
        "retry_back_off": {"base_interval": seconds(first_s), "max_interval": seconds(longest_s)},
    }


def hold_replies(hold: Hold, header: str = ARRIVED) -> list[EnvoyConfig]:
    """Return the second tier's mappers: a refusal with the mark while the request has time left, then one without.

    `header`: the one that tells since when it waits. What comes without it, and need not be waited for, matches only another mapper.
    """
    refused = error_reply(None, **NO_CAPACITY)
    later = unanswered(retry_after_s=COME_AGAIN_S)
    # With one poll more, the answer comes within the time.
    has_time = f"({_UNSEEN}) && {waits_less_than(hold.seconds - _LONGEST_POLL_S, header)}"
    over: EnvoyConfig = {} if header == ARRIVED else {"filter": expression(f"{_since(header)} <= request.time")}
    return [
        {**refused, "filter": expression(has_time), "headers_to_add": [*later, set_header(MAY_WAIT, "1")]},
        {**refused, **over, "headers_to_add": later},
    ]


def waits_less_than(longest_s: float, header: str = ARRIVED) -> str:
    """Return the condition, in CEL, that a request came to the listener that waits less than so long ago. It needs `arrival_filter`."""
    return f"request.time - {_since(header)} < duration('{seconds(longest_s)}')"


def _since(header: str) -> str:
    return f"timestamp(metadata.filter_metadata['{_METADATA}']['{_KEPT[header]}'])"
