"""A real kube-apiserver and etcd on loopback, for tests and benchmarks that need no node.

    with ApiServer.started() as server:
        server.kubectl("get", "ns")

Ports are free ones and held, certificates are made anew, everything lives in one temporary folder, and both processes end with the
context, or with the process that started them should it be killed.
"""

import contextlib
import json
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client, config, dynamic

from spillway.api.crd import KINDS
from tests.dataplane.process import port_of, reserved
from tests.e2e.cluster import binaries, certificates

ROOT = Path(__file__).parents[2]
CRDS = ROOT / "crds"
START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 20
ADMIN = "spillway-admin"
# Becomes the command that follows, after it has asked the kernel (PR_SET_PDEATHSIG, 1) to be killed with whoever started it: a test run
# that is killed leaves nothing behind.
WITH_ITS_STARTER = "import ctypes, os, signal, sys; ctypes.CDLL(None).prctl(1, signal.SIGKILL); os.execv(sys.argv[1], sys.argv[1:])"


@dataclass(kw_only=True)
class Answer:
    """What kubectl said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, read as JSON."""
        return json.loads(self.out)


@dataclass(kw_only=True)
class ApiServer:
    """A running API server. RBAC is on; `kubeconfig` is the administrator's."""

    url: str
    folder: Path
    kubeconfig: Path
    pids: dict[str, int]
    _authority: certificates.Authority
    _kubeconfigs: dict[tuple[str, tuple[str, ...]], Path] = field(default_factory=dict)

    @classmethod
    @contextlib.contextmanager
    def started(cls, *, arguments: Sequence[str] = ()) -> Iterator["ApiServer"]:
        """Start etcd and an API server (with further arguments, if any), and stop both at the end."""
        programs = binaries.paths("etcd", "kube-apiserver")
        with tempfile.TemporaryDirectory(prefix="spillway-apiserver-") as name, contextlib.ExitStack() as stack:
            folder = Path(name)
            authority = _write_certificates(folder)
            etcd_port, peer_port, port = (port_of(stack.enter_context(reserved())) for _ in range(3))
            etcd = stack.enter_context(_process(folder / "etcd.log", _etcd(programs["etcd"], folder, etcd_port, peer_port)))
            command = [*_apiserver(programs["kube-apiserver"], folder, port=port, etcd_port=etcd_port), *arguments]
            apiserver = stack.enter_context(_process(folder / "apiserver.log", command))
            server = cls(
                url=f"https://127.0.0.1:{port}",
                folder=folder,
                kubeconfig=folder / "admin.kubeconfig",
                pids={"etcd": etcd.pid, "kube-apiserver": apiserver.pid},
                _authority=authority,
            )
            server._write_kubeconfig(server.kubeconfig, ADMIN, ("system:masters",))
            server._wait_until_ready(etcd, apiserver)
            yield server

    @property
    def admin_client(self) -> client.ApiClient:
        """A client of the administrator, from the official Python package."""
        return self.client_for(self.kubeconfig)

    def client_for(self, kubeconfig: Path) -> client.ApiClient:
        """Return a client for a kubeconfig."""
        api: client.ApiClient = config.new_client_from_config(config_file=str(kubeconfig))  # type: ignore[no-untyped-call]
        return api

    def dynamic_client(self, kubeconfig: Path | None = None) -> dynamic.DynamicClient:
        """Return a dynamic client, the administrator's by default."""
        return dynamic.DynamicClient(self.client_for(kubeconfig or self.kubeconfig))  # type: ignore[no-untyped-call]

    def kubeconfig_for(self, user: str, groups: Sequence[str] = ()) -> Path:
        """Return a kubeconfig that authenticates as this user of these groups, without any right but what RBAC gives it."""
        key = (user, tuple(groups))
        if key not in self._kubeconfigs:
            path = self.folder / f"user-{len(self._kubeconfigs)}.kubeconfig"
            self._write_kubeconfig(path, user, groups)
            self._kubeconfigs[key] = path
        return self._kubeconfigs[key]

    def kubeconfig_for_service_account(self, namespace: str, name: str) -> Path:
        """Return a kubeconfig that is this service account to RBAC, its groups included."""
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
        return self.kubeconfig_for(f"system:serviceaccount:{namespace}:{name}", groups)

    def run_kubectl(self, *arguments: str, stdin: str | None = None, kubeconfig: Path | None = None) -> Answer:
        """Run kubectl and return what it said, whether it succeeded or not."""
        command = [
            str(binaries.kubectl()),
            f"--kubeconfig={kubeconfig or self.kubeconfig}",
            f"--cache-dir={self.folder / 'cache'}",
            *arguments,
        ]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=120, check=False)
        return Answer(code=done.returncode, out=done.stdout, err=done.stderr)

    def kubectl(self, *arguments: str, stdin: str | None = None, kubeconfig: Path | None = None) -> str:
        """Run kubectl and return its output; an error is raised with kubectl's own words."""
        answer = self.run_kubectl(*arguments, stdin=stdin, kubeconfig=kubeconfig)
        if answer.code != 0:
            raise AssertionError(f"kubectl {' '.join(arguments)} failed:\n{answer.err.strip()}")
        return answer.out

    def apply(self, *documents: dict[str, Any], dry_run: bool = False, manager: str = "test", namespace: str | None = None) -> Answer:
        """Apply documents on the server side and return the answer, as JSON where there is one."""
        where = () if namespace is None else ("-n", namespace)
        dry = ("--dry-run=server",) if dry_run else ()
        text = yaml.safe_dump_all(documents)
        return self.run_kubectl(*where, "apply", "--server-side", f"--field-manager={manager}", *dry, "-o", "json", "-f", "-", stdin=text)

    def install_crds(self) -> None:
        """Install the CRDs from the repository and wait until the server offers them."""
        self.kubectl("apply", "--server-side", "-f", str(CRDS))
        self.kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", str(CRDS))
        self._wait_until_served("spillway.dev/v1alpha1")

    def log_tail(self, name: str = "apiserver", *, lines: int = 15) -> str:
        """Return the end of a process's log."""
        return "\n".join((self.folder / f"{name}.log").read_text(errors="replace").splitlines()[-lines:])

    def _wait_until_served(self, group_version: str) -> None:
        """Wait until discovery and OpenAPI, which follow a CRD a moment later, have every kind; forget what kubectl has cached of them."""
        deadline = time.monotonic() + START_TIMEOUT_S
        paths = f"/apis/{group_version}", f"/openapi/v3/apis/{group_version}"
        while time.monotonic() < deadline:
            said = [self.run_kubectl("get", "--raw", path) for path in paths]
            if all(each.code == 0 and f'"{kind.kind}"' in each.out for each in said for kind in KINDS):
                shutil.rmtree(self.folder / "cache", ignore_errors=True)
                return
            time.sleep(0.1)
        raise RuntimeError(f"the API server does not offer {group_version} {START_TIMEOUT_S} s after its CRDs were established")

    def _write_kubeconfig(self, path: Path, user: str, groups: Sequence[str]) -> None:
        pair = self._authority.issue(user, groups=groups)
        text = certificates.kubeconfig(context="apiserver", server=self.url, authority=self._authority.pair.certificate, user=pair)
        certificates.write_secret(path, text)

    def _wait_until_ready(self, *processes: subprocess.Popen[bytes]) -> None:
        context = ssl.create_default_context(cadata=self._authority.pair.certificate.decode())
        admin = self._authority.issue(ADMIN, groups=("system:masters",))
        pem = self.folder / "admin.pem"
        certificates.write_secret(pem, admin.certificate + admin.key)
        context.load_cert_chain(pem)
        deadline = time.monotonic() + START_TIMEOUT_S
        said = "nothing yet"
        while time.monotonic() < deadline:
            if any(process.poll() is not None for process in processes):
                break
            try:
                with urllib.request.urlopen(f"{self.url}/readyz", context=context, timeout=5) as answer:
                    said = answer.read().decode()
                    return
            except urllib.error.HTTPError as refused:
                said = refused.read().decode()
            except OSError as failure:
                said = str(failure)
            time.sleep(0.1)
        raise RuntimeError(
            f"the API server was not ready after {START_TIMEOUT_S} s; /readyz said: {said}\n--- etcd\n{self.log_tail('etcd')}\n"
            f"--- kube-apiserver\n{self.log_tail()}"
        )


