"""What conditions are found from."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from spillway.api.status import Condition
from spillway.plan.decision import Decision, Workload
from spillway.plan.observation import Observation, ReplicaPod
from spillway.report.outcome import ApplyOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """Everything one pass knows, for the conditions to read."""

    workload: Workload
    seen: Observation
    decision: Decision
    outcome: ApplyOutcome
    previous: Mapping[str, Condition]
    now: datetime

    @property
    def desired(self) -> int:
        """Replicas wanted; while nothing is decided, those there are."""
        if self.decision.scale is not None:
            return self.decision.scale.replicas
        return sum(pool.replicas for pool in self.seen.pools)

    @property
    def pool_name(self) -> str | None:
        """The engine Deployment whose replicas are to serve, beside one that is to go; None while nothing is decided."""
        return None if self.decision.pool is None else self.decision.pool.name

    @property
    def replicas(self) -> list[ReplicaPod]:
        """The replicas of that Deployment; all there are while nothing is decided."""
        return [pod for pod in self.seen.replicas if self.pool_name in {None, pod.pool}]

    @property
    def gateway_up(self) -> bool:
        """Whether any gateway serves."""
        return any(pod.ready for pod in self.seen.gateways)
