"""What passes the gateway and how: credentials, models, paths, bodies, streams."""

import asyncio
import gzip
import json
import zlib

import aiohttp
import pytest
from aiohttp import web

from tests.dataplane import fakes, fuzz
from tests.dataplane.client import CHAT, CREDENTIALS, rest_of
from tests.dataplane.conftest import SetStage, Stage
from tests.dataplane.fakes import Backend
from tests.dataplane.faults import PATIENT
from tests.dataplane.process import until
from tests.dataplane.test_failures import ALPHA, error_of

pytestmark = pytest.mark.dataplane
MEGABYTE = 1024 * 1024
STREAM = json.dumps({"model": "tiny-chat", "stream": True})
POISON = {"x-spillway-rewritten": "1", "x-spillway-stream": "1", "openai-organization": "client", "x-forwarded-host": "client"}


async def test_client_credentials_reach_own_replicas_and_never_a_hosted_endpoint(stage: SetStage) -> None:
    scene = await stage(engines=1)
    await scene.client.post(headers=POISON)
    assert {name: scene.engines[0].headers[0][name] for name in CREDENTIALS} == CREDENTIALS
    scene.engines[0].script = fakes.fail(503)
    answer = await scene.client.post(path="/v1/chat/completions?api_key=client-secret", headers=POISON)
    assert answer.served_by == ALPHA  # the endpoint itself checks every header, the path and the key
    assert "client-secret" not in str(scene.alpha.headers)
    assert b"alpha-key" not in answer.body
    assert "alpha-key" not in str(answer.headers)


async def test_a_hosted_endpoint_is_told_an_agent_which_is_not_the_clients(stage: SetStage) -> None:
    """Cloudflare and AWS refuse who tells none, and what the client's own tells is nobody's business."""
    scene = await stage(cap=0)
    for said in ({}, {"user-agent": "AsyncOpenAI/Python 2.1.0"}):
        assert (await scene.client.post(headers=said)).served_by == ALPHA
    assert [each["user-agent"] for each in scene.alpha.headers] == ["spillway"] * 2


NOT_PERMITTED = {"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options", "include_usage"], "input": True}]}
UNKNOWN = {"error": {"message": "Unknown parameter: 'stream_options'.", "param": "stream_options", "code": "unknown_parameter"}}
UNRECOGNIZED = {"error": {"message": "Unrecognized request argument supplied: stream_options", "param": None}}


