"""Slow things are made side by side, and a failure of one is told at once."""

import sys
from pathlib import Path

import pytest

from tests.e2e.cluster.preparing import side_by_side

WAITS_FOR_THE_OTHER = """
import os, sys
mine, other = sys.argv[1:]
os.mkfifo(mine)
while not os.path.exists(other): pass
"""
TOLD_TO_END = """
import pathlib, signal, sys
def end(*_):
    pathlib.Path(sys.argv[1]).write_text("ended")
    sys.exit(130)
signal.signal(signal.SIGTERM, end)
pathlib.Path(sys.argv[1]).write_text("runs")
signal.pause()
"""
FAILS_ONCE_THE_OTHER_RUNS = """
import pathlib, sys
while not (pathlib.Path(sys.argv[1]).exists() and pathlib.Path(sys.argv[1]).read_text()): pass
sys.exit("no such mirror")
"""


def python(program: str, *arguments: Path) -> list[str]:
    return [sys.executable, "-c", program, *map(str, arguments)]


def test_commands_run_at_the_same_time(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    side_by_side({"programs": python(WAITS_FOR_THE_OTHER, one, other), "images": python(WAITS_FOR_THE_OTHER, other, one)})


def test_a_failure_ends_the_others_and_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    note = tmp_path / "note"
    with pytest.raises(SystemExit, match="the images could not be made, see above"):
        side_by_side({"programs": python(TOLD_TO_END, note), "images": python(FAILS_ONCE_THE_OTHER_RUNS, note)})
    assert note.read_text() == "ended"
    assert "no such mirror" in capfd.readouterr().err
