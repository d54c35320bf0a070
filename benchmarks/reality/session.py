"""A session of measuring, written down so that it can be simulated once more."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reality.client import Measured
from benchmarks.reality.fitting import Fit, Point
from benchmarks.reality.lab import Limits, restored_hosted
from benchmarks.reality.promise import Promise
from spillway.plan.replica.roofline import StepModel
from spillway.simulate.setting import Targets
from spillway.simulate.trace import Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What was measured, and when."""

    fit: Fit
    lab: str
    limits: Limits
    kv_tokens: int
    measured: Measured
    slowdown: float | None  # of steps during the replay, by the engine's own counters, over the fit's for their load; None: not taken
    machine: str
    date: str
    load: tuple[float, float, float]  # mean number of runnable processes over the minute before the fit, before the replay, at the end
    promise: Promise | None = None  # where something was planned
    drained: int | None = None  # of promise.STREAMS streams
    learned: Promise | None = None  # what another engine kept of what was learned of the first


def keep(session: Session, path: Path) -> None:
    """Write down what was measured."""

    def plain(value: Any) -> Any:
        return value.tolist()

    path.write_text(json.dumps(asdict(session), default=plain))


def restored(path: Path) -> Session:
    """Return what was written down."""
    raw = json.loads(path.read_text())
    fit, measured = raw["fit"], raw["measured"]
    trace = measured["trace"]
    return Session(
        fit=Fit(
            **{
                **fit,
                "step": StepModel(**fit["step"]),
                "lone": tuple(Point(**each) for each in fit["lone"]),
                "windows": tuple(Point(**each) for each in fit["windows"]),
            }
        ),
        lab=raw["lab"],
        limits=Limits(
            **{
                **raw["limits"],
                "targets": Targets(**raw["limits"]["targets"]),
                "hosted": restored_hosted(raw["limits"]["hosted"]),
            }
        ),
        kv_tokens=raw["kv_tokens"],
        measured=Measured(
            trace=Trace(
                name=trace["name"],
                arrival_s=np.array(trace["arrival_s"]),
                input_tokens=np.array(trace["input_tokens"]),
                output_tokens=np.array(trace["output_tokens"]),
                duration_s=trace["duration_s"],
            ),
            side=np.array(measured["side"], dtype=np.uint8),
            ttft_ms=np.array(measured["ttft_ms"]),
            e2e_ms=np.array(measured["e2e_ms"]),
            late_s=measured["late_s"],
        ),
        slowdown=raw["slowdown"],
        machine=raw["machine"],
        date=raw["date"],
        load=tuple(raw["load"]),
        promise=Promise(**raw["promise"]) if raw["promise"] else None,
        drained=raw["drained"],
        learned=Promise(**raw["learned"]) if raw["learned"] else None,
    )
