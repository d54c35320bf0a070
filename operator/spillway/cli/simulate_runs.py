"""One trace through every policy that was asked for: production's own decisions, the baselines, and the clairvoyant bound."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np

from spillway.api.workload import InferenceWorkloadSpec, PlacementMode
from spillway.cli.simulate_case import Case
from spillway.cli.simulate_gateway import limited, rules_of
from spillway.cli.simulate_policies import HEADROOMS, Asked
from spillway.plan.decision import Key, Memory, Workload
from spillway.plan.observation import Catalogue
from spillway.plan.replica.capacity import size
from spillway.plan.replica.serving import DEFAULT_ATTAINMENT_PERCENT
from spillway.plan.scaling.scale import lower_bound
from spillway.plan.settings import PlanSettings
from spillway.simulate.baselines.catalogue import RULES, Rule
from spillway.simulate.baselines.facts import Facts
from spillway.simulate.bound import lower_bound_usd
from spillway.simulate.document import ORACLE, ORACLE_REPLAY, OURS
from spillway.simulate.knapsack import Savings, in_order_of_arrival, savings_of
from spillway.simulate.oracle import OraclePlan, Terms, solve, without_overflow
from spillway.simulate.outcome import Course, Outcome
from spillway.simulate.policy import Policy
from spillway.simulate.setting import FAST, SLOW, EngineModel, HostedModel, Rules, Targets
from spillway.simulate.simulate import hosted_times_ms, simulate
from spillway.simulate.spillway_policy import DEFAULT_START, SpillwayPolicy
from spillway.simulate.trace import Floats, Trace

HOSTED = {"fast": FAST, "slow": SLOW}
SLOT_S = 30.0  # of the replayed plan
WARM_S = 300.0  # from the start: what is ready then is what these minutes' work fills
LATEST_START_S = 60.0  # of a request where no target says: what the bound lets it wait
Progress = Callable[[str, float], None]  # policy, share of all work done, 0..1


def run_policies(
    case: Case, trace: Trace, policies: Sequence[Asked], *, hosted: str, seed: int, on_progress: Progress
) -> tuple[Outcome, ...]:
    """Return what each policy came to, in the order asked. The same values give the same outcomes."""
    bench = _Bench(case=case, trace=trace, hosted=limited(HOSTED[hosted], case.spec) if case.rents else None, seed=seed)
    outcomes, done, runs = [], 0, sum(each.runs for each in policies)
    for each in policies:
        report = partial(_report, on_progress, each, done, runs)
        outcomes.append(bench.outcome(each, report))
        done += each.runs
    return tuple(outcomes)


def _report(on_progress: Progress, asked: Asked, done: int, runs: int, share: float) -> None:
    on_progress(asked.label, (done + share * asked.runs) / runs)


def hosted_within_percent(case: Case, trace: Trace, hosted: str) -> float | None:
    """Return the share of the trace's requests that would meet the SLO on the hosted side, all of them spilled; None without one."""
    if not case.rents:
        return None
    ttft_ms, gap_ms = hosted_times_ms(HOSTED[hosted], trace.requests, np.random.default_rng(0))
    whole_ms = ttft_ms + gap_ms * (trace.output_tokens - 1)
    return float(100 * _targets(case).met(ttft_ms=ttft_ms, inter_token_ms=gap_ms, end_to_end_ms=whole_ms).mean())


