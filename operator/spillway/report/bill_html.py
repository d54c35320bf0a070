"""The bill as one page that needs nothing else: no script, no font, no picture from elsewhere. For a browser, a phone, an e-mail.

It is built as a tree and serialised, so that every text and attribute is escaped by the serialiser.
"""

from collections.abc import Iterable
from xml.etree import ElementTree as ET

from spillway.api.report_output import OpportunityOutput, ReportOutput, Total, WorkloadOutput
from spillway.plan.rounding import dollars
from spillway.report.bill_style import STYLE
from spillway.report.bill_text import TAKES, counted, first_of_each, missing_from, saved, serving
from spillway.report.plan_words import amount

MOST_DECISIONS = 30
MOST_OPPORTUNITIES = 20  # the others are folded
NOBODY_ELSE = "default-src 'none'; style-src 'unsafe-inline'"  # what the browser may load: nothing
WAYS = (("now", "now"), ("hosted", "all hosted"), ("own", "all own"))
LEAST_BAR_PERCENT = 0.4  # a bar of something is seen


def as_html(report: ReportOutput) -> str:
    """Return the page."""
    page = ET.Element("html", {"lang": "en"})
    head = _in(page, "head")
    _in(head, "meta", charset="utf-8")
    _in(head, "meta", {"http-equiv": "Content-Security-Policy", "content": NOBODY_ELSE})
    _in(head, "meta", name="viewport", content="width=device-width, initial-scale=1")
    _in(head, "title", f"Spillway report: {report.scope}")
    _in(head, "style", STYLE)
    main = _in(_in(page, "body"), "main")
    _title(main, report)
    if report.workloads:
        _sums(main, report)
        _ways(main, report)
        _opportunities(main, report.opportunities)
        _workloads(main, report)
        _decisions(main, report)
    _notes(main, report)
    return f"<!DOCTYPE html>\n{ET.tostring(page, encoding='unicode', method='html')}\n"


def _in(parent: ET.Element, tag: str, text: str | dict[str, str] = "", /, kind: str = "", **attributes: str) -> ET.Element:
    """Add an element with its text, or with attributes whose names are no identifiers; `kind` is its class."""
    given = text if isinstance(text, dict) else {}
    child = ET.SubElement(parent, tag, given | attributes | ({"class": kind} if kind else {}))
    child.text = text if isinstance(text, str) else None
    return child


def _title(main: ET.Element, report: ReportOutput) -> None:
    header = _in(main, "header")
    _in(header, "h1", "What serving costs")
    _in(header, "p", f"{counted(len(report.workloads), 'workload')} in {report.scope}, {report.time:%Y-%m-%d %H:%M} UTC", "quiet")


def _sums(main: ET.Element, report: ReportOutput) -> None:
    totals = report.totals
    cards = _in(main, "section", kind="cards")
    _card(cards, "Now, 30 days", totals.now)
    _card(cards, "This month so far", totals.month_to_date)
    _card(cards, "This month, projected", totals.projected)
    if totals.saving.usd:
        _card(cards, "Could be saved a month", totals.saving, remark="by changes of specs alone", kind="card good")


def _card(cards: ET.Element, name: str, total: Total, *, remark: str = "", kind: str = "card") -> None:
    card = _in(cards, "div", kind=kind)
    _in(card, "div", name, "quiet")
    _in(card, "div", "unknown" if total.usd is None else dollars(total.usd), "big")
    missing = missing_from(total)
    for line in (remark, missing):
        if line:
            _in(card, "div", line, "quiet small")


def _ways(main: ET.Element, report: ReportOutput) -> None:
    compared = report.totals.compared
    if compared is None:
        return
    section = _section(main, "Own, rent, or both")
    every = compared.workloads == len(report.workloads)
    of = "All workloads" if every else f"The {counted(compared.workloads, 'workload')} known all three ways"
    _in(section, "p", f"{of}, 30 days of the traffic of now.", "quiet")
    usd = (compared.now_usd, compared.if_all_hosted_usd, compared.if_all_dedicated_usd)
    _bars(section, usd, most=max(usd), title="all workloads compared")


def _bars(parent: ET.Element, usd: Iterable[float | None], *, most: float, title: str, budget: float | None = None) -> None:
    """Draw the three ways as bars of a share of the largest."""
    bars = _in(parent, "div", kind="bars")
    for (kind, name), each in zip(WAYS, usd, strict=True):
        _in(bars, "div", name, "way")
        said = "unknown" if each is None else dollars(each)
        picture = _in(bars, "svg", {"width": "100%", "height": "14", "role": "img", "aria-label": f"{title}, {name}: {said}"})
        _in(picture, "rect", {"width": "100%", "height": "14", "rx": "3", "class": "track"})
        if each is not None and most:
            width = max(LEAST_BAR_PERCENT if each else 0.0, 100 * each / most)
            _in(picture, "rect", {"width": f"{width:.2f}%", "height": "14", "rx": "3", "class": f"bar {kind}"})
        if kind == "now" and budget is not None and most and budget <= most:
            place = f"{100 * budget / most:.2f}%"
            line = _in(picture, "line", {"x1": place, "x2": place, "y1": "-3", "y2": "17", "class": "budget"})
            _in(line, "title", f"budget {dollars(budget)}")
        _in(bars, "div", said, "usd" if each is not None else "usd quiet")


