"""The PromQL against a real Prometheus: recorded pages of a gateway, of vLLM and of DCGM as ten minutes of history."""

import json
import math
import re
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from spillway.api.vocabulary import Reason, hosted_cluster_name
from spillway.observe.access import OPEN
from spillway.observe.prometheus import PrometheusSource
from spillway.observe.queries import COUNTERS, queries
from spillway.observe.signals import Target
from spillway.plan.decision import Key
from spillway.plan.observation import Missing, Sample, Signals
from tests.dataplane.prometheus import serving
from tests.e2e.cluster import binaries

pytestmark = pytest.mark.dataplane
RECORDED = Path(__file__).parent / "recorded"
WINDOW_S = 120  # what began 30 s ago is new for a minute and a half: these tests take half a minute on busy cores
STEP_S = 5
PAST_S = 600
AHEAD_S = 120  # queries are about "now", which goes on while the test runs
DAYS_S = 500_000
ENGINE_POD = "x-engine-12345678-6d5f9c7b9-abcde"

_SAMPLE = re.compile(r"^([A-Za-z_:][\w:]*)(?:\{(.*)\})? (\S+)$")
_GAUGES = re.compile(
    r"^(envoy_server_|envoy_cluster_(upstream_rq_active|membership_healthy)|vllm:(num_requests|kv_cache|cache_config|engine_sleep)|DCGM_)"
)


class History:
    """Series over time, as OpenMetrics text."""

    def __init__(self, now: float) -> None:
        self.now = now
        self._lines: dict[str, list[str]] = {}

    def add(self, name: str, labels: str, start_s: float, value: float, *, per_s: float = 0.0, until_s: float = AHEAD_S) -> None:
        """Add a series that is scraped from `start_s` to `until_s` (relative to now), beginning with `value`."""
        at = start_s
        while at <= until_s:
            amount = value + per_s * (at - start_s)
            self._lines.setdefault(name, []).append(f"{name}{{{labels}}} {amount!r} {self.now + at:.3f}")
            at += STEP_S

    def up(
        self, namespace: str, component: str = "gateway", *, value: float = 1, start_s: float = -PAST_S, until_s: float = AHEAD_S
    ) -> str:
        """Add `up` of a pod of workload "x" in its own namespace; return the labels that all its series have."""
        pod = ENGINE_POD if component == "engine" else "x-gateway-1"
        labels = f'namespace="{namespace}",pod="{pod}",workload="x",component="{component}"'
        self.add("up", labels, start_s, value, until_s=until_s)
        return labels

    def page(self, file: str, common: str) -> None:
        """Add a recorded page: gauges as they were; counters as having grown to twice their value in ten minutes."""
        for line in (RECORDED / file).read_text().splitlines():
            found = _SAMPLE.match(line)
            if found is None:
                continue
            name, own, value = found[1], found[2] or "", float(found[3])
            labels = ",".join(each for each in (own.strip(","), common) if each)
            growth = 0.0 if _GAUGES.match(name) else value / PAST_S
            self.add(name, labels, -PAST_S, value, per_s=growth)

    def text(self) -> str:
        return "\n".join(line for lines in self._lines.values() for line in lines) + "\n# EOF\n"


