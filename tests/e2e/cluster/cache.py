"""One folder for everything slow to make, each thing keyed by what made it.

`SPILLWAY_CACHE` names the folder (default: `spillway` under the user's cache directory). An artifact is a directory
`<kind>-<hash>`; it appears under that name only when it is complete, so a build that was cut off is simply made again.
"""

import fcntl
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path


def cache_dir() -> Path:
    """Return the cache folder, creating it when it is not there."""
    base = os.environ.get("SPILLWAY_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spillway"
    path = Path(base).expanduser().resolve()
    path.mkdir(parents=True, exist_ok=True)
    return path


def say(message: str) -> None:
    """Print one line of progress; builds here take minutes and silence looks like a hang."""
    print(f"[{time.strftime('%H:%M:%S')}] {message}", file=sys.stderr, flush=True)


def key_of(material: Iterable[str | bytes | Path]) -> str:
    """Hash what makes an artifact: strings and bytes as they are, a path by its content (a folder by its sorted files)."""
    digest = hashlib.sha256()
    for part in material:
        if isinstance(part, Path):
            files = sorted(p for p in part.rglob("*") if p.is_file()) if part.is_dir() else [part]
            for file in files:
                digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
        else:
            digest.update(part.encode() if isinstance(part, str) else part)
        digest.update(b"\1")
    return digest.hexdigest()[:16]


def place_of(kind: str, material: Iterable[str | bytes | Path]) -> Path:
    """Return the directory that holds an artifact once it is made."""
    return cache_dir() / f"{kind}-{key_of(material)}"


def artifact(kind: str, material: Iterable[str | bytes | Path], build: Callable[[Path], None]) -> Path:
    """Return the directory of an artifact, building it first when no complete one with this key exists.

    `build` is given an empty directory to fill. Two processes that want the same artifact build it once. A build that
    raises leaves nothing under the artifact's name.
    """
    done = place_of(kind, material)
    if done.is_dir():
        return done
    with (cache_dir() / f".{kind}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if done.is_dir():
            return done
        partial = cache_dir() / f".partial-{done.name}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        say(f"making {kind} (cached afterwards as {done.name}) …")
        started = time.monotonic()
        build(partial)
        partial.rename(done)
        say(f"made {kind} in {time.monotonic() - started:.0f} s")
    return done
