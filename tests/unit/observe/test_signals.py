"""Prometheus' answers as readings: what is zero, what is missing, and why."""

import math
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from spillway.api.vocabulary import Reason, hosted_cluster_name
from spillway.observe import queries
from spillway.observe.batch import Batch, Series
from spillway.observe.signals import Target, signals_of
from spillway.plan.decision import Key
from spillway.plan.observation import LongPromptTraffic, Missing, Sample, Signals, SpillMeter

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
KEY = Key(namespace="ns", name="x")
US = {"namespace": "ns", "workload": "x"}
TARGET = Target(ttft_ms=500, inter_token_ms=50, end_to_end_ms=5000, backends=(("acme", "big/model"),), engines=1, gateways=2)


def row(value: float, **labels: str) -> Series:
    return {**US, **labels}, value


def buckets(backend: str, *counts: tuple[str, float]) -> list[Series]:
    return [row(count, backend=backend, le=le) for le, count in counts]


def scraped(*, gateways: int = 2, engines: int = 1, age_s: float = 3) -> dict[str, list[Series]]:
    rows: dict[str, list[Series]] = {name: [] for name in queries.queries(60)}
    rows[queries.UP] = [row(gateways, component="gateway"), row(engines, component="engine")]
    rows[queries.SCRAPE_AGE] = [row(age_s, component="gateway"), row(age_s, component="engine")]
    return rows


def read(answers: dict[str, Any], target: Target = TARGET, owners: dict[tuple[str, str], Key] | None = None) -> Signals:
    return signals_of(KEY, Batch.of(answers, window_s=60, at=NOW, pod_owners=owners or {}), target)


def value(reading: object) -> object:
    assert isinstance(reading, Sample), reading
    assert reading.at == NOW
    return reading.value


def reason(reading: object) -> Reason:
    assert isinstance(reading, Missing), reading
    return reading.reason


def test_scraped_gateways_without_traffic_are_zero_and_not_missing() -> None:
    signals = read(scraped())
    assert [value(each) for each in (signals.arrivals_per_s, signals.spilled_per_s, signals.failed_per_s, signals.in_flight_owned)] == [
        0
    ] * 4
    assert value(signals.counters) == ()


def test_requests_that_wait_at_the_gateway_are_told_and_none_is_zero() -> None:
    assert value(read({**scraped(), queries.HELD: [row(7)]}).held_at_gateway) == 7
    assert value(read(scraped()).held_at_gateway) == 0
    assert reason(read(scraped(gateways=0)).held_at_gateway) is Reason.METRICS_MISSING


@pytest.mark.parametrize("gateways", [0, 1], ids=["none", "half"])
def test_gateways_that_nobody_scrapes_are_missing_and_not_zero(gateways: int) -> None:
    signals = read(scraped(gateways=gateways))
    assert reason(signals.arrivals_per_s) is Reason.METRICS_MISSING
    assert reason(signals.counters) is Reason.METRICS_MISSING
    assert isinstance(signals.running, Missing) is True  # nothing was reported by the engine either
    assert f"{gateways} of 2 gateway pods" in signals.arrivals_per_s.detail  # type: ignore[union-attr]


def test_old_samples_are_stale() -> None:
    assert reason(read(scraped(age_s=61)).arrivals_per_s) is Reason.METRICS_STALE


def test_a_failed_query_is_missing_with_its_reason_and_leaves_the_others_alone() -> None:
    broken = Missing(reason=Reason.PROMETHEUS_ERROR, detail="boom")
    signals = read({**scraped(), queries.REQUESTS: broken})
    assert reason(signals.arrivals_per_s) is Reason.PROMETHEUS_ERROR
    assert value(signals.in_flight_owned) == 0


def test_a_workload_that_is_not_in_the_answers_is_missing() -> None:
    batch = Batch.of(scraped(), window_s=60, at=NOW, pod_owners={})
    signals = signals_of(Key(namespace="ns", name="other"), batch, Target(gateways=1))
    assert reason(signals.arrivals_per_s) is Reason.METRICS_MISSING


