"""Rules and dashboard: generated, accepted by promtool, each alert fires in its story and has its runbook, and none fires in health."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from spillway.api.vocabulary import ConditionType, Reason
from tests.chart.conftest import CHART, ROOT, Rendered
from tests.chart.monitoring import alerts, dashboard, rules
from tests.chart.monitoring.__main__ import files
from tests.e2e.cluster import binaries

ALERTS = {each.name: each for each in alerts.alerts()}
IN = 'namespace="ns",workload="x"'
POD = f'{IN},pod="x-gateway-1"'
DAY = 1440  # samples, one a minute

# What each alert fires on, and after how many minutes it has fired: series as promtool writes them, over a healthy installation.
# `0+60x10` grows by 60 a minute, `1x10` stays 1, `_x10` is not there.
HEALTHY: dict[str, str] = {
    'spillway_lease_held{pod="a"}': f"1x{2 * DAY}",
    'spillway_lease_held{pod="b"}': f"0x{2 * DAY}",
    f'spillway_workload_model{{{IN},model="tiny"}}': f"1x{2 * DAY}",
    f'up{{{POD},component="gateway"}}': f"1x{2 * DAY}",
    f'envoy_spillway_requests{{{POD},backend="owned",code="200"}}': f"0+600x{2 * DAY}",
    f'envoy_spillway_requests{{{POD},backend="none",code="503"}}': f"0+3x{2 * DAY}",
    f'envoy_cluster_upstream_rq{{{POD},envoy_cluster_name="hosted-a-1",envoy_response_code="200"}}': f"0+60x{2 * DAY}",
    f'envoy_cluster_upstream_rq{{{POD},envoy_cluster_name="hosted-a-1",envoy_response_code="429"}}': f"0+3x{2 * DAY}",
    f"spillway_slo_objective_ratio{{{IN}}}": f"0.99x{2 * DAY}",
    f"spillway_slo_attainment_ratio{{{IN}}}": f"0.985x{2 * DAY}",
    f"spillway_spilled_ratio{{{IN}}}": f"0.3x{2 * DAY}",
    f'spillway_condition{{{IN},type="ScalingLimited",status="True",reason="AtMinReplicas"}}': f"1x{2 * DAY}",
    f'spillway_condition{{{IN},type="SLOMet",status="True",reason="SLOMet"}}': f"1x{2 * DAY}",
}


def condition(kind: str, status: str, reason: str, *, minutes: int = DAY) -> dict[str, str]:
    """Return a condition that has been so for long; its words are the API's."""
    return {f'spillway_condition{{{IN},type="{ConditionType(kind)}",status="{status}",reason="{Reason(reason)}"}}': f"1x{minutes}"}


STORIES: dict[str, tuple[dict[str, str], int]] = {
    "SpillwayNobodyActs": ({'spillway_lease_held{pod="a"}': "0x10"}, 3),
    "SpillwayPassesFail": ({'spillway_errors_total{pod="a",error="ApiError"}': "0+1x60"}, 20),
    "SpillwaySpecInvalid": (condition("SpecValid", "False", "InvalidSpec"), 6),
    "SpillwayMetricsMissing": (condition("MetricsAvailable", "False", "MetricsStale"), 6),
    "SpillwayGatewayDown": ({f'up{{{POD},component="gateway"}}': "0x10"}, 4),
    "SpillwayNotReady": (condition("Ready", "False", "NoBackend"), 6),
    "SpillwayRequestsFail": ({f'envoy_spillway_requests{{{POD},backend="none",code="503"}}': "0+12x20"}, 10),
    "SpillwayStreamsFail": ({f'envoy_spillway_stream_errors{{{POD},backend="owned"}}': "0+1x30"}, 15),
    "SpillwaySLOBurnsFast": ({f"spillway_slo_attainment_ratio{{{IN}}}": "0.8x60"}, 5),
    "SpillwaySLOBurnsSlowly": ({f"spillway_slo_attainment_ratio{{{IN}}}": "0.92x60"}, 20),
    "SpillwayDegraded": (condition("Degraded", "True", "OwnedUnavailable"), 16),
    "SpillwayReplicasNotReady": (condition("ReplicasReady", "False", "ReplicasStarting"), 31),
    "SpillwayScalingLimited": (condition("ScalingLimited", "True", "AtMaxReplicas"), 31),
    "SpillwayHostedBackendDown": (condition("HostedBackendReady", "False", "HostedCredentialRejected"), 6),
    "SpillwayHostedBackendFails": (
        {f'envoy_cluster_upstream_rq{{{POD},envoy_cluster_name="hosted-a-1",envoy_response_code="429"}}': "0+12x30"},
        15,
    ),
    "SpillwayHostedBackendDiffers": (condition("HostedBackendEquivalent", "False", "HostedContextShorter"), 61),
    "SpillwayGatewayOpen": (condition("AccessControlled", "False", "GatewayOpen"), 61),
    "SpillwayKeysMissing": (condition("AccessControlled", "False", "APIKeysMissing"), 6),
    "SpillwaySpillStopped": (condition("SpillActive", "False", "SpillLimitReached"), 6),
    "SpillwaySpillsMost": ({f"spillway_spilled_ratio{{{IN}}}": "0.6x90"}, 61),
    "SpillwayBudgetExceeded": (condition("WithinBudget", "False", "ProjectedOverBudget"), 16),
    "SpillwaySelfHostingUneconomic": (condition("SelfHostingEconomic", "False", "BelowBreakEven", minutes=2 * DAY), DAY + 1),
}


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [str(binaries.path("promtool")), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def accepted(folder: Path, tests: list[dict[str, Any]]) -> None:
    """Have promtool run the tests over the chart's rules."""
    (folder / "rules.yaml").write_text((CHART / "rules" / "spillway.yaml").read_text())
    (folder / "test.yaml").write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests}))
    done = promtool("test", "rules", folder / "test.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def story(changed: dict[str, str], expressions: list[dict[str, Any]]) -> dict[str, Any]:
    series = [{"series": name, "values": values} for name, values in {**HEALTHY, **changed}.items()]
    return {"interval": "1m", "input_series": series, "promql_expr_test": expressions}


def firing(minutes: int, *names: str) -> dict[str, Any]:
    samples = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in names]
    return {"expr": 'group by (alertname) (ALERTS{alertstate="firing"})', "eval_time": f"{minutes}m", "exp_samples": samples}