def tell(history: History) -> None:
    """Everything the tests below ask about; each story in its own namespace."""
    history.page("gateway.txt", history.up("ns"))
    history.page("vllm-0.32.0.txt", history.up("ns", "engine"))
    history.page("dcgm.txt", "")
    other = history.up("other-namespace", "engine")  # whose engine says that it is an exporter
    history.add("DCGM_FI_DEV_GPU_UTIL", f'{other},exported_namespace="ns",exported_pod="{ENGINE_POD}"', -PAST_S, 1e30)
    history.up("idle")
    history.up("down", value=0)
    history.up("stopped", until_s=-WINDOW_S - 2 * STEP_S)

    first = history.up("first-spill")
    history.add("envoy_spillway_requests", f'{first},backend="rented/m",code="200"', -30, 1)
    lost = history.up("history-lost", start_s=-30)
    history.add("envoy_server_uptime", lost, -30, DAYS_S, per_s=1)
    history.add("envoy_spillway_requests", f'{lost},backend="owned",code="200"', -30, 1e6)
    young = history.up("young-gateway", start_s=-30)
    history.add("envoy_server_uptime", young, -30, 1, per_s=1, until_s=0)
    history.add("envoy_server_uptime", young, STEP_S, 31)
    history.add("envoy_spillway_requests", f'{young},backend="owned",code="200"', -30, 6)

    for namespace, until_s, uptime_s in (("went", -40, DAYS_S), ("went-young", -40, 30), ("went-long-ago", -300, DAYS_S)):
        gone = history.up(namespace, until_s=until_s)
        history.add("envoy_server_uptime", gone, -PAST_S, uptime_s, until_s=until_s)
        history.add("envoy_spillway_output_tokens", f'{gone},backend="owned"', -PAST_S, 600, until_s=until_s)
    same = history.up("same-pod")
    history.add("envoy_server_uptime", same, -PAST_S, DAYS_S, until_s=-40)
    history.add("envoy_server_uptime", same, -40 + STEP_S, 1, per_s=1)
    history.add("envoy_spillway_output_tokens", f'{same},backend="rented/m"', -PAST_S, 600, until_s=-40)
    history.add("envoy_spillway_output_tokens", f'{same},backend="owned"', -40 + STEP_S, 7)

    for namespace, active, polls_per_s in (("held", 9, 12.0), ("scanned", 9, 0.0), ("full", 3, 1.0)):
        open_at = history.up(namespace)
        history.add("envoy_http_downstream_rq_active", f'{open_at},envoy_http_conn_manager_prefix="edge"', -PAST_S, active)
        history.add("envoy_http_downstream_rq_active", f'{open_at},envoy_http_conn_manager_prefix="operations"', -PAST_S, 1)
        history.add("envoy_cluster_upstream_rq_active", f'{open_at},envoy_cluster_name="owned"', -PAST_S, 4)
        history.add("envoy_cluster_upstream_rq_retry", f'{open_at},envoy_cluster_name="hop-owned"', -PAST_S, 40, per_s=polls_per_s)

    capped = history.up("capped")
    history.add("envoy_http_downstream_rq_active", f'{capped},envoy_http_conn_manager_prefix="edge"', -PAST_S, 9)
    for cluster, active in (("owned", 2), ("hosted-rented-m", 4)):
        history.add("envoy_cluster_upstream_rq_active", f'{capped},envoy_cluster_name="{cluster}"', -PAST_S, active)
    history.add("envoy_cluster_upstream_rq_retry", f'{capped},envoy_cluster_name="hop-again"', -PAST_S, 40, per_s=6.0)

    metered = history.up("metered")
    for worker, usd in ((0, 7000), (1, 500)):
        lane = f'{metered},backend="rented/m",worker="{worker}"'
        history.add("envoy_spillway_charged_micro_usd", lane, -PAST_S, usd)
        history.add("envoy_spillway_charged_requests", lane, -PAST_S, usd / 100)
        history.add("envoy_spillway_refused_micro_usd", lane, -PAST_S, usd * 2)
        history.add("envoy_spillway_refused_requests", lane, -PAST_S, usd / 500)

    caching = history.up("caching")
    for name, tokens in (("input_tokens", 900), ("cached_input_tokens", 400)):
        history.add(f"envoy_spillway_{name}", f'{caching},backend="rented/m"', -PAST_S, tokens)

    lengthy = history.up("long-prompts")
    for backend, per_s in (("rented/m", 0.5), ("other/m", 0.25), ("owned", 3.0)):
        for what, each in (("requests", 1), ("input_tokens", 20_000), ("output_tokens", 100)):
            history.add(f"envoy_spillway_long_prompt_{what}", f'{lengthy},backend="{backend}"', -PAST_S, 0, per_s=per_s * each)

    old = history.up("old-engine", "engine")
    history.add("vllm:gpu_cache_usage_perc", old, -PAST_S, 0.25)
    history.add("vllm:time_per_output_token_seconds_sum", old, -PAST_S, 0, per_s=0.5)
    history.add("vllm:time_per_output_token_seconds_count", old, -PAST_S, 0, per_s=25)
    busy = history.up("busy-engine", "engine")
    history.add("vllm:cache_config_info", f'{busy},kv_cache_size_tokens="10880",num_gpu_blocks="85",block_size="128"', -PAST_S, 1)
    history.add("vllm:kv_cache_usage_perc", busy, -PAST_S, 0.25)
    history.add("vllm:num_requests_running", busy, -PAST_S, 4)
    history.add("vllm:iteration_tokens_total_count", busy, -PAST_S, 0, per_s=50)
    history.add("vllm:generation_tokens_total", busy, -PAST_S, 0, per_s=400)
    history.add("vllm:prompt_tokens_total", busy, -PAST_S, 0, per_s=600)
    history.add("vllm:prompt_tokens_cached_total", busy, -PAST_S, 0, per_s=150)
    history.add("vllm:prefix_cache_queries_total", busy, -PAST_S, 0, per_s=600)
    history.add("vllm:prefix_cache_hits_total", busy, -PAST_S, 0, per_s=150)
    idle = history.up("idle-engine", "engine")
    history.add("vllm:num_requests_running", idle, -PAST_S, 0)
    history.add("vllm:inter_token_latency_seconds_sum", idle, -PAST_S, 7)
    history.add("vllm:inter_token_latency_seconds_count", idle, -PAST_S, 70)
    history.up("two-engines", "engine", value=2)
    for pod, running, waiting in (("x-engine-a", 3, 2), ("x-engine-b", 1, 0)):
        for engine in (0, 1):  # data-parallel ranks of one pod
            labels = f'namespace="two-engines",workload="x",component="engine",pod="{pod}",engine="{engine}"'
            history.add("vllm:num_requests_running", labels, -PAST_S, running)
            history.add("vllm:num_requests_waiting", labels, -PAST_S, waiting)


