"""What a scaler is shown: differences of the kernel's sums over the window, as Prometheus would make them of counters."""

from collections import deque
from typing import NamedTuple

import numpy as np

from spillway.simulate.fleet import Fleet
from spillway.simulate.layout import BUCKET_GROWTH, BUCKETS, INTER_TOKEN, READY, TTFT, Records
from spillway.simulate.policy import Seen
from spillway.simulate.trace import Floats

SHOWN_QUANTILE = 0.9
# A moment of a tick and the window's edge are the same moment, however they were added up.
SAME_S = 1e-6


class _Mark(NamedTuple):
    at_s: float
    totals: Records
    latency: Floats


class Watch:
    """Marks of the kernel's sums at each tick, back to the window's beginning."""

    def __init__(self, fleet: Fleet, window_s: float) -> None:
        self._fleet, self._window_s = fleet, window_s
        self._marks: deque[_Mark] = deque()

    def look(self, wanted: int) -> Seen:
        """Return what is to be seen now. In the first window rates are over the time there was."""
        now = self._mark()
        self._marks.append(now)
        while len(self._marks) > 1 and self._marks[1].at_s <= now.at_s - self._window_s + SAME_S:
            self._marks.popleft()
        first = self._marks[0]
        passed = _passed(first.totals, now.totals)
        window_s = max(now.at_s - first.at_s, 1e-9)
        ready = self._fleet.world.replicas[self._fleet.world.replicas["state"] == READY]
        answered, steps = passed["finished"] + passed["spilled"], passed["steps"]
        site, sums = self._fleet.world.site[0], now.totals
        return Seen(
            now_s=now.at_s,
            window_s=self._window_s,
            arrivals_per_s=passed["arrivals"] / window_s,
            spilled_per_s=passed["spilled"] / window_s,
            refused_per_s=passed["refused"] / window_s,
            finished_per_s=passed["finished"] / window_s,
            input_tokens_mean=_mean(passed["own_input"] + passed["hosted_input"], answered),
            output_tokens_mean=_mean(passed["own_output"] + passed["hosted_output"], answered),
            residence_s=_mean(passed["residence_s"], passed["finished"]),
            wanted=wanted,
            replicas=self._fleet.seen(),
            running=int(site["running"]),
            waiting=int(site["waiting"]),
            running_mean=passed["running_s"] / window_s,
            waiting_mean=passed["waiting_s"] / window_s,
            kv_usage_ratio=float(ready["kv"].mean()) / int(site["kv_limit"]) if len(ready) else 0.0,
            busy_ratio=min(1.0, passed["busy_s"] / passed["serving_s"]) if passed["serving_s"] > 0 else 0.0,
            ttft_p90_ms=_quantile(now.latency[TTFT] - first.latency[TTFT]),
            inter_token_p90_ms=_quantile(now.latency[INTER_TOKEN] - first.latency[INTER_TOKEN]),
            step_ms=_mean(passed["busy_s"] * 1000.0, steps),
            token_gap_ms=_mean(passed["decoding_s"] * 1000.0, passed["decoded"]),
            batch_mean=_mean(passed["decoded"], steps),
            prompt_tokens_per_step=_mean(passed["prompted"], steps),
            kv_tokens_mean=_mean(passed["kv_steps"], steps),
            input_tokens=(float(sums["own_input"]), float(sums["hosted_input"])),
            output_tokens=(float(sums["own_output"]), float(sums["hosted_output"])),
            answered=(float(sums["finished"]), float(sums["spilled"])),
            held=int(site["held"]),
            long_per_s=passed["long"] / window_s,
            long_input_tokens_per_s=passed["long_input"] / window_s,
            long_output_tokens_per_s=passed["long_output"] / window_s,
        )

    def _mark(self) -> _Mark:
        world = self._fleet.world
        return _Mark(self._fleet.now_s, world.totals[0].copy(), world.latency.copy())


def _passed(first: Records, last: Records) -> dict[str, float]:
    """Return by how much each sum has grown."""
    names = last.dtype.names or ()
    return {name: after - before for name, before, after in zip(names, first.item(), last.item(), strict=True)}


def _mean(total: float, count: float) -> float | None:
    return total / count if count > 0 else None


def _quantile(counts: Floats) -> float | None:
    """Return the quantile that is shown, interpolated within its bucket as Prometheus does; None of nothing."""
    upto = np.cumsum(counts)
    if upto[-1] <= 0:
        return None
    rank = SHOWN_QUANTILE * upto[-1]
    bucket = min(int(np.searchsorted(upto, rank)), BUCKETS - 1)
    lower = 0.0 if bucket == 0 else BUCKET_GROWTH ** (bucket - 1)
    share = (rank - (upto[bucket] - counts[bucket])) / counts[bucket] if counts[bucket] else 1.0
    return float(lower + (BUCKET_GROWTH**bucket - lower) * share)