def test_arrivals_spills_and_failures_by_backend_and_code() -> None:
    requests = [
        row(2.0, backend="owned", code="200"),
        row(1.0, backend="acme/big/model", code="200"),
        row(0.5, backend="none", code="503"),
        row(0.25, backend="owned", code="429"),
        row(0.25, backend="owned", code="404"),
        row(0.125, backend="none", code="0"),
        *(row(7.0, backend="none", code=code) for code in ("400", "404", "405", "413")),
    ]
    signals = read({**scraped(), queries.REQUESTS: requests})
    assert value(signals.arrivals_per_s) == 4.125  # what nobody was to answer is no arrival
    assert value(signals.spilled_per_s) == 1.0
    assert value(signals.failed_per_s) == 0.75
    broken = read({**scraped(), queries.REQUESTS: requests, queries.STREAM_ERRORS: [row(0.25)]})
    assert value(broken.stream_errors_per_s) == 0.25
    assert (value(broken.failed_per_s), value(broken.arrivals_per_s)) == (1.0, value(signals.arrivals_per_s)), "it came, and failed"
    assert value(signals.refused_per_s) == 0.5
    assert value(signals.cancelled_per_s) == 0.125


def test_tokens_per_request_count_only_requests_with_token_counts() -> None:
    answers = {
        **scraped(),
        queries.REQUESTS: [row(3.0, backend="owned", code="200"), row(5.0, backend="owned", code="500")],
        queries.UNMETERED: [row(1.0)],
        queries.TOKENS_IN: [row(200.0)],
        queries.TOKENS_OUT: [row(50.0)],
    }
    signals = read(answers)
    assert (value(signals.input_tokens_mean), value(signals.output_tokens_mean)) == (100.0, 25.0)
    assert reason(read({**answers, queries.UNMETERED: [row(3.0)]}).input_tokens_mean) is Reason.METRICS_MISSING


def test_an_idle_engine_reports_zeros_and_one_without_replicas_runs_nothing() -> None:
    idle = [row(0.0, __name__="vllm:num_requests_running"), row(0.0, __name__="vllm:num_requests_waiting")]
    assert value(read({**scraped(), queries.QUEUES: idle}).running) == 0
    none = read(scraped(engines=0), Target(gateways=2))
    assert (value(none.running), value(none.waiting)) == (0, 0)
    assert reason(none.kv_cache_usage_ratio) is Reason.METRICS_MISSING


def test_what_a_replica_has_in_flight_is_known_by_its_pod_and_only_where_it_tells_both_queues() -> None:
    told = [
        row(3.0, __name__="vllm:num_requests_running", pod="a"),
        row(2.0, __name__="vllm:num_requests_waiting", pod="a"),
        row(0.0, __name__="vllm:num_requests_running", pod="b"),
        row(0.0, __name__="vllm:num_requests_waiting", pod="b"),
        row(1.0, __name__="vllm:num_requests_running", pod="c"),
    ]
    signals = read({**scraped(engines=3), queries.QUEUES: told})
    assert signals.in_flight_by_pod == {"a": 5, "b": 0}
    assert (value(signals.running), value(signals.waiting)) == (4, 2)
    assert not read({**scraped(), queries.QUEUES: Missing(reason=Reason.PROMETHEUS_ERROR)}).in_flight_by_pod


def test_a_replica_that_serves_unscraped_is_missing() -> None:
    signals = read(scraped(engines=1), Target(engines=2, gateways=2))
    assert reason(signals.running) is Reason.METRICS_MISSING
    assert value(signals.arrivals_per_s) == 0


def test_units_of_time() -> None:
    signals = read({**scraped(), queries.STEP_TIME: [row(0.02)], queries.RESIDENCE: [row(1500.0)]})
    assert (value(signals.step_time_ms), value(signals.residence_s)) == (20.0, 1.5)


