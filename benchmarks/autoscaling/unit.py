"""All policies over one trace, start-up time and seed. A baseline knows no prices, so one run of it is priced for every kappa."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np

from benchmarks.autoscaling.cells import KAPPAS, busiest_replicas, case_of, slots_of, source_named, spilling_long_prompts, traffic
from spillway.cli.simulate_case import Case
from spillway.cli.simulate_runs import production, replay_savings, work_per_token_s
from spillway.plan.decision import Memory
from spillway.plan.replica.long_prompts import longest_own_prompt_tokens
from spillway.plan.settings import PlanSettings
from spillway.simulate.baselines.catalogue import RULES, Rule, Values
from spillway.simulate.baselines.facts import Facts
from spillway.simulate.bound import lower_bound_usd
from spillway.simulate.demand import Demand, demand_of
from spillway.simulate.fluid import Plant, Tuned, tune
from spillway.simulate.oracle import Terms, solve
from spillway.simulate.outcome import Outcome
from spillway.simulate.policy import Policy
from spillway.simulate.run import HOSTED, Run
from spillway.simulate.setting import FAST, Rules, Targets
from spillway.simulate.simulate import run
from spillway.simulate.trace import Floats, Trace

HEADROOMS = (1.0, 0.9, 0.8)
SLOT_SHARES = (1.0, 0.75, 0.5)  # of the requests that a replica may hold by plan
PROMISED_PERCENT = 99.0
FLUID_SLOT_S = 15.0
GRID_TICK_S = 30.0
UNBOUNDED = 1 << 20
NO_KNATIVE = {"knative-kpa", "aibrix-kpa"}  # asked every two seconds, which takes longer than all else; run on the short traces
SHORT_S = 2 * 86400.0
NEVER_TUNED = {"all-hosted", "all-owned"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """What one process works on."""

    trace: str
    start_up_s: float
    seed: int
    days: float
    kappas: tuple[float, ...] = KAPPAS
    baselines: bool = True
    spills_long_prompts: bool = False  # hosted.overflow.longPrompts Spill


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One policy in one cell."""

    trace: str
    kappa: float
    start_up_s: float
    seed: int
    policy: str
    tuned: str  # "default", "hindsight", or "" where there is nothing to tune
    spills: bool
    values: tuple[float, ...]
    cost_usd: float
    own_usd: float
    hosted_usd: float
    attainment_percent: float | None
    worst_5_min_percent: float | None
    spilled_percent: float | None
    replica_hours: float
    starts: int
    failed: int
    requests: int
    seconds: float  # that the run took


def rows_of(unit: Unit) -> Iterator[Row]:
    """Yield every policy's figures in every cell of the unit."""
    bench = Bench(unit)
    for kappa in unit.kappas:
        yield bench.bound(kappa)
        yield from bench.replay(kappa)
        yield bench.ours(kappa)
    if unit.baselines:
        yield from bench.baselines()


