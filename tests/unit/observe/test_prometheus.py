"""Asking Prometheus: what fails is a Missing that says why, and nothing waits for ever."""

import asyncio
import threading
from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from spillway.api.vocabulary import Reason
from spillway.observe import queries
from spillway.observe.access import OPEN
from spillway.observe.prometheus import PrometheusSource, parse
from spillway.observe.signals import Target
from spillway.plan.decision import Key
from spillway.plan.observation import Missing, Sample, Signals
from tests.servers import Request, serving

KEY = Key(namespace="ns", name="x")


class Scripted:
    """Answers every query alike."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked = 0

    def custom_query(self, query: str, params: dict[str, str] | None = None, timeout: int | None = None) -> list[dict[str, Any]]:
        del query, params, timeout
        self.asked += 1
        if isinstance(self.answer, BaseException):
            raise self.answer
        if callable(self.answer):
            self.answer()
            return []
        return self.answer  # type: ignore[no-any-return]


async def read(asked: Scripted, timeout_s: float = 1) -> Signals:
    source = PrometheusSource(asked, window_s=60, timeout_s=timeout_s)
    try:
        return (await source.read({KEY: Target(gateways=1)}, {}, datetime.now(UTC)))[KEY]
    finally:
        source.close()


def missing(signals: Signals) -> Missing:
    assert isinstance(signals.arrivals_per_s, Missing)
    return signals.arrivals_per_s


async def test_a_server_that_is_not_there_is_asked_once_per_tick_only() -> None:
    asked = Scripted(requests.ConnectionError("refused by 10.0.0.1:9090 at 0x7f"))
    found = missing(await read(asked))
    assert (found.reason, found.detail) == (Reason.PROMETHEUS_ERROR, "Prometheus cannot be reached")
    assert asked.asked == 1


async def test_every_question_is_asked_once_and_has_an_answer_of_its_own() -> None:
    asked: list[str] = []
    rows = {queries.UP: {"component": "gateway"}, queries.SCRAPE_AGE: {"component": "gateway"}, queries.REQUESTS: {"backend": "owned"}}

    class Known(Scripted):
        def custom_query(self, query: str, params: dict[str, str] | None = None, timeout: int | None = None) -> list[dict[str, Any]]:
            del params, timeout
            asked.append(query)
            labels = next((labels for name, labels in rows.items() if queries.queries(60)[name] == query), None)
            return (
                [] if labels is None else [{"metric": {"namespace": "ns", "workload": "x", "code": "200", **labels}, "value": [1.0, "1"]}]
            )

    found = await read(Known(None))
    assert sorted(asked) == sorted(queries.queries(60).values())
    assert isinstance(found.arrivals_per_s, Sample)
    assert isinstance(found.closed_per_s, Sample)
    assert (found.arrivals_per_s.value, found.closed_per_s.value) == (1.0, 0.0)


@pytest.mark.parametrize(
    "row",
    [{"metric": {}}, {"metric": {}, "value": []}, {"metric": {}, "value": [1.0]}, {"metric": "x", "value": [1.0, "1"]}, 7],
    ids=["no value", "an empty value", "a time without a value", "labels that are none", "no row"],
)
async def test_a_strange_answer_is_an_error_and_no_crash(row: Any) -> None:
    assert missing(await read(Scripted([row]))).reason is Reason.PROMETHEUS_ERROR


async def test_of_an_answer_without_end_only_so_much_is_read_and_why_is_told() -> None:
    row = {"metric": {"namespace": "ns", "workload": "x", "backend": "b" * 1024**2}, "value": [1.0, "1"]}

    def answer(request: Request) -> tuple[int, object]:
        many = request.query["query"] == [queries.queries(60)[queries.REQUESTS]]
        return 200, {"status": "success", "data": {"resultType": "vector", "result": [row] * (16 if many else 1)}}

    with serving(answer) as url:
        source = PrometheusSource.at(url, OPEN, window_s=60, timeout_s=5)
        found = (await source.read({KEY: Target(gateways=1)}, {}, datetime.now(UTC)))[KEY]
        source.close()
    assert missing(found).detail == (
        'it answered a query with more than 16 MiB; find the pods with too many: topk(5, count by (namespace, pod) ({workload!=""}))'
    )


async def test_of_too_many_series_in_all_no_more_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spillway.observe.prometheus.MOST_SERIES", 400)
    asked = Scripted([{"metric": {"namespace": "ns", "workload": "x", "component": "gateway"}, "value": [1.0, "1"]}] * 250)
    found = missing(await read(asked))
    assert (found.reason, "has more than 400 series to tell" in found.detail) == (Reason.PROMETHEUS_ERROR, True)
    assert asked.asked == 2


async def test_nothing_scraped_is_missing() -> None:
    assert missing(await read(Scripted([]))).reason is Reason.METRICS_MISSING


async def test_a_server_that_hangs_costs_one_timeout_and_no_second_thread() -> None:
    release = threading.Event()
    asked = Scripted(lambda: release.wait(5))
    source = PrometheusSource(asked, window_s=60, timeout_s=0.05)
    targets = {KEY: Target()}
    for _ in range(2):
        found = missing((await source.read(targets, {}, datetime.now(UTC)))[KEY])
        assert (found.reason, "raise prometheus.timeoutSeconds" in found.detail) == (Reason.PROMETHEUS_ERROR, True)
    assert asked.asked == 1
    release.set()
    source.close()


@pytest.mark.parametrize("ending", ["too late", "closed"])
async def test_a_batch_that_nobody_waits_for_any_more_asks_no_further(ending: str) -> None:
    """Else an operator that is to end waits for up to thirty queries, each as long as its timeout."""
    reached, release = threading.Event(), threading.Event()

    def hang() -> None:
        reached.set()
        release.wait(5)

    asked = Scripted(hang)
    source = PrometheusSource(asked, window_s=60, timeout_s=0.05 if ending == "too late" else 5)
    reading = asyncio.create_task(source.read({KEY: Target()}, {}, datetime.now(UTC)))
    await asyncio.to_thread(reached.wait, 5)
    if ending == "closed":
        source.close()
    else:
        await reading
    asked.answer = []
    release.set()
    await asyncio.to_thread(source._thread.shutdown)  # as Python does at its end
    assert asked.asked == 1
    reading.cancel()
    source.close()


def test_nan_is_left_out() -> None:
    assert parse([{"metric": {"a": "b"}, "value": [1.0, "NaN"]}, {"metric": {}, "value": [1.0, "2"]}]) == [({}, 2.0)]


def test_a_native_histogram_that_some_pod_tells_in_place_of_a_number_is_left_out() -> None:
    told = {"count": "1", "sum": "2", "buckets": [[3, "-0.5", "0.5", "1"]]}
    assert parse([{"metric": {"a": "b"}, "histogram": [1.0, told]}, {"metric": {}, "value": [1.0, "2"]}]) == [({}, 2.0)]
