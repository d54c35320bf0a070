"""What a failed test left open fails neither its second asking nor the next test."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TESTS = """
import gc, socket

asked = []

def test_that_fails_once():
    gc.collect()  # which comes at any time
    left = [socket.socket()]
    left.append(left)
    asked.append(1)
    assert len(asked) > 1
    left[0].close()

def test_that_comes_next():
    pass
"""


def test_what_a_failed_test_left_open_fails_nobody(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    options = ("-q", "-c", "pyproject.toml", "-p", "no:cacheprovider", "-p", "tests.conftest", "--reruns", "1")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, tmp_path], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.splitlines()[-1].startswith("2 passed, 1 rerun"), done.stdout
