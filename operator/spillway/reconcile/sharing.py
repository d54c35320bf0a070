"""Shares of the cap, moved between gateway pods every second or two, beside the passes: those are too rare, and too much, for it.

A pass says how large the cap is. Nothing here is needed for requests to be served: without it the last shares stay.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from spillway.apply.connection import ApiError
from spillway.observe.child import Child
from spillway.observe.cluster import ClusterView
from spillway.observe.pods import SharingPod
from spillway.plan.decision import Decision, Key, Workload
from spillway.plan.gateway.shares import GatewayLoad, LastLook, Shares, SharingGateway, share_out
from spillway.plan.observation import GatewayPod
from spillway.render.envoy.share import has_share

logger = logging.getLogger(__name__)

LOOK_S = 1.0  # so that shares are right within five seconds: two looks at what is wanted, a fall and a rise
IDLE_LOOK_S = 2.0  # nobody uses half of a share
NOBODY_LOOK_S = 30.0  # no pod can be told a share; when one comes, a pass tells of it, and this is the net under that
REFUSED_LOOK_S = 30.0  # at most, growing from two: a webhook that lets no pod be told is not asked twice a second for each
MOVING_LOOK_S = 0.5  # a share waits for another's fall to be in force, which takes the kubelet half a second
NEWCOMER_FOR = timedelta(seconds=10)  # until a pod that is ready has its part of the clients
WATCH_LAG = timedelta(seconds=5)  # by then the watch shows what was told; what it shows differs only if somebody else changed it
AT_ONCE = 32  # pods asked at a time

Look = Callable[[Child], Awaitable[GatewayLoad | None]]
Tell = Callable[[Key, Child, int], Awaitable[bool]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cap:
    """A workload's cap, as the last pass has it."""

    uid: str
    total: int
    even: int  # what a pod goes by that was told nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """What a pod was told last, and when; or when it was first seen in the pod's annotation."""

    share: int
    at: datetime


@dataclass(slots=True, kw_only=True)
class _Followed:
    """What is remembered of a workload."""

    cap: _Cap
    pods: frozenset[str] = frozenset()  # as the last pass saw them
    due: float = 0.0
    is_looked_at: bool = False
    looks: Mapping[str, LastLook] = field(default_factory=dict)
    told: dict[str, _Told] = field(default_factory=dict)
    refusals: int = 0  # looks in a row after which some pod could not be told


