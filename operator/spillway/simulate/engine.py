"""The closed loop: traffic → gateway cap → replicas → spill, with plan.decide called every tick on what it would have seen."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from spillway.api.status import DecisionStatus
from spillway.api.vocabulary import BACKEND_NONE, BACKEND_OWNED, Reason
from spillway.plan.decide import decide
from spillway.plan.decision import Decision, Ledger, Memory, Workload
from spillway.plan.observation import (
    Catalogue,
    GatewayPod,
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
from spillway.simulate.arrivals import Request
from spillway.simulate.replica import EngineModel, Replica

UNSEEN = Missing(reason=Reason.METRICS_MISSING, detail="not modelled")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedModel:
    """How fast the hosted backend is. It never refuses."""

    first_token_s: float = 0.5
    inter_token_s: float = 0.015


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What became of one request."""

    request: Request
    backend: str  # "owned", "<provider>/<model>", or "none"
    first_token_s: float  # from its arrival; 0 when nobody answered
    finished_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What a replay came to."""

    served: tuple[Served, ...]
    counts: tuple[tuple[float, int], ...]  # seconds, replicas wanted; one entry per change
    decisions: tuple[DecisionStatus, ...]  # all of them, oldest first
    ledger: Ledger

    @property
    def spilled(self) -> int:
        """Return how many requests a hosted backend answered."""
        return sum(1 for each in self.served if "/" in each.backend)

    @property
    def failed(self) -> int:
        """Return how many requests nobody answered."""
        return sum(1 for each in self.served if each.backend == BACKEND_NONE)

    @property
    def usd(self) -> float:
        """Return what it cost."""
        return self.ledger.dedicated_usd + self.ledger.hosted_usd


def replay(
    *,
    workload: Workload,
    catalogue: Catalogue,
    requests: Sequence[Request],
    seconds: float,
    engine: EngineModel,
    hosted: HostedModel | None = None,
    settings: PlanSettings | None = None,
    start: datetime | None = None,
) -> Replay:
    """Replay requests over that many seconds and return what happened. The same values give the same replay."""
    loop = _Loop(
        workload=workload,
        catalogue=catalogue,
        engine=engine,
        hosted=hosted or HostedModel(),
        settings=settings or PlanSettings(),
        start=start or datetime(2026, 1, 1, tzinfo=UTC),
    )
    return loop.run(sorted(requests, key=lambda each: each.arrival_s), seconds)


class _Loop:
    def __init__(
        self, *, workload: Workload, catalogue: Catalogue, engine: EngineModel, hosted: HostedModel, settings: PlanSettings, start: datetime
    ) -> None:
        self._workload = replace(workload, created_at=start)
        self._catalogue, self._engine, self._hosted, self._settings, self._start = catalogue, engine, hosted, settings, start
        self._memory = Memory()
        self._decision: Decision | None = None
        self._replicas: list[Replica] = []
        self._served: list[Served] = []
        self._counts: list[tuple[float, int]] = []
        self._decisions: list[DecisionStatus] = []
        self._recent: deque[Served] = deque()  # answered or refused within the window
        self._arrived: deque[tuple[float, bool]] = deque()  # when, and whether it was spilled
        self._counters: dict[str, TokenCounters] = {}
        self._work: deque[tuple[float, float, float, float]] = deque()  # at, steps, tokens and busy seconds up to then

    def run(self, requests: Sequence[Request], seconds: float) -> Replay:
        tick_s = self._settings.tick.total_seconds()
        moments = [*((each.arrival_s, each) for each in requests if each.arrival_s < seconds)]
        ticks = [(tick_s * index, None) for index in range(int(seconds // tick_s) + 1)]
        passes: list[tuple[float, Request | None]] = sorted([*moments, *ticks], key=lambda each: (each[0], each[1] is not None))
        for at, request in passes:
            self._answer_until(at)
            if request is None:
                self._pass(at)
            else:
                self._route(request)
        self._answer_until(seconds)
        return Replay(
            served=tuple(self._served),
            counts=tuple(self._counts),
            decisions=tuple(self._decisions),
            ledger=self._memory.ledger or Ledger(month=""),
        )

    def _answer_until(self, now: float) -> None:
        for replica in self._replicas:
            if replica.ended_s is not None:
                continue
            for done in replica.finish_until(now):
                arrival = done.request.arrival_s
                self._done(
                    Served(
                        request=done.request, backend=BACKEND_OWNED, first_token_s=done.first_token_s - arrival, finished_s=done.finished_s
                    )
                )
            if replica.leaving and not replica.load:
                replica.ended_s = now

    def _route(self, request: Request) -> None:
        now = request.arrival_s
        open_to = [each for each in self._replicas if each.ended_s is None and each.takes_requests(now)]
        held = sum(each.load for each in self._replicas if each.ended_s is None)
        slots = self._decision.pool.capacity.slots if self._decision and self._decision.pool else 0
        kept = bool(open_to) and held < slots * len(open_to)
        backends = self._decision.backends if self._decision else ()
        self._arrived.append((now, not kept and bool(backends)))
        if kept:
            min(open_to, key=lambda each: (each.load, each.index)).accept(request, now)
        elif backends:
            first = self._hosted.first_token_s
            finished = now + first + request.output_tokens * self._hosted.inter_token_s
            self._done(Served(request=request, backend=backends[0].label, first_token_s=first, finished_s=finished))
        else:
            self._done(Served(request=request, backend=BACKEND_NONE, first_token_s=0.0, finished_s=now))

    def _done(self, served: Served) -> None:
        self._served.append(served)
        self._recent.append(served)
        if served.backend == BACKEND_NONE:
            return
        before = self._counters.get(served.backend) or TokenCounters(
            pod="gateway-0",
            backend=served.backend,
            requests=0.0,
            input_tokens=0.0,
            output_tokens=0.0,
            unmetered_requests=0.0,
            unmetered_request_bytes=0.0,
            unmetered_response_bytes=0.0,
        )
        self._counters[served.backend] = replace(
            before,
            requests=before.requests + 1,
            input_tokens=before.input_tokens + served.request.input_tokens,
            output_tokens=before.output_tokens + served.request.output_tokens,
        )

    def _pass(self, now: float) -> None:
        at = self._start + timedelta(seconds=now)
        decision, self._memory = decide(self._workload, self._observe(now), self._memory, at, self._settings)
        self._decision = decision
        self._decisions.extend(reversed(decision.events))
        if decision.scale is not None and decision.pool is not None:
            self._resize(decision.scale.replicas, batch=decision.pool.capacity.max_num_seqs, now=now)

    def _resize(self, wanted: int, *, batch: int, now: float) -> None:
        alive = [each for each in self._replicas if not each.leaving]
        if not self._counts or self._counts[-1][1] != wanted:
            self._counts.append((now, wanted))
        for _ in range(len(alive), wanted):
            self._replicas.append(Replica(index=len(self._replicas), model=self._engine, batch=batch, created_s=now))
        # Kubernetes takes those that are not ready first, then the youngest.
        for replica in sorted(alive, key=lambda each: (each.takes_requests(now), each.load, -each.index))[: max(0, len(alive) - wanted)]:
            replica.leaving = True

    # What an observation would show

    def _observe(self, now: float) -> Observation:
        at = self._start + timedelta(seconds=now)
        name = self._decision.pool.name if self._decision and self._decision.pool else None
        alive = [each for each in self._replicas if not each.leaving]
        ready = sum(1 for each in alive if each.takes_requests(now))
        return Observation(
            catalogue=self._catalogue,
            replicas=tuple(self._pod(each, name or "", now) for each in self._replicas),
            gateways=(GatewayPod(uid="gateway-0", name="gateway-0", ready=True),),
            pools=(Pool(name=name, replicas=len(alive), ready_replicas=ready),) if name else (),
            foreign_objects=(),
            signals=self._signals(now, at),
            watched_since=self._start,
        )

    def _pod(self, replica: Replica, pool: str, now: float) -> ReplicaPod:
        ready = replica.ended_s is None and now >= replica.ready_s
        chosen = self._decision.pool if self._decision else None
        return ReplicaPod(
            uid=f"replica-{replica.index}",
            name=f"replica-{replica.index}",
            pool=pool,
            accelerator_class=chosen.accelerator_class if chosen else None,
            tensor_parallel_size=chosen.tensor_parallel_size if chosen else 1,
            ready=ready,
            terminating=replica.leaving,
            bound_at=self._start + timedelta(seconds=replica.created_s),
            ready_since=self._start + timedelta(seconds=replica.ready_s) if ready else None,
            ended_at=None if replica.ended_s is None else self._start + timedelta(seconds=replica.ended_s),
        )

    def _signals(self, now: float, at: datetime) -> Signals:
        window = self._settings.metrics_window.total_seconds()
        while self._arrived and self._arrived[0][0] < now - window:
            self._arrived.popleft()
        while self._recent and self._recent[0].finished_s < now - window:
            self._recent.popleft()
        live = [each for each in self._replicas if each.ended_s is None]
        owned = [each for each in self._recent if each.backend == BACKEND_OWNED]
        answered = [each for each in self._recent if each.backend != BACKEND_NONE]
        refused = len(self._recent) - len(answered)
        running, waiting = sum(each.running for each in live), sum(each.waiting for each in live)
        steps, tokens, busy_s = self._window_of_work(now, window)

        def read(number: float) -> Reading[float]:
            return Sample(value=number, at=at)

        def mean(numbers: Sequence[float]) -> Reading[float]:
            return read(sum(numbers) / len(numbers)) if numbers else UNSEEN

        return Signals(
            window_s=window,
            arrivals_per_s=read(len(self._arrived) / window),
            spilled_per_s=read(sum(spilled for _, spilled in self._arrived) / window),
            failed_per_s=read(refused / window),
            refused_per_s=read(refused / window),
            cancelled_per_s=read(0.0),
            in_flight_owned=read(running + waiting),
            input_tokens_mean=mean([each.request.input_tokens for each in answered]),
            output_tokens_mean=mean([each.request.output_tokens for each in answered]),
            residence_s=mean([each.finished_s - each.request.arrival_s for each in owned]),
            running=read(running),
            waiting=read(waiting),
            kv_cache_usage_ratio=UNSEEN,
            step_time_ms=read(1000 * busy_s / steps) if steps else UNSEEN,
            batch_mean=read(tokens / steps) if steps else UNSEEN,
            prompt_tokens_per_step=UNSEEN,
            kv_tokens_per_step=UNSEEN,
            prefix_hit_ratio=UNSEEN,
            inter_token_within_ratio=UNSEEN,
            ttft_p95_ms=UNSEEN,
            inter_token_p95_ms=UNSEEN,
            gpu_utilization_percent=UNSEEN,
            owned_latency=UNSEEN,
            hosted_latency=UNSEEN,
            hosted_healthy={},
            hosted_rejected_per_s={},
            hosted_credential_loaded={},
            counters=Sample(value=tuple(self._counters.values()), at=at),
        )

    def _window_of_work(self, now: float, window: float) -> tuple[float, float, float]:
        """Return steps, tokens and busy seconds of all replicas within the window."""
        sums = [(each.steps, each.tokens, each.busy_s) for each in self._replicas]
        steps, tokens, busy_s = (sum(column) for column in zip(*sums, strict=True)) if sums else (0.0, 0.0, 0.0)
        self._work.append((now, steps, tokens, busy_s))
        while self._work[0][0] < now - window:
            self._work.popleft()
        _, first_steps, first_tokens, first_busy_s = self._work[0]
        return steps - first_steps, tokens - first_tokens, busy_s - first_busy_s
