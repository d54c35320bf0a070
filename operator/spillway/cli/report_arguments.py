"""Options of `spillway report`, apart from what carries it out: `spillway version` need not load that."""

import argparse


def add_report_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("-n", "--namespace", metavar="NAMESPACE", help="namespace to report on (default: the context's)")
    parser.add_argument("-A", "--all-namespaces", action="store_true", help="report on all namespaces")
    parser.add_argument("-o", "--output", choices=("table", "json", "html"), default="table", help="form (default: table)")
    parser.add_argument("--kubeconfig", metavar="FILE", help="kubeconfig (default: KUBECONFIG, else ~/.kube/config)")
    parser.add_argument("--context", metavar="NAME", help="context of the kubeconfig (default: its current one)")
