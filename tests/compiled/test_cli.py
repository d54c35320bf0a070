"""`spillway simulate` as it is used: manifests and a trace in, what it would have cost out, and a sentence instead of a traceback."""

import copy
import io
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from spillway.api.simulate_output import SimulateOutput
from spillway.cli.simulate_policies import asked_policies, policy_names
from tests.servers import serving
from tests.unit.observe.past import Past

HYBRID = "examples/hybrid-llama-8b-l40s.yaml"
Run = Callable[..., tuple[int, str, str]]
HERE = "own replicas first, and what they cannot take is rented"
FEW = ("--policy", "spillway,static,oracle")


@pytest.fixture
def simulate(spillway: Run) -> Run:
    return partial(spillway, "simulate")


@pytest.fixture
def trace(tmp_path: Path) -> str:
    """Write a minute of two requests a second, then two of none, then one."""
    chance = np.random.default_rng(1)
    arrivals = [*np.sort(chance.uniform(0, 60, 120)), 180.0]
    lines = [f"{at:.3f},{chance.integers(200, 1500)},{chance.integers(1, 60)}" for at in arrivals]
    file = tmp_path / "trace.csv"
    file.write_text("\n".join(["arrival_s,input_tokens,output_tokens", *lines]))
    return str(file)


def documents() -> dict[str, dict[str, Any]]:
    return {each["kind"]: each for each in yaml.load_all(Path(HYBRID).read_text(), Loader=yaml.CSafeLoader)}


def as_json(simulate: Run, *arguments: str) -> dict[str, Any]:
    code, out, err = simulate("-f", HYBRID, *arguments, "-o", "json")
    assert (code, err) == (0, "")
    found: dict[str, Any] = json.loads(out)
    return found


def refusal(simulate: Run, *arguments: str) -> str:
    code, out, err = simulate(*arguments)
    assert (code, out) == (2, "")
    assert all(line.startswith("spillway simulate: ") for line in err.splitlines())
    return err


def by_name(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["policy"]: each for each in found["policies"]}


def test_productions_own_decisions_run_beside_baselines_and_the_bound(simulate: Run, trace: str) -> None:
    found = as_json(simulate, "--trace", trace, *FEW)
    policies = by_name(found)
    assert set(policies) == {"spillway", "static", "oracle"}
    assert policies["oracle"]["costOverOracle"] == 1.0
    assert all(each["costUSD"] >= policies["oracle"]["costUSD"] for each in policies.values())
    assert found["trace"]["requests"] == 121
    assert found["engine"]["acceleratorClass"] == "l40s-g6e"
    assert SimulateOutput.model_validate(found).model_dump(by_alias=True, mode="json") == found


def test_the_same_seed_gives_the_same_document(simulate: Run, trace: str) -> None:
    one, two = (as_json(simulate, "--trace", trace, "--policy", "spillway", "--seed", "7") for _ in range(2))
    assert one == two


def test_kappa_scales_the_hosted_price_and_nothing_else(simulate: Run, trace: str) -> None:
    one, two = (as_json(simulate, "--trace", trace, "--policy", "all-hosted", "--kappa", kappa) for kappa in ("1.25", "2.5"))
    assert (one["kappa"], two["kappa"]) == (1.25, 2.5)
    assert two["hosted"]["inputUSDPerMillionTokens"] == pytest.approx(2 * one["hosted"]["inputUSDPerMillionTokens"], rel=1e-3)
    assert two["policies"][0]["hostedUSD"] == pytest.approx(2 * one["policies"][0]["hostedUSD"], abs=0.02)
    assert one["engine"] == two["engine"]


def test_prompts_are_as_cheap_as_their_cached_share_makes_them(simulate: Run, trace: str, written: Callable[..., str]) -> None:
    """Spillway decides by the price that it is billed at."""
    caching, cheap = documents(), documents()
    caching["InferenceWorkload"]["spec"]["traffic"]["cachedInputPercent"] = 60
    caching["HostedProvider"]["spec"]["models"][0] |= {"inputUSDPerMillionTokens": "2", "cachedInputUSDPerMillionTokens": "0.5"}
    cheap["HostedProvider"]["spec"]["models"][0] |= {"inputUSDPerMillionTokens": "1.1"}
    found = [
        simulate("-f", written(*each.values()), "--trace", trace, "--policy", "spillway,all-hosted", "-o", "json")
        for each in (caching, cheap)
    ]
    one, two = (json.loads(out) for _, out, _ in found)
    assert one["hosted"] == two["hosted"]
    assert one["policies"] == two["policies"]
    assert any("60 % of the prompt tokens are billed as cached." in each for each in one["assumptions"])


def test_all_hosted_spills_everything_and_all_owned_nothing(simulate: Run, trace: str) -> None:
    policies = by_name(as_json(simulate, "--trace", trace, "--policy", "all-hosted,all-owned"))
    assert policies["all-hosted"]["spilledPercent"] >= 99
    assert policies["all-owned"]["spilledPercent"] == 0
    assert policies["all-owned"]["hostedUSD"] == 0


