"""`spillway simulate`: what own and rented capacity would have cost under a recorded traffic, by our policy and by others.

Exit codes: 0; 2 for bad input. Progress and trouble go to standard error.
"""

import argparse
import json
import re
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from spillway.api.simulate_output import SimulateOutput
from spillway.cli.bad_input import BadInputError
from spillway.cli.manifests import NamedWorkload, read_manifests
from spillway.cli.prices import PriceLists, read_prices
from spillway.cli.progress import clear, show, show_share
from spillway.cli.prometheus_access import read_access
from spillway.cli.questions import question_for, read_shapes
from spillway.cli.simulate_case import Case, Wanted, make_case
from spillway.cli.simulate_engine import read_engine
from spillway.cli.simulate_policies import asked_policies, policy_names
from spillway.cli.simulate_runs import run_policies
from spillway.cli.simulate_told import assumed, hosted_too_slow, setting_of
from spillway.cli.trace_file import read_trace, stated_columns
from spillway.observe.access import Access
from spillway.plan.comparing.options import Question
from spillway.plan.traffic.lengths import declared_lengths
from spillway.report.simulate_text import as_text
from spillway.simulate.document import simulate_output
from spillway.simulate.reading import Reading, TraceError
from spillway.simulate.shaping import first_days, scaled, that_fit
from spillway.simulate.trace import Trace

NARROWEST = 100  # characters that the table needs
MOST_COPIES = 1000
MOST_CHOICES = 3  # of another class for traffic that is scaled to fill it: one for more of it is chosen once or twice
LONGEST_S = 10 * 366 * 86_400.0  # of an option that is a time: calendars end
LIST = "list"
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def run(parsed: argparse.Namespace) -> int:
    """Print what came of it for each workload in the files, and return the exit code."""
    if parsed.policy and LIST in parsed.policy:
        print("\n".join(policy_names()))
        return 0
    try:
        try:
            outputs = _outputs(parsed, datetime.now(UTC))
        finally:
            clear()
        _write(_written(outputs, parsed.output, to_file=parsed.out is not None), parsed.out)
    except BadInputError as problem:
        return problem.tell("simulate")
    return 0


def _outputs(parsed: argparse.Namespace, now: datetime) -> list[SimulateOutput]:
    _check(parsed)
    wanted = Wanted(
        start_up_s=_seconds(parsed.start_up, "--start-up"),
        kappa=parsed.kappa,
        step=read_engine(parsed.engine) if parsed.engine else None,
    )
    manifests = read_manifests(parsed.file)
    if not manifests.workloads:
        raise BadInputError(f"{', '.join(parsed.file)}: there is no InferenceWorkload to simulate; give a file that has one")
    lists = read_prices(parsed.prices) if parsed.prices else PriceLists()
    shapes = read_shapes(parsed.model_config, manifests.workloads)
    questions = [(each, question_for(each, manifests, lists, shapes)) for each in manifests.workloads]
    shared = _from_file(parsed) if parsed.trace else None
    access = read_access(parsed)
    return [
        _output(parsed, workload, question, shared or _recorded(parsed, workload, question, access, now), wanted, lists.remarks)
        for workload, question in questions
    ]


def _check(parsed: argparse.Namespace) -> None:
    """Refuse options that are missing, contradict each other or make no sense."""
    if not parsed.file:
        raise BadInputError("-f FILE: give the manifest of the workload to simulate")
    if bool(parsed.trace) == bool(parsed.from_prometheus):  # one that is empty, as of a variable that is not set, is none
        raise BadInputError("--trace FILE or --from-prometheus URL: give one of them")
    if parsed.trace == "-" and "-" in parsed.file:
        raise BadInputError("--trace -: standard input is read for -f -; give a file for one of them")
    for name, value in (("--kappa", parsed.kappa), ("--scale-to", parsed.scale_to), ("--days", parsed.days)):
        if value is not None and not 0 < value < float("inf"):
            raise BadInputError(f"{name}: is {value:g}; give a number above 0")
    if parsed.copies is not None and not 1 <= parsed.copies <= MOST_COPIES:
        raise BadInputError(f"--copies: is {parsed.copies}; give a number from 1 to {MOST_COPIES}")
    asked_policies(parsed.policy or ())  # a misspelt one is told before a long trace is read
    if parsed.seed < 0:
        raise BadInputError(f"--seed: is {parsed.seed}; give a number from 0")
    if parsed.output == "html" and parsed.out is None and sys.stdout.isatty():
        raise BadInputError("-o html: a terminal shows no page; add --out FILE.html")


def _output(
    parsed: argparse.Namespace, workload: NamedWorkload, question: Question, reading: Reading, wanted: Wanted, of_prices: Sequence[str]
) -> SimulateOutput:
    trace = first_days(reading.trace, parsed.days) if parsed.days else reading.trace
    if not trace.requests:
        raise BadInputError(f"--days {parsed.days:g}: no request of {trace.name} is that early; give more days")
    trace, scale, case, remarks = _sized(parsed, workload, question, trace, wanted)
    policies = asked_policies(parsed.policy or (), rents=case.rents, where=f"{workload.file}: InferenceWorkload {workload.label}: ")
    outcomes = run_policies(case, trace, policies, hosted=parsed.hosted, seed=parsed.seed, on_progress=show_share)
    return simulate_output(
        setting_of(case, question, parsed, scale, reading),
        trace,
        outcomes,
        warnings=(*case.warnings, *hosted_too_slow(case, trace, parsed.hosted), *reading.remarks, *remarks, *of_prices),
        assumptions=(*case.assumptions, *assumed(case, parsed, scale)),
    )


