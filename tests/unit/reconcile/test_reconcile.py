"""A pass from what was seen to what was written, beside an API server that fails, or does not answer, where a test wants it to."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from spillway.api.vocabulary import ConditionType, Reason
from spillway.apply.applier import Applier
from spillway.apply.connection import NAMESPACE_ENDS, ApiError
from spillway.apply.events import EventRecorder
from spillway.apply.known import KnownObjects, Ref
from spillway.observe.cluster import ClusterView
from spillway.plan.decision import Key, Ledger
from spillway.plan.observation import Missing, Sample
from spillway.reconcile.bookkeeping import Bookkeeping
from spillway.reconcile.recollection import Recollection
from spillway.reconcile.reconcile import UNREADABLE_REVISIT_S, PassFailedError, Reconciler
from spillway.reconcile.settings import read_settings
from spillway.reconcile.sharing import Sharing
from spillway.reconcile.telemetry import Telemetry
from spillway.reconcile.world import World
from spillway.render.ledger import parse_ledger
from tests.unit.plan.situations import NOW, later, provider, signals

KEY = Key(namespace="ml", name="chat")
LEDGER, CAP = "configmaps/chat-ledger", "configmaps/chat-gateway-cap"


class Server:
    """Stands for the connection: keeps what it is sent, by the end of its path. `hook` may raise, or take its time."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.version = 0
        self.hook: Callable[[str], Any] = lambda _: None

    async def send(self, method: str, where: str, body: Any = None, **_: Any) -> bytes:
        sent = json.loads(body) if isinstance(body, bytes) else body
        path = where.partition("?")[0]
        name = "/".join((path.split("/")[-1], sent["metadata"]["name"]) if method == "POST" else path.split("/")[-2:])
        answer = self.hook(name)
        if answer is not None:
            await answer
        if method == "DELETE":
            del self.objects[name]
            return b""
        self.version += 1
        metadata = {"uid": f"uid-{name}"} | sent["metadata"] | {"resourceVersion": str(self.version)}
        self.objects[name] = {**sent, "metadata": metadata}
        return json.dumps({"metadata": metadata}).encode()

    async def request(self, method: str, where: str, body: Any = None, **_: Any) -> Any:
        name = "/".join(where.split("/")[-2:])
        if method != "GET":
            return json.loads(await self.send(method, where, body))
        if name not in self.objects:
            raise ApiError(404, f"{name} not found")
        return self.objects[name]

    def ledger(self) -> Ledger:
        found = parse_ledger(self.objects[LEDGER]["data"])
        assert found is not None
        return found


class Operator:
    """What is around passes, with a clock that stands where it is put."""

    def __init__(self, **settings_changed: Any) -> None:
        self.now = NOW
        self.server = Server()
        known, settings = KnownObjects(), replace(read_settings({}), **settings_changed)
        self.world = World(view=ClusterView(), known=known, window_s=60, unasked=Missing(reason=Reason.METRICS_MISSING), leading_since=NOW)
        connection: Any = self.server
        applier = Applier(connection, known, lambda: None)
        self.telemetry = Telemetry(queue_depth=lambda: 0, queue_delay_s=lambda: 0, leading=lambda: True, requests=lambda: 0)
        self.recorder = EventRecorder(connection, lambda: None, instance="test")
        self.reconciler = Reconciler(
            settings=settings,
            world=self.world,
            connection=connection,
            applier=applier,
            recorder=self.recorder,
            bookkeeping=Bookkeeping(applier, known, every_s=60),
            recollection=Recollection(applier, known),
            telemetry=self.telemetry,
            sharing=Sharing(view=self.world.view, look=_nothing, tell=_told),
            fence=lambda: None,
            revisit_s=lambda _: 15.0,
            clock=lambda: self.now,
        )

    def shown(self, *, generation: int = 1, **spec: Any) -> None:
        """Have the watches show a workload that rents, its provider and one gateway."""
        made = {"namespace": KEY.namespace, "generation": generation, "creationTimestamp": "2026-11-20T12:00:00Z"}
        hosted = {"backends": [{"providerRef": {"name": "acme"}, "model": "llama-8b"}], "overflow": {"maxUSDPerDay": "10"}}
        whole = {"model": {"id": "meta/llama-8b"}, "placement": {"mode": "Hosted"}, "hosted": hosted} | spec
        acme = provider().model_dump(mode="json", by_alias=True, exclude_none=True)
        labels = {"spillway.dev/workload": KEY.name, "app.kubernetes.io/component": "gateway"}
        pod = {"metadata": {**made, "name": "chat-gateway-0", "uid": "gateway-0", "labels": labels}, "status": {}}
        self.world.view.put("HostedProvider", {"metadata": {**made, "name": "acme", "uid": "p"}, "spec": acme}, NOW)
        self.world.view.put("InferenceWorkload", {"metadata": {**made, "name": KEY.name, "uid": "w"}, "spec": whole}, NOW)
        self.world.view.put("Pod", pod, NOW)

    def scraped(self, at: datetime) -> None:
        """Have Prometheus answered by then: nothing was spilled yet."""
        self.now = at
        self.world.signals = {KEY: replace(signals(), counters=Sample(value=(), at=at), spill_meters=Sample(value=(), at=at))}


