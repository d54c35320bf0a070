"""A request that finds own replicas full waits a moment for a slot, and is spilled when there is none: `hosted.overflow.maxWaitMs`."""

import asyncio
import json
from collections import Counter
from typing import Any

import pytest

from tests.dataplane import fakes
from tests.dataplane.client import Answer, OpenStream
from tests.dataplane.conftest import KEYS, SetStage, Stage
from tests.dataplane.process import until
from tests.dataplane.test_failures import ALPHA, error_of
from tests.dataplane.test_guards import permit
from tests.dataplane.test_seeing import not_taken

pytestmark = pytest.mark.dataplane
SLOT_RETRIES = "envoy_cluster_upstream_rq_retry"
LONG, SHORT = {"maxWaitMs": 5000}, {"maxWaitMs": 400}
PATIENT = {"slo": {"timeToFirstTokenMs": 30_000}}
KEPT = {"x-spillway-spill": "never"}


@pytest.fixture
def full(stage: SetStage) -> SetStage:
    """Return a function that sets a stage whose only replica holds as many streams as the cap lets it, until its `hold` is set."""
    held: list[OpenStream] = []  # one that nobody holds is closed

    async def set_full(overflow: dict[str, Any] | None, *, cap: int = 1, **more: Any) -> Stage:
        scene = await stage(engines=1, cap=cap, overflow=overflow, spec=PATIENT, **more)
        scene.engines[0].hold = asyncio.Event()
        held.extend(await scene.client.open_many(cap))
        return scene

    return set_full


def ask(scene: Stage, count: int, **more: Any) -> list[asyncio.Task[Answer]]:
    """Send requests, plain and streamed by turns."""
    return [asyncio.create_task(scene.client.post(stream=bool(place % 2), **more)) for place in range(count)]


async def polls(scene: Stage) -> float:
    return await scene.gateway.metric(SLOT_RETRIES, envoy_cluster_name="hop-slot")


async def waiting(scene: Stage, *, polls_each: int = 2) -> None:
    """Wait until requests have asked again, several times."""

    async def asked() -> bool:
        return await polls(scene) >= polls_each

    await until(asked, "requests ask again")


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_a_slot_that_frees_within_the_wait_is_taken_and_nothing_spills(full: SetStage, *, stream: bool) -> None:
    scene = await full(LONG)
    asked = asyncio.create_task(scene.client.post(stream=stream))
    await waiting(scene)
    assert not asked.done()
    assert scene.engines[0].hold
    scene.engines[0].hold.set()
    answer = await asked
    assert (answer.status, answer.served_by, answer.attempts) == (200, "owned", 1)
    assert answer.complete if stream else answer.json["choices"]
    assert (scene.engines[0].peak, scene.alpha.requests) == (1, 0)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_a_request_that_waited_in_vain_is_spilled(full: SetStage, *, stream: bool) -> None:
    scene = await full(SHORT)
    answer = await scene.client.post(stream=stream)
    assert (answer.status, answer.served_by, answer.attempts) == (200, ALPHA, 2)
    assert await polls(scene) >= 2, "it did not wait"
    assert (scene.engines[0].requests, scene.alpha.requests) == (1, 1)


@pytest.mark.parametrize("body_mb", [0, 4], ids=["small", "4 MB"])
async def test_a_body_is_kept_whole_while_its_request_waits(full: SetStage, body_mb: int) -> None:
    scene = await full(LONG)
    text = "x" * (body_mb * 1024 * 1024)
    asked = asyncio.create_task(scene.client.post(user=text))
    await waiting(scene)
    assert scene.engines[0].hold
    scene.engines[0].hold.set()
    assert (await asked).served_by == "owned"
    assert scene.engines[0].bodies[-1]["user"] == text


@pytest.mark.parametrize(
    "script",
    [fakes.fail(500), fakes.fail(503), fakes.fail(429), fakes.close, fakes.reset],
    ids=["500", "503", "429", "closes", "resets"],
)
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_what_a_replica_has_seen_goes_to_the_next_backend_at_once(stage: SetStage, script: fakes.Script, *, stream: bool) -> None:
    scene = await stage(engines=2, overflow=LONG)
    for engine in scene.engines:
        engine.script = script
    answer = await scene.client.post(stream=stream)
    assert (answer.status, answer.served_by, answer.attempts) == (200, ALPHA, 2)
    assert sum(each.requests for each in scene.engines) == 1, "it was replayed"
    assert await polls(scene) == 0


async def test_a_failure_after_a_wait_is_not_replayed_either(full: SetStage) -> None:
    scene = await full(LONG)
    (engine,) = scene.engines
    asked = asyncio.create_task(scene.client.post())
    await waiting(scene)
    engine.script = fakes.fail(500)
    assert engine.hold
    engine.hold.set()
    assert (await asked).served_by == ALPHA
    assert (engine.requests, scene.alpha.requests) == (2, 1)


async def test_without_a_replica_requests_are_spilled_at_once(stage: SetStage) -> None:
    scene = await stage(engines=0, cap=0, overflow=LONG)
    answers = await asyncio.gather(*ask(scene, 8))
    assert {(each.status, each.served_by) for each in answers} == {(200, ALPHA)}
    assert await polls(scene) == 0
    assert await not_taken(scene) == {("UH", "503"): 8}