@dataclass(frozen=True, kw_only=True)
class _Bench:
    case: Case
    trace: Trace
    hosted: HostedModel | None
    seed: int

    def outcome(self, asked: Asked, report: Callable[[float], None]) -> Outcome:
        if asked.name == ORACLE:
            return _as_outcome(self._bound_usd(), self.trace)
        if asked.name == ORACLE_REPLAY:
            return self._replayed(report)
        if asked.name == OURS:
            return self._run(production(self.case), asked.label, report)
        found = next(each for each in RULES if each.name == asked.name)
        return self._run(
            found.policy(self._facts(found), asked.values),
            asked.label,
            report,
            spills=not found.never_spills,
            owns=not found.never_owns,
        )

    def _run(self, policy: Policy, label: str, report: Callable[[float], None], *, spills: bool = True, owns: bool = True) -> Outcome:
        return simulate(
            self.trace,
            engine=self.case.engine,
            rules=self._rules(spills=spills),
            hosted=self.hosted if spills else None,
            targets=_targets(self.case),
            prices=self.case.prices,
            policy=policy,
            name=label,
            seed=self.seed,
            initial_replicas=self._warm(spills=spills) if owns else 0,
            on_progress=report,
        )

    def _replayed(self, report: Callable[[float], None]) -> Outcome:
        """Return the cheapest replay of the clairvoyant plan that keeps the SLO, else the one that keeps it most."""
        found = []
        for index, headroom in enumerate(HEADROOMS):
            plan = self._plan(headroom)
            found.append(self._run(plan, ORACLE_REPLAY, lambda share, index=index: report((index + share) / len(HEADROOMS))))  # type: ignore[misc]
        promised = promised_percent(self.case)
        return min(found, key=lambda each: (max(0.0, promised - (each.slo_attainment_percent or 0.0)), each.cost_usd))

    def _plan(self, headroom: float) -> OraclePlan:
        terms = replace(self._terms(), headroom=headroom)
        if self.hosted is None:
            terms = replace(terms, own_usd_per_s=terms.own_usd_per_s or 1.0)  # of what costs nothing as little as of anything else
            return without_overflow(self.trace, self._work_s, SLOT_S, terms, served_share=promised_percent(self.case) / 100)
        return solve(self._savings, terms)

    @cached_property
    def _savings(self) -> Savings:
        return replay_savings(self.case, self.trace)

    def _bound_usd(self) -> float:
        ttft, gap = _targets(self.case).ttft_ms, _targets(self.case).inter_token_ms
        answers = self.trace.output_tokens.astype(np.float64)
        fastest = answers * float(self.case.engine.fixed_ms(1)[1]) / 1000
        slowest = answers * (gap or float(self.case.engine.fixed_ms(self.case.engine.max_num_seqs)[-1])) / 1000
        return lower_bound_usd(
            self.trace,
            self._work_s,
            self.case.prices.hosted_usd(self.trace.input_tokens, self.trace.output_tokens),
            replace(self._terms(), slack_s=LATEST_START_S if ttft is None else ttft / 1000),
            residences_s=(fastest, np.maximum(fastest, slowest)),
        )

    def _terms(self) -> Terms:
        return Terms(
            own_usd_per_s=self.case.prices.usd_per_replica_hour / 3600,
            start_up_s=self.case.engine.start_up_s,
            max_replicas=self.case.scaling.max_replicas,
            warm_replicas=self._warm(spills=True),
        )

    def _rules(self, *, spills: bool) -> Rules:
        case, spec = self.case, self._spec(spills=spills)
        return rules_of(spec, case.accelerator, size(spec, case.accelerator, Memory()), spills=spills and case.rents)

    def _spec(self, *, spills: bool) -> InferenceWorkloadSpec:
        """Return the spec, or that of a workload with which nothing is hosted."""
        spec = self.case.spec
        if spills:
            return spec
        return spec.model_copy(update={"hosted": None, "placement": spec.placement.model_copy(update={"mode": PlacementMode.DEDICATED})})

    def _facts(self, rule: Rule) -> Facts:
        engine, targets = self.case.engine, _targets(self.case)
        per_input, per_output = work_per_token_s(engine, self.trace)
        return Facts(
            slots=self._rules(spills=not rule.never_spills).slots_per_replica
            if self.case.rents and not rule.never_spills
            else engine.max_num_seqs,
            max_replicas=self.case.scaling.max_replicas,
            peak_replicas=math.ceil(self.case.demand_replicas_peak),
            ttft_slo_ms=targets.ttft_ms or LATEST_START_S * 1000,
            inter_token_slo_ms=targets.inter_token_ms or float(engine.fixed_ms(engine.max_num_seqs)[-1]),
            kv_tokens=engine.kv_tokens,
            work_s_per_input_token=per_input,
            work_s_per_output_token=per_output,
            min_replicas=0 if rule.never_owns else lower_bound(self.case.spec),
        )

    @cached_property
    def _work_s(self) -> Floats:
        return self.case.engine.trace_work_s(self.trace)

    def _warm(self, *, spills: bool) -> int:
        """Return how many replicas are ready at the start: a recording begins in the middle of a service."""
        least = lower_bound(self._spec(spills=spills))
        early = self.trace.arrival_s < WARM_S
        filled = float(self._work_s[early].sum()) / min(WARM_S, max(1.0, self.trace.duration_s))
        return min(self.case.scaling.max_replicas, max(least, round(filled)))


