"""What the dashboard asks and what rules record, against a real Prometheus that scrapes a real gateway: nothing comes back empty.

The operator's page is made by its own exporter from the figures of one workload, and the engine's is a recorded one.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest

from spillway.api.status import Condition, InferenceWorkloadStatus, SloStatus
from spillway.api.vocabulary import ConditionType, Reason
from spillway.plan.decision import ScaleFigures
from spillway.reconcile.telemetry import Snapshot, Telemetry
from tests.chart.conftest import CHART
from tests.chart.monitoring import dashboard, rules
from tests.dataplane.client import rest_of
from tests.dataplane.conftest import SetStage, Stage
from tests.dataplane.process import port_of, reserved, until
from tests.dataplane.test_failures import ALPHA
from tests.e2e.cluster import binaries

pytestmark = pytest.mark.dataplane
RECORDED = Path(__file__).parent / "recorded"
PROMISED: dict[str, Any] = {"budget": {"monthlyUSD": "1500"}}


def asked() -> dict[str, str]:
    return dashboard.queries(window="30s")


def operators_page(scene: Stage) -> bytes:
    """Return the metrics of an operator that knows everything about the stage's workload."""
    telemetry = Telemetry(queue_depth=lambda: 0, queue_delay_s=lambda: 0, leading=lambda: True, requests=lambda: 7)
    key = scene.workload.key
    figures = ScaleFigures(
        forecast_p10=0.5,
        forecast_p50=1,
        forecast_p90=2,
        horizon_s=180,
        kappa=2.5,
        marginal_saving_usd_per_hour=-0.5,
        rejected=None,
        start_up_s=175,
    )
    telemetry.snapshots[key] = Snapshot(
        desired_replicas=1,
        ready_replicas=1,
        demand_replicas=0.7,
        usd_per_hour=4,
        month_to_date_usd=12,
        spilled_ratio=0.4,
        cap=1,
        problems=0,
        figures=figures,
        kappa=2.5,
        start_up_s=95,
        owned_usd_per_hour=3,
        hosted_usd_per_hour=1,
        projected_monthly_usd=900,
    )
    condition = Condition(type=ConditionType.SLO_MET, status="True", reason=Reason.SLO_MET, last_transition_time=datetime.now(UTC))
    telemetry.tell(scene.workload, InferenceWorkloadStatus(conditions=[condition], slo=SloStatus(attainment_percent="99.5")))
    telemetry.passes["done"] += 3
    registry = CollectorRegistry()
    registry.register(telemetry)
    return generate_latest(registry)


@asynccontextmanager
async def pages(contents: dict[str, bytes]) -> AsyncIterator[str]:
    """Serve pages by path; return host and port."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=contents[request.path], headers={"content-type": "text/plain; version=0.0.4"})

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def scraping(scene: Stage, served: str) -> dict[str, Any]:
    """Return a configuration with the chart's rules; the labels are those that its PodMonitor sets."""

    def job(name: str, target: str, path: str, labels: dict[str, str], *, honor: bool = False) -> dict[str, Any]:
        return {"job_name": name, "metrics_path": path, "honor_labels": honor, "static_configs": [{"targets": [target], "labels": labels}]}

    mine = {"namespace": scene.workload.key.namespace, "workload": scene.workload.key.name}
    return {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(CHART / "rules" / "spillway.yaml")],
        "scrape_configs": [
            job("gateway", scene.gateway.operations.removeprefix("http://"), "/metrics", {**mine, "component": "gateway", "pod": "g-1"}),
            job("engine", served, "/engine", {**mine, "component": "engine", "pod": "e-1"}),
            job("operator", served, "/operator", {"component": "operator", "pod": "o-1", "namespace": "spillway-system"}, honor=True),
        ],
    }