class Sharing:
    """Keeps shares of the workloads it was told to follow."""

    def __init__(self, *, view: ClusterView, look: Look, tell: Tell, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._view = view
        self._look = look
        self._tell = tell
        self._clock = clock
        self._followed: dict[Key, _Followed] = {}
        self._changed = asyncio.Event()
        self._wakes_at = math.inf
        self._slots = asyncio.Semaphore(AT_ONCE)

    def follow(self, workload: Workload, decision: Decision) -> None:
        """Take over what a pass decided. A cap that is not known stays what it was, and so does all while a spec has problems."""
        plan = decision.gateway
        if not decision.problems and not has_share(workload, decision):
            self.forget(workload.key)
            return
        known = self._followed.get(workload.key)
        if not plan.cap_known or (known is None and decision.problems):
            return
        cap = _Cap(uid=workload.uid, total=plan.cap_total, even=plan.cap_per_gateway)
        if known is None or known.cap.uid != workload.uid:
            known = self._followed[workload.key] = _Followed(cap=cap)
        pods = frozenset(each.uid for each in self._view.gateway_children(workload.key, self._clock()))
        if (known.cap, known.pods) == (cap, pods):
            return
        # A pod that is to come is made room for while it starts.
        known.cap, known.pods, known.due = cap, pods, 0.0
        self._changed.set()

    def forget(self, key: Key) -> None:
        """Follow a workload no more."""
        self._followed.pop(key, None)

    async def run(self) -> None:
        """Look and tell, forever. No workload waits for another, whose pods may have a webhook that does not answer."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as looks:
            while True:
                self._changed.clear()
                now = loop.time()
                for key, each in self._followed.items():
                    if each.due <= now and not each.is_looked_at:
                        each.is_looked_at = True
                        looks.create_task(self._look_apart(key, each, now))
                waiting = (each.due for each in self._followed.values() if not each.is_looked_at)
                self._wakes_at = min(waiting, default=now + IDLE_LOOK_S)
                try:
                    async with asyncio.timeout(max(0.0, self._wakes_at - loop.time())):
                        await self._changed.wait()
                except TimeoutError:
                    continue

    async def _look_apart(self, key: Key, followed: _Followed, now: float) -> None:
        try:
            await self._look_at(key, followed, now)
        finally:
            followed.is_looked_at = False
            if followed.due < self._wakes_at:
                self._changed.set()

    async def _look_at(self, key: Key, followed: _Followed, now: float) -> None:
        """Look, and appoint the next look; a pass that has changed something meanwhile wants one at once."""
        followed.due = math.inf
        shares = await self.share(key)
        if shares is None or followed.due != math.inf:
            return
        if all(each.sharing is None for each in self._view.gateway_children(key, self._clock())):
            followed.due = now + NOBODY_LOOK_S
        elif followed.refusals:
            followed.due = now + min(2.0 ** min(followed.refusals, 10), REFUSED_LOOK_S)
        else:
            followed.due = now + (MOVING_LOOK_S if shares.moving else LOOK_S if shares.busy else IDLE_LOOK_S)

    async def share(self, key: Key) -> Shares | None:
        """Look once at a workload's pods, and tell those whose share changed; None when it is not followed any more."""
        followed = self._followed.get(key)
        if followed is None:
            return None
        pods = self._view.gateway_children(key, self._clock())
        sharing = [(each, each.sharing) for each in pods if each.sharing is not None]
        loads = await asyncio.gather(*(self._ask(pod, facts, followed.cap) for pod, facts in sharing))
        now = self._clock()
        gateways = [self._gateway(pod, facts, load, followed, now) for (pod, facts), load in zip(sharing, loads, strict=True)]
        outside = [followed.cap.even for each in pods if each.sharing is None]
        shares = share_out(followed.cap.total, gateways, followed.looks, now, outside=outside)
        followed.looks = shares.looks
        told = {each.uid: each.told for each in gateways}
        changed = [pod for pod in pods if pod.uid in shares.requests and shares.requests[pod.uid] != told[pod.uid]]
        told_all = all(await asyncio.gather(*(self._tell_one(key, pod, shares.requests[pod.uid], followed) for pod in changed)))
        followed.refusals = 0 if told_all else followed.refusals + 1
        there = {each.uid for each in pods}
        followed.told = {uid: each for uid, each in followed.told.items() if uid in there}
        return shares

    async def _ask(self, pod: Child, facts: SharingPod, cap: _Cap) -> GatewayLoad | None:
        if facts.address is None or not cap.total:
            return None
        async with self._slots:
            return await self._look(pod)

    async def _tell_one(self, key: Key, pod: Child, share: int, followed: _Followed) -> bool:
        """Tell a pod its share; return whether that was possible."""
        try:
            if await self._tell(key, pod, share):
                followed.told[pod.uid] = _Told(share=share, at=self._clock())
        except ApiError as problem:
            before = followed.told.get(pod.uid)
            if problem.status == 0 and (before is None or share > before.share):
                followed.told[pod.uid] = _Told(share=share, at=self._clock())  # no answer: it may have been told, and then has it
            logger.warning("%s/%s: share of gateway %s not sent: %s", key.namespace, key.name, pod.name, problem)
            return False
        return True

    def _gateway(self, pod: Child, facts: SharingPod, load: GatewayLoad | None, followed: _Followed, now: datetime) -> SharingGateway:
        told = _told(pod, facts, followed, now)
        return SharingGateway(
            uid=pod.uid,
            name=pod.name,
            told=told.share if told else None,
            told_at=told.at if told else None,
            started=facts.address is not None,
            newcomer=not facts.leaving and (pod.ready_since is None or now - pod.ready_since < NEWCOMER_FOR),
            leaving=facts.leaving,
            stuck=isinstance(pod.facts, GatewayPod) and pod.facts.is_stuck,
            load=load,
        )


def _told(pod: Child, facts: SharingPod, followed: _Followed, now: datetime) -> _Told | None:
    """Return what a pod was told: by this process while the watch may not show it yet, else as its annotation says."""
    mine = followed.told.get(pod.uid)
    if mine is not None and (mine.share == facts.told or now - mine.at < WATCH_LAG):
        return mine
    if facts.told is None:
        return None
    followed.told[pod.uid] = found = _Told(share=facts.told, at=now)
    return found
