"""What plans say of a first token at a load, beside one simulated replica that really forms batches and reads prompts in pieces.

The simulated engine (spillway/simulate/kernel.py) has the same step times as the plan, so this compares the queue and nothing else:
arrivals are Poisson, prompts lognormal up to LONGEST tokens, answers lognormal where their p95 is stated and else all alike.
"""

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from spillway.api.dedicated import Engine
from spillway.api.model import Model
from spillway.api.traffic import Slo
from spillway.cli.questions import default_classes
from spillway.plan.model.models import known_model
from spillway.plan.replica.memory import kv_tokens, memory, step_tokens
from spillway.plan.replica.serving import REQUEST_OVERHEAD_MS, Service, largest_batch, sustained
from spillway.plan.replica.sizing import batch_in_memory, places_in_memory, service_of
from spillway.plan.replica.speed import step_model
from spillway.plan.traffic.lengths import Lengths, length_spread
from spillway.simulate.fleet import Fleet
from spillway.simulate.layout import OWNED
from spillway.simulate.setting import EngineModel, Rules
from spillway.simulate.trace import Floats, Trace, Whole

SLO = Slo(inter_token_latency_ms=60, time_to_first_token_ms=3000)
LONGEST = 32_768
REQUESTS = 60_000
SETTLED = 0.1  # of the requests come before those that count
SHARES = (0.5, 0.8, 1.0)  # of the planned rate
PERCENTS = (95.0, 99.0)
MEDIAN_BAR, WORST_BAR = 15.0, 40.0  # percent, of either


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What one replica is asked to serve."""

    model: str
    accelerator_class: str  # of the chart
    tensor_parallel_size: int
    lengths: Lengths

    @property
    def label(self) -> str:
        """What it is called in the table."""
        prompt, answer = (f"{mean:.0f}" + ("" if p95 in {None, mean} else f" ({p95:.0f})") for mean, p95 in _means(self.lengths))
        machine = f"{self.tensor_parallel_size} x {self.accelerator_class.removeprefix('nvidia-')}"
        return f"{self.model.partition('/')[2]}, {machine}, {prompt} in, {answer} out"


def _of(model: str, accelerator_class: str, parallel: int, prompt: tuple[float, float], answer: tuple[float, float | None]) -> Setting:
    lengths = Lengths(input_mean=prompt[0], input_p95=prompt[1], output_mean=answer[0], output_p95=answer[1])
    return Setting(model=model, accelerator_class=accelerator_class, tensor_parallel_size=parallel, lengths=lengths)


SETTINGS = (
    _of("meta-llama/Llama-3.1-8B-Instruct", "nvidia-h200", 1, (1000, 3000), (250, None)),
    _of("meta-llama/Llama-3.1-8B-Instruct", "nvidia-l40s", 1, (1000, 3000), (250, None)),
    _of("meta-llama/Llama-3.1-8B-Instruct", "nvidia-l40s", 1, (200, 400), (400, None)),
    _of("meta-llama/Llama-3.1-8B-Instruct", "nvidia-h100-80gb", 1, (4000, 12_000), (150, None)),
    _of("meta-llama/Llama-3.1-8B-Instruct", "nvidia-h100-80gb", 1, (300, 900), (300, 900)),
    _of("Qwen/Qwen3-14B", "nvidia-h200", 1, (1000, 3000), (250, None)),
    _of("Qwen/Qwen3-30B-A3B", "nvidia-h200", 1, (1000, 3000), (250, None)),
    _of("Qwen/Qwen3-32B", "nvidia-h100-80gb", 2, (1000, 1000), (250, None)),
    _of("Qwen/Qwen3-32B", "nvidia-a100-80gb", 4, (2000, 6000), (100, 300)),
    _of("google/gemma-3-12b-it", "nvidia-a100-80gb", 1, (500, 1000), (200, None)),
    _of("meta-llama/Llama-3.3-70B-Instruct", "nvidia-h100-80gb", 4, (1500, 5000), (400, 1200)),
    _of("openai/gpt-oss-120b", "nvidia-h100-80gb", 1, (2000, 8000), (600, None)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One figure, told by the plan and seen in the simulation."""

    told: float
    seen: float

    @property
    def error_percent(self) -> float:
        """How far off the plan is."""
        return 100 * (self.told / self.seen - 1)

    def __str__(self) -> str:
        """Return what was seen, and the plan's error."""
        return f"{self.seen:.0f} ({self.error_percent:+.0f} %)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One replica at one load."""

    setting: Setting
    share: float
    requests_per_s: float
    running: Seen
    first_ms: Sequence[Seen]  # by PERCENTS
    pace_ms: Seen  # at 99 %


