"""A plan as text for a terminal, and as Markdown: the recommendation first, then the alternatives, then what it rests on."""

from collections.abc import Iterable, Iterator, Sequence

from spillway.api.plan_output import OptionOutput, PlanOutput, Recommended, SweepPoint
from spillway.plan.rounding import dollars, figure
from spillway.report.columns import Row, bullets, some, table, wrapped
from spillway.report.plan_words import amount

LEAST_WIDTH = 60
MOST_ALTERNATIVES = 10
MOST_OF_A_MODE = 4
MOST_IMPOSSIBLE = 5
MOST_SWEPT = 12  # rows of a sweep that a table shows

HEAD: Row = ("", "mode", "on", "replicas", "$/month", "$/Mtok", "kappa", "TTFT", "ITL")
TEXTS = (1, 2)  # columns that are text; the last of them gives way
NOTE = "replicas mean/peak; kappa: hosted price over own, full; TTFT and ITL in ms"
SHARED_NODE = "* charged its share of a node; the rest of the node counts as used by others"


def as_text(plan: PlanOutput, width: int) -> str:
    """Return a plan as lines of at most this width."""
    width = max(LEAST_WIDTH, width)
    parts = [_title(plan, width), *_recommendation(plan, width), *_alternatives(plan, width), *_impossible(plan, width)]
    parts += [_swept(plan.sweep, width)] if plan.sweep else []
    parts += [bullets("CHECK", plan.warnings, width), bullets("ASSUMED", plan.assumptions, width)]
    return "\n\n".join(part for part in parts if part) + "\n"


def as_markdown(plan: PlanOutput) -> str:
    """Return a plan as Markdown."""
    chosen = plan.recommended
    parts = [f"# Plan for {plan.workload}", _subtitle(plan)]
    if chosen is None:
        parts += ["**Nothing is possible.** Relax one of these:", _list(plan.relax)]
    else:
        parts.append(
            f"**{_called(plan)}: {dollars(chosen.monthly_usd)} a month**{_per_token(chosen.usd_per_million_tokens)}. {chosen.reason}"
        )
        parts.append(_list(_facts(plan)))
        if plan.settings:
            parts.append("Set:\n\n" + "\n".join(f"- `{field}: {value}`" for field, value in plan.settings.items()))
    rows = [_cells(option, marked=index == 0 and chosen is not None) for index, option in enumerate(_shown(plan))]
    parts += ["## Alternatives", _markdown_table(HEAD, rows)] if rows else []
    barred = _barred(plan)
    if barred:
        parts += ["## Not possible", _markdown_table(("mode", "on", "why"), [(each.mode, _on(each), each.reason) for each in barred])]
    if plan.sweep:
        parts += ["## By volume", _markdown_table(SWEEP_HEAD[1:], [_sweep_cells(point)[1:] for point in plan.sweep])]
    for title, lines in (("Check", plan.warnings), ("Assumed", plan.assumptions)):
        parts += [f"## {title}", _list(lines)] if lines else []
    return "\n\n".join(parts) + "\n"


def _title(plan: PlanOutput, width: int) -> str:
    return wrapped(f"{plan.workload}: {_subtitle(plan)}", width)


def _subtitle(plan: PlanOutput) -> str:
    load = plan.traffic
    return (
        f"{plan.model}, {amount(load.requests_per_month)} requests a month "
        f"({figure(load.requests_per_second_mean)}/s, peak {figure(load.requests_per_second_peak)}/s), "
        f"{load.input_tokens_mean:.0f} tokens in and {load.output_tokens_mean:.0f} out, "
        f"{amount(load.tokens_per_second_peak)} tokens/s at peak"
    )


