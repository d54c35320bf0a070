"""The engine's metrics, in Prometheus' text format and under vLLM's names."""

import bisect
import collections
import time
from typing import TYPE_CHECKING

from . import families

if TYPE_CHECKING:
    from .scheduler import Sequence

Series = tuple[tuple[str, str], ...]


class Metrics:
    """Counters, gauges and histograms; every series exists from the start, at zero."""

    def __init__(self, model: str, *, context: int, kv_tokens: int) -> None:
        self._model, self._kv_tokens = model, kv_tokens
        self._values: dict[str, dict[Series, float]] = collections.defaultdict(dict)
        self._edges = families.histograms(context)
        self._buckets = {name: [0] * (len(edges) + 1) for name, edges in self._edges.items()}
        self._sums = dict.fromkeys(self._edges, 0.0)
        self.http: collections.Counter[tuple[str, str, str]] = collections.Counter()
        for name, series in (families.GAUGES | families.COUNTERS).items():
            for labels in series:
                self._values[name][tuple(labels.items())] = 0.0
        self.set("engine_sleep_state", 1, sleep_state="awake")

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        self._values[name][tuple(labels.items())] = value

    def add(self, name: str, value: float, **labels: str) -> None:
        """Add to a counter."""
        self._values[name][tuple(labels.items())] += value

    def observe(self, name: str, value: float) -> None:
        """Count a value in a histogram."""
        self._buckets[name][bisect.bisect_left(self._edges[name], value)] += 1
        self._sums[name] += value

    def finished(self, sequence: "Sequence") -> None:
        """Count a request that ended, however it did."""
        now = time.monotonic()
        self.add("request_success_total", 1, finished_reason=sequence.finish or "error")
        self.observe("e2e_request_latency_seconds", now - sequence.arrived)
        self.observe("request_prompt_tokens", sequence.prompt_tokens)
        self.observe("request_generation_tokens", sequence.generated)
        self.observe("request_max_num_generation_tokens", sequence.generated)
        self.observe("request_params_max_tokens", sequence.max_tokens)
        self.observe("request_params_n", 1)
        self.observe("request_num_preemptions", 0)
        self.observe("request_prefill_kv_computed_tokens", sequence.prefilled)
        if sequence.first_token:
            decode = sequence.last_token - sequence.first_token
            self.observe("request_queue_time_seconds", sequence.started - sequence.arrived)
            self.observe("request_prefill_time_seconds", sequence.first_token - sequence.started)
            self.observe("request_decode_time_seconds", decode)
            self.observe("request_inference_time_seconds", sequence.last_token - sequence.started)
            self.observe("request_time_per_output_token_seconds", decode / max(1, sequence.generated - 1))

    def text(self) -> str:
        """Return the exposition."""
        lines: list[str] = []
        for name, series in self._values.items():
            lines.append(f"# TYPE vllm:{name} {'counter' if name in families.COUNTERS else 'gauge'}")
            lines += [f"vllm:{name}{self._labels(name, labels)} {float(value)}" for labels, value in series.items()]
        for name, edges in self._edges.items():
            lines.append(f"# TYPE vllm:{name} histogram")
            count = 0
            for edge, in_bucket in zip([*map(float, edges), "+Inf"], self._buckets[name], strict=True):
                count += in_bucket
                lines.append(f"vllm:{name}_bucket{self._labels(name, (('le', str(edge)),))} {float(count)}")
            lines.append(f"vllm:{name}_count{self._labels(name, ())} {float(count)}")
            lines.append(f"vllm:{name}_sum{self._labels(name, ())} {self._sums[name]}")
        lines.append("# TYPE vllm:cache_config_info gauge")
        cache = (("block_size", "128"), ("enable_prefix_caching", "True"), ("kv_cache_size_tokens", str(self._kv_tokens)))
        blocks = ("num_gpu_blocks", str(self._kv_tokens // 128))
        lines.append(f"vllm:cache_config_info{self._labels('cache_config_info', (*cache, blocks), model=False)} 1.0")
        lines.append("# TYPE http_requests_total counter")
        for (handler, method, status), times in self.http.items():
            lines.append(f'http_requests_total{{handler="{handler}",method="{method}",status="{status}"}} {float(times)}')
        return "\n".join(lines) + "\n"

    def _labels(self, name: str, labels: Series, *, model: bool = True) -> str:
        pairs = dict(labels) | ({"model_name": self._model} if model else {})
        if name not in families.WITHOUT_ENGINE:
            pairs["engine"] = "0"
        return "{" + ",".join(f'{key}="{value}"' for key, value in sorted(pairs.items())) + "}"
