"""The node: containerd with its network plugins, the kubelet and kube-proxy."""

import json
import shlex
from pathlib import Path

import yaml

from tests.e2e.cluster import binaries, network
from tests.e2e.cluster.controlplane import Component
from tests.e2e.cluster.layout import Layout
from tests.e2e.cluster.provider import GPU_LABELS

CNI_PLUGINS = ("bridge", "loopback", "host-local", "portmap")
RUNTIME_TOOLS = ("containerd-shim-runc-v2", "ctr", "runc")
MAX_PODS = 200  # the pods here are small; the default of 110 is too few for a run with many simulated replicas


def write_configuration(layout: Layout, *, sandbox_image: str) -> None:
    """Write the configuration of the node's processes and gather the programs that containerd runs by folder."""
    tools = layout.run / "bin"
    for folder in (tools, layout.run / "cni", layout.image_store):
        folder.mkdir(parents=True, exist_ok=True)
    for name in (*CNI_PLUGINS, *RUNTIME_TOOLS):
        (tools / name).unlink(missing_ok=True)
        (tools / name).symlink_to(binaries.path(name))
    (layout.run / "cni" / "10-pods.conflist").write_text(json.dumps(_cni(layout)))
    (layout.run / "containerd.toml").write_text(_containerd(layout, sandbox_image))
    (layout.run / "kubelet.yaml").write_text(yaml.safe_dump(_kubelet(layout)))
    # Nothing outside can be reached, so a pod with the node's own DNS has no server to ask.
    (layout.run / "resolv.conf").write_text("search cluster.local\n")


def containerd(layout: Layout) -> Component:
    """Return containerd."""
    return Component(name="containerd", command=("containerd", "--config", str(layout.run / "containerd.toml"), "--log-level", "warn"))


def kubelet(layout: Layout) -> Component:
    """Return the kubelet. It needs containerd's socket to be there when it starts."""
    labels = ",".join(f"{key}={value}" for key, value in GPU_LABELS.items())
    files = {
        "--config": layout.run / "kubelet.yaml",
        "--kubeconfig": layout.certificates / "kubelet.kubeconfig",
        "--root-dir": layout.run / "kubelet",
        "--cert-dir": layout.run / "kubelet-certificates",
    }
    command = ["kubelet", "--hostname-override", layout.context, "--node-ip", network.NODE_ADDRESS, "--node-labels", labels]
    for flag, path in files.items():
        command += [flag, str(path)]
    return Component(name="kubelet", command=tuple(command))


def kube_proxy(layout: Layout, *, masquerade_all: bool) -> Component:
    """Return kube-proxy, in nftables mode; conntrack limits are left alone, since the kernel here lets no one write them.

    `masquerade_all` is for kernels whose bridges do not pass packets to netfilter: a reply between two pods of one bridge
    would then bypass the translation back, unless the request came from the node's own address.
    """
    command = f"""kube-proxy --kubeconfig {shlex.quote(str(layout.certificates / "kube-proxy.kubeconfig"))} --proxy-mode nftables
        --hostname-override {layout.context} --cluster-cidr {network.POD_CIDR} --masquerade-all={str(masquerade_all).lower()}
        --conntrack-max-per-core=0 --conntrack-min=0 --conntrack-tcp-timeout-established=0s --conntrack-tcp-timeout-close-wait=0s"""
    return Component(name="kube-proxy", command=tuple(shlex.split(command)))


def _cni(layout: Layout) -> dict[str, object]:
    ipam = {
        "type": "host-local",
        "ranges": [[{"subnet": network.NODE_POD_CIDR}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": str(layout.run / "ipam"),
    }
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": False, "hairpinMode": True, "ipam": ipam}
    return {"cniVersion": "1.0.0", "name": layout.context, "plugins": [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}]}


def _containerd(layout: Layout, sandbox_image: str) -> str:
    """Return containerd's configuration.

    restrict_oom_score_adj: without CAP_SYS_RESOURCE runc may not lower a process's score, and each container would fail.
    The shims' sockets, runc's state, "opt" and NRI: by default at fixed places that every containerd of a machine shares.
    netns_mounts_under_state_dir: a crash then leaves the pods' namespaces in the run folder, where `down` finds them.
    """

    def text(path: Path | str) -> str:
        return json.dumps(str(path))  # a JSON string is a TOML string

    tools = layout.run / "bin"
    return f"""version = 3
root = {text(layout.image_store)}
state = {text(layout.run / "containerd")}
[grpc]
  address = {text(layout.containerd_socket)}
[plugins."io.containerd.shim.v1.manager"]
  socket_dir = {text(layout.shim_sockets)}
[plugins."io.containerd.internal.v1.opt"]
  path = {text(layout.run / "opt")}
[plugins."io.containerd.nri.v1.nri"]
  disable = true
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = {text(sandbox_image)}
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = [{text(tools)}]
  conf_dir = {text(layout.run / "cni")}
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
    SystemdCgroup = false
    Root = {text(layout.run / "runc")}
    BinaryName = {text(tools / "runc")}
"""


def _kubelet(layout: Layout) -> dict[str, object]:
    """Return the kubelet's configuration; every folder it would make elsewhere is moved into the run folder."""
    pki = layout.certificates
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(pki / "kubelet-server.crt"),
        "tlsPrivateKeyFile": str(pki / "kubelet-server.key"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{layout.context}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "containerRuntimeEndpoint": f"unix://{layout.containerd_socket}",
        "clusterDNS": [network.DNS_ADDRESS],
        "clusterDomain": "cluster.local",
        "resolvConf": str(layout.run / "resolv.conf"),
        "podLogsDir": str(layout.run / "podlogs"),
        "volumePluginDir": str(layout.run / "volumeplugins"),
        "maxPods": MAX_PODS,
        # No image is fetched from anywhere: one that is collected as garbage would be gone for good.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%", "memory.available": "100Mi"},
        # The defaults (5 and 10 a second) delay the start of many pods at once by seconds.
        "kubeAPIQPS": 100,
        "kubeAPIBurst": 200,
    }
