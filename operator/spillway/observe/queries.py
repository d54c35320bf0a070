"""All PromQL there is. Each query answers for every workload at once; the number of queries does not grow with the workloads.

Every scraped series carries the labels namespace, pod, workload and component (the bundled Prometheus and the PodMonitor both set
them). Counters of Envoy have no _total suffix. Names of vLLM's metrics: tests/dataplane/recorded/vllm-0.32.0.txt; where an older
version has another name, `or` takes it.
"""

from typing import Final

BY: Final = "by (namespace, workload)"

UP: Final = "up"
SCRAPE_AGE: Final = "scrape_age"
REQUESTS: Final = "requests"
COUNTERS: Final = "counters"
STREAM_ERRORS: Final = "stream_errors"
LONG_PROMPTS: Final = "long_prompts"
SPILL_METERS: Final = "spill_meters"
IN_FLIGHT: Final = "in_flight"
HELD: Final = "held"
TOKENS_IN: Final = "tokens_in"
TOKENS_OUT: Final = "tokens_out"
UNMETERED: Final = "unmetered"
RESIDENCE: Final = "residence"
DURATION: Final = "duration"
FIRST_BODY: Final = "first_body"
PACE: Final = "pace"
HEALTHY: Final = "healthy"
HOSTED_REJECTED: Final = "hosted_rejected"
INJECTED: Final = "injected"
NOT_INJECTED: Final = "not_injected"
QUEUES: Final = "queues"
KV_CACHE: Final = "kv_cache"
STEP_TIME: Final = "step_time"
BATCH: Final = "batch"
PROMPTS: Final = "prompts"
CACHE_SIZE: Final = "cache_size"
CACHE_EACH: Final = "cache_each"
PREFIX_HITS: Final = "prefix_hits"
GAPS: Final = "gaps"
CLOSED: Final = "closed"
GPU: Final = "gpu"
ANSWERED: Final = "answered"

# Asked first: without it nothing can be said, and a Prometheus that does not answer is not asked the rest.
FIRST: Final = UP

# A pod's series, whoever scrapes it, and however often: two jobs, or two Prometheis whose answers come together, add labels of their own.
_SERIES = (
    "namespace, workload, pod, backend, code, le,"
    " envoy_cluster_name, envoy_response_code, envoy_http_conn_manager_prefix, engine, model_name"
)
_KEPT_S = 120  # how long the last counters of a gateway that is gone are still counted: longer than any tick
_COUNTED = "requests|(cached_)?input_tokens|output_tokens|(unmetered|unanswered)_(requests|request_bytes|(plain_)?response_bytes)"


def queries(window_s: float) -> dict[str, str]:
    """Return the batch of one tick, by name. Rates are over `window_s`."""
    w = f"{window_s:.0f}s"
    ours = 'workload!=""'
    return {
        # Who is scraped at all: the difference between "no traffic" and "no idea".
        UP: f"sum by (namespace, workload, component) (max by (namespace, workload, component, pod) (up{{{ours}}}))",
        # In seconds by Prometheus' own clock: between its clock and ours there may be any difference.
        SCRAPE_AGE: f"time() - max by (namespace, workload, component) (timestamp(up{{{ours}}}))",
        **_of_gateways(ours, w),
        **_of_engines(ours, w),
    }


