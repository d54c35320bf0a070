"""The local provider: a real control plane and a real node in a network namespace of this machine."""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from string import Template

from tests.e2e.cluster import binaries, controlplane, forwards, images_on_node, network, node, volumes
from tests.e2e.cluster.cache import key_of, say
from tests.e2e.cluster.cgroups import ClusterCgroup
from tests.e2e.cluster.controlplane import Component
from tests.e2e.cluster.kubectl import KubectlError, kubectl
from tests.e2e.cluster.layout import Layout
from tests.e2e.cluster.locks import only_one
from tests.e2e.cluster.packages import ensure_packages
from tests.e2e.cluster.processes import Place, Register, raise_open_files_limit, stop
from tests.e2e.cluster.provider import GPU_RESOURCE, NEEDED_IMAGES, Volume
from tests.e2e.cluster.teardown import tear_down
from tests.e2e.cluster.waiting import wait_until

SYSTEM_PACKAGES = ("iproute2", "nftables", "util-linux", "mount", "procps")
PROGRAMS = (
    *("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"),
    *("containerd", *node.RUNTIME_TOOLS, *node.CNI_PLUGINS),
)
CLIENTS = ("helm",)  # no part of a cluster, but it shares most of its packages, and who makes a cluster puts a chart on it
READY_TIMEOUT_S = 120
GPUS = 8
COREDNS = Path(__file__).parent / "manifests" / "coredns.yaml"


