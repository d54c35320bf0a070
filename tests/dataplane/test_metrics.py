"""What the gateway counts: exactly, by backend, and never nothing for an answer whose tokens could not be seen."""

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.dataplane import fakes
from tests.dataplane.client import CHAT, request
from tests.dataplane.conftest import STREAM_TARGET_MS, SetStage, Stage
from tests.dataplane.fakes import INPUT_TOKENS, OUTPUT_TOKENS, Backend
from tests.dataplane.process import until
from tests.dataplane.test_failures import ALPHA, BETA
from tests.dataplane.test_guards import permit

pytestmark = pytest.mark.dataplane
ASKED: dict[str, Any] = {"stream_options": {"include_usage": True}}


async def counted(scene: Stage, name: str, **labels: str) -> float:
    """Return one of the gateway's own counters."""
    return await scene.gateway.metric(f"envoy_spillway_{name}", **labels)


async def test_tokens_of_every_kind_of_answer_are_counted_exactly_by_backend(stage: SetStage) -> None:
    scene = await stage(engines=1)
    for _ in range(3):
        await scene.client.post()
    for _ in range(2):
        await scene.client.post(stream=True)
    await scene.client.post(stream=True, **ASKED)
    scene.engines[0].script = fakes.fail(503)
    await scene.client.post()
    await scene.client.post(stream=True)
    for backend, answers in {"owned": 6, ALPHA: 2}.items():
        assert await counted(scene, "input_tokens", backend=backend) == INPUT_TOKENS * answers
        assert await counted(scene, "output_tokens", backend=backend) == OUTPUT_TOKENS * answers
        assert await counted(scene, "requests", backend=backend, code="200") == answers
    assert await counted(scene, "unmetered_requests") == 0


# What a client may have echoed, or a model write, and what the engine says.
DECOY = {"usage": {"prompt_tokens": 999, "completion_tokens": 998, "input_tokens": 997, "output_tokens": 996}}
TRUE: dict[str, Any] = {
    "chat": {"usage": {"prompt_tokens": 11, "prompt_tokens_details": {"cached_tokens": 4}, "total_tokens": 14, "completion_tokens": 3}},
    "responses": {"usage": {"input_tokens": 11, "output_tokens_details": {"reasoning_tokens": 2}, "output_tokens": 3, "total_tokens": 14}},
}


@pytest.mark.parametrize(
    ("path", "stream", "answer"),
    [
        ("/v1/responses", False, {"usage": {"input_tokens": 11, "output_tokens": 3}}),
        ("/v1/embeddings", False, {"usage": {"prompt_tokens": 11, "total_tokens": 11}}),
        ("/v1/responses", True, [{"type": "response.completed", "response": {"usage": {"input_tokens": 11, "output_tokens": 3}}}]),
        ("/v1/responses", True, [{"metadata": DECOY, "response": {"metadata": DECOY, "output": str(DECOY), **TRUE["responses"]}}]),
        ("/v1/chat/completions", True, [{**fakes.delta(json.dumps(DECOY)), "x": DECOY}, {"choices": [], **TRUE["chat"]}]),
        ("/v1/chat/completions", True, [{**fakes.delta("a"), "usage": {"prompt_tokens": 11, "completion_tokens": 1}}, TRUE["chat"]]),
    ],
    ids=["responses", "embeddings", "responses streamed", "decoys in responses", "decoys in chat", "counted as it goes"],
)
async def test_tokens_of_other_apis_are_counted(stage: SetStage, path: str, answer: object, *, stream: bool) -> None:
    scene = await stage(engines=1)

    async def script(_: Backend, received: web.Request, __: dict[str, object]) -> web.StreamResponse:
        if not isinstance(answer, list):
            return web.json_response(answer)
        response = await fakes.open_stream(received)
        for each in answer:
            await response.write(fakes.event(each))
        await response.write_eof()
        return response

    scene.engines[0].script = script
    assert (await scene.client.post(path=path, stream=stream)).status == 200
    assert await counted(scene, "input_tokens", backend="owned") == 11
    assert await counted(scene, "output_tokens", backend="owned") == (0 if "embeddings" in path else 3)


