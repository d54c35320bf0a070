"""Prometheus, asked once per tick for all workloads, in a worker thread and never without a timeout."""

import asyncio
import logging
import math
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, Protocol

import requests

from spillway.api.vocabulary import Reason
from spillway.observe.access import OPEN, Access
from spillway.observe.asking import TROUBLE, RefusedError, TooMuchError, connect, why_not_let_in
from spillway.observe.batch import Answers, Batch, Series
from spillway.observe.queries import FIRST, queries
from spillway.observe.signals import Target, all_missing, signals_of
from spillway.plan.decision import Key
from spillway.plan.observation import Missing, Signals

logger = logging.getLogger(__name__)


# Of one tick, in 480 MiB of memory: an operator with the chart's limit has no more. 2,000 busy workloads have as many.
MOST_SERIES = 400_000


class Asked(Protocol):
    """The part of PrometheusConnect that is used."""

    def custom_query(self, query: str, params: dict[str, str] | None = None, timeout: int | None = None) -> list[dict[str, Any]]:
        """Return the result of an instant query."""


class PrometheusSource:
    """Reads all workloads' signals. Whatever fails is a Missing that says why."""

    def __init__(self, asked: Asked, *, window_s: float, timeout_s: float, access: Access = OPEN) -> None:
        self._asked = asked
        self._access = access
        self._queries = queries(window_s)
        self._window_s = window_s
        self._timeout_s = timeout_s
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prometheus")
        self._busy: asyncio.Future[Answers] | None = None
        self._given_up = threading.Event()  # whether nobody waits for the batch under way any more

    @classmethod
    def at(cls, url: str, access: Access, *, window_s: float, timeout_s: float) -> "PrometheusSource":
        """Return a source for a server. Nothing is retried within a tick: the next tick is the retry."""
        return cls(connect(url, access, timeout_s=timeout_s), window_s=window_s, timeout_s=timeout_s, access=access)

    async def read(self, targets: Mapping[Key, Target], pod_owners: Mapping[tuple[str, str], Key], now: datetime) -> Mapping[Key, Signals]:
        """Ask everything once and return each workload's signals."""
        try:
            answers = await self._batch()
        except TimeoutError:
            late = Missing(reason=Reason.PROMETHEUS_ERROR, detail="the queries together took too long; raise prometheus.timeoutSeconds")
            return {key: all_missing(self._window_s, late, target.backends) for key, target in targets.items()}
        batch = Batch.of(answers, window_s=self._window_s, at=now, pod_owners=pod_owners)
        return {key: signals_of(key, batch, target) for key, target in targets.items()}

    def close(self) -> None:
        """Let go of the thread. A request under way ends by its own timeout, and is the last: the process waits for the thread."""
        self._given_up.set()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _batch(self) -> Answers:
        """Run the batch in the one thread. A batch that hangs from the tick before is not joined by a second one."""
        if self._busy is not None and not self._busy.done():
            raise TimeoutError
        loop = asyncio.get_running_loop()
        self._given_up.clear()
        self._busy = loop.run_in_executor(self._thread, self._ask_all)
        try:
            async with asyncio.timeout(self._timeout_s * 3):
                return await asyncio.shield(self._busy)
        finally:
            self._given_up.set()

    def _ask_all(self) -> Answers:
        first = self._ask(FIRST)
        if isinstance(first, Missing):
            return dict.fromkeys(self._queries, first)
        answers: dict[str, list[Series] | Missing] = {FIRST: first}
        for name in self._queries:
            if name != FIRST:
                answers[name] = self._if_due(name, sum(len(each) for each in answers.values() if not isinstance(each, Missing)))
        return answers

    def _if_due(self, name: str, read: int) -> list[Series] | Missing:
        """Ask, unless nobody waits for the answer (a server that is overloaded has enough to do) or too much was `read` already."""
        if self._given_up.is_set():
            return Missing(reason=Reason.PROMETHEUS_ERROR, detail="given up")
        if read > MOST_SERIES:
            return Missing(reason=Reason.PROMETHEUS_ERROR, detail=_sentence(TooMuchError(f"has more than {MOST_SERIES} series to tell")))
        return self._ask(name)

    def _ask(self, name: str) -> list[Series] | Missing:
        try:
            return parse(self._asked.custom_query(self._queries[name]))
        except TROUBLE as problem:
            told = why_not_let_in(problem, self._access) or _sentence(problem)
            logger.debug("query %s failed: %s", name, told)
            return Missing(reason=Reason.PROMETHEUS_ERROR, detail=told)


def parse(result: list[dict[str, Any]]) -> list[Series]:
    """Return an instant vector as labels and values; what is no number, a native histogram too, is left out.

    One of a single workload's pods must not be all that the others have of an answer.
    """
    series: list[Series] = []
    for row in result:
        if "histogram" in row:
            continue
        value = float(row["value"][1])
        if not math.isnan(value):
            series.append((dict(row["metric"]), value))
    return series


def _sentence(problem: BaseException) -> str:
    """Return the kind of trouble without addresses that change with each attempt."""
    if isinstance(problem, requests.ConnectionError):
        return "Prometheus cannot be reached"
    if isinstance(problem, requests.Timeout):
        return "Prometheus did not answer in time; raise prometheus.timeoutSeconds if it is only slow"
    if isinstance(problem, RefusedError):
        return f"it answered {problem}"
    if isinstance(problem, TooMuchError):
        return f'{problem}; find the pods with too many: topk(5, count by (namespace, pod) ({{workload!=""}}))'
    return f"{type(problem).__name__}: {problem}"[:200]
