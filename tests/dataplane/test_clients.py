"""The clients that people use, as they come: OpenAI's for Python, and curl with HTTP/1.1 and HTTP/2."""

import asyncio
import json
import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from aiohttp import web
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from tests.dataplane import certificates, fakes
from tests.dataplane.conftest import SetStage, Stage
from tests.dataplane.decisions import SERVED
from tests.dataplane.faults import PATIENT
from tests.dataplane.process import until

pytestmark = pytest.mark.dataplane
both_paths = pytest.mark.parametrize("cap", [16, 0], ids=["owned", "hosted"])
both_protocols = pytest.mark.parametrize("protocol", ["--http1.1", "--http2-prior-knowledge"], ids=["HTTP/1.1", "HTTP/2"])
GIVEN_UP_S = 2.0  # long enough for busy cores to have brought the request to the backend
SAY: list[Any] = [{"role": "user", "content": "hi"}]
WEATHER: Any = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}},
}


class Answer(BaseModel):
    """What a model is made to answer with."""

    city: str
    degrees: int


@asynccontextmanager
async def _openai(scene: Stage, **more: Any) -> AsyncIterator[AsyncOpenAI]:
    options = {"max_retries": 0, **more}
    async with AsyncOpenAI(base_url=f"{scene.client.url}/v1", api_key="client-secret", **options) as client:
        yield client


def _backend(scene: Stage) -> fakes.Backend:
    return scene.engines[0] if scene.decision.gateway.cap_per_gateway else scene.alpha


@both_paths
async def test_openai_without_asyncio_gets_answers_whole_and_streamed(stage: SetStage, cap: int) -> None:
    scene = await stage(engines=1, cap=cap, spec=PATIENT)

    def ask() -> tuple[str | None, str]:
        with OpenAI(base_url=f"{scene.client.url}/v1", api_key="client-secret", max_retries=0) as client:
            whole = client.chat.completions.create(model=SERVED, messages=SAY)
            with client.chat.completions.create(model=SERVED, messages=SAY, stream=True) as stream:
                parts = [chunk.choices[0].delta.content or "" for chunk in stream]
        return whole.choices[0].message.content, "".join(parts)

    assert await asyncio.to_thread(ask) == ("hello", "hello")
    assert _backend(scene).requests == 2


@both_paths
@pytest.mark.parametrize("asked", [False, True], ids=["without usage", "with usage"])
async def test_openai_with_asyncio_sees_a_streams_usage_if_it_asks(stage: SetStage, cap: int, *, asked: bool) -> None:
    scene = await stage(engines=1, cap=cap, spec=PATIENT)
    options: Any = {"stream_options": {"include_usage": True}} if asked else {}
    async with _openai(scene) as client:
        whole = await client.chat.completions.create(model=SERVED, messages=SAY)
        stream = await client.chat.completions.create(model=SERVED, messages=SAY, stream=True, **options)
        chunks = [chunk async for chunk in stream]
    assert whole.usage
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (fakes.INPUT_TOKENS, fakes.OUTPUT_TOKENS)
    assert [chunk.usage.completion_tokens for chunk in chunks if chunk.usage] == ([fakes.OUTPUT_TOKENS] if asked else [])


@both_paths
async def test_openai_finds_models_embeds_and_uses_the_newer_api(stage: SetStage, cap: int) -> None:
    scene = await stage(engines=1, cap=cap, spec=PATIENT)
    _backend(scene).script = _other_apis
    async with _openai(scene) as client:
        assert [each.id async for each in client.models.list()] == [SERVED]
        assert (await client.models.retrieve(SERVED)).id == SERVED
        made = await client.embeddings.create(model=SERVED, input="hi", encoding_format="float")
        assert made.data[0].embedding == [0.5, 0.25]
        assert (await client.completions.create(model=SERVED, prompt="hi")).choices[0].text == "hello"
        assert (await client.responses.create(model=SERVED, input="hi")).output_text == "hello"


async def _other_apis(_: fakes.Backend, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    text: dict[str, Any] = {"type": "output_text", "text": "hello", "annotations": []}
    message = {"type": "message", "id": "m", "status": "completed", "role": "assistant", "content": [text]}
    answers: dict[str, dict[str, Any]] = {
        "embeddings": {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}]},
        "completions": {"object": "text_completion", "choices": [{"index": 0, "text": "hello", "finish_reason": "stop"}]},
        "responses": {"object": "response", "id": "r", "output": [message]},
    }
    return web.json_response({"model": body["model"], **answers[request.path.rpartition("/")[2]]})