THOUGHT = {"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135, "completion_tokens_details": {"reasoning_tokens": 94}}


@pytest.mark.parametrize(
    ("usage", "output"),
    [
        (THOUGHT, 103),
        ({"input_tokens": 32, "output_tokens": 9, "total_tokens": 135}, 103),
        ({**THOUGHT, "completion_tokens": 103}, 103),
        ({**THOUGHT, "completion_tokens": 200}, 200),
        ({**THOUGHT, "total_tokens": 0}, 9),
        ({**THOUGHT, "total_tokens": None}, 9),
        ({**THOUGHT, "total_tokens": 10**12}, 9),
    ],
    ids=["beside", "beside, by its other name", "within", "less in all", "nothing in all", "null in all", "too many in all"],
)
@pytest.mark.parametrize("limited", [False, True], ids=["without limits", "with limits"])
async def test_what_was_thought_counts_as_output_where_only_the_total_tells_of_it(
    stage: SetStage, usage: dict[str, Any], output: int, *, limited: bool
) -> None:
    scene = await stage(cap=0, overflow={"maxUSDPerDay": "1"} if limited else None)
    scene.gateway.set_permit(permit(scene.gateway.pod, micro_usd=1_000_000) if limited else None)

    async def script(_: Backend, received: web.Request, body: dict[str, object]) -> web.StreamResponse:
        if not body.get("stream"):
            return web.json_response({"choices": [], "usage": usage})
        response = await fakes.open_stream(received)
        await response.write_eof(fakes.event(fakes.delta("hello")) + fakes.event({"choices": [], "usage": usage}) + b"data: [DONE]\n\n")
        return response

    scene.alpha.script = script
    for stream in (False, True, 2):  # the last is one that the edge does not see
        assert (await scene.client.post(stream=stream)).status == 200
    assert await counted(scene, "input_tokens", backend=ALPHA) == 3 * 32
    assert await counted(scene, "output_tokens", backend=ALPHA) == 3 * output
    assert await counted(scene, "streamed_output_tokens", backend=ALPHA) == output
    assert await counted(scene, "charged_micro_usd", backend=ALPHA) == (3 * (32 + 2 * output) if limited else 0)


@pytest.mark.parametrize(
    "counts",
    [
        {"prompt_tokens": -9, "completion_tokens": 3},
        {"prompt_tokens": 7, "completion_tokens": -3},
        {"prompt_tokens": 1e9, "completion_tokens": 3},
        {"prompt_tokens": 0, "completion_tokens": 0},
    ],
    ids=["below zero", "one below zero", "a milliard", "none at all"],
)
async def test_token_counts_that_cannot_be_are_none(stage: SetStage, counts: dict[str, float]) -> None:
    """A counter would turn back by its whole range, which is a leap of as much to Prometheus."""
    scene = await stage(engines=1)

    async def script(_: Backend, received: web.Request, body: dict[str, object]) -> web.StreamResponse:
        if not body.get("stream"):
            return web.json_response({"choices": [], "usage": counts})
        response = await fakes.open_stream(received)
        await response.write(fakes.event(fakes.delta("hello")))
        await response.write(fakes.event({"choices": [], "usage": counts}))
        await response.write_eof(b"data: [DONE]\n\n")
        return response

    scene.engines[0].script = script
    unseen = json.dumps(request(stream=True)).replace('"stream"', '"\\u0073tream"')
    for body in (None, json.dumps(request(stream=True)).encode(), unseen.encode()):
        assert (await scene.client.post(body)).status == 200
    assert await counted(scene, "unmetered_requests", backend="owned") == 3
    for name in ("input_tokens", "output_tokens", "streamed_output_tokens", "inter_token_us_count"):
        assert await counted(scene, name) == 0, name


@pytest.mark.parametrize("cap", [16, 0], ids=["owned", "hosted"])
@pytest.mark.parametrize("limited", [False, True], ids=["without limits", "with limits"])
async def test_an_answer_that_is_longer_than_a_request_may_be_passes_whole_and_is_counted(
    stage: SetStage, cap: int, *, limited: bool
) -> None:
    scene = await stage(engines=1, cap=cap, model={"capabilities": ["Tools"]} if limited else None)
    answer = json.dumps({"data": [{"embedding": "x" * (20 * 1024 * 1024)}], "usage": {"prompt_tokens": 11, "total_tokens": 11}})

    async def embeddings(_: Backend, __: web.Request, ___: dict[str, object]) -> web.StreamResponse:
        return web.Response(text=answer, content_type="application/json")

    (scene.engines[0] if cap else scene.alpha).script = embeddings
    got = await scene.client.post(path="/v1/embeddings", input=["text"])
    assert (got.status, got.body == answer.encode()) == (200, True)
    assert await counted(scene, "input_tokens", backend="owned" if cap else ALPHA) == 11


async def test_a_stream_that_the_gateway_did_not_see_asked_for_is_counted_too(stage: SetStage) -> None:
    scene = await stage(engines=1)
    body = json.dumps(request(stream=True, **ASKED)).replace('"stream"', '"\\u0073tream"')
    answer = await scene.client.post(body.encode())
    assert answer.complete
    assert await counted(scene, "input_tokens", backend="owned") == INPUT_TOKENS
    assert await counted(scene, "output_tokens", backend="owned") == OUTPUT_TOKENS


@pytest.mark.parametrize("cap", [16, 0], ids=["owned", "hosted"])
async def test_token_counts_are_hidden_from_a_client_that_did_not_ask(stage: SetStage, cap: int) -> None:
    scene = await stage(engines=1, cap=cap)
    for options, shown in (
        ({}, False),
        ({"stream_options": None}, False),
        ({"stream_options": {}}, False),
        ({"stream_options": {"include_usage": False}}, False),
        ({"stream_options": {"include_usage": None, "x": 1}}, False),
        ({"stream_options": {"x": {"include_usage": True}}}, False),
        (ASKED, True),
    ):
        answer = await scene.client.post(stream=True, **options)
        assert answer.complete
        assert ("usage" in answer.body.decode()) == shown, options
        assert "".join(_content(each) for each in answer.events) == "hello"
    backend = scene.engines[0] if cap else scene.alpha
    assert all(body["stream_options"]["include_usage"] is True for body in backend.bodies)
    assert backend.bodies[4]["stream_options"]["x"] == 1
    plain = await scene.client.post()
    assert plain.json["usage"]["prompt_tokens"] == INPUT_TOKENS
    assert "stream_options" not in backend.bodies[-1]


def _content(event: str) -> str:
    if event == "[DONE]":
        return ""
    choices = json.loads(event)["choices"]
    return str(choices[0]["delta"]["content"]) if choices else ""


async def test_hiding_token_counts_survives_any_split_of_the_stream(stage: SetStage) -> None:
    scene = await stage(engines=1)
    usage = fakes.event({"choices": [], "usage": fakes.usage()})
    tricky = fakes.event(fakes.delta('"choices":[],"usage":{"prompt_tokens":1} \\" \n\ndata: [DONE]'))
    both = fakes.event({"choices": [{"index": 0, "delta": {"content": "x"}}], "usage": fakes.usage()})  # text and counts: not to be lost
    filtered = fakes.event({"choices": [], "prompt_filter_results": []})
    done = b"data: [DONE]\n\n"
    whole = tricky + both + filtered + usage + done
    for at in range(len(tricky + both), len(whole)):
        scene.engines[0].script = fakes.in_two(whole, at)
        answer = await scene.client.post(stream=True)
        assert answer.body == tricky + both + filtered + done, at
    expected = len(whole) - len(tricky + both)
    assert await counted(scene, "input_tokens", backend="owned") == INPUT_TOKENS * expected


@pytest.mark.parametrize(
    ("end", "shown"), [("\r\n\r\ndata: [DONE]\n", "data: [DONE]\n"), ("\r\n", "")], ids=["ends with DONE", "ends with its counts"]
)
async def test_lines_may_end_with_carriage_returns_and_the_last_event_may_lack_its_blank_line(
    stage: SetStage, end: str, shown: str
) -> None:
    scene = await stage(engines=1)
    text = 'data: {"choices":[{"delta":{}}]}\r\n\r\n'
    usage = 'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":5}}'

    async def script(_: Backend, received: web.Request, __: dict[str, object]) -> web.StreamResponse:
        response = await fakes.open_stream(received)
        await response.write((text + usage + end).encode())
        await response.write_eof()
        return response

    scene.engines[0].script = script
    assert (await scene.client.post(stream=True)).body == (text + shown).encode()
    assert await counted(scene, "input_tokens") == INPUT_TOKENS


@pytest.mark.parametrize("cap", [16, 0], ids=["owned", "hosted"])
async def test_answers_without_token_counts_are_counted_with_their_bytes(stage: SetStage, cap: int) -> None:
    scene = await stage(engines=1, cap=cap)
    backend, label = (scene.engines[0], "owned") if cap else (scene.alpha, ALPHA)
    backend.hold = asyncio.Event()
    (await scene.client.open()).abort()
    await until(lambda: _unmetered(scene, label, 1), "the stream that its client left is counted")

    async def silent(_: Backend, __: web.Request, ___: dict[str, object]) -> web.StreamResponse:
        return web.json_response({"choices": []})

    backend.script = silent
    await scene.client.post()
    assert await _unmetered(scene, label, 2)
    backend.script = fakes.die_after_first_event
    with pytest.raises(aiohttp.ClientPayloadError):
        await scene.client.post(stream=True)
    await until(lambda: _unmetered(scene, label, 3), "the stream that its backend left is counted")
    streamed, plain = (len(json.dumps(request(**more))) for more in ({"stream": True}, {}))
    first_event = len(fakes.event(fakes.delta("hel")))
    assert await counted(scene, "unmetered_request_bytes", backend=label) == 2 * streamed + plain
    assert await counted(scene, "unmetered_response_bytes", backend=label) == 2 * first_event
    assert await counted(scene, "unmetered_plain_response_bytes", backend=label) == len('{"choices": []}')
    backend.script = silent
    await scene.client.post(path="/v1/embeddings?x")
    assert await _unmetered(scene, label, 4)
    assert await counted(scene, "unmetered_plain_response_bytes", backend=label) == len('{"choices": []}')
    assert await counted(scene, "input_tokens") == 0


async def _unmetered(scene: Stage, backend: str, wanted: int) -> bool:
    return await counted(scene, "unmetered_requests", backend=backend) == wanted


async def _left(scene: Stage, script: fakes.Script) -> None:
    scene.alpha.script = script
    task = asyncio.create_task(scene.client.post())
    await until(lambda: scene.alpha.active == 1, "the request is at the backend")
    task.cancel()


async def _answered(scene: Stage, script: fakes.Script, *, stream: bool = False) -> None:
    scene.alpha.script = script
    await scene.client.post(stream=stream)


async def _breaks_off(_: Backend, received: web.Request, __: dict[str, object]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "application/json", "content-length": "5000"})
    await response.prepare(received)
    await response.write(b" " * 2000)
    assert received.transport
    received.transport.close()
    return response


