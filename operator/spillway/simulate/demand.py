"""A trace cut into slots: what a fluid model sees of it."""

import math
from dataclasses import dataclass

import numpy as np

from spillway.simulate.trace import Floats, Trace, Whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What arrives per slot of `slot_s`. All arrays have one entry per slot."""

    slot_s: float
    work_s: Floats  # own work, in replica-seconds at full use
    requests: Floats
    input_tokens: Floats
    output_tokens: Floats

    @property
    def slots(self) -> int:
        """Return how many slots there are."""
        return len(self.work_s)

    @property
    def replicas(self) -> Floats:
        """Return the work of each slot as the number of replicas that it keeps busy."""
        return self.work_s / self.slot_s

    @property
    def peak_replicas(self) -> int:
        """Return how many replicas serve every slot without spill."""
        return math.ceil(float(self.replicas.max(initial=0.0)) - 1e-9)


def slots_of(trace: Trace, slot_s: float) -> tuple[Whole, int]:
    """Return the slot of each request and how many slots there are."""
    if slot_s <= 0:
        raise ValueError(f"slots of {slot_s} s; give a positive length")
    slots = max(1, math.ceil(trace.duration_s / slot_s))
    return np.minimum((trace.arrival_s // slot_s).astype(np.int64), slots - 1), slots


def demand_of(trace: Trace, work_s: Floats, slot_s: float) -> Demand:
    """Return the trace in slots. `work_s`: replica-seconds of each request."""
    slot, slots = slots_of(trace, slot_s)

    def total(weights: Floats | Whole | None) -> Floats:
        return np.bincount(slot, weights=weights, minlength=slots).astype(np.float64)

    return Demand(
        slot_s=slot_s,
        work_s=total(work_s),
        requests=total(None),
        input_tokens=total(trace.input_tokens),
        output_tokens=total(trace.output_tokens),
    )
