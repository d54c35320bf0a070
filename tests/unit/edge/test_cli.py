"""The command line."""

import subprocess
import sys

import pytest

from spillway.cli import main


def test_prints_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    assert capsys.readouterr().out.strip()[0].isdigit()


def test_prints_the_crds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["crds"]) == 0
    assert "kind: CustomResourceDefinition" in capsys.readouterr().out


def test_a_wrong_setting_is_told_and_ends_with_two(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["operator", "--tick-seconds", "soon"]) == 2
    assert "TICK_SECONDS" in capsys.readouterr().err


def test_the_command_line_loads_nothing_heavy_before_it_knows_the_command() -> None:
    code = "import sys, spillway.cli; sys.exit(any(name in sys.modules for name in ('kopf', 'kubernetes', 'aiohttp', 'pydantic')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
