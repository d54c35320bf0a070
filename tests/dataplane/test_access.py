"""Who may call, and what: the paths there are, keys and their limits, tokens, TLS."""

import asyncio
import contextlib
import json
import ssl
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from cryptography import x509

from spillway.render.envoy.config import Address
from tests.dataplane import certificates, fakes, tokens
from tests.dataplane.client import CHAT, request
from tests.dataplane.conftest import SetStage, Stage
from tests.dataplane.fakes import Backend
from tests.dataplane.process import until
from tests.dataplane.test_failures import ALPHA, error_of

pytestmark = pytest.mark.dataplane


async def raw(scene: Stage, method: str, path: str) -> tuple[int, str]:
    """Send a request line as it stands (aiohttp would tidy the path); return the status and the error's code."""
    reader, writer = await asyncio.open_connection("127.0.0.1", scene.gateway.addresses.listen.port)
    writer.write(f"{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()  # not to the end: Envoy closes a second later
    length = int(head.split("content-length: ")[1].split()[0]) if "content-length: " in head else 0
    body = (await reader.readexactly(length)).decode()
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


A_KEY, B_KEY, C_KEY = "a" * 40, "b-key-b-key-b-key", "c" * 16
KEYS = (
    f"# who may call\nteam-a: {A_KEY}\n\nteam-b: sha256:{sha256(B_KEY.encode()).hexdigest()}\r\n  c.1 :  {C_KEY}  \nteam-a: {A_KEY}-next\n"
)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def keyed(stage: SetStage, keys: str | None = KEYS, **more: Any) -> Stage:
    """Set a stage whose gateway has these keys, and wait until it goes by them."""
    access = {"keysSecretRef": {"name": "clients"}, **more.pop("access", {})}
    scene = await stage(spec={"gateway": {"replicas": 1, "access": access}}, **more)
    if keys is not None:
        scene.gateway.write_keys(keys)
        await until(lambda: _admits(scene, A_KEY), "the keys are in force")
    return scene


async def _admits(scene: Stage, key: str) -> bool:
    return await _models(scene, key) == 200


async def _models(scene: Stage, key: str) -> int:
    async with scene.client.session.get(scene.client.url + "/v1/models", headers=bearer(key)) as response:
        return response.status


async def test_a_key_lets_its_client_in_and_anything_else_is_refused(stage: SetStage) -> None:
    scene = await keyed(stage, engines=1)
    for key in (A_KEY, B_KEY, C_KEY, f"{A_KEY}-next"):
        assert (await scene.client.post(headers=bearer(key))).status == 200
    wrong = (
        A_KEY[:-1],
        A_KEY + "a",
        A_KEY.upper(),
        "team-a",
        f"sha256:{sha256(B_KEY.encode()).hexdigest()}",
        sha256(B_KEY.encode()).hexdigest(),
    )
    for said in (
        *(f"Bearer {key}" for key in wrong),
        A_KEY,
        f"Basic {A_KEY}",
        "Bearer ",
        "",
        f"Bearer {A_KEY} {A_KEY}",
        f"Bearer {'x' * 5000}",
    ):
        answer = await scene.client.post(headers={"Authorization": said})
        assert (answer.status, error_of(answer), answer.headers["www-authenticate"]) == (401, "invalid_api_key", "Bearer"), said
        assert answer.served_by == "none"
    for path in ("/v1/models", "/metrics"):
        async with scene.client.session.get(scene.client.url + path) as response:
            assert response.status == 401
            assert "missing API key" in (await response.json())["error"]["message"]
    assert scene.engines[0].requests == 4


async def test_what_each_of_many_clients_used_is_counted(stage: SetStage) -> None:
    clients = {f"client-{number}": f"key-of-client-{number:05}" for number in range(510)}
    scene = await keyed(stage, KEYS + "\n".join(f"{name}: {key}" for name, key in clients.items()), engines=1)
    for key in clients.values():
        assert (await scene.client.post(headers=bearer(key))).status == 200
    used = [each for each in await scene.gateway.metrics() if each.name == "envoy_spillway_client_output_tokens"]
    assert (len(used), {each.value for each in used}) == (len(clients), {fakes.OUTPUT_TOKENS})
    assert await scene.gateway.metric("envoy_server_stats_overflow_counter") == 0


async def test_without_the_secret_nobody_is_admitted_and_with_it_its_clients_are(stage: SetStage) -> None:
    scene = await keyed(stage, None, engines=1)
    answer = await scene.client.post(headers=bearer(A_KEY))
    assert answer.status == 401
    assert "the Secret with the API keys is missing" in answer.json["error"]["message"]
    await until(lambda: _counted(scene, "envoy_spillway_closed_requests", 1.0), "it is counted, for the condition APIKeysMissing")
    scene.gateway.write_keys(KEYS)
    await until(lambda: _admits(scene, A_KEY), "the keys are in force")
    scene.gateway.write_keys("")
    await until(lambda: _refuses(scene, A_KEY), "the keys are gone")


async def _refuses(scene: Stage, key: str) -> bool:
    return await _models(scene, key) == 401


async def test_a_line_that_cannot_be_read_admits_nobody_and_harms_no_other(stage: SetStage) -> None:
    lines = [
        "short: fifteen-letters",
        "no key here",
        "team-x sixteen-letters-1",
        "team y: sixteen-letters-2",
        "team-z: sha256:abcd",
        f"team-a: {A_KEY}",
    ]
    lines += [f"-dash: {C_KEY}", f"{'n' * 64}: {C_KEY}", f"other: {A_KEY}"]
    scene = await keyed(stage, "\n".join(lines), engines=1)
    for key in ("fifteen-letters", "sixteen-letters-1", "sixteen-letters-2", C_KEY, "sha256:abcd", "here"):
        assert await _refuses(scene, key), key
    log = scene.gateway.log.read_text()
    assert "line 1 admits nobody" in log
    assert not any(key in log for key in ("fifteen-letters", "sixteen-letters", A_KEY, C_KEY))


async def test_keys_reach_neither_replicas_nor_providers_nor_logs_nor_metrics(stage: SetStage) -> None:
    scene = await keyed(stage, engines=1)
    assert (await scene.client.post(headers=bearer(A_KEY))).served_by == "owned"
    scene.gateway.set_cap(0)
    await until(lambda: _served_by(scene, ALPHA), "the cap is in force")
    await scene.client.post(headers=bearer("wrong" + A_KEY))
    assert not any("authorization" in each for each in scene.engines[0].headers)
    everything = [scene.engines[0].headers, scene.alpha.headers, scene.gateway.log.read_text(), await scene.gateway.metrics()]
    await until(lambda: scene.gateway.access.read_text().count('"code":401') >= 1, "the access log is written")
    everything.append(scene.gateway.access.read_text())
    assert A_KEY not in str(everything)


async def _served_by(scene: Stage, backend: str) -> bool:
    return (await scene.client.post(headers=bearer(A_KEY))).served_by == backend


async def test_keys_rotate_under_load_without_a_failed_request(stage: SetStage) -> None:
    """As docs/access.md says: the new key beside the old one, clients change over, the old one goes."""
    scene = await keyed(stage, f"team-a: {A_KEY}\n", engines=2, workers=2)
    key, stop, failed, sent = A_KEY, asyncio.Event(), [], 0

    async def load() -> None:
        nonlocal sent
        while not stop.is_set():
            answer = await scene.client.post(headers=bearer(key), stream=True)
            sent += 1
            if not answer.complete:
                failed.append(answer.status)

    workers = [asyncio.create_task(load()) for _ in range(8)]
    for turn in range(5):
        fresh = f"{turn}-{A_KEY}"
        scene.gateway.write_keys(f"team-a: {key}\nteam-a: {fresh}\n")
        await until(lambda fresh=fresh: _by_all_workers(scene, fresh, 200), "the new key is in force")
        key, old = fresh, key
        begun = sent
        await until(lambda begun=begun: sent >= begun + 2 * len(workers), "every client has changed over")
        scene.gateway.write_keys(f"team-a: {key}\n")
        await until(lambda old=old: _by_all_workers(scene, old, 401), "the old key is gone")
    stop.set()
    await asyncio.gather(*workers)
    assert not failed
    assert sent > 100


async def _by_all_workers(scene: Stage, key: str, status: int) -> bool:
    """Whether every one of many fresh connections, which the kernel spreads over Envoy's workers, is answered so."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True), headers=bearer(key)) as session:
        for _ in range(8):
            async with session.get(scene.client.url + "/v1/models") as response:
                if response.status != status:
                    return False
    return True


async def test_a_client_over_its_limit_waits_and_the_others_do_not(stage: SetStage) -> None:
    scene = await keyed(stage, None, engines=1, access={"requestsPerMinute": 3, "clients": [{"name": "team-b", "requestsPerMinute": 1}]})
    scene.gateway.write_keys(KEYS)
    await until(lambda: _admits(scene, C_KEY), "the keys are in force")  # at the cost of one of c.1's
    answers = [await scene.client.post(headers=bearer(A_KEY if place % 2 else f"{A_KEY}-next")) for place in range(4)]
    assert [each.status for each in answers] == [200, 200, 200, 429]
    assert [each.headers["x-ratelimit-remaining"] for each in answers] == ["2", "1", "0", "0"]
    assert {each.headers["x-ratelimit-limit"] for each in answers} == {"3"}
    refused = answers[-1]
    assert (error_of(refused), refused.served_by) == ("rate_limit_exceeded", "none")
    assert 0 < int(refused.headers["retry-after"]) <= 60
    assert 0 < int(refused.headers["x-ratelimit-reset"]) <= 60
    assert [(await scene.client.post(headers=bearer(B_KEY))).status for _ in range(2)] == [200, 429]
    assert (await scene.client.post(headers=bearer(C_KEY))).status == 200
    await until(lambda: _counted(scene, "envoy_spillway_client_requests", 1.0, client=digest("team-b"), code="429"), "refusals are counted")
    requests = {each.labels["code"] for each in await scene.gateway.metrics() if each.name == "envoy_spillway_requests"}
    assert "429" not in requests, "a client over its limit is no demand"


def digest(client: str) -> str:
    """Return how metrics and logs call a client."""
    return sha256(client.encode()).hexdigest()[:12]


async def _counted(scene: Stage, name: str, value: float, **labels: str) -> bool:
    return await scene.gateway.metric(name, **labels) == value


async def test_what_each_client_uses_is_counted_by_a_digest_of_its_name(stage: SetStage) -> None:
    scene = await keyed(stage, engines=1)
    long_name = "n" * 63
    scene.gateway.write_keys(f"{KEYS}{long_name}: {'k' * 100}\n")
    await until(lambda: _admits(scene, "k" * 100), "the keys are in force")
    await scene.client.post(headers=bearer(A_KEY))
    await scene.client.post(headers=bearer(f"{A_KEY}-next"), stream=True)
    await scene.client.post(headers=bearer(B_KEY))
    await scene.client.post(headers=bearer("k" * 100))
    for client, requests in (("team-a", 2), ("team-b", 1), (long_name, 1)):
        labels = {"client": digest(client)}
        await until(lambda labels=labels, n=requests: _counted(scene, "envoy_spillway_client_requests", n, **labels, code="200"), client)
        await until(
            lambda labels=labels, n=requests: _counted(scene, "envoy_spillway_client_input_tokens", n * fakes.INPUT_TOKENS, **labels),
            client,
        )
        assert await _counted(scene, "envoy_spillway_client_output_tokens", requests * fakes.OUTPUT_TOKENS, **labels)
    assert "team-a" not in str(await scene.gateway.metrics())


async def test_a_script_that_fails_lets_nobody_in(stage: SetStage) -> None:
    scene = await keyed(stage, engines=1)
    config = json.loads(scene.gateway.config.read("envoy.json"))
    chain = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    script = next(each for each in chain["http_filters"] if each["name"] == "spillway.keys")
    script["typed_config"]["default_source_code"]["inline_string"] = "function envoy_on_request(h) error('boom') end"
    await scene.gateway.restart_with(json.dumps(config))
    answer = await scene.client.post(headers=bearer(A_KEY))
    assert (answer.status, error_of(answer)) == (403, "access_denied")
    assert scene.engines[0].requests == 0


async def tls_stage(stage: SetStage, **more: Any) -> Stage:
    return await stage(spec={"gateway": {"replicas": 1, "tls": {"secretRef": {"name": "certificate"}}}}, **more)


async def certificate_of(scene: Stage, authority: certificates.Authority) -> int | None:
    """Return the serial number of the certificate that a new connection is shown; None where there is no handshake."""
    trust = ssl.create_default_context(cadata=authority.pem)
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", scene.gateway.addresses.listen.port, ssl=trust, server_hostname="chat.test")
    except (ssl.SSLError, ConnectionError):
        return None
    shown = writer.get_extra_info("ssl_object").getpeercert()
    writer.close()
    return int(shown["serialNumber"], 16)


async def test_https_begins_with_the_certificate_and_follows_it_under_load_without_a_failed_request(
    stage: SetStage, authority: certificates.Authority, tmp_path: Path
) -> None:
    scene = await tls_stage(stage, engines=1, workers=2)
    assert await certificate_of(scene, authority) is None, "closed while there is no certificate"
    chain, key = authority.issue("chat.test", tmp_path / "first")
    scene.gateway.write_certificate(chain, key)
    await until(lambda: _shows(scene, authority, chain), "the certificate is in force")
    trust, failed, stop, sent = ssl.create_default_context(cadata=authority.pem), [], asyncio.Event(), 0

    async def load(session: aiohttp.ClientSession) -> None:
        nonlocal sent
        while not stop.is_set():
            async with session.post(
                f"{scene.gateway.url}{CHAT}", json=request(stream=True), ssl=trust, server_hostname="chat.test"
            ) as answer:
                sent += 1
                if answer.status != 200 or not (await answer.read()).endswith(b"data: [DONE]\n\n"):
                    failed.append(answer.status)

    connectors = [aiohttp.TCPConnector(force_close=place % 2 == 0) for place in range(6)]
    async with contextlib.AsyncExitStack() as stack:
        sessions = [await stack.enter_async_context(aiohttp.ClientSession(connector=each)) for each in connectors]
        workers = [asyncio.create_task(load(each)) for each in sessions]
        for turn in range(3):
            chain, key = authority.issue("chat.test", tmp_path / f"next-{turn}")
            scene.gateway.write_certificate(chain, key)
            await until(lambda chain=chain: _shows(scene, authority, chain), "the new certificate is in force")
            begun = sent
            await until(lambda begun=begun: sent >= begun + 20, "requests go on")
        stop.set()
        await asyncio.gather(*workers)
    assert not failed


async def _shows(scene: Stage, authority: certificates.Authority, chain: Path) -> bool:
    return await certificate_of(scene, authority) == _serial(chain)


def _serial(chain: Path) -> int:
    return x509.load_pem_x509_certificate(chain.read_bytes()).serial_number


async def test_a_broken_certificate_leaves_the_last_good_one_in_force(
    stage: SetStage, authority: certificates.Authority, tmp_path: Path
) -> None:
    scene = await tls_stage(stage, engines=1)
    chain, key = authority.issue("chat.test", tmp_path / "good")
    scene.gateway.write_certificate(chain, key)
    await until(lambda: _shows(scene, authority, chain), "the certificate is in force")
    _, other = authority.issue("chat.test", tmp_path / "other")
    secret = {"envoy_xds_resource_name": "tls-certificate"}
    failed = await scene.gateway.metric("envoy_sds_key_rotation_failed", **secret)
    scene.gateway.write_certificate(chain, other)

    async def seen() -> bool:
        return await scene.gateway.metric("envoy_sds_key_rotation_failed", **secret) > failed  # once or twice, as the watch has it

    await until(seen, "Envoy has seen the broken one")
    assert await _shows(scene, authority, chain)


FROM_CONFIG_MAP: dict[str, Any] = {
    "issuer": tokens.ISSUER,
    "audiences": ["other", tokens.AUDIENCE],
    "jwksConfigMapRef": {"name": "issuer", "key": "keys"},
}


async def test_a_token_of_the_issuer_lets_its_subject_in_and_anything_else_is_refused(stage: SetStage) -> None:
    spec = {"gateway": {"replicas": 1, "access": {"jwt": FROM_CONFIG_MAP, "requestsPerMinute": 4}}}
    scene = await stage(engines=1, spec=spec)
    mine, other = tokens.SigningKey(name="one"), tokens.SigningKey(name="one")
    assert (await scene.client.post(headers=bearer(mine.token()))).status == 401, "no key of the issuer's is known"
    scene.gateway.write_issuer(tokens.jwks(mine))
    await until(lambda: _admits(scene, mine.token(sub="first")), "the issuer's keys are in force")
    assert (await scene.client.post(headers=bearer(mine.token()))).status == 200
    another_case = {"Authorization": f"bearer {mine.token(aud=['x', tokens.AUDIENCE])}"}
    assert (await scene.client.post(headers=another_case)).status == 200
    hour_ago = int(time.time()) - 3600
    wrong = {
        "another key": other.token(),
        "another issuer": mine.token(iss="https://id.test.evil/"),
        "another audience": mine.token(aud="chat-2"),
        "no audience": mine.token(without="aud"),
        "no issuer": mine.token(without="iss"),
        "expired": mine.token(exp=hour_ago),
        "never expires": mine.token(without="exp"),
        "not yet": mine.token(nbf=int(time.time()) + 3600),
        "no algorithm": mine.token(algorithm="none"),
        "no subject": mine.token(without="sub"),
        "a subject that is no text": mine.token(sub=7),
        "no token": "nothing",
    }
    for what, token in wrong.items():
        answer = await scene.client.post(headers=bearer(token))
        refused = (403, "access_denied") if "audience" in what else (401, "invalid_token")
        assert (answer.status, error_of(answer), answer.served_by) == (*refused, "none"), what
    in_the_path = f"{scene.client.url}{CHAT}?access_token={mine.token()}"
    async with scene.client.session.post(in_the_path, json=request()) as response:
        assert response.status == 401, "paths end in the logs of whoever passes them on"
    assert scene.engines[0].requests == 2
    assert not any("authorization" in each for each in scene.engines[0].headers)
    assert [(await scene.client.post(headers=bearer(mine.token()))).status for _ in range(3)] == [200, 200, 429]
    client = digest("user@example.com")
    await until(lambda: _counted(scene, "envoy_spillway_client_requests", 4.0, client=client, code="200"), "usage is counted by subject")
    await until(lambda: '"client":"' + client in scene.gateway.access.read_text(), "the access log is written")
    assert mine.token().split(".")[0] not in scene.gateway.access.read_text()


async def test_an_issuers_new_key_in_the_config_map_is_followed(stage: SetStage) -> None:
    scene = await stage(engines=1, spec={"gateway": {"replicas": 1, "access": {"jwt": FROM_CONFIG_MAP}}})
    old, new = tokens.SigningKey(name="old"), tokens.SigningKey(name="new")
    scene.gateway.write_issuer(tokens.jwks(old))
    await until(lambda: _admits(scene, old.token()), "the first key is in force")
    scene.gateway.write_issuer(tokens.jwks(old, new))
    await until(lambda: _admits(scene, new.token()), "the new key is in force")
    assert await _admits(scene, old.token())
    scene.gateway.write_issuer(tokens.jwks(new))
    await until(lambda: _refuses(scene, old.token()), "the old key is gone")


@pytest.mark.parametrize(("named", "another"), [("id.test", "id.evil"), ("192.0.2.7", "192.0.2.8")], ids=["name", "address"])
async def test_an_issuers_keys_are_fetched_over_https_from_whom_its_certificate_names(
    stage: SetStage, authority: certificates.Authority, tmp_path: Path, named: str, another: str
) -> None:
    key = tokens.SigningKey(name="one")

    async def keys(_: web.Request) -> web.Response:
        return web.Response(text=tokens.jwks(key))

    published = web.Application()
    published.router.add_get("/keys", keys)
    runner = web.AppRunner(published, access_log=None)
    await runner.setup()
    context = certificates.server(*authority.issue(named, tmp_path / "issuer"))
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    trusted = tmp_path / "authorities.pem"
    trusted.write_text(authority.pem)
    try:
        for host, status in ((named, 200), (another, 401)):
            access = {"jwt": {"issuer": tokens.ISSUER, "audiences": [tokens.AUDIENCE], "jwksURI": f"https://{host}/keys"}}
            addresses = {"issuer": Address(host="127.0.0.1", port=runner.addresses[0][1]), "system_authorities": str(trusted)}
            scene = await stage(engines=1, spec={"gateway": {"replicas": 1, "access": access}}, addresses=addresses, folder=host)
            await until(lambda scene=scene: _asked_the_issuer(scene), "the issuer was asked")
            await until(lambda scene=scene, status=status: _answers(scene, key.token(), status), f"tokens get {status} with {host}")
    finally:
        await runner.cleanup()


async def _answers(scene: Stage, key: str, status: int) -> bool:
    return await _models(scene, key) == status


async def _asked_the_issuer(scene: Stage) -> bool:
    return sum(each.value for each in await scene.gateway.metrics() if "jwks_fetch" in each.name) > 0