def _of_gateways(ours: str, w: str) -> dict[str, str]:
    counted = f'__name__=~"envoy_spillway_({_COUNTED})",{ours}'
    owned = f'backend="owned",{ours}'
    served = f'code=~"2..",{owned}'
    elsewhere = f'backend!~"owned|none",{ours}'
    unauthorized, barred, taken = (_answered(code, w) for code in ("401", "402|403", "2.."))
    at_edge = _once(f'envoy_http_downstream_rq_active{{envoy_http_conn_manager_prefix="edge",{ours}}}')
    on_owned = _once(f'envoy_cluster_upstream_rq_active{{envoy_cluster_name="owned",{ours}}}')
    on_backends = _once(f'envoy_cluster_upstream_rq_active{{envoy_cluster_name=~"owned|hosted-.*",{ours}}}')
    by_listener = "sum by (namespace, workload, envoy_http_conn_manager_prefix)"
    return {
        REQUESTS: f"sum by (namespace, workload, backend, code) ({_rate('envoy_spillway_requests', ours, w)})",
        STREAM_ERRORS: f"sum {BY} ({_rate('envoy_spillway_stream_errors', ours, w)})",
        # What hosted backends answered because no own replica reads such prompts in time: counted only where longPrompts is Spill.
        LONG_PROMPTS: " or ".join(
            f'label_replace(sum {BY} ({_rate(f"envoy_spillway_long_prompt_{what}", elsewhere, w)}), "what", "{what}", "", "")'
            for what in ("requests", "input_tokens", "output_tokens")
        ),
        # Raw, and only of those that are there: a lane's meter says up to where its Envoy has counted, and starts anew with it. Asked
        # before the ledger's counters: what a scrape between the two adds is then spent already, and not allowed once more.
        # One that is scraped by two jobs, or by one whose labels have just been changed, is one: the highest is the latest.
        SPILL_METERS: "max by (__name__, namespace, workload, pod, backend, worker)"
        f' ({{__name__=~"envoy_spillway_(charged|refused)_(micro_usd|requests)",{ours}}})',
        COUNTERS: "sum by (__name__, namespace, workload, pod, backend)"
        f" (max by (__name__, namespace, workload, pod, backend, code) ({_also_of_the_gone(counted)}))",
        IN_FLIGHT: f"sum {BY} ({on_owned})",
        # Requests that wait at the gateway for a replica: open at the edge and on no backend, while it does ask again. Without the last, a
        # slow upload or a scan for paths would wake replicas.
        HELD: f"clamp_min(sum {BY} ({at_edge}) - sum {BY} ({on_backends}), 0)"
        f' and sum {BY} (rate(envoy_cluster_upstream_rq_retry{{envoy_cluster_name=~"hop-owned|hop-again",{ours}}}[{w}])) > 0',
        TOKENS_IN: f"sum {BY} ({_rate('envoy_spillway_input_tokens', ours, w)})",
        TOKENS_OUT: f"sum {BY} ({_rate('envoy_spillway_output_tokens', ours, w)})",
        UNMETERED: f"sum {BY} ({_rate('envoy_spillway_unmetered_requests', ours, w)})",
        # All time over what was served: a refusal takes milliseconds and would make requests look shorter than they are.
        RESIDENCE: f"sum {BY} ({_rate('envoy_spillway_duration_ms_sum', owned, w)})"
        f" / (sum {BY} ({_rate('envoy_spillway_requests', served, w)}) > 0)",
        DURATION: f"sum by (namespace, workload, backend, le) ({_rate('envoy_spillway_duration_ms_bucket', ours, w)})",
        FIRST_BODY: f"sum by (namespace, workload, backend, le) ({_rate('envoy_spillway_first_body_ms_bucket', ours, w)})",
        PACE: f"sum by (namespace, workload, backend, le) ({_rate('envoy_spillway_inter_token_us_bucket', ours, w)})",
        HEALTHY: "max by (namespace, workload, envoy_cluster_name)"
        f' (envoy_cluster_membership_healthy{{envoy_cluster_name=~"owned|hosted-.*",{ours}}})',
        # While others are answered, a 403 says that this request was not allowed (moderation, at OpenRouter), and a 402 that it might cost
        # more than is left: nothing of the key, or of the account.
        HOSTED_REJECTED: f"({unauthorized} > 0) or ({barred} unless ({taken} > 0))",
        INJECTED: f"{by_listener} ({_rate('envoy_http_credential_injector_injected', ours, w)})",
        NOT_INJECTED: f"{by_listener} ({_rate('envoy_http_credential_injector_failed', ours, w)})",
        CLOSED: f"sum {BY} ({_rate('envoy_spillway_closed_requests', ours, w)})",
    }