async def _nothing(*_: Any) -> None:
    return None


async def _told(*_: Any) -> bool:
    return True


@pytest.fixture
def operator() -> Operator:
    found = Operator()
    found.shown()
    found.scraped(NOW)
    return found


async def test_a_permit_that_was_written_down_is_not_dealt_again_by_the_pass_after_one_that_was_cut_off(operator: Operator) -> None:
    await operator.reconciler.run(KEY)
    reached, never = asyncio.Event(), asyncio.Event()

    def hang(name: str) -> Any:
        if name != CAP:
            return None
        reached.set()
        return never.wait()

    operator.server.hook = hang
    operator.scraped(later(180))
    cut = asyncio.create_task(operator.reconciler.run(KEY))
    await reached.wait()
    cut.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cut
    written = operator.server.ledger()
    assert written.permit is not None
    assert written.permit.issued_at == later(180)
    operator.server.hook = lambda _: None
    operator.scraped(later(195))
    await operator.reconciler.run(KEY)
    assert operator.server.ledger().permit == written.permit
    assert "lane chat-gateway-0 0 " in operator.server.objects[CAP]["data"]["permit"]


async def test_what_a_status_says_is_told_by_metrics_and_events_also_when_the_ledger_cannot_be_written() -> None:
    operator = Operator()
    operator.shown(hosted={"backends": [{"providerRef": {"name": "nobody"}, "model": "llama-8b"}]})
    posted = asyncio.Event()

    def refuse(name: str) -> None:
        if name == LEDGER:
            raise ApiError(403, "exceeded quota")
        if name.startswith("events/"):
            posted.set()

    operator.server.hook = refuse
    with pytest.raises(ApiError):
        await operator.reconciler.run(KEY)
    status = operator.server.objects["chat/status"]["status"]
    told = {each.type: each.status for each in operator.telemetry.conditions[KEY]}
    assert told == {each["type"]: each["status"] for each in status["conditions"]}
    assert told[ConditionType.SPEC_VALID] == "False"
    posting = asyncio.create_task(operator.recorder.run())
    await posted.wait()
    posting.cancel()


async def test_a_ledger_that_cannot_be_written_is_told_until_it_is(operator: Operator) -> None:
    def refuse(name: str) -> None:
        if name == LEDGER:
            raise ApiError(403, "exceeded quota: configmaps")

    def degraded() -> str:
        conditions = operator.server.objects["chat/status"]["status"]["conditions"]
        return str(next(each["message"] for each in conditions if each["type"] == ConditionType.DEGRADED))

    operator.shown(hosted={"backends": [{"providerRef": {"name": "acme"}, "model": "llama-8b"}]})  # without a limit there is no permit
    operator.server.hook = refuse
    for _ in range(2):
        with pytest.raises(ApiError):
            await operator.reconciler.run(KEY)
    assert "ConfigMap chat-ledger: 403: exceeded quota: configmaps" in degraded()
    operator.server.hook = lambda _: None
    for _ in range(2):
        await operator.reconciler.run(KEY)
    assert "chat-ledger" not in degraded()


async def test_a_decision_is_told_once_also_when_the_status_cannot_be_written_at_first(operator: Operator) -> None:
    def refuse(name: str) -> None:
        if name == "chat/status":
            raise ApiError(500, "etcdserver: leader changed")

    operator.server.hook = refuse
    with pytest.raises(ApiError):
        await operator.reconciler.run(KEY)
    operator.server.hook = lambda _: None
    await operator.reconciler.run(KEY)
    assert operator.server.objects["chat/status"]["status"]["decisions"][0]["reason"] == Reason.MODE_HOSTED
    assert operator.telemetry.decisions[Reason.MODE_HOSTED] == 1


@pytest.mark.parametrize("name", [LEDGER, CAP, "services/chat", "deployments/chat-gateway"])
async def test_a_namespace_that_ends_is_left_alone_whatever_it_refuses_first(operator: Operator, name: str) -> None:
    def refuse(asked: str) -> None:
        if asked == name:
            raise ApiError(403, "forbidden: unable to create new content in namespace ml because it is being terminated", [NAMESPACE_ENDS])

    operator.server.hook = refuse
    for passes in (1, 2):
        assert await operator.reconciler.run(KEY) == UNREADABLE_REVISIT_S
        assert operator.telemetry.passes == {"done": passes}


