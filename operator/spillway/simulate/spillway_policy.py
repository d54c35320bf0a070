"""Spillway itself as a policy: what production's decide() answers to what it would have seen, by a simulated clock."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from spillway.api.status import DecisionStatus
from spillway.api.vocabulary import BACKEND_OWNED, Reason
from spillway.plan.decide import decide
from spillway.plan.decision import Decision, Ledger, Memory, OwnedPool, Workload
from spillway.plan.observation import (
    Catalogue,
    EngineLimits,
    GatewayPod,
    LongPromptTraffic,
    Missing,
    Observation,
    Pool,
    Reading,
    ReplicaPod,
    Sample,
    Signals,
    TokenCounters,
)
from spillway.plan.settings import PlanSettings
from spillway.simulate.policy import Seen, SeenReplica

UNSEEN = Missing(reason=Reason.METRICS_MISSING, detail="not modelled")
NOTHING = Missing(reason=Reason.METRICS_MISSING, detail="nothing happened that could be measured")
DEFAULT_START = datetime(2026, 1, 5, tzinfo=UTC)  # a Monday, 0:00
NOT_YET = Seen(
    now_s=0.0,
    window_s=60.0,
    arrivals_per_s=0.0,
    spilled_per_s=0.0,
    refused_per_s=0.0,
    finished_per_s=0.0,
    input_tokens_mean=None,
    output_tokens_mean=None,
    residence_s=None,
    wanted=0,
    replicas=(),
    running=0,
    waiting=0,
    running_mean=0.0,
    waiting_mean=0.0,
    kv_usage_ratio=0.0,
    busy_ratio=0.0,
    ttft_p90_ms=None,
    inter_token_p90_ms=None,
    step_ms=None,
    batch_mean=None,
    prompt_tokens_per_step=None,
    kv_tokens_mean=None,
    input_tokens=(0.0, 0.0),
    output_tokens=(0.0, 0.0),
    answered=(0.0, 0.0),
)


class SpillwayPolicy:
    """One workload's operator. It keeps its memory, and all decisions it took with the moment of each change of the count."""

    def __init__(
        self,
        *,
        workload: Workload,
        catalogue: Catalogue,
        settings: PlanSettings | None = None,
        start: datetime = DEFAULT_START,
        gateways: int = 2,
        memory: Memory | None = None,
    ) -> None:
        self._workload = replace(workload, created_at=start)
        self._catalogue, self._settings, self._start = catalogue, settings or PlanSettings(), start
        self._gateways = tuple(GatewayPod(uid=f"gateway-{each}", name=f"gateway-{each}", ready=True) for each in range(gateways))
        self._memory = memory or Memory()
        self._alive: dict[int, SeenReplica] = {}
        self._decisions: list[DecisionStatus] = []
        self._backends: tuple[str, ...] = ()  # label of the hosted backend that takes the overflow
        # Where a run begins with replicas, an operator has made their pool before.
        self._decision, _ = self._decide(NOT_YET, None)

    @property
    def tick_s(self) -> float:
        """How often it decides."""
        return self._settings.tick.total_seconds()

    @property
    def window_s(self) -> float:
        """Over which time it wants rates and means."""
        return self._settings.metrics_window.total_seconds()

    @property
    def slots_per_replica(self) -> int | None:
        """Requests that a replica may hold at the gateways' cap; None while nothing is owned."""
        return self._decision.pool.capacity.slots if self._decision.pool else None

    @property
    def max_num_seqs(self) -> int | None:
        """The batch that its replicas are told; None while nothing is owned."""
        return self._decision.pool.capacity.max_num_seqs if self._decision.pool else None

    @property
    def max_queued_requests(self) -> int | None:
        """Requests from which on a replica is told to refuse; None while nothing is owned."""
        return self._decision.pool.capacity.max_queued_requests if self._decision.pool else None

    @property
    def decisions(self) -> tuple[DecisionStatus, ...]:
        """Return all decisions, oldest first."""
        return tuple(self._decisions)

    @property
    def memory(self) -> Memory:
        """What the operator remembers."""
        return self._memory

    @property
    def ledger(self) -> Ledger:
        """Return the month's money as the operator counted it."""
        return self._memory.ledger or Ledger(month="")

    def replicas(self, seen: Seen) -> int:
        """Return the count that decide() gives; what is wanted already, where it gives none."""
        pool = self._decision.pool
        exists = pool if self._memory.settling is not None or seen.wanted or seen.replicas else None
        self._decision, self._memory = self._decide(seen, exists)
        self._decisions.extend(reversed(self._decision.events))
        self._alive = {each.index: each for each in seen.replicas}
        if self._decision.scale is not None:
            return self._decision.scale.replicas
        return seen.wanted if self._decision.pool is not None or self._decision.problems else 0

    def _decide(self, seen: Seen, pool: OwnedPool | None) -> tuple[Decision, Memory]:
        now = self._start + timedelta(seconds=seen.now_s)
        decision, memory = decide(self._workload, self._observe(seen, pool), self._memory, now, self._settings)
        self._backends = tuple(each.label for each in decision.backends[:1])
        return decision, memory

    def _observe(self, seen: Seen, pool: OwnedPool | None) -> Observation:
        now = self._start + timedelta(seconds=seen.now_s)
        return Observation(
            catalogue=self._catalogue,
            replicas=self._pods(seen, pool, now),
            gateways=self._gateways,
            pools=(_pool(pool, seen),) if pool is not None else (),
            foreign_objects=(),
            signals=self._signals(seen, now),
            watched_since=self._start,
        )

    def _pods(self, seen: Seen, pool: OwnedPool | None, now: datetime) -> tuple[ReplicaPod, ...]:
        """Return the pods there are, and once more those that ended since the last tick: their bill runs up to their end."""
        shown = {each.index for each in seen.replicas}
        gone = tuple(each for index, each in self._alive.items() if index not in shown)
        return (
            *(self._pod(each, pool, None) for each in seen.replicas),
            *(self._pod(each, pool, now) for each in gone),
        )

    def _pod(self, replica: SeenReplica, pool: OwnedPool | None, ended_at: datetime | None) -> ReplicaPod:
        ready = replica.ready_s is not None and ended_at is None
        return ReplicaPod(
            uid=f"replica-{replica.index}",
            name=f"replica-{replica.index}",
            pool=pool.name if pool else "",
            accelerator_class=pool.accelerator_class if pool else None,
            tensor_parallel_size=pool.tensor_parallel_size if pool else 1,
            ready=ready,
            terminating=replica.draining or ended_at is not None,
            created_at=self._created_at(replica),
            bound_at=self._start + timedelta(seconds=replica.launched_s),
            ready_since=self._start + timedelta(seconds=replica.ready_s) if ready and replica.ready_s is not None else None,
            ended_at=ended_at,
        )

    def _created_at(self, replica: SeenReplica) -> datetime | None:
        """Return when it was made; None of those a run begins with, of whose start nothing is known."""
        return None if replica.ready_s == replica.launched_s else self._start + timedelta(seconds=replica.launched_s)

    def _signals(self, seen: Seen, now: datetime) -> Signals:
        def read(number: float | None) -> Reading[float]:
            return NOTHING if number is None else Sample(value=number, at=now)

        # What its health check shows: in an outage nothing that is sent there is answered.
        healthy: Reading[bool] = Sample(value=not seen.refused_per_s or bool(seen.spilled_per_s), at=now)
        return Signals(
            window_s=seen.window_s,
            arrivals_per_s=read(seen.arrivals_per_s),
            spilled_per_s=read(seen.spilled_per_s),
            failed_per_s=read(seen.refused_per_s),
            refused_per_s=read(seen.refused_per_s),
            cancelled_per_s=read(0.0),
            in_flight_owned=read(float(seen.running + seen.waiting)),
            input_tokens_mean=read(seen.input_tokens_mean),
            output_tokens_mean=read(seen.output_tokens_mean),
            residence_s=read(seen.residence_s),
            running=read(float(seen.running)),
            waiting=read(float(seen.waiting)),
            kv_cache_usage_ratio=read(seen.kv_usage_ratio if seen.ready else None),
            step_time_ms=read(seen.token_gap_ms),
            batch_mean=read(seen.batch_mean),
            prompt_tokens_per_step=read(seen.prompt_tokens_per_step),
            kv_tokens_per_step=read(seen.kv_tokens_mean),
            prefix_hit_ratio=UNSEEN,
            inter_token_within_ratio=UNSEEN,
            ttft_p95_ms=UNSEEN,
            inter_token_p95_ms=UNSEEN,
            gpu_utilization_percent=read(100 * seen.busy_ratio if seen.ready else None),
            owned_latency=UNSEEN,
            hosted_latency=UNSEEN,
            hosted_healthy=dict.fromkeys(self._backends, healthy),
            hosted_rejected_per_s={},
            hosted_credential_loaded={},
            counters=Sample(value=_counters(seen, (BACKEND_OWNED, *self._backends)), at=now),
            held_at_gateway=read(float(seen.held)),
            spill_meters=Sample(value=(), at=now),  # nobody's part of a limit is used up before the limit is
            long_prompts=Sample(value=_long_prompts(seen), at=now),
        )