@pytest.mark.parametrize(
    ("sizes", "tokens"),
    [
        pytest.param([{"kv_cache_size_tokens": "1000", "num_gpu_blocks": "5", "block_size": "16"}], 200.0, id="in tokens"),
        pytest.param([{"num_gpu_blocks": "100", "block_size": "16"}], 320.0, id="in blocks, by older versions"),
        pytest.param([{"kv_cache_size_tokens": "1000"}, {"kv_cache_size_tokens": "3000"}], 400.0, id="the mean of unlike replicas"),
        pytest.param([{"kv_cache_size_tokens": "None", "num_gpu_blocks": "None", "block_size": "16"}], None, id="none that is known"),
        pytest.param([], None, id="not told"),
    ],
)
def test_cache_of_a_mean_step_is_a_requests_share_of_it_for_all_in_the_step(sizes: list[dict[str, str]], tokens: float | None) -> None:
    rows = [row(1.0, **labels) for labels in sizes]
    answers = {**scraped(), queries.CACHE_EACH: [row(0.05)], queries.BATCH: [row(4.0)], queries.CACHE_SIZE: rows}
    found = read(answers).kv_tokens_per_step
    if tokens is None:
        assert reason(found) is Reason.METRICS_MISSING
    else:
        assert value(found) == pytest.approx(tokens)
    assert reason(read({**answers, queries.BATCH: []}).kv_tokens_per_step) is Reason.METRICS_MISSING
    assert reason(read({**answers, queries.CACHE_EACH: []}).kv_tokens_per_step) is Reason.METRICS_MISSING


def test_nan_and_infinity_are_nothing() -> None:
    signals = read({**scraped(), queries.KV_CACHE: [row(math.nan)], queries.BATCH: [row(math.inf)]})
    assert reason(signals.kv_cache_usage_ratio) is Reason.METRICS_MISSING
    assert reason(signals.batch_mean) is Reason.METRICS_MISSING


def test_latency_on_either_side_needs_an_edge_at_the_target() -> None:
    first = buckets("owned", ("250", 0.4), ("500", 0.9), ("+Inf", 1.0)) + buckets(
        "acme/big/model", ("250", 0.0), ("500", 0.1), ("+Inf", 0.2)
    )
    whole = buckets("owned", ("4000", 1.0), ("6000", 2.0), ("+Inf", 2.0))
    signals = read({**scraped(), queries.FIRST_BODY: first, queries.DURATION: whole})
    owned, hosted = value(signals.owned_latency), value(signals.hosted_latency)
    assert (owned.requests, owned.within_ttft, owned.within_end_to_end) == (60.0, 0.9, None)  # type: ignore[attr-defined]
    assert (hosted.requests, hosted.within_ttft) == (12.0, 0.5)  # type: ignore[attr-defined]
    # 1.2 in all: 0.4 within 250 ms, 1.0 within 500 ms; the 95th percentile lies beyond the last edge
    assert (owned.ttft_p95_ms, hosted.ttft_p95_ms, value(signals.ttft_p95_ms)) == (500.0, 500.0, 500.0)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("end_to_end_ms", "within"), [(4000, 0.5), (6000, 1.0), (5000, None), (None, None)])
def test_whole_requests_are_counted_by_their_own_target(end_to_end_ms: int | None, within: float | None) -> None:
    whole = [row(count, backend="owned", le=le) for le, count in (("4000", 1.0), ("6000", 2.0), ("+Inf", 2.0))]
    found = read({**scraped(), queries.DURATION: whole}, replace(TARGET, end_to_end_ms=end_to_end_ms)).owned_latency
    assert value(found).within_end_to_end == within  # type: ignore[attr-defined]


def test_gaps_between_tokens_are_the_gateways_for_either_side() -> None:
    gaps = buckets("owned", ("25000", 0.2), ("50000", 1.0), ("+Inf", 1.0))
    gaps += buckets("acme/big/model", ("25000", 0.0), ("50000", 0.1), ("+Inf", 0.2))
    of_the_engine = [row(10.0, le="0.025"), row(30.0, le="0.075"), row(40.0, le="+Inf")]
    signals = read({**scraped(), queries.PACE: gaps, queries.GAPS: of_the_engine})
    owned, hosted = value(signals.owned_latency), value(signals.hosted_latency)
    assert (owned.paced, owned.within_inter_token) == (60.0, 1.0)  # type: ignore[attr-defined]
    assert (hosted.paced, hosted.within_inter_token) == (12.0, 0.5)  # type: ignore[attr-defined]
    # 1.2 in all, 1.1 of them within 50 ms: the 95th percentile lies beyond the last edge
    assert (hosted.inter_token_p95_ms, value(signals.inter_token_p95_ms)) == (50.0, 50.0)  # type: ignore[attr-defined]