def rows() -> Iterator[Row]:
    """Yield every setting at every load."""
    for setting in SETTINGS:
        for share in SHARES:
            yield row(setting, share=share, requests=REQUESTS)


def row(setting: Setting, *, share: float, requests: int) -> Row:
    """Return what is told and seen of a replica at a share of its planned rate, over so many requests."""
    service, bound, engine = _replica(setting)
    rate = share * sustained(service, SLO, bound=bound).requests_per_s
    return _seen(setting, service, engine, _traffic(setting.lengths, rate, requests), share=share, rate=rate)


def table(found: Sequence[Row]) -> list[str]:
    """Return the README's table: what the simulation saw, and in brackets what the plan is off."""
    heads = " | ".join(f"first token ms, p{percent:.0f}" for percent in PERCENTS)
    lines = [f"| one simulated replica | requests/s, of the plan's | running | {heads} | pace ms, p99 |", "|---|---|---|---|---|---|"]
    for row in found:
        firsts = " | ".join(str(each) for each in row.first_ms)
        load = f"{row.requests_per_s:.1f}, {100 * row.share:.0f} %"
        lines.append(f"| {row.setting.label} | {load} | {row.running} | {firsts} | {row.pace_ms} |")
    columns = [[row.running for row in found], *_firsts(found), [row.pace_ms for row in found]]
    return [*lines, f"| **median error, worst** | | {' | '.join(_summary(each) for each in columns)} |"]


def missed(found: Sequence[Row]) -> list[str]:
    """Return which bars the first token's percentiles miss."""
    problems = []
    for percent, column in zip(PERCENTS, _firsts(found), strict=True):
        errors = [abs(each.error_percent) for each in column]
        if statistics.median(errors) > MEDIAN_BAR or max(errors) > WORST_BAR:
            problems.append(
                f"first token at p{percent:.0f}: median {statistics.median(errors):.0f} %, worst {max(errors):.0f} %; "
                f"bars {MEDIAN_BAR:.0f} and {WORST_BAR:.0f}"
            )
    return problems


def _firsts(found: Sequence[Row]) -> list[list[Seen]]:
    return [[row.first_ms[index] for row in found] for index in range(len(PERCENTS))]


def _summary(column: Sequence[Seen]) -> str:
    errors = [abs(each.error_percent) for each in column]
    return f"**{statistics.median(errors):.0f} %, {max(errors):.0f} %**"


def _means(lengths: Lengths) -> tuple[tuple[float, float | None], ...]:
    return (lengths.input_mean, lengths.input_p95), (lengths.output_mean, lengths.output_p95)


