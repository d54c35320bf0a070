"""The step model of the engine on this machine, by least squares on its own counters, read as production reads them.

First lone requests, short and long: their prefill says what a prompt costs, the rest of their wait for the first token is what HTTP, the
gateway and tokenization take, and their gaps are the step of one. With the rough engine that these make, traffic of the replay's kind,
drawn anew, is sent through the gateway, and every few seconds the counters give a mean step (observe/queries.py): the mean gap between
tokens, the tokens made per step, the prompt tokens per step, of which a gap has those of the other requests. Production learns so, too.
"""

import asyncio
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.reality.client import Client, Measured
from benchmarks.reality.stage import Stage
from spillway.plan.replica.roofline import StepModel
from spillway.simulate.trace import Floats, Trace

SETTLE_S = 1.0
WINDOW_S = 5.0
FEWEST_STEPS = 20  # of a window that says something


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One mean step."""

    sequences: float
    kv_tokens: float
    prompt_tokens: float
    step_ms: float

    @property
    def terms(self) -> tuple[float, float, float, float]:
        """Return what the coefficients a, b, c and delta are multiplied by."""
        return 1.0, self.sequences, self.kv_tokens / 1e3, self.prompt_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """The engine as it was found."""

    step: StepModel  # without STEP_OVERHEAD_MS apart: it is in the base
    request_overhead_ms: float
    lone: tuple[Point, ...]  # what it is fitted to: requests with no other beside them,
    windows: tuple[Point, ...]  # and windows of traffic
    error: float  # median of |fitted / measured - 1| over all of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Lone:
    """What requests with no other beside them have shown."""

    points: tuple[Point, ...]  # of their steps and of their prefills
    overhead_ms: float  # of a request, beside its own prefill

    @property
    def rough(self) -> Fit:
        """Return an engine whose steps take as long with several requests as with one, but for their prompts."""
        return fitted(self.points, (), request_overhead_ms=self.overhead_ms)


async def asked_alone(stage: Stage, client: Client, lengths: Sequence[tuple[int, int]], *, cell_s: float) -> Lone:
    """Send one request after another, of each of these lengths (prompt and answer tokens) for so long."""
    points: list[Point] = []
    overheads_ms: list[float] = []
    for input_tokens, output_tokens in lengths:
        over = asyncio.Event()
        loop = asyncio.create_task(client.ask_on(input_tokens=input_tokens, output_tokens=output_tokens, until=over))
        await asyncio.sleep(SETTLE_S)
        before = await stage.counters()
        await asyncio.sleep(cell_s)
        counted = difference(before, await stage.counters())
        over.set()
        answers = await loop
        points.append(decoding_point(counted, input_tokens=input_tokens, output_tokens=output_tokens))
        prefill_ms = counted["vllm:request_prefill_time_seconds_sum"] / counted["vllm:request_prefill_time_seconds_count"] * 1e3
        points.append(Point(sequences=1.0, kv_tokens=0.0, prompt_tokens=float(input_tokens), step_ms=prefill_ms))
        overheads_ms.append(max(0.0, statistics.fmean(each.ttft_ms for each in answers) - prefill_ms))
    return Lone(points=tuple(points), overhead_ms=statistics.median(overheads_ms))


async def replayed(stage: Stage, client: Client, trace: Trace) -> tuple[Measured, tuple[Point, ...]]:
    """Send traffic and return what became of it, and the mean steps of its windows."""
    points: list[Point] = []
    lengths = {"input_tokens": float(trace.input_tokens.mean()), "output_tokens": float(trace.output_tokens.mean())}
    replay = asyncio.create_task(client.replay(trace))
    before = await stage.counters()
    while not replay.done():
        await asyncio.wait([replay], timeout=WINDOW_S)
        after = await stage.counters()
        counted = difference(before, after)
        if counted["vllm:iteration_tokens_total_count"] >= FEWEST_STEPS:
            points.append(decoding_point(counted, **lengths))
        before = after
    return await replay, tuple(points)


def decoding_point(counted: Mapping[str, float], *, input_tokens: float, output_tokens: float) -> Point:
    """Return the mean step of requests of these mean lengths that decode, as plan/replica/measuring.py takes it from the same counters."""
    steps = counted["vllm:iteration_tokens_total_count"]
    batch = max(1.0, counted["vllm:generation_tokens_total"] / steps)
    others = (batch - 1) / batch * counted["vllm:prompt_tokens_total"] / steps
    return Point(
        sequences=batch,
        kv_tokens=batch * (input_tokens + output_tokens / 2),
        prompt_tokens=others,
        step_ms=counted["vllm:inter_token_latency_seconds_sum"] / counted["vllm:inter_token_latency_seconds_count"] * 1e3,
    )


def slowdown(step: StepModel, windows: Sequence[Point]) -> float:
    """Return how much longer a step took than the fit has it: the median over windows, in each of which the load is about the same."""
    return statistics.median(
        each.step_ms / step.step_ms(sequences=each.sequences, kv_tokens=each.kv_tokens, prompt_tokens=each.prompt_tokens)
        for each in windows
    )


def fitted(lone: tuple[Point, ...], windows: tuple[Point, ...], *, request_overhead_ms: float) -> Fit:
    """Return the least squares of relative errors with no coefficient below zero: one that would be is left out."""
    points = (*lone, *windows)
    terms = np.array([each.terms for each in points])
    took = np.array([each.step_ms for each in points])
    coefficients = _non_negative(terms / took[:, None])
    base, sequence, cache, prompt = map(float, coefficients)
    return Fit(
        step=StepModel(base_ms=base, experts_ms=0.0, expert_share=1.0, sequence_ms=sequence, kv_ms=cache, prompt_ms=prompt, square_ms=0.0),
        request_overhead_ms=request_overhead_ms,
        lone=lone,
        windows=windows,
        error=float(np.median(np.abs(terms @ coefficients / took - 1))),
    )


def _non_negative(shares: Floats) -> Floats:
    found, kept = np.zeros(shares.shape[1]), np.ones(shares.shape[1], dtype=bool)
    while True:
        found[:] = 0.0
        found[kept] = np.linalg.lstsq(shares[:, kept], np.ones(len(shares)), rcond=None)[0]
        if (found >= 0).all():
            return found
        kept &= found > 0


def difference(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Return by how much counters have grown."""
    return {name: value - before.get(name, 0.0) for name, value in after.items()}
