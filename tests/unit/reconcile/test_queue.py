"""The queue: each key once, never twice at a time, later when asked, ever later after failures. Time is given, nothing sleeps."""

import asyncio

import pytest

from spillway.plan.decision import Key
from spillway.reconcile.queue import BACKOFF_LAST_S, ReconcileQueue, work

A, B = Key(namespace="ns", name="a"), Key(namespace="ns", name="b")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> ReconcileQueue:
    return ReconcileQueue(clock, chance=lambda: 0.5)


async def take(queue: ReconcileQueue) -> Key | None:
    """Return the key that is due now, without waiting for one."""
    try:
        async with asyncio.timeout(0):
            return await queue.get()
    except TimeoutError:
        return None


async def test_hands_out_a_key_once_however_often_it_was_added(queue: ReconcileQueue) -> None:
    queue.add(A)
    queue.add(A)
    assert await queue.get() == A
    assert await take(queue) is None


async def test_hands_out_keys_in_the_order_in_which_they_are_due(queue: ReconcileQueue, clock: Clock) -> None:
    queue.add(A, after_s=2)
    queue.add(B, after_s=1)
    clock.now += 3
    assert [await queue.get(), await queue.get()] == [B, A]


async def test_an_earlier_appointment_stands_and_a_later_one_is_brought_forward(queue: ReconcileQueue, clock: Clock) -> None:
    queue.add(A, after_s=1)
    queue.add(A, after_s=10)
    clock.now += 1
    assert await queue.get() == A
    queue.done(A, revisit_s=60)
    queue.add(A)
    assert await queue.get() == A


async def test_never_hands_out_a_key_that_is_worked_on_and_follows_up_afterwards(queue: ReconcileQueue) -> None:
    queue.add(A)
    await queue.get()
    queue.add(A)
    assert await take(queue) is None
    queue.done(A, revisit_s=None)
    assert await queue.get() == A


async def test_revisits_after_the_time_asked_for_and_not_before(queue: ReconcileQueue, clock: Clock) -> None:
    queue.add(A)
    queue.done(await queue.get(), revisit_s=15)
    clock.now += 14.9
    assert await take(queue) is None
    clock.now += 0.1
    assert await queue.get() == A


async def test_does_not_revisit_what_is_gone(queue: ReconcileQueue, clock: Clock) -> None:
    queue.add(A)
    queue.done(await queue.get(), revisit_s=None)
    queue.add(B, after_s=1)
    queue.forget(B)
    clock.now += 1000
    assert await take(queue) is None


async def test_backs_off_from_a_second_to_five_minutes_and_starts_over_after_success(queue: ReconcileQueue, clock: Clock) -> None:
    waits = []
    queue.add(A)
    for _ in range(12):
        await queue.get()
        waits.append(queue.failed(A))
        clock.now += waits[-1]
    assert waits[:4] == [1, 2, 4, 8]
    assert waits[-1] == BACKOFF_LAST_S
    queue.done(await queue.get(), revisit_s=0)
    await queue.get()
    assert queue.failed(A) == 1


@pytest.mark.parametrize(("chance", "expected"), [(0.0, 0.8), (1.0, 1.2)], ids=["least", "most"])
async def test_backoff_is_spread_by_a_fifth_either_way(clock: Clock, chance: float, expected: float) -> None:
    queue = ReconcileQueue(clock, chance=lambda: chance)
    queue.add(A)
    await queue.get()
    assert queue.failed(A) == pytest.approx(expected)


async def test_a_change_during_a_failing_pass_is_not_made_to_wait_for_the_whole_backoff(queue: ReconcileQueue, clock: Clock) -> None:
    queue.add(A)
    for _ in range(8):
        await queue.get()
        clock.now += queue.failed(A)
    await queue.get()
    queue.add(A)
    assert queue.failed(A) <= 1


