"""What holds for all tests: laws are tried on a fixed set of examples, a failed test fails no other and shows why it did."""

import gc
import sys
import warnings
from collections.abc import Generator

import pytest
from hypothesis import settings

# The same examples on every machine, and no deadline that a busy one would miss.
settings.register_profile("laws", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("laws")

_FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note that something failed."""
    report = yield
    if report.failed:
        item.config.stash[_FAILED] = True
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let go of what a failed test left open, in silence: its warnings would be errors of what comes next, which is often itself again."""
    if not item.config.stash.get(_FAILED, False):
        return
    item.config.stash[_FAILED] = False
    for name in ("last_type", "last_value", "last_traceback", "last_exc"):  # they hold its frames until the next test is called
        vars(sys).pop(name, None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the first failure of each test that `--reruns` asked again; by itself the plug-in prints its name."""
    for report in terminalreporter.getreports("rerun"):
        terminalreporter.section(f"asked again: {report.nodeid}")
        terminalreporter.write_line(report.longreprtext)