@pytest.mark.parametrize(
    ("status", "complaint"), [(422, NOT_PERMITTED), (400, UNKNOWN), (400, UNRECOGNIZED)], ids=["Mistral", "Azure", "older Azure"]
)
@pytest.mark.parametrize("limited", [False, True], ids=["without limits", "with limits"])
async def test_a_hosted_endpoint_that_takes_no_stream_options_is_not_asked_for_counts_again(
    stage: SetStage, status: int, complaint: dict[str, object], *, limited: bool
) -> None:
    """The gateway has added them: it is no answer to the client's request, which comes again by itself at a 503."""
    scene = await stage(cap=0, model={"capabilities": []} if limited else None)
    told = {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": fakes.usage()}

    async def strict(_: Backend, received: web.Request, body: dict[str, object]) -> web.StreamResponse:
        if "stream_options" in body:
            return web.json_response(complaint, status=status)
        response = await fakes.open_stream(received)
        await response.write_eof(fakes.event(fakes.delta("hello")) + fakes.event(told) + b"data: [DONE]\n\n")
        return response

    scene.alpha.script = strict
    refused = await scene.client.post(stream=True)
    assert (refused.status, error_of(refused), refused.headers["retry-after"]) == (503, "no_capacity", "1")
    assert refused.json["error"]["hosted_status"] == status
    assert (await scene.client.post(stream=True)).complete
    assert (await scene.client.post(stream=True, stream_options={"include_usage": True}, seed=1)).complete
    asked = b'{"stream":true,"model":"tiny-chat","messages":[],"stream_options" : {"include_usage":true}}'
    assert (await scene.client.post(asked)).complete
    assert scene.alpha.raw[-1] == b'{"stream":true,"model":"vendor/alpha-model","messages":[]}'
    assert await scene.gateway.metric("envoy_spillway_output_tokens", backend=ALPHA) == 3 * fakes.OUTPUT_TOKENS


@pytest.mark.parametrize(
    "complaint",
    [
        {"error": {"message": "max_tokens is too large", "param": "max_tokens"}},
        {"detail": [{"loc": ["body", "messages"], "input": {"stream_options": {"include_usage": True}, "model": "m"}}]},
        {"error": {"message": "1 validation error: {'input': {'stream_options': {'include_usage': True}}}"}},
        {"error": {"message": 'invalid body: {"stream_options":{"include_usage":true}}'}},
    ],
    ids=["another member", "repeated", "repeated by Python", "repeated as text"],
)
async def test_another_complaint_about_a_stream_is_the_clients(stage: SetStage, complaint: dict[str, object]) -> None:
    scene = await stage(cap=0)

    async def complaining(_: Backend, __: web.Request, ___: dict[str, object]) -> web.StreamResponse:
        return web.json_response(complaint, status=400)

    scene.alpha.script = complaining
    answers = [await scene.client.post(stream=True) for _ in range(2)]
    assert [(each.status, each.json) for each in answers] == [(400, complaint)] * 2
    assert all(body["stream_options"] == {"include_usage": True} for body in scene.alpha.bodies)


async def test_stream_options_of_the_clients_own_are_not_taken_for_the_gateways(stage: SetStage) -> None:
    scene = await stage(cap=0)

    async def complaining(_: Backend, __: web.Request, ___: dict[str, object]) -> web.StreamResponse:
        return web.json_response(UNKNOWN, status=400)

    scene.alpha.script = complaining
    answer = await scene.client.post(stream=True, stream_options={"include_usage": True, "x": 1})
    assert (answer.status, answer.json) == (400, UNKNOWN)


async def test_a_hosted_endpoints_cookies_and_identity_do_not_reach_clients(stage: SetStage) -> None:
    scene = await stage(cap=0)

    async def chatty(backend: Backend, request: web.Request, body: dict[str, object]) -> web.StreamResponse:
        response = await fakes.complete(backend, request, body)
        response.headers.update({"Set-Cookie": "a=b", "OpenAI-Organization": "ours", "X-Served-By": "cache-1", "X-RateLimit-Limit": "9"})
        return response

    scene.alpha.script = chatty
    answer = await scene.client.post()
    assert answer.served_by == ALPHA
    assert not {"set-cookie", "openai-organization", "x-ratelimit-limit"} & answer.headers.keys()


async def test_the_model_is_renamed_and_nothing_else_in_the_body_changes(stage: SetStage) -> None:
    scene = await stage(cap=0, base_path="/serverless/v1")
    body = '{ "seed":9007199254740993, "x":[1.10,{"model":"inner"}],"model" : "tiny-chat" ,"s":"\\"model\\": \\u00e9 {[,\\\\", "n":null }'
    answer = await scene.client.post(body.encode())
    assert answer.status == 200
    assert scene.alpha.raw == [body.replace('"tiny-chat"', '"vendor/alpha-model"').encode()]


@pytest.mark.parametrize("cap", [16, 0], ids=["owned", "hosted"])
async def test_a_body_may_begin_with_a_byte_order_mark(stage: SetStage, cap: int) -> None:
    """As files do that Windows has written; vLLM passes over it, and others call it no JSON."""
    scene = await stage(engines=1, cap=cap)
    answer = await scene.client.post(b"\xef\xbb\xbf" + STREAM.encode())
    assert answer.complete
    assert await scene.gateway.metric("envoy_spillway_output_tokens") == fakes.OUTPUT_TOKENS
    assert [raw[:1] for raw in scene.alpha.raw] == ([] if cap else [b"{"])


async def test_a_served_name_with_escapes_is_the_same_name(stage: SetStage) -> None:
    scene = await stage(cap=0, spec={"model": {"id": "acme/x", "servedName": "acme/tiny"}})
    for written in ("acme/tiny", "acme\\/tiny", "acme\\u002ftiny", "\\u0061cme/tiny"):
        assert (await scene.client.post(f'{{"model":"{written}"}}'.encode())).status == 200


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ('{"model":"other"}', 404, "model_not_found"),
        ('{"model":"Tiny-Chat"}', 404, "model_not_found"),
        ('{"model":"tiny-chat\\u0000"}', 404, "model_not_found"),
        ('{"model":"tiny-chat","model":"other"}', 400, "invalid_body"),
        ('{"model":"tiny-chat","Model":"other"}', 400, "invalid_body"),
        ('{"model":"tiny-chat","mode\\u006c":"other"}', 400, "invalid_body"),
        ('{"model":"tiny-chat","model\xc5\xbf":["other"]}', 400, "invalid_body"),  # a long s: "models" to Go
        ('{"model":"tiny-chat","fallbac\xe2\x84\xaas":["other"]}', 400, "invalid_body"),  # Kelvin's sign
        ('{"model":7}', 400, "invalid_body"),
        ('{"model":{"model":"tiny-chat"}}', 400, "invalid_body"),
        ('{"messages":[]}', 400, "invalid_body"),
        ('[{"model":"tiny-chat"}]', 400, "invalid_body"),
        ('{"model":"tiny-chat"} {"model":"other"}', 400, "invalid_body"),
        ('{"model":"tiny-chat"', 400, "invalid_body"),
        ('{"model":"tiny-chat', 400, "invalid_body"),
        ("", 400, "invalid_body"),
        ('{"model":"tiny-chat","models":["other"]}', 400, "invalid_body"),
        ('{"fallbacks":[{"model":"other"}],"model":"tiny-chat"}', 400, "invalid_body"),
        ('{"model":"tiny-chat","context_window_fallbacks":[{"tiny-chat":["other"]}]}', 400, "invalid_body"),
        ("\xff\x00", 400, "invalid_body"),
        (fuzz.two_readings(outer="other", inner="\\u0074iny-chat").decode("latin-1"), 400, "invalid_body"),
    ],
)
async def test_a_hosted_endpoint_never_sees_a_model_that_is_not_served(stage: SetStage, body: str, status: int, code: str) -> None:
    scene = await stage(cap=0)
    answer = await scene.client.post(body.encode("latin-1"))
    assert (answer.status, error_of(answer), answer.served_by) == (status, code, "none")
    assert scene.alpha.requests == 0


