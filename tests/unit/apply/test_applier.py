"""What is sent of the objects of a workload, beside an API server that keeps them, or refuses some."""

import json
from dataclasses import replace
from typing import Any, cast

import pytest

from spillway.apply.applier import Applier, NotLeadingError
from spillway.apply.connection import CONFLICT, NOT_FOUND, ApiError, Connection
from spillway.apply.known import KnownObjects, Ref
from spillway.plan.decision import Key
from tests.unit.plan.situations import workload

OURS = workload()


class ApiServer:
    """Keeps what it is sent by the last two parts of its path; answers some names with an error."""

    def __init__(self, **refused: int) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.sent: list[tuple[str, str]] = []
        self.refused = refused

    async def send(self, method: str, where: str, body: Any = None, **_: str) -> bytes:
        asked = json.loads(body) if isinstance(body, bytes) else body
        parts = where.partition("?")[0].split("/")
        name = "/".join((parts[-1], asked["metadata"]["name"]) if method == "POST" else parts[-2:])
        self.sent.append((method, name))
        if (status := self.refused.get(name.partition("/")[2])) is not None:
            raise ApiError(status, "no")
        before = self.objects.get(name)
        if method == "GET":
            if before is None:
                raise ApiError(NOT_FOUND, "not there")
            return json.dumps(before).encode()
        if method == "DELETE":
            if before is None or before["metadata"]["uid"] != asked["preconditions"]["uid"]:
                raise ApiError(CONFLICT, "another one")
            del self.objects[name]
            return b"{}"
        if before is not None and (method == "POST" or asked["metadata"].get("resourceVersion") == "1"):
            raise ApiError(CONFLICT, "it is there")
        made = {"uid": f"uid-{name}"} | asked["metadata"] | {"resourceVersion": str(len(self.sent))}
        self.objects[name] = {**asked, "metadata": made}
        return json.dumps({"metadata": made}).encode()

    async def request(self, method: str, where: str, body: Any = None, **_: str) -> Any:
        return json.loads(await self.send(method, where, body))

    def told(self) -> list[tuple[str, str]]:
        """Return what was sent since this was asked last."""
        found, self.sent = self.sent, []
        return found


def of(server: ApiServer, fence: Any = lambda: None) -> Applier:
    return Applier(cast("Connection", server), KnownObjects(), fence)


def made(kind: str, name: str, *, owner: str = OURS.uid, **content: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "ml", "ownerReferences": [{"uid": owner, "controller": True}]}
    return {"kind": kind, "metadata": metadata, **content}


def deployment(name: str) -> dict[str, Any]:
    return made("Deployment", name, spec={"template": {"spec": {}}})


def wanted(url: str = "a") -> list[dict[str, Any]]:
    return [made("ConfigMap", "chat-cap", data={"url": url}), made("Service", "chat"), deployment("chat-gateway")]


async def test_of_what_is_so_already_nothing_is_sent_and_of_the_rest_only_what_differs() -> None:
    server = ApiServer()
    applier = of(server)
    assert (await applier.apply(OURS, wanted())).requests == 3
    assert server.told() == [("POST", "configmaps/chat-cap"), ("POST", "services/chat"), ("POST", "deployments/chat-gateway")]
    assert (await applier.apply(OURS, wanted())).requests == 0
    assert (await applier.apply(OURS, wanted("b"))).requests == 1
    assert server.told() == [("PATCH", "configmaps/chat-cap")]
    assert server.objects["configmaps/chat-cap"]["data"] == {"url": "b"}


async def test_what_is_anothers_is_left_alone_and_nothing_is_started_beside_it() -> None:
    server = ApiServer()
    await of(server).apply(replace(OURS, uid="uid-2"), [made("Service", "chat", owner="uid-2")])
    before = dict(server.objects)
    found = await of(server).apply(OURS, wanted())
    assert found.foreign == (Ref("Service", "ml", "chat"),)
    assert server.objects["services/chat"] == before["services/chat"]
    assert "deployments/chat-gateway" not in server.objects