async def test_gateways_are_not_rolled_before_the_configuration_that_they_start_with_is_there(operator: Operator) -> None:
    await operator.reconciler.run(KEY)
    before = operator.server.objects["deployments/chat-gateway"]

    def refuse(name: str) -> None:
        if name == "configmaps/chat-gateway":
            raise ApiError(0, "no answer from the API server within 11 s")

    changed: dict[str, Any] = {"maxRequestSeconds": 60}
    operator.shown(generation=2, gateway=changed)
    operator.server.hook = refuse
    with pytest.raises(PassFailedError, match="ConfigMap chat-gateway: no answer"):
        await operator.reconciler.run(KEY)
    assert operator.server.objects["deployments/chat-gateway"] == before
    operator.server.hook = lambda _: None
    await operator.reconciler.run(KEY)
    assert operator.server.objects["deployments/chat-gateway"] != before


@pytest.mark.parametrize(
    ("hangs", "told"),
    [
        pytest.param(("services/chat", "deployments/chat-gateway"), "Deployment chat-gateway: no answer", id="objects"),
        pytest.param(("pods/chat-gateway-0",), "timed out before everything was applied", id="annotations"),
    ],
)
async def test_a_pass_whose_writes_a_webhook_keeps_for_long_ends_in_a_status_that_says_so(hangs: tuple[str, ...], told: str) -> None:
    operator = Operator(pass_timeout_s=2.0)
    operator.shown(hosted={"backends": [{"providerRef": {"name": "acme"}, "model": "llama-8b"}]})
    never = asyncio.Event()
    operator.server.hook = lambda name: never.wait() if name in hangs else None
    with pytest.raises(PassFailedError, match=told):
        await operator.reconciler.run(KEY)
    (degraded,) = [each for each in operator.server.objects["chat/status"]["status"]["conditions"] if each["type"] == "Degraded"]
    assert (degraded["status"], degraded["reason"]) == ("True", Reason.APPLY_FAILED)
    assert told in degraded["message"]
    assert "deployments/chat-gateway" in operator.server.objects or "deployments/chat-gateway" in hangs
    assert operator.server.ledger().watched_until == NOW


async def test_what_one_workload_cannot_write_down_soon_keeps_no_other_from_it_at_the_end(operator: Operator) -> None:
    other = Key(namespace=KEY.namespace, name="other")
    body = {"namespace": other.namespace, "name": other.name, "uid": "o", "generation": 1, "creationTimestamp": "2026-11-20T12:00:00Z"}
    hosted = {"backends": [{"providerRef": {"name": "acme"}, "model": "llama-8b"}]}
    whole = {"model": {"id": "meta/llama-8b"}, "placement": {"mode": "Hosted"}, "hosted": hosted}
    operator.world.view.put("InferenceWorkload", {"metadata": body, "spec": whole}, NOW)
    for at in (NOW, later(30)):  # of the latter nothing is written yet
        operator.now = at
        for key in (KEY, other):
            await operator.reconciler.run(key)
    operator.now = later(120)
    never, written = asyncio.Event(), asyncio.Event()

    def hook(name: str) -> Any:
        if name == "configmaps/other-ledger":
            written.set()
        return never.wait() if name == LEDGER else None

    operator.server.hook = hook
    flushing = asyncio.create_task(operator.reconciler.flush())
    async with asyncio.timeout(10):
        await written.wait()
    flushing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await flushing


async def test_a_pass_that_is_cut_off_says_after_how_long() -> None:
    operator, never = Operator(pass_timeout_s=0.1), asyncio.Event()
    operator.shown()
    operator.server.hook = lambda _: never.wait()
    with pytest.raises(TimeoutError, match=r"timed out after 0\.1 s"):
        await operator.reconciler.run(KEY)
    assert operator.telemetry.passes == {"failed": 1}


async def test_what_is_not_wanted_any_more_goes_also_while_a_gateway_cannot_be_told_of_the_cap(operator: Operator) -> None:
    scaler, autoscaling = "horizontalpodautoscalers/chat-gateway", {"autoscaling": {"maxReplicas": 4}}
    operator.shown(generation=2, gateway=autoscaling)
    await operator.reconciler.run(KEY)
    assert scaler in operator.server.objects

    def refuse(name: str) -> None:
        if name.startswith("pods/"):
            raise ApiError(403, "admission webhook denied the request")

    operator.shown(generation=3)
    operator.server.hook = refuse
    with pytest.raises(PassFailedError, match="annotations of gateway pods"):
        await operator.reconciler.run(KEY)
    assert scaler not in operator.server.objects
    (told,) = [each for each in operator.telemetry.conditions[KEY] if each.type == ConditionType.DEGRADED]
    assert (told.status, told.reason) == ("True", Reason.APPLY_FAILED)


