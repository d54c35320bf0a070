"""Real traffic with the OpenAI client: each answer says who served it, whether it was whole, and how long it took.

The client's own retries are off, so that a failure is seen as one.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import httpx2
import openai

PROMPT = "Tell the quick brown fox to scale the replicas."
REQUEST_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One request as the client saw it. `error` is None when the answer was whole."""

    served_by: str
    error: str | None
    tokens: int  # content chunks of a stream, completion tokens otherwise
    started_at: float  # time.monotonic()
    first_token_s: float | None
    duration_s: float


@dataclass(slots=True)
class Tally:
    """All answers so far."""

    answers: list[Answer] = field(default_factory=list)

    @property
    def served_by(self) -> Counter[str]:
        """Whole answers by who served them: "owned" or "<provider>/<model>"."""
        return Counter(a.served_by for a in self.answers if a.error is None)

    @property
    def failed(self) -> list[Answer]:
        """Answers that were not whole."""
        return [a for a in self.answers if a.error is not None]

    @property
    def owned(self) -> int:
        """Whole answers of own replicas."""
        return self.served_by["owned"]

    @property
    def hosted(self) -> int:
        """Whole answers of hosted backends."""
        return sum(count for who, count in self.served_by.items() if who not in {"owned", "none"})

    def since(self, moment: float) -> "Tally":
        """Return the answers that were complete after a moment of time.monotonic()."""
        return Tally([a for a in self.answers if a.started_at + a.duration_s >= moment])


def client_for(url: str) -> openai.AsyncOpenAI:
    """Return an OpenAI client for a base URL that ends in /v1. It sends a key of its own, which must never leave the cluster."""
    return openai.AsyncOpenAI(
        base_url=url,
        api_key="the-clients-own-key",
        max_retries=0,
        timeout=REQUEST_TIMEOUT_S,
    )


async def ask(client: openai.AsyncOpenAI, model: str, *, max_tokens: int = 32, stream: bool = True) -> Answer:
    """Send one chat completion of exactly `max_tokens` tokens and read its answer to the end. Never raises for a failed request."""
    started = time.monotonic()
    first: float | None = None
    served_by, tokens, error = "none", 0, None
    try:
        raw = await client.chat.completions.with_raw_response.create(
            model=model,
            messages=[{"role": "user", "content": PROMPT}],
            max_tokens=max_tokens,
            stream=stream,
            extra_body={"ignore_eos": True},
        )
        served_by = raw.headers.get("x-served-by", "unknown")
        parsed = raw.parse()
        if isinstance(parsed, openai.AsyncStream):
            finished = False
            async for chunk in parsed:
                if first is None:
                    first = time.monotonic() - started
                for choice in chunk.choices:
                    tokens += 1
                    finished = finished or choice.finish_reason is not None
            if not finished:
                error = "cut: the stream ended without a finish_reason"
        else:
            tokens = parsed.usage.completion_tokens if parsed.usage else 0
    except openai.APIStatusError as refused:
        error = f"{refused.status_code}: {refused.message}"
        served_by = refused.response.headers.get("x-served-by", "none")
    except (openai.APIError, httpx2.HTTPError) as trouble:
        error = f"{type(trouble).__name__}: {trouble}"
    return Answer(
        served_by=served_by, error=error, tokens=tokens, started_at=started, first_token_s=first, duration_s=time.monotonic() - started
    )


async def burst(url: str, model: str, count: int, *, max_tokens: int) -> Tally:
    """Send `count` streams at once and wait for all of them."""
    async with client_for(url) as client:
        return Tally(list(await asyncio.gather(*(ask(client, model, max_tokens=max_tokens) for _ in range(count)))))


class Load:
    """A closed loop that keeps a number of streams open; the number can change while it runs.

    Use as an async context manager; leaving it waits for the open streams.
    """

    def __init__(self, url: str, model: str, *, max_tokens: int) -> None:
        self.tally = Tally()
        self.open = 0
        self._url, self._model, self._max_tokens = url, model, max_tokens
        self._workers: list[asyncio.Task[None]] = []
        self._wanted = 0
        self._pause_s = 0.0
        self._client: openai.AsyncOpenAI | None = None

    def hold(self, streams: int, *, pause_s: float = 0.0) -> None:
        """Keep this many streams open from now on, each followed by a pause. Streams above a lowered number end by themselves."""
        self._wanted, self._pause_s = streams, pause_s
        self._workers = [w for w in self._workers if not w.done()]
        self._workers += [asyncio.create_task(self._work(i)) for i in range(len(self._workers), streams)]

    async def _work(self, index: int) -> None:
        if self._client is None:
            raise RuntimeError("use Load as an async context manager")
        while index < self._wanted:
            self.open += 1
            try:
                self.tally.answers.append(await ask(self._client, self._model, max_tokens=self._max_tokens))
            finally:
                self.open -= 1
            await asyncio.sleep(self._pause_s)

    async def __aenter__(self) -> Self:
        self._client = client_for(self._url)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._wanted = 0
        await asyncio.gather(*self._workers)
        if self._client is not None:
            await self._client.close()


def describe(failed: Sequence[Answer]) -> str:
    """Return the distinct errors of failed answers, for an assertion's message."""
    return "; ".join(f"{count} of {error}" for error, count in Counter(a.error for a in failed).most_common(5))
