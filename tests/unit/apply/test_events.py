"""Kubernetes Events: once per decision, in their own time, and never in the way."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from spillway.api.status import DecisionStatus, ForecastStatus
from spillway.apply.connection import ApiError
from spillway.apply.events import EventRecorder
from spillway.plan.decision import Key

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
KEY = Key(namespace="ns", name="x")


class Posted:
    """Stands for the connection: keeps what is posted."""

    def __init__(self, *, failing: bool = False) -> None:
        self.events: list[dict[str, Any]] = []
        self.failing = failing

    async def request(self, method: str, path: str, body: dict[str, Any]) -> None:
        assert (method, path) == ("POST", "/apis/events.k8s.io/v1/namespaces/ns/events")
        self.events.append(body)
        if self.failing:
            raise ApiError(403, "no")


def decision(what: str = "replicas 1 -> 2", why: str = "demand 1.4", reason: str = "DemandRose") -> DecisionStatus:
    return DecisionStatus(time=NOW, what=what, reason=reason, why=why)


async def post(posted: Posted, *said: tuple[DecisionStatus, datetime]) -> list[dict[str, Any]]:
    recorder = EventRecorder(posted, lambda: None, instance="operator-0")  # type: ignore[arg-type]  # the seam
    for each, now in said:
        recorder.record(KEY, "uid", each, now)
    running = asyncio.create_task(recorder.run())
    async with asyncio.timeout(10):
        await recorder._waiting.join()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    return posted.events


async def test_an_event_says_what_why_and_of_whom() -> None:
    (event,) = await post(Posted(), (decision(), NOW))
    assert event["regarding"] == {
        "apiVersion": "spillway.dev/v1alpha1",
        "kind": "InferenceWorkload",
        "name": "x",
        "namespace": "ns",
        "uid": "uid",
    }
    assert (event["reason"], event["action"], event["type"]) == ("DemandRose", "Scale", "Normal")
    assert event["note"] == "replicas 1 -> 2: demand 1.4"
    assert event["eventTime"] == "2026-11-21T12:00:00.000000Z"


async def test_a_note_ends_with_the_figures_that_a_count_was_weighed_by() -> None:
    weighed = decision().model_copy(
        update={
            "forecast": ForecastStatus(p10="0.8", p50="1.5", p90="2.75", horizon_seconds=180),
            "marginal_saving_usd_per_hour": "0.4",
            "rejected": "1 replica: +1.20 USD/h",
        }
    )
    (event,) = await post(Posted(), (weighed, NOW))
    assert event["note"].startswith("replicas 1 -> 2: demand 1.4; ")
    for figure in ("180 s", "0.8", "1.5", "2.75", "net saving of the last replica 0.4 USD/h", "rejected 1 replica: +1.20 USD/h"):
        assert figure in event["note"]


async def test_a_recommended_count_is_a_recommendation_to_machines_too() -> None:
    (event,) = await post(Posted(), (decision("recommended replicas 1 -> 3"), NOW))
    assert event["action"] == "Recommend"


async def test_the_same_decision_is_not_told_twice_within_ten_minutes() -> None:
    soon, later = NOW + timedelta(minutes=9), NOW + timedelta(minutes=20)
    events = await post(Posted(), (decision(), NOW), (decision(why="demand 1.5"), soon), (decision(), later))
    assert len(events) == 2
    assert len({each["metadata"]["name"] for each in events}) == 2


async def test_a_clock_that_was_set_back_does_not_hold_back_what_is_new_by_it() -> None:
    times = (NOW + timedelta(hours=1), NOW, NOW + timedelta(minutes=9))
    assert len(await post(Posted(), *((decision(), each) for each in times))) == 2


async def test_what_is_over_budget_is_a_warning() -> None:
    (event,) = await post(Posted(), (decision(what="budget exceeded", reason="BudgetExceeded"), NOW))
    assert (event["type"], event["action"]) == ("Warning", "JudgeBudget")


async def test_a_refused_event_does_not_stop_the_next() -> None:
    events = await post(Posted(failing=True), (decision(), NOW), (decision(what="replicas 2 -> 3"), NOW))
    assert len(events) == 2


async def test_the_next_event_waits_for_as_long_as_it_is_told_to() -> None:
    posted, paused = Posted(), asyncio.Event()

    def pause_s() -> float:
        paused.set()
        return 3600.0

    recorder = EventRecorder(posted, lambda: None, instance="operator-0", pause_s=pause_s)  # type: ignore[arg-type]  # the seam
    for what in ("replicas 1 -> 2", "replicas 2 -> 3"):
        recorder.record(KEY, "uid", decision(what=what), NOW)
    running = asyncio.create_task(recorder.run())
    async with asyncio.timeout(10):
        await paused.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [each["note"] for each in posted.events] == ["replicas 1 -> 2: demand 1.4"]


@pytest.mark.parametrize("why", ["w" * 5000, "\N{CJK UNIFIED IDEOGRAPH-4E0D}" * 5000])
async def test_a_note_is_cut_to_what_the_api_takes_which_counts_bytes(why: str) -> None:
    (event,) = await post(Posted(), (decision(what="no", why=why), NOW))
    assert len(event["note"].encode()) == 1024