@pytest.mark.parametrize("name", files())
def test_what_is_committed_is_what_is_generated(name: str) -> None:
    assert (CHART / name).read_text() == files()[name], "run `make generate`"


def test_promtool_accepts_the_rules_without_a_complaint() -> None:
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", CHART / "rules" / "spillway.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_fires_where_all_is_well(tmp_path: Path) -> None:
    accepted(tmp_path, [story({}, [firing(minutes) for minutes in (1, 10, 90, DAY + 2)])])


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_fires_in_its_story_and_no_other_does(name: str, tmp_path: Path) -> None:
    changed, minutes = STORIES[name]
    # At this rate the slow one fires too, a quarter of an hour later.
    accepted(tmp_path, [story(changed, [firing(0), firing(minutes, name)])])


def test_a_workload_that_is_to_be_hosted_alone_is_no_alarm(tmp_path: Path) -> None:
    hosted = {
        f"spillway_spilled_ratio{{{IN}}}": f"1x{2 * DAY}",
        **condition("ScalingLimited", "False", "NotRequested", minutes=2 * DAY),
        **condition("SelfHostingEconomic", "False", "HostedCheaperAtAnyLoad", minutes=2 * DAY),
    }
    accepted(tmp_path, [story(hosted, [firing(minutes) for minutes in (61, DAY + 1)])])


def test_an_alert_that_nobody_measures_for_still_fires_without_any_operator(tmp_path: Path) -> None:
    gone = {name: "_x10" for name in HEALTHY if name.startswith("spillway_lease_held")}
    accepted(tmp_path, [story(gone, [firing(3, "SpillwayNobodyActs")])])


def test_a_promise_that_is_easily_kept_burns_when_half_of_the_requests_miss(tmp_path: Path) -> None:
    easy = {f"spillway_slo_objective_ratio{{{IN}}}": "0.8x60", f"spillway_slo_attainment_ratio{{{IN}}}": "0.4x60"}
    accepted(tmp_path, [story(easy, [firing(5, "SpillwaySLOBurnsFast")])])