def _replica(setting: Setting) -> tuple[Service, int, EngineModel]:
    """Return a replica as planned, its largest batch, and the same as the simulation has it. Raises LookupError for an unknown model."""
    known = known_model(Model(id=setting.model))
    if known is None:
        raise LookupError(f"the catalogue of models lacks {setting.model}")
    shape, accelerator, parallel, asked = (
        known.architecture,
        default_classes()[setting.accelerator_class],
        setting.tensor_parallel_size,
        Engine(),
    )
    found = memory(shape, quantization=known.quantization, accelerator=accelerator, tensor_parallel_size=parallel, engine=asked)
    step = step_model(shape, quantization=known.quantization, accelerator=accelerator, tensor_parallel_size=parallel).step
    tokens = step_tokens(asked, accelerator)
    service = service_of(
        shape,
        step,
        lengths=setting.lengths,
        slo=SLO,
        step_tokens=tokens,
        max_context_tokens=LONGEST,
        cache_places=places_in_memory(shape, found, parallel, lengths=setting.lengths, engine=asked),
    )
    bound = largest_batch(service, SLO, limit=batch_in_memory(shape, found, parallel, lengths=setting.lengths, engine=asked))
    # Sliding windows: the kernel reads whole contexts, so that what a thousand tokens of cache cost is less instead.
    attended = service.attended_tokens / setting.lengths.context_mean
    engine = EngineModel(
        step=replace(step, kv_ms=step.kv_ms * attended),
        kv_tokens=kv_tokens(shape, found, parallel, context_tokens=round(setting.lengths.context_mean), value_bytes=2),
        max_num_seqs=bound,
        step_tokens=tokens,
        request_overhead_ms=REQUEST_OVERHEAD_MS,
    )
    return service, bound, engine


def _seen(setting: Setting, service: Service, engine: EngineModel, traffic: Trace, *, share: float, rate: float) -> Row:
    fleet = Fleet(
        trace=traffic,
        engine=engine,
        rules=Rules(spills=False, slots_per_replica=traffic.requests, gateways=1),
        hosted=None,
        prices=None,
        seed=0,
    )
    fleet.begin_with(1)
    fleet.advance(math.inf)
    requests, totals = fleet.world.requests, fleet.world.totals[0]
    counted = (np.arange(traffic.requests) >= SETTLED * traffic.requests) & (requests["side"] == OWNED)
    first = requests["ttft_ms"][counted] + engine.request_overhead_ms
    gaps = (requests["e2e_ms"] - requests["ttft_ms"])[counted] / np.maximum(1, requests["output"][counted] - 1)
    bound, batch = engine.max_num_seqs, batch_at(service, rate, engine.max_num_seqs)
    return Row(
        setting=setting,
        share=share,
        requests_per_s=rate,
        running=Seen(told=batch, seen=float(totals["running_s"] / totals["serving_s"])),
        first_ms=[
            Seen(
                told=replace(service, attainment_percent=percent).promise(mean_batch=batch, bound=bound).ttft_ms,
                seen=float(np.percentile(first, percent)),
            )
            for percent in PERCENTS
        ],
        pace_ms=Seen(told=service.pace_ms(mean_batch=batch, bound=bound), seen=float(np.percentile(gaps, 99))),
    )


def batch_at(service: Service, requests_per_s: float, bound: float) -> float:
    """Return how many run on average at a rate (Little); the bound where it is too much."""
    low, high = 0.0, float(bound)
    while high - low > 1e-4 * bound:
        middle = (low + high) / 2
        low, high = (middle, high) if service.requests_per_s(middle) < requests_per_s else (low, middle)
    return high


def _traffic(lengths: Lengths, rate: float, requests: int) -> Trace:
    chance = np.random.default_rng(1)
    arrival_s: Floats = np.cumsum(chance.exponential(1 / rate, requests))

    def drawn(mean: float, p95: float) -> Whole:
        sigma = length_spread(mean, p95)
        return np.maximum(1, np.rint(chance.lognormal(math.log(mean) - sigma * sigma / 2, sigma, requests))).astype(np.int64)

    return Trace(
        name="poisson",
        arrival_s=arrival_s,
        input_tokens=np.minimum(LONGEST, drawn(lengths.input_mean, lengths.input_p95)),
        output_tokens=drawn(lengths.output_mean, lengths.output_p95 or lengths.output_mean),
        duration_s=float(arrival_s[-1]),
    )
