"""Who may call, and what: the paths there are, keys and their limits, tokens, TLS."""

import asyncio
import json

import pytest
from aiohttp import web

from tests.dataplane import fakes
from tests.dataplane.client import CHAT
from tests.dataplane.conftest import SetStage, Stage
from tests.dataplane.fakes import Backend

pytestmark = pytest.mark.dataplane


async def raw(scene: Stage, method: str, path: str) -> tuple[int, str]:
    """Send a request line as it stands (aiohttp would tidy the path); return the status and the error's code."""
    reader, writer = await asyncio.open_connection("127.0.0.1", scene.gateway.addresses.listen.port)
    writer.write(f"{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".encode())
    head, body = (await reader.read()).decode().split("\r\n\r\n", 1)
    writer.close()
    return int(head.split()[1]), (json.loads(body)["error"]["code"] if body.startswith("{") else "")


_HIDDEN = (
    *("/metrics", "/load", "/health", "/ping", "/version", "/server_info", "/docs", "/openapi.json", "/tokenize", "/invocations"),
    *("/reset_prefix_cache", "/sleep", "/wake_up", "/is_sleeping", "/scale_elastic_ep", "/collective_rpc", "/pause", "/start_profile"),
    *("/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/v1/files", "/v1/audio/transcriptions", "/v1/messages", "/v1", "/v1/"),
)
_TRICKS = (
    *("//metrics", "///metrics", "/v1//../metrics", "/v1/../metrics", "/v1/%2e%2e/metrics", "/v1/%2E%2e/metrics", "/v1/..%2fmetrics"),
    *("/v1/chat/completions/../../../metrics", "/v1/chat/completions/%2e%2e/%2e%2e/load_lora_adapter", "/v1/./load_lora_adapter"),
    *("/v1%2fload_lora_adapter", "/v1/%6coad_lora_adapter", "/v1/load%5flora_adapter", "/v1\\\\..\\\\metrics", "/V1/chat/completions"),
    *("/v1/Chat/Completions", "/v1/chat/completions/", "/v1/chat/completions;/../metrics", "/v1/chat/completions%00", "/metrics%23/v1/"),
    *("/metrics?/v1/chat/completions", "/v1/chat/completions%3f/../../metrics", "/v1/chat%252fcompletions", "/v1/%252e%252e/metrics"),
    *("/v1/models/other", "/v1/models/tiny-chat/..%2f..%2f..%2fmetrics", "http://x/metrics", "http://x//metrics"),
)


async def test_an_engines_other_paths_cannot_be_reached_by_any_spelling(stage: SetStage) -> None:
    scene = await stage(engines=1)
    for path in (*_HIDDEN, *_TRICKS):
        for method in ("GET", "POST"):
            status, _ = await raw(scene, method, path)
            assert status in {400, 404}, (method, path, status)
    assert scene.engines[0].requests + scene.alpha.requests == 0


async def test_the_models_paths_reach_replicas_by_their_plain_names(stage: SetStage) -> None:
    scene = await stage(engines=1)
    seen: list[str] = []

    async def note(backend: Backend, request: web.Request, body: dict[str, object]) -> web.StreamResponse:
        seen.append(request.path_qs)
        return await fakes.complete(backend, request, body)

    scene.engines[0].script = note
    plain = ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"]
    for path in (*plain, "/v1//chat/./completions", "/v1/chat%2Fcompletions"):
        answer = await scene.client.post(path=path)
        assert (answer.status, answer.served_by) == (200, "owned")
    assert seen == [*plain, CHAT, CHAT]


async def test_a_method_that_a_path_does_not_take_is_refused(stage: SetStage) -> None:
    scene = await stage(engines=1)
    takes = {
        "POST": ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"),
        "GET": ("/v1/models", "/v1/models/tiny-chat"),
    }
    for right, paths in takes.items():
        for method in {"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"} - {right}:
            for path in paths:
                assert await raw(scene, method, path) == (405, "method_not_allowed"), (method, path)
    assert scene.engines[0].requests + scene.alpha.requests == 0
