"""One real vLLM on an NVIDIA GPU, called as the operator calls it for a workload of its chart's class, with weights of random values.

Needs a vLLM that this Python imports (`vllm serve` by `python -m vllm.entrypoints.cli.main serve`) and downloads nothing: the model is
Llama 3.1 8B by its configuration, its weights are random (vLLM's load format "dummy"), and its tokenizer has a word for each id. All limits
are those that the planner chooses for the SLO below on the class that `nvidia-smi` names.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx

from benchmarks.capacity.on_gpu import COMMON, SHAPES
from benchmarks.reality.fitting import WINDOW_S, Fit, Point
from benchmarks.reality.hosted import MODEL
from benchmarks.reality.lab import Engine, Lab, Limits
from spillway.api.catalogue import AcceleratorClassSpec
from spillway.api.workload import InferenceWorkloadSpec
from spillway.plan.decision import Capacity, Memory, OwnedPool
from spillway.plan.replica.capacity import expected_service, size
from spillway.plan.replica.learned_step import LearnedStep, MeasuredStep, StepLoad, learn
from spillway.plan.replica.memory import step_tokens
from spillway.plan.replica.start_up import start_up
from spillway.plan.traffic.lengths import declared_lengths
from spillway.render import vllm
from spillway.simulate.setting import HostedModel, Targets
from tests.dataplane import decisions
from tests.dataplane.process import free_port

ENGINE_VERSION = "0.26.0"
READY_S = 300.0
CLASSES = {"NVIDIA H100 80GB HBM3": "nvidia-h100-80gb", "NVIDIA H200": "nvidia-h200"}
TARGETS = Targets(ttft_ms=1500.0, inter_token_ms=25.0)
HOSTED = HostedModel(ttft_median_ms=400.0, ttft_p99_ms=900.0, inter_token_ms=(10.0, 16.0))
INPUT_TOKENS, OUTPUT_TOKENS = (100, 1900), (40, 160)
CONTEXT_TOKENS = 4096
SHAPE = SHAPES["llama-3.1-8b"] | COMMON
VOCABULARY = int(SHAPE["vocab_size"])
ENGINE = {"version": ENGINE_VERSION, "extraArgs": ["--load-format", "dummy"]}
SPEC = {
    "model": {"id": "meta-llama/Llama-3.1-8B-Instruct", "servedName": decisions.SERVED, "maxContextTokens": CONTEXT_TOKENS},
    "slo": {"timeToFirstTokenMs": TARGETS.ttft_ms, "interTokenLatencyMs": TARGETS.inter_token_ms},
    "traffic": {
        "inputTokens": {"mean": sum(INPUT_TOKENS) // 2, "p95": round(INPUT_TOKENS[1] * 0.95)},
        "outputTokens": {"mean": sum(OUTPUT_TOKENS) // 2, "p95": round(OUTPUT_TOKENS[1] * 0.95)},
    },
    "placement": {"mode": "Hybrid"},
    "hosted": {"backends": [{"providerRef": {"name": "alpha"}, "model": MODEL}]},
    "dedicated": {"engine": ENGINE},
}


def lab(*, max_num_seqs: int | None = None) -> Lab:
    """Return the lab of this machine's GPU, with the planner's batch or, as a user may state it, another."""
    spec = SPEC if max_num_seqs is None else {**SPEC, "dedicated": {"engine": {**ENGINE, "maxNumSeqs": max_num_seqs}}}
    accelerator, capacity = _planned(spec)
    workload = decisions.workload(spec)
    alone = size(_alone(), accelerator, Memory())
    assert workload.spec.dedicated
    limits = Limits(
        max_num_seqs=capacity.max_num_seqs,
        slots=capacity.slots,
        max_queued_requests=capacity.max_queued_requests,
        step_tokens=step_tokens(workload.spec.dedicated.engine, accelerator),
        targets=TARGETS,
        hosted=HOSTED,
    )
    return Lab(
        name=accelerator_class(),
        limits=limits,
        lone=((64, 100), (1000, 60), (3000, 40), (256, 12)),
        input_tokens=INPUT_TOKENS,
        output_tokens=OUTPUT_TOKENS,
        token_ids=(10, VOCABULARY - 1),
        start=lambda folder: _engine(command(spec), folder),
        planned_requests_per_s=alone.requests_per_s,
    )


def accelerator_class() -> str:
    """Return the chart's class for the GPU of this machine."""
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    name = subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()[0].strip()
    try:
        return CLASSES[name]
    except KeyError:
        known = ", ".join(CLASSES)
        raise SystemExit(f"no class of the chart's catalogue is known for {name!r}, only for {known}; add it to CLASSES") from None


