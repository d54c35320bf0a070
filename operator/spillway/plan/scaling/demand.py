"""How many replicas the traffic asks for, by what is measured: arrivals, requests in flight and KV cache, spilled ones included."""

from dataclasses import dataclass

from spillway.api.workload import InferenceWorkloadSpec
from spillway.plan.decision import Capacity, Memory
from spillway.plan.gateway.spill import ready_replicas
from spillway.plan.observation import Observation, Signals
from spillway.plan.readings import number, positive
from spillway.plan.replica.capacity import assumed_residence_s

KV_TARGET = 0.9  # vLLM preempts when the last blocks go
TARGET_WHERE_NOTHING_SPILLS = 0.85  # share of the batch to plan for where no hosted backend takes the peaks


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """How many replicas the traffic asks for."""

    replicas: float | None  # None: nothing is known
    complete: bool  # False: something that should be known is Missing, so demand may be higher than this
    figures: str


def measure_demand(
    spec: InferenceWorkloadSpec, seen: Observation, capacity: Capacity, memory: Memory, *, batch: int, asleep: bool
) -> Demand:
    """Return the demand in replicas of `batch` requests: the most that arrivals, concurrency and KV cache each ask for, spilled included.

    At zero replicas (`asleep`) only a request that was for a backend counts: one that hosted answered, that nobody could, or that waits
    at the gateway. What waits there counts like what is in flight: it is to be as soon as there is room.
    """
    signals = seen.signals
    ready = ready_replicas(seen)
    target = batch * (1.0 if spec.rents else TARGET_WHERE_NOTHING_SPILLS)
    running, waiting = number(signals.running), number(signals.waiting)
    at_replicas = number(signals.in_flight_owned)
    engine = None if running is None and waiting is None else (running or 0.0) + (waiting or 0.0)
    concurrency = None if at_replicas is None and engine is None else max(at_replicas or 0.0, engine or 0.0)
    held = (number(signals.held_at_gateway) or 0.0) if spec.holds else 0.0
    arrivals = number(signals.arrivals_per_s)
    spilled = number(signals.spilled_per_s) if spec.rents else 0.0
    elsewhere = (spilled or 0.0) + (number(signals.refused_per_s) or 0.0)
    residence = _service_s(spec, signals, capacity, memory)

    terms: dict[str, float] = {}
    if arrivals is not None and (elsewhere or not asleep):
        terms[f"{arrivals:.2f} arrivals/s x {residence:.1f} s / {target:.0f}"] = arrivals * residence / target
    if concurrency is not None or elsewhere or held:
        here, there = concurrency or 0.0, elsewhere * residence
        waits = f" + {held:.1f} waiting at the gateway" if held else ""
        terms[f"({here:.1f} in flight + {there:.1f} spilled{waits}) / {target:.0f}"] = (here + there + held) / target
    kv = number(signals.kv_cache_usage_ratio)
    if kv is not None and ready:
        terms[f"KV cache {kv * 100:.0f} % of {ready}"] = kv / KV_TARGET * ready
    return Demand(
        replicas=max(terms.values(), default=None),
        complete=arrivals is not None and spilled is not None and (concurrency is not None or not ready),
        figures="; ".join(terms) or "no readings",
    )


def _service_s(spec: InferenceWorkloadSpec, signals: Signals, capacity: Capacity, memory: Memory) -> float:
    """Return how long own replicas work on a request. Its wait is taken out: a queue is not work, and would buy replicas twice."""
    seen = positive(signals.residence_s)
    if seen is None:
        return assumed_residence_s(spec, capacity, memory)
    running, waiting = positive(signals.running), number(signals.waiting)
    if running is None or waiting is None:
        return seen
    return seen * running / (running + waiting)
