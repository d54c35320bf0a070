"""What the one replica of the operator does that acts: everything that writes, for as long as the Lease is held."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from spillway.apply.connection import ApiError
from spillway.apply.lease import REFUSED, Lease

logger = logging.getLogger(__name__)

RETRY_S = 2.0


class LeadingEndedError(Exception):
    """A task that must run for as long as this process leads has ended, or the Lease is lost: the process has to end, too."""


@dataclass(slots=True, kw_only=True)
class Leading:
    """Waits for the Lease, prepares, works. It ends only by an exception: `run` never returns."""

    lease: Lease
    prepare: Callable[[], Awaitable[None]]
    tasks: Callable[[], dict[str, Coroutine[Any, Any, None]]]
    fit: Callable[[], bool]
    retry_s: float = RETRY_S
    prepared: bool = field(default=False)

    async def run(self) -> None:
        """Lead until something ends."""
        await self.lease.acquire()
        async with asyncio.TaskGroup() as group:
            # Renewing starts at once and is supervised like everything else: none of these may end alone.
            group.create_task(_endless("the Lease", self.lease.keep(self.fit)))
            await self._prepare()
            self.prepared = True
            for name, task in self.tasks().items():
                group.create_task(_endless(name, task), name=name)

    async def _prepare(self) -> None:
        """Prepare, however often the API server fails meanwhile: whoever led next would have to ask it the same."""
        while True:
            try:
                return await self.prepare()
            except ApiError as problem:
                if problem.status in REFUSED:
                    raise
                logger.warning("not in sync with the cluster yet: %s", problem)
            await asyncio.sleep(self.retry_s)


async def _endless(name: str, task: Coroutine[Any, Any, None]) -> None:
    # A task of its own: a group takes no notice when one of its tasks is cancelled by something else.
    inner = asyncio.create_task(task, name=name)
    try:
        await asyncio.wait({inner})
    except asyncio.CancelledError:
        inner.cancel()
        await asyncio.wait({inner})
        raise
    problem = None if inner.cancelled() else inner.exception()
    raise problem or LeadingEndedError(f"{name} has ended")
