"""What a hosted provider reports of its prompt cache is counted, whichever way the answer comes, and nothing that cannot be."""

import json
from typing import Any

import pytest
from aiohttp import web

from tests.dataplane import fakes
from tests.dataplane.client import CHAT
from tests.dataplane.conftest import SetStage, Stage
from tests.dataplane.fakes import Backend
from tests.dataplane.test_failures import ALPHA
from tests.dataplane.test_guards import LIMITED, permit
from tests.dataplane.test_metrics import counted

pytestmark = pytest.mark.dataplane
RESPONSES = "/v1/responses"
PROMPT, ANSWER = 100, 9
CHEAP = {"cachedInputUSDPerMillionTokens": "0.1"}


def chat(**more: Any) -> dict[str, Any]:
    return {"prompt_tokens": PROMPT, "completion_tokens": ANSWER, "total_tokens": PROMPT + ANSWER, **more}


def responses(**more: Any) -> dict[str, Any]:
    return {"input_tokens": PROMPT, "output_tokens": ANSWER, "total_tokens": PROMPT + ANSWER, **more}


def details(cached: object) -> dict[str, Any]:
    return {"audio_tokens": 0, "cached_tokens": cached}


def telling(usage: dict[str, Any], path: str = CHAT) -> fakes.Script:
    """Return a script that answers with this usage, where the API of the path puts it."""

    async def script(_: Backend, received: web.Request, body: dict[str, object]) -> web.StreamResponse:
        if not body.get("stream"):
            return web.json_response({"choices": [], "usage": usage})
        response = await fakes.open_stream(received)
        last = {"type": "response.completed", "response": {"usage": usage}} if path == RESPONSES else {"choices": [], "usage": usage}
        await response.write_eof(fakes.event(fakes.delta("hello")) + fakes.event(last) + b"data: [DONE]\n\n")
        return response

    return script


async def asked_in_all_ways(scene: Stage, path: str) -> None:
    """Ask for a plain answer, for a stream, and for one that the edge does not see asked for."""
    for stream in (False, True, 2):
        assert (await scene.client.post(path=path, stream=stream)).status == 200


async def met(scene: Stage, *, cached: float, answers: int = 3) -> None:
    """Assert that so many tokens of so many answers are counted as cached, and all as before."""
    assert await counted(scene, "input_tokens", backend=ALPHA) == answers * PROMPT
    assert await counted(scene, "output_tokens", backend=ALPHA) == answers * ANSWER
    assert await counted(scene, "unmetered_requests", backend=ALPHA) == 0
    assert await counted(scene, "cached_input_tokens", backend=ALPHA) == cached


