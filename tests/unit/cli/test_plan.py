"""`spillway plan` as it is used: files in, a plan out, and a sentence instead of a traceback."""

import copy
import io
import json
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from spillway.api.plan_output import PlanOutput
from spillway.cli import crds
from spillway.cli.questions import default_classes

SCENARIO_1 = "examples/scenario-1-high-volume.yaml"
SCENARIO_2 = "examples/scenario-2-specialised.yaml"
HYBRID = "examples/hybrid-llama-8b-l40s.yaml"
AUTO = "examples/auto.yaml"
LLAMA_8B = "meta-llama/Llama-3.1-8B-Instruct"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def plan(spillway: Run) -> Run:
    return partial(spillway, "plan")


def test_a_long_sweep_shows_on_a_terminal_how_far_it_is_and_clears_that_away(plan: Run, terminal: Callable[[], io.StringIO]) -> None:
    sweep = ("-f", SCENARIO_1, "--sweep", "requestsPerMonth=1M..2M", "--points", "3")
    assert plan(*sweep)[2] == "", "a file or a pipe gets none of it"
    shown = terminal()
    assert plan(*sweep)[0] == 0
    assert "2 of 3 volumes" in shown.getvalue()
    assert shown.getvalue().endswith("\r\x1b[K")


def as_json(plan: Run, *arguments: str) -> dict[str, Any]:
    code, out, err = plan(*arguments, "-o", "json")
    assert (code, err) == (0, "")
    found: dict[str, Any] = json.loads(out)
    return found


def options(found: dict[str, Any], **wanted: Any) -> list[dict[str, Any]]:
    return [option for option in found["options"] if all(option[key] == value for key, value in wanted.items())]


def documents(file: str) -> dict[str, dict[str, Any]]:
    return {each["kind"]: each for each in yaml.load_all(Path(file).read_text(), Loader=yaml.CSafeLoader)}


# The article's scenarios: its own figures, then what follows from them (docs/economics.md)


def test_scenario_1_costs_what_the_article_says_either_way(plan: Run) -> None:
    found = as_json(plan, "-f", SCENARIO_1, "--engineering-once", "6000", "--amortise-months", "12")
    (hosted,) = options(found, mode="Hosted")
    assert hosted["monthlyUSD"] == 7500
    (two_machines,) = options(found, mode="Dedicated", tensorParallelSize=4)
    assert two_machines["replicasPeak"] == 2
    assert two_machines["monthlyUSD"] == 8167.68
    assert two_machines["monthlyUSD"] + found["engineering"]["onceUSD"] == 14167.68


def test_scenario_1_breaks_even_at_10_9_million_requests_and_not_at_3(plan: Run) -> None:
    found = as_json(plan, "-f", SCENARIO_1)
    (two_machines,) = options(found, mode="Dedicated", tensorParallelSize=4)
    assert two_machines["breakEvenRequestsPerMonth"] == 10_890_240
    swept = as_json(plan, "-f", SCENARIO_1, "--sweep", "requestsPerMonth=3M..3M", "--points", "1")["sweep"]
    assert swept[0]["hostedUSD"] == 2250


def test_scenario_1_needs_the_articles_two_machines_for_its_200_ms_and_one_where_that_is_relaxed(
    plan: Run, written: Callable[..., str]
) -> None:
    found = as_json(plan, "-f", SCENARIO_1)
    assert found["recommended"]["mode"] == "Hosted"
    assert min(option["monthlyUSD"] for option in options(found, mode="Dedicated", feasible=True)) == 8167.68
    for change in ({"slo": {"timeToFirstTokenMs": 250, "attainmentPercent": 99}}, {"dedicated": {"scaling": {"minReplicas": 1}}}):
        parts = documents(SCENARIO_1)
        parts["InferenceWorkload"]["spec"] |= change
        relaxed = as_json(plan, "-f", written(*parts.values()))
        assert relaxed["recommended"]["mode"] == "Dedicated"
        assert relaxed["recommended"]["monthlyUSD"] == 4083.84
        assert relaxed["selfHostingEconomic"]["reason"] == "SelfHostingCheaper"


def test_scenario_2_costs_1500_hosted_and_4083_84_owned_so_the_verdict_flips(plan: Run) -> None:
    found = as_json(plan, "-f", SCENARIO_2)
    (hosted,) = options(found, mode="Hosted")
    (machine,) = options(found, mode="Dedicated", tensorParallelSize=4)
    assert hosted["monthlyUSD"] == 1500
    assert machine["monthlyUSD"] == 4083.84
    assert found["recommended"]["mode"] == "Batch"
    assert found["recommended"]["monthlyUSD"] == 750
    assert found["selfHostingEconomic"]["reason"] == "BelowBreakEven"
    assert all(option["monthlyUSD"] is None or option["monthlyUSD"] >= 4083.84 for option in options(found, mode="Dedicated"))


def test_codellama_34b_does_not_fit_fewer_than_four_a10g(plan: Run) -> None:
    found = as_json(plan, "-f", SCENARIO_2)
    assert [option["feasible"] for size in (1, 2) for option in options(found, mode="Dedicated", tensorParallelSize=size)] == [False] * 2


# What comes out