def test_a_price_of_nothing_cannot_be_scaled_which_is_said(simulate: Run, trace: str, written: Callable[..., str]) -> None:
    parts = documents()
    for each in parts["HostedProvider"]["spec"]["models"]:
        each |= {"inputUSDPerMillionTokens": "0", "outputUSDPerMillionTokens": "0"}
    said = refusal(simulate, "-f", written(*parts.values()), "--trace", trace, "--kappa", "2.5")
    assert "listed for nothing, which cannot be scaled" in said


def test_all_owned_is_enough_for_the_minute_with_the_most_work(simulate: Run, written: Callable[..., str], tmp_path: Path) -> None:
    """Of two minutes the one with fewer requests asks for more."""
    brief, long = (f"{at / 20:.2f},100,1" for at in range(1200)), (f"{120 + at / 5:.1f},3000,300" for at in range(300))
    mixed = tmp_path / "mixed.csv"
    mixed.write_text("\n".join(["arrival_s,input_tokens,output_tokens", *brief, *long, "300,100,1"]))
    file = changed(written, dedicated={"scaling": {"minReplicas": 1, "maxReplicas": 1}})
    found = told(simulate, file, str(mixed), "all-owned")
    (fills,) = (re.search("work fills ([0-9.]+) replicas", each) for each in found["warnings"] if "maxReplicas is 1" in each)
    assert fills is not None
    assert float(fills[1]) == pytest.approx(max(found["policies"][0]["course"]["demandReplicas"]), abs=0.06)


def test_values_of_a_policys_parameters_are_given_behind_its_name(simulate: Run, trace: str) -> None:
    policies = by_name(as_json(simulate, "--trace", trace, "--policy", "static:0.01,all-hosted", "--policy", "static:3"))
    assert policies["static:0.01"]["replicaHours"] < policies["static:3"]["replicaHours"]
    assert [each.values for each in asked_policies(["llmd-slo:0.5,0.4", "kubeai,static:1"], rents=True)] == [(0.5, 0.4), None, (1.0,)]


def test_traffic_is_scaled_to_a_mean_of_replicas_or_copied(simulate: Run, trace: str) -> None:
    small = as_json(simulate, "--trace", trace, "--policy", "all-hosted", "--scale-to", "0.02")["trace"]
    assert small["demandReplicasMean"] == pytest.approx(0.02, rel=0.2)
    assert small["scale"] < 1
    assert as_json(simulate, "--trace", trace, "--policy", "all-hosted", "--copies", "3")["trace"]["requests"] == 3 * 121


def test_a_slow_hosted_side_breaks_the_promise_and_is_warned_of(simulate: Run, trace: str) -> None:
    found = as_json(simulate, "--trace", trace, "--policy", "all-hosted", "--hosted", "slow")
    assert found["policies"][0]["keepsSLO"] is False
    assert found["cheapest"] is None
    assert any("The hosted side by itself meets the SLO for" in each for each in found["warnings"])
    assert any("Clients try once more" in each and "gateways ask each backend once" in each for each in found["assumptions"])


def test_measured_coefficients_replace_the_planners(simulate: Run, trace: str, tmp_path: Path) -> None:
    engine = tmp_path / "engine.json"
    engine.write_text(json.dumps({"a": 60.0, "b": 1.0, "c": 0.2, "delta": 0.2}), encoding="utf-8-sig")  # as some editors write it
    slow, planned = (as_json(simulate, "--trace", trace, "--policy", "static", *more) for more in (("--engine", str(engine)), ()))
    assert (slow["engine"]["basis"], slow["engine"]["stepBaseMs"]) == ("Given", 60.0)
    assert slow["trace"]["demandReplicasMean"] > 1.5 * planned["trace"]["demandReplicasMean"]


def test_a_step_takes_what_its_coefficients_say_and_no_more(simulate: Run, written: Callable[..., str], tmp_path: Path) -> None:
    engine, lone = tmp_path / "engine.json", tmp_path / "lone.csv"
    engine.write_text(json.dumps({"a": 10, "b": 2, "c": 5, "delta": 0.1}))
    lone.write_text("arrival_s,input_tokens,output_tokens\n10,100,50\n")
    file = changed(written, dedicated={"scaling": {"minReplicas": 1}})
    for more in (("--engine", str(engine)), ()):
        found = told(simulate, file, str(lone), "static", *more)
        step, (own,) = found["engine"], found["policies"]
        base = step["stepBaseMs"] + step["stepSequenceMs"]
        assert own["ttftP95Ms"] == pytest.approx(
            base + step["stepPromptMs"] * 100, abs=0.3
        )  # the planner's attention to itself is not told
        kept = sum(range(101, 150)) / 49  # tokens in the cache, on average over the steps behind the first
        assert own["interTokenP95Ms"] == pytest.approx(base + step["stepKvMs"] * kept / 1000, abs=0.02)


