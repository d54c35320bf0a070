"""`spillway report`: what the workloads of a cluster cost, what else they could cost, and what to change.

Exit codes: 0; 1 when the cluster cannot be asked; 2 for bad input.
"""

import argparse
import json
import shutil
import sys
from datetime import UTC, datetime

from spillway.api.report_output import ReportOutput
from spillway.cli.bad_input import BadInputError
from spillway.cli.cluster import Cluster, ClusterError
from spillway.report.bill import bill
from spillway.report.bill_text import as_text

NO_CLUSTER = 1
ALL = "all namespaces"


def run(parsed: argparse.Namespace) -> int:
    """Print the report and return the exit code."""
    try:
        report = _report(parsed, datetime.now(UTC))
    except BadInputError as problem:
        return problem.tell("report")
    except ClusterError as problem:
        print(f"spillway report: {problem}", file=sys.stderr)
        return NO_CLUSTER
    print(_written(report, parsed.output), end="")
    return 0


def _report(parsed: argparse.Namespace, now: datetime) -> ReportOutput:
    if parsed.namespace is not None and parsed.all_namespaces:
        raise BadInputError("--namespace and --all-namespaces: give one of them")
    cluster = Cluster(kubeconfig=parsed.kubeconfig, context=parsed.context)
    namespace = None if parsed.all_namespaces else parsed.namespace or cluster.namespace
    found = cluster.contents(namespace)
    return bill(found.workloads, classes=found.classes, providers=found.providers, scope=namespace or ALL, now=now, remarks=found.remarks)


def _written(report: ReportOutput, form: str) -> str:
    match form:
        case "json":
            return json.dumps(report.model_dump(by_alias=True, mode="json"), indent=2, ensure_ascii=False) + "\n"
        case "html":
            from spillway.report.bill_html import as_html

            return as_html(report)
        case _:
            return as_text(report, shutil.get_terminal_size().columns if sys.stdout.isatty() else 80)
