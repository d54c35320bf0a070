"""The bill of many workloads, from specs and status alone."""

from collections import Counter
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import pytest

from spillway.api.report_output import ReportOutput
from spillway.report.bill import _rank
from spillway.report.bill_html import as_html
from spillway.report.bill_text import as_text, first_of_each
from spillway.report.usage import usage_of
from tests.unit.report.fleets import COST, CREATED, LLAMA_8B, NOW, fleet, provider, report, seen


def test_a_total_sums_what_is_known_and_counts_what_is_not() -> None:
    totals = report(seen("a"), seen("b"), seen("c", status={"cost": None}), seen("d", status={})).totals
    assert (totals.now.usd, totals.now.workloads, totals.now.unknown) == (2880.0, 2, 2)
    assert (totals.month_to_date.usd, totals.if_all_hosted.usd) == (2400.0, 1800.0)


def test_a_total_of_which_nothing_is_known_is_null_and_not_zero() -> None:
    totals = report(seen(status={})).totals
    assert (totals.now.usd, totals.now.workloads, totals.now.unknown) == (None, 0, 1)


@pytest.mark.parametrize("odd", ["NaN", "Infinity", "-1", "much"])
def test_what_in_a_status_is_no_amount_is_not_known_and_ends_nothing(odd: str) -> None:
    traffic = {"requestsPerSecond": odd, "inputTokensMean": 1000, "outputTokensMean": 250}
    found = report(seen("odd", status={"cost": COST | {"usdPerHour": odd, "monthToDateUSD": odd}, "traffic": traffic}), seen("plain"))
    assert (found.totals.now.usd, found.totals.now.unknown, found.totals.month_to_date.unknown) == (1440.0, 1, 1)
    assert ReportOutput.model_validate_json(found.model_dump_json(by_alias=True)) == found


def test_more_time_unwatched_than_there_was_is_all_of_it() -> None:
    assert usage_of(seen(status={"cost": COST | {"unaccountedSeconds": 10**15}}), NOW).seen_over == "in the last minutes"


def test_now_and_the_extremes_are_compared_over_the_same_workloads() -> None:
    compared = report(seen("a"), seen("b", status={"cost": COST | {"ifAllHostedMonthlyUSD": None}})).totals.compared
    assert compared is not None
    assert (compared.workloads, compared.now_usd, compared.if_all_hosted_usd, compared.if_all_dedicated_usd) == (1, 1440.0, 900.0, 1440.0)


def test_nothing_is_compared_where_no_workload_is_known_all_ways() -> None:
    assert report(seen(status={"cost": None})).totals.compared is None


def test_the_dearest_workload_comes_first_and_those_of_unknown_cost_last() -> None:
    found = report(seen("silent", status={}), seen("cheap"), seen("dear", status={"cost": COST | {"usdPerHour": "50"}}))
    assert [row.workload for row in found.workloads] == ["team/dear", "team/cheap", "team/silent"]


@pytest.mark.parametrize(
    ("workload", "reason"),
    [
        (seen(status={}), "it has no status: see that the operator runs"),
        (seen(status={"placement": None}), "its status does not say what serves it"),
        (seen(status={"traffic": None}), "its traffic is not known: see condition MetricsAvailable"),
        (seen(status={"traffic": {"requestsPerSecond": "0"}}), "no traffic was seen"),
        (seen(status={"dedicated": None}), "its accelerators are not known"),
    ],
    ids=["no status", "no placement", "no traffic known", "no traffic", "no accelerators"],
)
def test_why_nothing_is_advised_is_said(workload: Any, reason: str) -> None:
    found = report(workload)
    assert found.workloads[0].advice_missing == reason
    assert found.opportunities == []
    assert found.totals.saving.unknown == 1


def test_a_class_that_is_gone_is_said_to_be() -> None:
    assert report(seen(), classes={}).workloads[0].advice_missing == "AcceleratorClass nvidia-l40s is not there"


def test_a_model_of_unknown_shape_is_told_the_ways_out() -> None:
    missing = report(seen(spec={"model": {"id": "acme/secret-13b"}})).workloads[0].advice_missing
    assert missing is not None
    assert "Set model.architecture" in missing


