"""A simulation as text: what came of it first, then every policy, then what it rests on."""

from spillway.api.simulate_output import PolicyOutput, SimulateOutput
from spillway.plan.rounding import dollars, down, figure
from spillway.report.columns import bullets, table, wrapped
from spillway.report.plan_words import amount

HEAD = (
    "POLICY", "COST", "/ORCL", "/REPL", "OWN", "HOSTED", "SLO%", "5MIN%", "SPILL%", "HOURS", "STARTS", "TTFT", "ITL",
)  # fmt: skip
LEGEND = (
    "/ORCL: times the clairvoyant lower bound; /REPL: times the clairvoyant plan in the same simulator; 5MIN: worst five minutes; "
    "HOURS: of replicas, billed; TTFT, ITL: p95, ms; *: misses the SLO."
)


def as_text(output: SimulateOutput, width: int) -> str:
    """Return the text, no wider than `width` where that is at least 100."""
    parts = [
        wrapped(f"{output.workload}: {output.model}", width),
        wrapped(_traffic(output), width),
        wrapped(output.verdict, width),
        table(HEAD, [_row(each) for each in output.policies], width, texts=(0,)) + "\n" + wrapped(LEGEND, width),
        bullets("CHECK", output.warnings, width),
        bullets("ASSUMED", output.assumptions, width),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _traffic(output: SimulateOutput) -> str:
    trace = output.trace
    lengths = (
        f", {trace.input_tokens_mean:,.0f} tokens in and {trace.output_tokens_mean:,.0f} out"
        if trace.input_tokens_mean is not None and trace.output_tokens_mean is not None
        else ""
    )
    return (
        f"{trace.name}: {amount(trace.requests)} requests in {span(trace.duration_hours)}, {figure(trace.requests_per_second_mean)}/s on "
        f"average and {figure(trace.requests_per_second_peak)}/s in the busiest minute{lengths}; work for "
        f"{figure(trace.demand_replicas_mean)} replicas on average."
    )


def span(hours: float) -> str:
    """Return a time in words."""
    if hours >= 1:
        return f"{figure(hours / 24)} days" if hours >= 48 else f"{hours:.3g} hours"  # noqa: PLR2004
    return f"{hours * 60:.3g} minutes" if hours * 60 >= 1 else f"{hours * 3600:.3g} seconds"


def _row(each: PolicyOutput) -> tuple[str, ...]:
    return (
        each.policy,
        _money(each.cost_usd),
        _number(each.cost_over_oracle, 2),
        _number(each.cost_over_oracle_replay, 2),
        _money(each.own_usd),
        _money(each.hosted_usd),
        _attained(each.slo_attainment_percent) + ("*" if each.keeps_slo is False else ""),
        _attained(each.worst_5_min_attainment_percent, 1),
        _share(each.spilled_percent, 1),
        "-" if each.replica_hours is None else f"{each.replica_hours:,.{0 if each.replica_hours >= 10 else 1}f}",  # noqa: PLR2004
        "-" if each.starts is None else f"{each.starts:,}",
        _number(each.ttft_p95_ms, 0),
        _number(each.inter_token_p95_ms, 0),
    )


def _money(usd: float | None) -> str:
    return "-" if usd is None else dollars(usd).removeprefix("$")


def _attained(percent: float | None, digits: int = 2) -> str:
    return "-" if percent is None else f"{down(percent, digits):.{digits}f}"


def _share(percent: float | None, digits: int) -> str:
    return "-" if percent is None else f"{percent:.{digits}f}"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
