"""The whole way round: what real gateways export is what the permit is planned by, and what is planned is what they keep to."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from spillway.observe import queries
from spillway.observe.signals import Batch, Series, Target
from spillway.plan.decision import Key, Ledger
from spillway.plan.ledger import advance
from spillway.plan.observation import Catalogue, GatewayPod, Observation
from spillway.plan.permit import SOONEST, WORKERS, plan_permit
from spillway.plan.settings import PlanSettings
from tests.dataplane.client import Client
from tests.dataplane.conftest import SetStage, Stage
from tests.dataplane.process import Gateway, until
from tests.dataplane.test_guards import TOKENS, USED

pytestmark = pytest.mark.dataplane
LIMIT_MICRO_USD = 10_000
KEY = Key(namespace="demo", name="chat")


async def test_two_gateways_spend_a_days_limit_and_not_more(stage: SetStage) -> None:
    """Permits are renewed as an operator would, with bursts on both gateways between; the provider's own count is the bill."""
    scene = await stage(cap=0, gateways=2, workers=WORKERS, overflow={"maxUSDPerDay": "0.01"})
    operator = _Operator(scene)

    async def mostly_spent() -> bool:
        await operator.renew()
        await asyncio.gather(*(_burst(each) for each in scene.gateways))
        assert scene.alpha.requests * USED <= LIMIT_MICRO_USD
        return scene.alpha.requests * USED >= 0.8 * LIMIT_MICRO_USD

    await until(mostly_spent, "the day's limit is nearly spent", patience_s=60)
    for _ in range(3):
        await mostly_spent()


async def _burst(gateway: Gateway) -> None:
    async with Client(gateway.url) as client:
        answers = await asyncio.gather(*(client.post(max_tokens=TOKENS) for _ in range(40)))
    assert {each.status for each in answers} <= {200, 429}


class _Operator:
    """What a pass does of permits, with the gateways' own pages for Prometheus' answers."""

    def __init__(self, scene: Stage) -> None:
        self.scene = scene
        self.passes = 0
        self.ledger: Ledger | None = None

    async def renew(self) -> None:
        """Make a pass and hand its permit to both gateways."""
        now = datetime.now(UTC) + self.passes * (SOONEST + timedelta(seconds=1))  # as if a while after the one before
        self.passes += 1
        seen = await self._observe(now)
        counted = advance(self.ledger, workload=self.scene.workload, seen=seen, now=now, settings=PlanSettings())
        self.ledger = plan_permit(self.scene.workload.spec, self.scene.decision.backends, seen=seen, ledger=counted, now=now)
        for gateway in self.scene.gateways:
            gateway.set_permit(self.ledger.permit)

    async def _observe(self, now: datetime) -> Observation:
        gateways = self.scene.gateways
        rows: list[Series] = []
        for gateway in gateways:
            common = {"namespace": KEY.namespace, "workload": KEY.name, "pod": gateway.pod}
            rows += [({**each.labels, **common, "__name__": each.name}, each.value) for each in await gateway.metrics()]
        component = {"namespace": KEY.namespace, "workload": KEY.name, "component": "gateway"}
        answers: dict[str, list[Series]] = {name: [] for name in queries.queries(60)}
        answers[queries.UP] = [(component, float(len(gateways)))]
        answers[queries.SCRAPE_AGE] = [(component, 1.0)]
        answers[queries.SPILL_METERS] = _named(rows, "envoy_spillway_charged_")
        answers[queries.COUNTERS] = _by_pod_and_backend(_named(rows, "envoy_spillway_"))
        target = Target(gateways=len(gateways), backends=tuple((each.provider_name, each.model) for each in self.scene.decision.backends))
        return Observation(
            catalogue=Catalogue(providers={each.provider_name: each.provider for each in self.scene.decision.backends}),
            replicas=(),
            gateways=tuple(GatewayPod(uid=each.pod, name=each.pod, ready=True) for each in gateways),
            pools=(),
            foreign_objects=(),
            signals=Batch.of(answers, window_s=60, at=now, pod_owners={}).read(KEY, target, now),
            watched_since=now,
        )


def _named(rows: Sequence[Series], prefix: str) -> list[Series]:
    return [row for row in rows if row[0]["__name__"].startswith(prefix)]


def _by_pod_and_backend(rows: Sequence[Series]) -> list[Series]:
    """Return sums as the query makes them: over codes, which only some counters have."""
    sums: dict[tuple[tuple[str, str], ...], float] = {}
    for labels, value in rows:
        key = tuple((name, labels[name]) for name in ("__name__", "namespace", "workload", "pod", "backend") if name in labels)
        sums[key] = sums.get(key, 0.0) + value
    return [(dict(key), value) for key, value in sums.items()]