@pytest.mark.parametrize("more", [(), ("--copies", "3"), ("--policy", "all-owned,all-hosted,oracle-replay,hpa-utilisation")])
def test_requests_that_all_come_at_once_are_a_trace_too(simulate: Run, tmp_path: Path, more: tuple[str, ...]) -> None:
    file = tmp_path / "burst.csv"
    file.write_text("arrival_s,input_tokens,output_tokens\n" + "0,500,20\n" * 3)
    found = as_json(simulate, "--trace", str(file), *FEW, *more)
    assert found["trace"]["requests"] == (9 if "--copies" in more else 3)
    assert by_name(found)["spillway"]["failedPercent"] == 0


@pytest.mark.parametrize("more", [("--policy", "spillway,static"), ("--policy", "oracle"), ("--days", "1e-9")])
def test_progress_is_shown_on_a_terminal_and_cleared_away(
    simulate: Run, trace: str, more: tuple[str, ...], terminal: Callable[[], io.StringIO]
) -> None:
    there = terminal()
    simulate("-f", HYBRID, "--trace", trace, *more)
    shown, _, rest = there.getvalue().rpartition("\r\x1b[K")
    assert "121 rows" in shown
    assert not rest or rest.startswith("spillway simulate: ")


def test_a_bar_shows_how_much_of_all_policies_is_done_and_which_one_runs(
    simulate: Run, trace: str, terminal: Callable[[], io.StringIO]
) -> None:
    there = terminal()
    simulate("-f", HYBRID, "--trace", trace, "--policy", "spillway,static")
    bars = re.findall(r"\[(#*)\.*\] +(\d+) % ([\w-]+)", there.getvalue())
    assert ("", "0", "spillway") in bars
    assert ("#" * 15, "50", "static") in bars
    shares = [int(share) for _, share, _ in bars]
    assert shares == sorted(shares)


def test_the_table_fits_100_columns_and_says_first_what_keeps_the_slo(simulate: Run, trace: str) -> None:
    code, out, err = simulate("-f", HYBRID, "--trace", trace)
    assert (code, err) == (0, "")
    assert max(len(line) for line in out.splitlines()) <= 100
    assert out.index("the SLO of 99 %") < out.index("POLICY")


def test_the_page_is_written_where_it_is_wanted(simulate: Run, trace: str, tmp_path: Path) -> None:
    page = tmp_path / "out.html"
    assert simulate("-f", HYBRID, "--trace", trace, *FEW, "-o", "html", "--out", str(page)) == (0, "", "")
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_a_trace_whose_name_is_no_text_can_be_written_about(simulate: Run, trace: str, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"trace-\xff.csv")
    odd.write_bytes(Path(trace).read_bytes())
    page = tmp_path / "page.html"
    assert simulate("-f", HYBRID, "--trace", str(odd), "--policy", "all-hosted", "-o", "html", "--out", str(page)) == (0, "", "")
    assert "trace-\\udcff.csv" in page.read_text(encoding="utf-8")


def test_a_workload_that_may_not_rent_owns_and_the_bound_is_left_out(simulate: Run, trace: str, written: Callable[..., str]) -> None:
    parts = documents()
    workload = parts["InferenceWorkload"]
    workload["spec"]["placement"] = {"mode": "Dedicated", "dataResidency": "ClusterOnly"}
    del workload["spec"]["hosted"]
    file = written(parts["AcceleratorClass"], workload)
    code, out, _ = simulate("-f", file, "--trace", trace, "-o", "json")
    found = json.loads(out)
    assert code == 0
    assert (found["hosted"], found["kappa"]) == (None, None)
    assert all(each["hostedUSD"] == 0 and each["costOverOracle"] is None for each in found["policies"])
    assert "--kappa" in refusal(simulate, "-f", file, "--trace", trace, "--kappa", "2")
    assert "needs a hosted side" in refusal(simulate, "-f", file, "--trace", trace, "--policy", "all-hosted")


def test_without_a_provider_kappa_alone_sets_the_hosted_price(simulate: Run, trace: str, written: Callable[..., str]) -> None:
    parts = documents()
    workload = parts["InferenceWorkload"]
    workload["spec"]["placement"] = {"mode": "Auto"}
    del workload["spec"]["hosted"]
    code, out, _ = simulate("-f", written(parts["AcceleratorClass"], workload), "--trace", trace, "--kappa", "3", *FEW, "-o", "json")
    found = json.loads(out)
    assert code == 0
    assert found["kappa"] == 3
    assert any("--kappa alone sets it" in each for each in found["assumptions"])


def test_lengths_and_bounds_of_the_manifest_that_do_not_suit_the_trace_are_warned_of(
    simulate: Run, trace: str, written: Callable[..., str]
) -> None:
    parts = documents()
    parts["InferenceWorkload"]["spec"]["dedicated"]["scaling"] = {"minReplicas": 1, "maxReplicas": 1}
    file = written(*parts.values())
    code, out, _ = simulate("-f", file, "--trace", trace, "--policy", "static", "--scale-to", "1.2", "-o", "json")
    warnings = " ".join(json.loads(out)["warnings"])
    assert code == 0
    assert "spec.traffic.outputTokens.mean is 250 and the trace's is" in warnings
    assert "dedicated.scaling.maxReplicas is 1" in warnings


