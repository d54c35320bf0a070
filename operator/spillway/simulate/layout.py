"""What the kernel works on: flat structured arrays, which numba and plain numpy read alike, so that five million requests fit in memory."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spillway.simulate.trace import Floats, Whole

Records = NDArray[Any]  # a structured array; its fields are those of the dtype it was made with

NOBODY = -1  # no request, no replica
NEVER = 1 << 60  # a step that does not come

PENDING, OWNED, HOSTED, FAILED = 0, 1, 2, 3  # side
EMPTY, STARTING, READY, DRAINING, ENDED = 0, 1, 2, 3, 4  # state of a replica's place

# Latencies as Prometheus sees them: counts in buckets, here 8 % apart, the first ending at 1 ms and the last at 45 minutes.
BUCKET_GROWTH = 1.08
BUCKETS = 192
TTFT, INTER_TOKEN = 0, 1  # rows
PAUSING, HELD = 0, 1  # lines of a gateway: what waits a moment before it is spilled; what may not be, and waits for a replica

REQUEST = np.dtype(
    [
        ("arrival_s", "f8"),
        ("input", "i4"),
        ("output", "i4"),
        ("left", "i4"),  # prompt tokens still to be read; after a preemption, what was answered so far too
        ("made", "i4"),  # tokens answered, up to when it was last put into a batch
        ("next", "i4"),  # behind it in its queue
        ("chance", "u4"),  # breaks ties between replicas
        ("ttft_ms", "f4"),  # for a hosted one: what passed until it was sent there
        ("e2e_ms", "f4"),
        ("usd", "f4"),  # what it would cost at hosted
        ("gateway", "i2"),
        ("side", "u1"),
        ("hosted_answers", "u1"),  # whether hosted would answer it
    ],
    align=True,
)

REPLICA = np.dtype(
    [
        ("launched_s", "f8"),
        ("ready_s", "f8"),
        ("ended_s", "f8"),
        ("base_s", "f8"),  # when the steps that are planned began
        ("first_ms", "f8"),  # the first of them
        ("growth_ms", "f8"),  # what each takes more than the one before it
        ("planned", "i8"),  # how many: 0 idle, -1 between two steps
        ("clock", "i8"),  # steps made
        ("soonest", "i8"),  # clock at which the next request is answered
        ("kv", "i8"),  # tokens in the cache
        ("kv_decoding", "i8"),  # those of requests past their prompt
        ("reserved", "i8"),  # tokens of admitted prompts that are not read yet
        ("prompt", "i4"),  # prompt tokens in the planned step
        ("running", "i4"),
        ("decoding", "i4"),  # of them past their prompt: the first ones of the batch
        ("waiting", "i4"),
        ("head", "i4"),
        ("tail", "i4"),
        ("index", "i4"),
        ("state", "u1"),
    ],
    align=True,
)

GATE = np.dtype([("open", "i4")], align=True)  # a gateway: requests at replicas
LINE = np.dtype([("count", "i4"), ("head", "i4"), ("tail", "i4")], align=True)

SITE = np.dtype(
    [
        ("now_s", "f8"),
        ("pause_s", "f8"),
        ("hold_s", "f8"),  # from the arrival
        ("kv_ms", "f8"),  # per thousand tokens
        ("prompt_ms", "f8"),  # per token
        ("square_ms", "f8"),  # per million tokens squared
        ("most_usd_per_day", "f8"),
        ("day_usd", "f8"),
        ("day", "i8"),
        ("next", "i8"),  # request that arrives next
        ("kv_limit", "i8"),
        ("slots", "i4"),  # per replica, at the gateways' cap
        ("cap", "i4"),  # per gateway
        ("max_num_seqs", "i4"),
        ("max_queued", "i4"),
        ("longest_prompt", "i4"),  # that goes to own replicas first
        ("step_tokens", "i4"),
        ("most_pausing", "i4"),  # per gateway
        ("most_held", "i4"),  # per gateway
        ("pausing", "i4"),
        ("held", "i4"),
        ("ready", "i4"),
        ("serving", "i4"),  # ready or draining
        ("running", "i4"),
        ("waiting", "i4"),
        ("spills", "u1"),
    ],
    align=True,
)

# Sums since the start.
TOTALS = np.dtype(
    [
        (name, "f8")
        for name in (
            "arrivals",
            "spilled",
            "refused",
            "finished",
            "residence_s",
            "own_input",
            "own_output",
            "hosted_input",
            "hosted_output",
            "steps",
            "decoded",  # tokens of decoding requests: their number, summed over steps
            "prompted",  # prompt tokens
            "kv_steps",  # tokens in the cache, summed over steps
            "busy_s",
            "decoding_s",  # summed over what decodes in each step
            "serving_s",
            "running_s",
            "waiting_s",
            "preempted",
            "long",  # prompts that went to hosted first, and were taken: they are part of "spilled", "hosted_input" and "hosted_output"
            "long_input",
            "long_output",
        )
    ]
)


class World(NamedTuple):
    """All that the kernel changes. Rows of `batch` and `leaves` are replicas, columns places of the batch in order of admission."""

    requests: Records
    replicas: Records
    gates: Records
    lines: Records  # by PAUSING or HELD, and gateway
    site: Records  # one entry
    totals: Records  # one entry
    due_s: Floats  # per replica: when its planned steps end, or its start-up
    batch: NDArray[np.int32]  # requests
    leaves: Whole  # clock at which each is answered; NEVER while its prompt is read
    open_at: NDArray[np.int32]  # per gateway and replica: requests
    latency: Floats  # row TTFT or INTER_TOKEN, by bucket: own requests
    fixed_ms: Floats  # of a step with so many sequences
