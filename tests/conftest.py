"""Laws are tried on a fixed set of examples: the same ones on every machine, and without a deadline that a busy one would miss."""

import gc

import pytest
from hypothesis import settings

settings.register_profile("laws", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("laws")


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