@pytest.mark.parametrize("limited", [False, True], ids=["without limits", "with limits"])
async def test_an_answer_for_later_is_not_asked_of_a_hosted_endpoint(stage: SetStage, *, limited: bool) -> None:
    """It is billed when nobody counts any more, and there is no path to fetch it. vLLM by itself refuses such a request with 400, too."""
    scene = await stage(cap=0, model={"capabilities": []} if limited else None)
    for said in ("true", '"true"', "1"):
        body = f'{{"model":"tiny-chat","input":"hi","background":{said},"store":true}}'.encode()
        answer = await scene.client.post(body, path="/v1/responses")
        assert (answer.status, error_of(answer), answer.served_by) == (400, "invalid_body", "none")
        assert "background" in answer.json["error"]["message"]
    assert scene.alpha.requests == 0
    for said in ("false", "null"):
        body = f'{{"model":"tiny-chat","input":"hi","background":{said}}}'.encode()
        assert (await scene.client.post(body, path="/v1/responses")).served_by == ALPHA


async def test_a_hosted_endpoint_is_told_that_a_body_is_what_it_was_read_as(stage: SetStage) -> None:
    scene = await stage(cap=0)
    for said in ("application/json; charset=utf-7", "Application/JSON ;charset=utf-8"):
        assert (await scene.client.post(headers={"content-type": said})).served_by == ALPHA
    assert {each["content-type"] for each in scene.alpha.headers} == {"application/json"}


@pytest.mark.parametrize("cap", [16, 0], ids=["owned", "hosted"])
async def test_what_says_that_it_is_not_json_is_refused_as_replicas_refuse_it(stage: SetStage, cap: int) -> None:
    """Such as what curl says of --data by itself."""
    scene = await stage(engines=1, cap=cap)
    for said in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=application/json", ""):
        for headers in ({"content-type": said}, {"content-type": said, "x-spillway-spill": "never"}):
            answer = await scene.client.post(headers=headers)
            assert (answer.status, error_of(answer), answer.served_by) == (415, "unsupported_content_type", "none")
    assert scene.engines[0].requests + scene.alpha.requests == 0