async def test_keys_that_fail_leave_a_worker_to_the_others(clock: Clock) -> None:
    """Their passes may wait for a webhook that does not answer, as long as they may."""
    queue = ReconcileQueue(clock, chance=lambda: 0.5, failing_at_once=1)
    first, second, well = (Key(namespace="ns", name=name) for name in ("first", "second", "well"))
    for key in (first, second):
        queue.add(key)
        assert await queue.get() == key
        queue.failed(key)
    clock.now += 10
    queue.add(well)
    assert [await queue.get(), await queue.get()] == [first, well]
    assert await take(queue) is None
    assert queue.depth == 1, "it is still due"
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.failed(first)
    async with asyncio.timeout(10):
        assert await waiting == second
    queue.done(second, revisit_s=None)
    clock.now += 10
    assert await take(queue) == first


async def test_depth_and_delay_tell_how_far_behind_it_is(queue: ReconcileQueue, clock: Clock) -> None:
    queue.add(A)
    queue.add(B, after_s=100)
    assert (queue.depth, queue.delay_s) == (1, 0)
    clock.now += 5
    assert (queue.depth, queue.delay_s) == (1, 5)
    await queue.get()
    clock.now += 7
    assert (queue.depth, queue.delay_s) == (0, 7)


async def test_what_waited_while_nobody_was_to_take_it_is_no_standstill(queue: ReconcileQueue, clock: Clock) -> None:
    queue.add(A)
    clock.now += 3600
    queue.begin()
    assert queue.stalled_s == 0
    clock.now += 15
    assert queue.stalled_s == 15


class Meanwhile(float):
    """A moment. While something is compared with it, another key is asked for, as by the loop while the thread of the metrics looks."""

    queue: ReconcileQueue
    asked = 0

    def __ge__(self, other: float) -> bool:
        self.asked += 1
        self.queue.add(Key(namespace="ns", name=f"another-{self.asked}"), after_s=10)
        return float(self) >= other


def test_depth_and_delay_are_told_while_keys_come(queue: ReconcileQueue, clock: Clock) -> None:
    queue.add(A)
    clock.now = now = Meanwhile(clock.now + 5)
    now.queue = queue
    assert (queue.depth, queue.delay_s) == (1, 5)
    assert now.asked


async def test_a_waiting_worker_wakes_for_a_new_key() -> None:
    queue = ReconcileQueue(asyncio.get_running_loop().time)
    waiting = [asyncio.create_task(queue.get()) for _ in range(2)]
    await asyncio.sleep(0)
    queue.add(A)
    queue.add(B)
    async with asyncio.timeout(10):
        assert {await each for each in waiting} == {A, B}


async def test_a_failing_pass_is_reported_and_does_not_stop_the_worker(queue: ReconcileQueue) -> None:
    seen: list[tuple[Key, BaseException]] = []
    done = asyncio.Event()

    async def reconcile(key: Key) -> float | None:
        if key == A:
            raise ValueError("no")
        done.set()
        return None

    worker = asyncio.create_task(work(queue, reconcile, on_error=lambda key, problem: seen.append((key, problem))))
    queue.add(A)
    queue.add(B)
    async with asyncio.timeout(10):
        await done.wait()
    worker.cancel()
    with pytest.raises(asyncio.CancelledError):
        await worker
    assert [(key, str(problem)) for key, problem in seen] == [(A, "no")]


async def test_a_long_queue_that_moves_is_not_stalled_and_a_pass_that_hangs_is(queue: ReconcileQueue, clock: Clock) -> None:
    assert queue.stalled_s == 0
    for key in (A, B):
        queue.add(key)
    clock.now += 10
    assert queue.stalled_s == 10  # nobody takes what is due
    assert await queue.get() == A
    assert queue.stalled_s == 0
    clock.now += 7
    queue.done(A, None)
    assert queue.stalled_s == 7  # B waits
    assert await queue.get() == B
    clock.now += 30
    assert queue.stalled_s == 30  # B hangs
    queue.done(B, None)
    assert queue.stalled_s == 0
