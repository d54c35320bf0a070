"""A ConfigMap or Secret volume as the kubelet writes it: a new folder, a renamed link, then links for names that are new."""

import itertools
import shutil
from collections.abc import Mapping
from pathlib import Path

_REVISIONS = itertools.count()


class Volume:
    """A mounted volume."""

    def __init__(self, folder: Path, files: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.write(files or {})

    @property
    def names(self) -> list[str]:
        """The files."""
        return sorted(link.name for link in self.folder.iterdir() if not link.name.startswith(".."))

    def write(self, files: Mapping[str, str]) -> None:
        """Replace the content, in the kubelet's order (pkg/volume/util/atomic_writer.go)."""
        data = self.folder / "..data"
        before = data.readlink() if data.is_symlink() else None
        revision = self.folder / f"..{next(_REVISIONS)}"
        revision.mkdir()
        for name, content in files.items():
            (revision / name).write_text(content)
        fresh = self.folder / "..data_tmp"
        fresh.symlink_to(revision.name)
        fresh.rename(data)
        for name in files:
            link = self.folder / name
            if not link.is_symlink():
                link.symlink_to(f"..data/{name}")
        for link in self.folder.iterdir():
            if not link.name.startswith("..") and link.name not in files:
                link.unlink()
        if before is not None:
            shutil.rmtree(self.folder / before)

    def read(self, name: str) -> str:
        """Return a file as a pod sees it."""
        return (self.folder / name).read_text()
