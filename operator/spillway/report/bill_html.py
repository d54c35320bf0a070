"""The bill as one page that needs nothing else."""

from collections.abc import Iterable
from xml.etree import ElementTree as ET

from spillway.api.report_output import OpportunityOutput, ReportOutput, Total, WorkloadOutput
from spillway.plan.rounding import dollars, figure
from spillway.report.bill_style import STYLE
from spillway.report.bill_text import TAKES, counted, first_of_each, missing_from, over_budget, saved, serving
from spillway.report.page import add, new_page, section, written
from spillway.report.plan_words import amount

MOST_DECISIONS = 30
MOST_OPPORTUNITIES = 20  # the others are folded
WAYS = (("now", "now"), ("hosted", "all hosted"), ("own", "all own"))
LEAST_BAR_PERCENT = 0.4  # a bar of something is seen


def as_html(report: ReportOutput) -> str:
    """Return the page."""
    page, main = new_page(f"Spillway report: {report.scope}", STYLE)
    _title(main, report)
    if report.workloads:
        _sums(main, report)
        _ways(main, report)
        _opportunities(main, report.opportunities)
        _workloads(main, report)
        _decisions(main, report)
    _notes(main, report)
    return written(page)


def _title(main: ET.Element, report: ReportOutput) -> None:
    header = add(main, "header")
    add(header, "h1", "What serving costs")
    add(header, "p", f"{counted(len(report.workloads), 'workload')} in {report.scope}, {report.time:%Y-%m-%d %H:%M} UTC", "quiet")


def _sums(main: ET.Element, report: ReportOutput) -> None:
    totals = report.totals
    cards = add(main, "section", kind="cards")
    _card(cards, "Now, 30 days", totals.now)
    _card(cards, "This month so far", totals.month_to_date)
    _card(cards, "This month, projected", totals.projected)
    if totals.saving.usd:
        _card(cards, "Could be saved a month", totals.saving, remark="by changes of specs alone", kind="card good")


def _card(cards: ET.Element, name: str, total: Total, *, remark: str = "", kind: str = "card") -> None:
    card = add(cards, "div", kind=kind)
    add(card, "div", name, "quiet")
    add(card, "div", "unknown" if total.usd is None else dollars(total.usd), "big")
    missing = missing_from(total)
    for line in (remark, missing):
        if line:
            add(card, "div", line, "quiet small")


def _ways(main: ET.Element, report: ReportOutput) -> None:
    compared = report.totals.compared
    if compared is None:
        return
    part = section(main, "Own, rent, or both")
    every = compared.workloads == len(report.workloads)
    of = "All workloads" if every else f"The {counted(compared.workloads, 'workload')} known all three ways"
    add(part, "p", f"{of}, 30 days of the traffic of now.", "quiet")
    usd = (compared.now_usd, compared.if_all_hosted_usd, compared.if_all_dedicated_usd)
    _bars(part, usd, most=max(usd), title="all workloads compared")


def _bars(parent: ET.Element, usd: Iterable[float | None], *, most: float, title: str, budget: float | None = None) -> None:
    """Draw the three ways as bars of a share of the largest."""
    bars = add(parent, "div", kind="bars")
    for (kind, name), each in zip(WAYS, usd, strict=True):
        add(bars, "div", name, "way")
        said = "unknown" if each is None else dollars(each)
        picture = add(bars, "svg", {"width": "100%", "height": "14", "role": "img", "aria-label": f"{title}, {name}: {said}"})
        add(picture, "rect", {"width": "100%", "height": "14", "rx": "3", "class": "track"})
        if each is not None and most:
            width = max(LEAST_BAR_PERCENT if each else 0.0, 100 * each / most)
            add(picture, "rect", {"width": f"{width:.2f}%", "height": "14", "rx": "3", "class": f"bar {kind}"})
        if kind == "now" and budget is not None and most and budget <= most:
            place = f"{100 * budget / most:.2f}%"
            line = add(picture, "line", {"x1": place, "x2": place, "y1": "-3", "y2": "17", "class": "budget"})
            add(line, "title", f"budget {dollars(budget)}")
        add(bars, "div", said, "usd" if each is not None else "usd quiet")


def _opportunities(main: ET.Element, found: list[OpportunityOutput]) -> None:
    if not found:
        return
    part = section(main, "What could be had for less")
    add(part, "p", "Savings of one workload do not add up: each is against what runs now. USD a month.", "quiet")
    most = max((each.usd_per_month or 0.0 for each in found), default=0.0)
    shown = first_of_each(found)[:MOST_OPPORTUNITIES]
    items = add(part, "ol", kind="plain")
    for each in shown:
        _opportunity(add(items, "li", kind="item"), each, most)
    rest = [each for each in found if each not in shown]
    if rest:
        details = add(part, "details")
        add(details, "summary", f"{len(rest)} more")
        items = add(details, "ol", kind="plain")
        for each in rest:
            _opportunity(add(items, "li", kind="item"), each, most)


