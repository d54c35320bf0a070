"""A simulation as one page that needs nothing else: what came of it, and every policy side by side over time."""

from collections.abc import Callable, Sequence
from itertools import accumulate
from xml.etree import ElementTree as ET

from spillway.api.simulate_output import CourseOutput, PolicyOutput, SimulateOutput
from spillway.plan.rounding import dollars, down, figure
from spillway.report.bill_style import STYLE
from spillway.report.page import add, new_page, section, written
from spillway.report.plan_words import amount
from spillway.report.simulate_plots import Axis, Series, axis_for, plot
from spillway.report.simulate_text import span

MORE_STYLE = """
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(19rem, 1fr)); gap: .75rem; }
.plots .item { margin: 0; padding: .6rem .7rem; } .plots h3 { font-size: .95rem; margin: 0 0 .25rem; font-weight: 600; }
.plot .grid { stroke: var(--edge); stroke-width: .6; } .plot .mark { font-size: 9px; fill: var(--quiet); } .mark.end { text-anchor: end; }
.plot .line { fill: none; stroke-width: 1.3; stroke-linejoin: round; } .plot .area { stroke: none; }
.plot .demand { fill: var(--edge); } .plot .ready { stroke: var(--now); } .plot .billed { stroke: var(--quiet); stroke-width: .8;
  stroke-dasharray: 2 2; }
.plot .spilled { fill: var(--hosted); } .plot .attained { stroke: var(--good); } .plot .target { stroke: var(--bad); stroke-width: .8;
  stroke-dasharray: 4 3; }
.plot .hosted { fill: var(--hosted); } .plot .own { fill: var(--own); } .plot .reference { stroke: var(--ink); stroke-width: .9;
  stroke-dasharray: 4 3; }
.bar.whole { fill: var(--quiet); }
.key { display: inline-block; width: .8rem; height: .6rem; border-radius: .15rem; margin: 0 .3rem 0 .9rem; background: var(--quiet); }
.key.demand { background: var(--edge); } .key.ready { background: var(--now); } .key.hosted { background: var(--hosted); }
.key.own { background: var(--own); }
.costs { display: grid; grid-template-columns: minmax(6rem, max-content) minmax(5rem, 1fr) max-content; gap: .35rem .75rem;
  align-items: center; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .88rem; white-space: nowrap; }
th, td { padding: .3rem .6rem; text-align: right; border-bottom: 1px solid var(--edge); }
th:first-child, td:first-child { text-align: left; }
th { color: var(--quiet); font-weight: 500; } .missed { color: var(--bad); }
"""
FOOTER = (
    "oracle: a lower bound that knows the future, and that no scaler that answers all as promised can reach. oracle-replay: its plan, "
    "run in the same simulator. Red: misses the SLO. Spilled and failed requests count as everybody's."
)
NOTHING = "–"  # noqa: RUF001  a dash in a table's empty cell
COLUMNS: tuple[tuple[str, Callable[[PolicyOutput], str]], ...] = (
    ("policy", lambda each: each.policy),
    ("cost", lambda each: dollars(each.cost_usd)),
    ("× oracle", lambda each: _figure(each.cost_over_oracle, 3)),  # noqa: RUF001
    ("× replay", lambda each: _figure(each.cost_over_oracle_replay, 3)),  # noqa: RUF001
    ("own", lambda each: _money(each.own_usd)),
    ("hosted", lambda each: _money(each.hosted_usd)),
    ("SLO %", lambda each: _attained(each.slo_attainment_percent, 2)),
    ("worst 5 min %", lambda each: _attained(each.worst_5_min_attainment_percent, 1)),
    ("spilled %", lambda each: _figure(each.spilled_percent, 1)),
    ("failed %", lambda each: _figure(each.failed_percent, 2)),
    ("replica-hours", lambda each: _figure(each.replica_hours, 1)),
    ("starts", lambda each: _figure(each.starts, 0)),
    ("TTFT p95 ms", lambda each: _figure(each.ttft_p95_ms, 0)),
    ("ITL p95 ms", lambda each: _figure(each.inter_token_p95_ms, 1)),
)
Drawn = Sequence[tuple[PolicyOutput, CourseOutput]]


def as_html(outputs: Sequence[SimulateOutput]) -> str:
    """Return the page of one or more workloads."""
    page, main = new_page(f"Spillway simulation: {', '.join(each.workload for each in outputs)}", STYLE + MORE_STYLE)
    header = add(main, "header")
    add(header, "h1", "What own and rented capacity would have cost")
    for output in outputs:
        _workload(main, output)
    add(main, "footer", FOOTER, "quiet small")
    return written(page)


def _workload(main: ET.Element, output: SimulateOutput) -> None:
    trace = output.trace
    add(main, "p", f"{output.workload}: {output.model}", "name")
    add(
        main,
        "p",
        f"{trace.name}: {amount(trace.requests)} requests in {span(trace.duration_hours)}, {figure(trace.requests_per_second_mean)}/s on "
        f"average, {figure(trace.demand_replicas_mean)} replicas' work on average. Seed {output.seed}.",
        "quiet",
    )
    add(main, "p", output.verdict)
    _costs(main, output)
    _table(main, output)
    drawn = [(each, each.course) for each in output.policies if each.course is not None]
    if drawn:
        _replicas(main, drawn, trace.duration_hours)
        _spill(main, drawn, trace.duration_hours)
        _attainment(main, drawn, output)
        _dollars(main, drawn, trace.duration_hours)
    for title, lines in (("Check", output.warnings), ("Assumed", output.assumptions)):
        if lines:
            items = add(section(main, title), "ul")
            for line in lines:
                add(items, "li", line)


