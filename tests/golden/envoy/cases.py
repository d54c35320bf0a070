"""What the folders here say was decided: in.yaml of each."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from spillway.api.catalogue import HostedProviderSpec
from spillway.plan.decision import Allowance, Decision, Lane, Permit, Workload
from spillway.plan.gateway.permit import LIFE, RETRY_SOON, WORKERS
from spillway.render.envoy import config as envoy
from spillway.render.envoy.config import GatewayAddresses
from tests.dataplane import decisions
from tests.dataplane.process import MEMORY_BYTES

HERE = Path(__file__).parent
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C one where PyYAML has it
PROMISES = sorted(each.parent.name for each in HERE.glob("*/in.yaml"))
DEDICATED = "a-dedicated-gateway-knows-no-way-out-of-the-cluster"
HOSTED = "a-hosted-gateway-knows-no-replica"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What in.yaml says."""

    workload: Workload
    decision: Decision

    def files(self, addresses: GatewayAddresses = envoy.PRODUCTION) -> dict[str, str]:
        """Return everything that is rendered for Envoy."""
        return envoy.gateway_files(self.workload, self.decision, addresses, memory_bytes=MEMORY_BYTES) | envoy.cap_files(self.decision)


@cache
def load(promise: str) -> Case:
    """Return the case of a folder."""
    documents = list(yaml.load_all((HERE / promise / "in.yaml").read_text(), Loader=LOADER))
    named = {each["metadata"]["name"]: each["spec"] for each in documents if each["kind"] == "HostedProvider"}
    providers = {name: HostedProviderSpec.model_validate(spec) for name, spec in named.items()}
    workload = decisions.workload(next(each["spec"] for each in documents if each["kind"] == "InferenceWorkload"))
    cap = next(each["perGateway"] for each in documents if each["kind"] == "Cap")
    decision = decisions.decision(workload, providers, cap=cap)
    permit = next((_permit(each, decision) for each in documents if each["kind"] == "Permit"), None)
    return Case(workload=workload, decision=replace(decision, gateway=replace(decision.gateway, permit=permit)))


def _permit(document: dict[str, Any], decision: Decision) -> Permit:
    """Return a permit that gives both workers of one pod the same."""
    issued_at = datetime(2026, 11, 26, 12, tzinfo=UTC)
    given = tuple(
        Allowance(
            lane=Lane(pod=document["pod"], worker=worker, backend=backend.label),
            micro_usd_to=document["microUSD"],
            requests_to=document["requests"],
            requests_per_minute=document["requestsPerMinute"],
            tokens_per_minute=document["tokensPerMinute"],
        )
        for backend in decision.backends
        for worker in range(WORKERS)
    )
    return Permit(issued_at=issued_at, expires_at=issued_at + LIFE, retry_at=issued_at + RETRY_SOON, allowances=given)