def test_a_model_whose_shape_its_replica_told_is_advised_like_one_that_is_known() -> None:
    architecture = {"parameters": 8_030_000_000, "layers": 32, "attentionHeads": 32, "keyValueHeads": 8, "headSize": 128}
    known = {"id": "acme/secret-8b", "architecture": architecture}
    running = {"acceleratorClass": "nvidia-h100-80gb", "tensorParallelSize": 8, "readyReplicas": 1, "desiredReplicas": 1}

    def reported(model: dict[str, Any], **engine: int) -> ReportOutput:
        owned = {"accelerators": ["nvidia-h100-80gb"], "engine": {"tensorParallelSize": 8} | engine}
        spec = {"placement": {"mode": "Dedicated"}, "dedicated": owned, "model": model}
        return report(seen(spec=spec, status={"dedicated": running, "model": told}))

    unknown: dict[str, Any] = {"id": "acme/secret-8b"}
    told: dict[str, Any] | None = {"readFrom": "acme/secret-8b@main", "architecture": architecture}
    found = reported(unknown)
    assert found.opportunities
    assert found.opportunities == reported(known, maxNumSeqs=32).opportunities, "with the batch that such a replica is made with"
    told = {"readFrom": "acme/secret-7b@main", "architecture": architecture}
    assert reported(unknown).workloads[0].advice_missing is not None, "the status speaks of the model before"
    told = {"readFrom": "acme/secret-8b@main", "problem": "it is restricted"}
    assert "it is restricted" in (reported(unknown).workloads[0].advice_missing or "")


def test_opportunities_of_all_workloads_are_ranked_by_what_they_save() -> None:
    amounts = [each.usd_per_month for each in fleet().opportunities if each.usd_per_month]
    assert len(amounts) > 5
    assert amounts == sorted(amounts, reverse=True)
    one = fleet().opportunities[0]
    found = [one.model_copy(update={"usd_per_month": usd}) for usd in (None, 5.0, -3.0, 0.0, 50.0)]
    assert [each.usd_per_month for each in sorted(found, key=_rank)] == [50.0, 5.0, None, 0.0, -3.0]


def test_a_field_to_change_is_told_with_what_has_to_change_for_it() -> None:
    spec = {"traffic": {"requestsPerMonth": 5_000_000}, "placement": {"mode": "Dedicated"}, "gateway": {"routing": "PrefixHash"}}
    cheap = {("team", "acme"): provider((LLAMA_8B, "0.01", "0.01"))}
    found = report(seen(spec=spec), providers=cheap).opportunities[0]
    assert found.topic == "Placement"
    assert found.settings["placement.mode"] == "Hosted"
    assert found.settings["gateway.routing"] == "LeastLoad"


def test_what_could_be_saved_counts_each_workload_once_and_only_changes_of_specs() -> None:
    found = fleet()
    best: dict[str, float] = {}
    for each in found.opportunities:
        if each.takes == "Nothing":
            best[each.workload] = max(best.get(each.workload, 0.0), each.usd_per_month or 0.0)
    assert found.totals.saving.usd == pytest.approx(sum(best.values()))
    assert any(each.takes != "Nothing" for each in found.opportunities)


def test_a_provider_of_another_namespace_is_not_advised() -> None:
    spec = {"placement": {"mode": "Dedicated"}}
    offer = provider(("llama-3.1-8b-instruct", "0.01", "0.01"))
    elsewhere = report(seen(spec=spec), providers={("other", "house"): offer})
    here = report(seen(spec=spec), providers={("team", "house"): offer})
    assert "Placement" not in {each.topic for each in elsewhere.opportunities}
    assert "Placement" in {each.topic for each in here.opportunities}


def test_prices_older_than_ninety_days_are_warned_of() -> None:
    old, fresh = (seen(status={"cost": COST | {"pricesAsOf": day}}) for day in ("2026-07-01", "2026-11-01"))
    assert "Prices of team/chat are older than 90 days, the oldest of 2026-07-01 (148 days)" in report(old).warnings[0]
    assert report(fresh).warnings == []


def test_hours_that_nobody_watched_are_warned_of() -> None:
    assert "Nobody watched team/chat for up to 3 h" in report(seen(status={"cost": COST | {"unaccountedSeconds": 10800}})).warnings[0]


def test_a_bill_far_from_the_planners_arithmetic_is_warned_of() -> None:
    assert (
        "costs $1,340 in 30 days by the planner"
        in report(seen(status={"cost": COST | {"usdPerHour": "9", "projectedMonthlyUSD": "6000"}})).warnings[0]
    )
    assert report(seen()).warnings == []