def _pool(pool: OwnedPool, seen: Seen) -> Pool:
    capacity = pool.capacity
    return Pool(
        name=pool.name,
        replicas=seen.wanted,
        ready_replicas=seen.ready,
        max_num_seqs=capacity.max_num_seqs,
        limits=EngineLimits(
            sized_for=capacity.sized_for,
            max_num_seqs=capacity.max_num_seqs,
            max_queued_requests=capacity.max_queued_requests,
            max_queued_tokens=capacity.max_queued_tokens,
        ),
    )


def _long_prompts(seen: Seen) -> LongPromptTraffic:
    return LongPromptTraffic(
        per_s=seen.long_per_s, input_tokens_per_s=seen.long_input_tokens_per_s, output_tokens_per_s=seen.long_output_tokens_per_s
    )


def _counters(seen: Seen, backends: tuple[str, ...]) -> tuple[TokenCounters, ...]:
    return tuple(
        TokenCounters(
            pod="gateway-0",
            backend=backend,
            requests=seen.answered[side],
            input_tokens=seen.input_tokens[side],
            output_tokens=seen.output_tokens[side],
            unmetered_requests=0.0,
            unmetered_request_bytes=0.0,
            unmetered_response_bytes=0.0,
            unmetered_plain_response_bytes=0.0,
        )
        for side, backend in enumerate(backends)
    )