def test_the_document_has_the_keys_that_are_promised_and_follows_its_schema(plan: Run) -> None:
    found = as_json(plan, "-f", HYBRID, "--sweep", "requestsPerMonth=1M..5M", "--points", "3")
    recommended = {
        "mode", "acceleratorClass", "tensorParallelSize", "replicasMean", "replicasPeak", "monthlyUSD", "usdPerMillionTokens", "reason",
    }  # fmt: skip
    of_option = {
        "mode", "acceleratorClass", "tensorParallelSize", "feasible", "reason", "replicasPeak", "monthlyUSD", "usdPerMillionTokens",
        "kappa",
        "ttftMs", "interTokenLatencyMs", "requestsPerSecondPerReplica", "concurrency", "kvTokens", "memoryGiBPerAccelerator",
    }  # fmt: skip
    assert recommended <= set(found["recommended"])
    assert all(of_option <= set(option) for option in found["options"])
    assert {"breakEvenRequestsPerMonth", "assumptions"} <= set(found)
    schema = json.loads(Path("docs/plan-output.schema.json").read_text())
    assert set(schema["required"]) == set(schema["properties"]) == set(found)
    assert PlanOutput.model_validate(found).model_dump(by_alias=True, mode="json") == found


OWN_WEIGHTS = "examples/pvc-model.yaml"  # whose shape only a replica can tell
EXAMPLES = sorted(str(each) for each in Path("examples").glob("*.yaml") if str(each) != OWN_WEIGHTS)


@pytest.mark.parametrize("file", EXAMPLES)
def test_what_an_example_promises_is_possible_with_what_it_names(plan: Run, written: Callable[..., str], file: str) -> None:
    documents = [each for each in yaml.safe_load_all(Path(file).read_text()) if each["apiVersion"].startswith("spillway.dev/")]
    for each in documents:
        if each["kind"] == "InferenceWorkload":
            each["spec"].setdefault("traffic", {"requestsPerMonth": 100_000})
    code, _, problems = plan("-f", written(*documents))
    assert (code, problems) == (0, "")


def test_examples_may_be_applied_one_after_the_other() -> None:
    applied: dict[tuple[str, str], object] = {}
    for file in sorted(Path("examples").glob("*.yaml")):
        if str(file) in {SCENARIO_1, SCENARIO_2}:  # to be planned
            continue
        for each in yaml.safe_load_all(file.read_text()):
            known = applied.setdefault((each["kind"], each["metadata"]["name"]), each)
            assert known == each, f"{file} changes {each['kind']} {each['metadata']['name']} of another example"


def test_examples_name_no_class_on_which_their_promise_cannot_be_kept(plan: Run, written: Callable[..., str]) -> None:
    catalogue = json.loads(Path("operator/spillway/cli/accelerator_classes.json").read_text())
    for file in sorted(Path("examples").glob("*.yaml")):
        ours = [each for each in yaml.safe_load_all(file.read_text()) if each["apiVersion"].startswith("spillway.dev/")]
        (workload,) = (each for each in ours if each["kind"] == "InferenceWorkload")
        if "hosted" in workload["spec"] or str(file) == OWN_WEIGHTS:
            continue
        workload["spec"].setdefault("traffic", {"requestsPerMonth": 100_000})
        named = workload["spec"]["dedicated"]["accelerators"]
        for name in named:
            known = {"apiVersion": workload["apiVersion"], "kind": "AcceleratorClass", "metadata": {"name": name}, "spec": catalogue[name]}
            workload["spec"]["dedicated"]["accelerators"] = [name]
            code, _, _ = plan("-f", written(workload, known), "-o", "json")
            assert code == 0, f"{file}: {name}"


def test_a_field_that_stands_in_the_way_twice_is_named_once(plan: Run, written: Callable[..., str]) -> None:
    (document,) = (each for each in yaml.safe_load_all(Path("examples/dedicated-cluster-only.yaml").read_text()))
    document["spec"]["traffic"] = {"requestsPerMonth": 100_000}
    document["spec"]["dedicated"]["accelerators"] = ["nvidia-l40s-x4"]
    document["spec"]["model"]["quantization"] = "fp8"
    code, out, _ = plan("-f", written(document), "-o", "json")
    assert code == 3
    ways_out = json.loads(out)["relax"]
    assert any("allow 1 x nvidia-rtx-pro-6000 " in each for each in ways_out)
    for each in ways_out:
        steps = each.rpartition(": ")[0].split("; and ")
        assert len(steps) == len(set(steps)), each


@pytest.mark.parametrize("file", [SCENARIO_1, SCENARIO_2, HYBRID, "examples/quickstart"])
def test_the_table_fits_80_columns_and_says_the_recommendation_first(plan: Run, file: str) -> None:
    _, out, _ = plan("-f", file, "--sweep", "requestsPerMonth=1M..30M", "--engineering-once", "6000")
    assert max(len(line) for line in out.splitlines()) <= 80
    order = [out.index(title) for title in ("OPTIONS", "BY VOLUME", "ASSUMED")]
    assert order == sorted(order)
    assert min(out.find(title) for title in ("RECOMMENDED", "NOTHING IS POSSIBLE") if title in out) < order[0]


@pytest.mark.parametrize("form", ["table", "markdown"])
def test_a_price_of_tokens_that_hardly_anybody_asks_for_is_written_out(plan: Run, written: Callable[..., str], form: str) -> None:
    parts = documents(SCENARIO_2)
    parts["InferenceWorkload"]["spec"]["traffic"]["requestsPerMonth"] = 100
    _, out, _ = plan("-f", written(*parts.values()), "-o", form)
    assert "40,800" in out
    assert "e+0" not in out


def test_yaml_says_the_same_as_json(plan: Run) -> None:
    assert yaml.safe_load(plan("-f", HYBRID, "-o", "yaml")[1]) == as_json(plan, "-f", HYBRID)


