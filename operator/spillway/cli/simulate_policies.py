"""The policies that can be asked for."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from spillway.cli.bad_input import BadInputError
from spillway.simulate.baselines.catalogue import RULES
from spillway.simulate.document import ORACLE, ORACLE_REPLAY, OURS

ALL_HOSTED = "all-hosted"
USUAL = (OURS, ORACLE_REPLAY, ORACLE, ALL_HOSTED, "all-owned", "hpa-utilisation", "keda-queue", "kubeai", "knative-kpa")
HEADROOMS = (1.0, 0.9, 0.8)  # shares of a replica that a replayed plan may count on: queues need some of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A policy by its name, with the values of its parameters where they were given: `hpa-utilisation:0.6`."""

    label: str
    name: str
    values: tuple[float, ...] | None = None

    @property
    def runs(self) -> int:
        """Return how many simulations it takes."""
        return len(HEADROOMS) if self.name == ORACLE_REPLAY else 1


def policy_names() -> tuple[str, ...]:
    """Return all policies there are."""
    return (OURS, ORACLE_REPLAY, ORACLE, *(each.name for each in RULES))


def asked_policies(given: Sequence[str], *, rents: bool = True, where: str = "") -> tuple[Asked, ...]:
    """Return what is to be run: what was given, once each, else the usual ones. Raises BadInputError for an unknown one.

    `where` names the workload to which `rents` applies.
    """
    wanted = list(dict.fromkeys(part for each in given for part in _parts(each))) or [
        name for name in USUAL if rents or name not in {ALL_HOSTED, ORACLE}
    ]
    return tuple(_asked(each, rents=rents, where=where) for each in wanted)


def _parts(given: str) -> list[str]:
    """Split names at commas; a comma before a number parts the values behind a name."""
    return [part.strip() for part in re.split(r",(?![ ]*[0-9.])", given) if part.strip()]


def _asked(given: str, *, rents: bool, where: str) -> Asked:
    name, colon, text = given.partition(":")
    if name not in policy_names():
        raise BadInputError(f"--policy: there is no {name!r}; there are {', '.join(policy_names())}")
    if not rents and name in {ALL_HOSTED, ORACLE}:
        raise BadInputError(
            f"{where}--policy {name}: needs a hosted side, and nothing can be rented; unless placement.dataResidency forbids it, add a "
            "HostedProvider with -f, or give --kappa"
        )
    if not colon:
        return Asked(label=name, name=name)
    found = next((each for each in RULES if each.name == name), None)
    expected = found.parameters if found else ()
    try:
        values = tuple(float(each) for each in text.split(","))
    except ValueError:
        values = ()
    if not expected or len(values) != len(expected) or not all(math.isfinite(each) and each > 0 for each in values):
        wants = f"numbers above 0 for {' and '.join(expected)}" if expected else "no values"
        raise BadInputError(
            f"--policy {given}: {name} takes {wants}; such as {name}{':' + ','.join('0.5' for _ in expected) if expected else ''}"
        )
    return Asked(label=given, name=name, values=values)
