"""Traces as people have them: any usual column names, any unit of time, plain or gzip; and a sentence with the line for what is wrong."""

import gzip
import io
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from spillway.cli.bad_input import BadInputError
from spillway.cli.trace_file import read_trace, stated_columns
from spillway.simulate.reading import Reading

Write = Callable[..., str]
ROWS = [(0.0, 374, 44), (4.315, 396, 109), (5.5, 879, 1)]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(text: str | bytes, name: str = "trace.csv") -> str:
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return str(path)

    return written


def read(file: str, columns: str | None = None, *, skip_bad: bool = False) -> Reading:
    return read_trace(file, stated=stated_columns(columns), skip_bad=skip_bad)


def rows(reading: Reading) -> list[tuple[float, int, int]]:
    trace = reading.trace
    return list(zip(trace.arrival_s.tolist(), trace.input_tokens.tolist(), trace.output_tokens.tolist(), strict=True))


def refusal(file: str, columns: str | None = None) -> str:
    with pytest.raises(BadInputError) as caught:
        read(file, columns)
    return str(caught.value)


PLAIN = "arrival_s,input_tokens,output_tokens\n0.000,374,44\n4.315,396,109\n5.5,879,1\n"


def test_the_projects_own_layout_is_read(write: Write) -> None:
    reading = read(write(PLAIN))
    assert rows(reading) == ROWS
    assert (reading.trace.name, reading.trace.duration_s, reading.remarks) == ("trace.csv", 5.5, ())


@pytest.mark.parametrize("packed", [str.encode, lambda text: gzip.compress(text.encode())], ids=["plain", "gzip"])
def test_a_pipe_is_read_as_a_file(packed: Callable[[str], bytes]) -> None:
    out, into = os.pipe()
    os.write(into, packed(PLAIN))
    os.close(into)
    try:
        assert rows(read(f"/dev/fd/{out}")) == ROWS
    finally:
        os.close(out)


def test_azures_layout_is_read_and_begins_at_its_first_request(write: Write) -> None:
    text = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,374,44\n2023-11-16 18:17:08.2949600,396,109\n"
    reading = read(write(text))
    assert [row[1:] for row in rows(reading)] == [(374, 44), (396, 109)]
    assert reading.trace.arrival_s == pytest.approx([0.0, 4.315], abs=1e-5)


@pytest.mark.parametrize(
    "head",
    [
        "arrival_s,input_tokens,output_tokens",
        "Arrival (s),Prompt Tokens,Completion Tokens",
        "arrived_at,num_prefill_tokens,num_decode_tokens",
        "timestamp,input_length,output_length",
        "Timestamp,Request tokens,Response tokens",
        "\ufeffarrival_time,PROMPT_TOKENS,GeneratedTokens",
        "time,contextTokens,generatedTokens",
    ],
)
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_columns_are_known_by_their_usual_names(write: Write, head: str, delimiter: str) -> None:
    assert rows(read(write(PLAIN.replace(PLAIN.split("\n", maxsplit=1)[0], head).replace(",", delimiter)))) == ROWS


def test_other_columns_are_named_by_the_option_and_those_in_between_are_left_alone(write: Write) -> None:
    text = "when,model,in,out,note\n0,a,374,44,x\n4315,b,396,109,y\n5500,c,879,1,z\n"
    assert rows(read(write(text), "arrival=when:ms,input=in,output=out")) == ROWS


@pytest.mark.parametrize(
    ("name", "factor"), [("arrival_ms", 1e3), ("arrival_time_us", 1e6), ("timestamp [ns]", 1e9), ("arrival_seconds", 1)], ids=str
)
def test_a_unit_in_the_name_of_the_column_counts(write: Write, name: str, factor: float) -> None:
    text = f"{name},input_tokens,output_tokens\n" + "".join(f"{at * factor:.0f},{a},{b}\n" for at, a, b in [ROWS[0], (7.0, 5, 6)])
    assert rows(read(write(text))) == [ROWS[0], (7.0, 5, 6)]


@pytest.mark.parametrize("factor", [1, 1e3, 1e6, 1e9], ids=["s", "ms", "us", "ns"])
def test_times_since_1970_tell_their_unit_themselves(write: Write, factor: int) -> None:
    text = "timestamp,input_tokens,output_tokens\n" + "".join(f"{int((1_700_000_000 + at) * factor)},5,6\n" for at in (0, 3, 8))
    reading = read(write(text))
    assert reading.trace.arrival_s == pytest.approx([0, 3, 8], abs=1e-3)
    assert "--columns arrival=timestamp:ms" in reading.remarks[0]


