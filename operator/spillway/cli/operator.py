"""`spillway operator`: settings, logging, and the process's exit code."""

import argparse
import asyncio
import gc
import json
import logging
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime

from spillway.apply.connection import NoClusterError
from spillway.edge.operator import run
from spillway.reconcile.settings import PREFIX, SettingsError, read_settings

# Libraries whose INFO is of no use to the one who runs the operator.
_QUIET = ("kopf", "aiohttp", "urllib3", "asyncio")


def run_operator(parsed: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Run the operator; 2 when its settings are wrong, 1 when something ended that must not."""
    given = {f"{PREFIX}{name.upper()}": value for name in parsed.options if (value := getattr(parsed, name)) is not None}
    try:
        settings = read_settings({**environment, **given})
    except SettingsError as problem:
        print(f"spillway: {problem}", file=sys.stderr)
        return 2
    _set_up_logging(settings.log_format)
    _collect_less()
    try:
        return asyncio.run(run(settings))
    except NoClusterError as problem:
        logging.getLogger(__name__).error("%s", problem)  # noqa: TRY400  its words say all there is to say
        return 1
    except Exception:
        logging.getLogger(__name__).exception("the operator cannot run")
        return 1


def _collect_less() -> None:
    """Look for cycles less often: what is kept of thousands of objects has none, and going through it all took a tenth of the time."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def _set_up_logging(log_format: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if log_format == "json" else logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


class _JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = "".join(traceback.format_exception(record.exc_info[1]))
        return json.dumps(line)