def _opportunity(item: ET.Element, each: OpportunityOutput, most: float) -> None:
    line = add(item, "div", kind="line")
    add(line, "span", {"?": "unknown", "-": "no saving"}.get(saved(each), saved(each)), "big" if each.usd_per_month else "quiet")
    add(line, "strong", each.workload, "name")
    for chip in (each.topic, each.basis, TAKES[each.takes]):
        if chip:
            add(line, "span", chip, "chip")
    if each.usd_per_month and most:
        picture = add(item, "svg", {"width": "100%", "height": "4", "aria-hidden": "true"})
        width = max(LEAST_BAR_PERCENT, 100 * each.usd_per_month / most)
        add(picture, "rect", {"width": f"{width:.2f}%", "height": "4", "rx": "2", "class": "bar saving"})
    add(item, "p", each.message)
    if each.settings:
        add(item, "pre", "\n".join(f"{field}: {value}" for field, value in each.settings.items()))


def _workloads(main: ET.Element, report: ReportOutput) -> None:
    part = section(main, "Workloads")
    add(part, "p", "30 days of the traffic of now, on one scale. A line across the first bar is the budget.", "quiet")
    figures = [
        each
        for row in report.workloads
        for each in (row.now_monthly_usd, row.if_all_hosted_monthly_usd, row.if_all_dedicated_monthly_usd)
        if each is not None
    ]
    for row in report.workloads:
        _workload(add(part, "article", kind="item"), row, max(figures, default=0.0))


def _workload(item: ET.Element, row: WorkloadOutput, most: float) -> None:
    line = add(item, "div", kind="line")
    add(line, "strong", row.workload, "name")
    on = f" on {row.tensor_parallel_size} x {row.accelerator_class}" if row.accelerator_class and row.tensor_parallel_size else ""
    add(line, "span", f"{serving(row)}{on}" if row.mode else "placement unknown", "chip")
    if row.ready is False:
        add(line, "span", "not ready", "chip bad")
    if over_budget(row):
        add(line, "span", "over budget", "chip bad")
    add(item, "p", row.model, "quiet small")
    usd = (row.now_monthly_usd, row.if_all_hosted_monthly_usd, row.if_all_dedicated_monthly_usd)
    known = any(each is not None for each in usd)
    if known:
        _bars(item, usd, most=most, title=row.workload, budget=row.budget_monthly_usd)
    else:
        add(item, "p", "What it costs is unknown.")
    if row.advice_missing is not None:
        add(item, "p", f"No advice: {row.advice_missing}.", "quiet")
    facts = add(item, "dl", kind="facts")
    for name, value in _facts(row) if known else ():
        fact = add(facts, "div")
        add(fact, "dt", name)
        add(fact, "dd", value)


def _facts(row: WorkloadOutput) -> tuple[tuple[str, str], ...]:
    def money(usd: float | None) -> str:
        return "unknown" if usd is None else dollars(usd)

    def measured(number: float | None, unit: str) -> str:
        return "unknown" if number is None else f"{figure(number)}{unit}"

    facts = [
        ("this month so far", money(row.month_to_date_usd)),
        ("projected", money(row.projected_monthly_usd)),
        ("per million tokens", "unknown" if row.usd_per_million_tokens is None else f"${figure(row.usd_per_million_tokens)}"),
        ("traffic", measured(row.requests_per_second, " requests/s")),
    ]
    if row.budget_monthly_usd is not None:
        facts.append(("budget", money(row.budget_monthly_usd)))
    if row.slo_attainment_percent is not None:
        facts.append(("within SLO", measured(row.slo_attainment_percent, " %")))
    if row.kappa is not None:
        facts.append(("kappa", f"{row.kappa:.2f}"))
    if row.break_even_requests_per_month is not None:
        facts.append(("a replica pays from", f"{amount(row.break_even_requests_per_month)} requests a month"))
    return tuple(facts)


def _decisions(main: ET.Element, report: ReportOutput) -> None:
    if not report.decisions:
        return
    part = section(main, "Latest decisions")
    items = add(part, "ol", kind="plain")
    for each in report.decisions[:MOST_DECISIONS]:
        item = add(items, "li", kind="item decision")
        add(item, "time", f"{each.time:%Y-%m-%d %H:%M}", "quiet", datetime=each.time.isoformat())
        text = add(item, "div")
        line = add(text, "div", kind="line")
        add(line, "strong", each.workload, "name")
        add(line, "span", each.what)
        add(line, "span", each.reason, "chip")
        add(text, "p", each.why, "quiet")
    if len(report.decisions) > MOST_DECISIONS:
        add(part, "p", f"and {len(report.decisions) - MOST_DECISIONS} more: -o json has all", "quiet")


def _notes(main: ET.Element, report: ReportOutput) -> None:
    if report.warnings:
        items = add(section(main, "Check"), "ul")
        for each in report.warnings:
            add(items, "li", each)
    add(main, "footer", "now: 30 days at the current rate. What is not known is said so; it is never counted as nothing.", "quiet small")