def _sized(
    parsed: argparse.Namespace, workload: NamedWorkload, question: Question, trace: Trace, wanted: Wanted
) -> tuple[Trace, float, Case, list[str]]:
    """Return the trace at the size asked for without what no replica could hold, by how much it was scaled, and the case."""
    stated = question.spec.model.max_context_tokens
    fitting = trace if stated is None else _fitting(trace, stated)
    case = make_case(question, fitting, wanted, file=workload.file)
    longest = min(case.engine.kv_tokens, stated or case.engine.kv_tokens)
    fitting = _fitting(trace, longest)
    longer = trace.requests - fitting.requests
    refused = (
        f"{longer:,} of {trace.requests:,} requests are longer than the {longest:,} tokens that one may have: an engine refuses them, so "
        "they are left out."
    )
    remarks = [refused] if longer else []
    scale = float(parsed.copies or 1) if parsed.scale_to is None else _scale_to(parsed.scale_to, case, fitting)
    if not longer and scale == 1:
        return trace, scale, case, remarks
    sized, found = _at_scale(scale, fitting, question, wanted, parsed, workload)
    for _ in range(MOST_CHOICES):
        if parsed.scale_to is None or found.runs_on == case.runs_on:
            break
        case, scale = found, _scale_to(parsed.scale_to, found, fitting)  # so much is owned on other replicas, which it fills otherwise
        sized, found = _at_scale(scale, fitting, question, wanted, parsed, workload)
    return sized, scale, found, remarks


def _at_scale(
    scale: float, trace: Trace, question: Question, wanted: Wanted, parsed: argparse.Namespace, workload: NamedWorkload
) -> tuple[Trace, Case]:
    """Return so many times a trace, and what it is simulated with."""
    sized = scaled(trace, scale, seed=parsed.seed)
    if not sized.requests:
        raise BadInputError(f"--scale-to {parsed.scale_to:g}: leaves no request of {trace.name}; give more replicas")
    return sized, make_case(question, sized, wanted, file=workload.file)


def _scale_to(replicas: float, case: Case, trace: Trace) -> float:
    """Return how many times a trace fills so many of the case's replicas on average. Raises BadInputError for too many copies."""
    scale = replicas / case.replicas_filled_by(trace)
    if scale > MOST_COPIES:
        raise BadInputError(
            f"--scale-to: {replicas:g} replicas take {scale:,.0f} copies of {trace.name}, and {MOST_COPIES} are the most; give fewer, or a "
            "trace with more requests"
        )
    return scale


def _fitting(trace: Trace, longest: int) -> Trace:
    fitting, _ = that_fit(trace, longest)
    if not fitting.requests:
        raise BadInputError(
            f"{trace.name}: no request fits the context of {longest} tokens; raise model.maxContextTokens, or give another trace"
        )
    return fitting


def _from_file(parsed: argparse.Namespace) -> Reading:
    return read_trace(
        parsed.trace,
        stated=stated_columns(parsed.columns),
        skip_bad=parsed.skip_bad_rows,
        on_progress=lambda rows: show(f"{rows:,} rows"),
    )


def _recorded(parsed: argparse.Namespace, workload: NamedWorkload, question: Question, access: Access, now: datetime) -> Reading:
    from spillway.observe.history import HistoryError, prometheus_at, read_history
    from spillway.simulate.recorded import recorded_trace

    label = parsed.workload or workload.label
    namespace, slash, name = label.partition("/")
    if not slash or not namespace or not name:
        raise BadInputError("--workload: Prometheus knows workloads by namespace and name; give --workload NAMESPACE/NAME")
    since = timedelta(seconds=_seconds(parsed.since, "--since"))
    try:
        history = read_history(
            prometheus_at(parsed.from_prometheus, access),
            access,
            namespace=namespace,
            workload=name,
            since=since,
            now=now,
            on_progress=partial(show_share, "asking Prometheus"),
        )
        return recorded_trace(history, name=label, spread=declared_lengths(question.spec), seed=parsed.seed)
    except HistoryError as problem:
        shown = re.sub("//[^/@]*@", "//", parsed.from_prometheus)  # a URL may have a password in it
        raise BadInputError(f"--from-prometheus {shown}: {problem}") from None
    except TraceError as problem:
        raise BadInputError(f"--from-prometheus: {problem}") from None


def _written(outputs: Sequence[SimulateOutput], form: str, *, to_file: bool) -> str:
    match form:
        case "json":
            return "".join(f"{json.dumps(each.model_dump(by_alias=True, mode='json'), indent=2, ensure_ascii=False)}\n" for each in outputs)
        case "html":
            from spillway.report.simulate_html import as_html

            return as_html(outputs)
        case _:
            width = NARROWEST if to_file or not sys.stdout.isatty() else max(NARROWEST, shutil.get_terminal_size().columns)
            return "\n".join(as_text(each, width) for each in outputs)


def _write(text: str, file: str | None) -> None:
    if file is None:
        print(text, end="")
        return
    try:
        Path(file).write_text(text, encoding="utf-8", errors="backslashreplace")  # names of files may be no text
    except OSError as problem:
        raise BadInputError(
            f"--out: {file} cannot be written: {problem.strerror or problem}; give a path in a folder that is there"
        ) from None


def _seconds(text: str, option: str) -> float:
    """Return a time such as 180s, 3m, 7d in seconds; a number alone is seconds."""
    match = re.fullmatch(r"([0-9]*\.?[0-9]+) *([smhdw]?)", text.strip())
    seconds = float(match.group(1)) * _UNITS_S[match.group(2) or "s"] if match else 0.0
    if not 0 < seconds <= LONGEST_S:
        raise BadInputError(f"{option}: is {text!r}; give a time above 0, and of at most ten years, such as 180s, 3m, 12h or 7d")
    return seconds
