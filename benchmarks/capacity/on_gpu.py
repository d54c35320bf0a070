"""Measure with a real vLLM on a real GPU what `spillway plan` predicts of one accelerator.

    python benchmarks/capacity/on_gpu.py OUT MODEL... [--rate MODEL=REQUESTS_PER_S] [--seconds 600]

Needs what this project's tests never have: an NVIDIA GPU with its driver, and a vLLM that imports there. It needs nothing else of this
checkout and downloads nothing: weights have the published shapes and random values (vLLM's load format "dummy"), prompts are random token
ids, and tokens are sampled at temperature 1, so that sequences differ and a mixture of experts spreads them over its experts.

Each model is one engine with the settings that a replica gets by default (memory utilisation 0.9, 256 sequences, 8192 tokens a step, CUDA
graphs, torch.compile), asked in its own process as vLLM's server asks it, without HTTP. What is measured goes to OUT/MODEL.json as it
comes: memory and KV tokens, the time of a step at several batches, of prompts in an empty engine, and with --rate an open loop of Poisson
arrivals (prompts lognormal with mean 1000 and p95 3000, 250 tokens out) at 60 and at 100 % of that rate. OUT/MODEL.log is the engine's log.
"""

import argparse
import asyncio
import contextlib
import importlib
import json
import math
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

UTILIZATION = 0.9
MAX_NUM_SEQS = 256
STEP_TOKENS = 8192
MAX_CONTEXT_TOKENS = 10_240
CAPTURED = [1, 2, 4, *range(8, 136, 8), *range(144, 257, 16)]  # vLLM's own list thinned out from 128 on
STEPS = ((1, 2048), (8, 2048), (32, 2048), (64, 2048), (128, 2048), (64, 512), (128, 512))  # (sequences, tokens of each)
PROMPTS = (1000, 4000, 8000)
REPEATS = 7
MEASURED_STEPS = 48
LOADS = (0.6, 1.0)
LOAD_S, SETTLED_S = 25.0, 8.0
OUTPUT_TOKENS = 250
PROMPT_MEAN, PROMPT_P95 = 1000, 3000
LONGEST_PROMPT = 8000  # tokens; what the lognormal makes longer is cut
ENGINE_FAILED = 3

QWEN = {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "rope_theta": 1_000_000, "rms_norm_eps": 1e-6, "vocab_size": 151_936,
        "max_position_embeddings": 40_960, "head_dim": 128, "num_key_value_heads": 8, "attention_bias": False}  # fmt: skip
LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "rope_theta": 500_000.0, "rms_norm_eps": 1e-5, "vocab_size": 128_256,
         "max_position_embeddings": 131_072, "head_dim": 128, "num_key_value_heads": 8, "attention_bias": False}  # fmt: skip
