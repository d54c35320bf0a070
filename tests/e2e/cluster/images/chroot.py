"""Run a command inside a root filesystem, the way a pod would or the way a build must.

Every command gets a mount namespace of its own: what is mounted for it vanishes with it, however it ends, so a build that was
killed leaves no mount behind for a later clean-up to walk into.
"""

import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tests.e2e.cluster.packages import ensure_packages

PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
POD_USER = 65532  # the conventional "nonroot" user; it has no entry in /etc/passwd here, as in a pod

# $1 root, $2 "ro" or "rw", then pairs "host-path:path-inside" up to "--", then chroot's own arguments and the command.
# Only what is mounted before the bind of the root itself is read-only, so /proc, /dev and /tmp work as in a container.
ENTER = """
set -e
root=$1 mode=$2; shift 2
mount --bind "$root" "$root"
while [ "$1" != -- ]; do
  inside=$root${1#*:}
  if [ -d "${1%%:*}" ]; then mkdir -p "$inside"; else mkdir -p "${inside%/*}"; [ -e "$inside" ] || : > "$inside"; fi
  mount --rbind "${1%%:*}" "$inside"
  shift
done
shift
if [ "$mode" = ro ]; then mount -o remount,bind,ro "$root"; fi
mount --rbind /proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
exec chroot "$@"
"""


def inside(
    root: Path,
    argv: Sequence[str],
    *,
    binds: Mapping[Path, str] | None = None,
    read_only: bool = False,
    user: int = 0,
) -> list[str]:
    """Return the host command that runs `argv` in `root`; signals sent to it reach the program, for each step execs the next.

    With `read_only` only /tmp (and what is bound from a writable place) can be written, as with readOnlyRootFilesystem.
    """
    ensure_packages("util-linux", "mount")
    pairs = [f"{host}:{path}" for host, path in (binds or {}).items()]
    enter = ["unshare", "--mount", "--propagation", "private", "sh", "-c", ENTER, "enter", str(root), "ro" if read_only else "rw"]
    return [*enter, *pairs, "--", f"--userspec={user}:{user}", "--groups=", str(root), *argv]


def run(root: Path, argv: Sequence[str], *, binds: Mapping[Path, str] | None = None, environment: Mapping[str, str] | None = None) -> None:
    """Run a build step in `root` as root and fail with its output when it fails.

    The caller's environment stays outside: a stray PYTHONDONTWRITEBYTECODE would cost every engine start half a minute.
    """
    plain = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", **proxies(), **(environment or {})}
    command = inside(root, argv, binds=binds)
    done = subprocess.run(command, env=plain, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"`{' '.join(argv)}` failed in {root}:\n{done.stdout[-4000:]}")


def proxies(names: Iterable[str] = ("http_proxy", "https_proxy", "no_proxy")) -> dict[str, str]:
    """Return the proxy settings of this process's environment, in whichever case they are written."""
    return {name: os.environ[name] for lower in names for name in (lower, lower.upper()) if name in os.environ}