class Bench:
    """One unit's trace and prices, and each policy run over it."""

    def __init__(self, unit: Unit, *, trace: Trace | None = None) -> None:
        self.unit = unit
        self.trace: Trace = traffic(unit.trace, unit.seed, unit.days) if trace is None else trace
        self.cases: dict[float, Case] = {
            kappa: case_of(self.trace, unit.trace, kappa=kappa, start_up_s=unit.start_up_s) for kappa in unit.kappas
        }
        if unit.spills_long_prompts:
            self.cases = {kappa: spilling_long_prompts(case) for kappa, case in self.cases.items()}
        self.case = next(iter(self.cases.values()))
        self.work_s: Floats = self.case.engine.trace_work_s(self.trace)
        early = self.trace.arrival_s < 300
        self.filled = round(float(self.work_s[early].sum()) / 300)

    def warm(self, kappa: float) -> int:
        """Return the replicas ready at the start, for every policy: what the first minutes fill, and none where owning never pays."""
        return self.filled if kappa > 1 else 0

    def terms(self, kappa: float, headroom: float = 1.0) -> Terms:
        """Return what the clairvoyant plan is made with."""
        return Terms(
            own_usd_per_s=self.case.prices.usd_per_replica_hour / 3600,
            start_up_s=self.unit.start_up_s,
            max_replicas=self.case.scaling.max_replicas,
            warm_replicas=self.warm(kappa),
            headroom=headroom,
        )

    def hosted_usd(self, kappa: float) -> Floats:
        """Return what renting each request costs."""
        return self.cases[kappa].prices.hosted_usd(self.trace.input_tokens, self.trace.output_tokens)

    def bound(self, kappa: float) -> Row:
        """Return what no scaler can undercut."""
        began = time.perf_counter()
        answers = self.trace.output_tokens.astype(np.float64)
        fastest = answers * float(self.case.engine.fixed_ms(1)[1]) / 1000
        slowest = np.maximum(fastest, answers * 0.1)
        slack_s = source_named(self.unit.trace).ttft_ms / 1000
        usd = lower_bound_usd(
            self.trace, self.work_s, self.hosted_usd(kappa), replace(self.terms(kappa), slack_s=slack_s), residences_s=(fastest, slowest)
        )
        return self._row("oracle-bound", kappa, cost_usd=usd, own_usd=usd, hosted_usd=0.0, seconds=time.perf_counter() - began)

    def replay(self, kappa: float) -> Iterator[Row]:
        """Yield the cheapest replay of the clairvoyant plan that keeps the promise.

        Where none does with the requests that a replica may hold by plan, it holds fewer: ours learns that too.
        """
        savings = replay_savings(self.cases[kappa], self.trace)
        found: list[tuple[tuple[float, float], Outcome]] = []
        for share in SLOT_SHARES:
            for headroom in HEADROOMS:
                plan = solve(savings, self.terms(kappa, headroom))
                done = self.run(plan, kappa=kappa, spills=True, slots=max(1, round(share * slots_of(self.case))))
                found.append(((headroom, share), done.outcome(self.cases[kappa].prices)))
            if any((outcome.slo_attainment_percent or 0.0) >= PROMISED_PERCENT for _, outcome in found):
                break
        keeping = [each for each in found if (each[1].slo_attainment_percent or 0.0) >= PROMISED_PERCENT]
        if keeping:
            values, outcome = min(keeping, key=lambda each: each[1].cost_usd)
        else:
            values, outcome = max(found, key=lambda each: each[1].slo_attainment_percent or 0.0)
        yield self._outcome("oracle-replay", kappa, outcome, values=values, seconds=0.0)

    def ours(self, kappa: float) -> Row:
        """Return the figures of production's own decisions."""
        began = time.perf_counter()
        done, _ = self.ours_run(kappa, Memory())
        return self._outcome("spillway", kappa, done.outcome(self.cases[kappa].prices), seconds=time.perf_counter() - began)

    def ours_run(self, kappa: float, memory: Memory) -> tuple[Run, Memory]:
        """Return the run of an operator that begins with that memory, and its memory at the end."""
        policy = production(self.cases[kappa], settings=PlanSettings(tick=timedelta(seconds=GRID_TICK_S)), memory=memory)
        longest = longest_own_prompt_tokens(self.case.spec, self.case.accelerator)
        return self.run(policy, kappa=kappa, spills=True, longest_own_prompt_tokens=longest), policy.memory

    def cost_from(self, done: Run, kappa: float, begin_s: float) -> float:
        """Return what a run costs from that moment on: what is billed then, and what is spilled of what arrives then."""
        prices = self.cases[kappa].prices
        end_s = np.minimum(done.lives.ended_s, done.trace.duration_s)
        own_s = np.maximum(0.0, end_s - np.maximum(done.lives.launched_s, begin_s)).sum()
        rented = (done.side == HOSTED) & (done.trace.arrival_s >= begin_s)
        return float(own_s / 3600 * prices.usd_per_replica_hour + self.hosted_usd(kappa)[rented].sum())

    def baselines(self) -> Iterator[Row]:
        """Yield every baseline, with its defaults and tuned with hindsight, with our spill and without."""
        demand = demand_of(self.trace, self.work_s, FLUID_SLOT_S)
        for rule in RULES:
            if rule.name in NO_KNATIVE and self.trace.duration_s > SHORT_S:
                continue
            yield from self._rule(rule, demand)

    def _rule(self, rule: Rule, demand: Demand) -> Iterator[Row]:
        kappas = [kappa for kappa in self.unit.kappas if kappa > 1]  # below, nothing is owned and no scaler is needed
        for spills in (True, False):
            if (rule.never_spills and spills) or (rule.never_owns and not spills):
                continue
            wanted: dict[Values, list[tuple[float, str]]] = {}
            for kappa in kappas:
                wanted.setdefault(rule.defaults[0], []).append((kappa, "" if rule.name in NEVER_TUNED else "default"))
            if rule.name not in NEVER_TUNED:
                for kappa, tuned in self._tuned(rule, demand, kappas, spills=spills).items():
                    wanted.setdefault(tuned.values, []).append((kappa, "hindsight"))
            for values, uses in wanted.items():
                done = self.run(rule.policy(self._facts(spills=spills), values), kappa=kappas[-1], spills=spills)
                outcomes = {kappa: done.outcome(self.cases[kappa].prices) for kappa, _ in uses}
                for kappa, tuned_how in uses:
                    yield self._outcome(
                        rule.name, kappa, outcomes[kappa], tuned=tuned_how, spills=spills, values=values, seconds=done.decide_s
                    )

    def _tuned(self, rule: Rule, demand: Demand, kappas: Iterable[float], *, spills: bool) -> dict[float, Tuned]:
        facts = self._facts(spills=spills)
        plant = Plant(
            facts=facts,
            empty_step_ms=float(self.case.engine.fixed_ms(1)[1]),
            full_step_ms=float(self.case.engine.fixed_ms(facts.slots)[-1]),
            start_up_s=self.unit.start_up_s,
            warm_replicas=self.filled,
        )
        return tune(rule, demand, plant, list(kappas), spills=spills)

    def run(
        self, policy: Policy, *, kappa: float, spills: bool, slots: int | None = None, longest_own_prompt_tokens: int | None = None
    ) -> Run:
        """Run a policy over the trace."""
        case = self.case
        targets = Targets(ttft_ms=float(source_named(self.unit.trace).ttft_ms), inter_token_ms=100.0)
        return run(
            self.trace,
            engine=case.engine,
            rules=Rules(
                spills=spills,
                slots_per_replica=(slots or slots_of(case)) if spills else UNBOUNDED,
                gateways=case.spec.gateway.replicas,
                longest_own_prompt_tokens=longest_own_prompt_tokens,
                most_held=0 if spills else UNBOUNDED,
                hold_s=0.0 if spills else 600.0,
            ),
            hosted=FAST if spills else None,
            targets=targets,
            policy=policy,
            name=self.unit.trace,
            seed=self.unit.seed,
            initial_replicas=self.warm(kappa),
        )

    def _facts(self, *, spills: bool) -> Facts:
        engine = self.case.engine
        per_input, per_output = work_per_token_s(engine, self.trace)
        peak = busiest_replicas(self.case, self.trace)
        return Facts(
            slots=slots_of(self.case) if spills else engine.max_num_seqs,
            max_replicas=max(peak, round(1.5 * peak)),
            peak_replicas=peak,
            ttft_slo_ms=float(source_named(self.unit.trace).ttft_ms),
            inter_token_slo_ms=100.0,
            kv_tokens=engine.kv_tokens,
            work_s_per_input_token=per_input,
            work_s_per_output_token=per_output,
        )

    def _outcome(
        self,
        policy: str,
        kappa: float,
        outcome: Outcome,
        *,
        tuned: str = "",
        spills: bool = True,
        values: tuple[float, ...] = (),
        seconds: float,
    ) -> Row:
        return self._row(
            policy,
            kappa,
            tuned=tuned,
            spills=spills,
            values=values,
            cost_usd=outcome.cost_usd,
            own_usd=outcome.own_usd,
            hosted_usd=outcome.hosted_usd,
            attainment_percent=outcome.slo_attainment_percent,
            worst_5_min_percent=outcome.worst_5_min_attainment_percent,
            spilled_percent=outcome.spilled_percent,
            replica_hours=outcome.replica_hours,
            starts=outcome.starts,
            failed=outcome.failed,
            seconds=seconds,
        )

    def _row(self, policy: str, kappa: float, *, seconds: float, cost_usd: float, own_usd: float, hosted_usd: float, **told: object) -> Row:
        plain = {
            "tuned": "",
            "spills": True,
            "values": (),
            "attainment_percent": None,
            "worst_5_min_percent": None,
            "spilled_percent": None,
            "replica_hours": 0.0,
            "starts": 0,
            "failed": 0,
        }
        return Row(
            trace=self.unit.trace,
            kappa=kappa,
            start_up_s=self.unit.start_up_s,
            seed=self.unit.seed,
            policy=policy,
            requests=self.trace.requests,
            cost_usd=cost_usd,
            own_usd=own_usd,
            hosted_usd=hosted_usd,
            seconds=round(seconds, 2),
            **(plain | told),  # type: ignore[arg-type]
        )