def _costs(main: ET.Element, output: SimulateOutput) -> None:
    part = section(main, "Cost")
    _keys(part, ("own", "own replicas"), ("hosted", "hosted tokens"))
    costs = add(part, "div", kind="costs")
    most = max((each.cost_usd for each in output.policies), default=0.0)
    for each in output.policies:
        add(costs, "div", each.policy, "way")
        said = f"{dollars(each.cost_usd)}{', misses the SLO' if each.keeps_slo is False else ''}"
        picture = add(costs, "svg", {"width": "100%", "height": "14", "role": "img", "aria-label": f"{each.policy}: {said}"})
        add(picture, "rect", {"width": "100%", "height": "14", "rx": "3", "class": "track"})
        begin = 0.0
        for kind, usd in (("own", each.own_usd), ("hosted", each.hosted_usd), ("whole", each.cost_usd if each.own_usd is None else 0.0)):
            share = 100 * (usd or 0.0) / most if most else 0.0
            add(picture, "rect", {"x": f"{begin:.2f}%", "width": f"{share:.2f}%", "height": "14", "class": f"bar {kind}"})
            begin += share
        add(costs, "div", said, "usd missed" if each.keeps_slo is False else "usd")


def _table(main: ET.Element, output: SimulateOutput) -> None:
    grid = add(add(section(main, "Figures"), "div", kind="wide"), "table")
    head = add(grid, "tr")
    for name, _ in COLUMNS:
        add(head, "th", name)
    for each in output.policies:
        row = add(grid, "tr", kind="missed" if each.keeps_slo is False else "")
        for _, told in COLUMNS:
            add(row, "td", told(each))


def _replicas(main: ET.Element, drawn: Drawn, hours: float) -> None:
    part = section(main, "Demand and replicas")
    _keys(part, ("demand", "work that arrived, in replicas"), ("ready", "ready replicas"), ("", "billed (dashed)"))
    axis = axis_for(*(row for _, course in drawn for row in (course.demand_replicas, course.billed_replicas)))
    _small(
        part,
        drawn,
        lambda course: (
            Series(name="demand", kind="demand", values=course.demand_replicas, area=True),
            Series(name="billed", kind="billed", values=course.billed_replicas),
            Series(name="ready", kind="ready", values=course.ready_replicas),
        ),
        axis=axis,
        hours=hours,
    )


def _spill(main: ET.Element, drawn: Drawn, hours: float) -> None:
    part = section(main, "Spilled to the hosted side, % of requests")
    _small(
        part,
        drawn,
        lambda course: (Series(name="spilled", kind="spilled", values=course.spilled_percent, area=True),),
        axis=axis_for(unit="%", ends=100.0),
        hours=hours,
    )


def _attainment(main: ET.Element, drawn: Drawn, output: SimulateOutput) -> None:
    part = section(main, "Requests within the SLO, %")
    target = output.slo.attainment_percent
    add(
        part,
        "p",
        f"Dashed: the {target:g} % that are asked for. The axis begins where the worst policy's fifth percentile lies.",
        "quiet small",
    )
    seen = sorted(value for _, course in drawn for value in course.attainment_percent if value is not None)
    low = min(target - 1.0, seen[len(seen) // 20]) if seen else 0.0
    axis = Axis(low=max(0.0, 10.0 * (low // 10.0)), high=100.0, unit="%")
    _small(
        part,
        drawn,
        lambda course: (
            Series(name="asked for", kind="target", values=[target] * len(course.attainment_percent)),
            Series(name="attained", kind="attained", values=course.attainment_percent),
        ),
        axis=axis,
        hours=output.trace.duration_hours,
    )


def _dollars(main: ET.Element, drawn: Drawn, hours: float) -> None:
    part = section(main, "Dollars over time")
    cheapest = min(drawn, key=lambda each: (each[0].keeps_slo is not True, each[0].cost_usd))
    _keys(part, ("own", "own replicas"), ("hosted", "hosted tokens, on top"), ("", f"{cheapest[0].policy} (dashed)"))
    reference = _summed(cheapest[1])
    _small(
        part,
        drawn,
        lambda course: (
            Series(name="own and hosted", kind="hosted", values=_summed(course), area=True),
            Series(name="own", kind="own", values=_running(course.own_usd), area=True),
            Series(name=cheapest[0].policy, kind="reference", values=reference),
        ),
        axis=axis_for(*(_summed(course) for _, course in drawn), before="$"),
        hours=hours,
    )


def _small(part: ET.Element, drawn: Drawn, series: Callable[[CourseOutput], tuple[Series, ...]], *, axis: Axis, hours: float) -> None:
    """Add one small plot per policy, all on one scale."""
    plots = add(part, "div", kind="plots")
    for each, course in drawn:
        item = add(plots, "div", kind="item")
        add(item, "h3", f"{each.policy}, {dollars(each.cost_usd)}")
        plot(item, each.policy, series(course), axis=axis, hours=hours)


def _summed(course: CourseOutput) -> list[float]:
    return [own + hosted for own, hosted in zip(_running(course.own_usd), _running(course.hosted_usd), strict=True)]


def _running(values: Sequence[float | None]) -> list[float]:
    return list(accumulate(value or 0.0 for value in values))


def _keys(part: ET.Element, *keys: tuple[str, str]) -> None:
    line = add(part, "p", kind="quiet small")
    for kind, told in keys:
        key = add(line, "span", kind=f"key {kind}".strip())
        key.tail = told


def _money(usd: float | None) -> str:
    return NOTHING if usd is None else dollars(usd)


def _attained(percent: float | None, digits: int) -> str:
    return NOTHING if percent is None else f"{down(percent, digits):.{digits}f}"


def _figure(value: float | None, digits: int) -> str:
    return NOTHING if value is None else f"{value:,.{digits}f}"
