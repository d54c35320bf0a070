"""The cluster as the watches have shown it, kept small: facts, not objects. One writer (the edge), read by every pass.

kopf's own indices would do for most of this, but they keep an object for ever when its deletion fell into a gap of the watch (kopf
lists anew and does not notice what is missing). Here the census (apply.census) can take it out.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from spillway.api.catalogue import AcceleratorClassSpec, HostedProviderSpec
from spillway.api.vocabulary import COMPONENT_ENGINE
from spillway.observe.body import Body, owner_of, version
from spillway.observe.child import Child, child_of
from spillway.observe.parsed import Parsed, SeenWorkload, parse, seen_workload
from spillway.plan.decision import Key
from spillway.plan.observation import Catalogue, GatewayPod, Pool, ReplicaPod

WORKLOAD_KIND, CLASS_KIND, PROVIDER_KIND = "InferenceWorkload", "AcceleratorClass", "HostedProvider"
# A pod that is gone is remembered for this long, so that the ledger learns when it ended.
REMEMBER_ENDED = timedelta(minutes=10)
# A gateway pod whose time to end is over by this much is on a node that is lost: its kubelet would have ended it and said so. It stays
# until somebody takes the node out, for days perhaps, and must not be waited for, nor have a part of the cap and of limits.
LOST_AFTER = timedelta(minutes=2)

ChildName = tuple[str, str]  # kind, name


@dataclass(slots=True)
class ClusterView:
    """Everything seen, by key."""

    workloads: dict[Key, SeenWorkload] = field(default_factory=dict)
    classes: dict[str, Parsed[AcceleratorClassSpec]] = field(default_factory=dict)
    providers: dict[tuple[str, str], Parsed[HostedProviderSpec]] = field(default_factory=dict)
    _children: dict[Key, dict[ChildName, Child]] = field(default_factory=dict)
    _owners: dict[tuple[str, str, str], Key] = field(default_factory=dict)  # by kind, namespace and name: among whose children it is
    _ended: dict[Key, dict[str, ReplicaPod]] = field(default_factory=dict)
    _catalogues: dict[str, Catalogue] = field(default_factory=dict)  # by namespace, until a class or a provider changes

    def put(self, kind: str, body: Body, now: datetime) -> frozenset[Key]:
        """Take in an object; return the workloads for which that is news. A status that only this process writes is none."""
        return frozenset() if self._is_of_before(kind, body) else self._put(kind, body, now)

    def _put(self, kind: str, body: Body, now: datetime) -> frozenset[Key]:
        metadata = body["metadata"]
        name, namespace = metadata["name"], metadata.get("namespace", "")
        match kind:
            case "InferenceWorkload":
                return self._put_workload(Key(namespace=namespace, name=name), body, now)
            case "AcceleratorClass":
                old_class = self.classes.get(name)
                self.classes[name] = new_class = parse(AcceleratorClassSpec, body, old_class)
                if new_class is old_class:
                    return frozenset()
                self._catalogues.clear()
                return frozenset(self._referring_to_class(name))
            case "HostedProvider":
                old_provider = self.providers.get((namespace, name))
                self.providers[namespace, name] = new_provider = parse(HostedProviderSpec, body, old_provider)
                if new_provider is old_provider:
                    return frozenset()
                self._catalogues.clear()
                return frozenset(self._referring_to_provider(namespace, name))
            case _:
                return self._put_child(kind, body, now)

    def remove(self, kind: str, body: Body, now: datetime) -> frozenset[Key]:
        """Take out an object that is gone; return the workloads it concerns. None: another one has its name by now.

        kopf tells of each object in a task of its own, so what became of an object may be told after its successor.
        """
        metadata, seen = body["metadata"], self._seen(kind, body)
        if seen is not None and seen.uid != metadata.get("uid"):
            return frozenset()
        return self.remove_named(kind, metadata.get("namespace", ""), metadata["name"], now, owner=owner_of(body))

    def remove_named(self, kind: str, namespace: str, name: str, now: datetime, *, owner: Key | None) -> frozenset[Key]:
        """Take out an object by name."""
        match kind:
            case "InferenceWorkload":
                key = Key(namespace=namespace, name=name)
                self.workloads.pop(key, None)
                self._ended.pop(key, None)
                return frozenset({key})
            case "AcceleratorClass":
                self.classes.pop(name, None)
                self._catalogues.clear()
                return frozenset(self._referring_to_class(name))
            case "HostedProvider":
                self.providers.pop((namespace, name), None)
                self._catalogues.clear()
                return frozenset(self._referring_to_provider(namespace, name))
            case _:
                return frozenset({owner}) if owner is not None and self._remove_child(owner, (kind, name), now) else frozenset()

    def children(self, key: Key) -> Mapping[ChildName, Child]:
        """Return a workload's children, whoever owns them."""
        return self._children.get(key, {})

    def all_children(self) -> Iterator[tuple[Key, Child]]:
        """Return every child with the workload in its label."""
        for key, children in list(self._children.items()):
            for child in list(children.values()):
                yield key, child

    def replicas(self, key: Key, now: datetime) -> tuple[ReplicaPod, ...]:
        """Return the engine pods there are, and those that ended lately."""
        ended = self._ended.get(key, {})
        for gone in [each for each, pod in ended.items() if pod.ended_at is not None and now - pod.ended_at > REMEMBER_ENDED]:
            del ended[gone]
        live = [each.facts for each in self.children(key).values() if isinstance(each.facts, ReplicaPod)]
        known = {pod.uid for pod in live}
        return tuple(sorted([*live, *(pod for pod in ended.values() if pod.uid not in known)], key=lambda pod: pod.name))

    def gateways(self, key: Key, now: datetime) -> tuple[GatewayPod, ...]:
        """Return the gateway pods but for those on lost nodes."""
        return tuple(each.facts for each in self.gateway_children(key, now) if isinstance(each.facts, GatewayPod))

    def gateway_children(self, key: Key, now: datetime) -> tuple[Child, ...]:
        """Return the gateway pods as objects, but for those on lost nodes."""
        found = [each for each in self.children(key).values() if isinstance(each.facts, GatewayPod) and not _is_lost(each.facts, now)]
        return tuple(sorted(found, key=lambda pod: pod.name))

    def gateways_ready_before(self, key: Key, then: datetime) -> int:
        """Return how many gateway pods have been ready since then."""
        children = self.children(key).values()
        return sum(
            1 for each in children if isinstance(each.facts, GatewayPod) and each.ready_since is not None and each.ready_since <= then
        )

    def pools(self, key: Key, uid: str) -> tuple[Pool, ...]:
        """Return the engine Deployments that belong to this very workload."""
        children = self.children(key).values()
        pods = [each.facts for each in children if isinstance(each.facts, ReplicaPod)]
        found = [each.facts for each in children if isinstance(each.facts, Pool) and each.controller_uid == uid]
        return tuple(sorted((_with_rollout(each, pods) for each in found), key=lambda each: each.name))

    def gateway_refused(self, key: Key, uid: str) -> str | None:
        """Return why the API server takes no pod of this very workload's gateway; None when it does."""
        return next((each.refused for each in self.children(key).values() if each.refused and each.controller_uid == uid), None)

    def catalogue(self, namespace: str) -> Catalogue:
        """Return what a workload of this namespace can refer to: the very same until something in it changes."""
        found = self._catalogues.get(namespace)
        if found is None:
            here = {name: each for (where, name), each in self.providers.items() if where == namespace}
            found = self._catalogues[namespace] = Catalogue(
                accelerator_classes={name: each.spec for name, each in self.classes.items() if each.spec is not None},
                providers={name: each.spec for name, each in here.items() if each.spec is not None},
                unreadable_classes={name: each.problem for name, each in self.classes.items() if each.spec is None},
                unreadable_providers={name: each.problem for name, each in here.items() if each.spec is None},
            )
        return found

    def pod_owners(self) -> dict[tuple[str, str], Key]:
        """Return whose each engine pod is, by namespace and name; for metrics that know pods only."""
        return {
            (key.namespace, child.name): key
            for key, child in self.all_children()
            if child.kind == "Pod" and child.component == COMPONENT_ENGINE
        }

    def _is_of_before(self, kind: str, body: Body) -> bool:
        """Whether this is an object of before the one that has its name by now; its end is told next."""
        seen, metadata = self._seen(kind, body), body["metadata"]
        return seen is not None and seen.uid != metadata.get("uid") and version(body) < seen.version

    def _seen(self, kind: str, body: Body) -> "Parsed[Any] | Child | None":
        """Return what is seen under an object's name, if anything is."""
        namespace, name, owner = body["metadata"].get("namespace", ""), body["metadata"]["name"], owner_of(body)
        match kind:
            case "InferenceWorkload":
                workload = self.workloads.get(Key(namespace=namespace, name=name))
                return None if workload is None else workload.parsed
            case "AcceleratorClass":
                return self.classes.get(name)
            case "HostedProvider":
                return self.providers.get((namespace, name))
        return None if owner is None else self.children(owner).get((kind, name))

    def _put_workload(self, key: Key, body: Body, now: datetime) -> frozenset[Key]:
        before = self.workloads.get(key)
        self.workloads[key] = after = seen_workload(key, body, before, now)
        same = before is not None and before.parsed is after.parsed and before.terminating == after.terminating
        return frozenset() if same else frozenset({key})

    def _put_child(self, kind: str, body: Body, now: datetime) -> frozenset[Key]:
        owner = owner_of(body)
        if owner is None:
            return frozenset()
        name = body["metadata"]["name"]
        former = self._owners.get((kind, owner.namespace, name), owner)
        self._owners[kind, owner.namespace, name] = owner
        # As when one takes a pod aside to look into it: the former workload's Services select it no more.
        left = former != owner and self._remove_child(former, (kind, name), now)
        siblings = self._children.setdefault(owner, {})
        child = child_of(kind, body)
        before = siblings.get((kind, name))
        siblings[kind, name] = child
        if before is None:
            is_news = child.facts is not None
        else:
            is_news = (before.uid, before.facts, before.refused) != (child.uid, child.facts, child.refused)
        return frozenset(key for key, concerned in ((former, left), (owner, is_news)) if concerned)

    def _remove_child(self, owner: Key, child: ChildName, now: datetime) -> bool:
        gone = self._children.get(owner, {}).pop(child, None)
        if not self._children.get(owner, True):
            del self._children[owner]
        if gone is None:
            return False
        if self._owners.get((gone.kind, owner.namespace, gone.name)) == owner:
            del self._owners[gone.kind, owner.namespace, gone.name]
        if isinstance(gone.facts, ReplicaPod) and gone.facts.bound_at is not None and owner in self.workloads:
            facts = replace(gone.facts, ready=False, terminating=True, ended_at=gone.facts.ended_at or now)
            self._ended.setdefault(owner, {})[facts.uid] = facts
        return True

    def _referring_to_class(self, name: str) -> Iterator[Key]:
        for key, seen in self.workloads.items():
            dedicated = seen.parsed.spec.dedicated if seen.parsed.spec else None
            if dedicated is not None and (not dedicated.accelerators or name in dedicated.accelerators):
                yield key

    def _referring_to_provider(self, namespace: str, name: str) -> Iterator[Key]:
        for key, seen in self.workloads.items():
            hosted = seen.parsed.spec.hosted if seen.parsed.spec else None
            if key.namespace == namespace and hosted is not None and any(each.provider_ref.name == name for each in hosted.backends):
                yield key


def _is_lost(pod: GatewayPod, now: datetime) -> bool:
    return pod.ends_by is not None and now - pod.ends_by > LOST_AFTER


def _with_rollout(pool: Pool, pods: Iterable[ReplicaPod]) -> Pool:
    """Return the pool, blocked when a pod of a new template finds no place, cannot start or is not even taken, while others serve.

    The Deployment itself says so only after its progress deadline, which is as long as a large model takes to load.
    """
    if pool.rollout_blocked is None and pool.refused is not None and 0 < pool.replicas <= pool.ready_replicas:
        return replace(pool, rollout_blocked=f"the API server rejects pods of the new spec: {pool.refused}.")
    own = [pod for pod in pods if pod.pool == pool.name and pod.stays]
    serving = {pod.template for pod in own if pod.ready}
    if pool.rollout_blocked is not None or not serving:
        return pool
    if {pod.template for pod in own if pod.unschedulable is not None} - serving:
        told = "no node has room for a replica of the new spec beside the running ones, see ReplicasReady; free or add one."
        return replace(pool, rollout_blocked=told)
    if {pod.template for pod in own if pod.is_stuck} - serving:
        return replace(pool, rollout_blocked="its replicas cannot start, see ReplicasReady. The previous ones keep serving.")
    return pool