def replay_savings(case: Case, trace: Trace) -> Savings:
    """Return the savings that a clairvoyant plan is made with which a gateway can follow: it spills what comes too late."""
    work_s = case.engine.trace_work_s(trace)
    rented_usd = case.prices.hosted_usd(trace.input_tokens, trace.output_tokens)
    usd = in_order_of_arrival(trace, work_s, rented_usd, SLOT_S)
    return savings_of(trace, work_s, usd, SLOT_S, residence_s=case.engine.full_residence_s(trace))


def work_per_token_s(engine: EngineModel, trace: Trace) -> tuple[float, float]:
    """Return the replica-seconds of a prompt's and of an answer's token, which add up to those of the trace's mean request."""
    inputs, outputs = float(trace.input_tokens.mean()), float(trace.output_tokens.mean())
    per_input = engine.step.prompt_ms / 1e3
    whole = float(engine.work_s(np.array([inputs]), np.array([outputs]))[0])
    return per_input, max(1e-9, (whole - inputs * per_input) / outputs)


def production(case: Case, *, settings: PlanSettings | None = None, memory: Memory | None = None) -> SpillwayPolicy:
    """Return production's own decide(), which is shown the manifests at the prices that are simulated."""
    return SpillwayPolicy(
        workload=Workload(
            key=Key(namespace="simulated", name="workload"), uid="simulated", generation=1, created_at=DEFAULT_START, spec=case.spec
        ),
        catalogue=Catalogue(accelerator_classes={case.chosen.accelerator_class: case.accelerator}, providers=case.providers),
        settings=settings,
        gateways=case.spec.gateway.replicas,
        memory=memory,
    )


def _targets(case: Case) -> Targets:
    slo = case.spec.slo
    if slo is None:
        return Targets()
    return Targets(ttft_ms=slo.time_to_first_token_ms, inter_token_ms=slo.inter_token_latency_ms, end_to_end_ms=slo.end_to_end_ms)


def promised_percent(case: Case) -> float:
    """Return the share of requests that have to meet every target."""
    return float(case.spec.slo.attainment_percent if case.spec.slo else DEFAULT_ATTAINMENT_PERCENT)


def _as_outcome(usd: float, trace: Trace) -> Outcome:
    """Return a bound as an outcome: a sum only, since nothing was served; the document tells no more of it."""
    nothing = np.empty(0)
    return Outcome(
        policy=ORACLE,
        requests=trace.requests,
        failed=0,
        own_usd=usd,
        hosted_usd=0.0,
        slo_attainment_percent=None,
        worst_5_min_attainment_percent=None,
        spilled_percent=None,
        replica_hours=0.0,
        starts=0,
        ttft_p95_ms=None,
        inter_token_p95_ms=None,
        course=Course(
            interval_s=1.0,
            arrivals_per_s=nothing,
            demand_replicas=nothing,
            ready_replicas=nothing,
            billed_replicas=nothing,
            spilled_percent=nothing,
            attainment_percent=nothing,
            own_usd=nothing,
            hosted_usd=nothing,
        ),
    )
