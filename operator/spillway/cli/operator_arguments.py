"""Options of `spillway operator`, apart from what carries it out: `spillway version` need not load that."""

import argparse

OPTIONS = {
    "prometheus-url": "URL of Prometheus; without one, scaling holds and MetricsAvailable says so",
    "prometheus-auth-folder": "folder with what it asks for: a file `token`, or `username` and `password`; read at each query",
    "prometheus-ca-file": "certificate of the only authority trusted for it",
    "prometheus-headers": 'headers for it as JSON, such as {"X-Scope-OrgID": "team"}',
    "engine-image": "default image of the engine",
    "engine-version": "vLLM version in that image",
    "gateway-image": "image of the gateway (Envoy)",
    "namespace": "namespace of the Lease (default: POD_NAMESPACE)",
    "tick-seconds": "how often Prometheus is asked (default 15)",
    "metrics-window-seconds": "window of rates (default 60)",
    "lease-seconds": "how long the Lease lasts without renewal (default 12)",
    "metrics-port": "port of the operator's own metrics (default 8080; 0: a free one)",
    "probe-port": "port of /livez and /readyz (default 8081; 0: a free one)",
    "log-format": "text or json",
}


def add_operator_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    for name, text in OPTIONS.items():
        parser.add_argument(f"--{name}", help=text)
    parser.set_defaults(options=tuple(name.replace("-", "_") for name in OPTIONS))
