"""Predicted and measured side by side, and whether the prediction is near enough."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.reality.client import Measured
from spillway.simulate.layout import FAILED, HOSTED, OWNED
from spillway.simulate.run import Run, inter_token_ms
from spillway.simulate.setting import Targets
from spillway.simulate.trace import Floats

TARGETS = Targets(ttft_ms=350.0, inter_token_ms=25.0)
MOST_MEDIAN = 0.20  # share by which a median may be off
MOST_POINTS = 10.0  # and shares of requests, in percentage points


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure, predicted and measured."""

    name: str
    predicted: float
    measured: float
    percent: bool  # of requests; else milliseconds
    median: bool = False

    @property
    def off(self) -> float:
        """Return how far the prediction is off: points of a share, else as a share of what was measured."""
        return self.predicted - self.measured if self.percent else self.predicted / self.measured - 1

    @property
    def met(self) -> bool | None:
        """Whether it is near enough; None where there is no bar."""
        if self.percent:
            return abs(self.off) <= MOST_POINTS
        return abs(self.off) <= MOST_MEDIAN if self.median else None


def compared(predicted: Run, measured: Measured) -> list[Figure]:
    """Return the figures of the whole, then of each side."""
    trace = measured.trace
    real = Run(
        policy="measured",
        trace=trace,
        targets=predicted.targets,
        side=measured.side,
        ttft_ms=measured.ttft_ms,
        inter_token_ms=inter_token_ms(measured.ttft_ms, measured.e2e_ms, trace.output_tokens, measured.side),
        e2e_ms=measured.e2e_ms,
        work_s=predicted.work_s,
        lives=predicted.lives,
        billing_increment_s=predicted.billing_increment_s,
        preempted=0,
        decide_s=0.0,
    )
    shares: Mapping[str, Callable[[Run], NDArray[np.bool_]]] = {
        "spilled": lambda run: run.side == HOSTED,
        "failed": lambda run: run.side == FAILED,
        "SLO attainment": lambda run: run.met(),
    }
    found = [
        Figure(name=name, predicted=float(share(predicted).mean() * 100), measured=float(share(real).mean() * 100), percent=True)
        for name, share in shares.items()
    ]
    latencies: Mapping[str, Callable[[Run], Floats]] = {
        "first token": lambda run: run.ttft_ms,
        "gap between tokens": lambda run: run.inter_token_ms,
        "end to end": lambda run: run.e2e_ms,
    }
    for whose, sides in (("", (OWNED, HOSTED)), ("own: ", (OWNED,)), ("hosted: ", (HOSTED,))):
        for name, latency in latencies.items():
            for quantile in (50, 95):
                values = [latency(run)[np.isin(run.side, sides)] for run in (predicted, real)]
                one, other = (float(np.nanpercentile(each, quantile)) for each in values)
                found.append(
                    Figure(name=f"{whose}{name}, p{quantile}", predicted=one, measured=other, percent=False, median=quantile == 50)
                )
    return found


def table(figures: Sequence[Figure]) -> str:
    """Return the figures for people."""
    lines = ["| figure | predicted | measured | off | bar |", "|---|---|---|---|---|"]
    verdicts = {True: "met", False: "**missed**", None: ""}
    for each in figures:
        unit, off = ("%", f"{each.off:+.1f} points") if each.percent else ("ms", f"{each.off * 100:+.0f} %")
        lines.append(f"| {each.name} | {each.predicted:.1f} {unit} | {each.measured:.1f} {unit} | {off} | {verdicts[each.met]} |")
    return "\n".join(lines)
