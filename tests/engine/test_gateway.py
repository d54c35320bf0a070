"""The gateway changes nothing: real vLLM's answers through it, owned and spilled, are those that vLLM gives directly."""

import asyncio
import contextlib
import itertools
import json
import random
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import APIError, AsyncOpenAI
from pydantic import BaseModel, Field

from spillway.render.envoy.config import Address, GatewayAddresses
from tests.dataplane import certificates, decisions
from tests.dataplane.process import Gateway, until
from tests.engine.engines import ANSWERED_S, ATTEMPTS, MODEL, Engine, started

pytestmark = pytest.mark.engine
REQUESTS, SEED = 100, 7
HOSTED_MODEL = "vendor/tiny-chat"
KEY = "hosted-key"
# vLLM makes these up, or measures them, anew for each request.
_OWN = frozenset({"id", "created", "created_at", "completed_at", "request_id", "system_fingerprint"})
_WORDS = ("hello", "Zürich", "日本", "\\", '"model":', "{[,", "\n\n", "data: [DONE]", "\u2028", "🙂", "tool", "0")


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    names = ("--served-model-name", MODEL, HOSTED_MODEL)
    tools = ("--enable-auto-tool-choice", "--tool-call-parser", "hermes")
    with started("vllm", *names, *tools, "--max-num-seqs", "4", "--no-enable-prefix-caching") as running_engine:
        running_engine.complete(tokens=2)
        yield running_engine


@asynccontextmanager
async def _gateway(engine: Engine, folder: Path, *, cap: int) -> AsyncIterator[Gateway]:
    """Run a gateway to the engine: as its own replica up to `cap`, beyond it over TLS as a hosted endpoint with a key."""
    authority = certificates.authority()
    chain, key = authority.issue("alpha.test", folder / "certificates")
    engine_at = Address(host="127.0.0.1", port=httpx.URL(engine.url).port or 0)
    async with _tls_in_front(engine_at, chain, key) as hosted:
        provider = decisions.provider(f"https://alpha.test:{hosted.port}/v1", HOSTED_MODEL)
        workload = decisions.workload(
            {
                "model": {"id": "acme/tiny-chat", "servedName": MODEL},
                "slo": {"timeToFirstTokenMs": 30_000},
                "placement": {"mode": "Hybrid"},
                "gateway": {"replicas": 1},
                "dedicated": {},
                "hosted": {"backends": [{"providerRef": {"name": "alpha"}, "model": HOSTED_MODEL}]},
            }
        )
        decision = decisions.decision(workload, {"alpha": provider}, cap=cap)
        made = Gateway(workload, decision, folder / "gateway", GatewayAddresses(engines=(engine_at,), hosted={"alpha": hosted}))
        made.write_authority("alpha", authority.pem)
        made.write_key("alpha", KEY)
        try:
            await made.start()
            await until(lambda: _serves(made), "the replica and the endpoint are healthy")
            yield made
        finally:
            await made.stop()


async def _serves(gateway: Gateway) -> bool:
    healthy = [each.value for each in await gateway.metrics() if each.name == "envoy_cluster_membership_healthy"]
    return healthy == [1, 1]


