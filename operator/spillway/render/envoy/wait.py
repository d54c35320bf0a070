"""Requests that wait a moment for a slot on own replicas before they are spilled (`hosted.overflow.maxWaitMs`).

    edge ── wait ── owned listener ── replicas
       └─ next ─── hosted listener ...

The listener between the two asks again what the owned one has marked: refused by the cap, by nothing else, and with time left. It stands
alone because the edge's own tries walk on to the next backend, whatever the last one said. What a replica has seen, what finds none, and
what finds too many waiting goes back to the edge at once.
"""

import math

from spillway.api.gateway import Gateway
from spillway.api.workload import InferenceWorkloadSpec
from spillway.render.envoy.hold import MAY_WAIT, arrival, ask_again, waits_less_than
from spillway.render.envoy.http import (
    MAX_BODY_BYTES,
    NO_CAPACITY,
    EnvoyConfig,
    error_reply,
    expression,
    internal_cluster,
    internal_listener,
    set_header,
    unanswered,
)
from spillway.render.envoy.metrics import too_many_wait

LISTENER = "wait"
SLOT = "hop-slot"  # this listener's way to the owned one; the edge's way to this one keeps its name
WAIT_STATS = f"cluster.{SLOT}.upstream_rq_retry"  # prefix of the statistics that tell of waiting

# A slot is looked for again after a drawn part of these: often enough to waste little of it, seldom enough for hundreds that wait.
_FIRST_POLL_MS = 25
_LONGEST_POLL_MS = 100
_FEWEST_POLLS = 4  # of a short wait
_POLLS_DRAWN = 8  # times as many as fit: the time ends a wait, never the count
# At each gateway: they ask some 5,000 times a second, for a quarter to a half of a core. A budget in per cent of what is in flight would
# follow the cap, but a burst is in flight itself when its requests are counted, and all of it was let wait.
MOST_WAITING = 256
_OVERFLOW = "response.code_details.contains('overflow')"  # Envoy's word for the cap


def wait_ms(spec: InferenceWorkloadSpec) -> int:
    """Return how long a request waits for a slot before it is spilled, milliseconds; 0: it does not, and nothing of this is rendered."""
    overflow = spec.overflow
    return (overflow.max_wait_ms or 0) if overflow is not None and spec.owns and spec.rents else 0


def wait_listener(gateway: Gateway, *, most_ms: int) -> EnvoyConfig:
    """Return the listener that asks again until there is a slot, or `most_ms` have passed."""
    poll_ms = _longest_poll_ms(most_ms)
    again = ask_again(
        times=math.ceil(most_ms / poll_ms) * _POLLS_DRAWN, first_s=min(_FIRST_POLL_MS, poll_ms) / 1000, longest_s=poll_ms / 1000
    )
    route = {
        "match": {"prefix": "/"},
        "request_body_buffer_limit": MAX_BODY_BYTES,  # what is asked again has to be kept
        "route": {"cluster": SLOT, "timeout": "0s", "retry_policy": again},
    }
    host = {
        "name": LISTENER,
        "domains": ["*"],
        "routes": [route],
        "request_headers_to_add": [arrival()],
        "response_headers_to_remove": [MAY_WAIT],
    }
    return internal_listener(
        name=LISTENER,
        idle_s=gateway.max_request_seconds + 5,
        filters=[],
        routes={"name": LISTENER, "virtual_hosts": [host]},
        local_reply_config={"mappers": [error_reply(None, **NO_CAPACITY)]},
        access_log=[too_many_wait()],
    )


def slot_cluster(listener: str) -> EnvoyConfig:
    """Return the cluster of the owned listener, which bounds how many wait."""
    return internal_cluster(listener, SLOT, most_retries=MOST_WAITING)


def wait_replies(most_ms: int) -> list[EnvoyConfig]:
    """Return the owned listener's mappers: what the cap refuses has the mark while there is time for one more poll."""
    refused = error_reply(None, **NO_CAPACITY)
    marked = [*unanswered(), set_header(MAY_WAIT, "1")]
    has_time = f"{_OVERFLOW} && {waits_less_than((most_ms - _longest_poll_ms(most_ms)) / 1000)}"
    return [{**refused, "filter": expression(has_time), "headers_to_add": marked}, refused]


def _longest_poll_ms(most_ms: int) -> int:
    return max(1, min(_LONGEST_POLL_MS, most_ms // _FEWEST_POLLS))
