"""What is simulated: the engine, the gateway's rules, the hosted side, and the targets. All of it is a model, none a measurement."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spillway.api.catalogue import AcceleratorClassSpec
from spillway.api.workload import InferenceWorkloadSpec
from spillway.plan.replica.capacity import engine_limits, expected_service, kv_capacity_tokens
from spillway.plan.replica.memory import step_tokens
from spillway.plan.replica.roofline import StepModel
from spillway.plan.replica.serving import STEP_OVERHEAD_MS
from spillway.plan.traffic.lengths import declared_lengths
from spillway.simulate.trace import Floats, Trace

STEP_TOKENS = 8192  # vLLM's max_num_batched_tokens of a server on an accelerator with 70 GiB or more


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineModel:
    """The truth about a replica: how fast it is, what it holds, how long it takes to start."""

    step: StepModel
    kv_tokens: int
    max_num_seqs: int  # where the policy does not say
    step_tokens: int = STEP_TOKENS  # max_num_batched_tokens
    step_overhead_ms: float = STEP_OVERHEAD_MS
    request_overhead_ms: float = 0.0  # HTTP and tokenization, before the first token; it holds up nobody else
    start_up_s: float = 180.0  # mean
    start_up_cv: float = 0.2  # lognormal
    start_failure_share: float = 0.0  # of attempts; a failed one is billed and is followed by another

    def fixed_ms(self, most: int) -> Floats:
        """Return what a step takes with 0 … most sequences, without cache and prompts; of experts, what that many tokens touch."""
        return np.array(
            [self.step_overhead_ms + self.step.step_ms(sequences=float(count), kv_tokens=0.0) for count in range(most + 1)],
            dtype=np.float64,
        )

    def work_s(self, input_tokens: Floats, output_tokens: Floats, *, batch: int | None = None) -> Floats:
        """Return the replica-seconds that requests take in a full batch: their prompts' time, and their share of the steps they are in.

        delta*in + q*in^2 + out*(fixed(B)/B + c*(in + out/2)); `batch` is B, by default max_num_seqs.
        """
        full = batch or self.max_num_seqs
        share_ms = float(self.fixed_ms(full)[full]) / full
        kv_ms = self.step.kv_ms * (input_tokens + output_tokens / 2) / 1e3
        prompt_ms = self.step.prompt_ms * input_tokens + self.step.square_ms * input_tokens**2 / 1e6
        work: Floats = (prompt_ms + output_tokens * (share_ms + kv_ms)) / 1e3
        return work

    def trace_work_s(self, trace: Trace) -> Floats:
        """Return the replica-seconds that each request of a trace takes in a full batch."""
        return self.work_s(trace.input_tokens.astype(np.float64), trace.output_tokens.astype(np.float64))

    def full_residence_s(self, trace: Trace) -> Floats:
        """Return how long each request of a trace is in a full batch."""
        residence: Floats = trace.output_tokens.astype(np.float64) * (float(self.fixed_ms(self.max_num_seqs)[-1]) / 1000)
        return residence


def planned_engine(spec: InferenceWorkloadSpec, accelerator: AcceleratorClassSpec) -> EngineModel:
    """Return the engine as the planner has it for a spec's model on a class, with the tensor parallel size in the spec.

    Raises ValueError where the model's shape is unknown.
    """
    lengths = declared_lengths(spec)
    expected, kv_tokens = expected_service(spec, accelerator, lengths), kv_capacity_tokens(spec, accelerator)
    if expected is None or not kv_tokens or spec.dedicated is None:
        raise ValueError(f"no shape is known for model {spec.model.id!r}, or it does not fit {accelerator.product}; add model.architecture")
    limits = engine_limits(spec, accelerator)
    return EngineModel(
        step=expected.step,
        kv_tokens=kv_tokens,
        max_num_seqs=limits.max_num_seqs,
        step_tokens=step_tokens(spec.dedicated.engine, accelerator),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What gateways and engines do with a request."""

    spills: bool  # False: nothing is hosted
    slots_per_replica: int  # requests per ready replica at the gateways' cap, where the policy does not say
    gateways: int = 2
    max_queued_requests: int = 1 << 30  # running and waiting ones, from which on an engine refuses
    most_pausing: int = 0  # requests that a gateway lets wait for a slot, before they spill
    pause_s: float = 0.0  # how long
    most_held: int = 0  # requests that a gateway keeps waiting where they may not spill, or hosted does not take them
    hold_s: float = 0.0  # how long
    longest_own_prompt_tokens: int | None = None  # longer ones go to hosted first; None: none do
    billing_increment_s: float = 1.0
    crashes_s: tuple[float, ...] = ()  # moments at which a ready replica, drawn by the seed, is lost


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A time in which hosted refuses a share of attempts: a storm of 429, or with all of them an outage."""

    begin_s: float
    end_s: float
    refused_share: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedModel:
    """The hosted side. An error is tried once more; then the request has failed.

    It is the client that tries again, as OpenAI's do by default (twice): gateways ask each backend once, and only one is simulated.
    """

    ttft_median_ms: float
    ttft_p99_ms: float  # lognormal through both
    inter_token_ms: tuple[float, float]  # uniform, one draw a request
    error_share: float = 0.0
    troubles: tuple[Trouble, ...] = ()
    most_usd_per_day: float | None = None  # days begin with the run


FAST = HostedModel(ttft_median_ms=500.0, ttft_p99_ms=2000.0, inter_token_ms=(10.0, 20.0), error_share=0.005)
SLOW = HostedModel(ttft_median_ms=2000.0, ttft_p99_ms=8000.0, inter_token_ms=(50.0, 90.0), error_share=0.005)


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """What a request must meet, each where it is given. A request meets the SLO when it was answered and meets all of them."""

    ttft_ms: float | None = None
    inter_token_ms: float | None = None  # mean gap between its tokens
    end_to_end_ms: float | None = None

    def met(self, *, ttft_ms: Floats, inter_token_ms: Floats, end_to_end_ms: Floats) -> NDArray[np.bool_]:
        """Return which requests miss none of the targets; what is NaN is missed by nothing."""
        met = np.ones(len(ttft_ms), dtype=np.bool_)
        for target, found in ((self.ttft_ms, ttft_ms), (self.inter_token_ms, inter_token_ms), (self.end_to_end_ms, end_to_end_ms)):
            if target is not None:
                met &= ~(found > target)
        return met