def test_markdown_has_a_table_of_the_options(plan: Run) -> None:
    code, out, _ = plan("-f", SCENARIO_1, "-o", "markdown")
    assert code == 0
    assert out.startswith("# Plan for scenario-1")
    assert "| > | Hosted |" in out


def test_several_workloads_are_planned_one_after_the_other(plan: Run, written: Callable[..., str]) -> None:
    parts = documents(HYBRID)
    second = copy.deepcopy(parts["InferenceWorkload"])
    second["metadata"]["name"] = "other"
    code, out, _ = plan("-f", written(*parts.values(), second), "-o", "yaml")
    assert code == 0
    assert [each["workload"] for each in yaml.safe_load_all(out)] == ["chat", "other"]


@pytest.mark.parametrize(
    "text", ["[" * 1000 + "]" * 1000, "{a: " * 1000 + "b" + "}" * 1000, "- " * 1000 + "b"], ids=["lists", "maps", "blocks"]
)
def test_a_document_that_is_nested_without_end_is_refused_before_it_is_made(plan: Run, tmp_path: Path, text: str) -> None:
    (tmp_path / "deep.yaml").write_text(text)
    code, out, err = plan("-f", str(tmp_path / "deep.yaml"))
    assert (code, out, err) == (2, "", f"spillway plan: {tmp_path}/deep.yaml: is nested more than 200 levels deep; correct it\n")


@pytest.mark.parametrize(("version", "kind"), [("v1", "List"), ("spillway.dev/v1alpha1", "InferenceWorkloadList")])
def test_a_list_is_read_as_what_is_in_it(plan: Run, written: Callable[..., str], version: str, kind: str) -> None:
    listed = {"apiVersion": version, "kind": kind, "metadata": {"resourceVersion": ""}, "items": list(documents(SCENARIO_2).values())}
    assert plan("-f", written(listed)) == plan("-f", SCENARIO_2)


@pytest.mark.parametrize("form", ["table", "json"])
def test_a_reader_that_goes_early_is_no_traceback(form: str) -> None:
    script = "import sys; from spillway.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", script, "plan", "-f", SCENARIO_2, "-o", form]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        said = running.stderr.read()
    assert (running.returncode, said) == (141, b"")


def test_what_is_wrong_in_a_list_is_told(plan: Run, written: Callable[..., str]) -> None:
    workload = {"apiVersion": "spillway.dev/v1alpha1", "kind": "InferenceWorkload", "metadata": {"name": "x"}, "spec": {"modle": {}}}
    code, _, err = plan("-f", written({"apiVersion": "v1", "kind": "List", "items": [workload, None, "text"]}))
    assert code == 2
    assert "InferenceWorkload x: spec.modle" in err
    assert "a document is no Kubernetes object" in err


@pytest.mark.parametrize("version", ["v1alpha1", "spillway.io/v1alpha1", "spillway.dev/v1"])
def test_one_of_our_kinds_in_another_group_or_version_is_no_other_object_of_the_installation(
    plan: Run, written: Callable[..., str], version: str
) -> None:
    of_ours, other = {"kind": "InferenceWorkload", "metadata": {"name": "x"}}, {"apiVersion": "v1", "kind": "Namespace"}
    code, _, err = plan("-f", written({"apiVersion": version, **of_ours}, other))
    assert code == 2
    assert f"InferenceWorkload x: {version} InferenceWorkload is not known; there are" in err


def test_the_example_that_scales_from_zero_has_a_replica_that_can_pay(plan: Run) -> None:
    found = as_json(plan, "-f", "examples/scale-to-zero.yaml")
    (hybrid,) = options(found, mode="Hybrid", feasible=True)
    assert hybrid["kappa"] > 1, "with a kappa below one nothing is owned beyond minReplicas, which is zero there"


def test_the_same_input_gives_the_same_output(plan: Run) -> None:
    assert plan("-f", HYBRID, "-o", "json") == plan("-f", HYBRID, "-o", "json")


def test_what_mode_auto_decides_itself_is_not_asked_for(plan: Run, written: Callable[..., str]) -> None:
    files = [each for each in yaml.load_all(Path(AUTO).read_text(), Loader=yaml.CSafeLoader) if each]
    assert as_json(plan, "-f", AUTO)["settings"] == {}
    files[-1]["spec"]["traffic"]["requestsPerSecond"] = {"mean": "20", "peak": "60"}
    files[-1]["spec"]["dedicated"]["scaling"]["maxReplicas"] = 1
    files[-1]["spec"].pop("budget")
    assert set(as_json(plan, "-f", written(*files))["settings"]) == {"dedicated.scaling.maxReplicas"}
    files[-1]["spec"]["placement"] = {"mode": "Hosted"}
    assert as_json(plan, "-f", written(*files))["settings"]["placement.mode"] in {"Dedicated", "Hybrid"}


def test_a_range_is_read_as_volumes_are_told(plan: Run) -> None:
    swept = as_json(plan, "-f", SCENARIO_1, "--sweep", "requestsPerMonth=1T..1T", "--points", "1")["sweep"]
    assert [each["requestsPerMonth"] for each in swept] == [10**12]


@pytest.mark.parametrize(("listed", "told"), [([], True), (["nvidia-l40s"], False), (["nvidia-l40s", "nvidia-h100-80gb"], True)])
def test_replicas_that_are_paid_for_are_of_a_class_to_name(
    plan: Run,
    written: Callable[..., str],
    listed: list[str],
    told: bool,  # noqa: FBT001  a table's column
) -> None:
    parts = documents(HYBRID)
    del parts["AcceleratorClass"]
    parts["InferenceWorkload"]["spec"]["dedicated"] = {"committedReplicas": 1, "accelerators": listed}
    found = as_json(plan, "-f", written(*parts.values()))
    assert any("are taken to be paid for on each of" in each for each in found["warnings"]) is told


