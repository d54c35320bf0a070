"""How unit tests run: the simulator's kernel as plain Python, as compiling it takes longer than all of them (tests/compiled does)."""

import gc
import os

import pytest

os.environ["NUMBA_DISABLE_JIT"] = "1"


def pytest_configure(config: pytest.Config) -> None:  # noqa: ARG001  (pytest tells arguments by their names)
    """Look for cycles less often: it took a twentieth of the unit tests' time."""
    gc.set_threshold(50_000, 20, 50)


def pytest_collection_finish(session: pytest.Session) -> None:  # noqa: ARG001
    """Look for none in what was collected: thousands of tests that stay."""
    gc.collect()
    gc.freeze()


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:  # noqa: ARG001
    """Look once more while a test can still fail: what a cycle left open is told by nobody when a worker of xdist has ended."""
    if nextitem is None:
        gc.collect()