@pytest.mark.parametrize("limited", [False, True], ids=["without limits", "with limits"])
@pytest.mark.parametrize(
    ("path", "usage", "cached"),
    [
        (CHAT, chat(prompt_tokens_details=details(40)), 40),
        (CHAT, chat(prompt_tokens_details=details(100)), 100),
        (CHAT, chat(prompt_cache_hit_tokens=40, prompt_cache_miss_tokens=60), 40),
        (CHAT, chat(prompt_cache_hit_tokens=40, prompt_tokens_details=details(40)), 40),
        (CHAT, chat(prompt_cache_hit_tokens=40, prompt_tokens_details={"audio_tokens": 0}), 40),
        (CHAT, chat(cached_tokens=40), 40),
        ("/v1/completions", chat(prompt_tokens_details=details(40)), 40),
        (RESPONSES, responses(input_tokens_details=details(40)), 40),
    ],
    ids=["OpenAI's", "all of it", "DeepSeek's", "both", "details without", "Moonshot's", "completions", "responses"],
)
async def test_cached_tokens_are_counted_and_settled_at_their_price(
    stage: SetStage, path: str, usage: dict[str, Any], cached: int, *, limited: bool
) -> None:
    scene = await stage(cap=0, overflow=LIMITED if limited else None, model=CHEAP)
    scene.gateway.set_permit(permit(scene.gateway.pod, micro_usd=1_000_000) if limited else None)
    scene.alpha.script = telling(usage, path)
    await asked_in_all_ways(scene, path)
    await met(scene, cached=3 * cached)
    each = -(-(10 * (PROMPT - cached) + cached) // 10) + 2 * ANSWER  # micro-USD, rounded up
    assert await counted(scene, "charged_micro_usd", backend=ALPHA) == (3 * each if limited else 0)


NONSENSE: dict[str, object] = {
    "null": None,
    "below zero": -40,
    "more than the prompt": PROMPT + 1,
    "far too many": 10**300,
    "text": "many",
    "a number as text": "40",
    "a list": [40],
    "an object": {"tokens": 40},
    "true": True,
    "none": 0,
}


@pytest.mark.parametrize("limited", [False, True], ids=["without limits", "with limits"])
@pytest.mark.parametrize("told", NONSENSE.values(), ids=NONSENSE)
@pytest.mark.parametrize("path", [CHAT, RESPONSES])
async def test_what_cannot_be_cached_is_billed_in_full(stage: SetStage, told: object, path: str, *, limited: bool) -> None:
    scene = await stage(cap=0, overflow=LIMITED if limited else None, model=CHEAP)
    scene.gateway.set_permit(permit(scene.gateway.pod, micro_usd=1_000_000) if limited else None)
    name = "input_tokens_details" if path == RESPONSES else "prompt_tokens_details"
    usages: list[dict[str, Any]] = [{name: details(told)}, {name: told}]
    usages += [] if path == RESPONSES else [{"prompt_cache_hit_tokens": told}]
    for more in usages:
        scene.alpha.script = telling((responses if path == RESPONSES else chat)(**more), path)
        await asked_in_all_ways(scene, path)
    answers = 3 * len(usages)
    await met(scene, cached=0, answers=answers)
    assert await counted(scene, "charged_micro_usd", backend=ALPHA) == (answers * (PROMPT + 2 * ANSWER) if limited else 0)


async def test_clients_see_of_the_cache_what_they_asked_for(stage: SetStage) -> None:
    scene = await stage(cap=0)
    scene.alpha.script = telling(chat(prompt_tokens_details=details(40)))
    answer = await scene.client.post(stream=True)
    assert answer.body == fakes.event(fakes.delta("hello")) + b"data: [DONE]\n\n"
    asked = await scene.client.post(stream=True, stream_options={"include_usage": True})
    assert b'"cached_tokens": 40' in asked.body
    await met(scene, cached=80, answers=2)


async def test_cached_tokens_are_counted_at_any_split_of_the_stream(stage: SetStage) -> None:
    scene = await stage(cap=0)
    shown = fakes.event(fakes.delta("hello"))
    whole = shown + fakes.event({"choices": [], "usage": chat(prompt_tokens_details=details(40))}) + b"data: [DONE]\n\n"
    places = range(len(shown), len(whole))
    for at in places:
        scene.alpha.script = fakes.in_two(whole, at)
        assert (await scene.client.post(stream=True)).body == shown + b"data: [DONE]\n\n", at
    await met(scene, cached=40 * len(places), answers=len(places))


async def test_what_a_model_writes_of_a_cache_is_no_discount(stage: SetStage) -> None:
    scene = await stage(cap=0)
    decoy = {"usage": chat(prompt_tokens_details=details(90))}

    async def script(_: Backend, received: web.Request, __: dict[str, object]) -> web.StreamResponse:
        response = await fakes.open_stream(received)
        await response.write(fakes.event({**fakes.delta(json.dumps(decoy)), "x": decoy, "prompt_tokens_details": details(90)}))
        await response.write_eof(fakes.event({"choices": [], "usage": chat(metadata=decoy["usage"])}) + b"data: [DONE]\n\n")
        return response

    scene.alpha.script = script
    await scene.client.post(stream=True)
    await met(scene, cached=0, answers=1)


async def test_a_permit_is_kept_where_cached_tokens_cost_more_than_others(stage: SetStage) -> None:
    """Nobody bills so, but a price may be mistyped; then the charge in advance has to cover it."""
    scene = await stage(cap=0, overflow=LIMITED, model={"cachedInputUSDPerMillionTokens": "10"})
    scene.gateway.set_permit(permit(scene.gateway.pod, micro_usd=800))
    scene.alpha.script = telling({"prompt_tokens": 40, "completion_tokens": 5, "prompt_tokens_details": details(40)})
    for _ in range(10):
        await scene.client.post(max_tokens=10)
    assert 0 < await counted(scene, "charged_micro_usd", backend=ALPHA) <= 800