def test_requests_longer_than_the_context_are_left_out_and_told(simulate: Run, tmp_path: Path) -> None:
    file = tmp_path / "long.csv"
    file.write_text("arrival_s,input_tokens,output_tokens\n0,500,20\n1,99999,20\n2,500,20\n")
    found = as_json(simulate, "--trace", str(file), "--policy", "static")
    assert found["trace"]["requests"] == 2
    assert any("1 of 3 requests are longer than the 16,384 tokens" in each for each in found["warnings"])


def test_a_promise_that_no_replica_keeps_is_simulated_and_warned_of(simulate: Run, trace: str, written: Callable[..., str]) -> None:
    parts = documents()
    parts["InferenceWorkload"]["spec"]["slo"]["timeToFirstTokenMs"] = 20
    code, out, _ = simulate("-f", written(*parts.values()), "--trace", trace, "--policy", "static", "-o", "json")
    found = json.loads(out)
    assert code == 0
    assert found["cheapest"] is None
    assert (
        "no replica keeps the SLO for requests like these: the cheapest that holds the model misses timeToFirstTokenMs"
        in found["warnings"][0]
    )


def test_a_model_that_fits_nowhere_is_refused_with_what_is_in_its_way(simulate: Run, trace: str, written: Callable[..., str]) -> None:
    parts = documents()
    parts["InferenceWorkload"]["spec"]["model"] = {"id": "meta-llama/Llama-3.3-70B-Instruct"}
    said = refusal(simulate, "-f", written(*parts.values()), "--trace", trace)
    assert "nothing that could be owned serves this trace: does not fit" in said


def changed(written: Callable[..., str], *, overflow: dict[str, Any] | None = None, **spec: Any) -> str:
    """Write the example's manifests with another overflow and these parts of the spec."""
    parts = documents()
    mine = parts["InferenceWorkload"]["spec"]
    mine |= spec
    if overflow is not None:
        mine["hosted"]["overflow"] = overflow
    return written(*parts.values())


def told(simulate: Run, file: str, trace: str, policy: str, *more: str) -> dict[str, Any]:
    code, out, err = simulate("-f", file, "--trace", trace, "--policy", policy, *more, "-o", "json")
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


@pytest.fixture
def crowd(tmp_path: Path) -> str:
    """Write a minute of thirty requests a second with long answers, more than a replica takes, and then two of none."""
    lines = [f"{at / 30:.3f},800,200" for at in range(1800)]
    file = tmp_path / "crowd.csv"
    file.write_text("\n".join(["arrival_s,input_tokens,output_tokens", *lines, "180.0,800,200"]))
    return str(file)


def test_a_moment_before_the_spill_is_simulated_and_told(simulate: Run, crowd: str, written: Callable[..., str]) -> None:
    at_once, after = (
        told(simulate, changed(written, overflow={"maxWaitMs": wait_ms}, slo={"timeToFirstTokenMs": 8000}), crowd, "static:1")
        for wait_ms in (0, 5000)
    )
    assert 0 < after["policies"][0]["spilledPercent"] < at_once["policies"][0]["spilledPercent"]
    assert any("waits up to 5000 ms for a slot" in each for each in after["assumptions"])
    assert not any("waits up to" in each for each in at_once["assumptions"])


def test_long_prompts_go_to_the_hosted_side_first_where_the_manifest_says_so_and_that_is_told(
    simulate: Run, written: Callable[..., str], tmp_path: Path
) -> None:
    mixed = tmp_path / "mixed.csv"
    mixed.write_text("\n".join(["arrival_s,input_tokens,output_tokens", *(f"{at},{800 if at % 4 else 2000},20" for at in range(40))]))
    kept, spilled = (
        told(simulate, changed(written, **more), str(mixed), "static:3")
        for more in ({}, {"overflow": {"longPrompts": "Spill", "longPromptTokens": 1000}})
    )
    assert (kept["policies"][0]["spilledPercent"], spilled["policies"][0]["spilledPercent"]) == (0, 25)
    assert any("more than 1,000 tokens goes to the hosted side first" in each for each in spilled["assumptions"])
    assert not any("tokens goes to the hosted side" in each for each in kept["assumptions"])


def test_a_days_limit_is_kept_and_what_it_does_not_let_go_is_held_where_the_gateway_holds_it(
    simulate: Run, crowd: str, written: Callable[..., str]
) -> None:
    most = {"maxUSDPerDay": "1"}
    waits: dict[str, Any] = {"overflow": {**most, "whenExceeded": "Wait"}, "gateway": {"hold": {"seconds": 590, "maxRequests": 10_000}}}
    free, refused, held = (
        told(simulate, changed(written, **each), crowd, "static:0.05", "--kappa", "20")["policies"][0]
        for each in ({}, {"overflow": most}, waits)
    )
    assert free["hostedUSD"] > 1.0 >= refused["hostedUSD"] == held["hostedUSD"] > 0.99
    assert (free["failedPercent"], held["failedPercent"]) == (0, 0)
    assert refused["failedPercent"] > 10
    assumed = told(simulate, changed(written, overflow=most), crowd, "all-hosted")["assumptions"]
    assert any("no more than $1.00 a day" in each for each in assumed)