async def test_what_nothing_wants_any_more_is_deleted_and_what_is_refused_is_tried_again() -> None:
    server = ApiServer()
    applier = of(server)
    await applier.apply(OURS, [*wanted(), made("Service", "chat-a"), made("Service", "chat-b")])
    await applier.apply(OURS, wanted())
    server.told()
    server.refused = {"chat-b": 403}

    def keep(ref: Ref) -> bool:
        return ref.name in ("chat-cap", "chat", "chat-gateway")

    (failure,) = await applier.prune(OURS, keep)
    assert failure.startswith("delete Service chat-b: 403")
    assert sorted(server.told()) == [("DELETE", "services/chat-a"), ("DELETE", "services/chat-b")]
    server.refused = {}
    assert await applier.prune(OURS, keep) == ()
    assert server.told() == [("DELETE", "services/chat-b")]
    assert await applier.prune(OURS, keep) == ()
    assert (server.told(), sorted(server.objects)) == ([], ["configmaps/chat-cap", "deployments/chat-gateway", "services/chat"])


async def test_what_is_refused_is_sent_again_after_pauses_that_grow_to_five_minutes() -> None:
    server, now = ApiServer(chat=403), 0.0
    applier = Applier(cast("Connection", server), KnownObjects(), lambda: None, clock=lambda: now)
    objects, sent = wanted(), []
    for tick in range(80):
        now = 15.0 * tick
        found = await applier.apply(OURS, objects)
        assert found.failures == ("Service chat: 403: no",)
        assert bool(found.paused) is (found.requests == 0)
        if ("POST", "services/chat") in server.told():
            sent.append(now)
    assert sent == [0, 15, 30, 60, 105, 195, 360, 660, 960]


@pytest.mark.parametrize("change", ["of what is wanted", "of the spec", "of the workload's objects"])
async def test_what_is_refused_is_sent_again_at_once_after_a_change(change: str) -> None:
    server, known = ApiServer(**{"chat-cap": 422}), KnownObjects()
    applier = Applier(cast("Connection", server), known, lambda: None, clock=lambda: 0.0)
    await applier.apply(OURS, wanted())
    assert (await applier.apply(OURS, wanted())).requests == 0
    server.refused, objects = {}, wanted("b") if change == "of what is wanted" else wanted()
    if change == "of the workload's objects":
        known.gone(Ref("Service", "ml", "chat"))
    spec = replace(OURS, generation=2) if change == "of the spec" else OURS
    assert not (await applier.apply(spec, objects)).failures
    assert "configmaps/chat-cap" in server.objects


@pytest.mark.parametrize("status", [0, 401, 409, 429])
async def test_what_was_not_refused_for_what_it_is_does_not_wait(status: int) -> None:
    server = ApiServer(**{"chat-cap": status})
    applier = Applier(cast("Connection", server), KnownObjects(), lambda: None, clock=lambda: 0.0)
    await applier.apply(OURS, wanted())
    server.refused = {}
    assert not (await applier.apply(OURS, wanted())).failures


async def test_what_became_anothers_meanwhile_is_not_deleted() -> None:
    server = ApiServer()
    applier = of(server)
    await applier.apply(OURS, [made("Service", "chat-a")])
    server.told()
    assert await applier.prune(replace(OURS, uid="uid-2"), lambda _: False) == ()
    assert server.told() == []
    server.objects["services/chat-a"]["metadata"]["uid"] = "another"
    assert await applier.prune(OURS, lambda _: False) == ()
    assert "services/chat-a" in server.objects


async def test_who_does_not_lead_sends_nothing() -> None:
    server, leading = ApiServer(), True

    def fence() -> None:
        if not leading:
            raise NotLeadingError

    applier = of(server, fence)
    await applier.apply(OURS, wanted())
    server.told()
    leading = False
    for attempt in (
        applier.apply(OURS, wanted("b")),
        applier.apply_one(OURS, made("ConfigMap", "chat-ledger")),
        applier.prune(OURS, lambda _: False),
        applier.write_status(OURS, {"url": "u"}),
    ):
        with pytest.raises(NotLeadingError):
            await attempt
    assert server.told() == []


async def test_a_status_is_written_when_it_is_another_one_and_is_that_of_its_workload_alone() -> None:
    server = ApiServer()
    applier = of(server)
    assert await applier.write_status(OURS, {"url": "u"})
    assert not await applier.write_status(OURS, {"url": "u"})
    assert applier.last_status(OURS.key, OURS.uid) == {"url": "u"}
    assert applier.last_status(OURS.key, "uid-2") is None
    assert applier.last_status(Key(namespace="ml", name="other"), OURS.uid) is None
    server.refused = {"status": NOT_FOUND}  # deleted meanwhile
    assert not await applier.write_status(OURS, {"url": "v"})
    assert applier.last_status(OURS.key, OURS.uid) is None