@pytest.mark.parametrize(
    ("first", "gaps", "hour", "minute"),
    [
        ((5, 25, 300, 1500, 3600000), (1000, 25000, 300000, 60000000), "3600.000", "60.000"),
        (("5.0", "25.0", "300.0", "1500.0", "3.6e+06"), ("1000.0", "25000.0", "300000.0", "6e+07"), "3.6e+03", "6e+01"),
    ],
    ids=["edges as gateways write them", "edges as Prometheus 3 keeps them"],
)
def test_figures_are_told_in_opentelemetrys_names_and_units(
    first: tuple[int | str, ...], gaps: tuple[int | str, ...], hour: str, minute: str, tmp_path: Path
) -> None:
    counted = {
        f'envoy_spillway_input_tokens{{{POD},backend="owned"}}': "700x10",
        f'envoy_spillway_output_tokens{{{POD},backend="rented/acme/big"}}': "50x10",
        f'envoy_spillway_requests{{{POD},backend="owned",code="200"}}': "100x10",
        f'envoy_spillway_requests{{{POD},backend="none",code="503"}}': "100x10",
        f'envoy_spillway_unmetered_requests{{{POD},backend="owned"}}': "3x10",
        **{f'envoy_spillway_first_body_ms_bucket{{{POD},backend="owned",le="{le}"}}': "1x10" for le in (*first, "+Inf")},
        f'envoy_spillway_duration_ms_sum{{{POD},backend="owned"}}': "2500x10",
        f'envoy_spillway_duration_ms_count{{{POD},backend="none"}}': "1x10",
        **{f'envoy_spillway_inter_token_us_bucket{{{POD},backend="owned",le="{le}"}}': "1x10" for le in (*gaps, "+Inf")},
        f'envoy_spillway_inter_token_us_sum{{{POD},backend="owned"}}': "4000000x10",
        f'envoy_spillway_inter_token_us_count{{{POD},backend="owned"}}': "100x10",
    }
    owned = f'{POD},backend="owned",gen_ai_request_model="tiny",gen_ai_provider_name="vllm"'
    hosted = f'{POD},backend="rented/acme/big",gen_ai_request_model="tiny",gen_ai_provider_name="rented",gen_ai_response_model="acme/big"'
    expected: dict[str, dict[str, float]] = {
        "gen_ai_client_token_usage_sum": {f'{owned},gen_ai_token_type="input"': 700, f'{hosted},gen_ai_token_type="output"': 50},
        "gen_ai_client_token_usage_count": {f'{owned},gen_ai_token_type="{kind}"': 97 for kind in ("input", "output")},
        "gen_ai_server_time_to_first_token_seconds_bucket": {
            f'{owned},le="{le}"': 1 for le in ("0.005", "0.025", "0.300", "1.500", hour, "+Inf")
        },
        "gen_ai_server_request_duration_seconds_sum": {owned: 2.5},
        "gen_ai_server_request_duration_seconds_count": {},
        "gen_ai_server_time_per_output_token_seconds_bucket": {
            f'{owned},le="{le}"': 1 for le in ("0.001", "0.025", "0.300", minute, "+Inf")
        },
        "gen_ai_server_time_per_output_token_seconds_sum": {owned: 4},
        "gen_ai_server_time_per_output_token_seconds_count": {owned: 100},
    }
    asked = [
        {
            "expr": name,
            "eval_time": "5m",
            "exp_samples": [{"labels": f"{name}{{{labels}}}", "value": value} for labels, value in samples.items()],
        }
        for name, samples in expected.items()
    ]
    accepted(tmp_path, [story(counted, asked)])


def test_pods_that_two_jobs_scrape_are_counted_once(tmp_path: Path) -> None:
    counted = {
        f'envoy_spillway_requests{{{POD},backend="owned",code="200"}}': "0+60x10",
        f'envoy_spillway_requests{{{POD},backend="owned",code="201"}}': "0+60x10",
        f'envoy_spillway_input_tokens{{{POD},backend="owned"}}': "0+600x10",
        f'envoy_spillway_not_taken{{{POD},flags="UO",code="503"}}': "0+60x10",
        f'envoy_spillway_duration_ms_count{{{POD},backend="owned"}}': "0+60x10",
    }
    twice = {name.replace("{", f'{{job="{job}",', 1): values for name, values in counted.items() for job in ("a", "b")}
    model = {f'spillway_workload_model{{{IN},model="tiny"}}': "1x10"}
    series = [{"series": name, "values": values} for name, values in (twice | model).items()]
    expected = {
        "sum(spillway:requests:rate5m)": 2.0,
        "sum(spillway:tokens:rate5m)": 10.0,
        "sum(spillway:not_taken:rate5m)": 1.0,
        "sum(gen_ai_client_token_usage_sum)": 5400.0,
        'sum(gen_ai_client_token_usage_count{gen_ai_token_type="input"})': 1080.0,
        "sum(gen_ai_server_request_duration_seconds_count)": 540.0,
        dashboard.queries(window="5m")["Requests, by who served: {{backend}}"].replace("sum by (backend)", "sum"): 2.0,
    }
    asked = [{"expr": expr, "eval_time": "9m", "exp_samples": [{"labels": "{}", "value": value}]} for expr, value in expected.items()]
    accepted(tmp_path, [{"interval": "1m", "input_series": series, "promql_expr_test": asked}])