@pytest.mark.parametrize("limited", [False, True], ids=["without limits", "with limits"])
async def test_what_a_hosted_backend_was_sent_in_vain_is_counted_for_it_may_be_billed(stage: SetStage, *, limited: bool) -> None:
    """A failure that the provider tells, and an answer that the edge counts itself, are none of these."""
    scene = await stage(cap=0, hosted=2, model={"capabilities": []} if limited else None)

    async def told(wanted: int) -> None:
        await until(lambda: _unanswered(scene, wanted), f"{wanted} requests are counted")

    never = fakes.hang(asyncio.Event())
    await _answered(scene, never, stream=True)  # the second backend answers when the first one's headers are late
    await told(1)
    await _left(scene, never)
    await told(2)
    await _answered(scene, _breaks_off)
    await told(3)
    await scene.client.post(path="/v1/embeddings")  # answered by numbers, which are not paid for
    await told(4)
    await _answered(scene, fakes.fail(500))
    await _answered(scene, fakes.close)
    await _answered(scene, fakes.complete)
    await _answered(scene, fakes.complete, stream=True)
    scene.gateway.write_key("alpha", "")
    await until(lambda: _served_by(scene, BETA), "without a key it is not asked")
    assert await _unanswered(scene, 4)
    sent = sum(len(raw.replace(b"vendor/alpha-model", b"tiny-chat")) for raw in scene.alpha.raw[:4])
    assert await counted(scene, "unanswered_request_bytes", backend=ALPHA) == sent
    assert 2000 < await counted(scene, "unanswered_plain_response_bytes", backend=ALPHA) < 3000
    assert await counted(scene, "unanswered_requests", backend=BETA) == 0


