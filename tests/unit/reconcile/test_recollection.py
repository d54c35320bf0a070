"""What was learned outlives the process: written seldom, read back for the very workload, and never in the way when it cannot be."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from spillway.apply.known import KnownObjects, Ref
from spillway.plan.decision import Memory, Workload
from spillway.plan.learned import Learned
from spillway.reconcile.recollection import Recollection
from spillway.render.learned import learned_object, parse_learned
from tests.unit.plan.demands import taught
from tests.unit.plan.situations import workload
from tests.unit.plan.test_lazy import watched

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
KNEW = Memory(measured_input_tokens=700.0)
KNOWS = Memory(measured_input_tokens=900.0)


class Server:
    """Stands for the applier and for the API server that lists what it has."""

    def __init__(self, *there: dict[str, Any]) -> None:
        self.there = list(there)
        self.known = KnownObjects()
        self.writes = 0

    async def keep(self, owner: Workload, obj: dict[str, Any]) -> None:
        self.there = [obj]
        self.writes += 1
        ref = Ref("ConfigMap", owner.key.namespace, obj["metadata"]["name"])
        self.known.applied(ref, {"uid": "map", "resourceVersion": "1"}, "digest", owner.key)

    async def request(self, *_: Any, **__: Any) -> Any:
        return {"items": self.there}

    def kept(self) -> Learned | None:
        (obj,) = self.there
        return parse_learned(obj["data"])


async def loaded(server: Server) -> Recollection:
    found = Recollection(server, server.known)  # type: ignore[arg-type]  # the seam
    await found.load(server)  # type: ignore[arg-type]
    return found


def stored(memory: Memory = KNEW, *, text: str | None = None) -> dict[str, Any]:
    learned = Learned.of(memory)
    assert learned is not None
    obj = learned_object(workload(), learned)
    return obj if text is None else {**obj, "data": {"learned.json": text}}


async def test_the_next_process_knows_what_the_last_one_wrote() -> None:
    server = Server()
    await (await loaded(server)).write(workload(), KNOWS, NOW)
    again = await loaded(server)
    assert again.recall(workload().key, "uid-1", Memory(numbers_replicas=3)) == Memory(numbers_replicas=3, measured_input_tokens=900.0)
    assert again.recall(workload().key, "another", Memory()) == Memory()


async def test_nothing_is_kept_of_a_workload_whose_name_another_one_has_before_its_end_was_heard_of() -> None:
    server = Server(stored())
    found, remade = await loaded(server), replace(workload(), uid="uid-2")
    await found.write(workload(), KNEW, NOW)
    server.known.gone(Ref("ConfigMap", "ml", "chat-learned"))
    await found.write(remade, KNOWS, NOW)
    assert found.recall(workload().key, "uid-1", Memory()) == Memory()
    assert found.recall(workload().key, "uid-2", Memory()) == KNOWS


async def test_it_is_written_every_five_minutes_at_most_and_not_when_nothing_is_new() -> None:
    server = Server()
    found = await loaded(server)
    await found.write(workload(), KNEW, NOW)
    await found.write(workload(), KNOWS, NOW + timedelta(minutes=4))
    assert server.kept() == Learned.of(KNEW)
    await found.write(workload(), KNOWS, NOW + timedelta(minutes=5))
    assert server.kept() == Learned.of(KNOWS)
    await found.write(workload(), KNOWS, NOW + timedelta(hours=1))
    assert server.writes == 2


async def test_traffic_alone_is_written_every_quarter_of_an_hour_and_with_all_else_that_is_new() -> None:
    busy, busier = (replace(KNEW, demand_model=taught([load] * 3), lazy=watched([load], lambda _: 1.0)) for load in (2.0, 3.0))
    for newer, minutes, writes in ((busier, 14, 1), (busier, 15, 2), (replace(busier, measured_input_tokens=900.0), 5, 2)):
        server = Server()
        found = await loaded(server)
        await found.write(workload(), busy, NOW)
        await found.write(workload(), newer, NOW + timedelta(minutes=minutes))
        assert server.writes == writes


@pytest.mark.parametrize("changes", [{"namespace": "zz"}, {"name": "zz"}])
async def test_what_another_namespace_or_a_copy_has_for_a_workload_is_not_recalled(changes: dict[str, str]) -> None:
    claim = stored(KNOWS)
    claim = {**claim, "metadata": {**claim["metadata"], **changes}}
    found = await loaded(Server(stored(), claim))
    assert found.recall(workload().key, "uid-1", Memory()) == KNEW


async def test_a_config_map_that_somebody_has_emptied_keeps_no_other_from_being_read() -> None:
    found = await loaded(Server({**stored(), "data": None}, stored()))
    assert found.recall(workload().key, "uid-1", Memory()) == KNEW


async def test_it_is_written_when_the_clock_was_set_back() -> None:
    server = Server()
    found = await loaded(server)
    await found.write(workload(), KNEW, NOW)
    await found.write(workload(), KNOWS, NOW - timedelta(hours=1))
    assert server.kept() == Learned.of(KNOWS)


async def test_a_clean_stop_writes_what_is_new_and_only_that() -> None:
    server = Server()
    found = await loaded(server)
    await found.write(workload(), KNEW, NOW)
    await found.flush(workload(), KNOWS, NOW + timedelta(seconds=1))
    await found.flush(workload(), KNOWS, NOW + timedelta(seconds=2))
    assert (server.kept(), server.writes) == (Learned.of(KNOWS), 2)
    assert found.recall(workload().key, "uid-1", Memory()) == KNOWS


async def test_what_somebody_deleted_is_written_again_at_once() -> None:
    server = Server()
    found = await loaded(server)
    await found.write(workload(), KNEW, NOW)
    server.known.gone(Ref("ConfigMap", "ml", "chat-learned"))
    await found.write(workload(), KNEW, NOW + timedelta(seconds=15))
    assert server.writes == 2


async def test_who_has_learned_nothing_has_no_config_map() -> None:
    server = Server()
    found = await loaded(server)
    await found.write(workload(), Memory(), NOW)
    await found.flush(workload(), Memory(), NOW)
    assert server.writes == 0


@pytest.mark.parametrize("text", ["{", '{"version":7}', '{"version":1,"step":{}}'], ids=["torn", "of another version", "half"])
async def test_what_cannot_be_read_is_told_and_learned_anew(text: str, caplog: pytest.LogCaptureFixture) -> None:
    server = Server(stored(text=text))
    found = await loaded(server)
    assert "ml/chat-learned cannot be read, its contents are learned again" in caplog.text
    assert found.recall(workload().key, "uid-1", Memory()) == Memory()
    await found.write(workload(), KNOWS, NOW)
    assert server.kept() == Learned.of(KNOWS)


async def test_a_workload_that_is_gone_is_forgotten() -> None:
    found = await loaded(Server())
    await found.write(workload(), KNEW, NOW)
    found.forget(workload().key)
    assert found.recall(workload().key, "uid-1", Memory()) == Memory()
