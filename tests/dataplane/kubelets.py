"""What stands between the operator and gateways that share a cap: pods in the watch, and kubelets that bring annotations late."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp

from spillway.api.vocabulary import COMPONENT_GATEWAY, LABEL_COMPONENT, LABEL_WORKLOAD
from spillway.observe.child import Child
from spillway.observe.cluster import ClusterView
from spillway.observe.gateways import read_load
from spillway.plan.decision import Key
from spillway.plan.gateway.shares import GatewayLoad
from spillway.reconcile.sharing import Sharing
from spillway.render.envoy.share import share_annotation
from tests.dataplane.conftest import Stage
from tests.dataplane.process import Gateway, until

DELAY_S = 0.4  # from a pod's annotation to its file; measured on a real kubelet: 0.2 to 0.5 s
LONG_READY = datetime.now(UTC) - timedelta(minutes=1)


class Kubelets:
    """Pods of a stage's gateways, and the operator's way to them."""

    def __init__(self, scene: Stage, session: aiohttp.ClientSession, *, delay: Callable[[], float]) -> None:
        self.view = ClusterView()
        self.looks = 0
        self._scene = scene
        self._session = session
        self._delay = delay
        self._gateways: dict[str, Gateway] = {}
        self.passes: Callable[[], None] = lambda: None  # what a change of pods makes the operator do
        self._ready_since: dict[str, datetime | None] = {}
        self._leaving: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        for gateway in scene.gateways:
            self.show(gateway)

    @property
    def key(self) -> Key:
        """The workload."""
        return self._scene.workload.key

    def show(self, gateway: Gateway, share: int | None = None) -> None:
        """Have the watch show a gateway's pod."""
        self._gateways[gateway.pod] = gateway
        self.view.put("Pod", self._body(gateway, share), datetime.now(UTC))
        self.passes()

    def comes(self, gateway: Gateway) -> None:
        """Have the watch show a pod that has not started."""
        self._ready_since[gateway.pod] = None
        self.show(gateway)

    def is_ready(self, gateway: Gateway) -> None:
        """Have the watch show a pod that has just become ready."""
        self._ready_since[gateway.pod] = datetime.now(UTC)
        self.show(gateway, self.share_of(gateway))

    def leaves(self, gateway: Gateway) -> None:
        """Have the watch show a pod that is being deleted."""
        self._leaving.add(gateway.pod)
        self.show(gateway, self.share_of(gateway))

    def share_of(self, gateway: Gateway) -> int | None:
        """Return what a gateway was told last."""
        (pod,) = (each for each in self.view.gateway_children(self.key, datetime.now(UTC)) if each.name == gateway.pod)
        return pod.sharing.told if pod.sharing else None

    def gone(self, gateway: Gateway) -> None:
        """Have the watch show that a gateway's pod is no more."""
        self.view.remove("Pod", self._body(self._gateways.pop(gateway.pod), None), datetime.now(UTC))
        self.passes()

    async def look(self, pod: Child) -> GatewayLoad | None:
        """Ask a gateway what it holds."""
        self.looks += 1
        return await read_load(self._session, self._gateways[pod.name].operations)

    async def looked(self) -> None:
        """Wait until all gateways have been asked once more."""
        wanted = self.looks + len(self._gateways)
        await until(lambda: self.looks >= wanted, "a look at all gateways")

    async def tell(self, _: Key, pod: Child, share: int) -> bool:
        """Annotate a pod: the watch shows it at once, its Envoy after a while."""
        gateway = self._gateways[pod.name]
        self.show(gateway, share)
        task = asyncio.create_task(self._bring(gateway, share))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _bring(self, gateway: Gateway, share: int) -> None:
        await asyncio.sleep(self._delay())
        gateway.set_share(share)

    def _body(self, gateway: Gateway, share: int | None) -> dict[str, Any]:
        metadata: dict[str, Any] = {
            "name": gateway.pod,
            "namespace": self.key.namespace,
            "uid": gateway.pod,
            "labels": {LABEL_WORKLOAD: self.key.name, LABEL_COMPONENT: COMPONENT_GATEWAY},
            "annotations": share_annotation(share),
        }
        if gateway.pod in self._leaving:
            metadata["deletionTimestamp"] = (LONG_READY + timedelta(hours=1)).isoformat()  # when its time to end is over
        since = self._ready_since.get(gateway.pod, LONG_READY)
        if since is None:
            return {"metadata": metadata, "status": {}}
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": since.isoformat()}
        return {"metadata": metadata, "status": {"podIP": "127.0.0.1", "conditions": [ready]}}


@asynccontextmanager
async def sharing(scene: Stage, *, delay: Callable[[], float] = lambda: DELAY_S) -> AsyncIterator[Kubelets]:
    """Share the stage's cap between its gateways for the length of a block, as the operator does."""
    async with aiohttp.ClientSession() as session:
        kubelets = Kubelets(scene, session, delay=delay)
        loop = Sharing(view=kubelets.view, look=kubelets.look, tell=kubelets.tell)
        kubelets.passes = lambda: loop.follow(scene.workload, scene.decision)
        kubelets.passes()
        task = asyncio.create_task(loop.run())
        try:
            yield kubelets
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled(), task.exception()
