"""What a watch event sets off: a pass over the workload for which it is news, and none for what a pass has just made itself."""

from typing import Any

from spillway.api.vocabulary import COMPONENT_ENGINE, LABEL_COMPONENT, LABEL_WORKLOAD, Reason
from spillway.apply.known import KnownObjects, Ref
from spillway.edge.intake import GATHER_S, Intake
from spillway.observe.cluster import ClusterView
from spillway.plan.decision import Key
from spillway.plan.observation import Missing
from spillway.reconcile.queue import ReconcileQueue
from spillway.reconcile.world import World

KEY = Key(namespace="ns", name="x")
REF = Ref("Deployment", "ns", "x-engine-1")


class Edge:
    """An intake with a queue whose clock stands where it is put."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.known = KnownObjects()
        self.queue = ReconcileQueue(lambda: self.now_s)
        unasked = Missing(reason=Reason.METRICS_MISSING, detail="not asked")
        self.leads = True
        world = World(view=ClusterView(), known=self.known, window_s=60, unasked=unasked)
        self.intake = Intake(world, self.queue, leading=lambda: self.leads)

    def asked(self) -> int:
        """Return how many passes are due a moment later."""
        self.now_s += GATHER_S
        return self.queue.depth


def deployment(version: int = 10, *, generation: int = 1, ready: int = 0, uid: str = "u") -> dict[str, Any]:
    metadata = {
        "name": REF.name,
        "namespace": REF.namespace,
        "uid": uid,
        "resourceVersion": str(version),
        "generation": generation,
        "labels": {LABEL_WORKLOAD: KEY.name, LABEL_COMPONENT: COMPONENT_ENGINE},
        "ownerReferences": [{"uid": "w", "controller": True}],
    }
    return {"metadata": metadata, "spec": {"replicas": 1}, "status": {"readyReplicas": ready}}


def applied(edge: Edge, body: dict[str, Any]) -> None:
    with edge.known.sending(REF):
        edge.known.applied(REF, body["metadata"], "digest", KEY)


def test_the_first_sight_of_what_a_pass_has_made_asks_for_none() -> None:
    edge = Edge()
    applied(edge, deployment())
    edge.intake.put("Deployment", deployment())
    assert edge.asked() == 0


def test_the_first_sight_may_come_before_the_answer() -> None:
    edge = Edge()
    with edge.known.sending(REF):
        edge.intake.put("Deployment", deployment())
    assert edge.asked() == 0


def test_what_becomes_of_it_asks_for_a_pass() -> None:
    edge = Edge()
    applied(edge, deployment())
    edge.intake.put("Deployment", deployment())
    edge.intake.put("Deployment", deployment(11, ready=1))
    assert edge.asked() == 1


def test_a_first_sight_that_shows_more_than_was_made_asks_for_a_pass() -> None:
    edge = Edge()
    applied(edge, deployment())
    edge.intake.put("Deployment", deployment(12, ready=1))
    assert edge.asked() == 1


def test_what_somebody_else_has_made_or_changed_asks_for_a_pass() -> None:
    made, changed = Edge(), Edge()
    made.intake.put("Deployment", deployment())
    applied(changed, deployment())
    changed.intake.put("Deployment", deployment(11, generation=2))
    assert (made.asked(), changed.asked()) == (1, 1)


def test_what_was_there_before_this_process_asks_for_a_pass() -> None:
    edge = Edge()
    edge.known.seen(REF, deployment()["metadata"], KEY)
    edge.intake.put("Deployment", deployment())
    assert edge.asked() == 1


def test_a_standby_asks_for_no_pass_that_it_does_not_make() -> None:
    edge = Edge()
    edge.leads = False
    edge.intake.put("Deployment", deployment())
    edge.intake.gone("Deployment", deployment())
    assert edge.asked() == 0
