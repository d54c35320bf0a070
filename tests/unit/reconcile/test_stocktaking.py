"""Stocktaking: what the watches missed is found, and nothing is taken for missing that is only late."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from spillway.api.vocabulary import Reason
from spillway.apply.connection import ApiError, path
from spillway.apply.known import KnownObjects, Ref
from spillway.observe.cluster import ClusterView
from spillway.plan.decision import Key
from spillway.plan.observation import Missing
from spillway.reconcile.queue import ReconcileQueue
from spillway.reconcile.stocktaking import UNWATCHED, WATCHED, Stocktaker
from spillway.reconcile.world import World

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
KEY = Key(namespace="ns", name="x")


class Listing:
    """Stands for the connection: lists what is there, by path, after a step that the test chooses."""

    def __init__(self) -> None:
        self.objects: dict[str, list[dict[str, Any]]] = {path(kind, None): [] for kind in (*WATCHED, *UNWATCHED)}
        self.before_each: Callable[[str], None] = lambda _: None

    async def request(self, method: str, where: str, *, accept: str) -> dict[str, Any]:
        assert method == "GET"
        assert "PartialObjectMetadata" in accept
        found = where.partition("?")[0]
        self.before_each(found)
        return {"items": list(self.objects[found]), "metadata": {}}


def named(name: str, *, uid: str | None = None, version: int = 5, labelled: bool = True) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "namespace": "ns", "uid": uid or f"uid-{name}", "resourceVersion": str(version)}
    return {"metadata": {**metadata, "labels": {"spillway.dev/workload": "x"}} if labelled else metadata}


class Scene:
    def __init__(self) -> None:
        self.listing = Listing()
        self.world = World(view=ClusterView(), known=KnownObjects(), window_s=60, unasked=Missing(reason=Reason.METRICS_MISSING))
        self.now = 0.0
        self.queue = ReconcileQueue(lambda: self.now)
        self.stocktaker = Stocktaker(self.listing, self.world, self.queue)  # type: ignore[arg-type]  # the seam

    def there(self, kind: str, *found: dict[str, Any]) -> None:
        self.listing.objects[path(kind, None)] = list(found)

    def shown(self, kind: str, found: dict[str, Any]) -> None:
        self.world.view.put(kind, found, NOW)
        if kind in ("Deployment", "Service"):
            self.world.known.seen(Ref(kind, "ns", found["metadata"]["name"]), found["metadata"], KEY)


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def test_waits_until_the_watches_have_shown_all_there_is(scene: Scene) -> None:
    scene.there("Pod", named("late"))
    asked = []

    def show_later(found: str) -> None:
        asked.append(found)
        if asked.count(path("Pod", None)) == 2:
            scene.shown("Pod", named("late"))

    scene.listing.before_each = show_later
    await scene.stocktaker.sync()
    assert asked.count(path("Pod", None)) == 2


async def test_takes_out_what_is_gone_and_was_never_told(scene: Scene) -> None:
    scene.shown("Pod", named("gone"))
    scene.shown("Service", named("service"))
    await scene.stocktaker.compare(settle_s=0)
    assert not dict(scene.world.view.children(KEY))
    assert scene.world.known.get(Ref("Service", "ns", "service")) is None
    assert scene.queue.depth == 1
    assert scene.stocktaker.watching


async def test_takes_out_a_class_and_a_provider_that_are_gone_and_were_never_told(scene: Scene) -> None:
    scene.shown("HostedProvider", named("acme", labelled=False))
    scene.shown("AcceleratorClass", {"metadata": {"name": "l4", "uid": "uid-l4"}})
    await scene.stocktaker.compare(settle_s=0)
    assert (scene.world.view.classes, scene.world.view.providers) == ({}, {})


async def test_a_class_that_its_watch_does_not_show_is_told(scene: Scene) -> None:
    scene.listing.objects.setdefault(path("AcceleratorClass", None), []).append({"metadata": {"name": "l4", "uid": "uid-l4"}})
    await scene.stocktaker.compare(settle_s=0)
    assert not scene.stocktaker.watching


async def test_an_object_whose_label_names_no_workload_is_nobodys_and_waited_for_by_nobody(scene: Scene) -> None:
    unnamed = named("odd")
    unnamed["metadata"]["labels"] = {"spillway.dev/workload": ""}
    scene.there("Pod", unnamed)
    scene.shown("Pod", unnamed)
    await scene.stocktaker.compare(settle_s=0)
    assert scene.stocktaker.watching
    await asyncio.wait_for(scene.stocktaker.sync(), 5)


async def test_what_comes_between_the_two_looks_is_not_missing(scene: Scene) -> None:
    scene.there("Pod", named("new"))
    looks = []

    def show_later(found: str) -> None:
        looks.append(found)
        if looks.count(path("Pod", None)) == 2:
            scene.shown("Pod", named("new"))

    scene.listing.before_each = show_later
    await scene.stocktaker.compare(settle_s=0)
    assert scene.stocktaker.watching


async def test_a_watch_that_shows_nothing_new_is_told_and_forgiven_once_it_does(scene: Scene) -> None:
    scene.there("InferenceWorkload", named("x", labelled=False))
    await scene.stocktaker.compare(settle_s=0)
    assert not scene.stocktaker.watching
    scene.shown("InferenceWorkload", named("x", labelled=False))
    await scene.stocktaker.compare(settle_s=0)
    assert scene.stocktaker.watching


async def test_lists_that_are_refused_are_told_until_they_are_not(scene: Scene) -> None:
    refused = True

    def refuse(found: str) -> None:
        if refused and found == path("Pod", None):
            raise ApiError(403, "no")

    scene.listing.before_each = refuse
    await scene.stocktaker.compare(settle_s=0)
    assert scene.stocktaker.failed == "403: no"
    refused = False
    await scene.stocktaker.compare(settle_s=0)
    assert scene.stocktaker.failed is None


async def test_drift_of_what_is_not_watched_is_found(scene: Scene) -> None:
    ref = Ref("ConfigMap", "ns", "x-gateway")
    scene.world.known.applied(ref, named("x-gateway")["metadata"], "digest", KEY)
    scene.there("ConfigMap", named("x-gateway"))
    await scene.stocktaker.compare(settle_s=0)
    assert scene.queue.depth == 0
    scene.there("ConfigMap", named("x-gateway", version=6))
    await scene.stocktaker.compare(settle_s=0)
    assert scene.queue.depth == 1
    record = scene.world.known.get(ref)
    assert record is not None
    assert record.digest == ""


async def test_a_deleted_object_of_an_unwatched_kind_is_applied_again(scene: Scene) -> None:
    scene.world.known.applied(Ref("ConfigMap", "ns", "x-gateway"), named("x-gateway")["metadata"], "digest", KEY)
    await scene.stocktaker.compare(settle_s=0)
    assert scene.world.known.get(Ref("ConfigMap", "ns", "x-gateway")) is None
    assert scene.queue.depth == 1
