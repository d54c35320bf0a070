"""The one entry: a decision as the objects that should exist, in the order in which they are applied."""

from collections.abc import Iterable
from typing import NamedTuple

from spillway.plan.decision import Decision, OwnedPool, Workload
from spillway.render import names
from spillway.render.engine import engine_deployment
from spillway.render.gateway import gateway_autoscaler, gateway_cap, gateway_config, gateway_deployment, static_files
from spillway.render.manifest import KubernetesObject
from spillway.render.policy import engine_budget, engine_network_policy, gateway_budget, gateway_network_policy, service_account
from spillway.render.service import replicas_service, stable_service
from spillway.render.settings import RenderSettings


class ChildRef(NamedTuple):
    """A child, by kind and name; its namespace is the workload's."""

    kind: str
    name: str


def render(workload: Workload, decision: Decision, settings: RenderSettings) -> tuple[KubernetesObject, ...]:
    """Return all objects but the ledger and what was learned (render.ledger, render.learned), which are no part of a decision.

    What a pod needs comes before the pod, and replicas before the gateway, because they take longest to start.
    """
    files = static_files(workload, decision, settings)
    return (
        service_account(workload),
        *(_owned(workload, decision.pool, settings) if decision.pool else ()),
        gateway_network_policy(workload, decision, settings),
        gateway_cap(workload, decision),
        gateway_config(workload, files),
        stable_service(workload),
        gateway_deployment(workload, decision, settings, files),
        *gateway_autoscaler(workload, settings),
        gateway_budget(workload),
    )


def wanted(workload: Workload, objects: Iterable[KubernetesObject]) -> frozenset[ChildRef]:
    """Return the children that stay: those rendered, and what is remembered. Any other child with our owner's uid may be pruned."""
    rendered = {ChildRef(each["kind"], each["metadata"]["name"]) for each in objects}
    remembered = (names.ledger(workload.key.name), names.learned(workload.key.name))
    return frozenset({*rendered, *(ChildRef("ConfigMap", each) for each in remembered)})


def _owned(workload: Workload, pool: OwnedPool, settings: RenderSettings) -> tuple[KubernetesObject, ...]:
    return (
        engine_network_policy(workload, scrape=settings.scrape_namespace_labels),
        replicas_service(workload),
        engine_deployment(workload, pool, settings),
        engine_budget(workload),
    )