def test_little_traffic_is_not_told_as_none(plan: Run, written: Callable[..., str]) -> None:
    parts = documents(HYBRID)
    parts["InferenceWorkload"]["spec"]["traffic"] = {"requestsPerMonth": 100}
    file = written(*parts.values())
    assert as_json(plan, "-f", file)["traffic"]["requestsPerSecondMean"] == pytest.approx(100 / 2_592_000, rel=1e-3)
    assert "100 requests a month (0.0000386/s" in plan("-f", file)[1]


def test_room_for_more_replicas_than_are_planned_is_left_alone(plan: Run) -> None:
    found = as_json(plan, "-f", HYBRID)
    assert found["recommended"]["replicasPeak"] < 4, "which the example allows"
    assert "dedicated.scaling.maxReplicas" not in found["settings"]


def test_what_is_to_be_set_names_what_has_to_change_for_it(plan: Run, written: Callable[..., str]) -> None:
    parts = documents(HYBRID)
    spec = parts["InferenceWorkload"]["spec"]
    spec["placement"], spec["gateway"], spec["budget"] = {"mode": "Hybrid"}, {"routing": "PrefixHash"}, {"monthlyUSD": "100000"}
    spec["hosted"]["overflow"] = {"maxSharePercent": 10}
    parts["HostedProvider"]["spec"]["models"][0] |= {"inputUSDPerMillionTokens": "0.01", "outputUSDPerMillionTokens": "0.01"}
    settings = as_json(plan, "-f", written(*parts.values()))["settings"]
    assert settings == {"placement.mode": "Hosted", "gateway.routing": "LeastLoad", "hosted.overflow.maxSharePercent": "null"}


def test_without_a_class_in_the_files_the_charts_catalogue_counts(plan: Run, written: Callable[..., str]) -> None:
    parts = documents(HYBRID)
    workload = parts["InferenceWorkload"]
    del workload["spec"]["dedicated"]["accelerators"]
    found = as_json(plan, "-f", written(parts["HostedProvider"], workload))
    assert {option["acceleratorClass"] for option in found["options"]} >= {"nvidia-l40s", "nvidia-h100-80gb", "nvidia-a10g"}


def test_the_catalogue_of_the_command_line_is_the_charts() -> None:
    values = Path("charts/spillway/values.yaml").read_text()
    assert Path("operator/spillway/cli/accelerator_classes.json").read_text() == crds.catalogue(values)
    assert set(default_classes()) == set(yaml.load(values, yaml.CSafeLoader)["acceleratorClasses"]["catalogue"])


def test_the_break_even_is_told_in_requests_and_as_the_use_of_a_replica(plan: Run, written: Callable[..., str]) -> None:
    parts = documents(HYBRID)
    for price in parts["HostedProvider"]["spec"]["models"]:
        price.update(inputUSDPerMillionTokens="0.5", outputUSDPerMillionTokens="0.5")
    found = as_json(plan, "-f", written(*parts.values()))
    (owned,) = options(found, mode="Hybrid", feasible=True)
    assert owned["kappa"] > 1
    assert owned["breakEvenUtilizationPercent"] == pytest.approx(100 / owned["kappa"], abs=0.1)
    assert found["breakEvenRequestsPerMonth"] == owned["breakEvenRequestsPerMonth"]
    assert found["breakEvenUtilizationPercent"] == owned["breakEvenUtilizationPercent"]


def test_every_price_that_counts_is_told_with_its_source_and_date(plan: Run) -> None:
    (prices,) = [each for each in as_json(plan, "-f", SCENARIO_1)["assumptions"] if each.startswith("Prices: ")]
    assert "AWS g5.12xlarge on demand, us-east-1 (2026-07-20)" in prices
    assert "the article, Q4 2025 (2025-12-31)" in prices


def test_old_prices_are_told(plan: Run) -> None:
    checks = as_json(plan, "-f", SCENARIO_1)["warnings"]
    assert any("older than 90 days, the oldest of 2025-12-31" in each for each in checks)


def test_the_work_of_people_is_shown_apart_and_its_effect_told(plan: Run) -> None:
    without, with_people = (as_json(plan, "-f", SCENARIO_1, *more) for more in ((), ("--engineering-monthly", "5000")))
    assert with_people["recommended"] == without["recommended"]
    assert with_people["engineering"]["amortisedMonthlyUSD"] == 5000
    assert "Hosted" in with_people["engineering"]["remark"]


def test_rates_are_written_out_however_many_come(plan: Run, written: Callable[..., str]) -> None:
    parts = documents(HYBRID)
    parts["InferenceWorkload"]["spec"]["traffic"]["requestsPerSecond"] = {"mean": "1500", "peak": "4200"}
    _, out, _ = plan("-f", written(*parts.values()))
    assert "1,500 requests/s on average and 4,200 in the busiest minute" in " ".join(out.split())