def test_gzip_is_opened_whatever_the_file_is_called(write: Write) -> None:
    assert rows(read(write(gzip.compress(PLAIN.encode()), "trace.txt"))) == ROWS


def test_what_is_called_gzip_and_is_none_is_read_as_it_is_and_told_where_it_makes_no_sense(write: Write) -> None:
    assert rows(read(write(PLAIN, "trace.csv.gz"))) == ROWS
    with pytest.raises(BadInputError, match="it is named as gzip and is none: if it should be, fetch it again"):
        read(write("<html>not found</html>", "page.csv.gz"))


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(gzip.compress(PLAIN.encode()))))
    assert rows(read("-")) == ROWS


def test_requests_out_of_order_are_sorted_and_that_is_told(write: Write) -> None:
    reading = read(write("arrival_s,input_tokens,output_tokens\n4.315,396,109\n0,374,44\n5.5,879,1\n"))
    assert rows(reading) == ROWS
    assert "sorted" in reading.remarks[0]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("1,5,0", "line 3: output_tokens is 0, and an answer has at least 1 token"),
        ("1,0,5", "line 3: input_tokens is 0, and a prompt has at least 1 token"),
        ("1,-4,5", "line 3: input_tokens is -4, and a prompt has at least 1 token"),
        ("1,5,nan", "line 3: output_tokens is nan, which is no number of tokens"),
        ("1,5,inf", "line 3: output_tokens is inf, which is no number of tokens"),
        ("1,5,", "line 3: output_tokens is nothing, which is no number of tokens"),
        ("1,5", "line 3: output_tokens is nothing, which is no number of tokens"),
        ("1,many,5", "line 3: input_tokens is 'many', which is no number of tokens"),
        ("1,5.5,5", "line 3: input_tokens is 5.5, which is no whole number"),
        ("-1,5,5", "line 3: arrival_s is -1, which is before the start"),
        ("soon,5,5", "line 3: arrival_s is 'soon', which is no time (ISO 8601, or a number)"),
    ],
    ids=lambda value: value if value.count(",") and len(value) < 12 else "",
)
def test_a_row_that_cannot_be_a_request_is_refused_with_its_line_or_left_out_and_told(write: Write, row: str, told: str) -> None:
    file = write(f"arrival_s,input_tokens,output_tokens\n0,374,44\n{row}\n4.315,396,109\n")
    said = refusal(file)
    assert f"{file}: {told}" in said
    assert "--skip-bad-rows (there is 1 of 3)" in said
    reading = read(file, skip_bad=True)
    assert rows(reading) == ROWS[:2]
    assert reading.remarks == (f"1 of 3 rows were left out: {told}.",)


def test_lines_are_counted_with_empty_ones_and_texts_of_several_lines(write: Write) -> None:
    file = write('arrival_s,input_tokens,output_tokens,prompt\n0,374,44,"two\nlines"\n\n1,5,0,x\n')
    assert "line 5: output_tokens is 0" in refusal(file)


def test_lines_in_which_nothing_stands_are_no_rows_wherever_they_are(write: Write) -> None:
    text = "\n \narrival_s,input_tokens,output_tokens\n0,374,44\n   \n1,5,6\n,,\n\n"
    assert read(write(text)).trace.requests == 2
    assert "line 9: output_tokens is 0" in refusal(write(text + "2,5,0\n"))


