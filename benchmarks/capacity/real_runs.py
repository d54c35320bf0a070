"""What a real vLLM did on a real GPU (on_gpu.json, made by on_gpu.py), beside what the planner's own code predicts of it."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.capacity.first_tokens import batch_at
from benchmarks.capacity.on_gpu import LONGEST_PROMPT, MAX_NUM_SEQS, OUTPUT_TOKENS, PROMPT_MEAN, PROMPT_P95, STEP_TOKENS
from spillway.api.dedicated import Engine
from spillway.api.model import Model, Quantization
from spillway.cli.questions import default_classes
from spillway.plan.model.models import known_model
from spillway.plan.replica.memory import kv_tokens, memory
from spillway.plan.replica.roofline import StepModel
from spillway.plan.replica.serving import REQUEST_OVERHEAD_MS, STEP_OVERHEAD_MS, Service
from spillway.plan.replica.sizing import service_of
from spillway.plan.replica.speed import step_model
from spillway.plan.traffic.lengths import Lengths

RUNS = Path(__file__).parent / "on_gpu.json"
H200 = default_classes()["nvidia-h200"]  # the chart's
ENGINE = Engine()  # 0.9 of the memory, 256 sequences
CONTEXT_TOKENS = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One figure, predicted and measured, and what it is of."""

    of: str
    told: float
    seen: float

    @property
    def error(self) -> float:
        """The relative error of the prediction."""
        return self.told / self.seen - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """An open loop at a rate: what was asked of it, and the figures that follow."""

    requests_per_s: float
    share: float  # of the rate that was planned for a chat within 60 ms a token and 3 s to the first
    figures: Sequence[Pair]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One model's run."""

    model: str
    calibrated: bool
    weights: Pair  # GiB
    kv: Pair  # tokens
    prompts: Sequence[Pair]  # milliseconds to the first token, without HTTP
    steps: Sequence[Pair]  # milliseconds
    loads: Sequence[Load]


def machine(path: Path = RUNS) -> dict[str, Any]:
    """Return what was measured on, and with which versions."""
    found: dict[str, Any] = json.loads(path.read_text())["machine"]
    return found


def compared(path: Path = RUNS) -> list[Compared]:
    """Return every run beside its prediction. Raises LookupError where the catalogue lacks its model."""
    return [_compared(run) for run in json.loads(path.read_text())["runs"]]


def _compared(run: Mapping[str, Any]) -> Compared:
    known = known_model(Model(id=run["model"]))
    if known is None:
        raise LookupError(f"the catalogue of models lacks {run['model']}, which {RUNS.name} has")
    shape, quantization = known.architecture, Quantization(run["quantization"]) if run["quantization"] else None
    taken = memory(shape, quantization=quantization, accelerator=H200, tensor_parallel_size=1, engine=ENGINE)
    speed = step_model(shape, quantization=quantization, accelerator=H200, tensor_parallel_size=1)

    def service(prompt_tokens: float, step: StepModel = speed.step) -> Service:
        lengths = Lengths(input_mean=prompt_tokens, input_p95=PROMPT_P95 / PROMPT_MEAN * prompt_tokens, output_mean=OUTPUT_TOKENS)
        return service_of(shape, step, lengths=lengths, slo=None, step_tokens=STEP_TOKENS, max_context_tokens=LONGEST_PROMPT)

    return Compared(
        model=f"{run['model']}{', fp8' if quantization else ''}",
        calibrated=speed.calibrated,
        weights=Pair(of="weights", told=taken.weights_gib, seen=run["model_loading_gib"]),
        kv=Pair(of="KV tokens", told=kv_tokens(shape, taken, 1, context_tokens=CONTEXT_TOKENS, value_bytes=2), seen=run["kv_tokens"]),
        prompts=[
            Pair(
                of=f"{each['prompt_tokens']}",
                told=service(each["prompt_tokens"]).first_token_ms(1, each["prompt_tokens"]) - REQUEST_OVERHEAD_MS,
                seen=each["ttft_ms"],
            )
            for each in run["prompts"]
        ],
        steps=[
            Pair(
                of=f"{each['sequences']} x {each['prompt_tokens']}",
                told=STEP_OVERHEAD_MS
                + speed.step.step_ms(sequences=each["sequences"], kv_tokens=each["sequences"] * each["context_tokens"]),
                seen=each["step_ms"],
            )
            for each in run["steps"]
        ],
        loads=[
            _load(
                service(each["mean_prompt_tokens"]),
                service(each["mean_prompt_tokens"], own_step(run)),
                each,
                run["planned_requests_per_s"],
            )
            for each in run["loads"]
        ],
    )