async def test_a_replica_that_cannot_be_reached_is_not_waited_for(stage: SetStage) -> None:
    scene = await stage(engines=1, overflow=LONG)
    await scene.engines[0].stop()
    assert (await scene.client.post()).served_by == ALPHA
    assert await polls(scene) == 0


async def test_no_more_wait_than_may_and_the_rest_is_spilled_at_once(full: SetStage) -> None:
    """With room for five instead of 256."""
    scene = await full(LONG, cap=0)
    await scene.gateway.restart_with(scene.gateway.config.read("envoy.json").replace('"max_retries":256', '"max_retries":5'))
    await scene.seen_healthy()
    asked = ask(scene, 40)
    await until(lambda: sum(each.done() for each in asked) >= 35, "those that may not wait are answered")
    assert {each.result().served_by for each in asked if each.done()} == {ALPHA}
    assert [each.done() for each in asked].count(False) == 5
    assert await not_taken(scene) == {("UO", "503"): 35}
    assert scene.engines[0].hold
    scene.engines[0].hold.set()
    scene.gateway.set_cap(40)
    answers = await asyncio.gather(*asked)
    assert Counter((each.status, each.served_by) for each in answers) == {(200, ALPHA): 35, (200, "owned"): 5}


async def test_a_request_that_waits_counts_once_as_not_taken_and_only_if_it_is_spilled(full: SetStage) -> None:
    scene = await full(SHORT)
    assert (await scene.client.post()).served_by == ALPHA
    assert await not_taken(scene) == {("UO", "503"): 1}
    asked = asyncio.create_task(scene.client.post())
    assert scene.engines[0].hold
    scene.engines[0].hold.set()
    assert (await asked).served_by in {"owned", ALPHA}
    before = (await not_taken(scene))[("UO", "503")]
    assert before == scene.alpha.requests


async def test_a_request_marked_never_waits_too_and_stays(full: SetStage) -> None:
    scene = await full(SHORT)
    refused = await scene.client.post(headers=KEPT)
    assert (refused.status, error_of(refused), refused.headers["retry-after"]) == (503, "no_capacity", "1")
    assert await polls(scene) >= 2
    assert not any(name.startswith("x-spillway") for name in refused.headers)
    asked = asyncio.create_task(scene.client.post(headers=KEPT))
    assert scene.engines[0].hold
    scene.engines[0].hold.set()
    assert (await asked).served_by == "owned"
    assert scene.alpha.requests == 0


async def test_marks_and_credentials_leak_to_nobody_whatever_the_client_sends(full: SetStage) -> None:
    """The fakes refuse any header of ours, and the hosted one all but a few; a client that pretends to have waited waits all the same."""
    scene = await full(SHORT)
    marks = {"x-spillway-arrived": "2026-01-01T00:00:00.000Z", "x-spillway-may-wait": "1"}
    spilled = await scene.client.post(headers=marks)
    waited = await polls(scene)
    assert waited >= 2, "it pretended to have waited"
    assert scene.engines[0].hold
    scene.engines[0].hold.set()
    await until(lambda: scene.engines[0].active == 0, "the replica is free")
    own = await scene.client.post(headers={"x-spillway-arrived": "2026-01-01T00:00:00.000Z"})
    assert (spilled.served_by, own.served_by) == (ALPHA, "owned")
    for answer in (spilled, own):
        assert not any(name.startswith("x-spillway") for name in answer.headers)
    assert scene.alpha.headers[-1]["authorization"] == f"Bearer {KEYS['alpha']}"


async def test_a_client_that_goes_away_while_it_waits_asks_no_more(full: SetStage) -> None:
    scene = await full(LONG)
    gone = asyncio.create_task(scene.client.post())
    await waiting(scene)
    gone.cancel()

    async def none_waits() -> bool:
        return await scene.gateway.metric("envoy_http_downstream_rq_active", envoy_http_conn_manager_prefix="edge") == 1

    await until(none_waits, "the gateway has noticed")
    assert (scene.engines[0].requests, scene.alpha.requests) == (1, 0)


async def test_what_no_limit_lets_go_has_waited_its_moment_and_then_waits_as_when_exceeded_says(full: SetStage) -> None:
    scene = await full({**SHORT, "maxUSDPerDay": "5", "whenExceeded": "Wait"})
    scene.gateway.set_permit(permit(scene.gateway.pod, micro_usd=0))
    asked = asyncio.create_task(scene.client.post())

    async def refused_by_the_limit() -> bool:
        return await scene.gateway.metric("envoy_cluster_upstream_rq_retry", envoy_cluster_name="hop-again") >= 2

    await until(refused_by_the_limit, "it waits once more")
    assert scene.engines[0].hold
    scene.engines[0].hold.set()
    answer = await asked
    assert (answer.status, answer.served_by) == (200, "owned")
    assert scene.alpha.requests == 0


@pytest.mark.parametrize("overflow", [None, {"maxWaitMs": 0}], ids=["unset", "0"])
async def test_without_it_nothing_waits(full: SetStage, overflow: dict[str, Any] | None) -> None:
    scene = await full(overflow)
    assert (await scene.client.post()).served_by == ALPHA
    assert await not_taken(scene) == {("UO", "503"): 1}
    bootstrap = json.loads(scene.gateway.config.read("envoy.json"))
    assert "wait" not in {each["name"] for each in bootstrap["static_resources"]["listeners"]}
