"""What holds for all tests: laws are tried on a fixed set of examples, and a test that passed only when asked again shows why it failed."""

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