def test_token_gaps_within_the_target_are_interpolated() -> None:
    gaps = [row(10.0, le="0.025"), row(30.0, le="0.075"), row(40.0, le="+Inf")]
    signals = read({**scraped(), queries.GAPS: gaps})
    assert value(signals.inter_token_within_ratio) == 0.5
    assert value(signals.inter_token_p95_ms) == 75.0


def test_a_hosted_backend_is_healthy_when_some_gateway_says_so() -> None:
    name = hosted_cluster_name("acme", "big/model")
    label = "acme/big/model"
    assert value(read({**scraped(), queries.HEALTHY: [row(1.0, envoy_cluster_name=name)]}).hosted_healthy[label]) is True
    assert value(read({**scraped(), queries.HEALTHY: [row(0.0, envoy_cluster_name=name)]}).hosted_healthy[label]) is False
    assert reason(read(scraped()).hosted_healthy[label]) is Reason.METRICS_MISSING


def test_own_replicas_are_in_reach_when_some_gateway_finds_one_well() -> None:
    for replicas, reached in ((2.0, True), (0.0, False)):
        assert value(read({**scraped(), queries.HEALTHY: [row(replicas, envoy_cluster_name="owned")]}).owned_in_reach) is reached
    assert reason(read(scraped()).owned_in_reach) is Reason.METRICS_MISSING


@pytest.mark.parametrize(("injected", "failed", "expected"), [(1.0, 0.0, True), (0.0, 1.0, False), (1.0, 1.0, False)])
def test_requests_show_whether_the_key_is_there(injected: float, failed: float, expected: bool) -> None:  # noqa: FBT001
    ours, other = ({"envoy_http_conn_manager_prefix": hosted_cluster_name("acme", model)} for model in ("big/model", "other"))
    answers = {
        **scraped(),
        queries.INJECTED: [row(injected, **ours), row(0.0, **other)],
        queries.NOT_INJECTED: [row(failed, **ours), row(1.0, **other)],
    }
    assert value(read(answers).hosted_credential_loaded["acme/big/model"]) is expected


def test_a_refused_key_is_that_of_one_backend() -> None:
    rows = [row(0.5, envoy_cluster_name=hosted_cluster_name("acme", "other"))]
    target = replace(TARGET, backends=(("acme", "big/model"), ("acme", "other")))
    found = read({**scraped(), queries.HOSTED_REJECTED: rows}, target).hosted_rejected_per_s
    assert {label: value(each) for label, each in found.items()} == {"acme/big/model": 0.0, "acme/other": 0.5}


def test_without_requests_nobody_knows_whether_the_key_is_there() -> None:
    assert reason(read(scraped()).hosted_credential_loaded["acme/big/model"]) is Reason.METRICS_MISSING


def test_raw_counters_come_per_pod_and_backend() -> None:
    def counter(name: str, amount: float, backend: str = "owned") -> Series:
        return row(amount, __name__=f"envoy_spillway_{name}", pod="x-gateway-1", backend=backend)

    rows = [counter("requests", 7), counter("input_tokens", 70), counter("cached_input_tokens", 30), counter("requests", 1, "none")]
    counters = read({**scraped(), queries.COUNTERS: rows}).counters
    assert isinstance(counters, Sample)
    (found,) = counters.value
    assert (found.pod, found.backend, found.requests, found.input_tokens, found.output_tokens) == ("x-gateway-1", "owned", 7, 70, 0)
    assert found.cached_input_tokens == 30
    older = read({**scraped(), queries.COUNTERS: rows[:2]}).counters  # a gateway that counts none
    assert isinstance(older, Sample)
    assert older.value[0].cached_input_tokens == 0