def _of_engines(ours: str, w: str) -> dict[str, str]:
    return {
        # By pod, since the one with the least in flight goes first when there are too many.
        QUEUES: "sum by (__name__, namespace, workload, pod)"
        f' (max by (__name__, {_SERIES}) ({{__name__=~"vllm:num_requests_(running|waiting)",{ours}}}))',
        KV_CACHE: f"avg {BY} (vllm:kv_cache_usage_perc{{{ours}}}) or avg {BY} (vllm:gpu_cache_usage_perc{{{ours}}})",
        # The mean gap between a request's tokens is the mean engine step while it decodes.
        STEP_TIME: _ratio("vllm:inter_token_latency_seconds_sum", "vllm:inter_token_latency_seconds_count", ours, w)
        + " or "
        + _ratio("vllm:time_per_output_token_seconds_sum", "vllm:time_per_output_token_seconds_count", ours, w),
        # Tokens made per step: requests that decode together. The _total in this histogram's name is vLLM's own.
        BATCH: _ratio("vllm:generation_tokens_total", "vllm:iteration_tokens_total_count", ours, w),
        # Prompt tokens computed per step: by their source, else all less those found in a cache. Steps are counted as above.
        PROMPTS: f"({_computed_prompts(ours, w)}) / (sum {BY} (rate(vllm:iteration_tokens_total_count{{{ours}}}[{w}])) > 0)",
        # What a replica's KV cache holds is told in labels: in tokens, or in blocks of so many.
        CACHE_SIZE: f"max by (namespace, workload, kv_cache_size_tokens, num_gpu_blocks, block_size) (vllm:cache_config_info{{{ours}}})",
        # The share of the cache that a running request has, by means over the window: both gauges also see the time between requests.
        CACHE_EACH: " or ".join(
            f"sum {BY} ({_mean(name, ours, w)}) / (sum {BY} ({_mean('num_requests_running', ours, w)}) > 0)"
            for name in ("kv_cache_usage_perc", "gpu_cache_usage_perc")
        ),
        PREFIX_HITS: " or ".join(
            _ratio(f"vllm:{name}_hits_total", f"vllm:{name}_queries_total", ours, w) for name in ("prefix_cache", "gpu_prefix_cache")
        ),
        # The promise is about a request's mean gap; versions without that histogram have the one of single gaps.
        GAPS: " or ".join(
            f"sum by (namespace, workload, le) (rate(vllm:{name}_seconds_bucket{{{ours}}}[{w}]))"
            for name in ("request_time_per_output_token", "inter_token_latency", "time_per_output_token")
        ),
        # DCGM knows pods, not workloads; where the exporter's own labels won, the pod's are called exported_*. What is scraped as a
        # workload's pod is no exporter, whatever it tells of others.
        GPU: "clamp(avg by (namespace, pod, exported_namespace, exported_pod)"
        f" ({' or '.join(_gpu_of(label) for label in ('pod', 'exported_pod'))}), 0, 100)",
    }


def history_queries(namespace: str, workload: str, *, step_s: float) -> dict[str, str]:
    """Return what a range query asks of one workload's past: rates per second over each step, and whether its gateway was scraped."""
    w = f"{step_s:.0f}s"
    its = f'namespace="{_quoted(namespace)}",workload="{_quoted(workload)}"'
    answered = f'code=~"2..",{its}'
    return {
        UP: f'sum(sum_over_time(up{{component="gateway",{its}}}[{w}]))',
        REQUESTS: f"sum({_rate('envoy_spillway_requests', its, w)})",
        ANSWERED: f"sum({_rate('envoy_spillway_requests', answered, w)})",
        UNMETERED: f"sum({_rate('envoy_spillway_unmetered_requests', its, w)})",
        TOKENS_IN: f"sum({_rate('envoy_spillway_input_tokens', its, w)})",
        TOKENS_OUT: f"sum({_rate('envoy_spillway_output_tokens', its, w)})",
    }


