"""Answers of Prometheus as readings. A function of values: the batch's answers, what each workload wants to know, and when.

What is missing stays missing. A gateway that is scraped and counted nothing had no traffic: that is a zero. A gateway that nobody
scrapes is no zero.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from spillway.api.vocabulary import BACKEND_NONE, BACKEND_OWNED, COMPONENT_ENGINE, COMPONENT_GATEWAY, Reason, hosted_cluster_name
from spillway.observe import queries
from spillway.observe.batch import Batch, Series
from spillway.observe.histogram import Buckets, added, quantile, share_within, total
from spillway.observe.labels import DIGITS, Labels, abandoned, cache_size, edge_of, failed, spilled, turned_down
from spillway.plan.decision import Key
from spillway.plan.observation import LongPromptTraffic, Missing, Reading, Sample, SideLatency, Signals, SpillMeter, TokenCounters
from spillway.plan.same import of_the_same

T = TypeVar("T")

_UNMETERED = ("requests", "request_bytes", "response_bytes", "plain_response_bytes")
_COUNTER_FIELDS = {
    **{f"envoy_spillway_{name}": name for name in ("requests", "input_tokens", "cached_input_tokens", "output_tokens")},
    **{f"envoy_spillway_{kind}_{name}": f"unmetered_{name}" for kind in ("unmetered", "unanswered") for name in _UNMETERED},
}
_RUNNING, _WAITING = "vllm:num_requests_running", "vllm:num_requests_waiting"
_QUEUES = {_RUNNING, _WAITING}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What one workload wants to know, and how many of its pods should be answering."""

    ttft_ms: int | None = None
    inter_token_ms: int | None = None
    end_to_end_ms: int | None = None
    backends: tuple[tuple[str, str], ...] = ()  # provider, model
    engines: int = 0  # ready for long enough to have been scraped
    gateways: int = 0


@of_the_same
def all_missing(window_s: float, missing: Missing, backends: tuple[tuple[str, str], ...]) -> Signals:
    """Return signals without a single reading."""
    labels = [f"{provider}/{model}" for provider, model in backends]
    return Signals(
        window_s=window_s,
        arrivals_per_s=missing,
        spilled_per_s=missing,
        failed_per_s=missing,
        refused_per_s=missing,
        cancelled_per_s=missing,
        in_flight_owned=missing,
        input_tokens_mean=missing,
        output_tokens_mean=missing,
        residence_s=missing,
        running=missing,
        waiting=missing,
        kv_cache_usage_ratio=missing,
        step_time_ms=missing,
        batch_mean=missing,
        prompt_tokens_per_step=missing,
        kv_tokens_per_step=missing,
        prefix_hit_ratio=missing,
        inter_token_within_ratio=missing,
        ttft_p95_ms=missing,
        inter_token_p95_ms=missing,
        gpu_utilization_percent=missing,
        owned_latency=missing,
        hosted_latency=missing,
        hosted_healthy=dict.fromkeys(labels, missing),
        hosted_rejected_per_s=dict.fromkeys(labels, missing),
        hosted_credential_loaded=dict.fromkeys(labels, missing),
        counters=missing,
        held_at_gateway=missing,
        spill_meters=missing,
        stream_errors_per_s=missing,
        long_prompts=missing,
        owned_in_reach=missing,
    )


def signals_of(key: Key, batch: Batch, target: Target) -> Signals:
    """Return a workload's signals."""
    return _Reader(key, batch, target).signals()


