"""The bill as text for a terminal: the sums, a row per workload, what could be had for less, what is not known."""

from collections.abc import Iterator

from spillway.api.report_output import OpportunityOutput, ReportOutput, Total, WorkloadOutput
from spillway.plan.rounding import dollars, figure
from spillway.report.columns import Row, bullets, some, table, wrapped

LEAST_WIDTH = 72  # five amounts and a name cut to its least
MOST_ROWS = 40
MOST_OPPORTUNITIES = 10
MOST_OF_A_WORKLOAD = 3
WIDE = 96  # columns from which there is room for the price of tokens
HEAD: Row = ("workload", "serving", "now", "spent", "month", "hosted", "own", "$/Mtok")
TEXTS = (0, 1)
UNKNOWN = "?"
NOTE = (
    "now: 30 days at the current rate; spent, month: the calendar month so far, and projected; hosted, own: 30 days of the same traffic "
    "all rented, all owned. ?: not known. !: above the budget. *: not ready."
)
TAKES = {"Nothing": "", "QualityCheck": "check the answers", "ApplicationChange": "the application changes"}


def as_text(report: ReportOutput, width: int) -> str:
    """Return the report as lines of at most this width."""
    width = max(LEAST_WIDTH, width)
    title = f"{counted(len(report.workloads), 'workload')} in {_scope(report)}, {report.time:%Y-%m-%d %H:%M} UTC"
    if not report.workloads:
        title += "; all namespaces: -A" if _one_namespace(report) else ""
        return "\n\n".join(part for part in (title, bullets("CHECK", report.warnings, width)) if part) + "\n"
    parts = [title, _sums(report, width), _rows(report, width), _opportunities(report, width), _unadvised(report, width)]
    parts.append(bullets("CHECK", report.warnings, width))
    return "\n\n".join(part for part in parts if part) + "\n"


def counted(count: int, noun: str) -> str:
    """Return a number with its noun: 1 workload, 2 workloads."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def missing_from(total: Total) -> str:
    """Return how many workloads are not in a sum; nothing where all are."""
    if not total.unknown:
        return ""
    return "not known of any" if not total.workloads else f"without {counted(total.unknown, 'workload')}, not known"


def _called(report: ReportOutput, label: str) -> str:
    """Return a workload's name, without the namespace where there is only one."""
    return label.partition("/")[2] if _one_namespace(report) else label


def _one_namespace(report: ReportOutput) -> bool:
    """Whether the report is of one namespace."""
    return report.scope != "all namespaces"


def _advised_against(report: ReportOutput) -> dict[str, list[str]]:
    """Return the workloads that nothing can be advised for, by the reason."""
    reasons: dict[str, list[str]] = {}
    for row in report.workloads:
        if row.advice_missing is not None:
            reasons.setdefault(row.advice_missing, []).append(_called(report, row.workload))
    return reasons


def _scope(report: ReportOutput) -> str:
    return f"namespace {report.scope}" if _one_namespace(report) else report.scope


def _sums(report: ReportOutput, width: int) -> str:
    totals = report.totals
    rows = (
        ("Now, 30 days", totals.now),
        ("This month so far", totals.month_to_date),
        ("This month, projected", totals.projected),
        ("All hosted, 30 days", totals.if_all_hosted),
        ("All own, 30 days", totals.if_all_dedicated),
    )
    lines = [f"  {name:<22} {_amount(total.usd):>10}  {missing_from(total)}".rstrip() for name, total in rows]
    if totals.saving.usd:
        lines.append(f"  {'Could be saved':<22} {_amount(totals.saving.usd):>10}  a month, by changes of specs alone")
    compared = totals.compared
    if compared is not None and compared.workloads < len(report.workloads):
        sentence = (
            f"The {counted(compared.workloads, 'workload')} known all three ways: {dollars(compared.now_usd)} now, "
            f"{dollars(compared.if_all_hosted_usd)} all hosted, {dollars(compared.if_all_dedicated_usd)} all own."
        )
        lines.append(wrapped(sentence, width, indent="  "))
    return "\n".join(lines)