def _planned(spec: Mapping[str, Any]) -> tuple[AcceleratorClassSpec, Capacity]:
    """Return the class, and what the operator makes of a replica on it before anything was measured."""
    accelerator = _catalogued(accelerator_class())
    return accelerator, size(decisions.workload(spec).spec, accelerator, Memory())


def _catalogued(name: str) -> AcceleratorClassSpec:
    catalogue = json.loads(files("spillway.cli").joinpath("accelerator_classes.json").read_text())
    return AcceleratorClassSpec.model_validate(catalogue[name])


def _alone() -> InferenceWorkloadSpec:
    """Return the spec of the same replica with nowhere to spill."""
    return decisions.workload({**SPEC, "placement": {"mode": "Dedicated"}, "hosted": None}).spec


def learned(fit: Fit, name: str) -> Capacity:
    """Return what the operator makes of a replica by itself once it has learned from the rehearsal's windows, as in production."""
    accelerator = _catalogued(name)
    spec = _alone()
    lengths = declared_lengths(spec)
    service = expected_service(spec, accelerator, lengths)
    assert service
    batch = size(spec, accelerator, Memory()).max_num_seqs
    step, at = LearnedStep(prior=service.step), datetime(2026, 1, 1, tzinfo=UTC)
    for window in fit.windows:
        at += timedelta(seconds=WINDOW_S)
        found = MeasuredStep(load=_load(window), step_ms=window.step_ms, at=at, window_s=WINDOW_S)
        others = (batch - 1) / lengths.output_mean * lengths.input_mean
        full = Point(sequences=batch, kv_tokens=batch * lengths.context_mean, prompt_tokens=others, step_ms=0.0)
        step = learn(step, found, full=_load(full))
    return size(spec, accelerator, Memory(step=step))


def _load(point: Point) -> StepLoad:
    """Return a mean step as production's learner takes it, with the squares that prompts of the traffic have."""
    least, most = INPUT_TOKENS
    squares_each = (most**3 - least**3) / 3 / (most - least) / ((least + most) / 2)
    return StepLoad(
        batch=point.sequences,
        kv_tokens=point.kv_tokens,
        prompt_tokens=point.prompt_tokens,
        prompt_squares=point.prompt_tokens * squares_each,
    )


def command(spec: Mapping[str, Any]) -> list[str]:
    """Return what the operator's Deployment runs."""
    accelerator, capacity = _planned(spec)
    pool = OwnedPool(
        name="measured",
        accelerator_class=accelerator_class(),
        accelerator=accelerator,
        tensor_parallel_size=1,
        replicas=1,
        usd_per_replica_hour=None,
        capacity=capacity,
        start_up=start_up(None, estimate_s=180.0),
        surge=False,
    )
    return vllm.arguments(decisions.workload(spec), pool, vllm.Version.parse(ENGINE_VERSION))


@contextlib.contextmanager
def _engine(called: list[str], folder: Path) -> Iterator[Engine]:
    """Run an engine that is called so. Its host, port and model are this machine's; all else is as rendered."""
    model, port = _model(folder / "model"), free_port()
    program, _, _, *rendered = called
    assert program == "vllm"
    given = [*rendered, "--host", "127.0.0.1", "--port", str(port)]  # the last of a flag holds
    print("vllm serve", *given, file=sys.stderr, flush=True)
    begun, log = time.monotonic(), Path(os.environ.get("OUT", folder)) / "engine.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", str(model), *given],
            env={**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_HOST_IP": "127.0.0.1"},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        while not _serves(url):
            if process.poll() is not None or time.monotonic() > begun + READY_S:
                raise SystemExit(f"the engine does not serve; the end of its log:\n{log.read_text(errors='replace')[-6000:]}")
            time.sleep(0.2)
        print(f"the engine serves after {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
        yield Engine(url=url, pid=process.pid)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _serves(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _model(folder: Path) -> Path:
    """Write the configuration and a tokenizer with a word of its own for each id."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(SHAPE))
    words = {"<unk>": 0, "<s>": 1, "</s>": 2} | {f"w{number}": number for number in range(3, VOCABULARY)}
    tokenizer: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": words, "unk_token": "<unk>"},
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    described = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(described))
    return folder
