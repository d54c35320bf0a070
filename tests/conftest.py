"""Laws are tried on a fixed set of examples: the same ones on every machine, and without a deadline that a busy one would miss."""

import gc

import pytest
from hypothesis import settings

settings.register_profile("laws", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("laws")


def pytest_collection_finish(session: pytest.Session) -> None:  # noqa: ARG001  (pytest tells arguments by their names)
    """Look for cycles less often, and not in what was collected: going through thousands of tests again and again takes its time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