def _amount(usd: float | None) -> str:
    return UNKNOWN if usd is None else dollars(usd)


def _rows(report: ReportOutput, width: int) -> str:
    shown = report.workloads[:MOST_ROWS]
    more = len(report.workloads) - len(shown)
    columns = len(HEAD) if width >= WIDE else len(HEAD) - 1
    return "\n".join(
        [
            "WORKLOADS, USD",
            table(HEAD[:columns], [_cells(report, row)[:columns] for row in shown], width, texts=TEXTS, gives=0),
            *([f"  and {more} more: -o json has all"] if more > 0 else []),
            wrapped(NOTE, width, indent="  "),
        ]
    )


def _cells(report: ReportOutput, row: WorkloadOutput) -> Row:
    over = over_budget(row)
    return (
        _called(report, row.workload),
        f"{serving(row)}{'*' if row.ready is False else ''}",
        _money(row.now_monthly_usd),
        _money(row.month_to_date_usd),
        _money(row.projected_monthly_usd) + ("!" if over else ""),
        _money(row.if_all_hosted_monthly_usd),
        _money(row.if_all_dedicated_monthly_usd),
        UNKNOWN if row.usd_per_million_tokens is None else figure(row.usd_per_million_tokens),
    )


def over_budget(row: WorkloadOutput) -> bool:
    """Whether the month has cost more than the budget, or will, as far as either is known."""
    most = max(row.projected_monthly_usd or 0.0, row.month_to_date_usd or 0.0)
    return row.budget_monthly_usd is not None and most > row.budget_monthly_usd


def serving(row: WorkloadOutput) -> str:
    """Return what serves: the mode, and the replicas ready of those wanted."""
    mode = row.mode or UNKNOWN
    owns = row.mode in {"Dedicated", "Hybrid"} and row.desired_replicas is not None
    return f"{mode} {row.ready_replicas or 0}/{row.desired_replicas}" if owns else mode


def _money(usd: float | None) -> str:
    return UNKNOWN if usd is None else dollars(usd).removeprefix("$")


def _opportunities(report: ReportOutput, width: int) -> str:
    found = report.opportunities
    if not found:
        return ""
    shown = first_of_each(found)[:MOST_OPPORTUNITIES]
    more = len(found) - len(shown)
    lines = [line for one in shown for line in _opportunity(report, one, width)]
    note = "Savings of one workload do not add up: each is against what runs now."
    several = len({one.workload for one in found}) < len(found)
    return "\n".join(
        [
            "OPPORTUNITIES, USD a month",
            *lines,
            *([f"  and {more} more: -o json has all"] if more > 0 else []),
            *([wrapped(note, width, indent="  ")] if several else []),
        ]
    )


def first_of_each(found: list[OpportunityOutput]) -> list[OpportunityOutput]:
    """Return the largest few opportunities of each workload."""
    of: dict[str, int] = {}
    kept: list[OpportunityOutput] = []
    for one in found:
        of[one.workload] = of.get(one.workload, 0) + 1
        if of[one.workload] <= MOST_OF_A_WORKLOAD:
            kept.append(one)
    return kept


def saved(one: OpportunityOutput) -> str:
    """Return what an opportunity saves a month; words where that is not a sum."""
    if one.usd_per_month is None:
        return UNKNOWN
    return dollars(one.usd_per_month) if one.usd_per_month else "-"


def _opportunity(report: ReportOutput, one: OpportunityOutput, width: int) -> Iterator[str]:
    takes = TAKES[one.takes]
    yield wrapped(
        f"{saved(one):>9}  {_called(report, one.workload)}: {one.topic}, {one.basis.lower()}{f', {takes}' if takes else ''}",
        width,
        hanging=" " * 13,
    )
    yield wrapped(one.message, width, indent=" " * 11)
    if one.settings:
        yield wrapped(
            "set " + "; ".join(f"{field}: {value}" for field, value in one.settings.items()), width, indent=" " * 11, hanging=" " * 15
        )


def _unadvised(report: ReportOutput, width: int) -> str:
    return bullets("NO ADVICE FOR", (f"{some(names)}: {reason}" for reason, names in _advised_against(report).items()), width)