async def _unanswered(scene: Stage, wanted: int) -> bool:
    return await counted(scene, "unanswered_requests", backend=ALPHA) == wanted


async def _served_by(scene: Stage, backend: str) -> bool:
    return (await scene.client.post()).served_by == backend


@pytest.mark.parametrize("limited", [False, True], ids=["without limits", "with limits"])
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_an_answer_that_its_client_did_not_wait_for_is_counted_once(stage: SetStage, *, stream: bool, limited: bool) -> None:
    """Where limits are kept, the hosted side's tier keeps a plain one until its tokens are read, and the edge sees nothing of it."""
    scene = await stage(cap=0, model={"capabilities": []} if limited else None)

    async def slow(_: Backend, received: web.Request, __: dict[str, object]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream" if stream else "application/json"})
        await response.prepare(received)
        if not stream:
            await response.write(b" " * 2000)
        await asyncio.Event().wait()
        raise AssertionError

    scene.alpha.script = slow
    task = asyncio.create_task(scene.client.post(stream=stream))
    await until(lambda: _answer_begun(scene), "the answer has begun")
    task.cancel()
    await until(lambda: _counted_once(scene), "it is counted")
    scene.alpha.script = None
    assert (await scene.client.post()).status == 200
    assert await _counted_once(scene)


async def _answer_begun(scene: Stage) -> bool:
    return await scene.gateway.metric("envoy_cluster_upstream_rq", envoy_response_code="200") == 1


async def _counted_once(scene: Stage) -> bool:
    return await counted(scene, "unanswered_requests", backend=ALPHA) + await counted(scene, "unmetered_requests", backend=ALPHA) == 1


async def test_failures_and_the_model_list_are_no_unmetered_answers(stage: SetStage) -> None:
    scene = await stage(engines=1, cap=0)
    scene.alpha.script = fakes.fail(500)
    await scene.client.post()
    await scene.client.get("/v1/models")
    assert await counted(scene, "requests", backend="none", code="503") == 1
    assert await counted(scene, "requests") == 1
    assert await counted(scene, "unmetered_requests") == 0


async def test_a_request_that_its_client_left_before_an_answer_is_counted_as_nobodys(stage: SetStage) -> None:
    scene = await stage(engines=1)
    never = asyncio.Event()

    async def hang(_: Backend, __: web.Request, ___: dict[str, object]) -> web.StreamResponse:
        await never.wait()
        raise AssertionError

    scene.engines[0].script = hang
    task = asyncio.create_task(scene.client.post())
    await until(lambda: scene.engines[0].active == 1, "the request is at the replica")
    task.cancel()
    await until(lambda: _aborted(scene), "it is counted")


async def _aborted(scene: Stage) -> bool:
    return await counted(scene, "requests", backend="none", code="0") == 1


async def test_a_stream_that_begins_with_an_error_is_counted_as_one_and_has_no_first_token(stage: SetStage) -> None:
    async def refuse(_: Backend, received: web.Request, __: dict[str, object]) -> web.StreamResponse:
        response = await fakes.open_stream(received)
        await response.write(fakes.event({"error": {"message": "queue is full", "code": 503}}))
        await response.write_eof(b"data: [DONE]\n\n")
        return response

    scene = await stage(engines=1)
    scene.engines[0].script = refuse
    refused = await scene.client.post(stream=True)
    assert b"queue is full" in refused.body
    scene.engines[0].script = None
    await scene.client.post(stream=True)
    await until(lambda: _bucket(scene, "first_body_ms", "+Inf", 1), "the one good stream is flushed")
    assert await counted(scene, "stream_errors", backend="owned") == 1


async def test_an_error_beside_counts_is_shown_to_a_client_that_did_not_ask_for_them(stage: SetStage) -> None:
    scene = await stage(engines=1)
    said = {"choices": [], "error": {"message": "provider is gone", "code": 502}, "usage": fakes.usage()}

    async def fail(_: Backend, received: web.Request, __: dict[str, object]) -> web.StreamResponse:
        response = await fakes.open_stream(received)
        await response.write_eof(fakes.event(fakes.delta("hel")) + fakes.event(said))
        return response

    scene.engines[0].script = fail
    answer = await scene.client.post(stream=True)
    assert json.loads(answer.events[-1]) == said
    assert await counted(scene, "stream_errors", backend="owned") == 1
    assert await counted(scene, "output_tokens", backend="owned") == OUTPUT_TOKENS


_DIED = {"error": {"message": "EngineCore encountered an issue", "code": 500}}
_LAST_WORDS = {
    "vLLM's of a dead engine": _DIED,
    "a chunk with an error beside its choices": {**fakes.delta(""), "error": {"code": 502, "message": "provider is gone"}},
    "OpenAI's error event": {"type": "error", "code": "server_error", "message": "sorry"},
    "OpenAI's failed response": {"type": "response.failed", "response": {"id": "r", "error": {"code": "server_error"}}},
}
_NO_ERRORS = {
    "a response without one": {"type": "response.created", "response": {"id": "r", "error": None}},
    "a chunk without one": {**fakes.delta("hi"), "error": None},
    "a model that writes about one": fakes.delta('data: {"error": {"code": 500}}'),
    "a choice that ended so": {"choices": [{"index": 0, "delta": {}, "finish_reason": "error"}]},
}


@pytest.mark.parametrize("split", [False, True], ids=["whole", "in two parts"])
async def test_a_stream_that_fails_after_it_has_begun_is_counted_as_failed_and_met_no_target(stage: SetStage, *, split: bool) -> None:
    scene = await stage(engines=1)
    said: dict[str, Any] = {}
    unended = False

    async def fail(_: Backend, received: web.Request, __: dict[str, object]) -> web.StreamResponse:
        response = await fakes.open_stream(received)
        await response.write(fakes.event(fakes.delta("hel")))
        last = fakes.event(said).rstrip() if unended else fakes.event(said)
        for part in (last[:-20], last[-20:]) if split else (last,):
            await asyncio.sleep(0.01)  # paces the parts; that they arrive apart is likely, and enough over all of them
            await response.write(part)
        await response.write_eof(b"" if unended else b"data: [DONE]\n\n")
        return response

    scene.engines[0].script = fail
    for place, words in enumerate([*_LAST_WORDS.values(), *_NO_ERRORS.values()]):
        said = words
        answer = await scene.client.post(stream=True)
        assert json.loads(answer.events[1]) == words
        failed = min(place + 1, len(_LAST_WORDS))
        await until(lambda wanted=failed: _failed(scene, "owned", wanted), f"{failed} are counted after {words}")
    await until(lambda: _bucket(scene, "first_body_ms", "+Inf", len(_NO_ERRORS)), "the good ones are flushed")
    said, unended = _DIED, True
    await scene.client.post(stream=True)
    await until(lambda: _failed(scene, "owned", len(_LAST_WORDS) + 1), "one that lacks its blank line is counted")


async def test_a_hosted_stream_that_breaks_off_after_its_first_token_failed_and_met_no_target(stage: SetStage) -> None:
    async def cut(_: Backend, received: web.Request, __: dict[str, object]) -> web.StreamResponse:
        response = await fakes.open_stream(received)
        await response.write(fakes.event(fakes.delta("hel")))
        assert received.transport
        received.transport.close()
        return response

    scene = await stage(cap=0, hosted=1)
    scene.alpha.script = cut
    with contextlib.suppress(aiohttp.ClientError):
        await scene.client.post(stream=True)
    await until(lambda: _failed(scene, ALPHA, 1), "it is counted as failed")
    scene.alpha.script = None
    await scene.client.post(stream=True)
    await until(lambda: _bucket(scene, "first_body_ms", "+Inf", 1), "the good one alone has a first token")


async def _failed(scene: Stage, backend: str, wanted: int) -> bool:
    return await counted(scene, "stream_errors", backend=backend) == wanted


@pytest.mark.parametrize(("mode", "cap"), [("Hybrid", 16), ("Hybrid", 0), ("Dedicated", 16)], ids=["owned", "hosted", "Dedicated"])
async def test_a_stream_that_is_cut_is_counted_as_failed_unless_its_client_left(stage: SetStage, mode: str, cap: int) -> None:
    scene = await stage(engines=1, mode=mode, cap=cap, spec={"gateway": {"maxRequestSeconds": 10}})
    backend, label = (scene.engines[0], "owned") if cap else (scene.alpha, ALPHA)
    backend.hold = asyncio.Event()
    (await scene.client.open()).abort()
    too_long = await scene.client.open()
    with pytest.raises(aiohttp.ClientPayloadError):
        await too_long.rest()
    await until(lambda: _failed(scene, label, 1), "the one that took too long is counted")
    backend.script = fakes.die_after_first_event
    with pytest.raises(aiohttp.ClientPayloadError):
        await scene.client.post(stream=True)
    await until(lambda: _failed(scene, label, 2), "the one that its backend left is counted")
    await until(lambda: _bucket(scene, "first_body_ms", "+Inf", 1), "that which its client left is flushed, and it alone")


async def test_time_to_the_first_body_byte_is_measured_not_time_to_headers(stage: SetStage) -> None:
    scene = await stage(engines=1, cap=2)
    late = asyncio.Event()

    async def headers_first(_: Backend, received: web.Request, __: dict[str, object]) -> web.StreamResponse:
        response = await fakes.open_stream(received)
        await late.wait()
        await response.write(fakes.event(fakes.delta("late")))
        await response.write_eof(b"data: [DONE]\n\n")
        return response

    await scene.client.post(stream=True)
    scene.engines[0].script = headers_first
    slow = asyncio.create_task(scene.client.post(stream=True))
    await until(lambda: scene.engines[0].active == 1, "the slow stream has begun")
    await asyncio.sleep(1.2 * STREAM_TARGET_MS / 1000)  # the time itself is measured; Envoy keeps two digits of it
    late.set()
    assert (await slow).complete
    await until(lambda: _bucket(scene, "first_body_ms", "+Inf", 2), "the histogram is flushed")
    assert await _bucket(scene, "first_body_ms", str(STREAM_TARGET_MS), 1)
    assert await _bucket(scene, "duration_ms", "4000", 2)
    await scene.client.post()
    await until(lambda: _bucket(scene, "duration_ms", "+Inf", 3), "the plain request is in the other histogram")
    assert await _bucket(scene, "first_body_ms", "+Inf", 2)


COMMENT = b": PROCESSING\n\n"
FILTERED = fakes.event({"choices": [], "created": 0, "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {}}]})
CREATED = b'event: response.created\ndata: {"type":"response.created","response":{"instructions":"x"}}\n\n'


@pytest.mark.parametrize(
    ("path", "before", "token"),
    [
        (CHAT, [COMMENT, b":\r\n"], fakes.event(fakes.delta("a"))),
        (CHAT, [COMMENT], COMMENT + fakes.event(fakes.delta("a"))),
        (CHAT, [COMMENT[:5], COMMENT[5:]], fakes.event(fakes.delta("a"))),
        (CHAT, [FILTERED, FILTERED[:40], FILTERED[40:]], fakes.event(fakes.delta("a"))),
        (CHAT, [FILTERED], FILTERED + fakes.event(fakes.delta("a"))),
        (
            "/v1/responses",
            [CREATED, CREATED[:40], CREATED[40:], COMMENT],
            b'data: {"type": "response.output_text.delta", "delta": "a"}\n\n',
        ),
    ],
    ids=[
        "comments",
        "a comment with the token",
        "a comment in parts",
        "what a filter found",
        "what a filter found with the token",
        "events before the first token",
    ],
)
async def test_what_a_stream_has_before_its_first_token_is_none(stage: SetStage, path: str, before: list[bytes], token: bytes) -> None:
    scene = await stage(engines=1)
    parts = list(before)

    async def written(_: Backend, received: web.Request, __: dict[str, object]) -> web.StreamResponse:
        response = await fakes.open_stream(received)
        for part in parts:
            await response.write(part)
        await response.write_eof()
        return response

    scene.engines[0].script = written
    assert (await scene.client.post(path=path, stream=True)).body == b"".join(before)
    parts.append(token)
    assert (await scene.client.post(path=path, stream=True)).body == b"".join(parts)
    await until(lambda: _bucket(scene, "duration_ms", "+Inf", 2), "the histograms are flushed")
    assert await _bucket(scene, "first_body_ms", "+Inf", 1)


async def _bucket(scene: Stage, name: str, edge: str, wanted: int) -> bool:
    found = [
        each.value for each in await scene.gateway.metrics() if each.name == f"envoy_spillway_{name}_bucket" and each.labels["le"] == edge
    ]
    return found == [wanted]


async def test_the_operations_port_shows_metrics_and_readiness_and_nothing_else(stage: SetStage) -> None:
    scene = await stage(engines=1)
    async with aiohttp.ClientSession(scene.gateway.operations) as session:
        for method, path, status in (
            ("GET", "/metrics", 200),
            ("GET", "/ready", 200),
            ("POST", "/metrics", 404),
            ("GET", "/", 404),
            ("GET", "/config_dump", 404),
            ("POST", "/quitquitquit", 404),
            ("GET", "/drain", 404),
            ("POST", "/drain", 404),
        ):
            async with session.request(method, path) as response:
                assert response.status == status, (method, path)
    socket = Path(scene.gateway.addresses.run_folder) / "admin.sock"
    assert oct(socket.stat().st_mode & 0o777) == "0o600"


async def test_the_access_log_has_a_json_line_for_each_request_and_no_content(stage: SetStage) -> None:
    scene = await stage(engines=1)
    await scene.client.post(stream=True, path="/v1/chat/completions?key=client-secret")
    await until(lambda: scene.gateway.access.read_text().count("\n") == 1, "the log is flushed")
    line = scene.gateway.access.read_text()
    entry = json.loads(line)
    assert (entry["code"], entry["backend"], entry["input_tokens"], entry["output_tokens"]) == (200, "owned", INPUT_TOKENS, OUTPUT_TOKENS)
    assert entry["path"] == "/v1/chat/completions"
    assert "client-secret" not in line
    assert "hello" not in line