@pytest.mark.parametrize("keyed", [False, True], ids=["open", "with keys"])
@pytest.mark.parametrize("said", ["application/grpc", "application/grpc+json", "application/grpc-web"])
async def test_no_content_type_makes_a_refusal_an_answer(stage: SetStage, said: str, *, keyed: bool) -> None:
    """To a gRPC client Envoy answers 200 and tells an error in a header."""
    spec = {"gateway": {"access": {"keysSecretRef": {"name": "clients"}}}} if keyed else {}
    scene = await stage(engines=1, cap=0, spec=spec)
    for path in (CHAT, "/v1/models", "/metrics"):
        answer = await scene.client.post(path=path, headers={"content-type": said})
        assert (answer.status, error_of(answer), answer.served_by) == (415, "unsupported_content_type", "none")
        assert not {"grpc-status", "grpc-message"} & answer.headers.keys()
    assert scene.engines[0].requests + scene.alpha.requests == 0
    assert await scene.gateway.metric("envoy_spillway_requests", code="415") == 3
    assert await scene.gateway.metric("envoy_spillway_unmetered_requests") == 0


async def test_a_stream_is_known_however_its_content_type_is_written(stage: SetStage) -> None:
    scene = await stage(engines=1)
    assert (await scene.client.post(stream=True, headers={"content-type": "Application/JSON"})).complete
    assert await scene.gateway.metric("envoy_spillway_output_tokens", backend="owned") == fakes.OUTPUT_TOKENS


@pytest.mark.parametrize("written", ['"true"', '"True"', '"yes"', '"on"', '"1"', "1", "1.0"])
async def test_what_vllm_takes_for_a_stream_is_one(stage: SetStage, written: str) -> None:
    """Else nobody asked for its tokens, and nothing limited the time to its headers."""
    scene = await stage(engines=1)
    answer = await scene.client.post(f'{{"model":"tiny-chat","stream":{written}}}'.encode())
    assert answer.complete
    assert not any("usage" in each for each in answer.events)
    assert await scene.gateway.metric("envoy_spillway_output_tokens", backend="owned") == fakes.OUTPUT_TOKENS
    asked = f'{{"model":"tiny-chat","stream":true,"stream_options":{{"include_usage":{written}}}}}'.encode()
    assert any("usage" in each for each in (await scene.client.post(asked)).events)
    assert scene.engines[0].raw[-1] == asked


@pytest.mark.parametrize("written", ['"false"', '"0"', "0", "0.0", "false", "null", "2", '""', "[1]", '{"stream":true}'])
async def test_what_vllm_takes_for_no_stream_passes_as_it_is(stage: SetStage, written: str) -> None:
    scene = await stage(engines=1)
    scene.engines[0].script = plain
    body = f'{{"model":"tiny-chat","stream":{written}}}'.encode()
    assert (await scene.client.post(body)).served_by == "owned"
    assert scene.engines[0].raw == [body]


async def plain(_: Backend, __: web.Request, ___: dict[str, object]) -> web.StreamResponse:
    """Answer without looking at the request."""
    return web.json_response({"choices": []})


async def test_a_body_that_is_not_what_it_should_be_is_for_the_replica_to_judge(stage: SetStage) -> None:
    scene = await stage(engines=1)

    async def judge(_: Backend, __: web.Request, ___: dict[str, object]) -> web.StreamResponse:
        return web.json_response({"error": {"message": "no such model"}}, status=404)

    scene.engines[0].script = judge
    body = b'{"model":"other","stream":true,"stream":true}'
    answer = await scene.client.post(body)
    assert (answer.status, answer.served_by, answer.json) == (404, "owned", {"error": {"message": "no such model"}})
    assert scene.engines[0].raw == [body]
    scene.engines[0].problems.clear()  # the other model is what this test is about


