"""Room for requests that wait for a replica: how many bytes, and who gives way (`gateway.hold.maxMiB`, `lowPriorityPercent`).

A breaker for retries bounds their number, for all threads of a gateway. What Envoy has no breaker for, a script in front of the replicas
keeps (room.lua): it sees each refusal that may wait, and takes the mark off those that there is no room for. Threads share nothing, so each
has its part. A client can only lower its own priority, so that header needs no trust.
"""

from spillway.api.gateway import Gateway
from spillway.api.holding import Hold
from spillway.plan.gateway.permit import WORKERS
from spillway.render.envoy.hold import most_held
from spillway.render.envoy.http import EnvoyConfig, lua, set_header
from spillway.render.envoy.metrics import counter, has_metadata, stats_logger

PRIORITY = "x-spillway-priority"  # a client's header: "low" gives way to others
TICKET = "x-spillway-ticket"  # the edge's mark: which request asks again
_METADATA = "room"
_MIB = 1024 * 1024


def is_bounded(hold: Hold) -> bool:
    """Whether more than their number bounds the requests that wait."""
    return hold.max_mib is not None or hold.low_priority_percent is not None


def ticket() -> EnvoyConfig:
    """Return the header by which a request is known when it asks again; a client's own x-request-id need not be unique."""
    return set_header(TICKET, "%UNIQUE_ID%")


def room_filter(gateway: Gateway, hold: Hold) -> EnvoyConfig:
    """Return the second tier's filter that lets no more wait than there is room for."""
    parts = gateway.most_replicas * WORKERS
    most_bytes = None if hold.max_mib is None else hold.max_mib * _MIB / parts
    share = None if hold.low_priority_percent is None else hold.low_priority_percent / 100
    low_requests = None if share is None else share * most_held(gateway, hold) / WORKERS
    low_bytes = None if share is None or most_bytes is None else share * most_bytes
    numbers = ", ".join("nil" if each is None else f"{each:.10g}" for each in (most_bytes, low_requests, low_bytes))
    return lua("room", above=f"local MOST_BYTES, LOW_REQUESTS, LOW_BYTES = {numbers}\n")


def not_held() -> EnvoyConfig:
    """Return the logger of what was turned away for want of room, and why: bytes, or priority."""
    why = {"why": f"%DYNAMIC_METADATA({_METADATA}:turned_away)%"}
    return stats_logger(has_metadata(_METADATA, "turned_away"), counters=[counter("not_held", fixed=1, tags=why)])
