"""`spillway plan`: what to own and what to rent, from the same manifests as the cluster, without one.

Exit codes: 0; 2 for bad input; 3 when nothing is possible for some workload. Progress and trouble go to standard error.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial

from spillway.api.model import Architecture
from spillway.api.plan_output import PlanOutput
from spillway.cli.bad_input import BadInputError
from spillway.cli.manifests import Manifests, NamedWorkload, read_manifests
from spillway.cli.prices import PriceLists, read_prices
from spillway.cli.progress import clear, show
from spillway.cli.questions import question_for, read_shapes
from spillway.plan.comparing.choice import Engineering, make_plan, running_of
from spillway.plan.comparing.options import Question
from spillway.plan.comparing.owning import all_sizes
from spillway.plan.comparing.sweep import Point, sweep, volumes
from spillway.plan.decision import Problem
from spillway.plan.replica.sizing import ReplicaSize
from spillway.plan.traffic.load import Load, declared_load
from spillway.report.plan_output import plan_output
from spillway.report.plan_text import as_markdown, as_text

NOTHING_POSSIBLE = 3
MOST_POINTS = 10_000
_UNITS = {"k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9, "t": 1e12}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Range:
    """Volumes to sweep, requests a month."""

    low: float
    high: float
    points: int


def run(parsed: argparse.Namespace) -> int:
    """Print the plan of each workload in the files, and return the exit code."""
    try:
        plans = _plans(parsed, datetime.now(UTC).date())
    except BadInputError as problem:
        return problem.tell("plan")
    _print(plans, parsed.output)
    return 0 if all(plan.recommended is not None for plan in plans) else NOTHING_POSSIBLE


def _plans(parsed: argparse.Namespace, today: date) -> list[PlanOutput]:
    swept = _range(parsed)
    manifests = read_manifests(parsed.file)
    if not manifests.workloads:
        raise BadInputError(f"{', '.join(parsed.file)}: there is no InferenceWorkload to plan for; give a file that has one")
    if parsed.plot and len(manifests.workloads) > 1:
        raise BadInputError("--plot draws one workload; give a file with one InferenceWorkload")
    lists = read_prices(parsed.prices) if parsed.prices else PriceLists()
    shapes = read_shapes(parsed.model_config, manifests.workloads)
    return [_plan(parsed, each, manifests, lists, shapes, swept, today) for each in manifests.workloads]


def _plan(
    parsed: argparse.Namespace,
    workload: NamedWorkload,
    manifests: Manifests,
    lists: PriceLists,
    shapes: Mapping[str, Architecture],
    swept: _Range | None,
    today: date,
) -> PlanOutput:
    question = question_for(workload, manifests, lists, shapes)
    load = declared_load(question.spec)
    if load is None:
        raise BadInputError(
            f"{workload.file}: InferenceWorkload {workload.label}: spec.traffic: states no volume; set requestsPerMonth, or "
            "requestsPerSecond.mean and peak"
        )
    sized = all_sizes(question)
    points = _sweep(question, sized, load, swept) if swept is not None else []
    plan = make_plan(question, sized, load, running=running_of(question))
    output = plan_output(plan, label=workload.label, today=today, engineering=_engineering(parsed), points=points, remarks=lists.remarks)
    if parsed.plot:
        _draw(output, parsed.plot)
    return output


def _engineering(parsed: argparse.Namespace) -> Engineering | None:
    once, monthly, months = parsed.engineering_once, parsed.engineering_monthly, parsed.amortise_months
    if not (0 <= once < float("inf") and 0 <= monthly < float("inf") and months > 0):
        raise BadInputError("--engineering-once, --engineering-monthly and --amortise-months: give amounts from 0 and months from 1")
    return Engineering(once_usd=once, monthly_usd=monthly, amortise_months=months) if once or monthly else None


def _range(parsed: argparse.Namespace) -> _Range | None:
    if parsed.sweep is None and not parsed.plot:
        return None
    if not 1 <= parsed.points <= MOST_POINTS:
        raise BadInputError(f"--points: is {parsed.points}; give a number from 1 to {MOST_POINTS}")
    if parsed.sweep is None:
        raise BadInputError("--plot needs a range; add --sweep, such as --sweep requestsPerMonth=1M..30M")
    name, _, span = parsed.sweep.partition("=")
    low, dots, high = span.partition("..")
    bounds = [_volume(each) for each in (low, high)]
    if name != "requestsPerMonth" or not dots or None in bounds or not 0 < (bounds[0] or 0) <= (bounds[1] or 0):
        raise BadInputError(f"--sweep: is {parsed.sweep!r}; give a range of volumes such as requestsPerMonth=1M..30M")
    return _Range(low=bounds[0] or 0.0, high=bounds[1] or 0.0, points=parsed.points)


def _volume(text: str) -> float | None:
    text = text.strip().lower()
    factor = _UNITS.get(text[-1:], 1.0)
    try:
        found = float(text.removesuffix(text[-1:]) if factor > 1 else text) * factor
    except ValueError:
        return None
    return found if 0 < found < 1e15 else None  # noqa: PLR2004  more than anybody sends


def _sweep(question: Question, sized: tuple[ReplicaSize, ...] | Problem, load: Load, swept: _Range) -> list[Point]:
    points = []
    for point in sweep(question, sized, load, volumes(swept.low, swept.high, swept.points)):
        points.append(point)
        show(f"{len(points)} of {swept.points} volumes")
    clear()
    return points


def _draw(output: PlanOutput, file: str) -> None:
    try:
        from spillway.cli.plot import draw
    except ImportError:
        raise BadInputError("--plot needs matplotlib, which is not installed; run: pip install matplotlib") from None
    try:
        draw(output, file)
    except OSError as problem:
        why = problem.strerror or problem
        raise BadInputError(f"--plot: {file} cannot be written: {why}; give a path in a folder that is there") from None
    except ValueError as problem:
        raise BadInputError(f"--plot: {file} cannot be written: {problem}; give a path that ends with .png, .svg or .pdf") from None


def _print(plans: Sequence[PlanOutput], form: str) -> None:
    to_json = partial(PlanOutput.model_dump, by_alias=True, mode="json")
    match form:
        case "json":
            for plan in plans:
                print(json.dumps(to_json(plan), indent=2, ensure_ascii=False))
        case "yaml":
            import yaml

            texts = (yaml.dump(to_json(plan), Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=120) for plan in plans)
            print("---\n".join(texts), end="")
        case "markdown":
            print("\n".join(as_markdown(plan) for plan in plans), end="")
        case _:
            width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 80
            print("\n".join(as_text(plan, width) for plan in plans), end="")
