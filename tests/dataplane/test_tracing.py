"""Traces: one span of a request and one of each backend that was asked, in the client's trace, and nothing of it for the provider."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.dataplane import certificates
from tests.dataplane.client import CHAT
from tests.dataplane.collector import Collector, Span
from tests.dataplane.conftest import KEYS, SetStage
from tests.dataplane.fakes import INPUT_TOKENS, OUTPUT_TOKENS
from tests.dataplane.process import port_of, reserved, until
from tests.dataplane.test_failures import ALPHA

pytestmark = pytest.mark.dataplane
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, UNSAMPLED = (f"00-{TRACE}-{PARENT}-{flag}" for flag in ("01", "00"))


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with Collector() as running:
        yield running


def traced(port: int, percent: int = 100) -> dict[str, Any]:
    """Return what in a spec asks for traces."""
    return {"gateway": {"replicas": 1, "tracing": {"otlpEndpoint": f"http://127.0.0.1:{port}", "samplingPercent": percent}}}


async def spans(collector: Collector, count: int) -> list[Span]:
    """Return the spans once there are as many."""
    await until(lambda: len(collector.spans) >= count, f"{count} spans; {collector.spans}")
    return collector.spans


async def test_a_spilled_request_is_one_span_over_one_of_each_backend_that_was_asked(stage: SetStage, collector: Collector) -> None:
    scene = await stage(engines=1, cap=0, spec=traced(collector.port))
    assert (await scene.client.post()).served_by == ALPHA
    found = await spans(collector, 3)
    (whole,) = [each for each in found if not each.parent_id]
    asked = [each for each in found if each.parent_id == whole.span_id]
    assert len(asked) == 2
    assert {each.trace_id for each in found} == {whole.trace_id}
    assert [(each.attributes["upstream_cluster.name"].split("-")[1], each.attributes["http.status_code"]) for each in asked] == [
        ("owned", "503"),
        ("hosted", "200"),
    ]
    told = {
        "spillway.served_by": ALPHA,
        "gen_ai.request.model": scene.workload.spec.served_name,
        "gen_ai.usage.input_tokens": str(INPUT_TOKENS),
        "gen_ai.usage.output_tokens": str(OUTPUT_TOKENS),
        "http.url": CHAT,
    }
    assert told.items() <= whole.attributes.items()


async def test_a_replica_gets_the_context_of_the_clients_trace_and_the_provider_gets_none(stage: SetStage, collector: Collector) -> None:
    scene = await stage(engines=1, cap=1, spec=traced(collector.port, percent=0))
    asked = str(uuid.uuid4())
    answer = await scene.client.post(stream=True, headers={"traceparent": SAMPLED, "tracestate": "vendor=1", "x-request-id": asked})
    assert answer.served_by == "owned"
    version, trace, parent, flags = scene.engines[0].headers[-1]["traceparent"].split("-")
    found = {each.span_id: each for each in await spans(collector, 2)}
    assert (version, trace, flags) == ("00", TRACE, "01")
    assert found[found[parent].parent_id].parent_id == PARENT
    assert scene.engines[0].headers[-1]["tracestate"] == "vendor=1"
    assert scene.engines[0].headers[-1]["x-request-id"] == asked
    scene.gateway.set_cap(0)
    await until(lambda: _capped(scene.gateway), "the cap is in force")
    assert (await scene.client.post(headers={"traceparent": SAMPLED})).served_by == ALPHA
    assert not {name.lower() for name in scene.alpha.headers[-1]} & {"traceparent", "tracestate"}


async def _capped(gateway: Any) -> bool:
    return bool(await gateway.cap_in_force() == 0)


async def test_a_context_is_made_for_a_request_without_one_whether_or_not_it_is_traced(stage: SetStage, collector: Collector) -> None:
    scene = await stage(engines=1, spec=traced(collector.port, percent=0))
    await scene.client.post()
    assert scene.engines[0].headers[-1]["traceparent"].endswith("-00")
    await scene.client.post(headers={"traceparent": UNSAMPLED})
    assert scene.engines[0].headers[-1]["traceparent"].split("-")[1] == TRACE
    await scene.client.post(headers={"traceparent": SAMPLED})
    found = await spans(collector, 2)
    assert len(found) == 2, "a client's own decision is kept, and nothing else is traced at 0 %"


async def test_spans_hold_no_prompt_no_answer_no_key_and_no_query(stage: SetStage, collector: Collector) -> None:
    scene = await stage(engines=1, cap=0, spec=traced(collector.port))
    await scene.client.post(stream=True, path=f"{CHAT}?key=client-secret", user="whose-request")
    await scene.client.post(path="/v1/responses?key=client-secret")
    await spans(collector, 6)
    sent = b"".join(collector.raw)
    assert CHAT.encode() in sent
    for secret in ("client-secret", KEYS["alpha"], "whose-request", "hello", 'say \\"hi', "say"):
        assert secret.encode() not in sent, secret


async def test_a_collector_that_is_away_costs_no_request(stage: SetStage) -> None:
    with reserved() as nobody:
        scene = await stage(engines=1, spec=traced(port_of(nobody)))
        for stream in (False, True, False):
            assert (await scene.client.post(stream=stream)).status == 200


async def test_a_collector_over_tls_gets_spans_once_its_own_authority_is_there(stage: SetStage, tmp_path: Path) -> None:
    trusted, greetings = certificates.authority(), []
    context = certificates.server(*trusted.issue("localhost", tmp_path / "pki"))
    context.sni_callback = lambda _, name, __: greetings.append(name)
    async with Collector(tls=context) as collector:
        tracing = {"otlpEndpoint": f"https://localhost:{collector.port}", "tls": {"caSecretRef": {"name": "collector", "key": "ca.crt"}}}
        scene = await stage(engines=1, spec={"gateway": {"replicas": 1, "tracing": {**tracing, "samplingPercent": 100}}})

        async def requested(*, until_there_are: list[Any]) -> bool:
            assert (await scene.client.post()).status == 200
            return bool(until_there_are)

        await requested(until_there_are=greetings)
        scene.gateway.write_collector_authority(certificates.authority("another").pem)
        await until(lambda: requested(until_there_are=greetings), "it is called")
        assert not collector.spans, "nobody's authority, or another's, is not trusted"
        scene.gateway.write_collector_authority(trusted.pem)
        await until(lambda: requested(until_there_are=collector.spans), "spans come")
    assert set(greetings) == {"localhost"}


async def test_a_collector_over_tls_may_be_trusted_by_the_systems_authorities(stage: SetStage, tmp_path: Path) -> None:
    trusted = certificates.authority()
    (tmp_path / "authorities.pem").write_text(trusted.pem)
    async with Collector(tls=certificates.server(*trusted.issue("localhost", tmp_path / "pki"))) as collector:
        tracing = {"otlpEndpoint": f"https://localhost:{collector.port}", "samplingPercent": 100}
        authorities = {"system_authorities": str(tmp_path / "authorities.pem")}
        scene = await stage(engines=1, spec={"gateway": {"replicas": 1, "tracing": tracing}}, addresses=authorities)
        assert (await scene.client.post()).status == 200
        await spans(collector, 2)


async def test_without_tracing_a_clients_context_goes_to_the_replica_as_it_came_and_none_is_made(stage: SetStage) -> None:
    scene = await stage(engines=1)
    await scene.client.post(headers={"traceparent": SAMPLED})
    assert scene.engines[0].headers[-1]["traceparent"] == SAMPLED
    await scene.client.post()
    assert "traceparent" not in scene.engines[0].headers[-1]


async def test_a_line_of_the_access_log_names_its_trace(stage: SetStage, collector: Collector) -> None:
    scene = await stage(engines=1, spec=traced(collector.port))
    await scene.client.post(headers={"traceparent": SAMPLED})
    await until(lambda: f'"trace_id":"{TRACE}"' in scene.gateway.access.read_text(), "the log is flushed")
