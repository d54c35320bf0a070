"""Options of `spillway simulate`, apart from what carries it out: `spillway version` need not load that."""

import argparse


def add_simulate_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "-f", "--file", action="append", default=[], metavar="FILE", help="manifest, folder of manifests, or - (may be given again)"
    )
    traffic = parser.add_argument_group("traffic")
    traffic.add_argument("--trace", metavar="FILE", help="CSV or Parquet with arrival, input and output tokens, plain or gzip")
    traffic.add_argument("--columns", metavar="arrival=A[:UNIT],input=B,output=C", help="its columns, where their names are not known")
    traffic.add_argument("--skip-bad-rows", action="store_true", help="leave out rows that cannot be requests, and tell them")
    traffic.add_argument("--from-prometheus", metavar="URL", help="replay the traffic recorded by this Prometheus instead of a trace")
    traffic.add_argument(
        "--workload", metavar="NAMESPACE/NAME", help="whose, with --from-prometheus (default: the file's, where it has a namespace)"
    )
    traffic.add_argument("--since", metavar="7d", default="7d", help="how far back, with --from-prometheus (default: 7d)")
    asked = "with --from-prometheus: "
    traffic.add_argument("--prometheus-token-file", metavar="FILE", help=f"{asked}send the bearer token in this file")
    traffic.add_argument("--prometheus-user", metavar="NAME", help=f"{asked}basic authentication as this user")
    traffic.add_argument("--prometheus-password-file", metavar="FILE", help=f"{asked}and with the password in this file")
    traffic.add_argument("--prometheus-ca-file", metavar="FILE", help=f"{asked}trust the authority in this file alone")
    traffic.add_argument(
        "--prometheus-header",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help=f"{asked}send it too, such as X-Scope-OrgID=team (may be given again)",
    )
    traffic.add_argument("--days", type=float, metavar="N", help="replay only the first N days")
    size = traffic.add_mutually_exclusive_group()
    size.add_argument("--copies", type=int, metavar="N", help="N times the traffic, superposed")
    size.add_argument("--scale-to", type=float, metavar="REPLICAS", help="as much traffic as fills so many replicas on average")
    model = parser.add_argument_group("what is simulated")
    model.add_argument(
        "--policy",
        action="append",
        metavar="NAME",
        help="spillway, oracle, a baseline, ... (may be given again; default: a handful; 'list' lists all)",
    )
    model.add_argument("--start-up", metavar="180s", default="180s", help="from deciding on a replica to its first request (default: 180s)")
    model.add_argument("--kappa", type=float, metavar="K", help="scale hosted prices so that renting costs K times full own replicas")
    model.add_argument("--hosted", choices=("fast", "slow"), default="fast", help="hosted latency (default: fast)")
    model.add_argument("--engine", metavar="FILE", help="measured step coefficients as JSON: a, b, c, delta in milliseconds")
    model.add_argument("--model-config", metavar="FILE", help="config.json of a model that the catalogue does not know")
    model.add_argument("--prices", metavar="DIR", help="folder with gpu_instance_prices.csv and hosted_token_prices.csv")
    model.add_argument("--seed", type=int, default=1, metavar="N", help="of all chance (default: 1)")
    parser.add_argument("-o", "--output", choices=("table", "json", "html"), default="table", help="form (default: table)")
    parser.add_argument("--out", metavar="FILE", help="write it there instead of to standard output")
