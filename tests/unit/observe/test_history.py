"""A workload's past, asked of something that speaks Prometheus' API."""

import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from spillway.observe.history import HistoryError, prometheus_at, read_history
from spillway.simulate.recorded import History
from tests.servers import Answer, Request, serving
from tests.unit.observe.past import Past

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)


def asked_of(answer: Callable[[Request], Answer], *, since: timedelta = timedelta(minutes=10), timeout_s: float = 10) -> History:
    with serving(answer) as url:
        return read_history(prometheus_at(url, timeout_s=timeout_s), namespace="team", workload="chat", since=since, now=NOW)


def test_rates_become_requests_and_lengths_by_minute() -> None:
    history = asked_of(Past())
    assert history.requests.tolist() == [120.0] * 10
    assert history.input_tokens_mean == pytest.approx([800.0] * 10)
    assert history.output_tokens_mean == pytest.approx([200.0] * 10)


def test_only_this_workload_is_asked_about_with_its_name_quoted() -> None:
    past = Past()
    asked_of(past)
    assert all('namespace="team",workload="chat"' in each["query"] for each in past.asked)


def test_a_minute_in_which_no_gateway_was_scraped_is_not_known_and_one_without_requests_is_zero() -> None:
    begin = NOW.timestamp() - 600
    history = asked_of(
        Past(
            up=lambda at: None if at <= begin + 120 else 4.0,
            requests=lambda at: None if at > NOW.timestamp() - 180 else 2.0,
            answered=lambda at: None if at > NOW.timestamp() - 180 else 2.0,
        )
    )
    assert np.isnan(history.requests[:2]).all()
    assert history.requests[2:7].tolist() == [120.0] * 5
    assert history.requests[7:].tolist() == [0.0] * 3
    assert np.isnan(history.input_tokens_mean[7:]).all()


def test_a_week_is_asked_for_day_by_day_and_every_minute_of_it_once() -> None:
    past = Past()
    history = asked_of(past, since=timedelta(days=7))
    assert len(history.requests) == 7 * 1440
    assert not np.isnan(history.requests).any()
    spans = [(float(each["start"]), float(each["end"])) for each in past.asked if re.match(r"sum\(sum_over_time", each["query"])]
    assert len(spans) == 7
    assert all(end - start <= 86_400 for start, end in spans)


def test_a_day_and_a_part_is_asked_up_to_now_and_how_far_it_is_is_told() -> None:
    past, told = Past(), list[float]()
    with serving(past) as url:
        read_history(prometheus_at(url), namespace="team", workload="chat", since=timedelta(hours=30), now=NOW, on_progress=told.append)
    assert max(float(each["end"]) for each in past.asked) == NOW.timestamp()
    assert told == pytest.approx([count / len(past.asked) for count in range(1, len(past.asked) + 1)])


def refusal(answer: Callable[[Request], Answer], **changes: Any) -> str:
    with pytest.raises(HistoryError) as caught:
        asked_of(answer, **changes)
    return str(caught.value)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((500, "broken"), '500 Internal Server Error, "broken"; set the URL'),
        ((200, "<html>"), "it answered"),
        ((200, {"status": "success", "data": {"result": [{"metric": {}}]}}), "something else than a range"),
        ((200, {"status": "success"}), "it answered"),
        ((200, "x" * 17 * 1024**2), "it answered a query with more than 16 MiB; set the URL"),
    ],
    ids=["an error", "a page", "series without values", "no data", "far more than was asked for"],
)
def test_an_answer_that_is_none_is_told(answer: Answer, told: str) -> None:
    assert told in refusal(lambda _: answer)


def test_a_server_that_hangs_is_not_waited_for() -> None:
    release = threading.Event()

    def late(_: Request) -> Answer:
        release.wait(10)
        return 200, {}

    with serving(late) as url:
        with pytest.raises(HistoryError, match="did not answer in time"):
            read_history(prometheus_at(url, timeout_s=0.2), namespace="a", workload="b", since=timedelta(minutes=2), now=NOW)
        release.set()


def test_a_server_that_is_not_there_is_told_with_what_to_do() -> None:
    with pytest.raises(HistoryError, match="cannot be reached; give its URL"):
        read_history(prometheus_at("http://127.0.0.1:9"), namespace="a", workload="b", since=timedelta(minutes=2), now=NOW)


@pytest.mark.parametrize("url", ["localhost:9090", "prometheus", "ftp://prometheus", "http://"])
def test_what_is_no_url_is_told_with_what_to_do(url: str) -> None:
    with pytest.raises(HistoryError, match="no URL; give it with http://"):
        read_history(prometheus_at(url), namespace="a", workload="b", since=timedelta(minutes=2), now=NOW)


def test_a_page_that_somebody_else_answers_with_is_told_in_a_line() -> None:
    told = refusal(lambda _: (404, "<html>\n" + "<p>not here</p>\n" * 100))
    assert "\n" not in told
    assert told.endswith("; set the URL of Prometheus itself")
