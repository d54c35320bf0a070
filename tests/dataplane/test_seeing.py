"""What is told of a request beyond its count: why it spilled, how far its tokens were apart, and never what was in it."""

import asyncio
import json
import re
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.chart.conftest import ROOT
from tests.dataplane import fakes
from tests.dataplane.client import CHAT, rest_of
from tests.dataplane.conftest import KEYS, STREAM_TARGET_MS, SetStage, Stage
from tests.dataplane.fakes import OUTPUT_TOKENS, Backend
from tests.dataplane.process import until
from tests.dataplane.test_failures import ALPHA

pytestmark = pytest.mark.dataplane


async def not_taken(scene: Stage) -> dict[tuple[str, str], float]:
    """Return how many requests own replicas did not take, by Envoy's flags and the code."""
    found = [each for each in await scene.gateway.metrics() if each.name == "envoy_spillway_not_taken"]
    return {(each.labels["flags"], each.labels["code"]): each.value for each in found}


async def test_a_request_over_the_cap_spills_for_that_reason(stage: SetStage) -> None:
    scene = await stage(engines=1, cap=1)
    scene.engines[0].hold = asyncio.Event()
    held = await scene.client.open()
    assert (await scene.client.post()).served_by == ALPHA
    scene.engines[0].hold.set()
    await rest_of([held])
    assert await not_taken(scene) == {("UO", "503"): 1}


async def test_a_request_without_a_replica_spills_for_that_reason(stage: SetStage) -> None:
    scene = await stage(engines=0)
    assert (await scene.client.post()).served_by == ALPHA
    assert await not_taken(scene) == {("UH", "503"): 1}


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_replicas_refusal_is_told_by_its_code(stage: SetStage, status: int) -> None:
    scene = await stage(engines=1)
    scene.engines[0].script = fakes.fail(status)
    assert (await scene.client.post()).served_by == ALPHA
    assert await not_taken(scene) == {("-", str(status)): 1}


async def test_a_replica_that_goes_before_its_answer_is_told_apart_from_refusals(stage: SetStage) -> None:
    scene = await stage(engines=1)
    scene.engines[0].script = fakes.reset
    assert (await scene.client.post()).served_by == ALPHA
    assert await not_taken(scene) == {("UC", "503"): 1}


async def test_a_stream_whose_headers_do_not_come_in_time_spills_for_that_reason(stage: SetStage) -> None:
    scene = await stage(engines=1)
    scene.engines[0].script = fakes.hang(asyncio.Event())
    assert (await scene.client.post(stream=True)).served_by == ALPHA
    assert await not_taken(scene) == {("UT", "504"): 1}


async def test_what_replicas_answer_is_not_counted_as_not_taken_nor_is_anything_where_nobody_else_may_answer(stage: SetStage) -> None:
    scene = await stage(engines=1)
    await scene.client.post()
    assert await not_taken(scene) == {}
    dedicated = await stage(engines=1, mode="Dedicated", folder="dedicated")
    dedicated.engines[0].script = fakes.fail(503)
    assert (await dedicated.client.post()).status == 503
    assert await not_taken(dedicated) == {}


@pytest.mark.parametrize("cap", [16, 0], ids=["owned", "hosted"])
async def test_the_mean_gap_between_tokens_follows_from_whole_streams(stage: SetStage, cap: int) -> None:
    scene = await stage(engines=1, cap=cap)
    backend, label = (scene.engines[0], "owned") if cap else (scene.alpha, ALPHA)
    pause_s = 0.4

    async def slow(_: Backend, received: web.Request, __: dict[str, object]) -> web.StreamResponse:
        response = await fakes.open_stream(received)
        await response.write(fakes.event(fakes.delta("hel")))
        await asyncio.sleep(pause_s)  # what is measured
        await response.write(fakes.event({"choices": [], "usage": fakes.usage()}) + b"data: [DONE]\n\n")
        await response.write_eof()
        return response

    await scene.client.post()  # a plain answer has no gaps
    backend.script = slow
    for _ in range(2):
        assert (await scene.client.post(stream=True)).complete
    await until(lambda: _streams(scene, label, 2), "both streams are counted")
    ms, first, tokens = [
        await scene.gateway.metric(f"envoy_spillway_streamed_{name}", backend=label) for name in ("ms", "first_body_ms", "output_tokens")
    ]
    assert tokens == 2 * OUTPUT_TOKENS
    assert 2 * 1000 * pause_s * 0.95 <= ms - first <= 2 * STREAM_TARGET_MS
    # Of each stream: the mean gap, to the microsecond.
    await until(lambda: _counted(scene, "envoy_spillway_inter_token_us_count", label, 2), "histograms are merged")
    gaps_us = await scene.gateway.metric("envoy_spillway_inter_token_us_sum", backend=label)
    assert 2 * 1e6 * pause_s * 0.95 <= gaps_us * (OUTPUT_TOKENS - 1) <= 2 * 1000 * STREAM_TARGET_MS
    slow_only = await scene.gateway.metric("envoy_spillway_inter_token_us_bucket", backend=label, le=str(20 * 1000))
    assert slow_only == 0
    backend.script = fakes.die_after_first_event
    stream = await scene.client.open()
    with pytest.raises(aiohttp.ClientPayloadError):
        await stream.rest()
    assert await _streams(scene, label, 2)


