"""How long replicas take to start: which pods tell, and what is said while none or few have."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.api.status import Basis
from spillway.plan.decision import Memory
from spillway.plan.observation import ReplicaPod
from spillway.plan.replica.start_up import KEPT, LearnedStarts, StartUp, StartUps, estimated_start_up_s, learn_starts, start_up
from tests.unit.plan.situations import LLAMA_8B, NOW, POOL, later, observe, one_pass, replica, workload

KIND = "h100/1/meta/llama-8b"
WATCHED = NOW - timedelta(hours=2)


def started(index: int = 0, *, took_s: float = 90.0, waited_s: float = 1.0, **changes: Any) -> ReplicaPod:
    """Return a pod that was created a minute after the watch began, got its node after a wait, and became ready."""
    created = WATCHED + timedelta(minutes=1 + index)
    bound = created + timedelta(seconds=waited_s)
    plain: dict[str, Any] = {"created_at": created, "bound_at": bound, "ready_since": bound + timedelta(seconds=took_s)}
    return replica(index, **(plain | changes))


def learned(*pods: ReplicaPod, before: LearnedStarts | None = None) -> LearnedStarts:
    return learn_starts(before or LearnedStarts(), pods, pool=POOL, kind=KIND, watched_since=WATCHED)


def test_a_start_is_counted_from_its_node_to_ready_and_once() -> None:
    first = learned(started(took_s=95))
    assert first.by_kind == {KIND: StartUps(starts_s=(95.0,))}
    assert learned(started(took_s=95), before=first) == first


def test_the_wait_for_a_node_is_apart_and_only_told_where_one_was_waited_for() -> None:
    found = learned(started(0, took_s=95, waited_s=2), started(1, took_s=95, waited_s=140)).by_kind[KIND]
    assert found == StartUps(starts_s=(95.0, 95.0), node_waits_s=(140.0,))


@pytest.mark.parametrize(
    "pod",
    [
        pytest.param(started(ready=False), id="not ready yet"),
        pytest.param(started(created_at=WATCHED - timedelta(seconds=1)), id="created before the watch"),
        pytest.param(started(created_at=None), id="of unknown age"),
        pytest.param(started(bound_at=None), id="without a node"),
        pytest.param(started(restarts=1), id="a container restarted"),
        pytest.param(started(pool="another"), id="of another pool"),
        pytest.param(started(ready_since=WATCHED), id="ready before it began"),
    ],
)
def test_what_is_no_whole_start_teaches_nothing(pod: ReplicaPod) -> None:
    assert learned(pod).by_kind == {}


def test_a_replica_that_is_ready_again_after_a_while_has_not_started_again() -> None:
    before = learned(started())
    flapped = started(ready_since=WATCHED + timedelta(hours=1))
    assert learned(flapped, before=before) == before
    assert learned(started(restarts=3, ready_since=WATCHED + timedelta(hours=1)), before=before) == before


def test_a_pod_that_could_not_start_for_a_while_teaches_nothing_once_it_has() -> None:
    """Somebody made the Secret that was missing, or the registry was there again: no restart tells of it."""
    waiting = learned(started(ready=False, ready_since=None, waiting_reason="CreateContainerConfigError"))
    assert learned(started(took_s=7200), before=waiting).by_kind == {}
    assert learned(started(1, took_s=90), before=waiting).by_kind == {KIND: StartUps(starts_s=(90.0,))}


def test_a_wait_for_room_is_no_wait_for_a_node_to_be_made() -> None:
    """A night in which all accelerators were taken, or a queue of jobs: nothing is forecast, or asked for, that much ahead ever after."""
    found = learned(started(0, took_s=95, waited_s=140), started(1, took_s=95, waited_s=8 * 3600)).by_kind[KIND]
    assert found == StartUps(starts_s=(95.0, 95.0), node_waits_s=(140.0,))
    of_before = StartUps(starts_s=(60.0,) * 3, node_waits_s=(8 * 3600.0,))
    assert start_up(of_before, estimate_s=180.0).node_wait_s is None


def test_pods_that_are_gone_are_not_remembered_and_their_starts_are() -> None:
    before = learned(started(0), started(1))
    after = learned(started(1), before=before)
    assert after.counted == {"replica-1"}
    assert after.by_kind == before.by_kind


@given(st.lists(st.floats(min_value=1, max_value=3600), min_size=KEPT, max_size=3 * KEPT))
def test_the_latest_starts_are_kept_and_what_is_said_lies_among_them(took: list[float]) -> None:
    found = LearnedStarts()
    for index, took_s in enumerate(took):
        found = learned(started(index, took_s=took_s), before=found)
    known = found.by_kind[KIND]
    assert known.starts_s == pytest.approx(took[-KEPT:], abs=1e-5)
    said = start_up(known, estimate_s=180.0)
    assert min(known.starts_s) <= said.median_s <= said.high_s <= max(known.starts_s)


def test_one_slow_start_among_many_does_not_decide() -> None:
    said = start_up(StartUps(starts_s=(60.0,) * 19 + (900.0,)), estimate_s=180.0)
    assert (said.median_s, said.high_s, said.basis) == (60.0, 60.0, Basis.MEASURED)


@pytest.mark.parametrize(
    ("starts", "said"),
    [
        pytest.param((), StartUp(median_s=180, high_s=180, node_wait_s=None, basis=Basis.ESTIMATED), id="the estimate alone"),
        pytest.param((60.0,), StartUp(median_s=120, high_s=180, node_wait_s=None, basis=Basis.MEASURED), id="half way after one"),
        pytest.param((60.0, 62.0), StartUp(median_s=62, high_s=180, node_wait_s=None, basis=Basis.MEASURED), id="outvoted by two"),
        pytest.param((60.0, 62.0, 64.0), StartUp(median_s=62, high_s=64, node_wait_s=None, basis=Basis.MEASURED), id="silent after three"),
    ],
)
def test_the_estimate_counts_as_one_start_until_there_are_three(starts: tuple[float, ...], said: StartUp) -> None:
    assert start_up(StartUps(starts_s=starts), estimate_s=180.0) == said


@pytest.mark.parametrize(("weights_gib", "seconds"), [(None, 180), (15, 123), (65, 231), (131, 375)])
def test_the_estimate_grows_with_the_weights(weights_gib: float | None, seconds: float) -> None:
    assert estimated_start_up_s(weights_gib) == pytest.approx(seconds, abs=1)


def test_a_pass_learns_starts_and_says_how_long_the_next_will_take() -> None:
    wanted = workload(model={"architecture": LLAMA_8B})
    before, memory = one_pass(wanted, observe(0, pools=(), watched_since=WATCHED))
    assert before.pool is not None
    assert before.pool.start_up.basis is Basis.ESTIMATED
    assert before.pool.start_up.median_s == pytest.approx(123, abs=2)
    pods = tuple(started(index, took_s=40) for index in range(3))
    after, memory = one_pass(wanted, observe(3, replicas=pods, watched_since=WATCHED), memory, at=later(15))
    assert after.pool is not None
    assert (after.pool.start_up.median_s, after.pool.start_up.basis) == (40.0, Basis.MEASURED)
    other = workload(model={"id": "meta/another", "architecture": LLAMA_8B})
    elsewhere, _ = one_pass(other, observe(0, pools=()), Memory(starts=memory.starts))
    assert elsewhere.pool is not None
    assert elsewhere.pool.start_up.basis is Basis.ESTIMATED
