"""A stage: engines, hosted endpoints and a gateway between them and the test."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from spillway.plan.decision import Decision, Workload
from spillway.render.envoy.config import Address, GatewayAddresses
from tests.dataplane import certificates, decisions, reliability
from tests.dataplane.client import Client
from tests.dataplane.fakes import Backend
from tests.dataplane.names import Names
from tests.dataplane.process import MEMORY_BYTES, Gateway, port_of, reserved, until

# What may reach a hosted endpoint, all told: the allow-list, what HTTP needs, the key.
HOSTED_HEADERS = frozenset(
    {"host", "authorization", "content-type", "content-length", "accept", "x-request-id", "transfer-encoding", "user-agent"}
)
PROVIDERS = ("alpha", "beta")
KEYS = {"alpha": "alpha-key-1", "beta": "beta-key-1"}
STREAM_TARGET_MS = 1000


@pytest.fixture(scope="session")
def table() -> Iterator[reliability.Table]:
    """Return the table of docs/reliability.md, which is written when the environment asks for it."""
    made = reliability.Table()
    yield made
    if os.environ.get(reliability.UPDATE):
        made.write()


@pytest.fixture(scope="session")
def authority() -> certificates.Authority:
    return certificates.authority()


@dataclass(slots=True, kw_only=True)
class Stage:
    """What a test plays on."""

    engines: list[Backend]
    hosted: dict[str, Backend]
    gateway: Gateway
    client: Client
    workload: Workload
    decision: Decision
    addresses: GatewayAddresses
    names: Names | None = None
    gateways: list[Gateway] = field(default_factory=list)

    @property
    def alpha(self) -> Backend:
        """The first hosted endpoint."""
        return self.hosted["alpha"]

    @property
    def beta(self) -> Backend:
        """The second hosted endpoint."""
        return self.hosted["beta"]

    async def seen_healthy(self, *, engines: int | None = None) -> None:
        """Wait until every gateway's health checks have passed."""
        for gateway in self.gateways:
            await until(lambda gateway=gateway: self._healthy(gateway, engines), "health checks")

    async def _healthy(self, gateway: Gateway, engines: int | None) -> bool:
        for backend in self.decision.backends:
            name = f"hosted-{backend.provider_name}-"
            found = [each for each in await gateway.metrics() if each.name == "envoy_cluster_membership_healthy"]
            if not any(each.value == 1 for each in found if each.labels["envoy_cluster_name"].startswith(name)):
                return False
        if not self.decision.pool:
            return True
        wanted = len(self.engines) if engines is None else engines
        return await gateway.metric("envoy_cluster_membership_healthy", envoy_cluster_name="owned") == wanted


SetStage = Callable[..., Awaitable[Stage]]


@pytest.fixture
async def stage(tmp_path: Path, authority: certificates.Authority) -> AsyncIterator[SetStage]:
    """Return a function that sets the stage; afterwards every backend must have seen nothing it should not."""
    backends: list[Backend] = []
    async with AsyncExitStack() as stack:

        async def start(backend: Backend) -> Backend:
            stack.callback(backend.give_back)
            stack.push_async_callback(backend.stop)
            await backend.start()
            backends.append(backend)
            return backend

        async def set_stage(
            *,
            mode: str = "Hybrid",
            engines: int = 2,
            hosted: int = 1,
            cap: int = 16,
            workers: int = 1,
            gateways: int = 1,
            keys: bool = True,
            authorities: bool = True,
            dns: bool = False,
            healthy: bool = True,
            base_path: str = "/v1",
            certificate: str | None = None,
            spec: dict[str, Any] | None = None,
            addresses: dict[str, Any] | None = None,
            folder: str = "",
            overflow: dict[str, Any] | None = None,
            provider: dict[str, Any] | None = None,
            model: dict[str, Any] | None = None,
            output: int | None = None,
            memory_bytes: int = MEMORY_BYTES,
        ) -> Stage:
            providers = PROVIDERS[: hosted if mode != "Dedicated" else 0]
            owned = [
                await start(Backend(model=decisions.SERVED, address=f"127.0.0.{place + 2}" if dns else "127.0.0.1"))
                for place in range(engines if mode != "Hosted" and not dns else 0)
            ]
            rented = {
                name: await start(_hosted(name, authority, tmp_path, base_path=base_path, certificate=certificate)) for name in providers
            }
            for name, backend in rented.items():
                backend.host = f"{name}.test:{backend.port}"
            wanted = _spec(mode, providers, spec or {})
            if overflow is not None:
                wanted["hosted"]["overflow"] = overflow
            workload = decisions.workload(wanted)
            decision = decisions.decision(
                workload,
                {
                    name: decisions.provider(
                        f"https://{name}.test:{backend.port}{base_path}", backend.model, more=provider, more_of_model=model
                    )
                    for name, backend in rented.items()
                },
                cap=cap,
            )
            names = await stack.enter_async_context(Names()) if dns else None
            replicas_port = {"engine_port": port_of(stack.enter_context(reserved()))} if dns else {}
            dialled = GatewayAddresses(
                engines=tuple(Address(host=each.address, port=each.port) for each in owned),
                hosted={name: Address(host="127.0.0.1", port=backend.port) for name, backend in rented.items()},
                dns=names.address if names else None,
                **{"drain_settle_s": 0.25, **replicas_port, **(addresses or {})},
            )
            running_gateways = []
            for place in range(gateways):
                gateway = Gateway(workload, decision, tmp_path / folder / f"gateway-{place}", dialled, memory_bytes=memory_bytes)
                for name in providers:
                    if authorities:
                        gateway.write_authority(name, authority.pem)
                    if keys:
                        gateway.write_key(name, KEYS[name])
                stack.push_async_callback(gateway.stop)
                await gateway.start(workers=workers, output=output)
                running_gateways.append(gateway)
            client = await stack.enter_async_context(Client(running_gateways[0].url))
            made = Stage(
                engines=owned,
                hosted=rented,
                gateway=running_gateways[0],
                gateways=running_gateways,
                client=client,
                workload=workload,
                decision=decision,
                addresses=dialled,
                names=names,
            )
            if healthy:
                await made.seen_healthy()
            return made

        yield set_stage
    problems = [problem for backend in backends for problem in backend.problems]
    assert not problems, problems[:5]


def _hosted(name: str, authority: certificates.Authority, folder: Path, *, base_path: str, certificate: str | None) -> Backend:
    chain, key = authority.issue(certificate or f"{name}.test", folder / "certificates")
    return Backend(
        model=f"vendor/{name}-model",
        prefix=base_path,
        keys=frozenset({KEYS[name]}),
        allowed_headers=HOSTED_HEADERS,
        tls=certificates.server(chain, key),
        keepalive_s=75,  # longer than the gateway keeps an idle connection, as providers do
    )


def _spec(mode: str, providers: tuple[str, ...], more: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "model": {"id": decisions.MODEL},
        "slo": {"timeToFirstTokenMs": STREAM_TARGET_MS, "endToEndMs": 4000},
        "placement": {"mode": mode},
        "gateway": {"replicas": 1},
    }
    if mode != "Hosted":
        spec["dedicated"] = {}
    if mode != "Dedicated":
        spec["hosted"] = {"backends": [{"providerRef": {"name": name}, "model": f"vendor/{name}-model"} for name in providers]}
    return spec | more