def test_what_a_hosted_backend_was_sent_in_vain_is_estimated_with_what_it_answered_without_token_counts() -> None:
    rows = [
        row(amount, __name__=f"envoy_spillway_{name}", pod="x-gateway-1", backend="acme/big/model")
        for name, amount in (
            ("unmetered_requests", 2),
            ("unanswered_requests", 3),
            ("unanswered_request_bytes", 400),
            ("unmetered_plain_response_bytes", 30),
            ("unanswered_plain_response_bytes", 70),
        )
    ]
    counters = read({**scraped(), queries.COUNTERS: rows}).counters
    assert isinstance(counters, Sample)
    (found,) = counters.value
    assert (found.unmetered_requests, found.unmetered_request_bytes) == (5, 400)
    assert (found.unmetered_response_bytes, found.unmetered_plain_response_bytes) == (0, 100)


@pytest.mark.parametrize("prefix", ["", "exported_"], ids=["labels honoured", "labels of the exporter kept"])
def test_gpu_utilization_is_joined_by_pod(prefix: str) -> None:
    labels = {"namespace": "gpu-operator", "pod": "dcgm-exporter-1", f"{prefix}namespace": "ns", f"{prefix}pod": "x-engine-12345678-abc"}
    owners = {("ns", "x-engine-12345678-abc"): KEY}
    signals = read({**scraped(), queries.GPU: [(labels, 80.0), ({**labels, f"{prefix}pod": "else"}, 10.0)]}, owners=owners)
    assert value(signals.gpu_utilization_percent) == 80.0


def test_labels_that_no_gateway_of_ours_writes_end_nobodys_tick() -> None:
    digits = "9" * 5000  # more than Python makes a number of
    meters = [row(9.0, __name__="envoy_spillway_charged_requests", pod="x-gateway-1", backend="acme/big/model", worker=digits)]
    requests = [row(5.0, backend="owned", code=digits), row(2.0, backend="owned", code="503")]
    first = [row(3.0, backend="owned", le=le) for le in ("500", "wide", "+Inf")]
    found = read({**scraped(), queries.SPILL_METERS: meters, queries.REQUESTS: requests, queries.FIRST_BODY: first})
    assert value(found.spill_meters) == ()
    assert value(found.owned_latency).within_ttft == 1.0  # type: ignore[attr-defined]
    assert value(found.failed_per_s) == 2.0


def test_spill_meters_are_read_by_lane_and_are_none_before_the_first_request() -> None:
    lane = {"pod": "x-gateway-1", "backend": "acme/big/model", "worker": "1"}
    rows = [
        row(1500.0, __name__="envoy_spillway_charged_micro_usd", **lane),
        row(3.0, __name__="envoy_spillway_charged_requests", **lane),
        row(9.0, __name__="envoy_spillway_charged_requests", **{**lane, "worker": "?"}),
        row(800.0, __name__="envoy_spillway_refused_micro_usd", **lane),
        row(2.0, __name__="envoy_spillway_refused_requests", **lane),
    ]
    assert value(read({**scraped(), queries.SPILL_METERS: rows}).spill_meters) == (
        SpillMeter(
            pod="x-gateway-1",
            worker=1,
            backend="acme/big/model",
            micro_usd=1500.0,
            requests=3.0,
            refused_micro_usd=800.0,
            refused_requests=2.0,
        ),
    )
    assert value(read(scraped()).spill_meters) == ()


def test_long_prompts_are_those_that_hosted_backends_answered_and_none_where_none_were_counted() -> None:
    rows = [row(0.5, what="requests"), row(9000.0, what="input_tokens"), row(40.0, what="output_tokens")]
    found = LongPromptTraffic(per_s=0.5, input_tokens_per_s=9000.0, output_tokens_per_s=40.0)
    assert value(read({**scraped(), queries.LONG_PROMPTS: rows}).long_prompts) == found
    none = LongPromptTraffic(per_s=0.0, input_tokens_per_s=0.0, output_tokens_per_s=0.0)
    assert value(read(scraped()).long_prompts) == none
    assert reason(read(scraped(gateways=1)).long_prompts) is Reason.METRICS_MISSING


def test_meters_are_asked_before_what_the_ledger_counts() -> None:
    asked = list(queries.queries(60))
    assert asked.index(queries.SPILL_METERS) < asked.index(queries.COUNTERS)


def test_spill_meters_of_gateways_that_nobody_scrapes_are_missing() -> None:
    assert reason(read(scraped(gateways=1)).spill_meters) is Reason.METRICS_MISSING