def _quoted(text: str) -> str:
    """Return a label's value as it may stand between double quotes."""
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _gpu_of(pod: str) -> str:
    return f'DCGM_FI_DEV_GPU_UTIL{{workload="",{pod}=~".+-engine-[0-9a-f]{{8}}-.+"}}'


def _once(series: str) -> str:
    """Return series with those of one pod counted once that only labels of who scraped them tell apart."""
    return f"max by ({_SERIES}) ({series})"


def _rate(name: str, labels: str, window: str) -> str:
    """Return a counter's rate that also sees the first increase of a series.

    A counter with labels is exported only once it has counted something. `rate` needs two samples and so takes the first event of a
    code or backend for none, which would hide the first spilled request after an idle night. A series that was not there a window
    ago counts from zero, if its pod was scraped then (the series is new) or is younger than the window (all of it is new);
    after a loss of Prometheus' data neither holds, and a counter of days is not taken for a burst. Nor is it where the pod is scraped under
    other labels than a window ago: then all its series are new.
    """
    series, seconds = f"{name}{{{labels}}}", window.removesuffix("s")
    before = f"({series} offset {window})"
    gateways = 'up{component="gateway"}'
    renamed = f"({gateways} unless {gateways} offset {window})"
    watched = f"({gateways} offset {window} == 1) unless on (namespace, pod) {renamed}"
    young = f"envoy_server_uptime < {seconds}"
    new = f"({series} unless {before}) and on (namespace, pod) (({watched}) or on (namespace, pod) ({young}))"
    return _once(f"(rate({series}[{window}]) and {before}) or ({new}) / {seconds}")


def _answered(code: str, window: str) -> str:
    """Return the rate of the answers of each hosted backend with such a code."""
    labels = f'envoy_cluster_name=~"hosted-.*",envoy_response_code=~"{code}",workload!=""'
    return f"sum by (namespace, workload, envoy_cluster_name) ({_rate('envoy_cluster_upstream_rq', labels, window)})"


def _also_of_the_gone(labels: str) -> str:
    """Return raw counters, those of a gateway that went since the last tick included.

    Of one that is there only the present sample counts: after a restart of its container older ones are another container's. For the
    same reason the last samples of a container that had just started are left.
    """
    there = 'up{component="gateway"} == 1'
    young = f"last_over_time(envoy_server_uptime[{_KEPT_S}s]) < {_KEPT_S}"
    last = f"last_over_time({{{labels}}}[{_KEPT_S}s])"
    return f"{{{labels}}} or ({last} unless on (namespace, pod) ({there}) unless on (namespace, pod) ({young}))"


def _mean(gauge: str, labels: str, window: str) -> str:
    return f"avg_over_time(vllm:{gauge}{{{labels}}}[{window}])"


def _computed_prompts(labels: str, window: str) -> str:
    """Return the rate of prompt tokens that were computed. Versions that do not tell what was cached have all of them counted."""

    def total(name: str, more: str = "") -> str:
        return f"sum {BY} (rate(vllm:{name}_total{{{labels}{more}}}[{window}]))"

    cached = [f"{total('prompt_tokens')} - {total(name)}" for name in ("prompt_tokens_cached", "prefix_cache_hits")]
    return " or ".join([total("prompt_tokens_by_source", ',source="local_compute"'), *cached, total("prompt_tokens")])


def _ratio(numerator: str, denominator: str, labels: str, window: str) -> str:
    """Return the quotient of two rates, and nothing (not NaN) where nothing happened."""
    below = f"sum {BY} (rate({denominator}{{{labels}}}[{window}]))"
    return f"sum {BY} (rate({numerator}{{{labels}}}[{window}])) / ({below} > 0)"
