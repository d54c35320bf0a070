"""The whole way round: what real gateways export is what the permit is planned by, and what is planned is what they keep to."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta

import pytest

from spillway.api.vocabulary import Reason
from spillway.observe import queries
from spillway.observe.batch import Batch, Series
from spillway.observe.signals import Target, signals_of
from spillway.plan.decision import Key, Ledger
from spillway.plan.gateway.permit import LIFE, WORKERS, plan_permit, why_stopped
from spillway.plan.money.ledger import advance
from spillway.plan.observation import Catalogue, GatewayPod, Observation
from spillway.plan.settings import PlanSettings
from tests.dataplane.client import Client
from tests.dataplane.conftest import SetStage, Stage
from tests.dataplane.fakes import INPUT_TOKENS, OUTPUT_TOKENS
from tests.dataplane.process import Gateway, until
from tests.dataplane.test_guards import USED, worst_case

pytestmark = pytest.mark.dataplane
LIMIT_MICRO_USD = 10_000
AFTER = LIFE / 10  # from pass to pass: what a lane holds and does not use is dealt anew when it has expired
KEY = Key(namespace="demo", name="chat")


CACHED_TOKENS = INPUT_TOKENS - 1  # a tenth of the price each
USED_CACHED = USED - 0.9 * CACHED_TOKENS


@pytest.mark.parametrize(
    ("asked", "cached", "used"),
    [(2, None, USED), (1, None, USED), (2, CACHED_TOKENS, USED_CACHED)],
    ids=["both gateways are asked", "all clients are on one", "prompts are cached"],
)
async def test_two_gateways_spend_a_days_limit_to_less_than_a_request_and_not_more(
    stage: SetStage, asked: int, cached: int | None, used: float
) -> None:
    """Permits are renewed as an operator would, with bursts between; the provider's own count is the bill."""
    cheap = {"cachedInputUSDPerMillionTokens": "0.1"}
    scene = await stage(cap=0, gateways=2, workers=WORKERS, overflow={"maxUSDPerDay": "0.01"}, model=cheap)
    scene.alpha.cached_tokens = cached
    operator = _Operator(scene)

    async def is_spent() -> bool:
        await operator.renew()
        told = operator.says()
        await asyncio.gather(*(_burst(each) for each in scene.gateways[:asked]))
        spent = scene.alpha.requests * used
        assert spent <= LIMIT_MICRO_USD
        return told is Reason.SPILL_LIMIT_REACHED and LIMIT_MICRO_USD - spent < worst_case()

    await until(is_spent, "the limit is spent, and is told to be reached", patience_s=300)
    for _ in range(3):
        assert await is_spent(), "it stays told while clients are refused"


async def test_a_limit_is_not_told_to_be_reached_while_a_burst_waits_for_the_next_permit(stage: SetStage) -> None:
    scene = await stage(cap=0, gateways=2, workers=WORKERS, overflow={"maxUSDPerDay": "0.01"})
    operator = _Operator(scene)
    await operator.renew()
    statuses = await _burst(scene.gateways[0])
    assert statuses == {200, 429}
    await operator.renew()
    assert operator.says() is None


async def _burst(gateway: Gateway) -> set[int]:
    async with Client(gateway.url) as client:
        answers = await asyncio.gather(*(client.post(max_tokens=OUTPUT_TOKENS) for _ in range(40)))
    statuses = {each.status for each in answers}
    assert statuses <= {200, 429}
    return statuses


class _Operator:
    """What a pass does of permits, with the gateways' own pages for Prometheus' answers."""

    def __init__(self, scene: Stage) -> None:
        self.scene = scene
        self.passes = 0
        self.began = datetime.combine(
            datetime.now(UTC) + timedelta(days=1), time.min, UTC
        )  # a whole day is before it, and no expiry behind
        self.ledger: Ledger | None = None

    async def renew(self) -> None:
        """Make a pass and hand its permit to both gateways."""
        now = self.began + self.passes * AFTER
        self.passes += 1
        seen = await self._observe(now)
        counted = advance(self.ledger, workload=self.scene.workload, seen=seen, now=now, settings=PlanSettings())
        self.ledger = plan_permit(self.scene.workload.spec, self.scene.decision.backends, seen=seen, ledger=counted, now=now)
        for gateway in self.scene.gateways:
            gateway.set_permit(self.ledger.permit)

    def says(self) -> Reason | None:
        """Return what the condition would say of the permit in force."""
        assert self.ledger
        assert self.ledger.permit
        return why_stopped(self.scene.workload.spec, self.ledger.permit, self.ledger.permit.issued_at)

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
        answers[queries.SPILL_METERS] = _named(rows, "envoy_spillway_charged_") + _named(rows, "envoy_spillway_refused_")
        answers[queries.COUNTERS] = _by_pod_and_backend(_named(rows, "envoy_spillway_"))
        target = Target(gateways=len(gateways), backends=tuple((each.provider_name, each.model) for each in self.scene.decision.backends))
        return Observation(
            catalogue=Catalogue(providers={each.provider_name: each.provider for each in self.scene.decision.backends}),
            replicas=(),
            gateways=tuple(GatewayPod(uid=each.pod, name=each.pod, ready=True) for each in gateways),
            pools=(),
            foreign_objects=(),
            signals=signals_of(KEY, Batch.of(answers, window_s=60, at=now, pod_owners={}), target),
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
