"""A rollout of the gateways and the drain of a node, under load through a Service: no request fails and no stream is cut."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp import web

from tests.dataplane import certificates
from tests.dataplane.client import Client, rest_of
from tests.dataplane.conftest import KEYS, SetStage, Stage
from tests.dataplane.fakes import Backend, Script, complete, delta, event, open_stream
from tests.dataplane.kubelets import Kubelets, sharing
from tests.dataplane.load import Load
from tests.dataplane.process import Gateway, until
from tests.dataplane.service import Service

pytestmark = pytest.mark.dataplane
WORKERS = 8
LONG = "long"  # the user whose streams last
EACH = 24  # the even split of the cap; twice what all clients hold together, wherever their connections end
# A node's time, played: until probes (every second or two) and endpoints have made a pod that runs known, and forgotten one that ends.
PROBED_S = 2.0
FORGOTTEN_S = 0.3
ACCEPTS_S = 3.0  # how long one that ends goes on accepting


@pytest.mark.parametrize("mode", ["Hybrid", "Dedicated"])
async def test_every_gateway_is_replaced_under_load_and_no_client_notices(
    stage: SetStage, authority: certificates.Authority, mode: str
) -> None:
    scene = await _two_gateways(stage, mode)
    release = asyncio.Event()
    scene.engines[0].script = _long_until(release)
    async with AsyncExitStack() as stack:
        kubelets = await stack.enter_async_context(sharing(scene))
        service = await stack.enter_async_context(Service([each.addresses.listen for each in scene.gateways]))
        client = await stack.enter_async_context(Client(service.url))
        streams = [await client.open(user=LONG) for _ in range(4)]  # they last as long as the rollout
        load = await stack.enter_async_context(Load(client, workers=WORKERS))
        await load.more("owned", 4 * WORKERS)
        draining: list[asyncio.Task[None]] = []
        for number, old in enumerate(list(scene.gateways)):
            new = Gateway(scene.workload, scene.decision, old.folder.parent / f"new-{number}", scene.addresses)
            for name in scene.hosted:
                new.write_authority(name, authority.pem)
                new.write_key(name, KEYS[name])
            stack.push_async_callback(new.stop)
            kubelets.comes(new)
            await new.start(workers=2)
            await asyncio.sleep(PROBED_S)
            kubelets.is_ready(new)
            service.endpoints.append(new.addresses.listen)
            draining.append(asyncio.create_task(_end(old, service, kubelets)))
            await load.more("owned", 4 * WORKERS)
        release.set()
        assert all(each.complete for each in await rest_of(streams))
        await asyncio.gather(*draining)
        await load.more("owned", 4 * WORKERS)
        await load.finish()
    assert load.tally.owned > 0
    assert (load.tally.failed, load.tally.lost) == (0, 0), load.tally
    assert all(service.accepted[new] for new in service.endpoints)


async def test_a_node_is_drained_under_load_and_the_other_gateway_gets_the_cap(stage: SetStage) -> None:
    scene = await _two_gateways(stage, "Hybrid")
    first, second = scene.gateways
    async with AsyncExitStack() as stack:
        kubelets = await stack.enter_async_context(sharing(scene))
        service = await stack.enter_async_context(Service([each.addresses.listen for each in scene.gateways]))
        client = await stack.enter_async_context(Client(service.url))
        load = await stack.enter_async_context(Load(client, workers=WORKERS))
        await load.more("owned", 4 * WORKERS)
        await _end(first, service, kubelets)
        await until(lambda: _goes_by(second, 2 * EACH), "the gateway that is left has the whole cap")
        await load.more("owned", 4 * WORKERS)
        await load.finish()
    assert (load.tally.failed, load.tally.lost) == (0, 0), load.tally


async def _goes_by(gateway: Gateway, cap: int) -> bool:
    return await gateway.cap_in_force() == cap


def _long_until(release: asyncio.Event) -> Script:
    """Return a script that holds the streams of one user and answers all others at once."""

    async def script(backend: Backend, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        if body.get("user") != LONG:
            return await complete(backend, request, body)
        response = await open_stream(request)
        await response.write(event(delta("hel")))
        await release.wait()
        await response.write(event(delta("lo")) + b"data: [DONE]\n\n")
        await response.write_eof()
        return response

    return script


async def _two_gateways(stage: SetStage, mode: str) -> Stage:
    slo = {"timeToFirstTokenMs": 30_000}
    spec = {"slo": slo, "gateway": {"replicas": 2}}
    return await stage(mode=mode, engines=1, cap=EACH, gateways=2, workers=2, spec=spec, addresses={"drain_settle_s": ACCEPTS_S})


async def _end(gateway: Gateway, service: Service, kubelets: Kubelets) -> None:
    """End a pod as the kubelet does: the hook, SIGTERM, and that is all the Service hears of it, a moment late."""
    kubelets.leaves(gateway)
    hook = asyncio.create_task(gateway.drain())
    await asyncio.sleep(FORGOTTEN_S)
    service.endpoints.remove(gateway.addresses.listen)
    assert await hook == 200
    gateway.terminate()
    assert await gateway.wait() == 0
    kubelets.gone(gateway)
