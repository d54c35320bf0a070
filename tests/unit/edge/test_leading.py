"""Leading: it never goes on with half of its tasks, and never without the Lease."""

import asyncio
from collections.abc import Callable

import pytest

from spillway.apply.connection import ApiError
from spillway.edge.leading import Leading, LeadingEndedError


class FakeLease:
    """A Lease that is had at once and kept until told otherwise."""

    def __init__(self) -> None:
        self.lost = asyncio.Event()

    async def acquire(self) -> None:
        return

    async def keep(self, fit: Callable[[], bool]) -> None:
        del fit
        await self.lost.wait()


async def nothing() -> None:
    return


async def forever() -> None:
    await asyncio.Event().wait()


def only(group: BaseExceptionGroup[BaseException]) -> BaseException:
    (problem,) = group.exceptions
    return problem


async def test_a_leading_task_that_dies_ends_all_of_it() -> None:
    async def dies() -> None:
        raise ValueError("bug")

    leading = Leading(lease=FakeLease(), prepare=nothing, tasks=lambda: {"a": dies(), "b": forever()}, fit=lambda: True)  # type: ignore[arg-type]
    with pytest.raises(ExceptionGroup) as found:
        await leading.run()
    assert isinstance(only(found.value), ValueError)


async def test_a_leading_task_that_just_returns_ends_all_of_it() -> None:
    leading = Leading(lease=FakeLease(), prepare=nothing, tasks=lambda: {"a": nothing(), "b": forever()}, fit=lambda: True)  # type: ignore[arg-type]
    with pytest.raises(ExceptionGroup) as found:
        await leading.run()
    assert isinstance(only(found.value), LeadingEndedError)


async def test_a_leading_task_that_is_cancelled_from_within_ends_all_of_it() -> None:
    async def cancelled() -> None:
        raise asyncio.CancelledError

    leading = Leading(lease=FakeLease(), prepare=nothing, tasks=lambda: {"a": cancelled(), "b": forever()}, fit=lambda: True)  # type: ignore[arg-type]
    async with asyncio.timeout(10):
        with pytest.raises(ExceptionGroup) as found:
            await leading.run()
    assert isinstance(only(found.value), LeadingEndedError)


async def test_a_lost_lease_ends_all_of_it_also_while_preparing() -> None:
    lease = FakeLease()
    leading = Leading(lease=lease, prepare=forever, tasks=dict, fit=lambda: True)  # type: ignore[arg-type]
    running = asyncio.create_task(leading.run())
    await asyncio.sleep(0)
    lease.lost.set()
    async with asyncio.timeout(10):
        with pytest.raises(ExceptionGroup):
            await running
    assert not leading.prepared


@pytest.mark.parametrize("status", [0, 410, 429, 500])
async def test_an_api_server_that_fails_while_preparing_is_asked_again(status: int) -> None:
    answers = [ApiError(status, "not now"), ApiError(status, "not now")]

    async def prepare() -> None:
        if answers:
            raise answers.pop()

    leading = Leading(lease=FakeLease(), prepare=prepare, tasks=lambda: {"a": nothing()}, fit=lambda: True, retry_s=0)  # type: ignore[arg-type]
    with pytest.raises(ExceptionGroup) as found:
        await leading.run()
    assert isinstance(only(found.value), LeadingEndedError)
    assert leading.prepared


async def test_what_may_not_be_read_is_not_asked_for_again() -> None:
    async def prepare() -> None:
        await asyncio.sleep(0)
        raise ApiError(403, "configmaps is forbidden")

    leading = Leading(lease=FakeLease(), prepare=prepare, tasks=dict, fit=lambda: True)  # type: ignore[arg-type]
    with pytest.raises(ExceptionGroup) as found:
        await leading.run()
    assert isinstance(only(found.value), ApiError)