OBSERVED = {
    "requestsPerSecondMean": "3",
    "requestsPerSecondPeak": "9",
    "inputTokensMean": 700,
    "outputTokensMean": 90,
    "seconds": 86400,
    "until": "2026-11-26T11:59:00Z",
}
PLACEMENT = {"mode": "Dedicated", "reason": "DedicatedRequested", "evaluatedAt": "2026-11-20T08:00:00Z"}


def test_the_traffic_that_placement_watched_counts_before_the_last_minutes() -> None:
    usage = usage_of(seen(status={"placement": PLACEMENT | {"observed": OBSERVED}}), NOW)
    assert usage.seen is not None
    assert (usage.seen.mean_per_s, usage.seen.peak_per_s, usage.seen.input_tokens) == (3.0, 9.0, 700)
    assert usage.seen_over == "in the last 24 h"


def test_a_watch_of_minutes_does_not_count() -> None:
    usage = usage_of(seen(status={"placement": PLACEMENT | {"observed": OBSERVED | {"seconds": 300}}}), NOW)
    assert usage.seen is not None
    assert usage.seen.mean_per_s == 1.5


@pytest.mark.parametrize("name", ["requestsPerSecondMean", "requestsPerSecondPeak"])
def test_a_watch_that_tells_no_number_is_not_known(name: str) -> None:
    assert usage_of(seen(status={"placement": PLACEMENT | {"observed": OBSERVED | {name: "NaN"}}}), NOW).seen is None


def test_the_mean_of_the_month_comes_from_what_its_tokens_cost() -> None:
    usage = usage_of(seen(status={"cost": COST | {"monthToDateUSD": "1000", "usdPerMillionTokens": "0.5"}}), NOW)
    watched = NOW.replace(day=1, hour=0)
    assert usage.seen is not None
    assert usage.seen.mean_per_s == pytest.approx(1000 / 0.5 * 1e6 / 1250 / (NOW - watched).total_seconds())
    assert usage.seen_over == "on average this month"


def test_the_month_of_a_workload_begins_when_it_was_made() -> None:
    made = NOW - timedelta(days=2)
    cost = COST | {"monthToDateUSD": "1000", "usdPerMillionTokens": "0.5"}
    young, old = (usage_of(seen(status={"cost": cost}, created_at=at), NOW) for at in (made, CREATED))
    assert young.seen is not None
    assert old.seen is not None
    assert young.seen.mean_per_s > old.seen.mean_per_s


def test_the_last_minutes_count_on_the_first_day_of_a_month() -> None:
    cost = COST | {"monthToDateUSD": "1000", "usdPerMillionTokens": "0.5"}
    usage = usage_of(seen(status={"cost": cost}), NOW.replace(day=1))
    assert usage.seen is not None
    assert (usage.seen.mean_per_s, usage.seen_over) == (1.5, "in the last minutes")


def test_the_document_can_be_read_back() -> None:
    found = fleet()
    assert ReportOutput.model_validate_json(found.model_dump_json(by_alias=True)) == found


@pytest.mark.parametrize("width", [72, 80, 120])
def test_the_table_is_as_wide_as_the_terminal_at_most(width: int) -> None:
    assert max(len(line) for line in as_text(fleet(), width).splitlines()) <= width


def test_the_table_says_what_is_not_known() -> None:
    text = as_text(report(seen("a"), seen("b", status={})), 80)
    assert "without 1 workload, not known" in text
    row = next(line for line in text.splitlines() if line.startswith("team/b"))
    assert row.split()[1:] == ["?"] * 6


def test_the_table_tells_the_largest_few_opportunities_of_each_workload_and_how_many_more_there_are() -> None:
    found = fleet()
    shown = first_of_each(found.opportunities)
    every, kept = (Counter(each.workload for each in some) for some in (found.opportunities, shown))
    assert kept == {name: min(3, count) for name, count in every.items()}
    section = " ".join(as_text(found, 100).split("OPPORTUNITIES")[1].split("NO ADVICE")[0].split())
    assert all(each.message in section for each in shown)
    assert f"and {len(found.opportunities) - len(shown)} more: -o json has all Savings of one workload do not add up" in section
    settings = next(each.settings for each in shown if each.topic == "Quantization")
    assert f"set {'; '.join(f'{field}: {setting}' for field, setting in settings.items())} $" in section
    few = as_text(report(seen(spec={"budget": {"monthlyUSD": "1000"}})), 80)
    assert "more: -o json" not in few


