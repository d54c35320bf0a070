"""Making the cluster as a pass has decided, as far as time and the API server let it."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from spillway.api.status import DecisionStatus
from spillway.api.vocabulary import Reason
from spillway.apply.applier import Applied, Applier
from spillway.apply.connection import ApiError, Connection
from spillway.apply.events import EventRecorder
from spillway.apply.gateway import announce_cap, cap_generation, leave_replicas
from spillway.apply.known import Ref
from spillway.apply.victims import tell_deletion_costs
from spillway.plan.decision import Decision, Key, Workload
from spillway.plan.observation import GatewayPod, Observation
from spillway.plan.scaling.victims import deletion_costs
from spillway.reconcile.handover import config_hash_of, hand_over
from spillway.reconcile.world import World
from spillway.render import names
from spillway.render.gateway import gateway_cap
from spillway.render.objects import ChildRef, render, wanted
from spillway.render.settings import RenderSettings

logger = logging.getLogger(__name__)

Object = dict[str, Any]

# Objects are waited for a moment less than there is time, so that it is known which they were.
MOMENT_S = 0.2


@dataclass(slots=True)
class _Rendered:
    """The objects of a decision, kept so that an unchanged one is neither rendered nor compared again."""

    uid: str
    generation: int
    decided: tuple[object, ...]
    objects: tuple[Object, ...]
    children: frozenset[ChildRef]
    config_hash: str | None
    cap: str


class Actor:
    """Acts on decisions. Remembers what was made of the last one."""

    def __init__(
        self,
        *,
        settings: RenderSettings,
        world: World,
        connection: Connection,
        applier: Applier,
        recorder: EventRecorder,
        fence: Callable[[], None],
        clock: Callable[[], datetime],
    ) -> None:
        self._settings = settings
        self._world = world
        self._connection = connection
        self._applier = applier
        self._recorder = recorder
        self._fence = fence
        self._clock = clock
        self._rendered: dict[Key, _Rendered] = {}
        self._left: set[Key] = set()  # whose number of gateways is an autoscaler's
        self._victims: dict[Key, tuple[str, int | None, int]] = {}  # the scale-down that replicas were last told of

    async def act_by(self, by: float, workload: Workload, seen: Observation, decision: Decision) -> Applied:
        """Act until the event loop's clock says so: what is not done by then is told as any other failure, and done by later passes."""
        try:
            async with asyncio.timeout_at(by):
                return await self._act(by, workload, seen, decision)
        except TimeoutError:
            return Applied(failures=("timed out before everything was applied; is an admission webhook slow to answer?",))

    async def _act(self, by: float, workload: Workload, seen: Observation, decision: Decision) -> Applied:
        """Make the cluster as decided. With problems nothing but the cap is touched: what runs goes on running."""
        if decision.problems:
            return await self._follow(workload, decision)
        workload = decision.resolved(workload)
        rendered = self._render(workload, decision)
        await self._choose_victims(workload, seen, decision)
        try:
            await self._leave_replicas(workload)
        except ApiError as problem:
            return Applied(failures=(f"Deployment {names.gateway(workload.key.name)}: {problem}",))
        applied = await self._applier.apply(workload, rendered.objects, by=by - MOMENT_S)
        if applied.foreign:
            return applied
        failures = list(applied.failures)
        if _cap_of(workload) not in applied.undone:
            try:
                await self._announce(workload, rendered.cap)
            except ApiError as problem:
                failures.append(f"annotations of gateway pods (the cap reaches them up to a minute later without): {problem}")
        if all(ref.kind != "Deployment" for ref in applied.undone):  # what is to take over is there, as far as it depends on us
            handover = hand_over(workload, seen, decision, wanted=rendered.children, config_hash=rendered.config_hash)
            failures.extend(await self._applier.prune(workload, handover.keeps))
        return replace(applied, failures=tuple(failures))

    async def _leave_replicas(self, workload: Workload) -> None:
        """Once, before a gateway that is there is applied without the number of its pods."""
        if workload.spec.gateway.autoscaling is None:
            self._left.discard(workload.key)
        elif workload.key not in self._left:
            name = names.gateway(workload.key.name)
            await leave_replicas(self._connection, self._fence, namespace=workload.key.namespace, name=name)
            self._left.add(workload.key)

    async def _choose_victims(self, workload: Workload, seen: Observation, decision: Decision) -> None:
        """Have the least busy replicas go, once for each scale-down. A failure is told and changes only who goes, not how many."""
        costs, scaled = deletion_costs(seen, decision), decision.scale
        if not costs or scaled is None or decision.pool is None:
            self._victims.pop(workload.key, None)
            return
        step = (decision.pool.name, scaled.previous, scaled.replicas)
        if self._victims.get(workload.key) == step:
            return  # its echo has not come back yet
        self._victims[workload.key] = step
        failures = await tell_deletion_costs(self._connection, self._fence, namespace=workload.key.namespace, costs=costs)
        if not failures:
            return
        why = f"Kubernetes picks the replicas to remove, busy or not: {'; '.join(failures)}"
        logger.warning("%s/%s: no pod-deletion-cost: %s", workload.key.namespace, workload.key.name, why)
        now = self._clock()
        told = DecisionStatus(time=now.replace(microsecond=0), what="replicas not ranked for removal", reason=Reason.APPLY_FAILED, why=why)
        self._recorder.record(workload.key, workload.uid, told, now, warning=True)

    async def _follow(self, workload: Workload, decision: Decision) -> Applied:
        """Let the cap of a gateway that runs follow the replicas that are ready, whatever is wrong with the latest spec."""
        cap = gateway_cap(workload, decision)
        record = self._world.known.get(_cap_of(workload))
        if record is None or record.controller_uid != workload.uid or not decision.gateway.cap_known:
            return Applied()
        try:
            await self._applier.apply_one(workload, cap)
            await self._announce(workload, cap_generation(cap))
        except ApiError as problem:
            return Applied(failures=(f"ConfigMap {cap['metadata']['name']}: {problem}",))
        return Applied()

    async def _announce(self, workload: Workload, generation: str) -> None:
        children = self._world.view.children(workload.key).values()
        pods = [(each.name, each.uid, each.config_generation) for each in children if isinstance(each.facts, GatewayPod)]
        await announce_cap(self._connection, self._fence, namespace=workload.key.namespace, pods=pods, generation=generation)

    def _render(self, workload: Workload, decision: Decision) -> _Rendered:
        pool, defaults = decision.pool, self._settings
        if pool is not None:
            # A pool that took today's defaults is rendered alike before and after it is seen to have done so.
            image, version = pool.engine_image or defaults.engine_image, pool.engine_version or defaults.engine_version
            pool = replace(pool, engine_image=image, engine_version=version)
        decided = (decision.mode, pool, decision.backends, decision.gateway)
        before = self._rendered.get(workload.key)
        if before is not None and (before.uid, before.generation, before.decided) == (workload.uid, workload.generation, decided):
            return before
        objects = render(workload, decision, self._settings)
        cap_name = names.gateway_cap(workload.key.name)
        cap = next(each for each in objects if each["kind"] == "ConfigMap" and each["metadata"]["name"] == cap_name)
        rendered = _Rendered(
            uid=workload.uid,
            generation=workload.generation,
            decided=decided,
            objects=objects,
            children=wanted(workload, objects),
            config_hash=config_hash_of(objects, workload),
            cap=cap_generation(cap),
        )
        self._rendered[workload.key] = rendered
        return rendered

    def forget(self, key: Key) -> None:
        """Drop what is remembered of a workload that is no more."""
        self._rendered.pop(key, None)
        self._victims.pop(key, None)
        self._left.discard(key)


def _cap_of(workload: Workload) -> Ref:
    return Ref("ConfigMap", workload.key.namespace, names.gateway_cap(workload.key.name))