BLOCK_FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "e4m3", "weight_block_size": [128, 128]}
SHAPES: dict[str, dict[str, Any]] = {
    "llama-3.1-8b": LLAMA | {"hidden_size": 4096, "intermediate_size": 14_336, "num_hidden_layers": 32, "num_attention_heads": 32},
    "qwen3-8b": QWEN | {"hidden_size": 4096, "intermediate_size": 12_288, "num_hidden_layers": 36, "num_attention_heads": 32},
    "qwen3-14b": QWEN | {"hidden_size": 5120, "intermediate_size": 17_408, "num_hidden_layers": 40, "num_attention_heads": 40},
    "qwen3-32b-fp8": QWEN
    | {
        "hidden_size": 5120,
        "intermediate_size": 25_600,
        "num_hidden_layers": 64,
        "num_attention_heads": 64,
        "quantization_config": BLOCK_FP8,
    },
    "qwen3-30b-a3b": QWEN
    | {
        "model_type": "qwen3_moe",
        "architectures": ["Qwen3MoeForCausalLM"],
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "num_hidden_layers": 48,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 768,
        "norm_topk_prob": True,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
    },
}
COMMON = {"torch_dtype": "bfloat16", "hidden_act": "silu", "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2}

LOGGED = {
    "model_loading_gib": r"Model loading took ([\d.]+) ?GiB",
    "kv_cache_gib": r"Available KV cache memory: ([\d.]+) GiB",
    "kv_tokens": r"GPU KV cache size: ([\d,]+) tokens",
    "graphs_gib": r"Graph capturing finished in [\d.]+ secs, took ([\d.]+) GiB",
    "compile_s": r"torch\.compile (?:took|takes) ([\d.]+) s",
    "attention": r"Using (\S+) attention backend",
}


@dataclass(slots=True)
class Stream:
    """One answer: when it was asked for, and when how many tokens came."""

    asked_s: float
    stamps: list[tuple[float, int]] = field(default_factory=list)

    @property
    def first_s(self) -> float:
        """When the first token came."""
        return self.stamps[0][0]

    @property
    def last_s(self) -> float:
        """When the last one came."""
        return self.stamps[-1][0]

    @property
    def tokens(self) -> int:
        """How many came."""
        return sum(count for _, count in self.stamps)


class Engine:
    """A running vLLM and its requests."""

    def __init__(self, model: str, engine: Any) -> None:
        self._engine = engine
        self._random = random.Random(7)
        self._vocabulary = int(SHAPES[model]["vocab_size"])
        self._asked = 0
        self._sampling = importlib.import_module("vllm.sampling_params")

    def prompt(self, tokens: int) -> list[int]:
        """Return that many random token ids."""
        return [self._random.randrange(10, self._vocabulary) for _ in range(tokens)]

    async def ask(self, prompt: Sequence[int], output_tokens: int) -> Stream:
        """Return the answer, exactly that long."""
        self._asked += 1
        params = self._sampling.SamplingParams(
            max_tokens=output_tokens,
            ignore_eos=True,
            temperature=1.0,
            detokenize=False,
            output_kind=self._sampling.RequestOutputKind.DELTA,
        )
        found = Stream(time.perf_counter())
        async for each in self._engine.generate({"prompt_token_ids": list(prompt)}, params, f"request-{self._asked}"):
            if count := len(each.outputs[0].token_ids):
                found.stamps.append((time.perf_counter(), count))
        return found

    async def step(self, sequences: int, context: int) -> dict[str, float]:
        """Return the time of a step while so many sequences run, milliseconds, and what they held on average then, tokens each."""
        wanted = MEASURED_STEPS + 8 + math.ceil(sequences * context / (STEP_TOKENS - sequences))
        prompts = [self.prompt(context) for _ in range(sequences)]
        found = await asyncio.gather(*(self.ask(prompt, wanted) for prompt in prompts))
        begin, end = max(each.first_s for each in found), min(each.last_s for each in found)
        inside = [sum(count for at, count in each.stamps if begin < at <= end) for each in found]
        before = [sum(count for at, count in each.stamps if at <= begin) for each in found]
        gaps = [1e3 * (two - one) for each in found[:1] for (one, _), (two, _) in zip(each.stamps, each.stamps[1:], strict=False)]
        return {
            "sequences": sequences,
            "prompt_tokens": context,
            "context_tokens": context + statistics.mean(before) + statistics.mean(inside) / 2,
            "steps": max(inside),
            "step_ms": 1e3 * (end - begin) / statistics.mean(inside),
            "median_gap_ms": statistics.median(gaps[-max(inside) :]),
        }

    async def first_token(self, tokens: int) -> dict[str, float]:
        """Return the time to the first token of a prompt alone in the engine, milliseconds: the median and the extremes."""
        found = [await self.ask(self.prompt(tokens), 1) for _ in range(REPEATS)]
        times = sorted(1e3 * (each.first_s - each.asked_s) for each in found)
        return {"prompt_tokens": tokens, "ttft_ms": statistics.median(times), "least_ms": times[0], "most_ms": times[-1]}

    async def open_loop(self, requests_per_s: float) -> dict[str, float]:
        """Return what requests see that arrive at this rate, whatever comes back: milliseconds, and tokens per second once settled."""
        sigma = _sigma(PROMPT_MEAN, PROMPT_P95)
        arrivals: list[tuple[float, list[int]]] = []
        at = 0.0
        while (at := at + self._random.expovariate(requests_per_s)) < LOAD_S:
            length = self._random.lognormvariate(math.log(PROMPT_MEAN) - sigma**2 / 2, sigma)
            arrivals.append((at, self.prompt(max(4, min(LONGEST_PROMPT, round(length))))))
        start = time.perf_counter()

        async def later(at: float, prompt: list[int]) -> Stream:
            await asyncio.sleep(max(0.0, start + at - time.perf_counter()))
            return await self.ask(prompt, OUTPUT_TOKENS)

        found = await asyncio.gather(*(later(at, prompt) for at, prompt in arrivals))
        settled = [each for each in found if start + SETTLED_S <= each.asked_s]
        tokens = sum(count for each in found for at, count in each.stamps if SETTLED_S <= at - start < LOAD_S)
        ttft = sorted(1e3 * (each.first_s - each.asked_s) for each in settled)
        late = sorted(1e3 * (each.asked_s - start - at) for each, (at, _) in zip(found, arrivals, strict=True))
        pace = sorted(1e3 * (each.last_s - each.first_s) / (each.tokens - 1) for each in settled)
        gaps = sorted(1e3 * (two - one) for each in settled for (one, _), (two, _) in zip(each.stamps, each.stamps[1:], strict=False))
        return {
            "asked_requests_per_s": requests_per_s,
            "requests": len(found),
            "settled": len(settled),
            "mean_prompt_tokens": statistics.mean(len(prompt) for _, prompt in arrivals),
            "output_tokens_per_s": tokens / (LOAD_S - SETTLED_S),
            "mean_running": sum(min(each.last_s, start + LOAD_S) - max(each.asked_s, start + SETTLED_S) for each in found
                                if each.last_s > start + SETTLED_S) / (LOAD_S - SETTLED_S),
            "last_done_s": max(each.last_s for each in found) - start,
            "late_p99_ms": _percentile(late, 99),  # of asking: what this process is behind, not the engine
        } | {f"{name}_p{percent}_ms": _percentile(values, percent)
             for name, values in (("ttft", ttft), ("pace", pace), ("gap", gaps)) for percent in (50, 95, 99)}  # fmt: skip


def _sigma(mean: float, p95: float) -> float:
    """Return a lognormal's sigma from its mean and 95th percentile, as plan/traffic/lengths.py has it."""
    z = statistics.NormalDist().inv_cdf(0.95)
    return z - math.sqrt(max(0.0, z**2 - 2 * math.log(p95 / mean)))


def _percentile(values: Sequence[float], percent: float) -> float:
    return values[min(len(values) - 1, int(percent / 100 * len(values)))]


def _engine_config(model: str, workplace: Path) -> Any:
    """Return vLLM's own configuration for a model of that shape: nothing of it touches the GPU."""
    folder = workplace / model
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(SHAPES[model] | COMMON))
    arguments = importlib.import_module("vllm.engine.arg_utils").AsyncEngineArgs(
        model=str(folder),
        load_format="dummy",
        skip_tokenizer_init=True,
        gpu_memory_utilization=UTILIZATION,
        max_num_seqs=MAX_NUM_SEQS,
        max_num_batched_tokens=STEP_TOKENS,
        max_model_len=MAX_CONTEXT_TOKENS,
        enable_prefix_caching=False,
        generation_config="vllm",
        compilation_config={"cudagraph_capture_sizes": CAPTURED},
        disable_log_stats=True,
    )
    context = importlib.import_module("vllm.usage.usage_lib").UsageContext.OPENAI_API_SERVER
    return arguments.create_engine_config(context)


