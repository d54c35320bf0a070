"""The ledger as text and back, as its ConfigMap holds it; older versions' ledgers are read too."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from spillway.plan.decision import Ledger
from spillway.plan.gateway.permit_record import grant_from, permit_from
from spillway.plan.money.ledger import MARKED, entry_of
from spillway.plan.money.periods import day_of, month_of
from spillway.plan.readings import moment_if_written, written_moment, written_number


def to_json(ledger: Ledger) -> str:
    """Return the ledger as text for its ConfigMap; stable for equal ledgers."""
    return json.dumps(asdict(ledger), default=lambda moment: moment.isoformat(), sort_keys=True, separators=(",", ":"))


def from_json(text: str) -> Ledger:
    """Return the ledger that `to_json` wrote. Unknown fields, of a newer version, are ignored; raises ValueError on anything else."""
    try:
        return _ledger(json.loads(text))
    except (KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        message = f"not a ledger: {error!r}"
        raise ValueError(message) from error


def _ledger(stored: Mapping[str, Any]) -> Ledger:
    counters = {
        key: replace(
            entry_of({name: written_number(entry.get(name, 0.0)) for name in MARKED}),
            seen_at=moment_if_written(entry.get("seen_at")),
            restarts=None if entry.get("restarts") is None else int(entry["restarts"]),
            restarted_by=moment_if_written(entry.get("restarted_by")),
        )
        for key, entry in stored.get("counters", {}).items()
    }
    sums = {
        name: written_number(stored.get(name, 0.0))
        for name in (
            "dedicated_usd",
            "hosted_usd",
            "input_tokens",
            "output_tokens",
            "estimated_requests",
            "estimated_tokens",
            "unaccounted_s",
            "day_hosted_usd",
            "day_requests",
            "day_hosted_requests",
        )
    }
    replicas = {uid: written_moment(moment) for uid, moment in stored.get("replicas", {}).items()}
    return Ledger(
        month=month_of(written_moment(f"{stored['month']}-01T00:00:00Z")),
        watched_until=moment_if_written(stored.get("watched_until")),
        counted_until=moment_if_written(stored.get("counted_until")),
        counters=counters,
        replicas=replicas,
        unpriced_accelerator_s=_owed_time(stored),
        unpriced_tokens=_owed_tokens(stored),
        unpriced_cached_tokens=_numbers(stored.get("unpriced_cached_tokens", {})),
        last_usd_per_accelerator_hour=_numbers(stored.get("last_usd_per_accelerator_hour", {})),
        last_usd_per_million_tokens=_pairs(stored.get("last_usd_per_million_tokens", {})),
        last_usd_per_million_cached_tokens=_numbers(stored.get("last_usd_per_million_cached_tokens", {})),
        day=day_of(written_moment(f"{stored['day']}T00:00:00Z")) if stored.get("day") else "",
        permit=permit_from(stored.get("permit")),
        grants=tuple(grant_from(each) for each in stored.get("grants", ())),
        former=None if stored.get("former") is None else _ledger(stored["former"]),
        former_since=moment_if_written(stored.get("former_since")),
        **sums,
    )


def _owed_time(stored: Mapping[str, Any]) -> Mapping[str, float]:
    """Return what is owed by class. Ledgers first had a sum for all: nobody knows of which class it was."""
    nameless = written_number(stored.get("unpriced_replica_s", 0.0))
    owed = {name: written_number(seconds) for name, seconds in stored.get("unpriced_accelerator_s", {}).items()}
    return owed | ({"": nameless} if nameless else {})


def _owed_tokens(stored: Mapping[str, Any]) -> Mapping[str, tuple[float, float]]:
    """Return what is owed by backend; here too a sum was first."""
    found = stored.get("unpriced_tokens", {})
    if isinstance(found, int | float):
        return {"": (written_number(found), 0.0)} if found else {}
    return _pairs(found)


def _numbers(stored: Mapping[str, Any]) -> Mapping[str, float]:
    return {name: written_number(found) for name, found in stored.items()}


def _pairs(stored: Mapping[str, Any]) -> Mapping[str, tuple[float, float]]:
    return {label: (written_number(prompt), written_number(answer)) for label, (prompt, answer) in stored.items()}
