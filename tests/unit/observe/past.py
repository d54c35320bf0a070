"""A Prometheus that knows a workload's past."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.servers import Answer, Request


def points(value: Callable[[float], float | None]) -> Callable[[float, float], list[list[Any]]]:
    def between(start: float, end: float) -> list[list[Any]]:
        found = [(at, value(at)) for at in np.arange(start, end + 1, 60.0)]
        return [[at, f"{each}"] for at, each in found if each is not None]

    return between


class Past:
    """What a Prometheus knows, by what its queries contain; the most telling word first. It tells it to who sends the wanted headers."""

    def __init__(self, wanted: dict[str, str] | None = None, **values: Callable[[float], float | None]) -> None:
        self.series = {
            "up{": points(values.get("up", lambda _: 4.0)),
            'code=~"2': points(values.get("answered", lambda _: 1.9)),
            "unmetered": points(values.get("unmetered", lambda _: 0.1)),
            "input_tokens": points(values.get("input_tokens", lambda _: 1440.0)),
            "output_tokens": points(values.get("output_tokens", lambda _: 360.0)),
            "envoy_spillway_requests": points(values.get("requests", lambda _: 2.0)),
        }
        self.wanted = {name.lower(): value for name, value in (wanted or {}).items()}
        self.asked: list[dict[str, str]] = []

    def __call__(self, request: Request) -> Answer:
        if not self.wanted.items() <= request.headers.items():
            return 401, "who are you?"
        asked = {name: values[0] for name, values in request.query.items()}
        self.asked.append(asked)
        query = asked["query"]
        name = "up{" if query.startswith("sum(sum_over_time(up{") else next(each for each in list(self.series)[1:] if each in query)
        values = self.series[name](float(asked["start"]), float(asked["end"]))
        return 200, {"status": "success", "data": {"resultType": "matrix", "result": [{"metric": {}, "values": values}] if values else []}}
