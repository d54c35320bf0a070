"""How pip reaches its index from this machine, carried into builds and kept out of what they make.

A build inside a root filesystem sees neither the host's pip configuration nor its certificates. Both are mounted for the
duration of the build, so no recipe names an index and no image contains one.
"""

import ast
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

CERTIFICATES = Path("/etc/ssl/certs")
RESOLVER = ("/etc/resolv.conf", "/etc/hosts")
PATH_OPTIONS = ("cert", "client-cert", "find-links")


@dataclass(frozen=True, slots=True)
class HostPip:
    """One pip configuration file with all settings in it, and what must be mounted for it to work: host path → path inside."""

    binds: dict[Path, str]


def host_pip(folder: Path) -> HostPip:
    """Write the effective configuration of the host's pip (files and environment) into `folder`."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    sections: dict[str, dict[str, str]] = {}
    for line in listed.stdout.splitlines():
        key, _, value = line.partition("=")
        section, _, option = key.replace(":env:", "global", 1).partition(".")
        sections.setdefault(section, {})[option] = str(ast.literal_eval(value))
    lines = [line for section, options in sections.items() for line in (f"[{section}]", *(f"{k} = {v}" for k, v in options.items()))]
    config = folder / "pip.conf"
    config.write_text("\n".join(lines) + "\n")
    paths = {Path(options[name]) for options in sections.values() for name in PATH_OPTIONS if name in options}
    found = {path: str(path) for path in (CERTIFICATES, *map(Path, RESOLVER), *sorted(paths)) if path.is_absolute() and path.exists()}
    return HostPip(binds={config: "/etc/pip.conf", **found})
