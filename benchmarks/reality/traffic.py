"""A few minutes of traffic as it is recorded: a Poisson process with a burst in it, and lengths that differ."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from benchmarks.reality.lab import Lab
from spillway.simulate.arrivals import poisson
from spillway.simulate.setting import EngineModel
from spillway.simulate.trace import Trace

QUIET, BURST = 0.55, 2.2  # of what the engine can do
BEGINS, ENDS = 0.45, 0.62  # the burst, as shares of the time


def traffic(lab: Lab, engine: EngineModel, *, duration_s: float, seed: int) -> Trace:
    """Return requests of which about a quarter find all places taken; the same seed, lab and engine give the same."""
    mean = [np.array([sum(each) / 2]) for each in (lab.input_tokens, lab.output_tokens)]
    most_per_s = 1.0 / float(engine.work_s(mean[0], mean[1])[0])
    parts = [(BEGINS, QUIET), (ENDS - BEGINS, BURST), (1.0 - ENDS, QUIET)]
    return arriving(lab, "quiet, burst, quiet", [(share * duration_s, load * most_per_s) for share, load in parts], seed=seed)


def arriving(lab: Lab, name: str, parts: Sequence[tuple[float, float]], *, seed: int) -> Trace:
    """Return Poisson arrivals of the lab's lengths, in parts of so many seconds at so many requests per second."""
    arrivals, chance = poisson(parts, input_tokens=1, output_tokens=1, seed=seed), np.random.default_rng(seed)
    return replace(
        arrivals,
        name=name,
        input_tokens=chance.integers(*lab.input_tokens, size=arrivals.requests, endpoint=True),
        output_tokens=chance.integers(*lab.output_tokens, size=arrivals.requests, endpoint=True),
    )
