"""Streams whose prompt no own replica reads in time go to a hosted backend first (`hosted.overflow.longPrompts: Spill`).

    edge ── hosted listener ─► backend 0, 1, ...
       └─ next ── owned listener ── replicas

The edge knows a body's length before anybody has counted its tokens: by its content-length, which the filter that buffers requests sets
where a client did not. Only streams have a time to the first token; a plain answer promises none and stays the replicas'. What a hosted
backend refuses, however it says so, own replicas are asked: nothing fails that would not have failed there.
"""

from spillway.render.envoy.http import EnvoyConfig, all_of, expression, is_set, set_header
from spillway.render.envoy.metrics import counter, long_prompt_tokens, reported, stats_logger

MARK = "x-spillway-long-prompt"  # the edge's mark on such a request
REASON = "long_prompt"
# OpenAI's rule of thumb for English text. JSON around the prompt and escaped characters make it more, code and other scripts less: both
# ways it is an estimate, and the tokens that are billed are the reported ones.
BYTES_PER_TOKEN = 4
# What of a hosted backend's refusals is the client's elsewhere. Here own replicas come next, which may take what a hosted one does not.
REFUSED_STATUSES = (400, 404, 409, 413, 415, 422)
_ENDLESS = 1 << 62


def longer_than(tokens: int) -> EnvoyConfig:
    """Return a header matcher on bodies that are longer than so many tokens."""
    return {"name": "content-length", "range_match": {"start": tokens * BYTES_PER_TOKEN + 1, "end": _ENDLESS}}


def marked() -> EnvoyConfig:
    """Return the header that tells the second tier, the log and the metrics of it."""
    return set_header(MARK, "1")


def is_long() -> EnvoyConfig:
    """Return a header matcher on requests with the mark."""
    return is_set(MARK)


def is_not_long() -> EnvoyConfig:
    """Return a header matcher on requests without it."""
    return {"name": MARK, "present_match": False}


def long_prompt_logs() -> list[EnvoyConfig]:
    """Return the edge's loggers of such requests: how many and their tokens, by who answered, and that own replicas were not asked."""
    long: EnvoyConfig = {"header_filter": {"header": is_long()}}
    spilled = expression("!(response.headers['x-served-by'] in ['owned', 'none'])")
    return [
        stats_logger(long, counters=[counter("long_prompt_requests", fixed=1)]),
        stats_logger(all_of(long, reported()), counters=long_prompt_tokens()),
        stats_logger(all_of(long, spilled), counters=[counter("not_taken", fixed=1, tags={"flags": REASON, "code": "-"})]),
    ]
