"""Writes what the chart brings for Prometheus and Grafana: `python -m tests.chart.monitoring .`."""

import sys
from pathlib import Path

from tests.chart.monitoring import dashboard, rules


def files() -> dict[str, str]:
    """Return the files' content by their path below charts/spillway."""
    return {"rules/spillway.yaml": rules.text(), "dashboards/spillway.json": dashboard.text()}


if __name__ == "__main__":
    for name, content in files().items():
        path = Path(sys.argv[1]) / "charts" / "spillway" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
