"""A workload's recorded traffic from Prometheus, by range query: what `spillway simulate --from-prometheus` replays."""

import math
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

import numpy as np
import requests

from spillway.observe import queries
from spillway.observe.access import OPEN, Access
from spillway.observe.asking import TROUBLE, RefusedError, TooMuchError, connect, why_not_let_in
from spillway.simulate.recorded import History
from spillway.simulate.trace import MINUTE_S, Floats

AT_ONCE = timedelta(days=1)  # of one query: Prometheus gives at most 11,000 points of a series, and a day is 1,440
TIMEOUT_S = 60.0  # of one query: a day of a counter with its history takes seconds, not a minute
_NO_URL = (requests.exceptions.MissingSchema, requests.exceptions.InvalidSchema, requests.exceptions.InvalidURL)


class HistoryError(Exception):
    """Prometheus does not tell what was asked."""


class AskedForRanges(Protocol):
    """The part of PrometheusConnect that is used."""

    def custom_query_range(self, query: str, start_time: datetime, end_time: datetime, step: str) -> list[dict[str, Any]]:
        """Return the result of a range query."""


def prometheus_at(url: str, access: Access = OPEN, *, timeout_s: float = TIMEOUT_S) -> AskedForRanges:
    """Return a client that asks a server once, and waits for no longer than this."""
    asked: AskedForRanges = connect(url, access, timeout_s=timeout_s)
    return asked


def read_history(
    asked: AskedForRanges,
    access: Access = OPEN,
    *,
    namespace: str,
    workload: str,
    since: timedelta,
    now: datetime,
    on_progress: Callable[[float], None] | None = None,
) -> History:
    """Return a workload's traffic by minute over the time up to `now`. Raises HistoryError where Prometheus does not answer.

    A minute in which no gateway was scraped is NaN; one in which it was and nothing arrived is 0.
    """
    minutes = max(1, int(since.total_seconds() // MINUTE_S))
    start = now - timedelta(seconds=minutes * MINUTE_S)
    asking = queries.history_queries(namespace, workload, step_s=MINUTE_S)
    found = {name: np.full(minutes, np.nan) for name in asking}
    done, all_of_them = 0, math.ceil(minutes * MINUTE_S / AT_ONCE.total_seconds()) * len(asking)
    for first in range(0, minutes, int(AT_ONCE.total_seconds() // MINUTE_S)):
        last = min(minutes, first + int(AT_ONCE.total_seconds() // MINUTE_S))
        for name, query in asking.items():
            try:
                answer = _ask(asked, query, start=start, first=first, last=last)
            except TROUBLE as problem:
                raise HistoryError(why_not_let_in(problem, access) or _sentence(problem)) from None
            _fill(found[name], answer, start=start)
            done += 1
            if on_progress is not None:
                on_progress(done / all_of_them)
    return _history(found)


def _ask(asked: AskedForRanges, query: str, *, start: datetime, first: int, last: int) -> list[dict[str, Any]]:
    """Ask for the minutes from `first` to before `last`; each is asked at its end, over which the rate looks back."""
    begins, ends = (start + timedelta(seconds=minute * MINUTE_S) for minute in (first + 1, last))
    return asked.custom_query_range(query, start_time=begins, end_time=ends, step=f"{MINUTE_S:.0f}s")


def _fill(row: Floats, result: list[dict[str, Any]], *, start: datetime) -> None:
    try:
        points = [(float(at), float(value)) for series in result for at, value in series["values"]]
    except (LookupError, TypeError, ValueError) as problem:
        raise HistoryError(f"it answered something else than a range: {type(problem).__name__}: {problem}") from None
    for at, value in points:
        minute = round((at - start.timestamp()) / MINUTE_S) - 1
        if 0 <= minute < len(row) and math.isfinite(value):
            row[minute] = value


def _history(found: Mapping[str, Floats]) -> History:
    scraped = np.nan_to_num(found[queries.UP]) > 0
    rates = {name: np.nan_to_num(row) for name, row in found.items()}  # nothing counted is zero where the gateway is scraped
    metered = rates[queries.ANSWERED] - rates[queries.UNMETERED]

    def mean(tokens: Floats) -> Floats:
        known = scraped & (metered > 0) & (tokens > 0)
        lengths: Floats = np.divide(tokens, metered, out=np.full(len(tokens), np.nan), where=known)
        return lengths

    return History(
        requests=np.where(scraped, rates[queries.REQUESTS] * MINUTE_S, np.nan),
        input_tokens_mean=mean(rates[queries.TOKENS_IN]),
        output_tokens_mean=mean(rates[queries.TOKENS_OUT]),
    )


def _sentence(problem: BaseException) -> str:
    if isinstance(problem, _NO_URL):
        return "that is no URL; give it with http:// or https://, such as http://localhost:9090 after kubectl port-forward"
    if isinstance(problem, requests.ConnectionError):
        return "it cannot be reached; give its URL with --from-prometheus, such as http://localhost:9090 after kubectl port-forward"
    if isinstance(problem, requests.Timeout):
        return "it did not answer in time; ask for less with --since"
    if isinstance(problem, RefusedError):
        return f"it answered {problem}; set the URL of Prometheus itself"
    if isinstance(problem, TooMuchError):  # a day of one series is some 40 KB
        return f"{problem}; set the URL of Prometheus itself"
    return f"it answered {' '.join(f'{type(problem).__name__}: {problem}'.split())[:200]}; set the URL of Prometheus itself"