@pytest.mark.parametrize("form", ["table", "markdown"])
def test_what_costs_less_than_a_cent_a_month_is_told(plan: Run, written: Callable[..., str], form: str) -> None:
    parts = documents(HYBRID)
    lengths = {"inputTokens": {"mean": 500}, "outputTokens": {"mean": 100}}
    parts["InferenceWorkload"]["spec"]["traffic"] = {"requestsPerMonth": 5, **lengths}
    for each in parts["HostedProvider"]["spec"]["models"]:
        each |= {"inputUSDPerMillionTokens": "0.5", "outputUSDPerMillionTokens": "1.5"}
    file = written(*parts.values())
    found = as_json(plan, "-f", file, "--sweep", "requestsPerMonth=1..5", "--points", "2")
    assert (found["recommended"]["monthlyUSD"], [each["hostedUSD"] for each in found["sweep"]]) == (0.002, [0.0004, 0.002])
    _, out, _ = plan("-f", file, "--sweep", "requestsPerMonth=1..5", "--points", "2", "-o", form)
    assert "$0.002 a month" in out
    assert " 0.0004 " in out


def test_the_work_of_people_is_not_said_to_part_two_ways_to_own(plan: Run, written: Callable[..., str]) -> None:
    parts = documents(HYBRID)
    for each in parts["HostedProvider"]["spec"]["models"]:
        each |= {"inputUSDPerMillionTokens": "2", "outputUSDPerMillionTokens": "2"}
    traffic = {"requestsPerSecond": {"mean": "0.5"}, "inputTokens": {"mean": 500}, "outputTokens": {"mean": 100}}
    parts["InferenceWorkload"]["spec"]["traffic"] = traffic
    found = as_json(plan, "-f", written(*parts.values()), "--engineering-monthly", "100")
    assert found["options"][0]["mode"] == "Dedicated"
    told = f"Hybrid stays as it is with it, at ${found['recommended']['monthlyUSD'] + 100:,.0f} a month."
    assert found["engineering"]["remark"] == told


# Prices


def test_price_lists_change_what_machines_cost_and_add_what_can_be_rented(plan: Run, written: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "gpu_instance_prices.csv").write_text(
        "cloud,region,instance,on_demand_usd_h,spot_usd_h,source\n"
        'aws,us-east-1,g6e.xlarge,1.00,0.40-0.50,"a list, 2026-11-01"\n'
        "aws,us-east-1,g6e.2xlarge,0.10,,undated\n"
    )
    (tmp_path / "hosted_token_prices.csv").write_text(
        "provider,model,input_usd_per_mtok,output_usd_per_mtok,cache_read_usd_per_mtok,context_window,deprecated\n"
        "cheap,llama-v3p1-8b-instruct,0.02,0.05,,16384,False\n"
        "gone,llama-3.1-8b-instant,0.01,0.01,,,True\n"
        "other,llama-3.3-70b,0.01,0.01,,,False\n"
    )
    parts = documents(HYBRID)
    found = as_json(plan, "-f", written(*parts.values()), "--prices", str(tmp_path))
    assert {option["provider"] for option in options(found, mode="Hosted")} == {
        "cheap/llama-v3p1-8b-instruct",
        "together/meta-llama/Meta-Llama-3.1-8B-Instruct-Turbo",
    }
    owned = {option["pricing"]: option["monthlyUSD"] / option["replicasMean"] for option in options(found, mode="Dedicated")}
    assert owned["OnDemand"] == pytest.approx(720, rel=0.01)
    assert owned["Spot"] == pytest.approx(360, rel=0.01)
    assert any("1 machine prices" in each for each in found["warnings"])


def test_a_price_list_as_spreadsheets_write_it_begins_with_a_byte_order_mark(plan: Run, tmp_path: Path) -> None:
    (tmp_path / "hosted_token_prices.csv").write_text(
        "provider,model,input_usd_per_mtok,output_usd_per_mtok\ncheap,llama-3.1-8b-instruct,0.02,0.05\n", encoding="utf-8-sig"
    )
    found = as_json(plan, "-f", HYBRID, "--prices", str(tmp_path))
    assert "cheap/llama-3.1-8b-instruct" in {option["provider"] for option in options(found, mode="Hosted")}


def test_a_tab_is_told_as_what_it_is(plan: Run, tmp_path: Path) -> None:
    file = tmp_path / "tab.yaml"
    file.write_text("kind: HostedProvider\nspec:\n\tmodels: []\n")
    code, _, err = plan("-f", str(file))
    assert code == 2
    assert f"{file}, line 3: is not YAML: it is indented with a tab, which YAML does not take; indent it with spaces" in err


@pytest.mark.parametrize("arguments", [("-f", "spec:\n  x: 1\n" * 100), ("-f", HYBRID, "--prices", "a" * 5000)])
def test_text_where_a_path_should_be_is_told_in_a_line(plan: Run, arguments: tuple[str, ...]) -> None:
    code, _, err = plan(*arguments)
    assert (code, err.count("\n")) == (2, 1)
    assert "cannot be read: File name too long" in err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n", "has no column cloud, region, instance, on_demand_usd_h; it needs cloud"),
        ("cloud,region,instance,on_demand_usd_h,source\naws,r,g5.xlarge,cheap,2026-01-01\n", "write a price"),
        ("cloud,region,instance,on_demand_usd_h,source\naws,r,g5.xlarge,nan,2026-01-01\n", "write a price"),
        ("cloud,region,instance,on_demand_usd_h,source\naws,r,g5.xlarge,-1,2026-01-01\n", "write a price"),
    ],
)
def test_a_price_list_that_cannot_be_read_says_where(plan: Run, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "gpu_instance_prices.csv").write_text(text)
    code, _, err = plan("-f", HYBRID, "--prices", str(tmp_path))
    assert code == 2
    assert "gpu_instance_prices.csv" in err
    assert said in err


# Exit codes


