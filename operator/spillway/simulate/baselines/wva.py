"""llm-d's workload variant autoscaler, in its two saturation forms.

Source: llm-d-workload-variant-autoscaler docs/saturation-analyzer.md and docs/saturation-scaling-config.md (b08b1c7, 2026-02), tick 30 s;
V1 does nothing while pods are on their way.

Where it differs: before one less, the load of all replicas is shared out; V1 leaves out that of saturated ones, and so goes down sooner.
"""

import math

from spillway.simulate.baselines.facts import Facts
from spillway.simulate.baselines.windows import Window
from spillway.simulate.policy import Seen

SATURATED_QUEUE = 5.0
SPARE_QUEUE = 3.0
SPARE_KV = 0.10
BUDGET_SHARE = 0.8  # of the KV cache that V2 plans with
REMEMBERED_S = 10 * 30.0  # V2: the last ten sights of a saturated queue


class WvaSaturation:
    """V1: one more where spare cache or spare queue run out, one less where the rest would stay clear of that.

    A replica is saturated at a KV use of 0.80 or a queue of 5; spare is the mean distance to these over the others. The KV use shown
    is a mean, so a replica's own is taken to be that.
    """

    tick_s = 30.0
    window_s = 60.0

    def __init__(self, facts: Facts, *, kv_usage_ratio: float = 0.80) -> None:
        self._facts, self._kv = facts, kv_usage_ratio

    def replicas(self, seen: Seen) -> int:
        """Return one more, one less or the same."""
        if seen.ready == 0 or seen.starting:
            return self._facts.bounded(seen.wanted, at_least=1)
        queues = [each.waiting for each in seen.replicas if each.ready_s is not None and not each.draining]
        if self._short(seen.kv_usage_ratio, [queue for queue in queues if queue < SATURATED_QUEUE]):
            return self._facts.bounded(seen.wanted + 1, at_least=1)
        if seen.ready > 1 and self._clear_without_one(seen, queues):
            return self._facts.bounded(seen.wanted - 1, at_least=1)
        return self._facts.bounded(seen.wanted, at_least=1)

    def _short(self, kv_usage_ratio: float, queues: list[int]) -> bool:
        if not queues or kv_usage_ratio >= self._kv:
            return True
        return self._kv - kv_usage_ratio < SPARE_KV or SATURATED_QUEUE - sum(queues) / len(queues) < SPARE_QUEUE

    def _clear_without_one(self, seen: Seen, queues: list[int]) -> bool:
        fewer = seen.ready - 1
        return self._kv - seen.kv_usage_ratio * seen.ready / fewer >= SPARE_KV and SATURATED_QUEUE - sum(queues) / fewer >= SPARE_QUEUE


class WvaTokenBudget:
    """V2: tokens in use and queued against a budget per replica, at 0.85 for more and 0.70 for less.

    The budget is the smaller of 80 % of the KV cache and the tokens that were in use when queues were last saturated (mean of ten sights);
    before any such sight, what the engine's `max_num_seqs` holds at the mean shape.
    """

    tick_s = 30.0
    window_s = 60.0

    def __init__(self, facts: Facts, *, up: float = 0.85, down: float = 0.70) -> None:
        self._facts, self._up, self._down = facts, up, down
        self._saturated = Window(REMEMBERED_S)
        self._saw_saturation = False

    def replicas(self, seen: Seen) -> int:
        """Return the supply that demand asks for, pods on their way counted as supply."""
        shape = seen.input_tokens_mean, seen.output_tokens_mean
        if seen.ready == 0 or shape[0] is None or shape[1] is None:
            return self._facts.bounded(seen.wanted, at_least=1)
        in_use = seen.kv_usage_ratio * self._facts.kv_tokens
        budget = self._budget(seen, in_use, self._facts.slots * (shape[0] + shape[1] / 2))
        demand = in_use * seen.ready + seen.waiting * shape[0]
        lacking = demand / self._up - seen.wanted * budget
        spare = seen.ready * budget - demand / self._down
        wanted = seen.wanted
        if lacking > 0:
            wanted += math.ceil(lacking / budget - 1e-9)
        elif spare > 0 and not seen.starting:
            wanted -= math.floor(spare / budget + 1e-9)
        return self._facts.bounded(wanted, at_least=1)

    def _budget(self, seen: Seen, in_use: float, by_arguments: float) -> float:
        if seen.waiting >= SATURATED_QUEUE * seen.ready and in_use > 0:
            self._saturated.add(seen.now_s, in_use)
            self._saw_saturation = True
        observed = self._saturated.mean if self._saw_saturation else by_arguments
        return max(1.0, min(BUDGET_SHARE * self._facts.kv_tokens, observed))
