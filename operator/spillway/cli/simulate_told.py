"""What is told of a simulation beside its figures: of what it is, what was assumed, and what to beware of."""

import argparse

from spillway.api.simulate_output import EngineOutput, HostedOutput, SloOutput
from spillway.cli.simulate_case import Case
from spillway.cli.simulate_runs import hosted_within_percent, promised_percent
from spillway.plan.comparing.options import Question
from spillway.plan.rounding import down, figure
from spillway.simulate.document import Setting
from spillway.simulate.reading import Reading
from spillway.simulate.trace import Trace


def setting_of(case: Case, question: Question, parsed: argparse.Namespace, scale: float, reading: Reading) -> Setting:
    """Return what is told of what was simulated."""
    slo, step, offer = case.spec.slo, case.engine.step, case.chosen.offer
    measured = case.measured_engine
    return Setting(
        workload=case.label,
        model=question.spec.model.id,
        slo=SloOutput(
            time_to_first_token_ms=slo.time_to_first_token_ms if slo else None,
            inter_token_latency_ms=slo.inter_token_latency_ms if slo else None,
            end_to_end_ms=slo.end_to_end_ms if slo else None,
            attainment_percent=promised_percent(case),
        ),
        engine=EngineOutput(
            accelerator_class=case.chosen.accelerator_class,
            tensor_parallel_size=case.chosen.tensor_parallel_size,
            basis="Given" if measured else case.chosen.calibrated,
            step_base_ms=round(case.engine.step_overhead_ms + step.base_ms + step.experts_ms * step.touched(case.engine.max_num_seqs), 4),
            step_sequence_ms=round(step.sequence_ms, 5),
            step_kv_ms=round(step.kv_ms, 6),
            step_prompt_ms=round(step.prompt_ms, 6),
            concurrency=case.engine.max_num_seqs,
            start_up_seconds=case.engine.start_up_s,
            usd_per_hour=round(case.prices.usd_per_replica_hour, 4),
        ),
        hosted=None
        if offer is None
        else HostedOutput(
            name=offer.label,
            speed=parsed.hosted,
            input_usd_per_million_tokens=round(case.prices.hosted_input_usd_per_million, 6),
            output_usd_per_million_tokens=round(case.prices.hosted_output_usd_per_million, 6),
        ),
        kappa=case.kappa,
        seed=parsed.seed,
        demand_replicas_mean=case.demand_replicas_mean,
        scale=scale,
        columns=reading.columns,
    )


def hosted_too_slow(case: Case, trace: Trace, hosted: str) -> list[str]:
    """Say where spilling itself breaks the promise, which no scaler can make good."""
    within = hosted_within_percent(case, trace, hosted)
    if within is None or within >= promised_percent(case):
        return []
    told = (
        f"The hosted side by itself meets the SLO for {down(within, 1):.1f} % of these requests, and what is spilled counts: relax slo, or "
        "look at policies that own more."
    )
    return [told]


def assumed(case: Case, parsed: argparse.Namespace, scale: float) -> list[str]:
    """Return what was assumed, of all policies alike."""
    but = " (all-hosted with none, all-owned with one at least)" if case.rents else ""
    warm = f"Every policy starts with the replicas that the first five minutes fill, ready{but}"
    told = [f"{warm}, and is judged on all requests from the first on."]
    if case.rents:
        speed = "a median of 0.5 s and 10 to 20 ms a token" if parsed.hosted == "fast" else "a median of 2 s and 50 to 90 ms a token"
        told.append(
            f"The hosted side answers after {speed}, with 0.5 % errors. Clients try once more after one, as OpenAI's do: gateways ask each "
            "backend once."
        )
    if case.rents and case.scaling.min_replicas:
        told.append(
            f"minReplicas ({case.scaling.min_replicas}) holds for every policy but all-hosted and the clairvoyant ones, which own fewer "
            "where that is cheaper."
        )
    if scale > 1:
        told.append(
            f"The traffic is {figure(scale)} times the recorded one, from copies within two minutes of each other: its bursts are smoother."
        )
    elif scale < 1:
        told.append(f"The traffic is {figure(scale)} times the recorded one: so many of its requests, drawn by chance.")
    told.append("All baselines are our own versions of documented rules with their projects' default values, and spill as ours does.")
    return told
