"""How this process is, as a value, and what that means to those who ask: the probes, and the Lease before each renewal."""

from dataclasses import dataclass
from enum import Enum


class Watches(Enum):
    """Of kopf's watches, all together."""

    STARTING = "starting"
    RUNNING = "running"
    ENDED = "ended"


class Role(Enum):
    """What this replica of the operator is."""

    STANDBY = "standby"
    PREPARING = "preparing"  # the Lease is held, but the cluster is not known yet
    LEADING = "leading"
    DEPOSED = "deposed"  # it led, and the Lease is held no more


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """What is true of the process now."""

    watches: Watches
    role: Role
    stalled_s: float  # for how long the queue has stood still
    stuck_after_s: float
    all_shown: bool  # by the last stocktaking, the watches have shown all there is
    uncompared: str | None = None  # why there could be no last stocktaking: watches that are refused show nothing, and say nothing

    @property
    def stuck(self) -> bool:
        """Whether another replica would do better: the one that leads makes no progress."""
        return self.role is Role.LEADING and self.stalled_s >= self.stuck_after_s


def not_live(vitals: Vitals) -> str | None:
    """Return why the process had better be restarted; None when all is well."""
    if vitals.watches is Watches.ENDED:
        return "the watches have ended"
    if vitals.role is Role.DEPOSED:
        return "the Lease is lost"
    if vitals.stuck:
        return f"no progress for {vitals.stalled_s:.0f} s"
    return None if vitals.all_shown else "a watch has stopped delivering"


def not_ready(vitals: Vitals) -> str | None:
    """Return why the process does not do its part yet, or any more; None when it does."""
    if vitals.watches is Watches.STARTING:
        return "the watches have not started"
    if vitals.role is Role.PREPARING:
        return "not in sync with the cluster yet"
    if vitals.uncompared is not None:
        return f"what there is cannot be listed: {vitals.uncompared}"  # a restart would not mend it
    return not_live(vitals)
