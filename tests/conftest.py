"""What holds for all tests: laws are tried on a fixed set of examples, a failed test fails no other and shows why it did.

And the command line, which is called alike by all that test a command.
"""

import gc
import io
import sys
import warnings
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
import yaml
from hypothesis import settings

from spillway.cli import main

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


@pytest.fixture
def spillway(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Return a call of the command line in this process: it gives the exit code, and what was said on either stream."""

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main([*arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., str]:
    """Return what writes manifests into a file, and names that."""

    def write(*documents: object, name: str = "in.yaml") -> str:
        path = tmp_path / name
        path.write_text(yaml.dump_all(documents, Dumper=yaml.CSafeDumper, sort_keys=False))
        return str(path)

    return write


class _Terminal(io.StringIO):
    """Somewhere to print to that a person looks at."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[], io.StringIO]:
    """Return what puts a terminal in place of standard error: during a test, as pytest puts its own there before each."""

    def put() -> io.StringIO:
        shown = _Terminal()
        monkeypatch.setattr(sys, "stderr", shown)
        return shown

    return put