def _recommendation(plan: PlanOutput, width: int) -> Iterator[str]:
    chosen = plan.recommended
    if chosen is None:
        yield "NOTHING IS POSSIBLE"
        yield bullets("RELAX ONE OF", plan.relax, width)
        return
    yield "\n".join(
        [
            wrapped(f"RECOMMENDED  {_called(plan)}", width, hanging="  "),
            f"  {dollars(chosen.monthly_usd)} a month{_per_token(chosen.usd_per_million_tokens)}",
            wrapped(chosen.reason, width, indent="  "),
            *(wrapped(fact, width, indent="  ") for fact in _facts(plan)),
        ]
    )
    if plan.settings:
        yield "TO GET THERE, SET\n" + "\n".join(
            wrapped(f"{field}: {value}", width, indent="  ", hanging="    ") for field, value in plan.settings.items()
        )


def _facts(plan: PlanOutput) -> Iterator[str]:
    yield from (f"Nearly as good: {each}" for each in plan.near_ties[:2])
    if plan.break_even_requests_per_month is not None:
        used = plan.break_even_utilization_percent
        yield (
            f"Owning pays from {amount(plan.break_even_requests_per_month)} requests a month on"
            + ("." if used is None else f"; a replica pays from {used:.0f} % use on.")
        )
    elif plan.self_hosting_economic.economic is False:
        yield "No volume makes owning pay."
    if plan.engineering is not None:
        first = plan.engineering.first_month_usd
        yield (
            f"People, not counted above: {dollars(plan.engineering.amortised_monthly_usd)} a month"
            + (f", first month {dollars(first)} in all. " if first is not None else ". ")
            + plan.engineering.remark
        )


def _called(plan: PlanOutput) -> str:
    chosen = plan.recommended
    if chosen is None:
        return "nothing"
    parts = [chosen.mode]
    if chosen.accelerator_class is not None:
        count = str(chosen.replicas_peak) if chosen.replicas_mean == chosen.replicas_peak else f"up to {chosen.replicas_peak}"
        replica = "replica" if chosen.replicas_peak == 1 else "replicas"
        paid = "" if chosen.pricing in {None, "OnDemand"} else f" ({str(chosen.pricing).lower()})"
        parts.append(f"{count} {replica} of {chosen.tensor_parallel_size} x {chosen.accelerator_class}{paid}")
    if chosen.provider is not None:
        parts.append(f"peaks to {chosen.provider}" if chosen.mode == "Hybrid" else chosen.provider)
    return ", ".join(parts)


def _per_token(usd: float | None) -> str:
    return "" if usd is None else f", ${figure(usd)} per million tokens"


def _shown(plan: PlanOutput) -> list[OptionOutput]:
    """Return the cheapest possible option of each kind, the recommended one first."""
    chosen = plan.recommended
    kinds: dict[tuple[str, str | None, str | None], OptionOutput] = {}
    possible = [option for option in plan.options if option.feasible]
    same = [option for option in possible if chosen is not None and _identity(option) == _identity(chosen)]
    for option in (*same, *(each for each in possible if each not in same and not _is_pointless(each))):
        kinds.setdefault((option.mode, option.accelerator_class, None if option.accelerator_class else option.provider), option)
    return _varied(list(kinds.values()))


def _is_pointless(option: OptionOutput) -> bool:
    """Whether it owns a replica that costs more than renting all it can do; JSON has it, a table has better use for the line."""
    return option.mode == "Hybrid" and option.kappa is not None and option.kappa < 1


def _varied(options: list[OptionOutput]) -> list[OptionOutput]:
    """Return the first ones of each mode, and more while there is room."""
    of_mode: dict[str, int] = {}
    kept: list[OptionOutput] = []
    for option in options:
        of_mode[option.mode] = of_mode.get(option.mode, 0) + 1
        if of_mode[option.mode] <= MOST_OF_A_MODE:
            kept.append(option)
    return kept[:MOST_ALTERNATIVES]


def _identity(option: OptionOutput | Recommended) -> tuple[str, str | None, int | None, str | None, str | None]:
    return option.mode, option.accelerator_class, option.tensor_parallel_size, option.pricing, option.provider


