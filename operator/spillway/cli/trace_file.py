"""`spillway simulate --trace FILE`: CSV or Parquet, plain or gzip, from a file or standard input.

What the columns are called and what a row has to be is in simulate/reading.py; here files are opened and cells become numbers.
"""

import csv
import gzip
import io
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from spillway.cli.bad_input import BadInputError
from spillway.simulate.reading import PER_SECOND, Cells, Column, Named, Reading, TraceError, choose, make_trace
from spillway.simulate.trace import Floats

ROWS_AT_ONCE = 65_536
DELIMITERS = ",;\t|"
STANDARD_INPUT = "-"
_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"
Progress = Callable[[int], None]  # rows read so far


def read_trace(file: str, *, stated: Mapping[Column, Named], skip_bad: bool, on_progress: Progress | None = None) -> Reading:
    """Return the trace in a file. Raises BadInputError that names the file, the line and what to do."""
    try:
        cells = _read(file, stated, on_progress or (lambda _: None))
        return make_trace(cells, name="standard input" if file == STANDARD_INPUT else Path(file).name, skip_bad=skip_bad)
    except TraceError as problem:
        misnamed = "; it is named as gzip and is none: if it should be, fetch it again" if _is_misnamed(file) else ""
        raise BadInputError(f"{file}: {problem}{misnamed}") from None
    except OSError as problem:
        raise BadInputError(f"{file}: cannot be read: {problem.strerror or problem}; give the path of a trace with --trace") from None
    except (EOFError, zlib.error):
        raise BadInputError(f"{file}: ends too early or is damaged; fetch it again") from None


def _is_misnamed(file: str) -> bool:
    """Whether a file that its name calls gzip is none, as an error's page is that was saved under the name."""
    if not file.endswith(".gz") or not Path(file).is_file():
        return False
    with Path(file).open("rb") as stream:
        return stream.read(len(_GZIP)) != _GZIP


def stated_columns(text: str | None) -> dict[Column, Named]:
    """Return what `--columns arrival=NAME[:UNIT],input=NAME,output=NAME` says."""
    found: dict[Column, Named] = {}
    for part in (text or "").split(",") if text else ():
        which, equals, name = (each.strip() for each in part.partition("="))
        if not equals or not name or which not in set(Column):
            raise BadInputError(f"--columns: {part.strip()!r} is none of arrival=NAME, input=NAME, output=NAME; separate them by commas")
        column = Column(which)
        plain, colon, unit = name.rpartition(":")
        if colon and column is Column.ARRIVAL:
            if unit not in PER_SECOND:
                raise BadInputError(f"--columns: {unit!r} is no unit of time; give {', '.join(PER_SECOND)}")
            found[column] = Named(name=plain, unit=unit)
        else:
            found[column] = Named(name=name)
    return found


def _read(file: str, stated: Mapping[Column, Named], on_progress: Progress) -> Cells:
    if file == STANDARD_INPUT:
        return _opened(io.BytesIO(sys.stdin.buffer.read()), stated, on_progress)
    with Path(file).open("rb") as stream:  # a pipe, such as <(zstdcat trace.zst), cannot be gone back in
        return _opened(stream if stream.seekable() else io.BytesIO(stream.read()), stated, on_progress)


def _opened(stream: BinaryIO, stated: Mapping[Column, Named], on_progress: Progress) -> Cells:
    start = stream.read(4)
    stream.seek(0)
    if start.startswith(_GZIP):
        with gzip.open(stream) as inside:
            begins = inside.read(4)
            inside.seek(0)
            if begins == _PARQUET:
                return _from_parquet(io.BytesIO(inside.read()), stated)
            return _from_csv(inside, stated, on_progress)
    if start == _PARQUET:
        return _from_parquet(stream, stated)
    return _from_csv(stream, stated, on_progress)


def _from_csv(stream: BinaryIO | gzip.GzipFile, stated: Mapping[Column, Named], on_progress: Progress) -> Cells:
    lines = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
    try:
        head, above = lines.readline(), 1
        while head and not head.strip():
            head, above = lines.readline(), above + 1
        if not head:
            raise TraceError("is empty; give a trace with the columns arrival_s, input_tokens, output_tokens")
        delimiter = max(DELIMITERS, key=head.count)
        names = [name.strip() for name in next(csv.reader([head], delimiter=delimiter))]
        columns = choose(names, stated)
        places = {column: names.index(named.name) for column, named in columns.items()}
        return _gathered(csv.reader(lines, delimiter=delimiter), columns, places, above, on_progress)
    except UnicodeDecodeError:
        raise TraceError("is neither UTF-8 text nor Parquet, plain or gzip; convert it to one of them") from None
    finally:
        lines.detach()  # whoever opened the stream closes it


