"""The kind provider, for machines with a Docker daemon. Written to kind's documentation; it has not run in this project yet."""

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import yaml

from tests.e2e.cluster import binaries, forwards, port_forward, volumes
from tests.e2e.cluster.cache import cache_dir, say
from tests.e2e.cluster.images_on_node import identity_of
from tests.e2e.cluster.kubectl import KubectlError, kubectl
from tests.e2e.cluster.processes import Register, stop_and_wait
from tests.e2e.cluster.provider import GPU_LABELS, GPU_RESOURCE, NEEDED_IMAGES, Volume, run_folder

GPUS = 8
READY = "180s"
OWN_IMAGES = frozenset({"pause", "coredns"})  # kind's node brings its own of these


class KindCluster:
    """A cluster that kind runs; see `provider.Cluster` for what each method promises."""

    def __init__(self, name: str = "spillway") -> None:
        self.name = name

    @property
    def context(self) -> str:
        """The kubeconfig context, renamed from kind's own so that all providers' look alike."""
        return f"spillway-{self.name}"

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig, apart from the user's own."""
        return run_folder(self.name) / "kubeconfig"

    def up(self, images: Iterable[str] = NEEDED_IMAGES) -> None:
        """Create the cluster unless it exists, and load the images."""
        wanted = [name for name in images if name not in OWN_IMAGES]
        if wanted and (os.uname().sysname != "Linux" or os.geteuid() != 0):
            raise SystemExit("the images for kind are built here from Debian's packages, which needs Linux and root; run this as root")
        if not self._exists():
            self._create()
        elif not self._configuration.exists():
            raise SystemExit(self._not_ours())
        elif not self.is_up():
            raise SystemExit(
                f"kind has a cluster called {self.name}, but {self.kubeconfig} does not reach it; run `down` with the same --name"
            )
        self._furnish()
        if wanted:
            from tests.e2e.cluster import images as builder  # here, so that `down` works even where no image can be built

            self.load_images(builder.archives(wanted))
        self.kubectl("wait", "--for=condition=Ready", "nodes", "--all", f"--timeout={READY}")
        self.kubectl("rollout", "status", "-n", "kube-system", "deployment/coredns", f"--timeout={READY}")

    def down(self) -> None:
        """Delete the cluster and the run folder. One that somebody else made under this name is left alone: SystemExit."""
        if not self._configuration.exists():
            if self._exists():
                raise SystemExit(self._not_ours())
            return
        port_forward.stop_all(run_folder(self.name))
        stop_and_wait(self._forwarders.running().values())
        self._kind("delete", "cluster", "--name", self.name, "--kubeconfig", str(self.kubeconfig))
        shutil.rmtree(run_folder(self.name), ignore_errors=True)

    def is_up(self) -> bool:
        """Tell whether the API server answers."""
        if not self.kubeconfig.exists():
            return False
        with contextlib.suppress(KubectlError):
            return self.kubectl("get", "--raw", "/readyz", "--request-timeout=5s") == "ok"
        return False

    def status(self) -> str:
        """Describe the cluster: its nodes and pods."""
        if not self.is_up():
            return f"kind cluster {self.name}: not up"
        return f"kind cluster {self.name}: up, kubeconfig {self.kubeconfig}\n{self.kubectl('get', 'nodes,pods', '-A', '-o', 'wide')}"

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl against the cluster."""
        return kubectl(self.kubeconfig, *arguments, stdin=stdin)

    def load_images(self, archives: Mapping[str, Path]) -> None:
        """Put image archives on every node that were not put there before: kind itself would read gigabytes again."""
        loaded: dict[str, str] = json.loads(self._loaded.read_text()) if self._loaded.exists() else {}
        for name, archive in archives.items():
            if loaded.get(name) != identity_of(archive):
                say(f"loading image {name} into kind …")
                self._kind("load", "image-archive", "--name", self.name, str(archive))
                loaded[name] = identity_of(archive)
                self._loaded.write_text(json.dumps(loaded, indent=1))

    def forward(self, host: str, port: int, *, local: int = 0) -> tuple[int, subprocess.Popen[bytes]]:
        """Make an address of the cluster reachable on 127.0.0.1, from within its node where that is a process of this machine.

        From there a Service is what it is to pods. `kubectl port-forward` takes one pod of it, and ends with that one.
        """
        netns = self._node_netns()
        if netns is not None:
            return forwards.start(self.kubectl, self._forwarders, netns=netns, cgroup_entry=None, host=host, port=port, local=local)
        return port_forward.start(self.kubectl, self.kubeconfig, host=host, port=port, local=local, records=run_folder(self.name))

    def kill_pod(self, uid: str) -> None:
        """Refuse: the node is not this machine."""
        raise NotImplementedError(f"pod {uid} runs on a node that cannot be reached from here")

    def local_volume(self, name: str, host_path: Path, size: str, access_modes: Sequence[str] = ("ReadWriteMany",)) -> None:
        """Make a PersistentVolume out of a folder under the cache folder, which the node sees under the same path."""
        if not host_path.resolve().is_relative_to(cache_dir()):
            raise ValueError(f"{host_path} is outside of the cache folder {cache_dir()}, the only one that kind's node sees; put it there")
        volume = Volume(name=name, host_path=host_path, size=size, access_modes=access_modes)
        volumes.prepare(volume)
        self.kubectl("apply", "-f", "-", stdin=volumes.persistent_volume(volume, node=self._node()))

    @property
    def _configuration(self) -> Path:
        """What the cluster is made from: it is there before the cluster is, and so the sign of one made here, whole or half."""
        return run_folder(self.name) / "kind.yaml"

    def _exists(self) -> bool:
        return self.name in self._kind("get", "clusters").split()

    def _not_ours(self) -> str:
        return (
            f"kind has a cluster called {self.name} that this tool did not make; take another --name, "
            f"or delete it yourself: kind delete cluster --name {self.name}"
        )

    def _create(self) -> None:
        run_folder(self.name).mkdir(parents=True, exist_ok=True)
        self._loaded.unlink(missing_ok=True)  # of a cluster of this name that somebody deleted
        shared = {"hostPath": str(cache_dir()), "containerPath": str(cache_dir())}
        configuration = {
            "kind": "Cluster",
            "apiVersion": "kind.x-k8s.io/v1alpha4",
            "nodes": [{"role": "control-plane", "labels": GPU_LABELS, "extraMounts": [shared]}],
        }
        self._configuration.write_text(yaml.safe_dump(configuration))
        create = ("create", "cluster", "--name", self.name, "--config", str(self._configuration))
        self._kind(*create, "--kubeconfig", str(self.kubeconfig), "--wait", READY)
        self.kubectl("config", "rename-context", f"kind-{self.name}", self.context)

    def _furnish(self) -> None:
        """Give the cluster what workloads need, at each `up`: the one that made it may have been cut off."""
        self._advertise_gpus()
        self._replace_storage_class()
        default = run_folder(self.name) / "volumes" / volumes.DEFAULT_VOLUME
        self.local_volume(volumes.DEFAULT_VOLUME, default, volumes.DEFAULT_SIZE, volumes.EVERY_MODE)

    def _advertise_gpus(self) -> None:
        """Make the node offer GPUs, which is enough for scheduling. A kubelet that starts again, as with Docker, counts them as none."""
        amount = {GPU_RESOURCE: str(GPUS)}
        patch = json.dumps({"status": {"capacity": amount, "allocatable": amount}})
        self.kubectl("patch", "node", self._node(), "--subresource=status", "--type=merge", "-p", patch)

    def _replace_storage_class(self) -> None:
        """Make ours the only default class, in place of kind's, which provisions volumes by itself."""
        off = json.dumps({"metadata": {"annotations": {"storageclass.kubernetes.io/is-default-class": "false"}}})
        self.kubectl("patch", "storageclass", "standard", "--type=merge", "-p", off)
        self.kubectl("apply", "-f", "-", stdin=volumes.storage_class())

    @property
    def _loaded(self) -> Path:
        """The record of the image archives that are on the node."""
        return run_folder(self.name) / "loaded.json"

    @property
    def _forwarders(self) -> Register:
        return Register(pids=run_folder(self.name) / "forwarders", logs=run_folder(self.name) / "logs")

    def _node_netns(self) -> Path | None:
        """Return the node's network namespace; None where Docker runs elsewhere, in a virtual machine for example, or this is not root."""
        if os.geteuid() != 0 or not shutil.which("docker"):
            return None
        inspect = ["docker", "inspect", "--format", "{{.Id}} {{.State.Pid}}", self._node()]
        identifier, _, pid = subprocess.run(inspect, capture_output=True, text=True, check=False).stdout.strip().partition(" ")
        process = Path("/proc") / (pid or "none")
        with contextlib.suppress(OSError):  # a process of another machine is not here, or is another one
            return process / "ns" / "net" if identifier and identifier in (process / "cgroup").read_text() else None
        return None

    def _node(self) -> str:
        return self.kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")

    @staticmethod
    def _kind(*arguments: str) -> str:
        """Run kind: the one on PATH, else one built from its pinned module."""
        binary = shutil.which("kind") or binaries.path("kind")
        done = subprocess.run([binary, *arguments], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"`kind {' '.join(arguments)}` failed; does `docker info` work?\n{done.stderr.strip()}")
        return done.stdout