async def _streams(scene: Stage, backend: str, wanted: int) -> bool:
    return await _counted(scene, "envoy_spillway_streamed_answers", backend, wanted)


async def _counted(scene: Stage, name: str, backend: str, wanted: int) -> bool:
    return await scene.gateway.metric(name, backend=backend) == wanted


SECRET = "sk-client-0123456789abcdef"
PROMPT = "whisper: the merger is on Tuesday"


async def test_the_gap_between_tokens_is_that_of_each_of_several_answers(stage: SetStage) -> None:
    """Of five answers that have five tokens together none has a gap; of two, each has one and a half."""
    scene = await stage(engines=1)
    for answers in (OUTPUT_TOKENS, 2):
        assert (await scene.client.post(stream=True, n=answers)).complete
        prompts = ['one, "two"'] * answers
        assert (await scene.client.post(path="/v1/completions", stream=True, prompt=prompts)).complete
    assert (await scene.client.post(path="/v1/completions", stream=True, prompt=[1, 2, 3, 4, 5])).complete
    await until(lambda: _counted(scene, "envoy_spillway_first_body_ms_count", "owned", 5), "the histograms are merged")
    assert await _counted(scene, "envoy_spillway_inter_token_us_count", "owned", 3)
    assert await _streams(scene, "owned", 1), "tokens and times of several answers make no mean gap"


@pytest.mark.parametrize("cap", [16, 0], ids=["owned", "hosted"])
async def test_the_access_log_has_the_documented_fields_and_no_prompt_answer_or_key(stage: SetStage, cap: int) -> None:
    scene = await stage(engines=1, cap=cap, spec={"gateway": {"replicas": 1, "access": {"keysSecretRef": {"name": "clients"}}}})
    scene.gateway.write_keys(f"mobile: {SECRET}\n")
    shown = {"authorization": f"Bearer {SECRET}"}
    await until(lambda: _admitted(scene, shown), "the key is known")
    said: dict[str, Any] = {"messages": [{"role": "user", "content": PROMPT}], "user": "somebody", "headers": shown}
    await scene.client.post(path=f"{CHAT}?api_key={SECRET}", **said)
    await scene.client.post(stream=True, **said)
    if not cap:  # refused before the hosted backend, in words that must not quote it; a replica would refuse it itself
        await scene.client.post(f'{{"model": "{PROMPT}'.encode(), headers=shown)
    await scene.client.post(path=f"/v1/files?note={PROMPT.split()[2]}", headers=shown)
    await scene.client.post(headers={"authorization": f"Bearer wrong-{SECRET}"})
    lines = scene.gateway.access
    await until(lambda: '"code":401' in lines.read_text(), "the last line is flushed")
    text = lines.read_text() + scene.gateway.log.read_text()
    for secret in (SECRET, KEYS["alpha"], "merger", "somebody", "hello", "mobile", "client-secret"):
        assert secret not in text, secret
    section = (ROOT / "docs" / "gateway.md").read_text().partition("## Access log")[2].partition("## Traces")[0]
    documented = {name for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert {name for line in lines.read_text().splitlines() for name in json.loads(line)} == documented - {"trace_id", "long_prompt"}


async def _admitted(scene: Stage, shown: dict[str, str]) -> bool:
    return (await scene.client.post(headers=shown)).status == 200
