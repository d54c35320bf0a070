"""One golden case: what a user and a cluster state, decided and rendered.

It goes through `decide`, so that a changed constant of the capacity model shows here when it would restart replicas.
"""

from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from spillway.api.catalogue import AcceleratorClassSpec, HostedProviderSpec
from spillway.api.vocabulary import Reason
from spillway.api.workload import InferenceWorkloadSpec
from spillway.plan.decide import decide
from spillway.plan.decision import Decision, Key, Memory, Workload
from spillway.plan.observation import Catalogue, Missing, Observation, Pool, Signals
from spillway.plan.settings import PlanSettings
from spillway.render.objects import render
from spillway.render.settings import RenderSettings

CREATED = datetime(2026, 11, 1, tzinfo=UTC)
NOW = datetime(2026, 11, 2, tzinfo=UTC)
NOT_ASKED = Missing(reason=Reason.METRICS_MISSING)
SETTINGS = RenderSettings(
    engine_image="vllm/vllm-openai:v0.32.0",
    engine_version="0.32.0",
    gateway_image="envoyproxy/envoy:v1.40.0",
    scrape_namespace_labels=({"kubernetes.io/metadata.name": "monitoring"},),
    operator_namespace="spillway-system",
    operator_labels={"app.kubernetes.io/name": "spillway", "app.kubernetes.io/component": "operator"},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What in.yaml says."""

    workload: Workload
    seen: Observation
    settings: RenderSettings = SETTINGS

    def decide(self) -> Decision:
        """Return the decision on it; it must not be one that applies nothing."""
        decision, _ = decide(self.workload, self.seen, Memory(), NOW, PlanSettings())
        assert not decision.problems, decision.problems
        return decision

    def render(self) -> tuple[dict[str, Any], ...]:
        """Return the objects."""
        return render(self.workload, self.decide(), self.settings)

    def engine(self) -> dict[str, Any]:
        """Return the engine Deployment."""
        return next(each for each in self.render() if each["kind"] == "Deployment" and "-engine-" in each["metadata"]["name"])

    def gateway(self) -> dict[str, Any]:
        """Return the gateway's Deployment."""
        return next(each for each in self.render() if each["kind"] == "Deployment" and each["metadata"]["name"].endswith("-gateway"))


def load(path: Path) -> Case:
    """Return the case in a file of several documents: one workload, the classes and providers it names, the pools that exist."""
    documents = [each for each in yaml.load_all(path.read_text(), Loader=yaml.CSafeLoader) if each]
    return case(*documents)


def case(*documents: dict[str, Any]) -> Case:
    """Return the case that these manifests make."""
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for document in documents:
        by_kind.setdefault(document["kind"], []).append(document)
    manifest = by_kind["InferenceWorkload"][0]
    catalogue = Catalogue(
        accelerator_classes={
            each["metadata"]["name"]: AcceleratorClassSpec.model_validate(each["spec"]) for each in by_kind.get("AcceleratorClass", [])
        },
        providers={each["metadata"]["name"]: HostedProviderSpec.model_validate(each["spec"]) for each in by_kind.get("HostedProvider", [])},
    )
    pools = tuple(Pool(**each["spec"]) for each in by_kind.get("Pool", []))
    workload = Workload(
        key=Key(namespace=manifest["metadata"]["namespace"], name=manifest["metadata"]["name"]),
        uid="0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
        generation=1,
        created_at=CREATED,
        spec=InferenceWorkloadSpec.model_validate(manifest["spec"]),
    )
    return Case(workload=workload, seen=_observation(catalogue, pools))


def with_settings(given: Case, **changes: Any) -> Case:
    """Return the case under another installation's settings."""
    return replace(given, settings=replace(given.settings, **changes))


def _observation(catalogue: Catalogue, pools: tuple[Pool, ...]) -> Observation:
    """Return a cluster in which nothing runs yet and nothing was measured."""
    by_backend = ("hosted_healthy", "hosted_rejected_per_s", "hosted_credential_loaded")
    readings: dict[str, Any] = {
        each.name: {} if each.name in by_backend else NOT_ASKED for each in fields(Signals) if each.name != "window_s"
    }
    signals = Signals(window_s=60.0, **readings)
    return Observation(
        catalogue=catalogue,
        replicas=(),
        gateways=(),
        pools=pools,
        foreign_objects=(),
        signals=signals,
        watched_since=CREATED,
    )
