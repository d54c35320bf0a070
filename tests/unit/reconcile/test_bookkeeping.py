"""The month's money is never forgotten by a pass that fails, nor overwritten because it cannot be read."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from spillway.api.vocabulary import LABEL_WORKLOAD
from spillway.apply.connection import ApiError
from spillway.apply.known import KnownObjects, Ref
from spillway.plan.decision import Ledger, Permit, Workload
from spillway.reconcile.bookkeeping import Bookkeeping
from spillway.render.ledger import ledger_object, parse_ledger
from tests.unit.plan.situations import workload

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SPENT = Ledger(month="2026-11", hosted_usd=12.5)


class Writer:
    """Stands for the applier and for the API server that lists what it has."""

    def __init__(self, *there: dict[str, Any]) -> None:
        self.there = list(there)
        self.broken = False

    async def keep(self, owner: Workload, obj: dict[str, Any]) -> None:
        del owner
        if self.broken:
            raise ApiError(503, "not now")
        self.there = [obj]

    async def request(self, *_: Any, **__: Any) -> Any:
        return {"items": self.there}


def stored(data: dict[str, str] | None = None) -> dict[str, Any]:
    found = ledger_object(workload(), SPENT)
    return found if data is None else {**found, "data": data}


async def loaded(server: Writer) -> Bookkeeping:
    books = Bookkeeping(server, KnownObjects(), every_s=60)  # type: ignore[arg-type]  # the seam
    await books.load(server)  # type: ignore[arg-type]
    return books


async def test_a_pass_that_failed_finds_the_ledger_again() -> None:
    books = await loaded(Writer(stored()))
    assert books.found(workload().key, "uid-1") == books.found(workload().key, "uid-1") == SPENT
    assert books.found(workload().key, "another") is None


async def test_what_was_written_since_is_newer_than_what_was_read() -> None:
    books = await loaded(Writer(stored()))
    newer = Ledger(month="2026-11", hosted_usd=20.0)
    await books.write(workload(), newer, NOW, at_once=True)
    assert books.found(workload().key, "uid-1") == newer
    books.forget(workload().key)
    assert books.found(workload().key, "uid-1") is None


async def test_nothing_is_kept_of_a_workload_whose_name_another_one_has_before_its_end_was_heard_of() -> None:
    books, remade = await loaded(Writer(stored())), replace(workload(), uid="uid-2")
    await books.write(workload(), SPENT, NOW, at_once=True)
    await books.write(remade, Ledger(month="2026-11"), NOW, at_once=True)
    assert books.found(workload().key, "uid-1") is None
    assert books.found(workload().key, "uid-2") == Ledger(month="2026-11")


@pytest.mark.parametrize(
    ("passed", "written"),
    [
        pytest.param(timedelta(seconds=30), False, id="at most once a minute"),
        pytest.param(timedelta(seconds=60), True, id="every minute"),
        pytest.param(-timedelta(hours=1), True, id="and when the clock was set back"),
    ],
)
async def test_money_is_written_as_it_is_counted(passed: timedelta, written: bool) -> None:  # noqa: FBT001  a column
    known, newer = KnownObjects(), replace(SPENT, hosted_usd=20.0)
    books = Bookkeeping(Writer(), known, every_s=60)  # type: ignore[arg-type]  # the seam
    await books.write(workload(), SPENT, NOW, at_once=False)
    known.applied(Ref("ConfigMap", "ml", "chat-ledger"), {"uid": "map", "resourceVersion": "1"}, "digest", workload().key)
    await books.write(workload(), newer, NOW + passed, at_once=False)
    assert books.found(workload().key, "uid-1") == (newer if written else SPENT)


def watched(minutes: float, **changes: Any) -> Ledger:
    """Return the ledger so long after the first, in which only time has passed but for these changes."""
    return replace(SPENT, watched_until=NOW + timedelta(minutes=minutes), **changes)


@pytest.mark.parametrize(
    ("newer", "at_once", "there", "written"),
    [
        pytest.param(watched(9.9), True, True, False, id="not where only time has passed"),
        pytest.param(watched(10), False, True, True, id="but every ten minutes"),
        pytest.param(watched(0.1, hosted_usd=20.0), True, True, True, id="money at once where that is asked for"),
        pytest.param(watched(0.1, hosted_usd=20.0), False, True, False, id="and else not"),
        pytest.param(watched(0.1, month="2026-12"), False, True, True, id="a new month at once"),
        pytest.param(watched(0.1), False, False, True, id="anew once somebody has deleted it"),
    ],
)
async def test_when_a_ledger_is_written(newer: Ledger, at_once: bool, there: bool, written: bool) -> None:  # noqa: FBT001  columns
    known = KnownObjects()
    books = Bookkeeping(Writer(), known, every_s=60)  # type: ignore[arg-type]  # the seam
    await books.write(workload(), watched(0), NOW, at_once=False)
    if there:
        known.applied(Ref("ConfigMap", "ml", "chat-ledger"), {"uid": "map", "resourceVersion": "1"}, "digest", workload().key)
    assert newer.watched_until is not None
    await books.write(workload(), newer, newer.watched_until, at_once=at_once)
    assert books.found(workload().key, "uid-1") == (newer if written else watched(0))


@pytest.mark.parametrize(
    ("newer", "written"),
    [
        pytest.param(watched(0.5), False, id="nothing but half a minute"),
        pytest.param(watched(1), True, id="a minute"),
        pytest.param(watched(0.1, hosted_usd=20.0), True, id="money"),
    ],
)
async def test_at_the_end_is_written_what_was_not_written_a_moment_ago(newer: Ledger, written: bool) -> None:  # noqa: FBT001  a column
    server = Writer()
    books = await loaded(server)
    assert newer.watched_until is not None
    await books.flush(workload(), watched(0), NOW)
    await books.flush(workload(), newer, newer.watched_until)
    assert [parse_ledger(each["data"]) for each in server.there] == [newer if written else watched(0)]


async def test_what_holds_no_ledger_or_is_nobodys_keeps_no_other_from_being_read() -> None:
    nobodys, empty = stored(), stored({})
    nobodys = {**nobodys, "metadata": {**nobodys["metadata"], "ownerReferences": []}}
    books = await loaded(Writer(nobodys, {**empty, "data": None}, empty))
    assert books.found(workload().key, "uid-1") is None
    assert (await loaded(Writer(nobodys, empty, stored()))).found(workload().key, "uid-1") == SPENT


async def test_a_ledger_that_another_namespace_or_a_copy_has_for_a_workload_is_not_its_own() -> None:
    """Whoever may write ConfigMaps can name any controller in one."""
    metadata = stored()["metadata"]
    labels = {**metadata["labels"], LABEL_WORKLOAD: "other"}
    claims = [
        {**stored(), "metadata": {**metadata, **changes}}
        for changes in ({"namespace": "zz"}, {"name": "zz"}, {"labels": labels}, {"name": "other-ledger", "labels": labels})
    ]
    assert (await loaded(Writer(*claims))).found(workload().key, "uid-1") is None
    dear = ledger_object(workload(), replace(SPENT, hosted_usd=1e6))
    others = [{**dear, "metadata": each["metadata"]} for each in claims]
    assert (await loaded(Writer(stored(), *others))).found(workload().key, "uid-1") == SPENT


async def test_a_permit_is_written_once_and_tried_again_until_it_is() -> None:
    server, permit = Writer(stored()), Permit(issued_at=NOW, expires_at=NOW, retry_at=NOW, allowances=())
    books, permitted = await loaded(server), replace(SPENT, permit=permit)
    server.broken = True
    with pytest.raises(ApiError):
        await books.write_permit(workload(), permitted, NOW)
    server.broken = False
    await books.write_permit(workload(), permitted, NOW)
    assert [parse_ledger(each["data"]) for each in server.there] == [permitted]
    server.broken = True
    await books.write_permit(workload(), permitted, NOW)  # nothing is written, so nothing fails
    again = await loaded(server)
    await again.write_permit(workload(), permitted, NOW)


async def test_a_ledger_that_cannot_be_read_is_told_and_kept_beside_the_new_one(caplog: pytest.LogCaptureFixture) -> None:
    server = Writer(stored({"ledger.json": '{"month": '}))
    books = await loaded(server)
    assert books.found(workload().key, "uid-1") is None
    assert "ml/chat-ledger cannot be read" in caplog.text
    await books.write(workload(), SPENT, NOW, at_once=True)
    again = await loaded(server)
    await again.write(workload(), SPENT, NOW, at_once=True)
    (data,) = (each["data"] for each in server.there)
    assert parse_ledger(data) == SPENT
    assert '{"month": ' in data.values()
