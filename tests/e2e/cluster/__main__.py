"""`python -m tests.e2e.cluster up|down|status|kubeconfig|forward|load|make`."""

import argparse
import signal
import sys

from tests.e2e.cluster.cache import say
from tests.e2e.cluster.choice import PROVIDERS, choose, made_by
from tests.e2e.cluster.provider import NEEDED_IMAGES, PORT_LIMIT, Cluster, run_folder

INTERRUPTED = 130  # what a shell reports of a program ended by Ctrl-C


def main() -> int:
    """Run one command; return the exit status."""
    arguments = _parser().parse_args()
    # A test runner or CI that gives up sends SIGTERM: it undoes a half-made cluster as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if arguments.command == "make":
            _make(arguments.what, arguments.names)
        elif arguments.command == "down" and arguments.all:
            _down_all(arguments.provider)
        else:
            _run(choose(_provider(arguments), arguments.name, any_context=arguments.yes_this_context), arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
    except (RuntimeError, OSError, ValueError) as trouble:
        print(f"error: {trouble}", file=sys.stderr)
        return 1
    return 0


def _provider(arguments: argparse.Namespace) -> str:
    """Return the provider that was asked for. `down` takes down what is in use, be it somebody else's, who then has to allow it."""
    used = made_by(arguments.name) if arguments.command == "down" and arguments.provider == "auto" else None
    return used or str(arguments.provider)


def _down_all(provider: str) -> None:
    """Remove every cluster there is a trace of; where there is none, neither root nor Docker is asked for. Clusters of others are left."""
    for name in sorted(path.name for path in run_folder("").glob("*") if path.is_dir()):
        if made_by(name) == "existing":
            say(f"what is on the existing cluster stays there: `down --provider existing --name {name}` removes it")
        else:
            choose(provider, name).down()


def _make(what: str, names: list[str]) -> None:
    """Make programs or images, and print where they are; or all that the tests need, side by side."""
    from tests.e2e.cluster import binaries, images, preparing

    match what:
        case "programs":
            made = binaries.paths(*names)
        case "images":
            made = images.archives(names)
        case _:
            preparing.prepare([name for name in binaries.PROGRAMS if name != "kind"], images.IMAGES)
            made = {}
    for path in made.values():
        print(path)


def _run(cluster: Cluster, arguments: argparse.Namespace) -> None:
    match arguments.command:
        case "up":
            cluster.up(arguments.images.split(","))
            print(f"export KUBECONFIG={cluster.kubeconfig}")
        case "down":
            cluster.down()
        case "status":
            print(cluster.status())
        case "kubeconfig":
            if not cluster.kubeconfig.exists():
                raise RuntimeError(f"cluster {cluster.name} is not up; run `up` with the same --name first")
            print(cluster.kubeconfig.read_text(), end="")
        case "forward":
            host, _, port = arguments.target.rpartition(":")
            local, process = cluster.forward(host, int(port), local=arguments.local)
            print(f"127.0.0.1:{local} (process {process.pid}; ends with `down`)")
        case "load":
            from tests.e2e.cluster import images

            cluster.load_images(images.archives(arguments.images.split(",")))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.cluster", description="The cluster for tests and the demo.")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--provider", choices=["auto", *PROVIDERS], default="auto")
    common.add_argument("--name", default="spillway")
    common.add_argument("--yes-this-context", action="store_true", help="use a cluster that this tool did not make")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", parents=[common], help="bring the cluster up")
    up.add_argument("--images", default=",".join(NEEDED_IMAGES), help="images to put on the node, by name, with commas between")
    down = commands.add_parser("down", parents=[common], help="remove the cluster and all that was started for it")
    down.add_argument("--all", action="store_true", help="remove every cluster that was made here, whatever its name")
    commands.add_parser("status", parents=[common], help="say what runs")
    commands.add_parser("kubeconfig", parents=[common], help="print the kubeconfig")
    forward = commands.add_parser("forward", parents=[common], help="make an address of the cluster reachable on 127.0.0.1")
    forward.add_argument("target", metavar="ADDRESS:PORT", help="an IP address or service.namespace, and a port")
    forward.add_argument("--local", type=_port, default=0, help="the local port (default: a free one)")
    load = commands.add_parser("load", parents=[common], help="build images and put them on the node")
    load.add_argument("images", help="names, with commas between")
    make = commands.add_parser("make", help="make programs, images or all that the tests on a local cluster need, without a cluster")
    make.add_argument("what", choices=["programs", "images", "everything"])
    make.add_argument("names", nargs="*", metavar="NAME")
    return parser


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= PORT_LIMIT:
        raise argparse.ArgumentTypeError(f"{port} is no port; take 0 (any free one) to {PORT_LIMIT}")
    return port


if __name__ == "__main__":
    sys.exit(main())
