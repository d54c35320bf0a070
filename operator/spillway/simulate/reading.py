"""From the columns of a file to a trace: which column is which, in what unit time is, and what cannot be a request.

Nothing is dropped silently: a row that cannot be a request is an error with its line, or, where that was asked for, left out and told.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from spillway.simulate.trace import Floats, Trace, Whole

SHIFTED_FROM = 1e8  # seconds: whoever counts from more than three years back counts from 1970, and the trace starts at its first request
SHORTEST_S = 1.0  # a trace all of whose requests come at its start lasts no time, and has no rate
MOST_YEARS = 10  # that a trace lasts: a longer one is in another unit, or has a request that is not of it
MOST_TOLD = 3  # rows left out that are told one by one
MOST_TOKENS = 1e9  # of one request: more is another column


class TraceError(Exception):
    """A trace that cannot be used: what, which row and what to do, as a sentence without the file's name."""


class Column(StrEnum):
    """What a trace is made of, as `--columns` names it."""

    ARRIVAL = "arrival"
    INPUT = "input"
    OUTPUT = "output"


# Lower case and without separators, the likeliest first. From Azure's public traces (TIMESTAMP, ContextTokens, GeneratedTokens), ServeGen
# and BurstGPT (Timestamp, Request tokens, Response tokens), Vidur (arrived_at, num_prefill_tokens, num_decode_tokens), Mooncake
# (timestamp, input_length, output_length) and the names of the OpenAI API (prompt_tokens, completion_tokens).
KNOWN: Mapping[Column, tuple[str, ...]] = {
    Column.ARRIVAL: (
        "arrival", "arrivaltime", "arrivaltimestamp", "arrivedat", "timestamp", "requesttimestamp", "requesttime", "starttime",
        "createdat", "datetime", "time", "ts",
    ),
    Column.INPUT: (
        "inputtokens", "contexttokens", "prompttokens", "numprefilltokens", "prefilltokens", "numprompttokens", "requesttokens",
        "inputlength", "promptlength", "inputlen", "promptlen", "tokensin",
    ),
    Column.OUTPUT: (
        "outputtokens", "generatedtokens", "completiontokens", "numdecodetokens", "decodetokens", "numoutputtokens",
        "generationtokens", "responsetokens", "outputlength", "outputlen", "tokensout",
    ),
}  # fmt: skip
PER_SECOND = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
_SUFFIX = re.compile(r"^(.*?)[ _-]*(?:in[ _-]*)?[\[(]?\b(s|sec|seconds|ms|us|ns)[\])]?$")
_SUFFIXES = {"sec": "s", "seconds": "s"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A column by its name in the file; `unit` (a key of PER_SECOND) where it is known."""

    name: str
    unit: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """What was read. All arrays have one entry per row; what is no number is NaN."""

    columns: Mapping[Column, Named]
    dated: bool  # arrivals were dates, and are seconds since 1970
    arrival: Floats  # in the file's unit
    input_tokens: Floats
    output_tokens: Floats
    lines: Whole  # of each row in the file, from 1
    row_word: str  # what a row is called: line, or row
    texts: Mapping[tuple[int, Column], str]  # row, column → what stood there, for those that are no number


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A trace, and what has to be said about how it was read."""

    trace: Trace
    remarks: tuple[str, ...] = ()
    columns: Mapping[Column, str] = field(default_factory=dict)  # of the file, by what they were taken for


def choose(names: Sequence[str], stated: Mapping[Column, Named]) -> dict[Column, Named]:
    """Return which of the file's columns is which: those stated, else those known by name. Raises TraceError where one is missing."""
    found: dict[Column, Named] = {}
    for column in Column:
        wanted = stated.get(column)
        if wanted is not None:
            exact = [name for name in names if name == wanted.name] or [name for name in names if name.lower() == wanted.name.lower()]
            if not exact:
                raise TraceError(f"has no column {wanted.name!r}, only {_listed(names)}; correct --columns {column}=NAME")
            found[column] = Named(name=exact[0], unit=wanted.unit or _unit(exact[0], column))
            continue
        likely = [(KNOWN[column].index(base), name) for name in names if (base := _base(name, column)) in KNOWN[column]]
        if not likely:
            raise TraceError(
                f"none of its columns ({_listed(names)}) is known to be the {_called(column)}; say --columns {column}=NAME "
                "(the first line has to hold the names)"
            )
        name = min(likely, key=lambda each: each[0])[1]
        found[column] = Named(name=name, unit=_unit(name, column))
    return found


def make_trace(cells: Cells, *, name: str, skip_bad: bool) -> Reading:
    """Return the trace in order of arrival. Raises TraceError where a row cannot be a request and `skip_bad` does not leave it out."""
    rows = len(cells.lines)
    if not rows:
        raise TraceError("has no requests; give a file with at least one")
    seconds, remarks = _seconds(cells)
    faults = _faults(cells, seconds)
    bad = np.logical_or.reduce([mask for _, mask, _ in faults])
    count = int(bad.sum())
    if count and not skip_bad:
        raise TraceError(
            f"{_told(cells, faults, int(np.argmax(bad)))}; correct it, or leave such rows out with --skip-bad-rows (there "
            f"{'is 1' if count == 1 else f'are {count:,}'} of {rows:,})"
        )
    if count == rows:
        raise TraceError(f"has no usable row: {_told(cells, faults, 0)}; say with --columns which column is which")
    if count:
        remarks.append(_left_out(cells, faults, bad))
    good = ~bad
    return Reading(
        trace=_no_longer_than_anybody_records(
            _in_order(seconds[good], cells.input_tokens[good], cells.output_tokens[good], name=name, remarks=remarks), cells
        ),
        remarks=tuple(remarks),
        columns={column: named.name for column, named in cells.columns.items()},
    )


def _in_order(seconds: Floats, inputs: Floats, outputs: Floats, *, name: str, remarks: list[str]) -> Trace:
    first = float(seconds.min())
    if first >= SHIFTED_FROM:
        seconds = seconds - first
    if np.any(np.diff(seconds) < 0):
        remarks.append("Requests were not in order of arrival and were sorted.")
        order = np.argsort(seconds, kind="stable")
        seconds, inputs, outputs = seconds[order], inputs[order], outputs[order]
    return Trace(
        name=name,
        arrival_s=seconds,
        input_tokens=inputs.astype(np.int64),
        output_tokens=outputs.astype(np.int64),
        duration_s=max(float(seconds[-1]), SHORTEST_S),
    )


def _no_longer_than_anybody_records(trace: Trace, cells: Cells) -> Trace:
    years = trace.duration_s / (366 * 86_400)
    if years > MOST_YEARS:
        name = cells.columns[Column.ARRIVAL].name
        raise TraceError(
            f"lasts {years:.3g} years by its column {name!r}, and {MOST_YEARS} are the most; say its unit with --columns arrival={name}:ms "
            "(or s, us, ns), or take out the request that is so late"
        )
    return trace


def _seconds(cells: Cells) -> tuple[Floats, list[str]]:
    """Return arrivals in seconds, and what was assumed of their unit."""
    if cells.dated:
        return cells.arrival, []
    named = cells.columns[Column.ARRIVAL]
    if named.unit is not None:
        return cells.arrival / PER_SECOND[named.unit], []
    known = cells.arrival[np.isfinite(cells.arrival)]
    largest = float(known.max()) if len(known) else 0.0
    # Since 1970: seconds have ten digits, milliseconds thirteen, and so on. Smaller numbers count from the trace's start.
    unit = "ns" if largest >= 1e17 else "us" if largest >= 1e14 else "ms" if largest >= 1e11 else "s"  # noqa: PLR2004
    return cells.arrival / PER_SECOND[unit], [
        f"Column {named.name!r} is taken to be in {unit}; --columns arrival={named.name}:ms (or s, us, ns) says otherwise."
    ]


_Fault = tuple[Column, NDArray[np.bool_], str]


def _faults(cells: Cells, seconds: Floats) -> tuple[_Fault, ...]:
    """Return what each row may suffer from: column, in which rows, and what is wrong with it."""
    faults: list[_Fault] = [
        (Column.ARRIVAL, ~np.isfinite(seconds), "which is no time (ISO 8601, or a number)"),
        (Column.ARRIVAL, seconds < 0, "which is before the start"),
    ]
    for column, tokens, told in (
        (Column.INPUT, cells.input_tokens, "and a prompt has at least 1 token"),
        (Column.OUTPUT, cells.output_tokens, "and an answer has at least 1 token"),
    ):
        with np.errstate(invalid="ignore"):
            faults += [
                (column, ~np.isfinite(tokens) | (tokens > MOST_TOKENS), "which is no number of tokens"),
                (column, tokens < 1, told),
                (column, np.isfinite(tokens) & (tokens != np.floor(tokens)), "which is no whole number"),
            ]
    return tuple(faults)


def _told(cells: Cells, faults: Iterable[_Fault], row: int) -> str:
    column, _, why = next(fault for fault in faults if fault[1][row])
    value = {Column.ARRIVAL: cells.arrival, Column.INPUT: cells.input_tokens, Column.OUTPUT: cells.output_tokens}[column][row]
    text = cells.texts.get((row, column))
    stood = "nothing" if text is not None and not text.strip() else repr(text) if text is not None else f"{value:g}"
    return f"{cells.row_word} {cells.lines[row]}: {cells.columns[column].name} is {stood}, {why}"


def _left_out(cells: Cells, faults: tuple[_Fault, ...], bad: NDArray[np.bool_]) -> str:
    rows = np.flatnonzero(bad)
    first = "; ".join(_told(cells, faults, int(row)) for row in rows[:MOST_TOLD])
    more = len(rows) - MOST_TOLD
    return f"{len(rows):,} of {len(bad):,} rows were left out: {first}{f'; and {more:,} more' if more > 0 else ''}."


def _base(name: str, column: Column) -> str:
    """Return a name as KNOWN has it: without case, separators and, for times, unit."""
    plain = name.strip().lower()
    if column is Column.ARRIVAL and (match := _SUFFIX.match(plain.replace("_", " "))):
        plain = match.group(1)
    return re.sub(r"[^a-z0-9]", "", plain)


def _unit(name: str, column: Column) -> str | None:
    match = _SUFFIX.match(name.strip().lower().replace("_", " ")) if column is Column.ARRIVAL else None
    return None if match is None else _SUFFIXES.get(match.group(2), match.group(2))


def _called(column: Column) -> str:
    return {Column.ARRIVAL: "arrival time", Column.INPUT: "prompt's tokens", Column.OUTPUT: "answer's tokens"}[column]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names) or "none"