def test_where_nobody_else_answers_there_is_a_replica_from_the_start_as_in_a_cluster(
    simulate: Run, written: Callable[..., str], tmp_path: Path
) -> None:
    sparse = tmp_path / "sparse.csv"
    sparse.write_text("\n".join(["arrival_s,input_tokens,output_tokens", *(f"{at},800,20" for at in range(0, 600, 20))]))
    parts = documents()
    mine = parts["InferenceWorkload"]["spec"]
    del mine["hosted"]
    mine["placement"] = {"mode": "Dedicated"}
    mine["dedicated"]["scaling"] = {"minReplicas": 0, "maxReplicas": 2}
    file = written(parts["AcceleratorClass"], parts["InferenceWorkload"])
    policies = by_name(told(simulate, file, str(sparse), "spillway,hpa-utilisation,knative-kpa"))
    assert [each["failedPercent"] for each in policies.values()] == [0, 0, 0]


def test_who_owns_all_has_a_replica_from_the_start_however_little_comes(simulate: Run, written: Callable[..., str], tmp_path: Path) -> None:
    sparse = tmp_path / "sparse.csv"
    sparse.write_text("\n".join(["arrival_s,input_tokens,output_tokens", *(f"{at},800,20" for at in range(0, 600, 20))]))
    file = changed(written, dedicated={"scaling": {"minReplicas": 0, "maxReplicas": 2}})
    found = told(simulate, file, str(sparse), "all-owned,all-hosted")
    owned, hosted = (by_name(found)[name] for name in ("all-owned", "all-hosted"))
    assert (owned["failedPercent"], owned["starts"], hosted["starts"]) == (0, 1, 0)
    assert any("(all-hosted with none, all-owned with one at least)" in each for each in found["assumptions"])


def test_who_rents_all_owns_nothing_from_the_first_request_on(simulate: Run, written: Callable[..., str], trace: str) -> None:
    Path(trace).write_text("\n".join(["arrival_s,input_tokens,output_tokens", *["0,800,20"] * 30, "300,800,20"]))
    file = changed(written, dedicated={"scaling": {"minReplicas": 2, "maxReplicas": 2}})
    (hosted,) = told(simulate, file, trace, "all-hosted")["policies"]
    assert (hosted["spilledPercent"], hosted["ownUSD"], hosted["replicaHours"], hosted["starts"]) == (100, 0, 0, 0)


def test_requests_that_wait_at_the_gateway_wake_the_first_replica(simulate: Run, written: Callable[..., str], tmp_path: Path) -> None:
    sparse = tmp_path / "sparse.csv"
    sparse.write_text("\n".join(["arrival_s,input_tokens,output_tokens", "0,800,20", *["4000,800,20"] * 20, "4300,800,20"]))
    parts = documents()
    mine = parts["InferenceWorkload"]["spec"]
    del mine["hosted"]
    mine |= {"placement": {"mode": "Dedicated"}}
    mine["dedicated"]["scaling"] = {"minReplicas": 0, "maxReplicas": 1}

    def held(seconds: int) -> dict[str, Any]:
        mine["gateway"] = {"hold": {"seconds": seconds}}
        return told(simulate, written(parts["AcceleratorClass"], parts["InferenceWorkload"]), str(sparse), "spillway")

    patient, hasty = held(500), held(30)
    assert (patient["policies"][0]["failedPercent"], patient["policies"][0]["starts"]) == (0, 2)  # one that runs at the start
    assert patient["policies"][0]["ttftP95Ms"] > 100_000
    assert hasty["policies"][0]["failedPercent"] > 50
    assert any("waits up to 500 s for a replica" in each for each in patient["assumptions"])


def test_limits_that_the_simulated_gateways_do_not_keep_are_named(simulate: Run, trace: str, written: Callable[..., str]) -> None:
    file = changed(written, overflow={"maxSharePercent": 10}, budget={"monthlyUSD": "10", "whenExceeded": "StopSpilling"})
    warnings = told(simulate, file, trace, "all-hosted")["warnings"]
    assert [each.partition(" is not simulated")[0] for each in warnings if "is not simulated" in each] == [
        "hosted.overflow.maxSharePercent",
        "budget.whenExceeded StopSpilling",
    ]


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"placement": {"mode": "Hybrid", "apply": "Recommend"}}, id="who only recommends"),
        pytest.param({"scaling": {"mode": "External"}}, id="who is scaled by somebody else"),
        pytest.param({"committedReplicas": 4}, id="whose replicas are paid for, since a simulation bills them all"),
    ],
)
def test_decisions_are_followed_and_weighed_by_what_is_billed_whatever_the_manifest_does_with_them(
    simulate: Run, crowd: str, written: Callable[..., str], more: dict[str, Any]
) -> None:
    own = copy.deepcopy(documents()["InferenceWorkload"]["spec"]["dedicated"])
    asked = {"placement": more["placement"]} if "placement" in more else {}
    own["scaling"] |= more.get("scaling", {})
    own |= {name: value for name, value in more.items() if name == "committedReplicas"}
    plain, found = (
        told(simulate, changed(written, **spec), crowd, "spillway", "--start-up", "15s", "--kappa", "8")
        for spec in ({}, asked | {"dedicated": own})
    )
    assert plain["policies"][0]["starts"] > 1, "the crowd makes it scale"
    assert found["policies"] == plain["policies"]
    assert any("committedReplicas is not simulated" in each for each in found["warnings"]) == ("committedReplicas" in more)


