"""Images in the node's containerd, loaded from archives and not twice."""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from tests.e2e.cluster import binaries
from tests.e2e.cluster.cache import say
from tests.e2e.cluster.layout import Layout
from tests.e2e.cluster.waiting import wait_until

IMPORT_TIMEOUT_S = 900  # the engine's image is some gigabytes to unpack
EMPTY_TIMEOUT_S = 20
ANSWER_TIMEOUT_S = 20  # `down` must not hang on a containerd that a test has stopped


def load(layout: Layout, archives: Mapping[str, Path]) -> None:
    """Import the archives that are not in the node's store yet.

    The record of what is there lies in the store itself and names the archive's path, size and time: the image builder
    keys paths by content, so this tells a new archive from an old one without reading gigabytes.
    """
    record = layout.image_store / "loaded.json"
    loaded: dict[str, dict[str, object]] = json.loads(record.read_text()) if record.exists() else {}
    present = set(_ctr(layout, "images", "ls", "-q").split())
    for name, archive in archives.items():
        identity = identity_of(archive)
        known = loaded.get(name, {})
        references = known.get("references")
        if known.get("archive") == identity and isinstance(references, list) and present.issuperset(references):
            continue
        started = time.monotonic()
        _ctr(layout, "images", "import", str(archive), timeout_s=IMPORT_TIMEOUT_S)
        loaded[name] = {"archive": identity, "references": _references(archive)}
        record.write_text(json.dumps(loaded, indent=1))
        say(f"loaded image {name} in {time.monotonic() - started:.1f} s")


def remove_containers(layout: Layout) -> None:
    """Delete every task, container and sandbox, so that the store can be used by the next containerd.

    Shims delete tasks themselves once their processes have ended, so a deletion may find nothing, or come too early; what
    counts is that all three lists become empty. Raises TimeoutError when they do not.
    """

    def emptied() -> bool:
        left = False
        for kind, force in (("tasks", ["--force"]), ("containers", []), ("sandboxes", ["--force"])):
            for identifier in _identifiers(layout, kind):
                left = True
                with contextlib.suppress(RuntimeError):
                    _ctr(layout, kind, "rm", *force, identifier)
        return not left

    wait_until(emptied, what="containerd to have no containers", timeout_s=EMPTY_TIMEOUT_S)


def _identifiers(layout: Layout, kind: str) -> list[str]:
    """Return the identifiers of all tasks, containers or sandboxes: the first column under a heading."""
    return [line.split()[0] for line in _ctr(layout, kind, "ls").splitlines()[1:] if line.strip()]


def identity_of(archive: Path) -> str:
    """Return what tells an archive from another, or from a newer one of its name, without reading it."""
    stat = archive.stat()
    return f"{archive} {stat.st_size} {stat.st_mtime_ns}"


def _references(archive: Path) -> list[str]:
    """Return the names that a docker archive gives its images."""
    listing = subprocess.run(["tar", "-xOf", archive, "manifest.json"], capture_output=True, text=True, check=True)
    return [tag for image in json.loads(listing.stdout) for tag in image.get("RepoTags") or []]


def _ctr(layout: Layout, *arguments: str, timeout_s: float = ANSWER_TIMEOUT_S) -> str:
    command = [str(binaries.path("ctr")), "--address", str(layout.containerd_socket), "--namespace", "k8s.io", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=timeout_s, check=False, env=os.environ | {"TMPDIR": str(layout.run)}
    )
    if done.returncode != 0:
        raise RuntimeError(f"`ctr {' '.join(arguments)}` failed: {done.stderr.strip()}")
    return done.stdout
