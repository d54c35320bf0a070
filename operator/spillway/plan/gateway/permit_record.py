"""A permit and what lanes hold of it, as the ledger keeps them: a restarted operator must not deal out again what gateways have."""

from collections.abc import Mapping
from typing import Any

from spillway.plan.decision import Allowance, Grant, Lane, Permit
from spillway.plan.readings import moment_if_written, written_moment


def permit_from(stored: Mapping[str, Any] | None) -> Permit | None:
    """Return the permit as `dataclasses.asdict` and JSON left it. Raises KeyError, TypeError or ValueError on anything else."""
    if stored is None:
        return None
    return Permit(
        issued_at=written_moment(stored["issued_at"]),
        expires_at=moment_if_written(stored["expires_at"]),
        retry_at=written_moment(stored["retry_at"]),
        allowances=tuple(_allowance_from(each) for each in stored["allowances"]),
        is_short=stored.get("is_short", False),
    )


def grant_from(stored: Mapping[str, Any]) -> Grant:
    """Return the grant as `dataclasses.asdict` and JSON left it. Raises KeyError, TypeError or ValueError on anything else."""
    return Grant(
        allowance=_allowance_from(stored["allowance"]),
        expires_at=written_moment(stored["expires_at"]),
    )


def _allowance_from(stored: Mapping[str, Any]) -> Allowance:
    return Allowance(
        lane=_lane_from(stored["lane"]),
        micro_usd_from=int(stored["micro_usd_from"]),
        micro_usd_to=_whole(stored["micro_usd_to"]),
        requests_from=int(stored["requests_from"]),
        requests_to=_whole(stored["requests_to"]),
        requests_per_minute=_rate(stored["requests_per_minute"]),
        tokens_per_minute=_rate(stored["tokens_per_minute"]),
        refused_from=int(stored.get("refused_from", 0)),  # not in ledgers of the first permits
        refused_micro_usd_from=int(stored.get("refused_micro_usd_from", 0)),
        wanted_micro_usd=_whole(stored.get("wanted_micro_usd")),
    )


def _lane_from(stored: Mapping[str, Any]) -> Lane:
    return Lane(pod=str(stored["pod"]), worker=int(stored["worker"]), backend=str(stored["backend"]))


def _whole(stored: Any) -> int | None:
    return None if stored is None else int(stored)


def _rate(stored: Any) -> float | None:
    return None if stored is None else float(stored)
