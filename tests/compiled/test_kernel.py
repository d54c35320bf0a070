"""The simulator's kernel as numba compiles it, which takes longer than all unit tests together."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def replayed(*, compiled: bool) -> str:
    environment = os.environ | {"NUMBA_DISABLE_JIT": "0" if compiled else "1"}
    told = subprocess.run(
        [sys.executable, "-m", "tests.compiled.replayed"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    return told.stdout


def test_compiled_and_plain_come_to_the_same_for_every_request() -> None:
    assert replayed(compiled=True) == replayed(compiled=False)
