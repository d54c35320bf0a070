"""What holds for all tests: laws are tried on a fixed set of examples, and a test that passed only when asked again shows why it failed."""

import gc

import pytest
from hypothesis import settings

# The same examples on every machine, and no deadline that a busy one would miss.
settings.register_profile("laws", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("laws")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the first failure of each test that `--reruns` asked again; by itself the plug-in prints its name."""
    for report in terminalreporter.getreports("rerun"):
        terminalreporter.section(f"asked again: {report.nodeid}")
        terminalreporter.write_line(report.longreprtext)


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