def test_traffic_is_scaled_to_the_replicas_that_so_much_of_it_is_owned_on(simulate: Run, trace: str, written: Callable[..., str]) -> None:
    parts = documents()
    faster = copy.deepcopy(parts["AcceleratorClass"])
    faster["metadata"]["name"] = "h100"
    faster["spec"] |= {"product": "NVIDIA H100 SXM 80GB", "memoryGiB": 80, "memoryBandwidthGBps": 3350, "teraFLOPs": {"bf16": 989}}
    faster["spec"]["price"] |= {"onDemandUSDPerHour": "4"}
    own = parts["InferenceWorkload"]["spec"]["dedicated"]
    del own["accelerators"]
    own["scaling"]["maxReplicas"] = 40
    file = written(*parts.values(), faster)
    small, large = (told(simulate, file, trace, "all-hosted", *more) for more in ((), ("--scale-to", "2")))
    assert [each["engine"]["acceleratorClass"] for each in (small, large)] == ["l40s-g6e", "h100"]
    assert large["trace"]["demandReplicasMean"] == pytest.approx(2, rel=0.05)


def test_less_traffic_is_told_as_a_part_of_it_and_more_as_copies(simulate: Run, trace: str) -> None:
    less, more = (
        as_json(simulate, "--trace", trace, "--policy", "all-hosted", "--scale-to", replicas)["assumptions"] for replicas in ("0.02", "0.5")
    )
    assert any("so many of its requests, drawn by chance" in each for each in less)
    assert not any("copies" in each for each in less)
    assert any("from copies within two minutes" in each for each in more)
    most = as_json(simulate, "--trace", trace, "--policy", "all-hosted", "--days", "0.0001", "--copies", "1000")["assumptions"]
    assert any("The traffic is 1,000 times the recorded one" in each for each in most)


def test_who_is_not_held_to_the_manifests_least_is_told(simulate: Run, trace: str, written: Callable[..., str]) -> None:
    own = copy.deepcopy(documents()["InferenceWorkload"]["spec"]["dedicated"])
    assumed = {}
    for least in (0, 2):
        own["scaling"]["minReplicas"] = least
        assumed[least] = told(simulate, changed(written, dedicated=own), trace, "static")["assumptions"]
    assert any(each.startswith("minReplicas (2) holds for every policy but all-hosted and the clairvoyant ones") for each in assumed[2])
    assert not any("minReplicas" in each for each in assumed[0])


def test_several_workloads_are_simulated_one_after_the_other(simulate: Run, trace: str, written: Callable[..., str]) -> None:
    parts = documents()
    second = copy.deepcopy(parts["InferenceWorkload"])
    second["metadata"]["name"] = "other"
    code, out, _ = simulate("-f", written(*parts.values(), second), "--trace", trace, "--policy", "all-hosted")
    assert code == 0
    assert out.index("chat: ") < out.index("other: ")


def test_the_recorded_traffic_of_a_workload_is_replayed(simulate: Run) -> None:
    with serving(Past()) as url:
        found = as_json(simulate, "--from-prometheus", url, "--workload", "team/chat", "--since", "1m", "--policy", "static")
    assert found["trace"]["name"] == "team/chat"
    assert 115 <= found["trace"]["requests"] <= 120  # a long one may be longer than the context
    assert found["trace"]["inputTokensMean"] == pytest.approx(800, rel=0.4)
    assert any("Prometheus has counts, not requests" in each for each in found["warnings"])


UNASKED = ("--from-prometheus", "http://127.0.0.1:9", "--workload", "a/b")
LOGIN = ("--prometheus-user", "42", "--prometheus-password-file", "PASSWORD")


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("--prometheus-token-file", "TOKEN"), {"Authorization": "Bearer sesame"}),
        ((*LOGIN, "--prometheus-header", "X-Scope-OrgID=a=b"), {"Authorization": "Basic NDI6c2VzYW1l", "X-Scope-OrgID": "a=b"}),
    ],
    ids=["a token", "a login and a tenant"],
)
def test_a_prometheus_behind_authentication_tells_its_traffic(
    simulate: Run, tmp_path: Path, arguments: tuple[str, ...], wanted: dict[str, str]
) -> None:
    (tmp_path / "secret").write_text("sesame\n")
    given = [str(tmp_path / "secret") if each in {"TOKEN", "PASSWORD"} else each for each in arguments]
    asking = ("--workload", "team/chat", "--since", "1m", "--policy", "static")
    with serving(Past(wanted)) as url:
        assert as_json(simulate, "--from-prometheus", url, *asking, *given)["trace"]["name"] == "team/chat"
        told = refusal(simulate, "-f", HYBRID, "--from-prometheus", url.replace("//", "//me:hidden@"), *asking)
    assert "hidden" not in told
    assert f'{url}: it answered 401 Unauthorized, "who are you?"; set a credential with --prometheus-token-file, or ' in told