class LocalCluster:
    """A cluster of one node, run by this machine's root; see `provider.Cluster` for what each method promises."""

    def __init__(self, name: str = "spillway") -> None:
        self.name = name
        self.layout = Layout(name)
        self._register = Register(pids=self.layout.run / "pids", logs=self.layout.run / "logs")
        self._cgroup = ClusterCgroup(self.layout.context)

    @property
    def context(self) -> str:
        """The kubeconfig context, which is also the name of the netns, the cgroup and the node."""
        return self.layout.context

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.layout.kubeconfig

    @property
    def processes(self) -> dict[str, int]:
        """Name → pid of the cluster's own processes that run now, for tests that kill one."""
        return self._register.running()

    def up(self, images: Iterable[str] = NEEDED_IMAGES) -> None:
        """Bring the cluster up, or find it up already; on an error or an interrupt, leave nothing of a half-made one."""
        self._check_machine()
        from tests.e2e.cluster import images as builder  # here, so that `down` works even where no image can be built
        from tests.e2e.cluster.preparing import prepare

        ensure_packages(*SYSTEM_PACKAGES)
        wanted = dict.fromkeys((*NEEDED_IMAGES, *images))
        prepare((*PROGRAMS, *CLIENTS), wanted)
        archives = builder.archives(wanted)
        references = {name: builder.reference(name) for name in NEEDED_IMAGES}
        with only_one(self.layout.lock):
            key = self._key(references)
            if self._runs(key):
                say(f"cluster {self.name} is up already")
            else:
                with self._undone_on_failure():
                    self._start(references, archives, key)
            self.load_images(archives)
            self._wait_for_dns()

    def down(self) -> None:
        """Remove the cluster, whatever state it is in."""
        if os.geteuid() != 0:
            raise SystemExit("the local cluster runs as root, so taking it down needs root too")
        with only_one(self.layout.lock):
            tear_down(self.layout, self._register, self._cgroup)

    def is_up(self) -> bool:
        """Tell whether the API server answers."""
        if not self.kubeconfig.exists():
            return False
        with contextlib.suppress(KubectlError):
            return kubectl(self.kubeconfig, "get", "--raw", "/readyz", "--request-timeout=5s", timeout_s=10) == "ok"
        return False

    def status(self) -> str:
        """Describe the cluster: its processes, its node and its pods."""
        if not self.is_up():
            left = self._register.running() or self._cgroup.exists() or self.layout.run.exists()
            return f"cluster {self.name}: not up" + (" (something of it is left: run `down`)" if left else "")
        lines = [f"cluster {self.name}: up, kubeconfig {self.kubeconfig}"]
        lines += [f"  {name:<26} pid {pid}" for name, pid in self.processes.items()]
        return "\n".join([*lines, self.kubectl("get", "nodes,pods", "-A", "-o", "wide")])

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl against the cluster."""
        return kubectl(self.kubeconfig, *arguments, stdin=stdin)

    def load_images(self, archives: Mapping[str, Path]) -> None:
        """Put image archives on the node."""
        images_on_node.load(self.layout, archives)

    def forward(self, host: str, port: int, *, local: int = 0) -> tuple[int, subprocess.Popen[bytes]]:
        """Make an address of the cluster reachable on 127.0.0.1."""
        netns = network.netns_file(self.context)
        return forwards.start(
            self.kubectl, self._register, netns=netns, cgroup_entry=self._cgroup.entry(), host=host, port=port, local=local
        )

    def kill_pod(self, uid: str) -> None:
        """End a pod's processes with SIGKILL."""
        pids = self._cgroup.pod_pids(uid)
        if not pids:
            raise RuntimeError(f"no process of pod {uid} found")
        stop(pids)

    def local_volume(self, name: str, host_path: Path, size: str, access_modes: Sequence[str] = ("ReadWriteMany",)) -> None:
        """Make a PersistentVolume out of a folder of this machine."""
        volume = Volume(name=name, host_path=host_path, size=size, access_modes=access_modes)
        volumes.prepare(volume)
        self.kubectl("apply", "-f", "-", stdin=volumes.persistent_volume(volume, node=self.context))

    def _check_machine(self) -> None:
        if os.uname().sysname != "Linux" or os.geteuid() != 0:
            raise SystemExit("the local cluster needs Linux and root; use `--provider kind` where Docker runs, or `--provider existing`")
        self.layout.check()
        raise_open_files_limit()

    def _components(self) -> list[Component]:
        masquerade_all = network.exists(self.context) and not network.bridges_pass_netfilter(self.context)
        return [
            controlplane.etcd(self.layout),
            controlplane.apiserver(self.layout),
            node.containerd(self.layout),
            controlplane.controller_manager(self.layout),
            controlplane.scheduler(self.layout),
            node.kubelet(self.layout),
            node.kube_proxy(self.layout, masquerade_all=masquerade_all),
        ]

    def _key(self, references: Mapping[str, str]) -> str:
        """Return what identifies the cluster's make-up: a running cluster of another key is replaced, not reused."""
        commands = [str(component) for component in self._components() if component.name != "kube-proxy"]
        programs = [str(path) for path in binaries.paths(*PROGRAMS).values()]
        return key_of([*commands, *programs, json.dumps(references, sort_keys=True), COREDNS])

    def _runs(self, key: str) -> bool:
        """Tell whether the very cluster runs that would be started; something else of this name is taken down."""
        recorded = self.layout.key.read_text() if self.layout.key.exists() else ""
        missing = {component.name for component in self._components()} - self.processes.keys()
        if recorded == key and not missing and self.is_up():
            return True
        if self.layout.run.exists() or self._cgroup.exists():
            why = "incomplete" if recorded in {"", key} else "made from something else"
            say(f"taking down what is left of cluster {self.name} ({why})")
            tear_down(self.layout, self._register, self._cgroup)
        return False

    @contextlib.contextmanager
    def _undone_on_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException as failure:
            kept = os.environ.get("SPILLWAY_E2E_KEEP_FAILED")
            say(f"cluster {self.name} did not come up ({type(failure).__name__}); {'kept for a look' if kept else 'taking it down'}")
            if not kept:
                tear_down(self.layout, self._register, self._cgroup)
            raise

    def _start(self, references: Mapping[str, str], archives: Mapping[str, Path], key: str) -> None:
        started = time.monotonic()
        say(f"starting cluster {self.name} …")
        self.layout.run.mkdir(parents=True, exist_ok=True)
        self._cgroup.create()
        network.create(self.context)
        port = self._forward_api()
        controlplane.write_credentials(self.layout, outside_server=f"https://127.0.0.1:{port}")
        node.write_configuration(self.layout, sandbox_image=references["pause"])
        components = {component.name: component for component in self._components()}
        for name in ("etcd", "kube-apiserver", "containerd"):
            self._launch(components.pop(name))
        self._wait_while_alive("containerd", self.layout.containerd_socket.exists, what="containerd's socket")
        self.load_images({name: archives[name] for name in NEEDED_IMAGES})
        self._wait_while_alive("kube-apiserver", self.is_up, what="the API server to be ready")
        for component in components.values():
            self._launch(component)
        dns = Template(COREDNS.read_text()).substitute(image=references["coredns"], address=network.DNS_ADDRESS)
        self.kubectl("apply", "-f", "-", stdin=dns)
        self.kubectl("apply", "-f", "-", stdin=volumes.storage_class())
        self._wait_while_alive("kubelet", self._node_ready, what="the node to be Ready")
        self.advertise_gpus(GPUS)
        default = self.layout.run / "volumes" / volumes.DEFAULT_VOLUME
        self.local_volume(volumes.DEFAULT_VOLUME, default, volumes.DEFAULT_SIZE, volumes.EVERY_MODE)
        self._wait_for_dns()
        self.layout.key.write_text(key)
        say(f"cluster {self.name} is up after {time.monotonic() - started:.1f} s")

    def advertise_gpus(self, count: int) -> None:
        """Make the node offer this many GPUs, which is enough for scheduling; there is nothing behind them."""
        amount = {GPU_RESOURCE: str(count)}
        patch = json.dumps({"status": {"capacity": amount, "allocatable": amount}})
        self.kubectl("patch", "node", self.context, "--subresource=status", "--type=merge", "-p", patch)

    def _forward_api(self) -> int:
        port, _ = self.forward(network.NODE_ADDRESS, network.API_PORT)
        return port

    def _launch(self, component: Component) -> None:
        program, *arguments = component.command
        environment = {}
        if component.name == "containerd":  # it finds its shim and runc by PATH
            environment["PATH"] = f"{self.layout.run / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        place = Place(netns=network.netns_file(self.context), cgroup_entry=self._cgroup.entry())
        self._register.start(component.name, [binaries.path(program), *arguments], place=place, environment=environment)

    def _wait_while_alive(self, name: str, condition: Callable[[], bool], *, what: str) -> None:
        """Wait for a condition that a process brings about; give up as soon as the process is gone."""

        def settled() -> bool:
            return condition() or name not in self.processes

        wait_until(settled, what=what, timeout_s=READY_TIMEOUT_S, hint=lambda: self._register.log_tail(name))
        if name not in self.processes:
            raise RuntimeError(f"{name} ended while {what} was awaited\n{self._register.log_tail(name)}")

    def _node_ready(self) -> bool:
        condition = "jsonpath={.items[*].status.conditions[?(@.type=='Ready')].status}"
        return self.kubectl("get", "nodes", "-o", condition) == "True"

    def _wait_for_dns(self) -> None:
        """Wait for CoreDNS, asking again and again: one long `kubectl` would outlive a caller that is killed."""

        def available() -> bool:
            replicas = "jsonpath={.status.availableReplicas}"
            return self.kubectl("get", "deployment", "-n", "kube-system", "coredns", "-o", replicas) == "1"

        self._wait_while_alive("kubelet", available, what="CoreDNS to be available")
