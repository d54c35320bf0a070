"""A workload's past, asked of something that speaks Prometheus' API."""

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from spillway.observe.history import HistoryError, prometheus_at, read_history
from spillway.simulate.recorded import History

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
Answer = tuple[int, Any]


def points(value: Callable[[float], float | None]) -> Callable[[float, float], list[list[Any]]]:
    def between(start: float, end: float) -> list[list[Any]]:
        found = [(at, value(at)) for at in np.arange(start, end + 1, 60.0)]
        return [[at, f"{each}"] for at, each in found if each is not None]

    return between


class Past:
    """What a Prometheus knows, by what its queries contain; the most telling word first."""

    def __init__(self, **values: Callable[[float], float | None]) -> None:
        self.series = {
            "up{": points(values.get("up", lambda _: 4.0)),
            'code=~"2': points(values.get("answered", lambda _: 1.9)),
            "unmetered": points(values.get("unmetered", lambda _: 0.1)),
            "input_tokens": points(values.get("input_tokens", lambda _: 1440.0)),
            "output_tokens": points(values.get("output_tokens", lambda _: 360.0)),
            "envoy_spillway_requests": points(values.get("requests", lambda _: 2.0)),
        }
        self.asked: list[dict[str, str]] = []

    def answer(self, asked: dict[str, str]) -> Answer:
        self.asked.append(asked)
        query = asked["query"]
        name = "up{" if query.startswith("sum(sum_over_time(up{") else next(each for each in list(self.series)[1:] if each in query)
        values = self.series[name](float(asked["start"]), float(asked["end"]))
        return 200, {"status": "success", "data": {"resultType": "matrix", "result": [{"metric": {}, "values": values}] if values else []}}


@contextmanager
def serving(answer: Callable[[dict[str, str]], Answer], wanted: Mapping[str, str] | None = None) -> Iterator[str]:
    """Serve on loopback, to whoever sends the headers that are wanted."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            if all(self.headers[name] == value for name, value in (wanted or {}).items()):
                status, body = answer({key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()})
            else:
                status, body = 401, "who are you?"
            content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def asked_of(answer: Callable[[dict[str, str]], Answer], *, since: timedelta = timedelta(minutes=10), timeout_s: float = 10) -> History:
    with serving(answer) as url:
        return read_history(prometheus_at(url, timeout_s=timeout_s), namespace="team", workload="chat", since=since, now=NOW)


def test_rates_become_requests_and_lengths_by_minute() -> None:
    history = asked_of(Past().answer)
    assert history.requests.tolist() == [120.0] * 10
    assert history.input_tokens_mean == pytest.approx([800.0] * 10)
    assert history.output_tokens_mean == pytest.approx([200.0] * 10)


def test_only_this_workload_is_asked_about_with_its_name_quoted() -> None:
    past = Past()
    asked_of(past.answer)
    assert all('namespace="team",workload="chat"' in each["query"] for each in past.asked)


def test_a_minute_in_which_no_gateway_was_scraped_is_not_known_and_one_without_requests_is_zero() -> None:
    begin = NOW.timestamp() - 600
    history = asked_of(
        Past(
            up=lambda at: None if at <= begin + 120 else 4.0,
            requests=lambda at: None if at > NOW.timestamp() - 180 else 2.0,
            answered=lambda at: None if at > NOW.timestamp() - 180 else 2.0,
        ).answer
    )
    assert np.isnan(history.requests[:2]).all()
    assert history.requests[2:7].tolist() == [120.0] * 5
    assert history.requests[7:].tolist() == [0.0] * 3
    assert np.isnan(history.input_tokens_mean[7:]).all()


def test_a_week_is_asked_for_day_by_day_and_every_minute_of_it_once() -> None:
    past = Past()
    history = asked_of(past.answer, since=timedelta(days=7))
    assert len(history.requests) == 7 * 1440
    assert not np.isnan(history.requests).any()
    spans = [(float(each["start"]), float(each["end"])) for each in past.asked if re.match(r"sum\(sum_over_time", each["query"])]
    assert len(spans) == 7
    assert all(end - start <= 86_400 for start, end in spans)


def test_a_day_and_a_part_is_asked_up_to_now_and_how_far_it_is_is_told() -> None:
    past, told = Past(), list[float]()
    with serving(past.answer) as url:
        read_history(prometheus_at(url), namespace="team", workload="chat", since=timedelta(hours=30), now=NOW, on_progress=told.append)
    assert max(float(each["end"]) for each in past.asked) == NOW.timestamp()
    assert told == pytest.approx([count / len(past.asked) for count in range(1, len(past.asked) + 1)])


def refusal(answer: Callable[[dict[str, str]], Answer], **changes: Any) -> str:
    with pytest.raises(HistoryError) as caught:
        asked_of(answer, **changes)
    return str(caught.value)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((500, "broken"), '500 Internal Server Error, "broken"; give the URL'),
        ((200, "<html>"), "it answered"),
        ((200, {"status": "success", "data": {"result": [{"metric": {}}]}}), "something else than a range"),
        ((200, {"status": "success"}), "it answered"),
    ],
    ids=["an error", "a page", "series without values", "no data"],
)
def test_an_answer_that_is_none_is_told(answer: Answer, told: str) -> None:
    assert told in refusal(lambda _: answer)


def test_a_server_that_hangs_is_not_waited_for() -> None:
    release = threading.Event()

    def late(_: dict[str, str]) -> Answer:
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
    assert told.endswith("; give the URL of Prometheus itself")
