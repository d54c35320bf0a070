"""Prompts that no replica reads within the time to the first token: how long they are, and what is left for replicas without them.

On a replica such a prompt breaks its own promise and that of whatever comes while it is read. With `hosted.overflow.longPrompts: Spill` the
gateway asks a hosted backend first.
"""

from dataclasses import replace

from spillway.api.catalogue import AcceleratorClassSpec
from spillway.api.workload import InferenceWorkloadSpec
from spillway.plan.observation import LongPromptTraffic, Missing, Reading, Signals
from spillway.plan.readings import number
from spillway.plan.replica.capacity import expected_service
from spillway.plan.replica.serving import DEFAULT_ATTAINMENT_PERCENT, Service, largest_whole
from spillway.plan.traffic.lengths import declared_lengths, length_at

# The share of the time to the first token that a prompt may take to be read by a replica that does nothing else: when two of the longest
# meet on one, which reads them one after the other, the second's first token still comes in time, and so does that of what came between.
# Reasoned, not fitted: of the traces that constants are chosen on, one request in 36,000 is any longer (benchmarks/autoscaling).
READ_SHARE = 0.5
MOST_TOKENS = 1 << 24  # longer than any model's context


def longest_own_prompt_tokens(spec: InferenceWorkloadSpec, accelerator: AcceleratorClassSpec) -> int | None:
    """Return the longest prompt that goes to own replicas first; None where any length does.

    It follows from the spec and the class alone, never from what is measured, as a change of it rolls the gateway. Never below the prompt
    at the SLO's attainment, which replicas are sized for.
    """
    overflow = spec.overflow
    if overflow is None or not spec.spills_long_prompts:
        return None
    target_ms = spec.slo.time_to_first_token_ms if spec.slo else None
    if target_ms is None or overflow.long_prompt_tokens is not None:
        return overflow.long_prompt_tokens
    lengths = declared_lengths(spec)
    service = expected_service(spec, accelerator, lengths)
    if service is None:
        return None
    percent = float(spec.slo.attainment_percent if spec.slo else DEFAULT_ATTAINMENT_PERCENT)
    promised = length_at(percent, mean=lengths.input_mean, p95=lengths.input_p95)
    return max(round(promised), read_within_tokens(service, READ_SHARE * target_ms))


def read_within_tokens(service: Service, limit_ms: float) -> int:
    """Return the longest prompt whose first token comes within the limit on a replica that does nothing else; 0 where none does."""
    return largest_whole(lambda tokens: service.first_token_ms(1, tokens) <= limit_ms, limit=MOST_TOKENS)


def without_long_prompts(signals: Signals) -> Signals:
    """Return the signals of what is left for own replicas: rates and mean lengths without the long prompts that hosted answered.

    What was counted of them is taken off what was counted of all. Where that was not read, or nothing is left, they stay as they are.
    """
    if isinstance(signals.long_prompts, Missing) or not signals.long_prompts.value.per_s:
        return signals
    long = signals.long_prompts.value
    arrivals, failed = number(signals.arrivals_per_s), number(signals.failed_per_s)
    if arrivals is None:
        return signals
    answered = arrivals - (failed or 0.0)
    return replace(
        signals,
        arrivals_per_s=_less(signals.arrivals_per_s, long.per_s),
        spilled_per_s=_less(signals.spilled_per_s, long.per_s),
        input_tokens_mean=_mean_without(signals.input_tokens_mean, answered, long, long.input_tokens_per_s),
        output_tokens_mean=_mean_without(signals.output_tokens_mean, answered, long, long.output_tokens_per_s),
    )


def _less(reading: Reading[float], taken: float) -> Reading[float]:
    return reading if isinstance(reading, Missing) else replace(reading, value=max(0.0, reading.value - taken))


def _mean_without(reading: Reading[float], answered: float, long: LongPromptTraffic, tokens_per_s: float) -> Reading[float]:
    if isinstance(reading, Missing) or answered <= long.per_s:
        return reading
    left = reading.value * answered - tokens_per_s
    return replace(reading, value=left / (answered - long.per_s)) if left > 0 else reading
