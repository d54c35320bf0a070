"""Options of `spillway plan`, apart from what carries it out: `spillway version` need not load that."""

import argparse

DEFAULT_POINTS = 30


def add_plan_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "-f", "--file", action="append", required=True, metavar="FILE", help="manifest, folder of manifests, or - (may be given again)"
    )
    parser.add_argument("-o", "--output", choices=("table", "json", "yaml", "markdown"), default="table", help="form (default: table)")
    parser.add_argument("--prices", metavar="DIR", help="folder with gpu_instance_prices.csv and hosted_token_prices.csv")
    parser.add_argument("--model-config", metavar="FILE", help="config.json of a model that the catalogue does not know")
    parser.add_argument("--sweep", metavar="requestsPerMonth=FROM..TO", help="cost by volume, such as requestsPerMonth=1M..30M")
    parser.add_argument("--points", type=int, default=DEFAULT_POINTS, metavar="N", help=f"points of the sweep (default: {DEFAULT_POINTS})")
    parser.add_argument("--plot", metavar="FILE", help="cost by volume as a picture (.png, .svg or .pdf); needs spillway[plot]")
    parser.add_argument("--engineering-once", type=float, default=0.0, metavar="USD", help="what people cost once, shown apart")
    parser.add_argument("--engineering-monthly", type=float, default=0.0, metavar="USD", help="what people cost a month, shown apart")
    parser.add_argument("--amortise-months", type=int, default=12, metavar="N", help="months to spread the former over (default: 12)")