@pytest.mark.parametrize("cap", [16, 0], ids=["owned", "hosted"])
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_a_body_of_a_megabyte_passes_whole(stage: SetStage, cap: int, *, stream: bool) -> None:
    scene = await stage(engines=1, cap=cap, spec=PATIENT)
    text = ('quote " backslash \\ brace { é ' * (MEGABYTE // 30))[:MEGABYTE]
    answer = await scene.client.post(prompt=text, stream=stream)
    assert answer.status == 200
    assert (scene.engines[0] if cap else scene.alpha).bodies[0]["prompt"] == text


@pytest.mark.parametrize("cap", [16, 0], ids=["owned", "hosted"])
async def test_a_body_of_a_million_short_strings_passes_whole(stage: SetStage, cap: int) -> None:
    """None of them has an escape: to look for one to the end of the body from each took a worker minutes, and all its other requests."""
    scene = await stage(cap=cap, spec=PATIENT)
    texts = b",".join([b'""'] * 1_000_000)
    answer = await scene.client.post(b'{"model":"tiny-chat","stream":true,"texts":[' + texts + b"]}")
    assert answer.complete
    assert [raw.count(b'""') for each in (*scene.engines, scene.alpha) for raw in each.raw] == [1_000_000]


@pytest.mark.parametrize("signs", ["[", "1,"])
async def test_a_body_of_signs_alone_is_read_to_its_end(stage: SetStage, signs: str) -> None:
    """In how much time: benchmarks/gateway/bodies.py."""
    scene = await stage(engines=1, cap=0, spec=PATIENT)
    answer = await scene.client.post(f'{{"model":"tiny-chat","stream":true,"text":{signs * (8 * MEGABYTE // len(signs))}'.encode())
    assert error_of(answer) == "invalid_body"


@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
async def test_a_body_of_seventeen_megabytes_is_refused_and_reaches_nobody(stage: SetStage, *, chunked: bool) -> None:
    scene = await stage(engines=1)
    port = scene.gateway.addresses.listen.port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    size = 17 * MEGABYTE
    framing = "transfer-encoding: chunked" if chunked else f"content-length: {size}"
    writer.write(f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{framing}\r\n\r\n".encode())

    async def upload() -> None:
        part = b"x" * MEGABYTE
        for _ in range(17):
            writer.write(b"%x\r\n%s\r\n" % (len(part), part) if chunked else part)
            await writer.drain()

    sending = asyncio.create_task(upload())
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = next(int(line.split(":")[1]) for line in head.splitlines() if line.startswith("content-length"))
    body = json.loads(await reader.readexactly(length))
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    writer.close()
    assert head.startswith("http/1.1 413")
    assert body["error"]["code"] == "body_too_large"
    assert scene.engines[0].requests + scene.alpha.requests == 0


@pytest.mark.parametrize("cap", [16, 0], ids=["owned", "hosted"])
@pytest.mark.parametrize("asked", [False, True], ids=["usage hidden", "usage shown"])
async def test_streams_are_not_buffered(stage: SetStage, cap: int, *, asked: bool) -> None:
    """The backend sends a chunk only after the client has had the one before: were one held back, nothing would move."""
    scene = await stage(engines=1, cap=cap)
    had = asyncio.Semaphore(0)

    async def in_step(_: Backend, request: web.Request, __: dict[str, object]) -> web.StreamResponse:
        response = await fakes.open_stream(request)
        for number in range(20):
            await response.write(fakes.event(fakes.delta(str(number))))
            await had.acquire()
        await response.write_eof(b"data: [DONE]\n\n")
        return response

    (scene.engines[0] if cap else scene.alpha).script = in_step
    options = {"stream_options": {"include_usage": True}} if asked else {}
    stream = await scene.client.open(**options)
    had.release()
    for number in range(1, 20):
        got = await stream.response.content.readuntil(b"\n\n")
        assert got == fakes.event(fakes.delta(str(number)))
        had.release()
    assert (await stream.rest()).events[-1] == "[DONE]"


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("cut", [None, 1, 40], ids=["in one piece", "byte by byte", "in pieces"])
async def test_token_counts_are_hidden_however_a_stream_is_written(stage: SetStage, cut: int | None, *, line_end: bytes) -> None:
    scene = await stage(engines=1)
    said = fakes.event({**fakes.delta('"usage": {'), "usage": None})
    counts = fakes.event({"object": "chat.completion.chunk", "choices": [], "usage": fakes.usage()})
    shown, hidden, done = (each.replace(b"\n", line_end) for each in (said, counts, b"data: [DONE]\n\n"))
    whole = shown + hidden + done

    async def written(_: Backend, request: web.Request, __: dict[str, object]) -> web.StreamResponse:
        response = await fakes.open_stream(request)
        for first in range(0, len(whole), cut or len(whole)):
            await response.write(whole[first : first + (cut or len(whole))])
        await response.write_eof()
        return response

    scene.engines[0].script = written
    assert (await scene.client.post(stream=True)).body == shown + done


@pytest.mark.parametrize("line_end", [b"", b"\n", b"\r\n"], ids=["none", "LF", "CRLF"])
@pytest.mark.parametrize("counted", [False, True], ids=["text", "counts"])
async def test_the_last_event_of_a_stream_may_lack_its_blank_line(stage: SetStage, *, line_end: bytes, counted: bool) -> None:
    scene = await stage(engines=1)
    counts = {"object": "chat.completion.chunk", "choices": [], "usage": fakes.usage()}
    begun, last = fakes.event(fakes.delta("a")), fakes.event(counts if counted else fakes.delta("b")).rstrip(b"\n") + line_end

    async def written(_: Backend, request: web.Request, __: dict[str, object]) -> web.StreamResponse:
        response = await fakes.open_stream(request)
        await response.write(begun)
        await response.write(last)
        await response.write_eof()
        return response

    scene.engines[0].script = written
    answer = await scene.client.post(stream=True)
    assert answer.body == begun + (b"" if counted else last)
    assert await scene.gateway.metric("envoy_spillway_output_tokens", backend="owned") == (fakes.OUTPUT_TOKENS if counted else 0)


@pytest.mark.parametrize("line_end", [b"\n", b"\r\r", b"\r\n"], ids=["LF", "CR CR", "CRLF"])
async def test_a_stream_whose_events_have_no_blank_lines_that_the_gateway_knows_loses_none(stage: SetStage, line_end: bytes) -> None:
    scene = await stage(engines=1)
    counts = fakes.event({"object": "chat.completion.chunk", "choices": [], "usage": fakes.usage()})
    said = b"".join(each.rstrip(b"\n") + line_end for each in (fakes.event(fakes.delta("a")), counts, b"data: [DONE]"))

    async def written(_: Backend, request: web.Request, __: dict[str, object]) -> web.StreamResponse:
        response = await fakes.open_stream(request)
        await response.write_eof(said)
        return response

    scene.engines[0].script = written
    assert (await scene.client.post(stream=True)).body == said


async def test_a_comment_that_keeps_a_connection_open_is_not_held_back(stage: SetStage) -> None:
    """It is whole with its line; no blank line need follow."""
    scene = await stage(engines=1)
    had = asyncio.Event()

    async def commented(_: Backend, request: web.Request, __: dict[str, object]) -> web.StreamResponse:
        response = await fakes.open_stream(request)
        await response.write(b": wait\n")
        await had.wait()
        await response.write_eof(b"data: [DONE]\n\n")
        return response

    scene.engines[0].script = commented
    asked = {"content-type": "application/json"}
    async with scene.client.session.post(f"{scene.client.url}/v1/chat/completions", data=STREAM, headers=asked) as response:
        assert await response.content.readline() == b": wait\n"
        had.set()
        assert await response.read() == b"data: [DONE]\n\n"


async def test_a_stream_that_states_its_length_is_whole_without_the_hidden_token_counts(stage: SetStage) -> None:
    scene = await stage(engines=1)
    shown, done = fakes.event(fakes.delta("a")), b"data: [DONE]\n\n"
    counts = fakes.event({"object": "chat.completion.chunk", "choices": [], "usage": fakes.usage()})

    async def stated(_: Backend, __: web.Request, ___: dict[str, object]) -> web.StreamResponse:
        return web.Response(body=shown + counts + done, headers={"content-type": "text/event-stream"})

    scene.engines[0].script = stated
    answers = [await scene.client.post(stream=True) for _ in range(2)]
    assert [each.body for each in answers] == [shown + done] * 2
    assert (await scene.client.post(stream=True, stream_options={"include_usage": True})).body == shown + counts + done


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_an_answer_that_a_hosted_endpoint_compresses_unasked_can_be_read(stage: SetStage, *, stream: bool) -> None:
    """Nobody asks for it, as the tokens of such an answer cannot be counted; but who is not asked may (RFC 9110, 12.5.3)."""
    scene = await stage(cap=0)
    said = fakes.event(fakes.delta("hello")) if stream else b'{"choices": []}'
    kind = "text/event-stream" if stream else "application/json"

    async def compressed(backend: Backend, received: web.Request, __: dict[str, object]) -> web.StreamResponse:
        assert "accept-encoding" not in received.headers
        headers = {"content-type": kind, "content-encoding": "gzip"}
        return web.Response(status=200 if backend.requests == 1 else 500, body=gzip.compress(said), headers=headers)

    scene.alpha.script = compressed
    assert (await scene.client.post(stream=stream)).body == said
    failed = await scene.client.post(stream=stream)
    assert (failed.status, error_of(failed)) == (503, "no_capacity")


async def test_a_compressed_stream_is_not_held_back(stage: SetStage) -> None:
    """It has no blank lines to wait for, but those that chance makes."""
    scene = await stage(cap=0)
    had = asyncio.Event()
    first = fakes.event(fakes.delta("a"))

    async def compressed(_: Backend, received: web.Request, __: dict[str, object]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream", "content-encoding": "gzip"})
        await response.prepare(received)
        packer = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
        await response.write(packer.compress(first) + packer.flush(zlib.Z_SYNC_FLUSH))
        await had.wait()
        await response.write_eof(packer.compress(b"data: [DONE]\n\n") + packer.flush())
        return response

    scene.alpha.script = compressed
    asked = {"content-type": "application/json"}
    async with scene.client.session.post(f"{scene.client.url}/v1/chat/completions", data=STREAM, headers=asked) as response:
        assert await response.content.readexactly(len(first)) == first
        had.set()
        assert await response.read() == b"data: [DONE]\n\n"


async def test_headers_of_a_stream_reach_the_client_before_its_body(stage: SetStage) -> None:
    scene = await stage(engines=1)
    had = asyncio.Event()

    async def headers_first(_: Backend, request: web.Request, __: dict[str, object]) -> web.StreamResponse:
        response = await fakes.open_stream(request)
        await had.wait()
        await response.write_eof(b"data: [DONE]\n\n")
        return response

    scene.engines[0].script = headers_first
    asked = {"content-type": "application/json"}
    async with scene.client.session.post(f"{scene.client.url}/v1/chat/completions", data=STREAM, headers=asked) as response:
        assert response.headers["x-served-by"] == "owned"
        had.set()
        assert await response.read() == b"data: [DONE]\n\n"


@pytest.mark.parametrize("mode", ["Hybrid", "Hosted", "Dedicated"])
async def test_the_gateway_lists_the_served_model_with_no_backend_at_all(stage: SetStage, mode: str) -> None:
    spec = {"model": {"id": "acme/x", "servedName": "acme/tiny", "maxContextTokens": 4096}}
    scene = await stage(mode=mode, spec=spec)
    for backend in (*scene.engines, *scene.hosted.values()):
        await backend.stop()
    listed = await scene.client.get("/v1/models")
    assert (listed.status, listed.headers["content-type"]) == (200, "application/json")
    assert [each["id"] for each in listed.json["data"]] == ["acme/tiny"]
    for path in ("/v1/models/acme/tiny", "/v1/models/acme%2Ftiny"):
        one = await scene.client.get(path)
        assert (one.status, one.json["id"], one.json["max_model_len"]) == (200, "acme/tiny", 4096)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not_found"),
        ("GET", "/metrics", 404, "not_found"),
        ("GET", "/v1/../metrics", 404, "not_found"),
        ("POST", "/v1/%2e%2e/metrics", 404, "not_found"),
        ("POST", "/invocations", 404, "not_found"),
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
    ],
)
async def test_other_paths_and_methods_are_answered_at_the_gateway(stage: SetStage, method: str, path: str, status: int, code: str) -> None:
    scene = await stage(engines=1)
    reader, writer = await asyncio.open_connection("127.0.0.1", scene.gateway.addresses.listen.port)
    writer.write(f"{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())  # aiohttp would tidy the path
    head, body = (await reader.read()).decode().split("\r\n\r\n", 1)
    writer.close()
    assert head.startswith(f"HTTP/1.1 {status}")
    assert json.loads(body)["error"]["code"] == code
    assert scene.engines[0].requests + scene.alpha.requests == 0


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("host: x\r\nx-long: " + "x" * 100_000, 431),
        ("content-length: 2", 400),  # and no host
        ("host: x\r\nupgrade: websocket\r\nconnection: upgrade", 403),
        ("host: x\r\ntransfer-encoding: gzip, chunked", 501),  # RFC 9112, 6.1
    ],
    ids=["headers too large", "no host", "a websocket", "another transfer-encoding"],
)
async def test_what_is_no_request_is_the_clients_error(stage: SetStage, head: str, status: int) -> None:
    scene = await stage(engines=1)
    reader, writer = await asyncio.open_connection("127.0.0.1", scene.gateway.addresses.listen.port)
    writer.write(f"POST /v1/chat/completions HTTP/1.1\r\n{head}\r\n\r\n".encode())
    first = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in first.splitlines() if line.startswith(b"content-length"))
    error = json.loads(await reader.readexactly(length))["error"]
    writer.close()
    assert (int(first.split()[1]), error["type"], error["code"]) == (status, "invalid_request_error", "bad_request")


