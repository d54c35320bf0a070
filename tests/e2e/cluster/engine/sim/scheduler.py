"""The engine: continuous batching in slept time.

Each step takes what vLLM's takes: one token of every running sequence, and prompt tokens of new ones as far as the step's
token budget goes. Its length is a straight line in both (knobs.py).
"""

import asyncio
import collections
import random
import time
from dataclasses import dataclass, field
from typing import Literal

from .knobs import Knobs
from .metrics import Metrics

ELSEWHERE = " Please try again later or on a different instance."
Finish = Literal["stop", "length", "abort", "error"]


class RefusedError(Exception):
    """A request that a queue limit keeps out."""


@dataclass(kw_only=True, eq=False)
class Sequence:
    """One generation from arrival to end. `tokens` yields each token's text, then None."""

    prompt_tokens: int
    max_tokens: int
    ignore_eos: bool
    arrived: float = field(default_factory=time.monotonic)
    started: float = 0.0
    first_token: float = 0.0
    last_token: float = 0.0
    prefilled: int = 0
    generated: int = 0
    finish: Finish | None = None
    tokens: asyncio.Queue[str | None] = field(default_factory=asyncio.Queue)


@dataclass(kw_only=True, frozen=True)
class Limits:
    """The engine's options."""

    sequences: int
    batched_tokens: int
    queued_requests: int | None
    queued_tokens: int | None


class Scheduler:
    """Runs sequences in the order in which they came."""

    def __init__(self, limits: Limits, knobs: Knobs, metrics: Metrics) -> None:
        self.running: list[Sequence] = []
        self.waiting: collections.deque[Sequence] = collections.deque()
        self.closed = False
        self._limits, self._knobs, self._metrics = limits, knobs, metrics
        self._random = random.Random(knobs.seed)
        self._work = asyncio.Event()

    def check(self) -> None:
        """Refuse one more sequence by the rules of vLLM's check_admission."""
        limits = self._limits
        if limits.queued_requests is not None and len(self.running) + len(self.waiting) + 1 > limits.queued_requests:
            self._metrics.add("admission_rejections_total", 1, reason="max_num_queued_reqs")
            raise RefusedError("The engine is currently busy and cannot accept new requests." + ELSEWHERE)
        # A prompt counts in full until its prefill is done.
        backlog = sum(s.prompt_tokens for s in (*self.running, *self.waiting) if s.prefilled < s.prompt_tokens)
        if limits.queued_tokens is not None and backlog >= limits.queued_tokens:
            self._metrics.add("admission_rejections_total", 1, reason="max_num_queued_tokens")
            raise RefusedError("The engine has reached its prefill token backlog limit." + ELSEWHERE)

    def submit(self, sequence: Sequence) -> None:
        """Queue a sequence, or refuse it."""
        self.check()
        self.waiting.append(sequence)
        self._metrics.add("prefix_cache_queries_total", sequence.prompt_tokens)
        self._gauges()
        self._work.set()

    def abort(self, sequence: Sequence) -> None:
        """End a sequence whose client has gone."""
        if sequence.finish is None:
            self._end(sequence, "abort")

    def fail_all(self) -> None:
        """End everything with an error, as a shutdown does that waits no longer."""
        for sequence in (*self.running, *self.waiting):
            self._end(sequence, "error")

    async def run(self) -> None:
        """Step for ever."""
        while True:
            if not self.running and not self.waiting:
                self._work.clear()
                await self._work.wait()
            await self._step()

    async def _step(self) -> None:
        self._admit()
        batch = list(self.running)
        budget = self._limits.batched_tokens - sum(1 for s in batch if s.prefilled >= s.prompt_tokens)
        prefill = 0
        for sequence in batch:
            chunk = max(0, min(sequence.prompt_tokens - sequence.prefilled, budget - prefill))
            sequence.prefilled += chunk
            prefill += chunk
        knobs = self._knobs
        seconds = (knobs.step_ms + knobs.per_seq_ms * len(batch)) / 1000 + prefill / knobs.prefill_tokens_per_s
        await asyncio.sleep(seconds * (1 + knobs.jitter * self._random.uniform(-1, 1)))
        produced = [s for s in batch if s.finish is None and s.prefilled >= s.prompt_tokens]
        for sequence in produced:
            self._token(sequence)
        self._metrics.observe("iteration_tokens_total", prefill + len(produced))
        self._metrics.add("prompt_tokens_total", prefill)
        self._metrics.add("prompt_tokens_by_source_total", prefill, source="local_compute")
        self._gauges()

    def _admit(self) -> None:
        while self.waiting and len(self.running) < self._limits.sequences and self._held() < self._knobs.kv_tokens:
            sequence = self.waiting.popleft()
            sequence.started = time.monotonic()
            self.running.append(sequence)
        self._gauges()

    def _held(self) -> int:
        return sum(s.prompt_tokens + s.generated for s in self.running)

    def _token(self, sequence: Sequence) -> None:
        now = time.monotonic()
        if sequence.generated == 0:
            sequence.first_token = now
            self._metrics.observe("time_to_first_token_seconds", now - sequence.arrived)
        else:
            self._metrics.observe("inter_token_latency_seconds", now - sequence.last_token)
        sequence.last_token = now
        sequence.generated += 1
        self._metrics.add("generation_tokens_total", 1)
        sequence.tokens.put_nowait(f" w{sequence.generated}")
        own_end = self._knobs.output_tokens
        if sequence.generated >= sequence.max_tokens:
            self._end(sequence, "length")
        elif own_end and not sequence.ignore_eos and sequence.generated >= own_end:
            self._end(sequence, "stop")

    def _end(self, sequence: Sequence, finish: Finish) -> None:
        sequence.finish = finish
        if sequence in self.running:
            self.running.remove(sequence)
        else:
            self.waiting.remove(sequence)
        sequence.tokens.put_nowait(None)
        self._metrics.finished(sequence)
        self._gauges()

    def _gauges(self) -> None:
        full = self._held() >= self._knobs.kv_tokens or len(self.running) >= self._limits.sequences
        waiting = len(self.waiting)
        self._metrics.set("num_requests_running", len(self.running))
        self._metrics.set("num_requests_waiting", waiting)
        self._metrics.set("num_requests_waiting_by_reason", waiting if full else 0, reason="capacity")
        self._metrics.set("num_requests_waiting_by_reason", 0 if full else waiting, reason="deferred")
        self._metrics.set("kv_cache_usage_perc", min(1.0, self._held() / self._knobs.kv_tokens))
