"""The metric families of vLLM 0.32.0 (each named without its `vllm:`), as its /metrics shows them after traffic."""

LATENCY = (0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680)
TTFT = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560)
INTER_TOKEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80)
ITERATION = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)


def tokens(longest: int) -> tuple[float, ...]:
    """Return the edges of a token histogram: 1, 2, 5, 10, … up to the context's length."""
    edges = [digit * 10**power for power in range(9) for digit in (1, 2, 5)]
    return tuple(edge for edge in edges if edge <= longest)


GAUGES: dict[str, tuple[dict[str, str], ...]] = {
    "num_requests_running": ({},),
    "num_requests_waiting": ({},),
    "num_requests_waiting_by_reason": ({"reason": "capacity"}, {"reason": "deferred"}),
    "engine_sleep_state": ({"sleep_state": "awake"}, {"sleep_state": "weights_offloaded"}, {"sleep_state": "discard_all"}),
    "kv_cache_usage_perc": ({},),
}
SOURCES = ("local_compute", "local_cache_hit", "external_kv_transfer")
TIERS = ("device", "host", "p2p", "disk", "external_unspecified")
FINISHES = ("stop", "length", "abort", "error", "repetition")
REJECTIONS = ("max_num_queued_reqs", "max_num_queued_tokens")
COUNTERS: dict[str, tuple[dict[str, str], ...]] = {
    "estimated_flops_per_gpu_total": ({},),
    "estimated_read_bytes_per_gpu_total": ({},),
    "estimated_write_bytes_per_gpu_total": ({},),
    "prefix_cache_queries_total": ({},),
    "prefix_cache_hits_total": ({},),
    "external_prefix_cache_queries_total": ({},),
    "external_prefix_cache_hits_total": ({},),
    "mm_cache_queries_total": ({},),
    "mm_cache_hits_total": ({},),
    "num_preemptions_total": ({},),
    "prompt_tokens_total": ({},),
    "prompt_tokens_by_source_total": tuple({"source": source} for source in SOURCES),
    "prompt_tokens_cached_total": ({},),
    "prompt_tokens_cached_by_source_total": tuple({"source": tier} for tier in TIERS),
    "generation_tokens_total": ({},),
    "request_success_total": tuple({"finished_reason": finish} for finish in FINISHES),
    "admission_rejections_total": tuple({"reason": reason} for reason in REJECTIONS),
}
# These count in the API server, before there is an engine to name.
WITHOUT_ENGINE = {"admission_rejections_total"}


def histograms(context: int) -> dict[str, tuple[float, ...]]:
    """Return each histogram's edges for a context of this many tokens."""
    of_tokens = tokens(context)
    return {
        "request_prompt_tokens": of_tokens,
        "request_generation_tokens": of_tokens,
        "iteration_tokens_total": ITERATION,
        "request_max_num_generation_tokens": of_tokens,
        "request_params_n": (1, 2, 5, 10, 20),
        "request_params_max_tokens": of_tokens,
        "time_to_first_token_seconds": TTFT,
        "inter_token_latency_seconds": INTER_TOKEN,
        "request_time_per_output_token_seconds": INTER_TOKEN,
        "e2e_request_latency_seconds": LATENCY,
        "request_queue_time_seconds": LATENCY,
        "request_inference_time_seconds": LATENCY,
        "request_prefill_time_seconds": LATENCY,
        "request_decode_time_seconds": LATENCY,
        "request_num_preemptions": (1, 2, 3, 4, 5, 10, 20),
        "request_prefill_kv_computed_tokens": of_tokens,
    }