@pytest.mark.parametrize(
    ("refused", "done"),
    [
        pytest.param("poddisruptionbudgets/chat-gateway", {"cap told", "scaler gone"}, id="an object beside"),
        pytest.param(CAP, set(), id="the cap, for which the Deployment waits"),
        pytest.param("deployments/chat-gateway", {"cap told"}, id="the Deployment"),
    ],
)
async def test_an_object_that_is_refused_holds_up_what_depends_on_it_alone(operator: Operator, refused: str, done: set[str]) -> None:
    scaler, autoscaling = "horizontalpodautoscalers/chat-gateway", {"autoscaling": {"maxReplicas": 4}}
    operator.shown(generation=2, gateway=autoscaling)
    await operator.reconciler.run(KEY)
    operator.server.objects.pop("pods/chat-gateway-0")

    def refuse(name: str) -> None:
        if name == refused:
            raise ApiError(403, "admission webhook denied the request")

    operator.shown(generation=3, gateway={"maxRequestSeconds": 60, "replicas": 3})
    for ref in (
        Ref(kind, KEY.namespace, name) for kind in ("PodDisruptionBudget", "ConfigMap") for name in ("chat-gateway", "chat-gateway-cap")
    ):
        operator.world.known.gone(ref)
    operator.server.hook = refuse
    with pytest.raises(PassFailedError, match="denied"):
        await operator.reconciler.run(KEY)
    assert ("pods/chat-gateway-0" in operator.server.objects) is ("cap told" in done)
    assert (scaler not in operator.server.objects) is ("scaler gone" in done)


@pytest.mark.parametrize(
    ("metadata", "spec", "left"),
    [
        pytest.param({"deletionTimestamp": "2026-11-21T12:00:00Z"}, {"model": {"id": "meta/llama-8b"}}, {"conditions": False}, id="ends"),
        pytest.param({"generation": 9}, {"model": {"newer": "field"}}, {"conditions": True}, id="cannot be read"),
    ],
)
async def test_figures_of_a_workload_that_nobody_looks_after_any_more_are_not_exported_on_and_on(
    operator: Operator, metadata: dict[str, Any], spec: dict[str, Any], left: dict[str, bool]
) -> None:
    await operator.reconciler.run(KEY)
    figures = {name: getattr(operator.telemetry, name) for name in ("snapshots", "promises", "conditions")}
    assert all(KEY in each for each in figures.values())
    made = {"namespace": KEY.namespace, "name": KEY.name, "uid": "w", "generation": 1, "creationTimestamp": "2026-11-20T12:00:00Z"}
    operator.world.view.put("InferenceWorkload", {"metadata": made | metadata, "spec": spec}, NOW)
    await operator.reconciler.run(KEY)
    assert {name: KEY in each for name, each in figures.items()} == {"snapshots": False, "promises": False} | left


async def test_money_is_written_down_and_conditions_are_told_also_while_the_status_cannot_be_written(operator: Operator) -> None:
    def refuse(name: str) -> None:
        if name == "chat/status":
            raise ApiError(500, ".status.cost.newer: field not declared in schema")

    operator.shown(generation=2, hosted={"backends": [{"providerRef": {"name": "acme"}, "model": "llama-8b"}]})
    operator.server.hook = refuse
    with pytest.raises(ApiError):
        await operator.reconciler.run(KEY)
    assert operator.server.ledger().watched_until == NOW
    assert {each.type for each in operator.telemetry.conditions[KEY]} == set(ConditionType)


async def test_what_is_still_refused_is_told_on_and_fails_no_further_pass(operator: Operator) -> None:
    def refuse(name: str) -> None:
        if name == "poddisruptionbudgets/chat-gateway":
            raise ApiError(403, "admission webhook denied the request")

    operator.world.known.gone(Ref("PodDisruptionBudget", KEY.namespace, "chat-gateway"))
    operator.shown(generation=2)
    operator.server.hook = refuse
    with pytest.raises(PassFailedError, match="denied"):
        await operator.reconciler.run(KEY)
    assert await operator.reconciler.run(KEY) is not None
    (told,) = [each for each in operator.telemetry.conditions[KEY] if each.type == ConditionType.DEGRADED]
    assert (told.reason, "denied" in told.message) == (Reason.APPLY_FAILED, True)
