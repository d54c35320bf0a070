"""Simulated runs for tests of what is said about them."""

from typing import Any

import numpy as np

from spillway.api.simulate_output import EngineOutput, HostedOutput, SimulateOutput, SloOutput
from spillway.simulate.document import Setting, simulate_output
from spillway.simulate.outcome import Course, Outcome
from spillway.simulate.trace import Trace

UNKNOWN = float("nan")


def trace(requests: int = 1200, *, duration_s: float = 7200.0) -> Trace:
    return Trace(
        name="azure.csv",
        arrival_s=np.linspace(0.0, duration_s, requests),
        input_tokens=np.full(requests, 1000, np.int64),
        output_tokens=np.full(requests, 200, np.int64),
        duration_s=duration_s,
    )


def course(intervals: int = 120, *, interval_s: float = 60.0, **changes: Any) -> Course:
    def flat(value: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.full(intervals, value)

    values = {
        "arrivals_per_s": flat(0.5),
        "demand_replicas": flat(1.5),
        "ready_replicas": flat(2.0),
        "billed_replicas": flat(2.5),
        "spilled_percent": flat(5.0),
        "attainment_percent": flat(99.5),
        "own_usd": flat(0.06),
        "hosted_usd": flat(0.01),
    }
    return Course(interval_s=interval_s, **(values | changes))


def outcome(
    policy: str = "spillway", own_usd: float = 7.0, hosted_usd: float = 1.0, attained: float | None = 99.6, **changes: Any
) -> Outcome:
    values: dict[str, Any] = {
        "requests": 1200,
        "failed": 0,
        "worst_5_min_attainment_percent": 97.5,
        "spilled_percent": 5.0,
        "replica_hours": 4.5,
        "starts": 3,
        "ttft_p95_ms": 640.0,
        "inter_token_p95_ms": 41.5,
        "course": course(),
    }
    return Outcome(policy=policy, own_usd=own_usd, hosted_usd=hosted_usd, slo_attainment_percent=attained, **(values | changes))


def bound(own_usd: float = 5.0, hosted_usd: float = 1.0) -> Outcome:
    return outcome(
        "oracle",
        own_usd,
        hosted_usd,
        None,
        worst_5_min_attainment_percent=None,
        spilled_percent=None,
        ttft_p95_ms=None,
        inter_token_p95_ms=None,
        course=course(0),
    )


def setting(**changes: Any) -> Setting:
    values: dict[str, Any] = {
        "workload": "team/chat",
        "model": "meta-llama/Llama-3.1-8B-Instruct",
        "slo": SloOutput(time_to_first_token_ms=1000, inter_token_latency_ms=50, end_to_end_ms=None, attainment_percent=99.0),
        "engine": EngineOutput(
            accelerator_class="l40s",
            tensor_parallel_size=1,
            basis="Calibrated",
            step_base_ms=20.0,
            step_sequence_ms=0.3,
            step_kv_ms=0.1,
            step_prompt_ms=0.05,
            concurrency=36,
            start_up_seconds=180.0,
            usd_per_hour=1.86,
        ),
        "hosted": HostedOutput(name="together/m", speed="fast", input_usd_per_million_tokens=0.2, output_usd_per_million_tokens=0.4),
        "kappa": 2.5,
        "seed": 1,
        "demand_replicas_mean": 1.5,
    }
    return Setting(**(values | changes))


USUAL = (
    outcome("all-hosted", 0.0, 16.0, 99.7, spilled_percent=100.0),
    outcome("keda-queue", 4.0, 1.0, 83.0),
    outcome(),
    outcome("static", 12.0, 0.0, 100.0),
    outcome("oracle-replay", 6.0, 1.5, 99.5),
    bound(),
)


def simulation(*outcomes: Outcome, **changes: Any) -> SimulateOutput:
    return simulate_output(setting(**changes), trace(), outcomes or USUAL, warnings=["Look here."], assumptions=["Take this as given."])