def tell_of_refusals(history: History) -> None:
    """Gateways whose hosted backend refuses some or all that it is sent."""
    refusals = {"key-refused": ("401", "200"), "account-refused": ("403",), "unpaid": ("402",), "request-refused": ("402", "403", "200")}
    for namespace, codes in refusals.items():
        hosted = f'{history.up(namespace)},envoy_cluster_name="{hosted_cluster_name("rented", "acme/tiny-chat-hosted")}"'
        for code in codes:
            history.add("envoy_cluster_upstream_rq", f'{hosted},envoy_response_code="{code}"', -PAST_S, 0, per_s=0.5)


def tell_of_labels(history: History) -> None:
    """Gateways that are scraped under two sets of labels, at a time or one after the other."""
    twice = history.up("scraped-twice")
    for labels in (f'{twice},backend="rented/m",job="{job}"' for job in ("workloads", "workloads-renamed")):
        history.add("envoy_spillway_charged_micro_usd", f'{labels},worker="0"', -PAST_S, 7000)
        history.add("envoy_spillway_requests", f'{labels},code="200"', -PAST_S, 60)
        history.add("envoy_spillway_requests", f'{labels},code="500"', -PAST_S, 5)
        history.add("envoy_spillway_output_tokens", labels, -PAST_S, 900)
    # As of two Prometheis, each of which has scraped all, behind one that tells them apart.
    for replica in ("a", "b"):
        by, own = f'prometheus_replica="{replica}"', 'namespace="told-twice",workload="x"'
        gateway, engine = f'{own},pod="x-gateway-1",component="gateway",{by}', f'{own},pod="x-engine-a",component="engine",{by}'
        for labels in (gateway, engine):
            history.add("up", labels, -PAST_S, 1)
        history.add("envoy_spillway_requests", f'{gateway},backend="owned",code="200"', -PAST_S, 0, per_s=3)
        history.add("envoy_spillway_requests", f'{gateway},backend="rented/m",code="200"', -PAST_S, 0, per_s=1)
        history.add("envoy_cluster_upstream_rq_active", f'{gateway},envoy_cluster_name="owned"', -PAST_S, 4)
        history.add("envoy_http_downstream_rq_active", f'{gateway},envoy_http_conn_manager_prefix="edge"', -PAST_S, 9)
        history.add("envoy_cluster_upstream_rq_retry", f'{gateway},envoy_cluster_name="hop-owned"', -PAST_S, 40, per_s=12.0)
        for rank in (0, 1):
            history.add("vllm:num_requests_running", f'{engine},engine="{rank}",model_name="chat"', -PAST_S, 3)
            history.add("vllm:num_requests_waiting", f'{engine},engine="{rank}",model_name="chat"', -PAST_S, 1)

    half = 'namespace="half-scraped",workload="x",component="gateway"'
    for pod, job, up in (("x-gateway-1", "workloads", 1), ("x-gateway-1", "workloads-renamed", 1), ("x-gateway-2", "workloads", 0)):
        history.add("up", f'{half},pod="{pod}",job="{job}"', -PAST_S, up)
    for job, start_s, until_s in (("before", -PAST_S, -35), ("after", -30, AHEAD_S)):
        labels = f'namespace="relabelled",pod="x-gateway-1",workload="x",component="gateway",job="{job}"'
        history.add("up", labels, start_s, 1, until_s=until_s)
        history.add("envoy_server_uptime", labels, start_s, DAYS_S, until_s=until_s)
        history.add("envoy_spillway_requests", f'{labels},backend="owned",code="200"', start_s, 1e6, until_s=until_s)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a Prometheus that has the history and scrapes nothing."""
    folder = tmp_path_factory.mktemp("prometheus")
    promtool, _ = binaries.path("promtool"), binaries.path("prometheus")  # made first if need be: the history is told from now
    history = History(time.time())
    tell(history)
    tell_of_refusals(history)
    tell_of_labels(history)
    (folder / "history.txt").write_text(history.text())
    importing: list[str | Path] = [
        promtool,
        "tsdb",
        "create-blocks-from",
        "openmetrics",
        "--quiet",
        folder / "history.txt",
        folder / "data",
    ]
    subprocess.run(importing, check=True, capture_output=True)
    with serving(folder) as port:
        yield f"http://127.0.0.1:{port}"


async def read(url: str, namespace: str, target: Target | None = None) -> Signals:
    source = PrometheusSource.at(url, OPEN, window_s=WINDOW_S, timeout_s=10)
    key = Key(namespace=namespace, name="x")
    wanted = target or Target(ttft_ms=1000, inter_token_ms=50, backends=(("rented", "acme/tiny-chat-hosted"),), engines=1, gateways=1)
    try:
        return (await source.read({key: wanted}, {("ns", ENGINE_POD): Key(namespace="ns", name="x")}, datetime.now(UTC)))[key]
    finally:
        source.close()


def value(reading: object) -> float:
    assert isinstance(reading, Sample), reading
    return reading.value  # type: ignore[no-any-return]


async def test_a_gateways_page(url: str) -> None:
    signals = await read(url, "ns")
    assert value(signals.arrivals_per_s) == pytest.approx((52 + 902) / PAST_S, rel=0.01)
    assert value(signals.spilled_per_s) == pytest.approx(902 / PAST_S, rel=0.01)
    assert value(signals.failed_per_s) == 0
    assert value(signals.in_flight_owned) == 0
    assert value(signals.input_tokens_mean) == pytest.approx((832 + 14432) / (52 + 902), rel=0.01)
    assert value(signals.output_tokens_mean) == pytest.approx((5100 + 89900) / (52 + 902), rel=0.01)
    assert value(signals.residence_s) == pytest.approx(498.0756 / 52, rel=0.01)
    assert value(signals.hosted_healthy["rented/acme/tiny-chat-hosted"]) is True
    assert value(signals.owned_in_reach) is True
    assert value(signals.hosted_rejected_per_s["rented/acme/tiny-chat-hosted"]) == 0
    assert value(signals.hosted_credential_loaded["rented/acme/tiny-chat-hosted"]) is True
    counters = signals.counters
    assert isinstance(counters, Sample)
    assert {(each.pod, each.backend) for each in counters.value} == {
        ("x-gateway-1", "owned"),
        ("x-gateway-1", "rented/acme/tiny-chat-hosted"),
    }


async def test_tokens_that_a_provider_found_in_its_cache_are_told_beside_all(url: str) -> None:
    counters = (await read(url, "caching")).counters
    assert isinstance(counters, Sample)
    assert [(each.backend, each.input_tokens, each.cached_input_tokens) for each in counters.value] == [("rented/m", 900.0, 400.0)]


async def test_latency_by_side(url: str) -> None:
    signals = await read(url, "ns")
    assert isinstance(signals.hosted_latency, Sample)
    assert isinstance(signals.owned_latency, Sample)
    owned, hosted = signals.owned_latency.value, signals.hosted_latency.value
    assert owned.requests == pytest.approx(52 / PAST_S * WINDOW_S, rel=0.01)
    assert hosted.requests == pytest.approx(902 / PAST_S * WINDOW_S, rel=0.01)
    assert owned.within_ttft is not None
    assert 0 < owned.within_ttft < 1
    assert hosted.ttft_p95_ms is not None
    assert math.isfinite(hosted.ttft_p95_ms)


async def test_an_engines_page(url: str) -> None:
    signals = await read(url, "ns")
    page = (RECORDED / "vllm-0.32.0.txt").read_text()

    def recorded(name: str) -> float:
        return float(next(line for line in page.splitlines() if line.startswith(f"{name}{{")).rsplit(" ", 1)[1])

    gaps = recorded("vllm:inter_token_latency_seconds_count")
    assert value(signals.running) == 0
    assert value(signals.waiting) == 0
    assert 0 <= value(signals.kv_cache_usage_ratio) <= 1
    assert value(signals.step_time_ms) == pytest.approx(1000 * recorded("vllm:inter_token_latency_seconds_sum") / gaps, rel=0.01)
    steps = recorded("vllm:iteration_tokens_total_count")
    assert value(signals.batch_mean) == pytest.approx(recorded("vllm:generation_tokens_total") / steps, rel=0.01)
    assert value(signals.prompt_tokens_per_step) == pytest.approx(recorded("vllm:prompt_tokens_total") / steps, rel=0.01)
    assert value(signals.prefix_hit_ratio) == 0
    assert isinstance(signals.kv_tokens_per_step, Missing)  # the page is of a moment at which nothing ran
    assert 0 < value(signals.inter_token_within_ratio) <= 1
    assert value(signals.inter_token_p95_ms) > 0


async def test_gpu_utilization_is_the_mean_of_the_replicas_gpus(url: str) -> None:
    assert value((await read(url, "ns")).gpu_utilization_percent) == 90


async def test_a_busy_engine_tells_what_its_cache_has_and_what_it_computed(url: str) -> None:
    signals = await read(url, "busy-engine", Target(engines=1))
    assert value(signals.kv_tokens_per_step) == pytest.approx(0.25 / 4 * 10880 * 8)  # share of a request, of the cache, for eight
    assert value(signals.prompt_tokens_per_step) == pytest.approx((600 - 150) / 50)
    assert value(signals.prefix_hit_ratio) == pytest.approx(0.25)


async def test_metric_names_of_older_engines(url: str) -> None:
    signals = await read(url, "old-engine", Target(engines=1))
    assert value(signals.kv_cache_usage_ratio) == 0.25
    assert value(signals.step_time_ms) == pytest.approx(20)


async def test_an_idle_engine_has_no_step_time_and_no_nan(url: str) -> None:
    signals = await read(url, "idle-engine", Target(engines=1))
    assert value(signals.running) == 0
    assert isinstance(signals.step_time_ms, Missing)


async def test_what_each_replica_has_in_flight_is_told_by_pod(url: str) -> None:
    signals = await read(url, "two-engines", Target(engines=2))
    assert signals.in_flight_by_pod == {"x-engine-a": 10, "x-engine-b": 2}
    assert (value(signals.running), value(signals.waiting)) == (8, 4)


async def test_no_traffic_is_zero(url: str) -> None:
    signals = await read(url, "idle", Target(gateways=1))
    assert value(signals.arrivals_per_s) == 0


@pytest.mark.parametrize(
    ("namespace", "reason"),
    [("down", Reason.METRICS_MISSING), ("nowhere", Reason.METRICS_MISSING), ("stopped", Reason.METRICS_STALE)],
)
async def test_what_nobody_scrapes_is_missing(url: str, namespace: str, reason: Reason) -> None:
    arrivals = (await read(url, namespace, Target(gateways=1))).arrivals_per_s
    assert isinstance(arrivals, Missing)
    assert arrivals.reason is reason


async def test_a_gateway_that_went_since_the_last_tick_is_still_counted_and_another_containers_samples_are_not(url: str) -> None:
    """Each has its last sample 40 s ago, and a query that looks back 20 s only: as after the stale marker of a target that went."""

    def tokens(namespace: str) -> list[float]:
        wanted = queries(WINDOW_S)[COUNTERS].replace('workload!=""', f'workload="x",namespace="{namespace}"')
        asked = urllib.parse.urlencode({"query": wanted, "lookback_delta": "20s"}).encode()
        with urllib.request.urlopen(f"{url}/api/v1/query", asked, timeout=10) as answer:
            return [float(row["value"][1]) for row in json.load(answer)["data"]["result"]]

    assert tokens("went") == [600.0]
    assert tokens("went-young") == []
    assert tokens("same-pod") == [7.0]
    assert tokens("went-long-ago") == []


async def test_the_meters_of_a_permit_by_worker_and_none_before_the_first_request(url: str) -> None:
    found = (await read(url, "metered", Target(gateways=1))).spill_meters
    assert isinstance(found, Sample)
    assert [(each.pod, each.worker, each.backend, each.micro_usd, each.requests) for each in found.value] == [
        ("x-gateway-1", 0, "rented/m", 7000.0, 70.0),
        ("x-gateway-1", 1, "rented/m", 500.0, 5.0),
    ]
    assert [(each.refused_micro_usd, each.refused_requests) for each in found.value] == [(14_000.0, 14.0), (1000.0, 1.0)]
    none_yet = (await read(url, "idle", Target(gateways=1))).spill_meters
    assert isinstance(none_yet, Sample)
    assert none_yet.value == ()


async def test_a_gateway_that_two_jobs_scrape_or_one_whose_labels_were_just_changed_is_counted_once(url: str) -> None:
    found = await read(url, "scraped-twice", Target(gateways=1))
    assert isinstance(found.counters, Sample)
    assert [(each.backend, each.requests, each.output_tokens) for each in found.counters.value] == [("rented/m", 65.0, 900.0)]
    assert isinstance(found.spill_meters, Sample)
    assert [(each.worker, each.micro_usd) for each in found.spill_meters.value] == [(0, 7000.0)]


async def test_what_two_prometheis_tell_together_is_counted_once(url: str) -> None:
    found = await read(url, "told-twice", Target(gateways=1, engines=1))
    assert value(found.arrivals_per_s) == pytest.approx(4, rel=0.01)
    assert value(found.spilled_per_s) == pytest.approx(1, rel=0.01)
    assert (value(found.in_flight_owned), value(found.held_at_gateway)) == (4, 5)
    assert (value(found.running), value(found.waiting)) == (6, 2)
    assert found.in_flight_by_pod == {"x-engine-a": 8}


async def test_a_gateway_that_two_jobs_scrape_does_not_stand_for_one_that_nobody_does(url: str) -> None:
    found = (await read(url, "half-scraped", Target(gateways=2))).arrivals_per_s
    assert isinstance(found, Missing)
    assert found.detail == "1 of 2 gateway pods scraped"


async def test_a_gateway_whose_labels_were_just_changed_has_no_burst_of_all_it_ever_counted(url: str) -> None:
    assert value((await read(url, "relabelled", Target(gateways=1))).arrivals_per_s) == 0


@pytest.mark.parametrize(
    ("namespace", "per_s"), [("key-refused", 0.5), ("account-refused", 0.5), ("unpaid", 0.5), ("request-refused", 0), ("ns", 0)]
)
async def test_a_402_or_403_tells_of_the_account_where_nothing_is_answered(url: str, namespace: str, per_s: float) -> None:
    """Some providers say it of a request that their moderation does not like, or that costs more than what is left."""
    found = (await read(url, namespace)).hosted_rejected_per_s
    assert value(found["rented/acme/tiny-chat-hosted"]) == pytest.approx(per_s, rel=0.1)


async def test_long_prompts_are_those_that_a_hosted_backend_answered(url: str) -> None:
    found = (await read(url, "long-prompts", Target(gateways=1))).long_prompts
    assert isinstance(found, Sample)
    told = (found.value.per_s, found.value.input_tokens_per_s, found.value.output_tokens_per_s)
    assert told == pytest.approx((0.75, 15_000.0, 75.0), rel=0.01)
    none = (await read(url, "idle", Target(gateways=1))).long_prompts
    assert isinstance(none, Sample)
    assert none.value.per_s == 0


@pytest.mark.parametrize(
    ("namespace", "expected"),
    [("first-spill", 1 / WINDOW_S), ("young-gateway", 6 / WINDOW_S), ("history-lost", 0.0)],
    ids=["the first spilled request is seen", "all of a young gateway's requests are new", "a counter of days is no burst"],
)
async def test_the_first_increase_of_a_series(url: str, namespace: str, expected: float) -> None:
    assert value((await read(url, namespace, Target(gateways=1))).arrivals_per_s) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize(
    ("namespace", "held"),
    [
        pytest.param("held", 5, id="what is open and on no replica, while the edge asks again"),
        pytest.param("capped", 3, id="nor on a hosted backend, where a limit lets none go there"),
        pytest.param("scanned", 0, id="not what merely is open"),
        pytest.param("full", 0, id="never less than none"),
        pytest.param("idle", 0, id="none without a hold"),
    ],
)
async def test_requests_wait_at_the_gateway_while_they_are_asked_again(url: str, namespace: str, held: int) -> None:
    assert value((await read(url, namespace)).held_at_gateway) == held
