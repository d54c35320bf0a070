"""The existing provider: a cluster that someone else made, touched only when its context is ours or was named."""

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tests.e2e.cluster import binaries, port_forward
from tests.e2e.cluster.cache import say
from tests.e2e.cluster.kubectl import KubectlError, kubectl
from tests.e2e.cluster.provider import NEEDED_IMAGES, run_folder
from tests.e2e.cluster.volumes import DEFAULT_VOLUME

CONTEXT_VARIABLE = "SPILLWAY_E2E_CONTEXT"
CHART_WIDE = "clusterroles,clusterrolebindings,acceleratorclasses"
CHART_LABELS = "app.kubernetes.io/instance=spillway,app.kubernetes.io/part-of=spillway,app.kubernetes.io/managed-by=Helm"
OWN_NAMESPACES = "app.kubernetes.io/managed-by=spillway-e2e"


class ExistingCluster:
    """The cluster of the caller's current kubeconfig context; see `provider.Cluster` for what each method promises."""

    def __init__(self, name: str = "spillway", *, any_context: bool = False) -> None:
        self.name = name
        self._any_context = any_context

    @property
    def context(self) -> str:
        """The caller's current context, or the one that the environment names."""
        return os.environ.get(CONTEXT_VARIABLE) or self._raw("config", "current-context").strip()

    @property
    def kubeconfig(self) -> Path:
        """A copy of the caller's configuration for this one context, so that a later `use-context` cannot redirect a test."""
        return run_folder(self.name) / "existing.kubeconfig"

    def up(self, images: Iterable[str] = NEEDED_IMAGES) -> None:
        """Check that the cluster may be used and answers. Its images come from where its nodes can pull them."""
        del images
        self._check_allowed()
        self.kubeconfig.parent.mkdir(parents=True, exist_ok=True)
        flat = self._raw("config", "view", "--minify", "--flatten", "--raw", "--context", self.context)
        self.kubeconfig.unlink(missing_ok=True)
        self.kubeconfig.touch(mode=0o600)
        self.kubeconfig.write_text(flat)
        self.kubectl("get", "--raw", "/readyz")

    def down(self) -> None:
        """Delete the namespaces that tests made (by their label), what the chart made outside of them, and nothing else; CRDs stay."""
        port_forward.stop_all(run_folder(self.name))
        if not self.kubeconfig.exists():
            return
        self._check_allowed()
        if self.kubectl("get", "namespaces", "-l", OWN_NAMESPACES, "-o", "name").strip():
            self.kubectl("delete", CHART_WIDE, "-l", CHART_LABELS, "--ignore-not-found")
        self.kubectl("delete", "namespaces", "-l", OWN_NAMESPACES, "--ignore-not-found", "--wait=false")
        self.kubeconfig.unlink()
        shutil.rmtree(self.kubeconfig.parent / "kubectl-cache", ignore_errors=True)
        with contextlib.suppress(OSError):  # not empty: a local cluster of the same name lives there
            self.kubeconfig.parent.rmdir()

    def is_up(self) -> bool:
        """Tell whether the API server answers."""
        with contextlib.suppress(KubectlError):
            return self.kubeconfig.exists() and self.kubectl("get", "--raw", "/readyz", "--request-timeout=5s") == "ok"
        return False

    def status(self) -> str:
        """Describe the cluster: its nodes and our namespaces."""
        if not self.is_up():
            return f"existing cluster of context {self.context}: not in use; run `up --provider existing` first"
        nodes, own = self.kubectl("get", "nodes"), self.kubectl("get", "namespaces", "-l", OWN_NAMESPACES)
        return f"existing cluster of context {self.context}\n{nodes}\nnamespaces that tests made:\n{own}"

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl against the cluster."""
        return kubectl(self.kubeconfig, *arguments, stdin=stdin)

    def load_images(self, archives: Mapping[str, Path]) -> None:
        """Say that nothing is loaded: there is no way onto the nodes of a cluster that someone else runs."""
        say(f"existing cluster: {', '.join(archives)} not loaded; its nodes must be able to pull the images that the chart's values name")

    def forward(self, host: str, port: int, *, local: int = 0) -> tuple[int, subprocess.Popen[bytes]]:
        """Make an address of the cluster reachable on 127.0.0.1."""
        return port_forward.start(self.kubectl, self.kubeconfig, host=host, port=port, local=local, records=run_folder(self.name))

    def kill_pod(self, uid: str) -> None:
        """Refuse: the node is not this machine."""
        raise NotImplementedError(f"pod {uid} runs on a node that cannot be reached from here")

    def local_volume(self, name: str, host_path: Path, size: str, access_modes: Sequence[str] = ("ReadWriteMany",)) -> None:
        """Refuse: a folder of this machine is not on the cluster's nodes."""
        raise NotImplementedError(
            f"volume {name} ({size}, {'/'.join(access_modes)}) cannot be made from {host_path} on an existing cluster; "
            f"make a PersistentVolume there (the tests' own is {DEFAULT_VOLUME}) and claim it"
        )

    def _check_allowed(self) -> None:
        expected = f"spillway-{self.name}"
        named = os.environ.get(CONTEXT_VARIABLE)
        if named or self._any_context or self.context.startswith(expected):
            return
        raise SystemExit(
            f"refusing to use context {self.context!r}: this tool did not make it (its own are called {expected}…). "
            f"If you mean it, add --yes-this-context or set {CONTEXT_VARIABLE}={json.dumps(self.context)}"
        )

    @staticmethod
    def _raw(*arguments: str) -> str:
        """Run kubectl with the caller's own configuration."""
        done = subprocess.run([binaries.kubectl(), *arguments], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"`kubectl {' '.join(arguments)}` failed: {done.stderr.strip()}; set KUBECONFIG to your cluster's")
        return done.stdout