def test_a_token_may_come_through_a_pipe_for_all_workloads(simulate: Run, written: Callable[..., str], tmp_path: Path) -> None:
    parts, pipe = documents(), tmp_path / "pipe"
    os.mkfifo(pipe)
    writing = threading.Thread(target=pipe.write_text, args=("sesame",))
    writing.start()
    twice = written(*parts.values(), parts["InferenceWorkload"])
    with serving(Past({"Authorization": "Bearer sesame"})) as url:
        asking = ("--from-prometheus", url, "--workload", "team/chat", "--since", "1m", "--policy", "all-hosted")
        code, _, said = simulate("-f", twice, *asking, "--prometheus-token-file", str(pipe))
    writing.join()
    assert (code, said) == (0, "")


def test_all_policies_are_listed_without_anything_to_simulate(simulate: Run) -> None:
    code, out, _ = simulate("--policy", "list")
    assert (code, tuple(out.split())) == (0, policy_names())


def test_without_a_manifest_it_says_that_it_takes_one(simulate: Run, trace: str) -> None:
    assert "-f FILE: give the manifest" in refusal(simulate, "--trace", trace)


@pytest.mark.parametrize("mode", ["Auto", "Hosted", "Dedicated", "Hybrid"])
def test_another_mode_than_the_manifests_is_told(simulate: Run, written: Callable[..., str], trace: str, mode: str) -> None:
    parts = documents()
    parts["InferenceWorkload"]["spec"]["placement"] = {"mode": mode}
    assumed = told(simulate, written(*parts.values()), trace, "all-hosted")["assumptions"]
    said = [each for each in assumed if each.startswith("placement.mode is ")]
    assert said == ([] if mode == "Hybrid" else [f"placement.mode is {mode} in the manifest and Hybrid here: {HERE}."])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "--trace FILE or --from-prometheus URL: give one of them"),
        (("--trace", "TRACE", "--from-prometheus", "http://x"), "give one of them"),
        (("--trace", "TRACE", "--kappa", "0"), "--kappa: is 0; give a number above 0"),
        (("--trace", "TRACE", "--scale-to", "-1"), "--scale-to: is -1"),
        (("--trace", "TRACE", "--scale-to", "1e6"), "and 1000 are the most; give fewer, or a trace with more requests"),
        (("--trace", "TRACE", "--days", "nan"), "--days: is nan"),
        (("--trace", "TRACE", "--copies", "0"), "--copies: is 0; give a number from 1"),
        (("--trace", "TRACE", "--seed", "-1"), "--seed: is -1"),
        (("--trace", "TRACE", "--start-up", "soon"), "--start-up: is 'soon'; give a time above 0, and of at most ten years, such as 180s"),
        (("--from-prometheus", "http://127.0.0.1:9", "--workload", "a/b", "--since", "200000w"), "--since: is '200000w'; give a time"),
        (("--trace", "TRACE", "--policy", "magic"), "--policy: there is no 'magic'; there are spillway, oracle-replay"),
        (("--trace", "TRACE", "--policy", "static:x"), "--policy static:x: static takes numbers above 0 for share of peak"),
        (("--trace", "TRACE", "--policy", "spillway:1"), "--policy spillway:1: spillway takes no values"),
        (("--trace", "/nowhere.csv"), "/nowhere.csv: cannot be read"),
        (("--trace", "TRACE", "--engine", "/nowhere.json"), "/nowhere.json: cannot be read: No such file or directory; give the path"),
        (("--trace", "TRACE", "--columns", "x"), "--columns: 'x' is none of"),
        (("--from-prometheus", "http://127.0.0.1:9"), "--workload: Prometheus knows workloads by namespace and name"),
        (("--from-prometheus", "http://127.0.0.1:9", "--workload", "a/b"), "--from-prometheus http://127.0.0.1:9: it cannot be reached"),
        ((*UNASKED, "--prometheus-user", "me"), "--prometheus-user and --prometheus-password-file belong together"),
        (
            (*UNASKED, "--prometheus-token-file", "/x", *LOGIN),
            "--prometheus-token-file and --prometheus-user: Prometheus takes one credential",
        ),
        ((*UNASKED, "--prometheus-token-file", "/nowhere"), "--from-prometheus: /nowhere cannot be read"),
        ((*UNASKED, "--prometheus-token-file", "/dev/null"), "--from-prometheus: /dev/null is empty"),
        (
            ("--from-prometheus", "https://127.0.0.1:9", "--workload", "a/b", "--prometheus-ca-file", "/nowhere"),
            "CA certificate /nowhere cannot be read: No such file or directory; set it with --prometheus-ca-file",
        ),
        ((*UNASKED, "--prometheus-header", "X-Scope-OrgID"), "--prometheus-header: 'X-Scope-OrgID' has no value; give NAME=VALUE"),
        ((*UNASKED, "--prometheus-header", "Authorization=x"), "Authorization is set by --prometheus-token-file, or --prometheus-user"),
        (("--trace", "TRACE", "--policy", "all-hosted", "--out", "/nowhere/x"), "--out: /nowhere/x cannot be written"),
    ],
    ids=lambda value: " ".join(value[-2:]) if isinstance(value, tuple) else "",
)
def test_bad_input_is_refused_with_what_to_do(simulate: Run, trace: str, arguments: tuple[str, ...], told: str) -> None:
    assert told in refusal(simulate, "-f", HYBRID, *(trace if each == "TRACE" else each for each in arguments))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"a": 1, "b": 1}, "has no number from 0 for c, delta"),
        ({"a": 0, "b": 1, "c": 1, "delta": 1}, "a is 0"),
        ({"a": True, "b": -1, "c": "x", "delta": 1}, "has no number from 0 for a, b, c"),
        ([1, 2], "has no number from 0 for a, b, c, delta"),
    ],
    ids=["two missing", "no time", "not numbers", "a list"],
)
def test_coefficients_that_are_none_are_refused(simulate: Run, trace: str, tmp_path: Path, content: object, told: str) -> None:
    engine = tmp_path / "engine.json"
    engine.write_text(json.dumps(content))
    assert f"{engine}: {told}" in refusal(simulate, "-f", HYBRID, "--trace", trace, "--engine", str(engine))


