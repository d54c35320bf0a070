"""What a cluster needs and is slow to make, made side by side: programs are compiled while images wait for mirrors and disks."""

import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from tests.e2e.cluster import binaries, images

ROOT = Path(__file__).parents[3]
MAKE = (sys.executable, "-m", "tests.e2e.cluster", "make")


def prepare(programs: Iterable[str], image_names: Iterable[str]) -> None:
    """Make programs and images that are not in the cache yet. Where every program is there, images are left to who asks for them."""
    known = [images.IMAGES[name].program or name for name in image_names]
    compiled = list(dict.fromkeys((*programs, *(name for name in known if name in binaries.PROGRAMS))))
    if binaries.missing(compiled):
        others = [name for name in known if name not in binaries.PROGRAMS]
        side_by_side({"programs": (*MAKE, "programs", *compiled), "images": (*MAKE, "images", *others)})


def side_by_side(commands: Mapping[str, Sequence[str]]) -> None:
    """Run commands from the project's root at the same time, each with its messages on our standard error.

    When one fails, the others are ended by SIGTERM and SystemExit names it; so they are when this process is interrupted.
    """
    running = {name: subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) for name, command in commands.items()}
    with ThreadPoolExecutor(len(running)) as waiting:
        names = {waiting.submit(process.wait): name for name, process in running.items()}
        try:
            for done in as_completed(names):
                if done.result() != 0:
                    raise SystemExit(f"the {names[done]} could not be made, see above; what was made besides is cached")
        finally:
            for process in running.values():
                process.terminate()  # does nothing to one that has ended