def _write_certificates(folder: Path) -> certificates.Authority:
    authority = certificates.Authority()
    private, public = certificates.signing_key()
    serving = authority.issue("kube-apiserver", addresses=("127.0.0.1", "localhost", "kubernetes.default.svc"))
    files = {
        "ca.crt": authority.pair.certificate,
        "serving.crt": serving.certificate,
        "serving.key": serving.key,
        "sa.key": private,
        "sa.pub": public,
    }
    for name, content in files.items():
        certificates.write_secret(folder / name, content)
    return authority


def _etcd(program: Path, folder: Path, port: int, peer_port: int) -> list[str]:
    url, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer_port}"
    return [
        str(program),
        "--name=test",
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls={url}",
        f"--advertise-client-urls={url}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=test={peer}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def _apiserver(program: Path, folder: Path, *, port: int, etcd_port: int) -> list[str]:
    return [
        str(program),
        f"--etcd-servers=http://127.0.0.1:{etcd_port}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        f"--secure-port={port}",
        f"--cert-dir={folder}",
        f"--tls-cert-file={folder / 'serving.crt'}",
        f"--tls-private-key-file={folder / 'serving.key'}",
        f"--client-ca-file={folder / 'ca.crt'}",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--authorization-mode=RBAC",
        "--anonymous-auth=false",
        # As OpenShift has it: who makes an owner blocking needs `update` on its finalizers; its lack must show here.
        "--enable-admission-plugins=OwnerReferencesPermissionEnforcement",
        # No controller manager runs here, so no namespace ever gets its default service account.
        "--disable-admission-plugins=ServiceAccount",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={folder / 'sa.pub'}",
        f"--service-account-signing-key-file={folder / 'sa.key'}",
        "--profiling=false",
    ]


@contextlib.contextmanager
def _process(log: Path, command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        child = [sys.executable, "-c", WITH_ITS_STARTER, *command]
        process = subprocess.Popen(child, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=log.parent, start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
