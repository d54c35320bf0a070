"""The command line: `spillway plan`, `simulate`, `report`, `operator`, `crds`, `version`.

What a command needs is imported when it is called.
"""

import argparse
import io
import os
import sys
from collections.abc import Sequence
from functools import cache
from typing import TextIO, cast

from spillway.cli.operator_arguments import add_operator_arguments
from spillway.cli.plan_arguments import add_plan_arguments
from spillway.cli.report_arguments import add_report_arguments
from spillway.cli.simulate_arguments import add_simulate_arguments

__all__ = ["main"]


CLOSED_PIPE, INTERRUPTED = 141, 130  # as a shell says it of programs that SIGPIPE and SIGINT ended
UNWRITTEN = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    _open_streams()
    parsed = _parser().parse_args(arguments)
    # As kubectl: manifests, JSON and pages are UTF-8, whatever the locale is.
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="strict")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        code = _run(parsed)
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has seen enough
        _drop_output()
        return CLOSED_PIPE
    except KeyboardInterrupt:
        _drop_output()
        return INTERRUPTED
    except OSError as problem:  # commands tell of what they are given to read themselves
        _drop_output()
        what = f"{problem.filename} cannot be read or written" if problem.filename else "the output cannot be written"
        print(f"spillway: {what}: {problem.strerror or problem}; try another place", file=sys.stderr)
        return UNWRITTEN
    return code


def _open_streams() -> None:
    """Put something in the place of streams that whoever started the command has closed (`>&-`): Python has None for them.

    Nothing is read, what would be told is told to nobody, and output that cannot be written is trouble as on a full disk.
    """
    sys.stdin = sys.stdin or _nowhere("r", os.O_RDONLY)
    sys.stderr = sys.stderr or _nowhere("w", os.O_WRONLY)
    sys.stdout = sys.stdout or _nowhere("w", os.O_RDONLY)  # it refuses to be written


def _nowhere(mode: str, flags: int) -> TextIO:
    return cast("TextIO", os.fdopen(os.open(os.devnull, flags), mode, encoding="utf-8"))


def _drop_output() -> None:
    """Forget what is left in the buffer: it must not be tried again at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(parsed: argparse.Namespace) -> int:
    match parsed.command:
        case "operator":
            from spillway.cli.operator import run_operator

            return run_operator(parsed, os.environ)
        case "plan":
            from spillway.cli import plan

            return plan.run(parsed)
        case "simulate":
            from spillway.cli import simulate

            return simulate.run(parsed)
        case "report":
            from spillway.cli import report

            return report.run(parsed)
        case "crds":
            from spillway.cli import crds

            return crds.run(parsed.folder)
        case _:
            from importlib.metadata import version

            print(version("spillway"))
            return 0


@cache  # a program that calls `main` again and again, as tests do, would spend a third of a short command on it
def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="spillway", description="Every LLM workload the cheapest serving that keeps its promises.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    operator = commands.add_parser(
        "operator",
        help="run the operator",
        description="Run the operator. Each option can also be set as SPILLWAY_<NAME> in the environment; an option given here wins.",
    )
    add_operator_arguments(operator)
    plan = commands.add_parser(
        "plan",
        help="what to own and what to rent, without a cluster",
        description="Compare every way to serve each InferenceWorkload in the files: owned, rented, both, or in batches. The files are the "
        "cluster's manifests: workloads, HostedProviders, AcceleratorClasses. Without an AcceleratorClass in them, the chart's catalogue "
        "counts. Exit codes: 0, 2 for bad input, 3 when nothing is possible.",
    )
    add_plan_arguments(plan)
    simulate = commands.add_parser(
        "simulate",
        help="what a recorded traffic would have cost, by Spillway's scaling and by others",
        description="Replay a trace, request by request, through own replicas and a hosted side, with Spillway's own decisions and with "
        "other scalers. The files are the cluster's manifests, as for `spillway plan`. Exit codes: 0, 2 for bad input.",
    )
    add_simulate_arguments(simulate)
    report = commands.add_parser(
        "report",
        help="what the workloads of a cluster cost, and what to change",
        description="Read InferenceWorkloads with their status, HostedProviders and AcceleratorClasses from the cluster; print what each "
        "workload costs now, this month, all hosted and all owned, and what could be had for less, the largest saving first. Nothing is "
        "written. Exit codes: 0, 1 when the cluster cannot be asked, 2 for bad input.",
    )
    add_report_arguments(report)
    crds = commands.add_parser("crds", help="print the CRDs, for kubectl apply --server-side --force-conflicts -f -")
    crds.add_argument("folder", nargs="*", help="write all generated files below these folders instead")
    commands.add_parser("version", help="print the version")
    return parser


if __name__ == "__main__":
    sys.exit(main())