class Results:
    """What one model's run has found so far, on disk."""

    def __init__(self, out: Path, model: str) -> None:
        self._path, self._log = out / f"{model}.json", out / f"{model}.log"
        self.found: dict[str, Any] = {"model": model, "shape": SHAPES[model], "captured": CAPTURED, "errors": []}

    def save(self) -> None:
        """Write them, with what the engine's log says."""
        log = self._log.read_text(errors="replace") if self._log.exists() else ""
        self.found["logged"] = {name: match[-1] for name, pattern in LOGGED.items() if (match := re.findall(pattern, log))}
        self._path.write_text(json.dumps(self.found, indent=1))

    async def note(self, name: str, figure: Any) -> None:
        """Add a figure, or why there is none."""
        try:
            self.found.setdefault(name, []).append(await figure)
            print(name, json.dumps(self.found[name][-1]), flush=True)
        except Exception as error:  # noqa: BLE001 - the other figures must still be taken
            self.found["errors"].append(f"{name}: {error!r}")
            print(self.found["errors"][-1], flush=True)
        self.save()


async def _measure(model: str, vllm_config: Any, results: Results, *, rate: float | None, until_s: float) -> None:
    started = time.monotonic()
    raw = importlib.import_module("vllm.v1.engine.async_llm").AsyncLLM.from_vllm_config(vllm_config, disable_log_stats=True)
    engine = Engine(model, raw)
    cache = raw.vllm_config.cache_config
    results.found |= {"engine_start_s": time.monotonic() - started, "num_gpu_blocks": cache.num_gpu_blocks, "block_size": cache.block_size}
    results.save()
    held = (cache.num_gpu_blocks or 0) * (cache.block_size or 0)
    await asyncio.gather(*(engine.ask(engine.prompt(512), 24) for _ in range(64)))
    await engine.ask(engine.prompt(8000), 8)
    for tokens in PROMPTS:
        await results.note("prompts", engine.first_token(tokens))
    for sequences, context in STEPS:
        if held and sequences * (context + 2 * MEASURED_STEPS) > held:
            results.found["errors"].append(f"steps: {sequences} sequences of {context} tokens do not fit {held}")
        elif time.time() < until_s - 12:
            await results.note("steps", engine.step(sequences, context))
    for load in LOADS if rate else ():
        if time.time() < until_s - LOAD_S - 10:
            await results.note("loads", engine.open_loop(load * (rate or 0.0)))
    results.found["complete"] = True
    results.save()
    raw.shutdown()