@asynccontextmanager
async def prometheus(folder: Path, config: dict[str, Any]) -> AsyncIterator[str]:
    """Run a Prometheus; return its URL."""
    program, held = binaries.path("prometheus"), reserved()
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    arguments = [
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port_of(held)}",
    ]
    with held, (folder / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(program, *arguments, stdout=log, stderr=log)
        try:
            yield f"http://127.0.0.1:{port_of(held)}"
        finally:
            process.terminate()
            await process.wait()


async def query(url: str, expression: str) -> list[dict[str, Any]]:
    """Return the samples of an instant query; none while Prometheus does not answer yet."""
    try:
        async with aiohttp.ClientSession() as session, session.post(f"{url}/api/v1/query", data={"query": expression}) as response:
            if response.status == 503:  # it is starting
                return []
            answer = await response.json()
    except aiohttp.ClientConnectionError:
        return []
    assert answer["status"] == "success", (expression, answer)
    assert not answer.get("warnings"), (expression, answer)
    return list(answer["data"]["result"])


async def edges(url: str, name: str) -> list[float]:
    """Return the upper edges of a histogram's buckets, as numbers, in ascending order."""
    return sorted({float(each["metric"]["le"]) for each in await query(url, name)})


async def traffic(scene: Stage) -> None:
    """Have both sides answer, plain and streamed, and one request spill for the cap. The provider has a cache."""
    scene.alpha.cached_tokens = 1
    scene.engines[0].hold = asyncio.Event()
    held = await scene.client.open()
    assert (await scene.client.post()).served_by == ALPHA
    assert (await scene.client.post(stream=True)).served_by == ALPHA
    scene.engines[0].hold.set()
    assert [each.status for each in await rest_of([held])] == [200]
    scene.engines[0].hold = None
    assert (await scene.client.post()).served_by == "owned"


async def test_no_query_of_the_dashboard_and_no_record_comes_back_empty(stage: SetStage, tmp_path: Path) -> None:
    scene = await stage(engines=1, cap=1, spec=PROMISED)
    await traffic(scene)
    engine = (RECORDED / "vllm-0.32.0.txt").read_bytes()
    wanted = {**asked(), **{rule["record"]: rule["record"] for rule in rules.groups()["groups"][0]["rules"]}}
    empty = dict(wanted)
    async with (
        pages({"/engine": engine, "/operator": operators_page(scene)}) as served,
        prometheus(tmp_path, scraping(scene, served)) as url,
    ):

        async def all_told() -> bool:
            await traffic(scene)  # goes on while Prometheus looks: a rate needs two samples
            for name, expression in list(empty.items()):
                if await query(url, expression):
                    del empty[name]
            return not empty

        try:
            await until(all_told, "every query to have an answer", patience_s=180)
        except AssertionError:
            pytest.fail(f"these queries have no answer: {json.dumps(empty, indent=1)}")
        assert not await query(url, 'ALERTS{alertstate="firing"}')
        why = await query(url, asked()["Not taken by own replicas, and why: {{why}}"])
        assert {each["metric"]["why"] for each in why} == {"cap"}
        model = await query(url, "gen_ai_client_token_usage_sum")
        assert {each["metric"]["gen_ai_request_model"] for each in model} == {scene.workload.spec.served_name}
        assert {each["metric"]["gen_ai_provider_name"] for each in model} == {rules.PROVIDER_OF_OWNED, "alpha"}
        for ours, theirs, unit in (("duration_ms", "request_duration", 1e3), ("inter_token_us", "time_per_output_token", 1e6)):
            counted = await edges(url, f"envoy_spillway_{ours}_bucket")
            assert await edges(url, f"gen_ai_server_{theirs}_seconds_bucket") == pytest.approx([each / unit for each in counted])


def test_the_dashboards_metrics_are_ones_that_the_page_on_metrics_knows() -> None:
    page = (CHART.parents[1] / "docs" / "metrics.md").read_text()
    for name, expression in asked().items():
        for metric in re.findall(r"(?:spillway|envoy_spillway)_[a-z_0-9]+", expression):
            known = re.sub(r"_(bucket|sum|count)$", "", metric)
            assert known in page, (name, metric)