async def test_a_body_that_does_not_arrive_is_the_clients_error_and_reaches_nobody(stage: SetStage) -> None:
    scene = await stage(engines=1)
    config = json.loads(scene.gateway.config.read("envoy.json"))
    edge = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    assert edge["request_timeout"] == "60s"
    edge["request_timeout"] = "0.5s"  # nobody waits a minute for a test
    await scene.gateway.restart_with(json.dumps(config))
    reader, writer = await asyncio.open_connection("127.0.0.1", scene.gateway.addresses.listen.port)
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n{")
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = next(int(line.split(":")[1]) for line in head.splitlines() if line.startswith("content-length"))
    error = json.loads(await reader.readexactly(length))["error"]
    writer.close()
    assert (int(head.split()[1]), error["type"], error["code"]) == (408, "invalid_request_error", "bad_request")
    assert scene.engines[0].requests + scene.alpha.requests == 0


async def test_a_proxy_that_speaks_an_older_http_is_told_what_to_set(stage: SetStage) -> None:
    """As nginx does by default before 1.29.7."""
    scene = await stage(engines=1)
    reader, writer = await asyncio.open_connection("127.0.0.1", scene.gateway.addresses.listen.port)
    writer.write(f"GET {CHAT} HTTP/1.0\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    error = json.loads(body)["error"]
    assert (int(head.split()[1]), error["type"], error["code"]) == (426, "invalid_request_error", "http_version")
    assert "proxy_http_version 1.1" in error["message"]


@pytest.mark.parametrize("mode", ["Hybrid", "Hosted"])
async def test_the_hosted_key_is_not_spent_on_other_paths(stage: SetStage, mode: str) -> None:
    scene = await stage(mode=mode, cap=0)
    for path in ("/v1/files", "/v1/fine_tuning/jobs", "/v1/batches", "/v1/chat/completions/x"):
        answer = await scene.client.post(path=path)
        assert (answer.status, error_of(answer), answer.served_by) == (404, "not_found", "none")
    assert scene.alpha.requests == 0


async def test_the_cap_changes_under_load_without_an_error(stage: SetStage) -> None:
    scene = await stage(cap=4)
    stop = asyncio.Event()
    failed: list[object] = []

    async def load() -> None:
        while not stop.is_set():
            answer = await scene.client.post(stream=True)
            if not answer.complete:
                failed.append(answer)

    workers = [asyncio.create_task(load()) for _ in range(12)]
    for cap in (0, 8, 1, 12, 0, 3):
        scene.gateway.set_cap(cap)
        await until(lambda cap=cap: _cap_is(scene, cap), f"cap {cap} is in force")
    stop.set()
    await asyncio.gather(*workers)
    assert not failed


async def _cap_is(scene: Stage, cap: int) -> bool:
    """Whether this is the cap that Envoy goes by."""
    connector = aiohttp.UnixConnector(path=f"{scene.gateway.addresses.run_folder}/admin.sock")
    async with aiohttp.ClientSession(connector=connector) as session, session.get("http://admin/runtime") as response:
        entries = (await response.json(content_type=None))["entries"]
    return bool(entries["circuit_breakers.owned.default.max_requests"]["final_value"] == str(cap))


async def test_a_cap_lowered_under_what_is_in_flight_admits_nothing_new_and_cuts_nothing(stage: SetStage) -> None:
    scene = await stage(cap=8)
    release = asyncio.Event()
    for engine in scene.engines:
        engine.hold = release
    streams = await scene.client.open_many(8)
    scene.gateway.set_cap(3)
    await until(lambda: _cap_is(scene, 3), "the cap is in force")
    assert (await scene.client.post()).served_by == ALPHA
    release.set()
    assert all(each.complete for each in await rest_of(streams))
    assert (await scene.client.post()).served_by == "owned"
