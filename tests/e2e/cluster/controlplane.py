"""The control plane: its credentials and the command lines of its processes."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.cluster import certificates, network
from tests.e2e.cluster.certificates import Authority, Pair
from tests.e2e.cluster.layout import Layout

ETCD_URL = "http://127.0.0.1:2379"  # inside the network namespace, where only the node's own processes reach it
INSIDE_SERVER = f"https://{network.NODE_ADDRESS}:{network.API_PORT}"
ISSUER = "https://kubernetes.default.svc.cluster.local"

FRONT_PROXY = "front-proxy-client"

API_NAMES = (
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "localhost",
    "127.0.0.1",
    network.NODE_ADDRESS,
    network.API_SERVICE_ADDRESS,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One process: its name and its command line, whose first word is the name of a binary."""

    name: str
    command: tuple[str, ...]


def write_credentials(layout: Layout, *, outside_server: str) -> None:
    """Write every certificate, key and kubeconfig of a new cluster."""
    folder = layout.certificates
    folder.mkdir(parents=True, exist_ok=True)
    authority = Authority()
    front = Authority()  # of its own: whoever it vouches for may name any user to an aggregated API
    private, public = certificates.signing_key()
    certificates.write_secret(folder / "sa.key", private)
    certificates.write_secret(folder / "sa.pub", public)
    pairs = {
        "ca": authority.pair,
        "apiserver": authority.issue("kube-apiserver", addresses=API_NAMES),
        "front-proxy-ca": front.pair,
        "front-proxy": front.issue(FRONT_PROXY),
        "apiserver-kubelet": authority.issue("kube-apiserver-kubelet-client", groups=["system:masters"]),
        "kubelet-server": authority.issue(layout.context, addresses=(layout.context, network.NODE_ADDRESS)),
    }
    for name, pair in pairs.items():
        certificates.write_secret(folder / f"{name}.crt", pair.certificate)
        certificates.write_secret(folder / f"{name}.key", pair.key)
    users = {
        "controller-manager": authority.issue("system:kube-controller-manager"),
        "scheduler": authority.issue("system:kube-scheduler"),
        "kube-proxy": authority.issue("system:kube-proxy"),
        "kubelet": authority.issue(f"system:node:{layout.context}", groups=["system:nodes"]),
        "admin": authority.issue("spillway-e2e-admin", groups=["system:masters"]),
    }
    for name, user in users.items():
        _write_kubeconfig(layout, folder / f"{name}.kubeconfig", INSIDE_SERVER, authority, user)
    _write_kubeconfig(layout, layout.kubeconfig, outside_server, authority, users["admin"])


def etcd(layout: Layout) -> Component:
    """Return etcd; it does not wait for the disk, since the data does not outlive the cluster."""
    peer = "http://127.0.0.1:2380"
    command = f"""etcd --name {layout.context} --data-dir {_quote(layout.run / "etcd")} --unsafe-no-fsync --log-level warn
        --listen-client-urls {ETCD_URL} --advertise-client-urls {ETCD_URL}
        --listen-peer-urls {peer} --initial-advertise-peer-urls {peer} --initial-cluster {layout.context}={peer}"""
    return _component("etcd", command)


def apiserver(layout: Layout) -> Component:
    """Return the API server: RBAC and the Node authorizer as on any cluster, Pod Security among the default admission plugins.

    Aggregated APIs are served too, as external metrics for an autoscaler are one.

    OwnerReferencesPermissionEnforcement is what OpenShift has on: with it a controller needs `update` on the finalizers of
    whatever it makes the blocking owner of something, so that lack of that right shows here and not at a user's.
    """
    pki = layout.certificates
    command = f"""kube-apiserver --etcd-servers {ETCD_URL} --bind-address 0.0.0.0 --secure-port {network.API_PORT}
        --advertise-address {network.NODE_ADDRESS} --service-cluster-ip-range {network.SERVICE_CIDR}
        --tls-cert-file {_quote(pki / "apiserver.crt")} --tls-private-key-file {_quote(pki / "apiserver.key")}
        --client-ca-file {_quote(pki / "ca.crt")} --authorization-mode Node,RBAC --anonymous-auth=false
        --enable-admission-plugins NodeRestriction,OwnerReferencesPermissionEnforcement
        --kubelet-certificate-authority {_quote(pki / "ca.crt")}
        --kubelet-client-certificate {_quote(pki / "apiserver-kubelet.crt")} --kubelet-client-key {_quote(pki / "apiserver-kubelet.key")}
        --kubelet-preferred-address-types InternalIP
        --requestheader-client-ca-file {_quote(pki / "front-proxy-ca.crt")} --requestheader-allowed-names {FRONT_PROXY}
        --requestheader-username-headers X-Remote-User --requestheader-group-headers X-Remote-Group
        --requestheader-extra-headers-prefix X-Remote-Extra-
        --proxy-client-cert-file {_quote(pki / "front-proxy.crt")} --proxy-client-key-file {_quote(pki / "front-proxy.key")}
        --service-account-issuer {ISSUER} --service-account-key-file {_quote(pki / "sa.pub")}
        --service-account-signing-key-file {_quote(pki / "sa.key")} --profiling=false"""
    return _component("kube-apiserver", command)


def controller_manager(layout: Layout) -> Component:
    """Return the controller manager, each controller with its own service account."""
    pki = layout.certificates
    command = f"""kube-controller-manager --kubeconfig {_quote(pki / "controller-manager.kubeconfig")} --leader-elect=false
        --use-service-account-credentials --service-account-private-key-file {_quote(pki / "sa.key")}
        --horizontal-pod-autoscaler-sync-period=5s
        --root-ca-file {_quote(pki / "ca.crt")} --cluster-signing-cert-file {_quote(pki / "ca.crt")}
        --cluster-signing-key-file {_quote(pki / "ca.key")} --profiling=false"""
    return _component("kube-controller-manager", command)


def scheduler(layout: Layout) -> Component:
    """Return the scheduler."""
    command = f"""kube-scheduler --kubeconfig {_quote(layout.certificates / "scheduler.kubeconfig")} --leader-elect=false
        --profiling=false"""
    return _component("kube-scheduler", command)


def _write_kubeconfig(layout: Layout, path: Path, server: str, authority: Authority, user: Pair) -> None:
    content = certificates.kubeconfig(context=layout.context, server=server, authority=authority.pair.certificate, user=user)
    certificates.write_secret(path, content)


def _component(name: str, command: str) -> Component:
    return Component(name=name, command=tuple(shlex.split(command)))


def _quote(path: Path) -> str:
    return shlex.quote(str(path))
