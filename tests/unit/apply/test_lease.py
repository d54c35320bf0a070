"""The Lease against an API server in memory that has only what matters here: conflicts."""

import asyncio
import copy
from typing import Any

import pytest

from spillway.apply.applier import NotLeadingError
from spillway.apply.connection import CONFLICT, NOT_FOUND, ApiError
from spillway.apply.lease import Lease


class OneLease:
    """Stands for the connection: one Lease with optimistic concurrency."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.version = 0
        self.down = False

    async def request(self, method: str, path: str, body: Any = None, *, timeout_s: float = 15) -> Any:
        del path, timeout_s
        await asyncio.sleep(0)
        if self.down:
            raise ApiError(0, "down")
        if method == "GET":
            if self.lease is None:
                raise ApiError(NOT_FOUND, "not found")
            return copy.deepcopy(self.lease)
        seen = body["metadata"].get("resourceVersion")
        if (method == "POST") != (self.lease is None) or (self.lease is not None and seen != str(self.version)):
            raise ApiError(CONFLICT, "conflict")
        self.version += 1
        self.lease = copy.deepcopy(body)
        self.lease["metadata"]["resourceVersion"] = str(self.version)
        return copy.deepcopy(self.lease)


def lease_of(server: OneLease, identity: str, duration_s: float = 0.6) -> Lease:
    return Lease(server, namespace="ns", name="lease", identity=identity, duration_s=duration_s)  # type: ignore[arg-type]  # the seam


async def test_one_of_two_gets_it_and_the_other_waits() -> None:
    server = OneLease()
    first, second = lease_of(server, "a", 15), lease_of(server, "b", 15)
    await first.acquire()
    waiting = asyncio.create_task(second.acquire())
    await asyncio.sleep(0.05)
    assert first.held
    assert not waiting.done()
    with pytest.raises(NotLeadingError):
        second.fence()
    waiting.cancel()


async def test_a_released_lease_is_taken_at_the_next_look() -> None:
    server = OneLease()
    first, second = lease_of(server, "a", 15), lease_of(server, "b", 15)
    await first.acquire()
    await first.release()
    with pytest.raises(NotLeadingError):
        first.fence()
    async with asyncio.timeout(1):
        await second.acquire()
    assert second.held


async def test_keeps_it_while_fit_and_lets_it_go_when_not() -> None:
    server = OneLease()
    lease = lease_of(server, "a")
    await lease.acquire()
    fit = True
    keeping = asyncio.create_task(lease.keep(lambda: fit))
    await asyncio.sleep(1.0)  # longer than the Lease lasts without renewal
    assert lease.held
    assert not keeping.done()
    fit = False
    async with asyncio.timeout(1):
        await keeping


async def test_stops_when_another_has_taken_it() -> None:
    server = OneLease()
    lease = lease_of(server, "a")
    await lease.acquire()
    keeping = asyncio.create_task(lease.keep(lambda: True))
    await asyncio.sleep(0)
    assert server.lease is not None
    server.lease["spec"]["holderIdentity"] = "b"
    server.version += 1
    server.lease["metadata"]["resourceVersion"] = str(server.version)
    async with asyncio.timeout(2):
        await keeping
    assert not lease.held


async def test_stops_by_itself_when_the_api_server_is_gone_for_too_long() -> None:
    server = OneLease()
    lease = lease_of(server, "a")
    await lease.acquire()
    server.down = True
    async with asyncio.timeout(2):
        await lease.keep(lambda: True)
    with pytest.raises(NotLeadingError):
        lease.fence()