def test_many_bad_rows_are_told_by_number_and_the_first_three(write: Write) -> None:
    file = write("arrival_s,input_tokens,output_tokens\n0,374,44\n" + "1,1,0\n" * 7)
    told = read(file, skip_bad=True).remarks[0]
    assert told.startswith("7 of 8 rows were left out: line 3:")
    assert told.endswith("; and 4 more.")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty"),
        ("arrival_s,input_tokens,output_tokens\n", "has no requests"),
        ("arrival_s,input_tokens,output_tokens\n1,0,0\n", "has"),
        ("a,b,c\n1,2,3\n", "none of its columns ('a', 'b', 'c') is known to be the arrival time; say --columns arrival=NAME"),
        ("0.5,100,20\n0.7,100,20\n", "the first line has to hold the names"),
        (b"\xff\xfe\x00\x01", "neither UTF-8 text nor Parquet"),
        (b"PAR1 and nothing else", "cannot be read as Parquet"),
        (gzip.compress(PLAIN.encode())[:40], "ends too early"),
        ("time,input_tokens,output_tokens\n0,5,6\n3600000000,5,6\n", "lasts 114 years by its column 'time', and 10 are the most"),
        ("arrival_s,input_tokens,output_tokens\n0,5,6\n1e300,5,6\n", "say its unit with --columns arrival=arrival_s:ms"),
    ],
    ids=[
        "nothing",
        "no rows",
        "no good rows",
        "unknown names",
        "no names",
        "binary",
        "broken Parquet",
        "broken gzip",
        "another unit",
        "a time without end",
    ],
)
def test_what_is_no_trace_is_refused_in_a_sentence(write: Write, text: str | bytes, told: str) -> None:
    file = write(text)
    assert refusal(file).startswith(f"{file}: ")
    assert told in refusal(file)


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ("arrival=nope", "has no column 'nope', only 'arrival_s', 'input_tokens', 'output_tokens'"),
        ("when=x", "--columns: 'when=x' is none of"),
        ("arrival", "--columns: 'arrival' is none of"),
        ("arrival=arrival_s:weeks", "--columns: 'weeks' is no unit of time"),
    ],
)
def test_columns_that_are_wrong_are_refused(write: Write, columns: str, told: str) -> None:
    assert told in refusal(write(PLAIN), columns)


def test_a_file_that_is_not_there_is_told() -> None:
    assert refusal("/nowhere/trace.csv").startswith("/nowhere/trace.csv: cannot be read: No such file")


def as_parquet(tmp_path: Path, **columns: object) -> str:
    file = str(tmp_path / "trace.parquet")
    parquet.write_table(pa.table(columns), file)
    return file


def test_parquet_is_read_with_times_as_numbers_dates_or_texts(tmp_path: Path) -> None:
    begin = datetime(2024, 5, 10, tzinfo=UTC)
    dates = [begin + timedelta(seconds=at) for at, _, _ in ROWS]
    for arrival in ([at for at, _, _ in ROWS], pa.array(dates, pa.timestamp("us", tz="UTC")), [str(each) for each in dates]):
        file = as_parquet(tmp_path, timestamp=arrival, prompt_tokens=[row[1] for row in ROWS], completion_tokens=[row[2] for row in ROWS])
        found = read(file).trace
        assert found.arrival_s == pytest.approx([row[0] for row in ROWS], abs=1e-6)  # what is left of microseconds since 1970
        assert found.output_tokens.tolist() == [row[2] for row in ROWS]


def test_a_column_that_parquet_has_twice_is_told(tmp_path: Path) -> None:
    names, file = ["arrival_s", "input_tokens", "input_tokens", "output_tokens"], str(tmp_path / "trace.parquet")
    parquet.write_table(pa.table([pa.array([1.0])] * len(names), names=names), file)
    assert refusal(file) == f"{file}: has two columns called 'input_tokens'; rename one of them"


def test_parquet_without_a_value_is_refused_with_its_row(tmp_path: Path) -> None:
    file = as_parquet(tmp_path, arrival_s=[0.0, 1.0], input_tokens=[5, None], output_tokens=[5, 5])
    assert "row 2: input_tokens is nan, which is no number of tokens" in refusal(file)


def test_parquet_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = as_parquet(tmp_path, arrival_s=[0.0], input_tokens=[5], output_tokens=[5])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "pip install pyarrow" in refusal(file)


REQUEST = st.tuples(st.floats(0, 1e6), st.integers(1, 10**6), st.integers(1, 10**6))


@given(requests=st.lists(REQUEST, min_size=1, max_size=40), packing=st.sampled_from(["plain", "gzip"]), delimiter=st.sampled_from(",;\t"))
def test_what_was_written_is_read_back_in_order(
    requests: list[tuple[float, int, int]],
    packing: str,
    delimiter: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    lines = [("arrival_s", "input_tokens", "output_tokens"), *((f"{at!r}", str(a), str(b)) for at, a, b in requests)]
    text = "\n".join(delimiter.join(line) for line in lines).encode()
    file = tmp_path_factory.mktemp("trace") / "any.csv"
    file.write_bytes(gzip.compress(text) if packing == "gzip" else text)
    found = rows(read(str(file)))
    assert found == sorted(requests, key=lambda row: row[0])
    assert np.all(np.diff([row[0] for row in found]) >= 0)