def test_when_nothing_is_possible_it_says_which_constraint_to_relax(plan: Run, written: Callable[..., str]) -> None:
    parts = documents(HYBRID)
    parts["InferenceWorkload"]["spec"]["budget"]["monthlyUSD"] = "100"
    file = written(*parts.values())
    code, out, _ = plan("-f", file)
    assert code == 3
    assert "NOTHING IS POSSIBLE" in out
    (enough,) = re.findall(r"budget.monthlyUSD: raise it to (\d+) or more", out)
    parts["InferenceWorkload"]["spec"]["budget"]["monthlyUSD"] = enough
    assert plan("-f", written(*parts.values(), name="raised.yaml"))[0] == 0, "that is enough"
    code, out, _ = plan("-f", file, "-o", "json")
    assert code == 3
    assert json.loads(out)["recommended"] is None
    assert json.loads(out)["relax"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda parts: parts.pop("InferenceWorkload"), "there is no InferenceWorkload"),
        (lambda parts: parts.pop("HostedProvider"), "Its manifest has to be among the files: add it with -f."),
        (lambda parts: parts["InferenceWorkload"]["spec"].pop("traffic"), "spec.traffic: states no volume"),
        (lambda parts: parts["InferenceWorkload"]["spec"]["dedicated"].update(accelerators=["b9"]), "there is no AcceleratorClass 'b9'"),
        (lambda parts: parts["InferenceWorkload"]["spec"]["traffic"].update(pattern="Odd"), "spec.traffic.pattern: is 'Odd'; write one of"),
        (lambda parts: parts["InferenceWorkload"].update(apiVersion="spillway.dev/v9"), "is not known"),
        (lambda parts: parts["InferenceWorkload"].update(metadata={}), "metadata.name is missing"),
        (lambda parts: parts["AcceleratorClass"]["spec"]["price"].update(spotUSDPerHour="9"), "spotUSDPerHour cannot exceed"),
    ],
)  # fmt: skip
def test_bad_input_is_told_with_file_field_and_what_to_do(
    plan: Run, written: Callable[..., str], change: Callable[[dict[str, Any]], object], said: str
) -> None:
    parts = documents(HYBRID)
    change(parts)
    code, out, err = plan("-f", written(*parts.values()))
    assert (code, out) == (2, "")
    assert said in err
    assert "in.yaml" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-f", "/nowhere.yaml"), "cannot be read"),
        (("-f", HYBRID, "--sweep", "1M..2M"), "give a range of volumes"),
        (("-f", HYBRID, "--sweep", "requestsPerMonth=5M..2M"), "give a range of volumes"),
        (("-f", HYBRID, "--sweep", "requestsPerMonth=1M..2M", "--points", "0"), "--points"),
        (("-f", HYBRID, "--plot", "x.png"), "--plot needs a range"),
        (("-f", HYBRID, "--prices", "/nowhere"), "has neither"),
        (("-f", HYBRID, "--engineering-once", "-1"), "--engineering-once"),
        (("-f", HYBRID, "--amortise-months", "0"), "--amortise-months"),
        (("-f", HYBRID, "--model-config", "/nowhere.json"), "/nowhere.json: cannot be read: No such file or directory; give"),
        (("-f", HYBRID, "--model-config", HYBRID), "cannot be read as JSON"),
    ],
)
def test_a_wrong_option_is_told(plan: Run, arguments: tuple[str, ...], said: str) -> None:
    code, out, err = plan(*arguments)
    assert (code, out) == (2, "")
    assert said in err


@pytest.mark.parametrize(
    "text",
    ["", "---\n---\n", "a: [", "\t- x", "5", "just words", "- a\n- b", "a: &a [*a]", "a: 1\na: 2", "\x00",
     "a: !!python/object:os.system {}",
     "{" * 3000, "apiVersion: spillway.dev/v1alpha1\nkind: InferenceWorkload", "apiVersion: [1]\nkind: {}", "a: " + "9" * 5000],
)  # fmt: skip
def test_text_that_is_no_manifest_is_told_without_a_traceback(plan: Run, tmp_path: Path, text: str) -> None:
    (tmp_path / "in.yaml").write_text(text)
    code, out, err = plan("-f", str(tmp_path / "in.yaml"))
    assert (code, out) == (2, "")
    assert "in.yaml" in err


# Malformed manifests

WRONG: tuple[Any, ...] = (
    None, "", "x", 0, -1, 1, 10**30, 1.5, float("inf"), float("nan"), True, [], [1], [None], [[]], {}, {"x": 1}, {"": ""}, "1e9", "-5",
    "é\n", ["a", "a"], {"mean": 0}, {"name": None}, 10**13, "9" * 30,
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict):
        for key, each in value.items():
            yield from places(each, (*path, key))
    if isinstance(value, list):
        for index, each in enumerate(value):
            yield from places(each, (*path, index))


def malformed(count: int) -> Iterator[list[Any]]:
    chance = random.Random(20261126)
    whole = list(documents(HYBRID).values())
    spots = [path for path in places(whole) if path]
    for number in range(count):
        broken = copy.deepcopy(whole)
        for path in chance.sample(spots, 1 + number % 3):
            owner: Any = broken
            try:
                for step in path[:-1]:
                    owner = owner[step]
                if chance.random() < 0.2:
                    del owner[path[-1]]
                else:
                    owner[path[-1]] = chance.choice(WRONG)
            except (KeyError, IndexError, TypeError):
                continue  # an earlier change has taken the place away
        yield broken


