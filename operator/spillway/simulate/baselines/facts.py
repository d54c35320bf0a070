"""What a rule is told about the workload by who configures it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """True values, as a careful user would have measured them: every baseline gets them for nothing."""

    slots: int  # requests that a replica holds while it keeps the promise: the gateway's cap
    max_replicas: int
    peak_replicas: int  # that serve the busiest moment without spill
    ttft_slo_ms: float
    inter_token_slo_ms: float
    kv_tokens: float  # that fit a replica's cache
    work_s_per_input_token: float  # replica-seconds at a full batch
    work_s_per_output_token: float
    min_replicas: int = 0

    def bounded(self, wanted: float, *, at_least: int = 0) -> int:
        """Return the count within what is allowed."""
        return int(min(max(wanted, self.min_replicas, at_least), self.max_replicas))

    def work_s(self, input_tokens: float, output_tokens: float) -> float:
        """Return the replica-seconds of one request of that shape."""
        return input_tokens * self.work_s_per_input_token + output_tokens * self.work_s_per_output_token
