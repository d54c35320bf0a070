"""How much of a replica a request takes: its work, in seconds of one replica that runs a full batch within the SLO.

    w(in, out) = delta (1 - hit) in + q (1 - hit) in^2/10^6 + out (a/B + b + c (in + out/2)/1000)      [milliseconds / 1000]

The square is what long prompts need. B is the largest batch that keeps the inter-token target, hit the share of prompt tokens that the
prefix cache has. Requests of any shape add up in it, which requests per second do not; nothing is derated, so the sum over a second's
arrivals is the least number of replicas that could keep up.
"""

from dataclasses import dataclass

from spillway.plan.replica.roofline import StepModel
from spillway.plan.replica.serving import STEP_OVERHEAD_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What of a step a request's tokens take."""

    step: StepModel
    batch: int  # at which the steps' own cost is shared
    attended_share: float  # of a request's context that reading its cache costs; below 1 with sliding windows
    prefix_hit_ratio: float  # 0..1 of prompt tokens that need not be computed
    mean_input_tokens: float
    mean_output_tokens: float
    prompt_variety: float = 1.0  # mean of squared prompt lengths over the square of their mean

    def seconds(self, *, input_tokens: float, output_tokens: float) -> float:
        """Return the replica-seconds that a request of these lengths takes."""
        return self._seconds(input_tokens, output_tokens, variety=1.0)

    def mean_seconds(self, *, input_tokens: float, output_tokens: float) -> float:
        """Return the replica-seconds that requests take on average whose lengths have these means and vary as they usually do."""
        return self._seconds(input_tokens, output_tokens, variety=self.prompt_variety)

    def _seconds(self, input_tokens: float, output_tokens: float, *, variety: float) -> float:
        step, computed = self.step, (1 - self.prefix_hit_ratio) * input_tokens
        shared_ms = (STEP_OVERHEAD_MS + step.base_ms + step.experts_ms * step.touched(self.batch)) / self.batch
        context_tokens = self.attended_share * (input_tokens + output_tokens / 2)
        prompt_ms = computed * (step.prompt_ms + step.square_ms * variety * input_tokens / 1e6)
        return (prompt_ms + output_tokens * (shared_ms + step.sequence_ms + step.kv_ms * context_tokens / 1e3)) / 1000

    @property
    def seconds_per_request(self) -> float:
        """Replica-seconds of a request of the mean lengths."""
        return self.mean_seconds(input_tokens=self.mean_input_tokens, output_tokens=self.mean_output_tokens)
