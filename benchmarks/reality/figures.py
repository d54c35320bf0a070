"""Predicted and measured side by side, and whether the prediction is near enough."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.reality.client import Measured
from spillway.simulate.layout import FAILED, HOSTED, OWNED
from spillway.simulate.run import Run, inter_token_ms
from spillway.simulate.trace import Floats

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
        """How far the prediction is off: points of a share, else the share of what was measured."""
        return self.predicted - self.measured if self.percent else self.predicted / self.measured - 1

    @property
    def told(self) -> tuple[str, str]:
        """The prediction and how far it is off, for people."""
        unit, off = ("%", f"{self.off:+.1f} points") if self.percent else ("ms", f"{self.off * 100:+.0f} %")
        return f"{self.predicted:.1f} {unit}", off

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
    runs, found = (predicted, real), []
    for name, share in shares.items():
        one, truth = (float(share(run).mean() * 100) for run in runs)
        found.append(Figure(name=name, predicted=one, measured=truth, percent=True))
    latencies: Mapping[str, Callable[[Run], Floats]] = {
        "first token": lambda run: run.ttft_ms,
        "gap between tokens": lambda run: run.inter_token_ms,
        "end to end": lambda run: run.e2e_ms,
    }
    for whose, sides in (("", (OWNED, HOSTED)), ("own: ", (OWNED,)), ("hosted: ", (HOSTED,))):
        for name, latency in latencies.items():
            for quantile in (50, 95):
                values = [latency(run)[np.isin(run.side, sides)] for run in runs]
                one, truth = (float(np.nanpercentile(each, quantile)) for each in values)
                title = f"{whose}{name}, p{quantile}"
                found.append(Figure(name=title, predicted=one, measured=truth, percent=False, median=quantile == 50))
    return found


def table(figures: Sequence[Figure], paced: Sequence[Figure] | None) -> str:
    """Return the figures for people, and beside them those that the replay's own pace makes, where it was taken."""
    heads = ["figure", "measured", "predicted", "off", "bar", *(["at the replay's pace", "off"] if paced else [])]
    lines = [heads, ["---"] * len(heads)]
    verdicts = {True: "met", False: "**missed**", None: ""}
    for row, each in enumerate(figures):
        unit = "%" if each.percent else "ms"
        lines.append([each.name, f"{each.measured:.1f} {unit}", *each.told, verdicts[each.met], *(paced[row].told if paced else ())])
    return "\n".join(f"| {' | '.join(line)} |".replace("  ", " ") for line in lines)