@asynccontextmanager
async def _tls_in_front(engine: Address, chain: Path, key: Path) -> AsyncIterator[Address]:
    """Take TLS off and pass all else on, as a provider's front does."""
    open_now: set[asyncio.StreamWriter] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(engine.host, engine.port)
        open_now.update((writer, inner_writer))
        await asyncio.gather(_pass_on(reader, inner_writer), _pass_on(inner_reader, writer))
        open_now.difference_update((writer, inner_writer))

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=certificates.server(chain, key))
    try:
        yield Address(host="127.0.0.1", port=server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for writer in open_now:
            writer.transport.abort()
        await until(lambda: not open_now, "connections end")


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


def _varied() -> list[tuple[str, dict[str, Any]]]:
    """Return requests to all that the engine serves: whole and streamed, with and without usage, well-formed and not."""
    draw = random.Random(SEED)
    kinds = itertools.cycle((_chat, _chat, _text, _text, _responses, _wrong))
    made = [next(kinds)(draw) for _ in range(REQUESTS)]
    return [(path, {"model": MODEL, **body}) for path, body in made]


def _words(draw: random.Random) -> str:
    return " ".join(draw.choices(_WORDS, k=draw.randrange(1, 40)))


def _sampling(draw: random.Random) -> dict[str, Any]:
    asked: dict[str, Any] = {"temperature": 0, "seed": draw.randrange(2**53), "stream": draw.choice((True, False))}
    if asked["stream"] and draw.random() < 0.5:
        asked["stream_options"] = {"include_usage": draw.choice((True, False))}
    more: dict[str, Any] = {"stop": ["a", "\n"], "frequency_penalty": 0.5, "n": 2, "ignore_eos": True, "user": "someone"}
    return asked | dict(draw.sample(list(more.items()), k=draw.randrange(3)))


def _chat(draw: random.Random) -> tuple[str, dict[str, Any]]:
    body = _sampling(draw) | {"max_tokens": draw.randrange(1, 12), "messages": [{"role": "user", "content": _words(draw)}]}
    if draw.random() < 0.3:
        body |= {"logprobs": True, "top_logprobs": 2}
    return "/v1/chat/completions", body


def _text(draw: random.Random) -> tuple[str, dict[str, Any]]:
    prompt: Any = draw.choice((_words(draw), [_words(draw), _words(draw)], [5, 6, 7]))
    return "/v1/completions", _sampling(draw) | {"max_tokens": draw.randrange(1, 12), "prompt": prompt, "echo": draw.random() < 0.2}


def _responses(draw: random.Random) -> tuple[str, dict[str, Any]]:
    body = {"input": _words(draw), "max_output_tokens": draw.randrange(1, 12), "temperature": 0, "stream": draw.choice((True, False))}
    return "/v1/responses", body | {"store": False}


def _wrong(draw: random.Random) -> tuple[str, dict[str, Any]]:
    bad: dict[str, Any] = draw.choice(({"max_tokens": -1}, {"max_tokens": 99_999}, {"messages": 7}, {"temperature": "hot"}, {"n": 0}))
    return "/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}], "stream": draw.choice((True, False)), **bad}


@pytest.mark.parametrize("cap", [16, 0], ids=["owned", "spilled"])
async def test_a_hundred_varied_answers_are_those_of_vllm_but_for_ids_and_times(engine: Engine, tmp_path: Path, cap: int) -> None:
    different, kinds = [], set()
    async with (
        _gateway(engine, tmp_path, cap=cap) as gateway,
        httpx.AsyncClient(base_url=engine.url, timeout=ANSWERED_S) as direct,
        httpx.AsyncClient(base_url=gateway.url, timeout=ANSWERED_S) as through,
    ):
        for path, body in _varied():
            expected, got = await direct.post(path, json=body), await through.post(path, json=body)
            served_by = "owned" if cap else f"alpha/{HOSTED_MODEL}"
            assert got.headers["x-served-by"] == served_by, (path, body, got.text)
            kinds.add((path, expected.status_code, bool(body.get("stream"))))
            if _comparable(expected) != _comparable(got):
                different.append((path, body, expected.text, got.text))
    assert not different, (len(different), different[0])
    paths = ("/v1/chat/completions", "/v1/completions", "/v1/responses")
    assert {(path, 200, stream) for path in paths for stream in (True, False)} <= kinds
    assert {400, 200} <= {status for _, status, _ in kinds}


def _comparable(answer: httpx.Response) -> tuple[int, str, Any]:
    """Return what must be equal: status, type and body, without what differs from request to request.

    Of a stream: what a client makes of it. How many tokens are in an event, and whose turn it is where there are several choices, is a
    matter of vLLM's timing: of a hundred streams that were sent to it twice, directly, nine were cut up differently.
    """
    kind = answer.headers["content-type"]
    if "event-stream" not in kind:
        return answer.status_code, kind, _without_own(answer.json())
    data = [line.removeprefix("data: ") for line in answer.text.split("\n") if line.startswith("data: ")]
    ends = [each for each in data if each == "[DONE]"]
    return answer.status_code, kind, (_put_together([_without_own(json.loads(each)) for each in data if each != "[DONE]"]), ends)


def _put_together(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Return events as one: by type, and their choices by index."""
    whole: dict[str, Any] = {}
    for event in events:
        choices = {str(each["index"]): each for each in event.pop("choices", [])}
        event.pop("sequence_number", None)
        _add(whole, {str(event.get("type")): event, "choices": choices})
    return whole


def _add(whole: dict[str, Any], part: dict[str, Any]) -> None:
    """Add one event's members: text and lists go on where they were, for anything else the last one counts."""
    for name, value in part.items():
        if isinstance(value, dict):
            _add(whole.setdefault(name, {}), value)
        elif isinstance(value, list) or name in {"content", "text", "delta", "arguments", "reasoning"}:
            whole[name] = whole[name] + value if whole.get(name) else value
        elif value is not None or name not in whole:
            whole[name] = value


def _without_own(value: Any) -> Any:
    """Return JSON without ids and times, and without nulls: where usage is asked for, chunks have one in its place."""
    if isinstance(value, dict):
        return {name: _without_own(each) for name, each in value.items() if _compared(name) and each is not None}
    if isinstance(value, list):
        return [_without_own(each) for each in value]
    return value


def _compared(name: str) -> bool:
    return name not in _OWN and not name.endswith("_id")


@pytest.mark.parametrize("usage", [False, True], ids=["plain", "with usage"])
async def test_a_client_is_told_by_an_event_that_the_engine_behind_its_stream_died(tmp_path: Path, *, usage: bool) -> None:
    """What a replica dies of as a rule, memory or a fault of its GPU, takes vLLM's worker; its server lives to say so."""
    ask: Any = {"model": MODEL, "prompt": "hello", "max_tokens": 1800, "extra_body": {"ignore_eos": True}, "stream": True}
    if usage:
        ask["stream_options"] = {"include_usage": True}
    with started("vllm") as engine:
        engine.complete(tokens=2)
        async with (
            _gateway(engine, tmp_path, cap=16) as gateway,
            AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="x", max_retries=0) as client,
        ):
            stream = await _under_way(engine, client, ask)
            engine.kill_worker()
            with pytest.raises(APIError, match="EngineCore") as told:
                [_ async for _ in stream]
            await until(lambda: _failed_streams(gateway, 1), "the stream is counted as failed")
    assert isinstance(told.value.body, dict)
    assert told.value.body["code"] == 500


async def _under_way(engine: Engine, client: AsyncOpenAI, ask: Any) -> Any:
    """Return a stream that has begun and cannot end: what computes is stopped, and the server, which may be far behind it, agrees."""
    for _ in range(ATTEMPTS):
        stream = await client.completions.create(**ask)
        await anext(stream)
        engine.signal_worker(signal.SIGSTOP)
        if await asyncio.to_thread(engine.in_flight):
            return stream
        engine.signal_worker(signal.SIGCONT)
        await stream.close()
    raise AssertionError(f"{ATTEMPTS} times in a row a stream was done before it could be stopped")


async def _failed_streams(gateway: Gateway, wanted: int) -> bool:
    return await gateway.metric("envoy_spillway_stream_errors", backend="owned") == wanted


class Place(BaseModel):
    """What the model must answer with."""

    letter: str = Field(pattern="^[ab]$")


@pytest.mark.parametrize("cap", [16, 0], ids=["owned", "spilled"])
async def test_tools_and_structured_output_work_with_openais_client(engine: Engine, tmp_path: Path, cap: int) -> None:
    parameters: dict[str, Any] = {
        "type": "object",
        "properties": {"letter": {"type": "string", "enum": ["a", "b"]}},
        "required": ["letter"],
    }
    parameters["additionalProperties"] = False
    tool: Any = {"type": "function", "function": {"name": "choose", "strict": True, "parameters": parameters}}
    # A model of random weights would go on with white space for ever where a grammar lets it, were repetition not penalised.
    ask: Any = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 400,
        "temperature": 0,
        "frequency_penalty": 2,
    }
    async with (
        _gateway(engine, tmp_path, cap=cap) as gateway,
        AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="x", max_retries=0) as client,
    ):
        parsed = await client.chat.completions.parse(**ask, response_format=Place)
        assert parsed.choices[0].message.parsed
        assert parsed.choices[0].message.parsed.letter in {"a", "b"}
        named: Any = {"type": "function", "function": {"name": "choose"}}
        called = await client.chat.completions.create(**ask, tools=[tool], tool_choice=named)
        assert called.choices[0].message.tool_calls
        call: Any = called.choices[0].message.tool_calls[0]
        assert (call.function.name, json.loads(call.function.arguments)["letter"] in {"a", "b"}) == ("choose", True)
        chunks = [chunk async for chunk in await client.chat.completions.create(**ask, tools=[tool], tool_choice=named, stream=True)]
    pieces = [piece.function for chunk in chunks for choice in chunk.choices for piece in choice.delta.tool_calls or []]
    assert json.loads("".join(piece.arguments or "" for piece in pieces if piece)) == json.loads(call.function.arguments)