def test_a_model_that_was_renamed_and_an_operator_that_has_just_changed_leave_one_name(tmp_path: Path) -> None:
    changed = {
        f'spillway_workload_model{{{IN},model="tiny",pod="a"}}': "1x4 _x20",
        f'spillway_workload_model{{{IN},model="new",pod="a"}}': "_x4 1x5 _x11",
        f'spillway_workload_model{{{IN},model="new",pod="b"}}': "_x8 1x2 _x10",
    }
    series = [{"series": name, "values": values} for name, values in changed.items()]
    labels = f'{rules.MODEL}{{{IN},model="{{}}",gen_ai_request_model="{{}}"}}'

    def told(minutes: int, *names: str) -> dict[str, Any]:
        samples = [{"labels": labels.replace("{}", name).replace("{{", "{").replace("}}", "}"), "value": 1} for name in names]
        return {"expr": rules.MODEL, "eval_time": f"{minutes}m", "exp_samples": samples}

    accepted(tmp_path, [{"interval": "1m", "input_series": series, "promql_expr_test": [told(3, "tiny"), told(9, "new"), told(15, "new")]}])


@pytest.mark.parametrize(
    ("flags", "why"),
    [("UO", "cap"), ("UH", "no_replica"), ("UT", "late"), ("URX,UF", "failed"), ("UC", "failed"), ("-", "refused")],
)
def test_why_a_request_spilled_is_told_in_words(flags: str, why: str, tmp_path: Path) -> None:
    counted = {f'envoy_spillway_not_taken{{{POD},flags="{flags}",code="503"}}': "0+60x10"}
    samples = [{"labels": f'spillway:not_taken:rate5m{{{IN},why="{why}"}}', "value": 1}]
    accepted(tmp_path, [story(counted, [{"expr": "spillway:not_taken:rate5m", "eval_time": "9m", "exp_samples": samples}])])


def test_every_alert_has_its_section_in_the_runbooks_and_every_section_an_alert() -> None:
    page = (ROOT / "docs" / "runbooks.md").read_text()
    sections = re.findall(r"^## (Spillway\w+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert [name for name, _ in sections] == list(ALERTS)
    for name, body in sections:
        assert all(f"**{part}**" in body for part in ("Means", "Look", "Do")), name
    for each in ALERTS.values():
        assert each.rule()["annotations"]["runbook_url"] == f"{alerts.RUNBOOKS}#{each.name.lower()}"


def test_the_prometheus_rule_and_the_bundled_prometheus_have_the_same_rules(stack: Rendered, bundled: Rendered) -> None:
    (made,) = stack.all("PrometheusRule")
    assert made["metadata"]["labels"]["release"] == "kube-prometheus-stack"
    loaded = yaml.safe_load(bundled.one("ConfigMap", "spillway-prometheus")["data"]["rules.yaml"])
    assert loaded == rules.groups()
    pointed = json.loads(json.dumps(loaded).replace(alerts.RUNBOOKS, "https://wiki.example.com/spillway"))
    assert made["spec"] == pointed
    assert made["spec"] != loaded


def test_rules_and_dashboard_are_made_only_where_they_are_asked_for(plain: Rendered, stack: Rendered) -> None:
    assert not plain.all("PrometheusRule")
    assert not [each for each in plain.all("ConfigMap") if each["metadata"]["name"].endswith("-dashboard")]
    made = stack.one("ConfigMap", "spillway-dashboard")
    assert made["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert made["metadata"]["annotations"] == {"grafana_folder": "LLM"}
    assert made["data"]["spillway.json"].rstrip("\n") + "\n" == dashboard.text()


def test_the_dashboard_tells_workloads_of_one_name_in_two_namespaces_apart(tmp_path: Path) -> None:
    asked = {title: expr for title, expr in dashboard.queries(window="5m").items() if "{workload" in title}
    names = {name for expr in asked.values() for name in re.findall(r"(\w+)\{", expr)}
    series = [
        {"series": f'{name}{{namespace="{namespace}",workload="chat",component="gateway"}}', "values": "1x10"}
        for name in names
        for namespace in ("team-a", "team-b")
    ]
    counts = [{"expr": f"count({expr})", "eval_time": "5m", "exp_samples": [{"labels": "{}", "value": 2}]} for expr in asked.values()]
    assert len(counts) > 10
    assert [title for title in asked if "{{namespace}}" not in title] == []
    accepted(tmp_path, [{"interval": "1m", "input_series": series, "promql_expr_test": counts}])


def test_every_panel_has_a_title_of_its_own_and_asks_the_chosen_prometheus() -> None:
    made = json.loads(dashboard.text())
    panels = [panel for panel in made["panels"] if panel["type"] != "row"]
    titles = [panel["title"] for panel in panels]
    assert len(titles) == len(set(titles))
    for panel in panels:
        assert panel["targets"], panel["title"]
        assert {each["datasource"]["uid"] for each in panel["targets"]} == {"${datasource}"}
        letters = [each["refId"] for each in panel["targets"]]
        assert len(letters) == len(set(letters))