class _Reader:
    """One workload's readings out of a batch."""

    def __init__(self, key: Key, batch: Batch, target: Target) -> None:
        self._key, self._batch, self._target = key, batch, target
        self._gateway_gap = self._gap(COMPONENT_GATEWAY, target.gateways)
        self._engine_gap = self._gap(COMPONENT_ENGINE, target.engines)

    def signals(self) -> Signals:
        window_s = self._batch.window_s
        return Signals(
            window_s=window_s,
            arrivals_per_s=self._requests(lambda labels: not turned_down(labels)),
            spilled_per_s=self._requests(spilled),
            failed_per_s=self._failures(),
            refused_per_s=self._requests(lambda labels: failed(labels) and labels.get("backend") == BACKEND_NONE),
            cancelled_per_s=self._requests(abandoned),
            in_flight_owned=self._at_gateway(queries.IN_FLIGHT),
            input_tokens_mean=self._tokens_per_request(queries.TOKENS_IN),
            output_tokens_mean=self._tokens_per_request(queries.TOKENS_OUT),
            residence_s=self._scaled(self._or_missing(queries.RESIDENCE, self._gateway_gap, "no request on own replicas"), 1e-3),
            running=self._queue(_RUNNING),
            waiting=self._queue(_WAITING),
            kv_cache_usage_ratio=self._at_engine(queries.KV_CACHE),
            step_time_ms=self._scaled(self._at_engine(queries.STEP_TIME), 1000.0),
            batch_mean=self._at_engine(queries.BATCH),
            prompt_tokens_per_step=self._at_engine(queries.PROMPTS),
            kv_tokens_per_step=self._cached_tokens(),
            prefix_hit_ratio=self._at_engine(queries.PREFIX_HITS),
            ttft_p95_ms=self._ttft_p95(),
            inter_token_within_ratio=self._token_gaps(self._within_gap),
            inter_token_p95_ms=self._inter_token_p95(),
            gpu_utilization_percent=self._or_missing(queries.GPU, None, "DCGM exports nothing for these pods", mean=True),
            owned_latency=self._latency(lambda backend: backend == BACKEND_OWNED),
            hosted_latency=self._latency(lambda backend: backend not in (BACKEND_OWNED, BACKEND_NONE)),
            hosted_healthy=self._by_backend(self._healthy),
            hosted_rejected_per_s=self._by_backend(lambda name: self._at_gateway(queries.HOSTED_REJECTED, envoy_cluster_name=name)),
            hosted_credential_loaded=self._by_backend(self._credential),
            counters=self._counters(),
            in_flight_by_pod=self._in_flight_by_pod(),
            closed_per_s=self._at_gateway(queries.CLOSED),
            held_at_gateway=self._at_gateway(queries.HELD),
            spill_meters=self._spill_meters(),
            stream_errors_per_s=self._at_gateway(queries.STREAM_ERRORS),
            long_prompts=self._long_prompts(),
            owned_in_reach=self._healthy(BACKEND_OWNED),
        )

    def _gap(self, component: str, expected: int) -> Missing | None:
        """Return why this component's readings would not be the whole truth; None when all of it is scraped, and lately."""
        scraped = self._batch.rows(queries.UP, self._key)
        if isinstance(scraped, Missing):
            return scraped
        up = sum(value for labels, value in scraped if labels.get("component") == component)
        if up == 0 or up < expected:
            return Missing(reason=Reason.METRICS_MISSING, detail=f"{up:.0f} of {max(expected, 1)} {component} pods scraped")
        ages = self._batch.rows(queries.SCRAPE_AGE, self._key)
        if isinstance(ages, Missing):
            return ages
        age_s = min((value for labels, value in ages if labels.get("component") == component), default=math.inf)
        if age_s > self._batch.window_s:
            return Missing(reason=Reason.METRICS_STALE, detail=f"newest {component} sample is {age_s:.0f} s old")
        return None

    def _rows(self, name: str, gap: Missing | None) -> list[Series] | Missing:
        """Return a query's series; where it has none, or `gap` says that they are not the whole truth, why."""
        rows = self._batch.rows(name, self._key)
        return rows if isinstance(rows, Missing) or gap is None else gap

    def _sample(self, value: T) -> Sample[T]:
        return Sample(value=value, at=self._batch.at)

    def _scaled(self, reading: Reading[float], factor: float) -> Reading[float]:
        return reading if isinstance(reading, Missing) else self._sample(reading.value * factor)

    def _by_backend(self, read: Callable[[str], Reading[T]]) -> dict[str, Reading[T]]:
        """Return a reading of every hosted backend; `read` gets its name in Envoy."""
        return {f"{provider}/{model}": read(hosted_cluster_name(provider, model)) for provider, model in self._target.backends}

    def _at_gateway(self, name: str, **wanted: str) -> Reading[float]:
        """Return a sum at the gateways, over the series with these labels; nothing counted is zero where they are scraped."""
        rows = self._rows(name, self._gateway_gap)
        if isinstance(rows, Missing):
            return rows
        return self._sample(sum(value for labels, value in rows if wanted.items() <= labels.items()))

    def _at_engine(self, name: str) -> Reading[float]:
        return self._or_missing(name, self._engine_gap, "the engine has not reported it")

    def _or_missing(self, name: str, gap: Missing | None, detail: str, *, mean: bool = False) -> Reading[float]:
        """Return the one value there is; what is not reported is not zero."""
        rows = self._rows(name, gap)
        if isinstance(rows, Missing):
            return rows
        if not rows:
            return Missing(reason=Reason.METRICS_MISSING, detail=detail)
        values = [value for _, value in rows]
        return self._sample(sum(values) / len(values) if mean else values[0])

    def _cached_tokens(self) -> Reading[float]:
        """Return what the cache of a replica has during a mean step: a request's share of it, for as many as a step carries."""
        each, batch = self._at_engine(queries.CACHE_EACH), self._at_engine(queries.BATCH)
        if isinstance(each, Missing):
            return each
        if isinstance(batch, Missing):
            return batch
        rows = self._batch.rows(queries.CACHE_SIZE, self._key)
        if isinstance(rows, Missing):
            return rows
        sizes = [size for labels, _ in rows if (size := cache_size(labels)) is not None]
        if not sizes:
            return Missing(reason=Reason.METRICS_MISSING, detail="the engine does not tell the size of its KV cache")
        return self._sample(each.value * batch.value * sum(sizes) / len(sizes))

    def _queue(self, metric: str) -> Reading[float]:
        rows = self._batch.rows(queries.QUEUES, self._key)
        if isinstance(rows, Missing):
            return rows
        if self._target.engines == 0 and not any(labels.get("__name__") == metric for labels, _ in rows):
            return self._sample(0.0)  # no replica serves, so none runs anything: a fact, not a gap
        if self._engine_gap is not None:
            return self._engine_gap
        found = [value for labels, value in rows if labels.get("__name__") == metric]
        return self._sample(sum(found)) if found else Missing(reason=Reason.METRICS_MISSING, detail=f"no {metric}")

    def _in_flight_by_pod(self) -> Mapping[str, float]:
        """Return running plus waiting of each engine pod that tells both; one that is not scraped has no part in it."""
        rows = self._batch.rows(queries.QUEUES, self._key)
        if isinstance(rows, Missing):
            return {}
        told: defaultdict[str, dict[str, float]] = defaultdict(dict)
        for labels, value in rows:
            told[labels.get("pod", "")][labels.get("__name__", "")] = value
        return {pod: sum(values.values()) for pod, values in told.items() if pod and values.keys() >= _QUEUES}

    def _requests(self, wanted: Callable[[Labels], bool]) -> Reading[float]:
        rows = self._rows(queries.REQUESTS, self._gateway_gap)
        if isinstance(rows, Missing):
            return rows
        return self._sample(sum(value for labels, value in rows if wanted(labels)))

    def _failures(self) -> Reading[float]:
        """Return refusals and failures; a stream that was opened with 200 and then brought an error or broke off is one."""
        refused, broken = self._requests(failed), self._at_gateway(queries.STREAM_ERRORS)
        if isinstance(refused, Missing):
            return refused
        return broken if isinstance(broken, Missing) else self._sample(refused.value + broken.value)

    def _tokens_per_request(self, name: str) -> Reading[float]:
        tokens = self._at_gateway(name)
        answered = self._requests(lambda labels: labels.get("code", "").startswith("2"))
        unmetered = self._at_gateway(queries.UNMETERED)
        if isinstance(tokens, Missing):
            return tokens
        if isinstance(answered, Missing):
            return answered
        if isinstance(unmetered, Missing):
            return unmetered
        metered = answered.value - unmetered.value
        if metered <= 0 or tokens.value <= 0:
            return Missing(reason=Reason.METRICS_MISSING, detail="no request with token counts in the window")
        return self._sample(tokens.value / metered)

    def _long_prompts(self) -> Reading[LongPromptTraffic]:
        rows = self._rows(queries.LONG_PROMPTS, self._gateway_gap)
        if isinstance(rows, Missing):
            return rows
        told = {labels.get("what"): value for labels, value in rows}
        return self._sample(
            LongPromptTraffic(
                per_s=told.get("requests", 0.0),
                input_tokens_per_s=told.get("input_tokens", 0.0),
                output_tokens_per_s=told.get("output_tokens", 0.0),
            )
        )

    def _histogram(self, name: str, wanted: Callable[[str], bool], gap: Missing | None) -> Buckets | Missing:
        rows = self._rows(name, gap)
        if isinstance(rows, Missing):
            return rows
        parts: defaultdict[str, dict[float, float]] = defaultdict(dict)
        for labels, value in rows:
            edge = edge_of(labels)
            if edge is not None and wanted(labels.get("backend", "")):
                parts[labels.get("backend", "")][edge] = value
        return added(list(parts.values()))

    def _within_gap(self, gaps: Buckets) -> float | None:
        limit = self._target.inter_token_ms
        return None if limit is None else share_within(gaps, limit / 1000, exact=False)

    def _token_gaps(self, measure: Callable[[Buckets], float | None]) -> Reading[float]:
        gaps = self._histogram(queries.GAPS, lambda _: True, self._engine_gap)
        if isinstance(gaps, Missing):
            return gaps
        found = measure(gaps)
        return Missing(reason=Reason.METRICS_MISSING, detail="no tokens in the window") if found is None else self._sample(found)

    def _inter_token_p95(self) -> Reading[float]:
        """Return it for all streams at the gateway; without one, for own replicas' requests as these tell."""
        streams = self._histogram(queries.PACE, lambda backend: backend != BACKEND_NONE, self._gateway_gap)
        found_us = None if isinstance(streams, Missing) else quantile(streams, 0.95)
        if found_us is not None:
            return self._sample(found_us / 1000)
        return self._scaled(self._token_gaps(lambda gaps: quantile(gaps, 0.95)), 1000.0)

    def _ttft_p95(self) -> Reading[float]:
        first = self._histogram(queries.FIRST_BODY, lambda backend: backend != BACKEND_NONE, self._gateway_gap)
        if isinstance(first, Missing):
            return first
        found = quantile(first, 0.95)
        return Missing(reason=Reason.METRICS_MISSING, detail="no stream in the window") if found is None else self._sample(found)

    def _latency(self, side: Callable[[str], bool]) -> Reading[SideLatency]:
        first = self._histogram(queries.FIRST_BODY, side, self._gateway_gap)
        whole = self._histogram(queries.DURATION, side, self._gateway_gap)
        gaps = self._histogram(queries.PACE, side, self._gateway_gap)
        if isinstance(first, Missing):
            return first
        if isinstance(whole, Missing):
            return whole
        if isinstance(gaps, Missing):
            return gaps
        target, p95_us = self._target, quantile(gaps, 0.95)
        return self._sample(
            SideLatency(
                requests=total(first) * self._batch.window_s,
                within_ttft=None if target.ttft_ms is None else share_within(first, float(target.ttft_ms), exact=True),
                within_end_to_end=None if target.end_to_end_ms is None else share_within(whole, float(target.end_to_end_ms), exact=True),
                ttft_p95_ms=quantile(first, 0.95),
                paced=total(gaps) * self._batch.window_s,
                within_inter_token=None
                if target.inter_token_ms is None
                else share_within(gaps, 1000.0 * target.inter_token_ms, exact=True),
                inter_token_p95_ms=None if p95_us is None else p95_us / 1000,
            )
        )

    def _healthy(self, name: str) -> Reading[bool]:
        rows = self._rows(queries.HEALTHY, self._gateway_gap)
        if isinstance(rows, Missing):
            return rows
        found = [value for labels, value in rows if labels.get("envoy_cluster_name") == name]
        return self._sample(max(found) > 0) if found else Missing(reason=Reason.METRICS_MISSING, detail=f"no health of {name}")

    def _credential(self, name: str) -> Reading[bool]:
        """Return whether the key reached Envoy, as far as requests have shown: one that went without it tells, one with it does too."""
        injected = self._at_gateway(queries.INJECTED, envoy_http_conn_manager_prefix=name)
        failed = self._at_gateway(queries.NOT_INJECTED, envoy_http_conn_manager_prefix=name)
        if isinstance(injected, Missing):
            return injected
        if isinstance(failed, Missing):
            return failed
        if failed.value > 0:
            return self._sample(value=False)
        if injected.value > 0:
            return self._sample(value=True)
        return Missing(reason=Reason.METRICS_MISSING, detail=f"no request went to {name} in the window")

    def _counters(self) -> Reading[tuple[TokenCounters, ...]]:
        rows = self._rows(queries.COUNTERS, self._gateway_gap)
        if isinstance(rows, Missing):
            return rows
        found: defaultdict[tuple[str, str], defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
        for labels, value in rows:
            field_name = _COUNTER_FIELDS.get(labels.get("__name__", ""))
            if field_name is not None and labels.get("backend") not in (None, BACKEND_NONE):
                found[labels.get("pod", ""), labels["backend"]][field_name] += value
        counters = [
            TokenCounters(pod=pod, backend=backend, **{name: values[name] for name in set(_COUNTER_FIELDS.values())})
            for (pod, backend), values in sorted(found.items())
        ]
        return self._sample(tuple(counters))

    def _spill_meters(self) -> Reading[tuple[SpillMeter, ...]]:
        rows = self._rows(queries.SPILL_METERS, self._gateway_gap)
        if isinstance(rows, Missing):
            return rows
        found: defaultdict[tuple[str, int, str], dict[str, float]] = defaultdict(dict)
        for labels, value in rows:
            worker = labels.get("worker", "")
            if worker.isdecimal() and len(worker) <= DIGITS:
                found[labels.get("pod", ""), int(worker), labels.get("backend", "")][labels.get("__name__", "")] = value
        meters = [
            SpillMeter(
                pod=pod,
                worker=worker,
                backend=backend,
                micro_usd=values.get("envoy_spillway_charged_micro_usd", 0.0),
                requests=values.get("envoy_spillway_charged_requests", 0.0),
                refused_micro_usd=values.get("envoy_spillway_refused_micro_usd", 0.0),
                refused_requests=values.get("envoy_spillway_refused_requests", 0.0),
            )
            for (pod, worker, backend), values in sorted(found.items())
        ]
        return self._sample(tuple(meters))