def test_a_misspelt_policy_is_told_before_the_trace_is_read(simulate: Run) -> None:
    assert "--policy: there is no 'spilway'" in refusal(simulate, "-f", HYBRID, "--trace", "nowhere.csv", "--policy", "spilway")


def test_the_workload_that_can_rent_nothing_is_named(simulate: Run, trace: str, written: Callable[..., str]) -> None:
    parts = documents()
    closed = copy.deepcopy(parts["InferenceWorkload"])
    closed["metadata"]["name"] = "closed"
    del closed["spec"]["hosted"]
    closed["spec"]["placement"] = {"mode": "Dedicated", "dataResidency": "ClusterOnly"}
    file = written(*parts.values(), closed)
    said = refusal(simulate, "-f", file, "--trace", trace, "--policy", "all-hosted")
    assert "InferenceWorkload closed: --policy all-hosted: needs a hosted side" in said


def test_prices_of_a_list_that_are_not_used_are_told(simulate: Run, trace: str, tmp_path: Path) -> None:
    (tmp_path / "gpu_instance_prices.csv").write_text("cloud,region,instance,on_demand_usd_h\naws,us-east-1,g6e.xlarge,0.5\n")
    found = as_json(simulate, "--trace", trace, "--policy", "all-hosted", "--prices", str(tmp_path))
    assert "1 machine prices in gpu_instance_prices.csv have no date and are not used." in found["warnings"]


@pytest.mark.parametrize("rents", [True, False])
def test_replicas_that_cost_nothing_are_simulated(simulate: Run, trace: str, written: Callable[..., str], rents: bool) -> None:  # noqa: FBT001
    parts = documents()
    parts["AcceleratorClass"]["spec"]["price"]["onDemandUSDPerHour"] = "0"  # machines that somebody has
    if not rents:
        del parts["InferenceWorkload"]["spec"]["hosted"], parts["HostedProvider"]
        parts["InferenceWorkload"]["spec"]["placement"] = {"mode": "Dedicated"}
    file = written(*parts.values())
    found = told(simulate, file, trace, "all-owned,oracle-replay")
    owned, replay = (by_name(found)[name] for name in ("all-owned", "oracle-replay"))
    assert (found["kappa"], owned["costUSD"], replay["ownUSD"]) == (None, 0, 0)
    assert owned["failedPercent"] == 0
    assert replay["failedPercent"] < 1
    if rents:
        said = refusal(simulate, "-f", file, "--trace", trace, "--kappa", "2.5")
        assert "AcceleratorClass l40s-g6e is listed for nothing, which cannot be scaled" in said


def test_a_trace_that_is_named_by_a_variable_which_is_not_set_is_none(simulate: Run) -> None:
    assert "--trace FILE or --from-prometheus URL: give one of them" in refusal(simulate, "-f", HYBRID, "--trace", "")


def test_standard_input_is_one_file(simulate: Run) -> None:
    assert "--trace -: standard input is read for -f -" in refusal(simulate, "-f", "-", "--trace", "-")


def test_a_file_without_a_workload_is_refused(simulate: Run, trace: str, written: Callable[..., str]) -> None:
    assert "there is no InferenceWorkload to simulate" in refusal(
        simulate, "-f", written(documents()["AcceleratorClass"]), "--trace", trace
    )


def test_a_model_of_unknown_shape_is_told_the_ways_out(simulate: Run, trace: str, written: Callable[..., str]) -> None:
    parts = documents()
    parts["InferenceWorkload"]["spec"]["model"] = {"id": "acme/secret-13b"}
    said = refusal(simulate, "-f", written(*parts.values()), "--trace", trace)
    assert "InferenceWorkload chat" in said
    assert "Set model.architecture" in said


def test_help_loads_neither_numpy_nor_the_simulator() -> None:
    code = (
        "import sys\nfrom spillway.cli import main\ntry:\n    main(['simulate', '--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'numpy', 'numba', 'spillway.simulate'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.rstrip().endswith("[]")