def _alternatives(plan: PlanOutput, width: int) -> Iterator[str]:
    shown = _shown(plan)
    if not shown:
        return
    rows = [_cells(option, marked=index == 0 and plan.recommended is not None) for index, option in enumerate(shown)]
    rest = sum(option.feasible for option in plan.options) - len(shown)
    lines = [
        "OPTIONS",
        table(HEAD, rows, width, texts=TEXTS),
        *([f"  and {rest} more that are possible: -o json has all"] if rest > 0 else []),
    ]
    notes = [
        *([NOTE] if any(option.accelerator_class for option in shown) else []),
        *([SHARED_NODE] if any(option.stranded_monthly_usd for option in shown) else []),
    ]
    yield "\n".join([*lines, *(wrapped(note, width, indent="  ") for note in notes)])


def _cells(option: OptionOutput, *, marked: bool) -> Row:
    mean, peak = option.replicas_mean, option.replicas_peak
    replicas = "" if not peak or mean is None else str(peak) if mean == peak else f"{mean:.1f}/{peak}"
    return (
        ">" if marked else "",
        option.mode,
        _on(option),
        replicas,
        "" if option.monthly_usd is None else dollars(option.monthly_usd).removeprefix("$"),
        "" if option.usd_per_million_tokens is None else figure(option.usd_per_million_tokens),
        "" if option.kappa is None else f"{option.kappa:.2f}",
        "" if option.ttft_ms is None else f"{option.ttft_ms:.0f}",
        "" if option.inter_token_latency_ms is None else f"{option.inter_token_latency_ms:.0f}",
    )


def _on(option: OptionOutput) -> str:
    if option.accelerator_class is None:
        return option.provider or ""
    paid = "" if option.pricing in {None, "OnDemand"} else f" {str(option.pricing).lower()}"
    return f"{option.tensor_parallel_size} x {option.accelerator_class}{paid}{'*' if option.stranded_monthly_usd else ''}"


def _barred(plan: PlanOutput) -> list[OptionOutput]:
    """Return what is not possible and has no possible sibling on the same class or of the same mode: the one that is closest."""
    able = {(option.mode, option.accelerator_class) for option in plan.options if option.feasible}
    kinds: dict[tuple[str, str | None], OptionOutput] = {}
    for option in plan.options:
        if (
            not option.feasible
            and (option.mode, option.accelerator_class) not in able
            and not (option.accelerator_class is None and any(mode == option.mode for mode, _ in able))
        ):
            kinds.setdefault((option.mode, option.accelerator_class), option)
    return list(kinds.values())


def _impossible(plan: PlanOutput, width: int) -> Iterator[str]:
    by_reason: dict[str, list[str]] = {}
    for option in _barred(plan):
        by_reason.setdefault(option.reason, []).append(f"{option.mode} {_on(option)}".strip())
    if not by_reason:
        return
    told = [f"{some(names)}: {reason}" for reason, names in by_reason.items()]
    more = len(told) - MOST_IMPOSSIBLE
    lines = [wrapped(each, width, indent="  ", hanging="    ") for each in told[:MOST_IMPOSSIBLE]]
    yield "NOT POSSIBLE\n" + "\n".join([*lines, *([f"  and {more} more: -o json has all"] if more > 0 else [])])


SWEEP_HEAD: Row = ("", "requests/month", "Hosted", "Batch", "Dedicated", "Hybrid", "cheapest")


def _swept(points: Sequence[SweepPoint], width: int) -> str:
    step = max(1, -(-len(points) // MOST_SWEPT))
    shown = [*points[::step], *([points[-1]] if (len(points) - 1) % step else [])]
    return "BY VOLUME, USD a month\n" + table(SWEEP_HEAD, [_sweep_cells(point) for point in shown], width, texts=(6,))


def _sweep_cells(point: SweepPoint) -> Row:
    usd = (point.hosted_usd, point.batch_usd, point.dedicated_usd, point.hybrid_usd)
    cheapest = " on ".join(each for each in (point.recommended, point.accelerator_class) if each)
    return ("", amount(point.requests_per_month), *("" if each is None else _whole(each) for each in usd), cheapest)


def _whole(usd: float) -> str:
    """Return an amount in whole dollars, where there is one."""
    return f"{usd:,.0f}" if usd >= 1 else figure(usd)


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _markdown_table(head: Row, rows: Sequence[Row]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines)