def test_400_malformed_manifests_never_give_a_traceback(plan: Run, written: Callable[..., str]) -> None:
    codes = []
    for broken in malformed(400):
        code, out, err = plan("-f", written(*broken), "-o", "json")
        codes.append(code)
        assert code in {0, 2, 3}
        assert bool(err) == (code == 2), (broken, err)
        assert bool(out) == (code != 2)
    assert codes.count(2) >= 200


# The command starts fast because it loads little


def test_planning_loads_neither_kopf_nor_kubernetes_nor_matplotlib() -> None:
    script = (
        f"import sys; from spillway.cli import main; main(['plan', '-f', {HYBRID!r}]); "
        "print([m for m in ('kopf', 'kubernetes', 'matplotlib', 'aiohttp', 'prometheus_api_client') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


# Pictures

FEW_VOLUMES = ("--sweep", "requestsPerMonth=1M..30M", "--points", "5")


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_a_picture_of_cost_by_volume_is_written(plan: Run, tmp_path: Path, suffix: str) -> None:
    picture = tmp_path / f"cost.{suffix}"
    code, _, err = plan("-f", SCENARIO_1, *FEW_VOLUMES, "--plot", str(picture))
    assert (code, err) == (0, "")
    assert picture.read_bytes().startswith(b"\x89PNG" if suffix == "png" else b"<?xml")


def test_a_picture_of_an_unknown_format_or_in_no_folder_is_told(plan: Run, tmp_path: Path) -> None:
    for name in ("cost.doc", "nowhere/cost.png"):
        code, _, err = plan("-f", SCENARIO_1, *FEW_VOLUMES, "--plot", str(tmp_path / name))
        assert code == 2
        assert "cannot be written" in err


def test_without_matplotlib_it_says_what_to_install() -> None:
    script = (
        "import sys; sys.modules['matplotlib'] = None; from spillway.cli import main; "
        f"sys.exit(main(['plan', '-f', {SCENARIO_1!r}, '--sweep', 'requestsPerMonth=1M..2M', '--points', '2', '--plot', 'x.png']))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install matplotlib" in done.stderr


# A model that the catalogue does not know

CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_models_config_json_gives_its_shape(plan: Run, written: Callable[..., str], tmp_path: Path, encoding: str) -> None:
    parts = documents(HYBRID)
    parts["InferenceWorkload"]["spec"]["model"] = {"id": "acme/secret"}
    del parts["InferenceWorkload"]["spec"]["budget"]
    file = written(*parts.values())
    unknown = as_json(plan, "-f", file)
    assert unknown["recommended"]["mode"] == "Hosted"
    assert any("--model-config" in option["reason"] for option in options(unknown, mode="Dedicated"))
    (tmp_path / "config.json").write_text(json.dumps(CONFIG), encoding=encoding)
    known = as_json(plan, "-f", file, "--model-config", str(tmp_path / "config.json"))
    assert options(known, mode="Dedicated", feasible=True)


def test_a_config_json_is_of_the_one_model_that_nothing_else_knows(plan: Run, written: Callable[..., str], tmp_path: Path) -> None:
    def others(*names: str) -> str:
        parts = documents(HYBRID)
        workload = parts.pop("InferenceWorkload")
        models = [copy.deepcopy(workload) | {"metadata": {"name": name.rpartition("/")[2].lower()}} for name in names]
        for each, name in zip(models, names, strict=True):
            each["spec"] |= {"model": {"id": name, "maxContextTokens": 16384}, "budget": {"monthlyUSD": "100000"}}
        return written(*parts.values(), *models)

    (tmp_path / "config.json").write_text(json.dumps(CONFIG | {"num_hidden_layers": 16}))
    given = ("--model-config", str(tmp_path / "config.json"), "-o", "yaml")
    half, known = (
        list(yaml.safe_load_all(plan("-f", others(*names), *given)[1])) for names in (["acme/secret"], ["acme/secret", LLAMA_8B])
    )
    assert known[0] == half[0]
    assert known[1] == yaml.safe_load(plan("-f", others(LLAMA_8B), "-o", "yaml")[1]), "the catalogue's"
    for names in (["acme/secret", "acme/other"], [LLAMA_8B, "Qwen/Qwen3-8B"]):
        code, out, err = plan("-f", others(*names), *given)
        assert (code, out) == (2, "")
        assert f"is of one model, and the workloads have {', '.join(names)}; give files with one of them" in err


@pytest.mark.parametrize("text", ["", "[]", "{}", "nonsense", '{"model_type": "mamba"}', '{"num_hidden_layers": "x"}', "[" * 5000])
def test_a_config_json_that_gives_no_shape_is_told(plan: Run, tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    code, _, err = plan("-f", HYBRID, "--model-config", str(tmp_path / "config.json"))
    assert code == 2
    assert "config.json" in err


# What the words say


def test_the_ways_out_name_every_field_that_has_to_change(plan: Run, written: Callable[..., str]) -> None:
    parts = documents(HYBRID)
    spec = parts["InferenceWorkload"]["spec"]
    spec["placement"] = {"mode": "Auto", "dataResidency": "ClusterOnly"}
    del spec["hosted"]
    spec["dedicated"]["engine"] = {"tensorParallelSize": 2}
    spec["budget"]["monthlyUSD"] = "100"
    code, out, _ = plan("-f", written(*parts.values()), "-o", "json")
    assert code == 3
    first, second, *_ = json.loads(out)["relax"]
    assert "placement.dataResidency: choose HostedAllowed; and budget.monthlyUSD: raise it to" in first + second
    assert "dedicated: allow 1 x l40s-g6e (accelerators, engine.tensorParallelSize); and budget.monthlyUSD: raise it to" in first + second


def test_a_price_that_is_missing_is_asked_for_and_no_promise_is_given_up_for_it(plan: Run, written: Callable[..., str]) -> None:
    parts = documents(HYBRID)
    spec = parts["InferenceWorkload"]["spec"]
    spec["placement"] = {"mode": "Auto", "dataResidency": "ClusterOnly"}
    del spec["hosted"]
    del parts["AcceleratorClass"]["spec"]["price"]
    code, out, _ = plan("-f", written(*parts.values()), "-o", "json")
    assert code == 3
    assert "AcceleratorClass 'l40s-g6e' has no price; set its spec.price." in json.loads(out)["relax"]


def test_the_budget_that_it_says_to_raise_to_is_enough(plan: Run, written: Callable[..., str]) -> None:
    parts = documents(HYBRID)
    spec = parts["InferenceWorkload"]["spec"]
    spec["traffic"] = {"requestsPerMonth": 3}  # a fraction of a cent
    spec["budget"] = {"monthlyUSD": "0.000000001"}
    code, out, _ = plan("-f", written(*parts.values()), "-o", "json")
    assert code == 3
    told = next(way for way in json.loads(out)["relax"] if way.startswith("budget.monthlyUSD: raise it to"))
    spec["budget"] = {"monthlyUSD": told.split("raise it to ")[1].split(" ")[0]}
    assert plan("-f", written(*parts.values()), "-o", "json")[0] == 0


def test_what_fits_nowhere_and_may_not_leave_is_told_both(plan: Run, written: Callable[..., str]) -> None:
    parts = documents(HYBRID)
    spec = parts["InferenceWorkload"]["spec"]
    spec["placement"] = {"mode": "Auto", "dataResidency": "ClusterOnly"}
    del spec["hosted"]
    parts["AcceleratorClass"]["spec"]["memoryGiB"] = 8
    code, out, _ = plan("-f", written(*parts.values()), "-o", "json")
    assert code == 3
    ways = json.loads(out)["relax"]
    assert ways[0].startswith("placement.dataResidency: choose HostedAllowed: Hosted at together/")
    assert any("1 x l40s-g6e: Does not fit" in way for way in ways)


def test_a_replica_that_costs_more_than_renting_its_work_is_not_shown_as_an_alternative(plan: Run, written: Callable[..., str]) -> None:
    parts = documents(HYBRID)
    del parts["InferenceWorkload"]["spec"]["budget"]
    parts["InferenceWorkload"]["spec"]["placement"]["mode"] = "Auto"
    for price in parts["HostedProvider"]["spec"]["models"]:
        price.update(inputUSDPerMillionTokens="0.02", outputUSDPerMillionTokens="0.05")
    file = written(*parts.values())
    assert options(as_json(plan, "-f", file), mode="Hybrid", feasible=True)
    table = plan("-f", file)[1]
    assert "\n   Hybrid" not in table
    assert "No volume makes owning pay." in table
    assert "(kappa is" in table


def test_offline_classification_is_planned_in_numbers_that_json_has(plan: Run, written: Callable[..., str]) -> None:
    parts = documents(HYBRID)
    spec = parts["InferenceWorkload"]["spec"]
    del spec["slo"]
    spec["traffic"] = {"requestsPerMonth": 100_000_000, "outputTokens": {"mean": 1}, "latency": "Offline"}
    _, out, _ = plan("-f", written(*parts.values()), "-o", "json")
    for number in ("Infinity", "NaN"):
        assert number not in out
    (owned, *_) = options(json.loads(out), mode="Dedicated")
    assert owned["replicasPeak"] > 1  # 38.6 requests/s of 1000 tokens: an L40S reads 16 of them


def test_bursty_traffic_that_states_no_peak_is_planned_for_one(plan: Run, written: Callable[..., str]) -> None:
    parts = documents(HYBRID)
    parts["InferenceWorkload"]["spec"]["traffic"] |= {"requestsPerSecond": {"mean": "4"}, "pattern": "Bursty"}
    found = as_json(plan, "-f", written(*parts.values()))
    assert found["traffic"]["requestsPerSecondPeak"] == 16
    assert any("Bursty traffic leaps faster" in each for each in found["assumptions"])
    (owned, *_) = options(found, mode="Dedicated")
    assert owned["replicasMean"] == owned["replicasPeak"]


def test_accelerators_left_over_in_a_node_are_told(plan: Run, written: Callable[..., str]) -> None:
    parts = documents(HYBRID)
    parts["AcceleratorClass"]["spec"]["perNode"] = 4
    parts["InferenceWorkload"]["spec"]["dedicated"]["scaling"] = {"minReplicas": 1}
    parts["InferenceWorkload"]["spec"]["traffic"]["requestsPerSecond"] = {"mean": "0.1"}
    file = written(*parts.values())
    (owned,) = options(as_json(plan, "-f", file), mode="Dedicated", tensorParallelSize=1)
    assert owned["monthlyUSD"] == pytest.approx(1.861 / 4 * 720)
    assert owned["strandedMonthlyUSD"] == pytest.approx(1.861 * 3 / 4 * 720)
    assert "1 x l40s-g6e*" in plan("-f", file)[1]


def test_the_readme_shows_what_is_printed(plan: Run) -> None:
    printed = plan("-f", SCENARIO_2)[1]
    shown = Path("README.md").read_text().partition(f"$ spillway plan -f {SCENARIO_2}\n")[2].partition("```")[0]
    assert shown
    assert printed.startswith(shown)
