"""What each part of the gateway's configuration costs: the same gateway without it, by turns with the whole, in CPU time and latency."""

import copy
import json
import statistics
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.gateway import targets
from benchmarks.gateway.measures import percentile, run_load
from benchmarks.gateway.processes import Target, await_answer, compiled, envoy_process, running
from benchmarks.gateway.stage import HERE
from benchmarks.gateway.targets import manager
from tests.dataplane.process import port_of, reserved

Config = dict[str, Any]
_WHOLE = "nothing"
_QUIET = 0.1  # of the rounds: what a part costs is much less than what a busy machine adds to a round


def table(scratch: Path, *, rounds: int, requests: int) -> str:
    """Return a Markdown table. CPU is the Envoy's own, per request. All figures are of the least disturbed tenth of the rounds."""
    cpu_us, p50_us = ({name: percentile(each, _QUIET) for name, each in values.items()} for values in _measure(scratch, rounds, requests))
    rows = [
        f"| {name} | {cpu_us[name]:.0f} µs | {cpu_us[_WHOLE] - cpu_us[name]:+.0f} µs | {p50_us[_WHOLE] - p50_us[name]:+.0f} µs |"
        for name in _VARIANTS
    ]
    return "\n".join(["| owned path without | CPU per request | CPU saved | p50 saved |", "|---|---|---|---|", *rows])


def _measure(scratch: Path, rounds: int, requests: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    with ExitStack() as stack:

        def free_port() -> int:
            return port_of(stack.enter_context(reserved()))

        engine, client = free_port(), compiled(scratch, HERE / "client.c")
        (scratch / "answer.json").write_text(json.dumps(targets.ANSWER))
        program = compiled(scratch, HERE / "engine.c")
        stack.enter_context(running([str(program), str(engine), str(scratch / "answer.json"), "1000"], scratch / "engine.log"))
        found = []
        for place, (name, change) in enumerate(_VARIANTS.items()):
            folder, listen = scratch / f"variant-{place}", free_port()
            folder.mkdir()
            sides = targets.Sides(engine=engine, provider=9, authority="")
            config = change(copy.deepcopy(targets.gateway(folder, sides, listen=listen, metrics=free_port())))
            found.append(Target(name=name, port=listen, pid=stack.enter_context(envoy_process(folder, config))))
        for each in found:
            await_answer(each)
            run_load(client, scratch, each, most=requests)
        cpu_us: dict[str, list[float]] = {each.name: [] for each in found}
        p50_us: dict[str, list[float]] = {each.name: [] for each in found}
        for number in range(rounds):
            shift = number % len(found)
            for each in (*found[shift:], *found[:shift]):
                run = run_load(client, scratch, each, most=requests)
                cpu_us[each.name].append((run.cpu_us or 0.0) / requests)
                p50_us[each.name].append(statistics.median(run.total_us))
        return cpu_us, p50_us


def _edge(config: Config) -> Config:
    return manager(config["static_resources"]["listeners"][0])


def _owned(config: Config) -> Config:
    return manager(next(each for each in config["static_resources"]["listeners"] if each["name"] == "owned"))


def _without_filters(*names: str) -> Callable[[Config], Config]:
    def change(config: Config) -> Config:
        edge = _edge(config)
        edge["http_filters"] = [each for each in edge["http_filters"] if each["name"] not in names]
        if "spillway.answer" in names:
            for route in edge["route_config"]["virtual_hosts"][0]["routes"]:
                route.pop("typed_per_filter_config", None)
        return config

    return change


def _without_logs(*names: str) -> Callable[[Config], Config]:
    def change(config: Config) -> Config:
        _edge(config)["access_log"] = [each for each in _edge(config)["access_log"] if each["name"] not in names]
        return config

    return change


def _without_answer_statistics(config: Config) -> Config:
    for each in (_edge(config), _owned(config)):
        each["http_filters"][-1]["typed_config"]["dynamic_stats"] = False
    return config


def _without_inner_retry(config: Config) -> Config:
    for route in _owned(config)["route_config"]["virtual_hosts"][0]["routes"]:
        del route["route"]["retry_policy"]
    return config


_VARIANTS: dict[str, Callable[[Config], Config]] = {
    _WHOLE: lambda config: config,
    "the second tier (as Dedicated now is)": targets.single_tier,
    "the retry on another replica": _without_inner_retry,
    "json_to_metadata (tokens of plain answers)": _without_filters("envoy.filters.http.json_to_metadata"),
    "sse_to_metadata (tokens of streams)": _without_filters("envoy.filters.http.sse_to_metadata"),
    "the script on requests": _without_filters("envoy.filters.http.lua"),
    "the script on streamed answers": _without_filters("spillway.answer"),
    "Envoy's own statistics by answer, in both tiers": _without_answer_statistics,
    "the body limit": _without_filters("envoy.filters.http.buffer"),
    "the access log's line": _without_logs("envoy.access_loggers.stdout"),
    "the loggers that count": _without_logs("envoy.access_loggers.stats"),
    "all of it (a plain hop)": targets.plain,
}
