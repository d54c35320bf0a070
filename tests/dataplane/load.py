"""Clients that go on asking while things break, and judge every answer."""

import asyncio
import json
from types import TracebackType
from typing import Self

import aiohttp

from tests.dataplane.client import Answer, Client
from tests.dataplane.process import until
from tests.dataplane.reliability import Tally

TEXT = "hello"  # what the fakes answer; anything less is not an answer
_PATIENCE_S = 60.0


class Load:
    """A closed loop: each worker asks again when it has an answer, plain and streamed by turns."""

    def __init__(self, client: Client, *, workers: int = 8, pause_s: float = 0.01) -> None:
        self.tally = Tally()
        self._client = client
        self._pause_s = pause_s
        self._over = asyncio.Event()
        self.workers = workers
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._work(place)) for place in range(self.workers)]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            await self.finish()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def finish(self) -> None:
        """Ask nothing more, and wait for the answers to come."""
        self._over.set()
        await asyncio.gather(*self._tasks)

    async def more(self, outcome: str, count: int) -> None:
        """Wait until this outcome, or `sent`, has been seen so many times more."""
        wanted = getattr(self.tally, outcome) + count
        await until(lambda: getattr(self.tally, outcome) >= wanted, f"{count} more {outcome}: {self.tally}", patience_s=_PATIENCE_S)

    async def _work(self, place: int) -> None:
        stream = place % 2 == 0
        while not self._over.is_set():
            await ask(self._client, self.tally, stream=stream)
            stream = not stream
            await asyncio.sleep(self._pause_s)  # a client's pace, not a wait for something


async def ask(client: Client, tally: Tally, *, stream: bool) -> None:
    """Send one request and count what became of it."""
    try:
        answer = await client.post(stream=stream)
    except (aiohttp.ClientError, TimeoutError, ConnectionError) as cut:
        tally.lost += 1
        tally.note(type(cut).__name__)
        return
    judge(answer, tally, stream=stream)


def judge(answer: Answer, tally: Tally, *, stream: bool) -> None:
    """Count an answer that came to an end: as whole only if all of its text is there."""
    if answer.status == 200 and _text(answer, stream=stream) == TEXT:
        if answer.served_by == "owned":
            tally.owned += 1
        else:
            tally.spilled += 1
        return
    error = _error(answer)
    if error is None:
        tally.lost += 1
        tally.note(f"{answer.status} {answer.body[-40:]!r}")
    else:
        tally.failed += 1
        tally.note(f"{answer.status} {error}")


def _text(answer: Answer, *, stream: bool) -> str | None:
    if not stream:
        return str(answer.json["choices"][0]["message"]["content"])
    if not answer.events or answer.events[-1] != "[DONE]":
        return None
    chunks = [json.loads(each) for each in answer.events[:-1]]
    return "".join(choice["delta"]["content"] for chunk in chunks for choice in chunk["choices"])


def _error(answer: Answer) -> str | None:
    """Return the code of an OpenAI-style error, or None where the answer is none. A provider's own words are never one."""
    try:
        body = json.loads(answer.events[-1] if answer.status == 200 else answer.body)
        code = str(body["error"]["code"])
    except (ValueError, KeyError, TypeError, IndexError):
        return None
    return None if b"secret" in answer.body else code
