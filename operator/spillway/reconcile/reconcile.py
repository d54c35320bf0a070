"""One pass over one workload: observe, decide, render, apply, report. Every pass ends in a status, also a failed one."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from spillway.api.status import Condition, DecisionStatus
from spillway.api.vocabulary import ConditionType, Reason
from spillway.apply.applier import Applied, Applier
from spillway.apply.connection import ApiError, Connection
from spillway.apply.events import EventRecorder
from spillway.observe.parsed import SeenWorkload
from spillway.plan.decide import decide
from spillway.plan.decision import Decision, Key, Memory, Workload
from spillway.plan.observation import Observation
from spillway.reconcile.acting import Actor
from spillway.reconcile.bookkeeping import Bookkeeping
from spillway.reconcile.recollection import Recollection
from spillway.reconcile.settings import Settings
from spillway.reconcile.sharing import Sharing
from spillway.reconcile.telemetry import Snapshot, Telemetry
from spillway.reconcile.world import World
from spillway.render import names
from spillway.report.conditions import no, previous_conditions
from spillway.report.outcome import ApplyOutcome
from spillway.report.status import report
from spillway.report.stored import Stored, read_stored

logger = logging.getLogger(__name__)

# Of a pass, kept for telling what became of it, also where a webhook keeps one write after the other for the 10 s that it may.
TELLING_S = 0.6

# A spec that this version cannot read is looked at again when it changes; this is for an operator that is upgraded meanwhile.
UNREADABLE_REVISIT_S = 600.0


class PassFailedError(Exception):
    """Something could not be applied; the status says so, and the queue tries again."""


class Reconciler:
    """Runs passes. Holds what one pass hands to the next."""

    def __init__(
        self,
        *,
        settings: Settings,
        world: World,
        connection: Connection,
        applier: Applier,
        recorder: EventRecorder,
        bookkeeping: Bookkeeping,
        recollection: Recollection,
        telemetry: Telemetry,
        sharing: Sharing,
        fence: Callable[[], None],
        revisit_s: Callable[[Decision], float],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings
        self._plan = settings.plan
        self._world = world
        self._applier = applier
        self._recorder = recorder
        self._bookkeeping = bookkeeping
        self._recollection = recollection
        self._telemetry = telemetry
        self._sharing = sharing
        self._revisit_s = revisit_s
        self._clock = clock
        self._actor = Actor(
            settings=settings.render, world=world, connection=connection, applier=applier, recorder=recorder, fence=fence, clock=clock
        )
        self._memories: dict[Key, tuple[str, Memory]] = {}
        self._stored: dict[Key, Stored] = {}

    async def run(self, key: Key) -> float | None:
        """Make one pass; return after how long to look again by itself, None when there is nothing left to look at."""
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self._settings.pass_timeout_s):
                revisit_s = await self._pass(key)
        except ApiError as problem:
            if not problem.namespace_ends:
                self._telemetry.passes["failed"] += 1
                raise
            logger.debug("%s/%s is left alone: %s", key.namespace, key.name, problem)
            revisit_s = UNREADABLE_REVISIT_S
        except TimeoutError as problem:
            self._telemetry.passes["failed"] += 1
            raise TimeoutError(f"timed out after {self._settings.pass_timeout_s:g} s; is an admission webhook slow to answer?") from problem
        except BaseException:
            self._telemetry.passes["failed"] += 1
            raise
        finally:
            self._telemetry.pass_seconds += time.perf_counter() - started
        self._telemetry.passes["done"] += 1
        return revisit_s

    async def flush(self) -> tuple[str, ...]:
        """Write down what is in memory only, before the process ends or another one takes over: money first. Return what failed."""
        there = []
        for key, (uid, memory) in list(self._memories.items()):
            seen = self._world.view.workloads.get(key)
            workload = seen.as_workload() if seen is not None else None
            if workload is not None and workload.uid == uid:
                there.append((workload, memory))
        ledgers = [(workload, partial(self._bookkeeping.flush, workload, memory.ledger)) for workload, memory in there if memory.ledger]
        learned = [(workload, partial(self._recollection.flush, workload, memory)) for workload, memory in there]
        # All at a time, as there is not much of it: what one workload cannot keep, or not soon, the others can.
        told = await asyncio.gather(*(self._flush_one(workload, write) for workload, write in (*ledgers, *learned)))
        return tuple(failure for failure in told if failure is not None)

    async def _flush_one(self, workload: Workload, write: Callable[[datetime], Awaitable[None]]) -> str | None:
        try:
            await write(self._clock())
        except ApiError as problem:
            return f"{workload.key.namespace}/{workload.key.name}: {problem}"
        return None

    async def _pass(self, key: Key) -> float | None:
        seen = self._world.view.workloads.get(key)
        if seen is None:
            self._forget(key)
            return None
        if seen.terminating:
            self._telemetry.forget(key)  # nothing keeps its figures up to date any more
            return None
        workload = seen.as_workload()
        if workload is None:
            await self._say_unreadable(seen)
            return UNREADABLE_REVISIT_S
        foreign = self._world.foreign(workload)
        if foreign:
            await self._applier.recheck(workload, foreign)
        written = self._applier.last_status(key, workload.uid)
        return await self._decide_and_act(workload if written is None else replace(workload, previous_status=written))

    async def _decide_and_act(self, workload: Workload) -> float:
        now = self._clock()
        before = self._memory(workload)
        observation = self._world.observation(workload, now)
        decision, memory = decide(workload, observation, before, now, self._plan)
        by = asyncio.get_running_loop().time() + self._settings.pass_timeout_s - TELLING_S
        unkept = await self._keep_permit(workload, memory, now)
        if not unkept:
            # Should the pass end in what follows, the next one must know what gateways may have been given by then.
            self._memories[workload.key] = (workload.uid, replace(before, ledger=memory.ledger))
        applied = Applied(failures=unkept) if unkept else await self._actor.act_by(by, workload, observation, decision)
        if applied.foreign:
            # A name turned out to be taken. What was just decided did not happen: decide again, knowing that.
            observation = self._world.observation(workload, now)
            decision, memory = decide(workload, observation, before, now, self._plan)
        self._memories[workload.key] = (workload.uid, memory)
        self._note(workload, observation, decision, now)
        self._sharing.follow(decision.resolved(workload), decision)
        # What the pass before could not write down is told with what this one could not apply: it is tried after the status.
        outcome = ApplyOutcome(failures=tuple(dict.fromkeys((*applied.failures, *self._applier.unkept(workload.key)))))
        domain, stored = self._settings.render.cluster_domain, self._read(workload)
        status = report(workload, observation, decision, outcome, memory, now, cluster_domain=domain, stored=stored)
        self._telemetry.tell(workload, status)
        try:
            await self._applier.write_status(workload, status.model_dump(mode="json", by_alias=True, exclude_none=True))
        except ApiError:
            await self._write_down(workload, decision, memory, now)  # money is kept whatever becomes of the status
            raise
        self._note_trouble(workload, stored, status.conditions, now)
        await self._write_down(workload, decision, memory, now)
        if news := [each for each in applied.failures if each not in applied.paused]:
            raise PassFailedError("; ".join(news))
        return self._revisit_s(decision)

    async def _keep_permit(self, workload: Workload, memory: Memory, now: datetime) -> tuple[str, ...]:
        """Write down a permit before gateways get it: should we end in between, what it gives must not be given again.

        Return what failed; then they do not get it.
        """
        if memory.ledger is None:
            return ()
        try:
            await self._bookkeeping.write_permit(workload, memory.ledger, now)
        except ApiError as problem:
            if problem.namespace_ends:
                raise
            return (f"ConfigMap {names.ledger(workload.key.name)}: {problem}",)
        return ()

    def _note(self, workload: Workload, seen: Observation, decision: Decision, now: datetime) -> None:
        """Tell what was decided and done. Only this pass knows that it is new, whatever becomes of the status."""
        self._telemetry.snapshots[workload.key] = Snapshot.of(seen, decision)
        for event in reversed(decision.events):
            self._telemetry.decisions[event.reason] += 1
            logger.info("%s/%s decided: %s (%s): %s", workload.key.namespace, workload.key.name, event.what, event.reason, event.why)
            self._recorder.record(workload.key, workload.uid, event, now)

    async def _write_down(self, workload: Workload, decision: Decision, memory: Memory, now: datetime) -> None:
        if memory.ledger is not None:
            await self._bookkeeping.write(workload, memory.ledger, now, at_once=bool(decision.events))
        await self._recollection.write(workload, memory, now)

    def _read(self, workload: Workload) -> Stored:
        """Return the workload's previous status as read, once for as long as it stays the same."""
        stored = self._stored.get(workload.key)
        if stored is None or not stored.is_of(workload.previous_status):
            stored = self._stored[workload.key] = read_stored(workload.previous_status)
        return stored

    def _note_trouble(self, workload: Workload, stored: Stored, conditions: Iterable[Condition], now: datetime) -> None:
        """Record what is wrong as Events, once it is told in the status for the first time."""
        for condition in conditions:
            what, said = _trouble(condition), stored.conditions.get(condition.type)
            if what is None:
                continue
            if said is not None and _trouble(said) is not None and said.message == condition.message:
                continue
            event = DecisionStatus(time=now.replace(microsecond=0), what=what, reason=condition.reason, why=condition.message)
            self._recorder.record(workload.key, workload.uid, event, now, warning=True)

    def _memory(self, workload: Workload) -> Memory:
        uid, memory = self._memories.get(workload.key, ("", Memory()))
        if uid == workload.uid:
            return memory
        key, uid = workload.key, workload.uid
        return self._recollection.recall(key, uid, Memory(ledger=self._bookkeeping.found(key, uid)))

    async def _say_unreadable(self, seen: SeenWorkload) -> None:
        """Say that this version cannot read the spec: in SpecValid, leaving the rest of the status as it is."""
        now = self._clock().replace(microsecond=0)
        finding = no(Reason.INVALID_SPEC, f"{seen.parsed.problem}. Correct the spec, or upgrade the operator if it is older than the CRD.")
        conditions = previous_conditions(seen.status)
        before = conditions.get(ConditionType.SPEC_VALID)
        since = before.last_transition_time if before is not None and before.status == finding.status else now
        conditions[ConditionType.SPEC_VALID] = Condition(
            type=ConditionType.SPEC_VALID,
            status=finding.status,
            reason=finding.reason,
            message=finding.message,
            observed_generation=seen.parsed.generation,
            last_transition_time=since,
        )
        self._telemetry.forget(seen.key)  # what was measured before is not known any more
        self._telemetry.conditions[seen.key] = tuple(conditions.values())
        dumped = [each.model_dump(mode="json", by_alias=True, exclude_none=True) for each in conditions.values()]
        status = {**seen.status, "observedGeneration": seen.parsed.generation, "conditions": dumped}
        await self._applier.write_raw_status(seen.key, seen.parsed.uid, seen.status, status)
        if before is None or (before.status, before.message) != (finding.status, finding.message):
            event = DecisionStatus(time=now, what="spec cannot be read", reason=finding.reason, why=finding.message)
            self._recorder.record(seen.key, seen.parsed.uid, event, now, warning=True)

    def _forget(self, key: Key) -> None:
        self._memories.pop(key, None)
        self._stored.pop(key, None)
        self._sharing.forget(key)
        self._actor.forget(key)
        self._bookkeeping.forget(key)
        self._recollection.forget(key)
        self._applier.forget(key)
        self._telemetry.forget(key)


def _trouble(condition: Condition) -> str | None:
    """Return the words for what a condition tells of a spec or an apply that failed, or a limit that is reached; None: none of these."""
    if condition.type == ConditionType.SPEC_VALID and condition.status == "False":
        return "spec is invalid"
    if condition.type == ConditionType.DEGRADED and condition.reason == Reason.APPLY_FAILED:
        return "apply failed"
    if condition.type == ConditionType.SPILL_ACTIVE and condition.reason == Reason.SPILL_LIMIT_REACHED:
        return "spill stopped"
    return None