def own_step(run: Mapping[str, Any]) -> StepModel:
    """Return the step that this GPU made of a model, fitted on the run's steps and its prompts of more than a thousand tokens.

    It tells the queue's error from the step's. A mixture of experts is taken for dense here: its steps at these batches lie on a line.
    """
    rows = [[1.0, each["sequences"], each["sequences"] * each["context_tokens"] / 1e3] for each in run["steps"]]
    taken = [each["step_ms"] - STEP_OVERHEAD_MS for each in run["steps"]]
    (base, sequence, kv), *_ = np.linalg.lstsq(np.array(rows), np.array(taken), rcond=None)
    long = [each for each in run["prompts"] if each["prompt_tokens"] > PROMPT_MEAN]
    read = [[each["prompt_tokens"], each["prompt_tokens"] ** 2 / 1e6] for each in long]
    read_ms = [each["ttft_ms"] - run["steps"][0]["step_ms"] for each in long]
    (prompt, square), *_ = np.linalg.lstsq(np.array(read), np.array(read_ms), rcond=None)
    return StepModel(
        base_ms=float(base),
        experts_ms=0.0,
        expert_share=1.0,
        sequence_ms=float(sequence),
        kv_ms=float(kv),
        prompt_ms=float(prompt),
        square_ms=float(square),
    )


def _load(service: Service, own: Service, seen: Mapping[str, float], planned_requests_per_s: float) -> Load:
    """Return what the planner says of a load that it is told to carry, by the batch that keeps that rate (Little)."""
    batch = batch_at(service, seen["asked_requests_per_s"], MAX_NUM_SEQS)
    promise = service.promise(mean_batch=batch, bound=MAX_NUM_SEQS)
    own_promise = own.promise(mean_batch=batch_at(own, seen["asked_requests_per_s"], MAX_NUM_SEQS), bound=MAX_NUM_SEQS)
    return Load(
        requests_per_s=seen["asked_requests_per_s"],
        share=seen["asked_requests_per_s"] / planned_requests_per_s,
        figures=[
            Pair(of="running", told=batch, seen=seen["mean_running"]),
            Pair(of="pace ms, p50", told=service.step_ms(batch), seen=seen["pace_p50_ms"]),
            Pair(of="pace ms, p99", told=promise.inter_token_ms, seen=seen["pace_p99_ms"]),
            Pair(of="first token ms, p99", told=promise.ttft_ms - REQUEST_OVERHEAD_MS, seen=seen["ttft_p99_ms"]),
            Pair(of="with its own steps", told=own_promise.ttft_ms - REQUEST_OVERHEAD_MS, seen=seen["ttft_p99_ms"]),
        ],
    )


def tables(found: Sequence[Compared], on: Mapping[str, Any]) -> list[str]:
    """Return the tables of the README: each cell the measurement, and in brackets what the prediction is off by."""
    title = f"vLLM {on['vllm']} on 1 x {on['accelerator']}, {on['date']}"
    names = [each.of for each in found[0].steps]
    lines = [f"| {title} | rows | weights GiB | KV tokens | prompt of {' | of '.join(each.of for each in found[0].prompts)} |"]
    lines.append("|---|---|---|---|" + "---|" * len(found[0].prompts))
    for each in found:
        basis = "calibrated" if each.calibrated else "estimated"
        cells = [_cell(each.weights, ".1f"), _cell(each.kv, ",.0f"), *(_cell(pair, ".0f") for pair in each.prompts)]
        lines.append(f"| {each.model} | {basis} | {' | '.join(cells)} |")
    lines.append(f"| **median error** | | {' | '.join(f'**{_median(of):.1f} %**' for of in _columns(found))} |")
    lines += ["", f"| step, ms: sequences x tokens | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
    stepped = [each for each in found if each.steps]
    lines += [f"| {each.model} | {' | '.join(_cell(pair, '.1f') for pair in each.steps)} |" for each in stepped]
    middle = [_median([each.steps[index] for each in stepped]) for index in range(len(names))]
    lines.append(f"| **median error** | {' | '.join(f'**{each:.0f} %**' for each in middle)} |")
    bare = [_median([_bare(each.steps[index]) for each in stepped]) for index in range(len(names))]
    lines.append(f"| median error without the {STEP_OVERHEAD_MS} ms | {' | '.join(f'{each:.0f} %' for each in bare)} |")
    loaded = [(each.model, load) for each in found for load in each.loads]
    headings = [pair.of for pair in loaded[0][1].figures]
    lines += ["", f"| open loop | requests/s, of the plan's | {' | '.join(headings)} |", "|---|---|" + "---|" * len(headings)]
    for model, load in loaded:
        lines.append(
            f"| {model} | {load.requests_per_s:.1f}, {100 * load.share:.0f} % | {' | '.join(_cell(pair, '.0f') for pair in load.figures)} |"
        )
    return lines


def _bare(pair: Pair) -> Pair:
    """Return a step's prediction without what plans add for scheduling."""
    return replace(pair, told=pair.told - STEP_OVERHEAD_MS)


def _columns(found: Sequence[Compared]) -> list[list[Pair]]:
    prompts = [[each.prompts[index] for each in found] for index in range(len(found[0].prompts))]
    return [[each.weights for each in found], [each.kv for each in found], *prompts]


def _cell(pair: Pair, form: str) -> str:
    return f"{pair.seen:{form}} ({100 * pair.error:+.0f} %)"


def _median(pairs: Sequence[Pair]) -> float:
    return 100 * statistics.median(abs(each.error) for each in pairs)