def _opportunities(main: ET.Element, found: list[OpportunityOutput]) -> None:
    if not found:
        return
    section = _section(main, "What could be had for less")
    _in(section, "p", "Savings of one workload do not add up: each is against what runs now. USD a month.", "quiet")
    most = max((each.usd_per_month or 0.0 for each in found), default=0.0)
    shown = first_of_each(found)[:MOST_OPPORTUNITIES]
    items = _in(section, "ol", kind="plain")
    for each in shown:
        _opportunity(_in(items, "li", kind="item"), each, most)
    rest = [each for each in found if each not in shown]
    if rest:
        details = _in(section, "details")
        _in(details, "summary", f"{len(rest)} more")
        items = _in(details, "ol", kind="plain")
        for each in rest:
            _opportunity(_in(items, "li", kind="item"), each, most)


def _opportunity(item: ET.Element, each: OpportunityOutput, most: float) -> None:
    line = _in(item, "div", kind="line")
    _in(line, "span", {"?": "unknown", "-": "no saving"}.get(saved(each), saved(each)), "big" if each.usd_per_month else "quiet")
    _in(line, "strong", each.workload, "name")
    for chip in (each.topic, each.basis, TAKES[each.takes]):
        if chip:
            _in(line, "span", chip, "chip")
    if each.usd_per_month and most:
        picture = _in(item, "svg", {"width": "100%", "height": "4", "aria-hidden": "true"})
        width = max(LEAST_BAR_PERCENT, 100 * each.usd_per_month / most)
        _in(picture, "rect", {"width": f"{width:.2f}%", "height": "4", "rx": "2", "class": "bar saving"})
    _in(item, "p", each.message)
    if each.settings:
        _in(item, "pre", "\n".join(f"{field}: {value}" for field, value in each.settings.items()))


def _workloads(main: ET.Element, report: ReportOutput) -> None:
    section = _section(main, "Workloads")
    _in(section, "p", "30 days of the traffic of now, on one scale. A line across the first bar is the budget.", "quiet")
    figures = [
        each
        for row in report.workloads
        for each in (row.now_monthly_usd, row.if_all_hosted_monthly_usd, row.if_all_dedicated_monthly_usd)
        if each is not None
    ]
    for row in report.workloads:
        _workload(_in(section, "article", kind="item"), row, max(figures, default=0.0))


def _workload(item: ET.Element, row: WorkloadOutput, most: float) -> None:
    line = _in(item, "div", kind="line")
    _in(line, "strong", row.workload, "name")
    on = f" on {row.tensor_parallel_size} x {row.accelerator_class}" if row.accelerator_class and row.tensor_parallel_size else ""
    _in(line, "span", f"{serving(row)}{on}" if row.mode else "placement unknown", "chip")
    if row.ready is False:
        _in(line, "span", "not ready", "chip bad")
    if row.budget_monthly_usd is not None and (row.projected_monthly_usd or 0.0) > row.budget_monthly_usd:
        _in(line, "span", "over budget", "chip bad")
    _in(item, "p", row.model, "quiet small")
    usd = (row.now_monthly_usd, row.if_all_hosted_monthly_usd, row.if_all_dedicated_monthly_usd)
    known = any(each is not None for each in usd)
    if known:
        _bars(item, usd, most=most, title=row.workload, budget=row.budget_monthly_usd)
    else:
        _in(item, "p", "What it costs is unknown.")
    if row.advice_missing is not None:
        _in(item, "p", f"No advice: {row.advice_missing}.", "quiet")
    facts = _in(item, "dl", kind="facts")
    for name, value in _facts(row) if known else ():
        fact = _in(facts, "div")
        _in(fact, "dt", name)
        _in(fact, "dd", value)


def _facts(row: WorkloadOutput) -> tuple[tuple[str, str], ...]:
    def money(usd: float | None) -> str:
        return "unknown" if usd is None else dollars(usd)

    def figure(number: float | None, unit: str) -> str:
        return "unknown" if number is None else f"{number:.3g}{unit}"

    facts = [
        ("this month so far", money(row.month_to_date_usd)),
        ("projected", money(row.projected_monthly_usd)),
        ("per million tokens", "unknown" if row.usd_per_million_tokens is None else f"${row.usd_per_million_tokens:.3g}"),
        ("traffic", figure(row.requests_per_second, " requests/s")),
    ]
    if row.budget_monthly_usd is not None:
        facts.append(("budget", money(row.budget_monthly_usd)))
    if row.slo_attainment_percent is not None:
        facts.append(("within SLO", figure(row.slo_attainment_percent, " %")))
    if row.kappa is not None:
        facts.append(("kappa", f"{row.kappa:.2f}"))
    if row.break_even_requests_per_month is not None:
        facts.append(("a replica pays from", f"{amount(row.break_even_requests_per_month)} requests a month"))
    return tuple(facts)


def _decisions(main: ET.Element, report: ReportOutput) -> None:
    if not report.decisions:
        return
    section = _section(main, "Latest decisions")
    items = _in(section, "ol", kind="plain")
    for each in report.decisions[:MOST_DECISIONS]:
        item = _in(items, "li", kind="item decision")
        _in(item, "time", f"{each.time:%Y-%m-%d %H:%M}", "quiet", datetime=each.time.isoformat())
        text = _in(item, "div")
        line = _in(text, "div", kind="line")
        _in(line, "strong", each.workload, "name")
        _in(line, "span", each.what)
        _in(line, "span", each.reason, "chip")
        _in(text, "p", each.why, "quiet")
    if len(report.decisions) > MOST_DECISIONS:
        _in(section, "p", f"and {len(report.decisions) - MOST_DECISIONS} more: -o json has all", "quiet")


def _notes(main: ET.Element, report: ReportOutput) -> None:
    if report.warnings:
        items = _in(_section(main, "Check"), "ul")
        for each in report.warnings:
            _in(items, "li", each)
    _in(main, "footer", "now: 30 days at the current rate. What is not known is said so; it is never counted as nothing.", "quiet small")


def _section(main: ET.Element, title: str) -> ET.Element:
    section = _in(main, "section")
    _in(section, "h2", title)
    return section
