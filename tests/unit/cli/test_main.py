"""What every command has in common: its output's encoding, and how it ends when that cannot be written or nobody waits for it.

And the commands that have little to them.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import metadata
from importlib.resources import files
from pathlib import Path

import pytest

HYBRID = "examples/hybrid-llama-8b-l40s.yaml"
SCRIPT = "import sys; from spillway.cli import main; sys.exit(main())"
Run = Callable[..., tuple[int, str, str]]


def test_prints_the_version(spillway: Run) -> None:
    code, out, _ = spillway("version")
    assert code == 0
    assert out.strip()[0].isdigit()


def test_the_package_is_typed_as_its_metadata_says() -> None:
    assert "Typing :: Typed" in (metadata("spillway").get_all("Classifier") or [])
    assert (files("spillway") / "py.typed").is_file()


def test_prints_the_crds(spillway: Run) -> None:
    code, out, _ = spillway("crds")
    assert code == 0
    assert "kind: CustomResourceDefinition" in out


def test_a_wrong_setting_is_told_and_ends_with_two(spillway: Run) -> None:
    code, _, told = spillway("operator", "--tick-seconds", "soon")
    assert code == 2
    assert "TICK_SECONDS" in told


def test_an_operator_that_has_no_cluster_says_what_it_lacks_in_a_line(tmp_path: Path) -> None:
    outside = {name: value for name, value in os.environ.items() if not name.startswith("KUBERNETES_")}
    environment = {**outside, "KUBECONFIG": str(tmp_path / "none"), "SPILLWAY_LOG_FORMAT": "json"}
    done = subprocess.run([sys.executable, "-c", SCRIPT, "operator"], capture_output=True, text=True, env=environment, check=False)
    *_, last = (json.loads(line) for line in done.stderr.splitlines())
    assert (done.returncode, last.keys()) == (1, {"time", "level", "logger", "message"})
    assert last["message"].startswith("no cluster to act in (Service host/port is not set.")
    assert last["message"].endswith("mount the pod's ServiceAccount token, or set KUBECONFIG")


def test_the_command_line_loads_nothing_heavy_before_it_knows_the_command() -> None:
    code = "import sys, spillway.cli; sys.exit(any(name in sys.modules for name in ('kopf', 'kubernetes', 'aiohttp', 'pydantic')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_output_is_utf_8_whatever_the_locale_says() -> None:
    command = [sys.executable, "-c", SCRIPT, "plan", "-f", HYBRID, "-o", "json"]
    done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "latin-1"}, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "±" in " ".join(json.loads(done.stdout.decode("utf-8"))["assumptions"])


def test_a_manifest_from_standard_input_is_utf_8_whatever_the_locale_says() -> None:
    manifests = Path(HYBRID).read_text(encoding="utf-8").replace("source: ", "source: Preisliste für 日本, ", 1)
    command = [sys.executable, "-c", SCRIPT, "plan", "-f", "-"]
    locale = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(command, input=manifests.encode(), capture_output=True, env=locale, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "Preisliste für 日本" in " ".join(done.stdout.decode("utf-8").split())


def test_a_full_disk_is_told_in_a_line() -> None:
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-c", SCRIPT, "version"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "spillway: the output cannot be written: No space left on device; try another place\n")


@pytest.mark.parametrize(
    ("closed", "arguments", "ended"),
    [
        pytest.param(0, ("plan", "-f", "-"), (2, "", "-: there is no InferenceWorkload to plan for"), id="nothing-comes-in"),
        pytest.param(0, ("simulate", "-f", HYBRID, "--trace", "-"), (2, "", "-: is empty"), id="no-trace-comes-in"),
        pytest.param(1, ("version",), (1, "", "the output cannot be written: Bad file descriptor"), id="nothing-goes-out"),
        pytest.param(2, ("plan", "-f", "nowhere.yaml"), (2, "", ""), id="nobody-is-told"),
    ],
)
def test_a_stream_that_is_closed_ends_in_no_traceback(closed: int, arguments: tuple[str, ...], ended: tuple[int, str, str]) -> None:
    code, out, told = ended
    closing = f"import os; os.close({closed}); os.execv({sys.executable!r}, {[sys.executable, '-c', SCRIPT, *arguments]!r})"
    done = subprocess.run([sys.executable, "-c", closing], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (code, out)
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_cannot_be_written_is_told_in_a_line(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    done = subprocess.run([sys.executable, "-c", SCRIPT, "crds", str(file)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, f"spillway: {file}/docs cannot be read or written: Not a directory; try another place\n")


INTERRUPTED = """
import os, signal, sys

class Asked:
    def read(self):
        os.kill(os.getpid(), signal.SIGINT)
        signal.sigtimedwait([], 60)

signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell runs in the background ignores it
sys.stdin = Asked()
"""


def test_who_ends_a_command_sees_no_traceback() -> None:
    # The manifest comes from standard input, so that the command is at work for as long as it is waited for.
    done = subprocess.run([sys.executable, "-c", INTERRUPTED + SCRIPT, "plan", "-f", "-"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGINT, "", "")
