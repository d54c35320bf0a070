"""A client of the gateway that looks at the clock."""

import asyncio
import json
import random
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import aiohttp
import numpy as np
from numpy.typing import NDArray

from spillway.simulate.layout import FAILED, HOSTED, OWNED
from spillway.simulate.trace import Floats, Trace
from tests.dataplane.decisions import SERVED

TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """One request as its client saw it."""

    sent_s: float
    ttft_ms: float  # NaN where it failed
    e2e_ms: float
    side: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A trace as it was really sent, and what came of it; arrays with one entry per request."""

    trace: Trace
    side: NDArray[np.uint8]
    ttft_ms: Floats
    e2e_ms: Floats
    late_s: float  # by which the client sent a request too late, at most


class Client:
    """HTTP to one gateway, a connection per request that is under way."""

    def __init__(self, url: str, *, token_ids: tuple[int, int], seed: int) -> None:
        self._token_ids = token_ids
        self._url, self._chance = f"{url}/v1/completions", random.Random(seed)
        self._clock = asyncio.get_running_loop().time

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30), timeout=timeout)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._session.close()

    async def ask(self, *, input_tokens: int, output_tokens: int) -> Timed:
        """Stream one answer of exactly so many tokens to a random prompt of exactly so many."""
        prompt = [self._chance.randint(*self._token_ids) for _ in range(input_tokens)]
        body = {"model": SERVED, "prompt": prompt, "max_tokens": output_tokens, "ignore_eos": True, "temperature": 0.0, "stream": True}
        data = json.dumps(body).encode()
        sent_s, first_s, tail = self._clock(), np.nan, b""
        async with self._session.post(self._url, data=data, headers={"content-type": "application/json"}) as response:
            async for part in response.content.iter_any():
                if np.isnan(first_s):
                    first_s = self._clock()
                tail = (tail + part)[-32:]
            served_by = response.headers.get("x-served-by", "")
            complete = response.status == 200 and tail.rstrip().endswith(b"[DONE]")
        side = FAILED if not complete else OWNED if served_by == "owned" else HOSTED
        return Timed(sent_s=sent_s, ttft_ms=(first_s - sent_s) * 1e3, e2e_ms=(self._clock() - sent_s) * 1e3, side=side)

    async def ask_on(self, *, input_tokens: int, output_tokens: int, until: asyncio.Event) -> list[Timed]:
        """Ask again as soon as there is an answer."""
        answered = []
        while not until.is_set():
            answered.append(await self.ask(input_tokens=input_tokens, output_tokens=output_tokens))
        return answered

    async def replay(self, trace: Trace) -> Measured:
        """Send a trace's requests when they come, whatever has become of those before."""
        begun_s = self._clock() + 0.1
        tasks, late_s = [], 0.0
        lengths = zip(trace.arrival_s.tolist(), trace.input_tokens.tolist(), trace.output_tokens.tolist(), strict=True)
        for arrival_s, prompt, answer in lengths:
            wait_s = begun_s + arrival_s - self._clock()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            tasks.append(asyncio.create_task(self.ask(input_tokens=prompt, output_tokens=answer)))
            late_s = max(late_s, self._clock() - begun_s - arrival_s)
        found = await asyncio.gather(*tasks)
        sent = Trace(
            name=trace.name,
            arrival_s=np.array([each.sent_s - begun_s for each in found]),
            input_tokens=trace.input_tokens,
            output_tokens=trace.output_tokens,
            duration_s=trace.duration_s,
        )
        return Measured(
            trace=sent,
            side=np.array([each.side for each in found], dtype=np.uint8),
            ttft_ms=np.array([each.ttft_ms if each.side != FAILED else np.nan for each in found]),
            e2e_ms=np.array([each.e2e_ms for each in found]),
            late_s=late_s,
        )
