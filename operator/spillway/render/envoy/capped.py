"""Requests that no limit lets go wait for a replica: `hosted.overflow.whenExceeded: Wait`, as long as `gateway.hold` says or some seconds.

    edge ── owned listener ── replicas
       ├─ next ─ hosted listener ...
       └─ last ─ hold ── owned listener

The listener in the middle of the last way asks again what the owned one has marked. It asks own replicas alone: what a limit or a
provider has refused is not sent there a second time.
"""

from spillway.api.gateway import Gateway
from spillway.api.holding import Hold
from spillway.render.envoy.hold import HELD_SINCE, MAY_WAIT, arrival, hold_policy, most_held
from spillway.render.envoy.http import (
    COME_AGAIN_S,
    MAX_BODY_BYTES,
    NO_CAPACITY,
    EnvoyConfig,
    error_reply,
    internal_cluster,
    internal_listener,
    unanswered,
)
from spillway.render.envoy.room import is_bounded, ticket

LISTENER = "hold"
HOP = "hop-hold"  # the edge's way to this listener
AGAIN = "hop-again"  # this listener's way to the owned one
STATS = f"cluster.{AGAIN}.upstream_rq_retry"  # prefix of the statistics that tell of waiting


def capped_listener(gateway: Gateway, hold: Hold) -> EnvoyConfig:
    """Return the listener that asks own replicas until one takes the request, or its time is over."""
    route = {
        "match": {"prefix": "/"},
        "request_body_buffer_limit": MAX_BODY_BYTES,  # what is asked again has to be kept
        "route": {"cluster": AGAIN, "timeout": "0s", "retry_policy": hold_policy(hold)},
    }
    host = {
        "name": LISTENER,
        "domains": ["*"],
        "routes": [route],
        "request_headers_to_add": [arrival(HELD_SINCE), *([ticket()] if is_bounded(hold) else [])],
        "response_headers_to_remove": [MAY_WAIT],
    }
    refused = {**error_reply(None, **NO_CAPACITY), "headers_to_add": unanswered(retry_after_s=COME_AGAIN_S)}
    return internal_listener(
        name=LISTENER,
        idle_s=gateway.max_request_seconds + 5,
        filters=[],
        routes={"name": LISTENER, "virtual_hosts": [host]},
        local_reply_config={"mappers": [refused]},
    )


def capped_clusters(gateway: Gateway, hold: Hold, *, owned_listener: str) -> list[EnvoyConfig]:
    """Return the way to the listener, and its own to the owned one, which bounds how many wait."""
    return [internal_cluster(LISTENER, HOP), internal_cluster(owned_listener, AGAIN, most_retries=most_held(gateway, hold))]
