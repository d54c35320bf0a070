"""The table and the bars, for people, for programs and for the README."""

import os
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gateway.measures import STREAMS, Figures, paired, percentile
from benchmarks.gateway.stage import DEDICATED, DIRECT, OWNED, PLAIN, SAME, SPILLED
from benchmarks.machine import processor

_SAME_BAR, _PLAIN_BAR, _SPILLED_BAR = 1.25, 1.35, 2.5
_FIRST_BYTE_BAR_MS, _TOGETHER_BAR, _BURST_BAR = 0.5, 0.01, 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One promise and what became of it."""

    what: str
    wanted: str
    found: str
    met: bool


def ratio(figures: Mapping[str, Figures], name: str, other: str) -> float:
    """Return how many times as long a request takes: the median over the rounds of the medians' ratio."""
    return paired(figures[name].p50_us, figures[other].p50_us, lambda a, b: a / b)


def _times(figures: Mapping[str, Figures], name: str, other: str) -> str:
    quiet = _quiet_us(figures[name]) / _quiet_us(figures[other])
    return f"{ratio(figures, name, other):.2f}x, undisturbed {quiet:.2f}x"


def _quiet_us(of: Figures) -> float:
    """Return the p50 of the least disturbed tenth of the rounds."""
    return percentile(of.p50_us, 0.1)


def bars(figures: Mapping[str, Figures], *, peers: list[str], absent: Mapping[str, str], burst: float) -> list[Bar]:
    """Return all bars. A peer that was not run counts as one that is not beaten."""
    found = []
    for name in (OWNED, DEDICATED):
        for other, bar in ((SAME, _SAME_BAR), (PLAIN, _PLAIN_BAR)):
            times = ratio(figures, name, other)
            found.append(Bar(what=f"{name}: p50 over {other}", wanted=f"≤ {bar}x", found=_times(figures, name, other), met=times <= bar))
    for peer in peers:
        for name in (OWNED, DEDICATED):
            times = ratio(figures, name, peer)
            found.append(Bar(what=f"{name}: p50 over {peer}", wanted="< 1x", found=_times(figures, name, peer), met=times < 1))
    found += [Bar(what=f"{OWNED}: p50 over {peer}", wanted="< 1x", found=f"not run: {why}", met=False) for peer, why in absent.items()]
    times = ratio(figures, SPILLED, PLAIN)
    found.append(
        Bar(
            what=f"{SPILLED}: p50 over {PLAIN}",
            wanted=f"≤ {_SPILLED_BAR}x",
            found=_times(figures, SPILLED, PLAIN),
            met=times <= _SPILLED_BAR,
        )
    )
    for name in (OWNED, DEDICATED):
        more_ms = paired(figures[name].first_us, figures[DIRECT].first_us, lambda a, b: a - b) / 1000
        wanted = f"≤ +{_FIRST_BYTE_BAR_MS} ms"
        found.append(
            Bar(what=f"{name}: first byte of a stream", wanted=wanted, found=f"+{more_ms:.2f} ms", met=more_ms <= _FIRST_BYTE_BAR_MS)
        )
    together = _together(figures[OWNED])
    wanted = f"≤ {_TOGETHER_BAR:.0%} of events wait for a later one"
    found.append(Bar(what=f"{OWNED}: {STREAMS} streams", wanted=wanted, found=f"{together:.1%}", met=together <= _TOGETHER_BAR))
    what = f"a burst of {STREAMS} streams: owned slots taken before the first spill"
    found.append(Bar(what=what, wanted=f"≥ {_BURST_BAR:.0%}", found=f"{burst:.0%}", met=burst >= _BURST_BAR))
    return found


def _together(figures: Figures) -> float:
    return figures.together / len(figures.lag_us)


def table(figures: Mapping[str, Figures]) -> str:
    """Return the figures as a Markdown table."""
    head = (
        "| | p50 | undisturbed | p99 | p50 over plain | first byte | event delay p50, p99 | requests/s, 16 | 256 | CPU per 1,000 | memory |"
    )
    return "\n".join([head, "|---" * 11 + "|", *(_row(figures, name) for name in figures)])


def _row(figures: Mapping[str, Figures], name: str) -> str:
    of = figures[name]
    cells = [
        name,
        f"{statistics.median(of.p50_us):.0f} µs",
        f"{_quiet_us(of):.0f} µs",
        f"{of.p99_us():.0f} µs",
        f"{ratio(figures, name, PLAIN):.2f}x",
        _ms(statistics.median(of.first_us)),
        f"{_ms(statistics.median(of.lag_us))}, {_ms(percentile(of.lag_us, 0.99))}",
        *(f"{statistics.median(of.per_s[connections]):,.0f}" for connections in (16, STREAMS)),
        f"{statistics.median(of.cpu_us[16]):.0f} ms" if of.cpu_us else "-",
        f"{of.memory_mib:.0f} MiB" if of.memory_mib is not None else "-",
    ]
    return f"| {' | '.join(cells)} |"


def _ms(value_us: float) -> str:
    return f"{value_us / 1000:.2f} ms"


def bar_table(found: list[Bar]) -> str:
    """Return the bars as a Markdown table."""
    rows = [f"| {each.what} | {each.wanted} | {each.found} | {'met' if each.met else '**missed**'} |" for each in found]
    return "\n".join(["| bar | wanted | found | |", "|---|---|---|---|", *rows])


def circumstances(command: str) -> str:
    """Return when, how and on what this was measured."""
    memory_kib = int(Path("/proc/meminfo").read_text().split("MemTotal:")[1].split()[0])
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    return (
        f"{time.strftime('%Y-%m-%d')}, `{command}`, {os.cpu_count()} cores ({processor()}),"
        f" {memory_kib / 1024**2:.0f} GiB, load average at the end {load}."
    )
