"""Whether a replica keeps what its plan promises, and ends without cutting a stream: asked at the engine itself, without a gateway."""

import asyncio
import os
import signal
from dataclasses import dataclass

import numpy as np

from benchmarks.reality.client import Client
from benchmarks.reality.lab import Lab
from benchmarks.reality.traffic import arriving
from spillway.simulate.layout import FAILED
from spillway.simulate.run import inter_token_ms

SETTLED_S = 10.0  # from when on answers count
STREAMS = 40
UNDER_WAY_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What requests saw at the rate that the plan allows a replica."""

    requests_per_s: float
    requests: int
    failed: int
    ttft_p50_ms: float
    ttft_p95_ms: float
    ttft_p99_ms: float
    gap_p50_ms: float  # of the mean gaps of streams
    gap_p95_ms: float
    gap_p99_ms: float
    met_percent: float  # of requests that met both targets
    late_ms: float  # by which one was sent too late, at most


async def kept(url: str, lab: Lab, *, requests_per_s: float, duration_s: float, seed: int) -> Promise:
    """Send Poisson arrivals of the lab's lengths at this rate and say what became of them."""
    trace = arriving(lab, "steady", [(duration_s, requests_per_s)], seed=seed)
    async with Client(url, token_ids=lab.token_ids, seed=seed) as client:
        found = await client.replay(trace)
    counted = found.trace.arrival_s >= SETTLED_S
    ttft = found.ttft_ms[counted]
    gaps = inter_token_ms(found.ttft_ms, found.e2e_ms, trace.output_tokens, found.side)[counted]
    targets = lab.limits.targets
    assert targets.ttft_ms
    assert targets.inter_token_ms
    quantiles = {f"{name}_p{percent}_ms": float(np.nanpercentile(values, percent))
                 for name, values in (("ttft", ttft), ("gap", gaps)) for percent in (50, 95, 99)}  # fmt: skip
    return Promise(
        requests_per_s=requests_per_s,
        requests=int(counted.sum()),
        failed=int((found.side[counted] == FAILED).sum()),
        met_percent=float(((ttft <= targets.ttft_ms) & (gaps <= targets.inter_token_ms)).mean() * 100),
        late_ms=found.late_s * 1e3,
        **quantiles,
    )


async def drained(url: str, pid: int, lab: Lab, *, seed: int) -> int:
    """Send SIGTERM while streams are under way; return how many of STREAMS were answered whole."""
    async with Client(url, token_ids=lab.token_ids, seed=seed) as client:
        longest = lab.output_tokens[1]
        streams = [asyncio.create_task(client.ask(input_tokens=lab.input_tokens[0], output_tokens=longest)) for _ in range(STREAMS)]
        await asyncio.sleep(UNDER_WAY_S)
        os.kill(pid, signal.SIGTERM)
        answers = await asyncio.gather(*streams, return_exceptions=True)
    return sum(1 for each in answers if not isinstance(each, BaseException) and each.side != FAILED)
