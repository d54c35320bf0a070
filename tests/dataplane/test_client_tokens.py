"""Tokens per minute of each client: used up, told, waited for, and nobody else's."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from spillway.plan.gateway.permit import WORKERS
from tests.dataplane import fakes, tokens
from tests.dataplane.client import CHAT, Answer
from tests.dataplane.conftest import SetStage, Stage
from tests.dataplane.fakes import INPUT_TOKENS, OUTPUT_TOKENS, Backend
from tests.dataplane.process import until
from tests.dataplane.test_access import A_KEY, B_KEY, C_KEY, FROM_CONFIG_MAP, bearer, digest, keyed
from tests.dataplane.test_failures import error_of

pytestmark = pytest.mark.dataplane
USED = INPUT_TOKENS + OUTPUT_TOKENS
A_MINUTE = 6000
SHARE = A_MINUTE // WORKERS  # of the gateway's one thread, as in production, where there are two


async def limited(stage: SetStage, **access: Any) -> Stage:
    return await keyed(stage, engines=1, access={"tokensPerMinute": A_MINUTE, **access})


def answering(used: int) -> fakes.Script:
    """Return a script whose plain answers report so many tokens."""

    async def script(_: Backend, __: web.Request, ___: dict[str, Any]) -> web.StreamResponse:
        return web.json_response({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": used - 1}})

    return script


def left(answer: Answer) -> int:
    return int(answer.headers["x-ratelimit-remaining-tokens"])


async def test_a_client_that_has_used_its_tokens_is_told_and_waits_and_others_do_not(stage: SetStage) -> None:
    scene = await limited(stage, clients=[{"name": "team-b", "tokensPerMinute": 100}, {"name": "c.1", "requestsPerMinute": 9}])
    scene.engines[0].script = answering(SHARE + 300)
    first = await scene.client.post(headers=bearer(A_KEY))
    assert (first.status, first.headers["x-ratelimit-limit-tokens"], left(first)) == (200, str(SHARE), 0)
    refused = await scene.client.post(headers=bearer(f"{A_KEY}-next"))
    assert (refused.status, error_of(refused), refused.served_by) == (429, "rate_limit_exceeded", "none")
    assert "tokens-per-minute limit" in refused.json["error"]["message"]
    assert (refused.headers["x-ratelimit-limit-tokens"], left(refused)) == (str(SHARE), 0)
    assert 1 <= int(refused.headers["retry-after"]) <= 7  # 300 tokens and its own at 50 a second
    assert 60 <= int(refused.headers["x-ratelimit-reset-tokens"]) <= 66
    other = await scene.client.post(headers=bearer(B_KEY))
    assert (other.status, other.headers["x-ratelimit-limit-tokens"]) == (200, str(100 // WORKERS))
    third = await scene.client.post(headers=bearer(C_KEY))
    assert (third.status, third.headers["x-ratelimit-limit"], third.headers["x-ratelimit-limit-tokens"]) == (200, "9", str(SHARE))
    async with scene.client.session.get(scene.client.url + "/v1/models", headers=bearer(A_KEY)) as models:
        assert models.status == 200

    async def served() -> bool:
        return (await scene.client.post(headers=bearer(A_KEY))).status == 200

    await until(served, "the tokens come back")
    await until(lambda: _counted(scene, 2.0, client=digest("team-a"), code="200"), "answers are counted")
    assert await scene.gateway.metric("envoy_spillway_client_requests", client=digest("team-a"), code="429") >= 1
    assert await scene.gateway.metric("envoy_spillway_requests", code="429") == 0, "a client over its limit is no demand"
    assert "team-a" not in str(await scene.gateway.metrics())
    assert "team-a" not in scene.gateway.config.read("envoy.json")


async def test_an_issuers_subjects_have_limits_as_clients_with_keys_have(stage: SetStage) -> None:
    access = {"jwt": FROM_CONFIG_MAP, "tokensPerMinute": A_MINUTE, "clients": [{"name": "batch", "tokensPerMinute": 100}]}
    scene = await stage(engines=1, spec={"gateway": {"replicas": 1, "access": access}})
    key = tokens.SigningKey(name="one")
    mine, batch = bearer(key.token()), bearer(key.token(sub="batch"))
    scene.gateway.write_issuer(tokens.jwks(key))

    async def known() -> bool:
        async with scene.client.session.get(scene.client.url + "/v1/models", headers=mine) as models:
            return models.status == 200

    await until(known, "the issuer's keys are in force")
    scene.engines[0].script = answering(SHARE + 300)
    first = await scene.client.post(headers=mine)
    assert (first.status, first.headers["x-ratelimit-limit-tokens"], left(first)) == (200, str(SHARE), 0)
    refused = await scene.client.post(headers=mine)
    assert (refused.status, error_of(refused), refused.served_by) == (429, "rate_limit_exceeded", "none")
    other = await scene.client.post(headers=batch)
    assert (other.status, other.headers["x-ratelimit-limit-tokens"]) == (200, str(100 // WORKERS))


async def _counted(scene: Stage, value: float, **labels: str) -> bool:
    return await scene.gateway.metric("envoy_spillway_client_requests", **labels) == value


@pytest.mark.parametrize("counts", [(-SHARE, 1), (1, 10**12), (0, 0)], ids=["below zero", "too many", "none"])
async def test_an_answer_that_reports_what_cannot_be_is_charged_by_its_bytes(stage: SetStage, counts: tuple[int, int]) -> None:
    scene = await limited(stage)

    async def absurd(_: Backend, __: web.Request, ___: dict[str, Any]) -> web.StreamResponse:
        usage = dict(zip(("prompt_tokens", "completion_tokens"), counts, strict=True))
        return web.json_response({"choices": ["x" * 2 * SHARE], "usage": usage})

    scene.engines[0].script = absurd
    assert (await scene.client.post(headers=bearer(A_KEY))).status == 200
    assert 0 < left(await scene.client.post(headers=bearer(A_KEY))) < SHARE // 2 + 300


@pytest.mark.parametrize("hosted", [False, True], ids=["owned", "hosted"])
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_an_answer_is_charged_what_it_reports_on_either_side(stage: SetStage, *, hosted: bool, stream: bool) -> None:
    scene = await keyed(stage, engines=1, cap=0 if hosted else 16, access={"tokensPerMinute": 2})  # a token comes back in a minute
    first = await scene.client.post(headers=bearer(A_KEY), stream=stream)
    assert (first.status, first.served_by == "owned") == (200, not hosted)
    refused = await scene.client.post(headers=bearer(A_KEY), stream=stream)
    assert refused.status == 429
    owed = USED - 1  # the bucket held one
    assert 60 * owed <= int(refused.headers["retry-after"]) <= 60 * (owed + 1)


async def test_a_stream_that_its_client_leaves_is_charged_what_was_sent(stage: SetStage) -> None:
    """Otherwise a client that never reads to the end, where the count stands, would never be charged."""
    scene = await limited(stage)
    sent = asyncio.Event()

    async def long(_: Backend, request: web.Request, __: dict[str, Any]) -> web.StreamResponse:
        response = await fakes.open_stream(request)
        for _chunk in range(100):
            await response.write(fakes.event(fakes.delta("x" * 10_000)))
        sent.set()
        await asyncio.Event().wait()
        raise AssertionError

    scene.engines[0].script = long
    stream = await scene.client.session.post(
        scene.client.url + "/v1/chat/completions", json={"model": "tiny-chat", "stream": True}, headers=bearer(A_KEY)
    )
    read = 0
    while read < 1_000_000:
        read += len(await stream.content.readany())
    stream.close()
    refused = await scene.client.post(headers=bearer(A_KEY))
    assert (refused.status, left(refused)) == (429, 0)


async def test_what_fails_costs_a_client_nothing(stage: SetStage) -> None:
    scene = await limited(stage)
    scene.engines[0].script = fakes.fail(400)
    for _ in range(3):
        answer = await scene.client.post(b'{"model":"tiny-chat","messages":"' + b"x" * 3 * SHARE + b'"}', headers=bearer(A_KEY))
        assert (answer.status, left(answer)) == (400, SHARE)


async def test_a_request_counts_its_own_bytes_until_its_answer_is_known(stage: SetStage) -> None:
    """So clients that ask for many answers at once are not let in without bound."""
    scene = await limited(stage)
    scene.engines[0].script = fakes.hang(release := asyncio.Event())
    body = b'{"model":"tiny-chat","messages":"' + b"x" * (4 * SHARE // 3) + b'"}'
    asked = [asyncio.create_task(scene.client.post(body, headers=bearer(A_KEY))) for _ in range(20)]
    await until(lambda: scene.engines[0].active + sum(each.done() for each in asked) == 20, "all are sent or refused")
    assert scene.engines[0].active <= 4  # three fit, and one more if this takes long
    release.set()
    assert {each.status for each in await asyncio.gather(*asked)} == {200, 429}


async def test_a_request_that_is_larger_than_the_limit_is_let_in_when_nothing_is_owed(stage: SetStage) -> None:
    scene = await limited(stage)
    scene.engines[0].script = answering(5 * SHARE)
    body = b'{"model":"tiny-chat","messages":"' + b"x" * 16 * SHARE + b'"}'
    assert [(await scene.client.post(body, headers=bearer(A_KEY))).status for _ in range(2)] == [200, 429]


async def test_requests_whose_bodies_come_together_are_let_in_no_more_than_others(stage: SetStage) -> None:
    """Each has been announced before any of them is whole."""
    scene = await limited(stage)
    scene.engines[0].script = fakes.hang(release := asyncio.Event())
    body = b'{"model":"tiny-chat","messages":"' + b"x" * (4 * SHARE // 3) + b'"}'
    connections = [await _begin(scene, len(body)) for _ in range(16)]
    await until(lambda: _open(scene, 16), "the gateway has begun to read them")
    for _, writer in connections:
        writer.write(body[1:])
    refused = [asyncio.create_task(reader.readuntil(b"rate_limit_exceeded")) for reader, _ in connections]
    await until(lambda: scene.engines[0].active + sum(each.done() for each in refused) == 16, "all are sent or refused")
    assert scene.engines[0].active <= 4  # three fit, and one more if this takes long
    for waits in refused:
        waits.cancel()
    for _, writer in connections:
        writer.close()
    release.set()


async def _begin(scene: Stage, length: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send the head and the first byte of a request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", scene.gateway.addresses.listen.port)
    said = {"host": "x", "content-type": "application/json", "content-length": str(length), **bearer(A_KEY)}
    head = "".join(f"{name}: {each}\r\n" for name, each in said.items())
    writer.write(f"POST {CHAT} HTTP/1.1\r\n{head}\r\n{{".encode())
    return reader, writer


async def test_an_upload_that_breaks_off_costs_its_client_nothing(stage: SetStage) -> None:
    scene = await limited(stage)
    _, writer = await _begin(scene, 40 * SHARE)
    await until(lambda: _open(scene, 1), "the gateway has begun to read it")
    writer.close()
    await until(lambda: _open(scene, 0), "the client is gone")
    answer = await scene.client.post(headers=bearer(A_KEY))
    assert (answer.status, left(answer) > SHARE - 100) == (200, True)


async def _open(scene: Stage, count: int) -> bool:
    return await scene.gateway.metric("envoy_http_downstream_rq_active", envoy_http_conn_manager_prefix="edge") == count


def in_chunks(size: int) -> AsyncIterator[bytes]:
    """Return the pieces of a request for a stream, with so many bytes beside the rest of it."""

    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b'{"model":"tiny-chat","stream":true,"x":"', b"x" * size, b'"}'):
            yield piece

    return pieces()


async def test_a_body_sent_in_chunks_counts_as_any_other(stage: SetStage) -> None:
    """It has no content-length: neither while its answer is awaited nor after it may it be free."""
    scene = await limited(stage)
    scene.engines[0].hold = asyncio.Event()
    sent = {"content-type": "application/json", **bearer(A_KEY)}
    url = scene.client.url + CHAT
    async with scene.client.session.post(url, data=in_chunks(2 * SHARE), headers=sent) as response:
        await response.content.readuntil(b"\n\n")
        assert left(await scene.client.post(headers=bearer(A_KEY))) < 3 * SHARE // 4  # half of it, and what the time between them adds
        scene.engines[0].hold.set()
        await response.read()
    assert left(await scene.client.post(headers=bearer(A_KEY))) > SHARE - 300
    scene.engines[0].script = answering(2 * SHARE)
    async with scene.client.session.post(url, data=in_chunks(10), headers=sent) as response:
        assert (response.status, response.headers["x-ratelimit-remaining-tokens"]) == (200, "0")
    async with scene.client.session.post(url, data=in_chunks(10), headers=sent) as response:
        assert response.status == 429
