"""The Lease against an API server in memory that has only what matters here: conflicts. Time passes by hand."""

import asyncio
import copy
from typing import Any

import pytest

from spillway.apply.applier import NotLeadingError
from spillway.apply.connection import CONFLICT, NOT_FOUND, ApiError
from spillway.apply.lease import SURE_SHARE, Lease

DURATION_S = 12.0


class OneLease:
    """Stands for the connection: one Lease with optimistic concurrency."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.version = 0
        self.down = False
        self.refused: int | None = None

    async def request(self, method: str, path: str, body: Any = None, *, timeout_s: float = 15) -> Any:
        del path, timeout_s
        await asyncio.sleep(0)
        if self.down:
            raise ApiError(0, "down")
        if self.refused is not None:
            raise ApiError(self.refused, "no")
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

    def taken_by(self, identity: str) -> None:
        """Let somebody else write it."""
        assert self.lease is not None
        self.lease["spec"]["holderIdentity"] = identity
        self.version += 1
        self.lease["metadata"]["resourceVersion"] = str(self.version)


class Clock:
    """Time that passes only when `pass_by` says so; who sleeps wakes up in the order of the alarms."""

    def __init__(self) -> None:
        self.now = 0.0
        self._alarms: list[tuple[float, asyncio.Event]] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        alarm = (self.now + seconds, asyncio.Event())
        self._alarms.append(alarm)
        await alarm[1].wait()

    async def pass_by(self, seconds: float) -> None:
        """Let this much time pass, and everybody do what is due meanwhile."""
        end = self.now + seconds
        await settled()
        while due := [each for each in self._alarms if each[0] <= end]:
            alarm = min(due, key=lambda each: each[0])
            self._alarms.remove(alarm)
            self.now = alarm[0]
            alarm[1].set()
            await settled()
        self.now = end


async def settled() -> None:
    """Let every task go on until it waits for time; a look at the Lease and a write take fewer steps than these."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
def server() -> OneLease:
    return OneLease()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def lease_of(server: OneLease, clock: Clock, identity: str) -> Lease:
    return Lease(
        server,  # type: ignore[arg-type]  # the seam
        namespace="ns",
        name="lease",
        identity=identity,
        duration_s=DURATION_S,
        clock=clock,
        sleep=clock.sleep,
    )


async def test_one_of_two_gets_it_and_the_other_waits(server: OneLease, clock: Clock) -> None:
    first, second = lease_of(server, clock, "a"), lease_of(server, clock, "b")
    await first.acquire()
    waiting = asyncio.create_task(second.acquire())
    await clock.pass_by(5)
    assert first.held
    assert not waiting.done()
    with pytest.raises(NotLeadingError):
        second.fence()
    waiting.cancel()


async def test_a_holder_that_is_gone_is_followed_once_its_lease_has_run_out(server: OneLease, clock: Clock) -> None:
    first, second = lease_of(server, clock, "a"), lease_of(server, clock, "b")
    await first.acquire()
    waiting = asyncio.create_task(second.acquire())
    await clock.pass_by(DURATION_S)
    assert not waiting.done()
    await clock.pass_by(2)  # the next look
    assert waiting.done()
    assert second.held
    assert not first.held


@pytest.mark.parametrize("status", [401, 403])
async def test_who_may_not_have_it_does_not_wait_for_it(server: OneLease, clock: Clock, status: int) -> None:
    server.refused = status
    with pytest.raises(ApiError, match=f"{status}: no"):
        await lease_of(server, clock, "a").acquire()


@pytest.mark.parametrize("status", [401, 403])
async def test_who_waits_for_it_outlasts_an_api_server_that_knows_nobody_for_a_while_and_says_so_once(
    server: OneLease, clock: Clock, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    first, second = lease_of(server, clock, "a"), lease_of(server, clock, "b")
    await first.acquire()
    waiting = asyncio.create_task(second.acquire())
    await clock.pass_by(5)
    server.refused = status
    await clock.pass_by(10)
    assert not waiting.done()
    assert [each.getMessage() for each in caplog.records if each.levelname == "WARNING"] == [f"Lease ns/lease: {status}: no"]
    server.refused = None
    await clock.pass_by(2)
    assert waiting.done()
    assert second.held


async def test_a_released_lease_is_taken_at_the_next_look(server: OneLease, clock: Clock) -> None:
    first, second = lease_of(server, clock, "a"), lease_of(server, clock, "b")
    await first.acquire()
    await first.release()
    with pytest.raises(NotLeadingError):
        first.fence()
    await second.acquire()
    assert second.held


async def test_keeps_it_while_fit_and_lets_it_go_when_not(server: OneLease, clock: Clock) -> None:
    lease = lease_of(server, clock, "a")
    await lease.acquire()
    fit = True
    keeping = asyncio.create_task(lease.keep(lambda: fit))
    await clock.pass_by(10 * DURATION_S)
    assert lease.held
    assert not keeping.done()
    fit = False
    await clock.pass_by(DURATION_S / 4)
    assert keeping.done()


async def test_stops_when_another_has_taken_it(server: OneLease, clock: Clock) -> None:
    lease = lease_of(server, clock, "a")
    await lease.acquire()
    keeping = asyncio.create_task(lease.keep(lambda: True))
    await settled()
    server.taken_by("b")
    await clock.pass_by(DURATION_S)
    assert keeping.done()
    assert not lease.held


async def test_stops_by_itself_when_the_api_server_is_gone_for_too_long(server: OneLease, clock: Clock) -> None:
    lease = lease_of(server, clock, "a")
    await lease.acquire()
    server.down = True
    keeping = asyncio.create_task(lease.keep(lambda: True))
    await clock.pass_by(DURATION_S * SURE_SHARE - 1)
    assert lease.held
    assert not keeping.done()
    await clock.pass_by(2)
    assert keeping.done()
    with pytest.raises(NotLeadingError):
        lease.fence()
