"""A simulation as text and as a page."""

import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from spillway.report.plan_words import amount
from spillway.report.simulate_html import as_html
from spillway.report.simulate_plots import axis_for
from spillway.report.simulate_text import as_text, span
from tests.unit.report.simulations import UNKNOWN, course, outcome, simulation
from tests.unit.report.test_bill import Page


def parsed(html: str) -> Page:
    page = Page()
    page.feed(html)
    page.close()
    return page


@pytest.mark.parametrize("factor", [1, 900], ids=["a day", "a year"])
def test_the_table_fits_100_columns(factor: int) -> None:
    runs = [outcome(name, 7.0 * factor, 1.0 * factor, starts=3 * factor) for name in ("spillway", "hpa-utilisation", "oracle-replay")]
    assert max(len(line) for line in as_text(simulation(*runs), 100).splitlines()) <= 100


def test_the_sentence_comes_before_the_table_and_the_policies_keep_their_order() -> None:
    text = as_text(simulation(), 100)
    order = [
        text.index(part) for part in ("the cheapest that keeps", "POLICY", "\nstatic", "\nall-hosted", "\noracle ", "CHECK", "ASSUMED")
    ]
    assert order == sorted(order)


def test_what_misses_the_slo_is_marked_and_what_is_not_known_is_a_dash() -> None:
    lines = {line.split()[0]: line for line in as_text(simulation(), 100).splitlines() if line}
    assert "83.00*" in lines["keda-queue"]
    assert "*" not in lines["spillway"]
    assert lines["oracle"].split()[-2:] == ["-", "-"]


def test_what_misses_the_slo_by_little_is_not_told_as_what_keeps_it() -> None:
    missed = simulation(outcome(attained=98.9999))
    assert missed.policies[0].slo_attainment_percent == 98.999
    assert "98.99*" in as_text(missed, 100)
    assert "98.99</td>" in as_html([missed])


def test_the_worst_five_minutes_that_miss_by_little_are_not_told_as_perfect() -> None:
    missed = simulation(outcome(worst_5_min_attainment_percent=99.97))
    assert " 99.9 " in as_text(missed, 100)
    assert "<td>99.9</td>" in as_html([missed])


def test_a_trace_of_seconds_that_costs_less_than_a_cent_is_told_in_figures() -> None:
    text = as_text(simulation(outcome(own_usd=0.00312, hosted_usd=0.0)), 100)
    assert " 0.0031 " in text
    assert (span(20 / 3600), span(24 * 1500)) == ("20 seconds", "1,500 days")
    assert axis_for([4e-5], before="$").label(2e-5) == "$0.00002"


def test_the_page_is_well_formed_and_loads_nothing() -> None:
    html = as_html([simulation()])
    page = parsed(html)
    assert page.open == []
    assert not re.search(r"<script|src=|href=|url\(", html)


def test_every_policy_that_ran_has_a_plot_in_every_part() -> None:
    html = as_html([simulation()])
    for part in ("Demand and replicas", "Spilled to the hosted side", "Requests within the SLO", "Dollars over time"):
        section = html.split(f"<h2>{part}")[1].split("<h2>")[0]
        assert re.findall(r"<h3>([\w-]+),", section) == ["spillway", "static", "all-hosted", "keda-queue", "oracle-replay"]


def test_nothing_is_drawn_outside_of_its_plot() -> None:
    runs = outcome(course=course(own_usd=np.linspace(0, 50, 120), attainment_percent=np.linspace(0, 100, 120)))
    html = as_html([simulation(runs)])
    drawn = re.findall(r'points="([^"]+)"', html)
    assert drawn
    for points in drawn:
        for point in points.split():
            x, y = (float(each) for each in point.split(","))
            assert 38 <= x <= 336
            assert 6 <= y <= 104


def test_a_gap_in_the_traffic_is_a_gap_in_the_line() -> None:
    values = np.full(120, 99.5)
    values[40:60] = UNKNOWN
    html = as_html([simulation(outcome(course=course(attainment_percent=values)))])
    section = html.split("<h2>Requests within the SLO")[1].split("<h2>")[0]
    assert section.count('class="line attained"') == 2


def test_names_cannot_break_the_page() -> None:
    html = as_html([simulation(workload="<script>alert(1)</script>")])
    assert "<script" not in html
    assert parsed(html).open == []


def test_a_page_of_a_week_stays_small() -> None:
    runs = [outcome(f"policy-{index}", course=course(2016, interval_s=300.0)) for index in range(10)]
    assert len(as_html([simulation(*runs)])) < 1_000_000


@pytest.mark.parametrize(("most", "high"), [(0.0, 1.0), (0.7, 1.0), (1.0, 1.0), (3.0, 5.0), (17.0, 20.0), (240.0, 250.0), (1e-9, 1e-9)])
def test_an_axis_ends_at_a_round_number_not_below_what_it_shows(most: float, high: float) -> None:
    assert axis_for([0.0, most, None]).high == pytest.approx(high)


def test_the_plots_are_pictures_with_a_name() -> None:
    html = as_html([simulation()])
    picture = ET.fromstring(re.search(r"<svg [^>]*class=\"plot\".*?</svg>", html).group(0))  # type: ignore[union-attr]  # noqa: S314  our own
    assert picture.get("role") == "img"
    assert picture.get("aria-label") == "spillway"


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (0, "0"),
        (999.4, "999"),
        (999.6, "1k"),
        (10_890_240, "10.9M"),
        (999_499, "999k"),
        (999_600, "1M"),
        (999_999_999, "1G"),
        (10**12, "1T"),
    ],
)
def test_a_large_number_has_three_digits_and_its_unit(number: float, told: str) -> None:
    assert amount(number) == told
