"""One real vLLM on this machine's CPU, of two cores that client and gateway use as well."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from benchmarks.reality.lab import Engine, Lab, Limits
from spillway.simulate.setting import HostedModel, Targets
from tests.dataplane.decisions import SERVED
from tests.e2e.cluster.engine import model
from tests.engine.engines import started

MAX_NUM_SEQS = 4
QUEUED = 2  # requests that the cap lets wait at the engine
LIMITS = Limits(
    max_num_seqs=MAX_NUM_SEQS,
    slots=MAX_NUM_SEQS + QUEUED,
    max_queued_requests=64,
    step_tokens=2048,
    targets=Targets(ttft_ms=350.0, inter_token_ms=25.0),
    hosted=HostedModel(ttft_median_ms=300.0, ttft_p99_ms=450.0, inter_token_ms=(12.0, 18.0)),
)
FLAGS = (
    *("--served-model-name", SERVED),
    *("--max-num-seqs", str(LIMITS.max_num_seqs)),
    *("--max-num-batched-tokens", str(LIMITS.step_tokens)),
    *("--max-num-queued-reqs", str(LIMITS.max_queued_requests)),
    *("--distributed-executor-backend", "uni"),
    "--no-enable-prefix-caching",  # prompts are random: nothing would be found
)
# The engine's core computes by itself. By default a worker process does, and both spin while they wait for each other, on two cores that
# client and gateway need too.
ONE_PROCESS = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "OMP_NUM_THREADS": "1"}


@contextlib.contextmanager
def _engine(_: Path) -> Iterator[Engine]:
    with started("vllm", *FLAGS, binds={model.model_dir("med"): "/med"}, variables=ONE_PROCESS, served="/med") as engine:
        yield Engine(url=engine.url, pid=engine.process.pid)


LAB = Lab(
    name="cpu",
    limits=LIMITS,
    lone=((16, 64), (128, 48), (384, 32), (256, 12)),
    input_tokens=(16, 320),
    output_tokens=(20, 80),
    token_ids=(300, 500),  # of a vocabulary of 512: bytes and merges, nothing special
    start=_engine,
)