@both_paths
async def test_openai_calls_tools_whole_and_streamed(stage: SetStage, cap: int) -> None:
    scene = await stage(engines=1, cap=cap, spec=PATIENT)
    _backend(scene).script = _calls_the_tool
    async with _openai(scene) as client:
        whole = await client.chat.completions.create(model=SERVED, messages=SAY, tools=[WEATHER], tool_choice="required")
        stream = await client.chat.completions.create(model=SERVED, messages=SAY, tools=[WEATHER], stream=True)
        parts = [chunk.choices[0].delta async for chunk in stream]
    assert whole.choices[0].message.tool_calls
    call: Any = whole.choices[0].message.tool_calls[0]
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "Zürich"})
    streamed = [part.tool_calls[0].function for part in parts if part.tool_calls]
    assert streamed[0]
    assert streamed[0].name == "weather"
    assert json.loads("".join(each.arguments or "" for each in streamed if each)) == {"city": "Zürich"}
    assert [body["tools"] for body in _backend(scene).bodies] == [[WEATHER], [WEATHER]], "tools arrive as they were sent"


async def _calls_the_tool(_: fakes.Backend, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    arguments = '{"city": "Zürich"}'
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": arguments}}
    if not body.get("stream"):
        choice = {"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", "content": None, "tool_calls": [call]}}
        return web.json_response({"object": "chat.completion", "model": body["model"], "choices": [choice]})
    response = await fakes.open_stream(request)
    pieces = [{**call, "index": 0, "function": {"name": "weather", "arguments": ""}}]
    pieces += [{"index": 0, "function": {"arguments": piece}} for piece in (arguments[:9], arguments[9:])]
    for piece in pieces:
        await response.write(fakes.event({"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"tool_calls": [piece]}}]}))
    await response.write_eof(b"data: [DONE]\n\n")
    return response


@both_paths
async def test_openai_parses_structured_output(stage: SetStage, cap: int) -> None:
    scene = await stage(engines=1, cap=cap, spec=PATIENT)
    _backend(scene).script = _answers_by_schema
    async with _openai(scene) as client:
        parsed = await client.chat.completions.parse(model=SERVED, messages=SAY, response_format=Answer)
    assert parsed.choices[0].message.parsed == Answer(city="Zürich", degrees=7)


async def _answers_by_schema(_: fakes.Backend, __: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    assert body["response_format"]["json_schema"]["schema"]["required"] == ["city", "degrees"]
    message = {"role": "assistant", "content": '{"city": "Zürich", "degrees": 7}'}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    return web.json_response({"object": "chat.completion", "model": body["model"], "choices": [choice]})


@both_paths
async def test_what_openai_gives_up_is_given_up_upstream(stage: SetStage, cap: int) -> None:
    scene = await stage(engines=1, cap=cap, spec=PATIENT)
    backend = _backend(scene)
    backend.script = fakes.hang(asyncio.Event())
    async with _openai(scene) as client:
        with pytest.raises(openai.APITimeoutError):
            await client.chat.completions.create(model=SERVED, messages=SAY, timeout=GIVEN_UP_S)
        await until(lambda: (backend.active, backend.cancelled) == (0, 1), "what timed out ends")
        backend.script, backend.hold = None, asyncio.Event()
        stream = await client.chat.completions.create(model=SERVED, messages=SAY, stream=True)
        assert (await anext(aiter(stream))).choices[0].delta.content == "hel"
        await stream.close()
    await until(lambda: (backend.active, backend.cancelled) == (0, 2), "what was cancelled ends")


@both_paths
async def test_openai_raises_when_a_stream_is_cut(stage: SetStage, cap: int) -> None:
    scene = await stage(engines=1, cap=cap, spec=PATIENT)
    _backend(scene).script = fakes.die_after_first_event
    async with _openai(scene) as client:
        stream = await client.chat.completions.create(model=SERVED, messages=SAY, stream=True)
        with pytest.raises((openai.APIError, httpx.TransportError)):
            [chunk async for chunk in stream]


async def test_openai_says_what_the_gateway_says_and_comes_again_when_it_is_told_to(stage: SetStage) -> None:
    scene = await stage(engines=1, cap=0, spec=PATIENT)
    scene.alpha.script = fakes.fail(429)
    async with _openai(scene) as client:
        with pytest.raises(openai.InternalServerError) as refused:
            await client.chat.completions.create(model=SERVED, messages=SAY)
        assert refused.value.code == "no_capacity"
        with pytest.raises(openai.NotFoundError) as unknown:
            await client.chat.completions.create(model="other", messages=SAY)
        assert unknown.value.code == "model_not_found"

    async def once(backend: fakes.Backend, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        backend.script = None
        return await fakes.fail(429)(backend, request, body)

    scene.alpha.script = once
    async with _openai(scene, max_retries=1) as client:
        assert (await client.chat.completions.create(model=SERVED, messages=SAY)).choices[0].message.content == "hello"


@dataclass(frozen=True, slots=True, kw_only=True)
class Curled:
    """What curl made of an answer."""

    exit_status: int
    said: str
    version: str
    status: str


def _curl_program() -> str:
    found = shutil.which("curl")
    assert found, "no curl; install it (Debian: apt-get install curl)"
    return found


async def _curl(scene: Stage, *options: str, **more: Any) -> Curled:
    body = json.dumps({"model": SERVED, "messages": SAY, **more})
    process = await asyncio.create_subprocess_exec(
        *(_curl_program(), "--silent", "--no-buffer", "--max-time", "30", *options, "--write-out", "\n%{http_version} %{http_code}"),
        *("--header", "content-type: application/json", "--data", body, f"{scene.client.url}/v1/chat/completions"),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    said, _, last = output.decode().rpartition("\n")
    version, status = last.split()
    assert process.returncode is not None
    return Curled(exit_status=process.returncode, said=said, version=version, status=status)


@both_protocols
@both_paths
async def test_curl_gets_answers_whole_and_streamed(stage: SetStage, cap: int, protocol: str) -> None:
    scene = await stage(engines=1, cap=cap, spec=PATIENT)
    whole, streamed = await _curl(scene, protocol), await _curl(scene, protocol, stream=True)
    expected = "2" if "http2" in protocol else "1.1"
    assert [(each.exit_status, each.version, each.status) for each in (whole, streamed)] == [(0, expected, "200")] * 2
    assert json.loads(whole.said)["choices"][0]["message"]["content"] == "hello"
    events = [line.removeprefix("data: ") for line in streamed.said.split("\n\n") if line]
    assert events[-1] == "[DONE]"
    assert [json.loads(each)["choices"][0]["delta"]["content"] for each in events[:-1]] == ["hel", "lo"]


@both_protocols
@both_paths
async def test_curl_fails_when_a_stream_is_cut(stage: SetStage, cap: int, protocol: str) -> None:
    scene = await stage(engines=1, cap=cap, spec=PATIENT)
    _backend(scene).script = fakes.die_after_first_event
    cut = await _curl(scene, protocol, stream=True)
    assert cut.status == "200"
    assert '"hel"' in cut.said
    assert cut.exit_status == (92 if "http2" in protocol else 18)  # stream error; less than was announced


async def test_a_hundred_streams_over_one_http2_connection_are_all_answered(
    stage: SetStage, tmp_path: Path, authority: certificates.Authority
) -> None:
    spec = PATIENT | {"gateway": {"replicas": 1, "tls": {"secretRef": {"name": "certificate"}}}}
    scene = await stage(cap=16, spec=spec)
    scene.gateway.write_certificate(*authority.issue("localhost", tmp_path / "url"))
    trusted = tmp_path / "ca.crt"
    trusted.write_text(authority.pem)
    url = f"https://localhost:{scene.gateway.addresses.listen.port}/v1/chat/completions"
    body = json.dumps({"model": SERVED, "messages": SAY, "stream": True})
    common = (
        "--silent",
        "--max-time",
        "60",
        "--http2",
        "--ipv4",
        "--cacert",
        str(trusted),
        "--write-out",
        "\n%{http_version} %{num_connects}\n",
    )
    one = (*common, "--header", "content-type: application/json", "--data", body, url)
    many = [part for _ in range(100) for part in ("--next", *one)][1:]

    async def ask() -> str:
        parallel = (_curl_program(), "--parallel", "--parallel-max", "100", *many)
        process = await asyncio.create_subprocess_exec(*parallel, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL)
        return (await process.communicate())[0].decode()

    await until(lambda: _accepts(scene, trusted), "the certificate is there")
    output = await ask()
    assert output.count("[DONE]") == 100
    assert output.count("\n2 0\n") == 99, "all but the first share its connection"


async def _accepts(scene: Stage, trusted: Path) -> bool:
    context = ssl.create_default_context(cafile=trusted)
    try:
        _, writer = await asyncio.open_connection(
            "127.0.0.1", scene.gateway.addresses.listen.port, ssl=context, server_hostname="localhost"
        )
    except (ssl.SSLError, ConnectionError):
        return False
    writer.close()
    return True
