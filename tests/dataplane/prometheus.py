"""A real Prometheus on loopback."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.dataplane.process import port_of, reserved
from tests.e2e.cluster import binaries

STARTED_S = 120


@contextmanager
def serving(folder: Path, *arguments: str) -> Iterator[int]:
    """Run one with the folder's data that scrapes nothing; yield its port once it answers queries."""
    (folder / "prometheus.yml").write_text("global: {}\n")
    held = reserved()
    command = [
        str(binaries.path("prometheus")),
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port_of(held)}",
        *arguments,
    ]
    with held, (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + STARTED_S
            while "Server is ready to receive web requests" not in (said := (folder / "log").read_text()):
                assert process.poll() is None, said
                assert time.monotonic() < deadline, said
                time.sleep(0.1)
            yield port_of(held)
        finally:
            process.terminate()
            process.wait(10)