def _gathered(reader: Any, columns: Mapping[Column, Named], places: Mapping[Column, int], above: int, on_progress: Progress) -> Cells:
    """Return what a reader gives; `above` lines have been read before it."""
    parts: dict[Column, list[Floats]] = {column: [] for column in Column}
    lines: list[Floats] = []
    texts: dict[tuple[int, Column], str] = {}
    dated: bool | None = None
    rows = 0
    for chunk in _chunks(reader, above):
        cells = {column: [row[place] if place < len(row) else "" for _, row in chunk] for column, place in places.items()}
        if dated is None:
            dated = _are_dates(cells[Column.ARRIVAL])
        for column in Column:
            parse = _date_s if column is Column.ARRIVAL and dated else float
            numbers, unreadable = _numbers(cells[column], parse)
            parts[column].append(numbers)
            texts |= {(rows + row, column): text for row, text in unreadable.items()}
        lines.append(np.fromiter((line for line, _ in chunk), np.float64, len(chunk)))
        rows += len(chunk)
        on_progress(rows)
    arrays = {column: np.concatenate(each) if each else np.empty(0) for column, each in parts.items()}
    return Cells(
        columns=columns,
        dated=bool(dated),
        arrival=arrays[Column.ARRIVAL],
        input_tokens=arrays[Column.INPUT],
        output_tokens=arrays[Column.OUTPUT],
        lines=(np.concatenate(lines) + above).astype(np.int64) if lines else np.empty(0, np.int64),
        row_word="line",
        texts=texts,
    )


def _chunks(reader: Any, above: int) -> Iterator[list[tuple[int, list[str]]]]:
    """Give rows with the line each ends on, many at a time; lines in which nothing stands are no rows."""
    while True:
        try:
            read = [(reader.line_num, row) for row in islice(reader, ROWS_AT_ONCE)]
        except csv.Error as problem:
            raise TraceError(f"line {reader.line_num + above}: cannot be read as CSV: {problem}; correct it") from None
        if not read:
            return
        if chunk := [each for each in read if any(map(str.strip, each[1]))]:  # spreadsheets end a file with rows of separators
            yield chunk


def _numbers(cells: Sequence[str], parse: Callable[[str], float]) -> tuple[Floats, dict[int, str]]:
    """Return cells as numbers, NaN where one is none, and the text of those."""
    try:
        return np.fromiter(map(parse, cells), np.float64, len(cells)), {}
    except ValueError:
        numbers, texts = np.full(len(cells), np.nan), {}
        for row, text in enumerate(cells):
            try:
                numbers[row] = parse(text)
            except ValueError:
                texts[row] = text
        return numbers, texts


def _are_dates(cells: Sequence[str]) -> bool:
    """Whether arrivals are dates, by the first that is a date or a number."""
    for text in cells:
        for parse in (float, _date_s):
            try:
                parse(text)
            except ValueError:
                continue
            return parse is _date_s
    return False


def _date_s(text: str) -> float:
    """Return an ISO 8601 time in seconds since 1970; without an offset it is UTC."""
    found = datetime.fromisoformat(text.strip())
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _from_parquet(stream: BinaryIO, stated: Mapping[Column, Named]) -> Cells:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise TraceError("is Parquet, which needs pyarrow; run: pip install pyarrow, or give the trace as CSV") from None
    try:
        opened = parquet.ParquetFile(stream)
        names = opened.schema_arrow.names
        columns = choose(names, stated)
        twice = [named.name for named in columns.values() if names.count(named.name) > 1]
        if twice:
            raise TraceError(f"has two columns called {twice[0]!r}; rename one of them")
        table = opened.read(columns=[named.name for named in columns.values()])
    except pa.ArrowException as problem:
        raise TraceError(f"cannot be read as Parquet: {problem}; write it anew") from None
    arrays: dict[Column, Floats] = {}
    texts: dict[tuple[int, Column], str] = {}
    dated = False
    for column, named in columns.items():
        arrays[column], unreadable, dates = _from_arrow(table.column(named.name), pa, times=column is Column.ARRIVAL)
        texts |= {(row, column): text for row, text in unreadable.items()}
        dated = dates if column is Column.ARRIVAL else dated
    return Cells(
        columns=columns,
        dated=dated,
        arrival=arrays[Column.ARRIVAL],
        input_tokens=arrays[Column.INPUT],
        output_tokens=arrays[Column.OUTPUT],
        lines=np.arange(1, table.num_rows + 1, dtype=np.int64),
        row_word="row",
        texts=texts,
    )


def _from_arrow(values: Any, pa: Any, *, times: bool) -> tuple[Floats, dict[int, str], bool]:
    """Return a column's numbers, the text of what is none, and whether they were dates."""
    kind = values.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        micros = values.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
        return micros.to_numpy().astype(np.float64) / 1e6, {}, True
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return values.cast(pa.float64(), safe=False).to_numpy().astype(np.float64), {}, False
    cells = ["" if each is None else str(each) for each in values.to_pylist()]
    dated = times and _are_dates(cells)
    return (*_numbers(cells, _date_s if dated else float), dated)