def _child(out: Path, model: str, turn: Path, rate: float | None) -> int:
    """Import and configure at once, and measure when it is this model's turn."""
    vllm = importlib.import_module("vllm")
    importlib.import_module("vllm.v1.engine.async_llm")
    vllm_config = _engine_config(model, turn.parent)
    print("ready", flush=True)
    while not turn.exists():
        time.sleep(0.2)
    results = Results(out, model)
    torch = importlib.import_module("torch")
    results.found |= {"vllm": vllm.__version__, "torch": torch.__version__, "rate": rate}
    try:
        asyncio.run(_measure(model, vllm_config, results, rate=rate, until_s=float(turn.read_text())))
    except Exception as error:  # noqa: BLE001 - said in the results and by the exit code
        results.found["errors"].append(f"engine: {error!r}")
        results.save()
        print(results.found["errors"][-1], flush=True)
        return ENGINE_FAILED
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("models", nargs="+", choices=sorted(SHAPES))
    parser.add_argument("--rate", action="append", default=[], metavar="MODEL=REQUESTS_PER_S")
    parser.add_argument("--seconds", type=float, default=600.0, help="for all models together")
    parser.add_argument("--turn", type=Path, help=argparse.SUPPRESS)
    parsed = parser.parse_args()
    rates = {name: float(value) for name, _, value in (each.partition("=") for each in parsed.rate)}
    if parsed.turn:
        return _child(parsed.out, parsed.models[0], parsed.turn, rates.get(parsed.models[0]))
    return _all(parsed.out, parsed.models, rates, time.time() + parsed.seconds)


def _all(out: Path, models: Sequence[str], rates: dict[str, float], until_s: float) -> int:
    out.mkdir(parents=True, exist_ok=True)
    workplace = Path(tempfile.mkdtemp(prefix="on-gpu-"))
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,clocks.max.sm,power.limit", "--format=csv,noheader"]
    machine = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()
    (out / "machine.json").write_text(
        json.dumps({"gpu": machine, "python": sys.version, "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())})
    )
    running = []
    for model in models:
        command = [sys.executable, __file__, str(out), model, "--turn", str(workplace / f"turn-{model}")]
        command += [f"--rate={model}={rates[model]}"] if model in rates else []
        with (out / f"{model}.log").open("w") as log:
            running.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True))
    failed = 0
    for index, (model, child) in enumerate(zip(models, running, strict=True)):
        share = until_s if index == len(models) - 1 else until_s - 5
        (workplace / f"turn-{model}").write_text(str(share))
        try:
            failed += child.wait(timeout=max(1.0, until_s - time.time())) != 0
        except subprocess.TimeoutExpired:
            failed += 1
        _end(child)
    return 1 if failed else 0


def _end(child: "subprocess.Popen[bytes]") -> None:
    """End a model's whole session: a half-dead engine would hold the next one's memory."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


if __name__ == "__main__":
    sys.exit(main())