def test_the_table_says_for_whom_there_is_no_advice_and_what_is_compared() -> None:
    half = seen("d", status={"cost": COST | {"ifAllHostedMonthlyUSD": None}})
    text = as_text(report(seen("a"), seen("b", status={}), seen("c", status={}), half), 100)
    assert "NO ADVICE FOR\n  - team/b, team/c: it has no status" in text
    assert "The 1 workload known all three ways: $1,440 now, $900 all hosted, $1,440 all own." in text
    whole = as_text(report(seen("a")), 100)
    assert "all three ways" not in whole
    assert "NO ADVICE" not in whole


def test_one_namespace_is_not_repeated_in_every_name() -> None:
    text = as_text(report(seen("a"), scope="team"), 80)
    assert "1 workload in namespace team" in text
    assert "team/a" not in text


def test_a_workload_above_its_budget_is_marked() -> None:
    assert "1,440!" in as_text(report(seen(spec={"budget": {"monthlyUSD": "1000"}})), 80)
    assert "1,440!" not in as_text(report(seen(spec={"budget": {"monthlyUSD": "2000"}})), 80)


@pytest.mark.parametrize("budget", ["1000", "2000"])
def test_the_page_marks_a_spent_budget_as_the_table_does_also_where_the_months_end_is_not_known(budget: str) -> None:
    unknown_end = report(seen(spec={"budget": {"monthlyUSD": budget}}, status={"cost": COST | {"projectedMonthlyUSD": None}}))
    assert ("?!" in as_text(unknown_end, 80), "over budget" in as_html(unknown_end)) == (budget == "1000", budget == "1000")


def test_an_empty_cluster_is_said_to_be_empty() -> None:
    assert as_text(report(), 80) == "0 workloads in all namespaces, 2026-11-26 12:00 UTC\n"
    assert as_text(report(scope="team"), 80).endswith("; all namespaces: -A\n")


class Page(HTMLParser):
    """What is in a page: every tag is closed, texts and attributes are kept."""

    VOID = frozenset({"meta"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def page(found: ReportOutput) -> Page:
    parsed = Page()
    parsed.feed(as_html(found))
    parsed.close()
    assert parsed.open == []
    return parsed


def test_the_page_shows_totals_workloads_opportunities_and_decisions() -> None:
    found = fleet()
    shown = page(found)
    for each in found.workloads:
        assert each.workload in shown.text
    for one in found.opportunities:
        assert one.message in shown.text
    for decision in found.decisions:
        assert decision.why in shown.text
    assert "$88,236" in shown.text
    assert "svg" in shown.tags


def test_the_page_loads_nothing_from_elsewhere() -> None:
    shown = page(fleet())
    assert not {"script", "link", "img", "iframe", "object", "image", "use", "base", "form"} & set(shown.tags)
    names = {name for name, _ in shown.attributes}
    assert not {"src", "href", "xlink:href", "srcset", "action", "style", "data"} & names
    assert not [name for name in names if name.startswith("on")]
    html = as_html(fleet())
    assert "url(" not in html
    assert "@import" not in html
    assert "://" not in html
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in shown.attributes


HOSTILE = "</style><script>alert('x')</script>\"'><img src=x onerror=alert(1)>&amp;"


def test_hostile_names_are_shown_and_do_nothing() -> None:
    plain = page(fleet())
    text = fleet().model_dump_json(by_alias=True)
    for name in (
        "production/summaries",
        "DemandFell",
        "nvidia-h100-80gb",
        "replicas 3 -> 2",
        "all namespaces",
        "meta-llama/Llama-3.3-70B-Instruct",
    ):
        assert name in text
        text = text.replace(name, HOSTILE.replace('"', '\\"'))
    shown = page(ReportOutput.model_validate_json(text))
    assert set(shown.tags) == set(plain.tags)
    assert HOSTILE in shown.text
    assert {name for name, _ in shown.attributes} == {name for name, _ in plain.attributes}


def test_a_page_of_nothing_is_still_a_page() -> None:
    assert "0 workloads" in page(report(remarks=["no right to list things"])).text
    assert "no right to list things" in page(report(remarks=["no right to list things"])).text


def test_what_is_unknown_has_no_bar() -> None:
    shown = page(report(seen(status={"cost": None})))
    assert "What it costs is unknown." in shown.text
    assert "svg" not in shown.tags


@pytest.mark.parametrize(("told", "found"), [({"prefixHitPercent": 38}, 0.38), ({}, None)])
def test_what_prompt_caches_find_is_read_where_it_is_told(told: dict[str, int], found: float | None) -> None:
    assert usage_of(seen(status={"dedicated": {"desiredReplicas": 2} | told}), NOW).prefix_hit_ratio == found
