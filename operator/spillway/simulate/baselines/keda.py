"""KEDA on vLLM's queue, alone and with its cache.

Sources: vLLM production-stack, tutorial 20 and helm/templates/scaledobject-vllm.yaml (2026-08: `vllm:num_requests_waiting` 5 a replica,
poll 15 s); llm-d-autoscaling PR #1517 (2026-08: `vllm:kv_cache_usage_perc` 0.6). KEDA feeds an HPA, so that one's formula and windows
apply; the cooldown (300 s) only delays the last step to zero, which the tutorials leave off (`minReplicaCount: 1`).
"""

from spillway.simulate.baselines.facts import Facts
from spillway.simulate.baselines.hpa import Follower, by_ratio, by_total
from spillway.simulate.policy import Seen


class KedaQueue:
    """Requests that wait in engines, per replica."""

    tick_s = 15.0
    window_s = 15.0

    def __init__(self, facts: Facts, *, waiting_each: float = 5.0) -> None:
        self._facts, self._waiting_each, self._follower = facts, waiting_each, Follower()

    def replicas(self, seen: Seen) -> int:
        """Return ceil(waiting / target), followed slowly downwards; with no engine to ask, what is."""
        asked = self._facts.bounded(self._asked(seen) if seen.ready else seen.wanted, at_least=1)
        return self._facts.bounded(self._follower.follow(seen.now_s, seen.wanted, asked), at_least=1)

    def _asked(self, seen: Seen) -> int:
        return by_total(seen.wanted, seen.waiting, self._waiting_each)


class KedaQueueAndCache(KedaQueue):
    """The larger of what the queue and the mean use of the KV cache ask for."""

    def __init__(self, facts: Facts, *, waiting_each: float = 5.0, kv_usage_ratio: float = 0.6) -> None:
        super().__init__(facts, waiting_each=waiting_each)
        self._kv_usage_ratio = kv_usage_ratio

    def _asked(self, seen: Seen) -> int:
        return max(super()._asked(seen), by_ratio(seen.wanted, seen.ready, seen.kv_usage_ratio / self._kv_usage_ratio))
