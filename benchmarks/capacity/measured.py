"""What was measured: the calibration's rows, from the shared table where it is there and else from the package, and Splitwise's."""

import csv
from dataclasses import dataclass
from pathlib import Path

from spillway.api.model import Architecture
from spillway.plan.replica.calibration import ROWS, CalibrationRow, usable

SHARED = Path(__file__).parents[3] / "shared" / "data" / "calibration" / "aic_vllm_params.csv"

# What the calibration took as the memory of each accelerator, GiB: the product's name, not what CUDA can allocate.
NOMINAL_MEMORY_GIB = {"l40s": 48, "a100_sxm": 80, "h100_sxm": 80, "h200_sxm": 141, "b200_sxm": 180, "rtx_pro_6000_server": 96}

FAMILIES = {
    "meta-llama/Meta-Llama-3.1-8B": "Llama 3.1",
    "meta-llama/Meta-Llama-3.1-70B": "Llama 3.1",
    "nvidia/Llama-3.1-70B-Instruct-FP8": "Llama 3.1",
    "Qwen/Qwen3-8B": "Qwen3",
    "Qwen/Qwen3-32B": "Qwen3",
    "Qwen/Qwen3-32B-FP8": "Qwen3",
    "Qwen/Qwen3-30B-A3B": "Qwen3 experts",
    "openai/gpt-oss-20b": "gpt-oss",
    "openai/gpt-oss-120b": "gpt-oss",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitwiseRow:
    """One configuration that Splitwise measured: vLLM of late 2023, prompts of 512 tokens."""

    model: str
    accelerator: str
    tensor_parallel_size: int
    one_sequence_ms: float
    full_batch_ms: float  # 64 sequences
    prompt_1000_ms: float


# Mutinifni/splitwise-sim@8f99e7dc (MIT), splitwise_perf_model.csv, fitted; read 2026-11.
SPLITWISE = tuple(
    SplitwiseRow(
        model=model,
        accelerator=accelerator,
        tensor_parallel_size=parallel,
        one_sequence_ms=one,
        full_batch_ms=full,
        prompt_1000_ms=prompt,
    )
    for model, accelerator, parallel, one, full, prompt in (
        ("bloom-176b", "a100_sxm", 8, 48.76, 96.58, 289.19),
        ("bloom-176b", "h100_sxm", 8, 36.11, 63.82, 132.62),
        ("llama2-70b", "a100_sxm", 2, 54.86, 67.24, 377.06),
        ("llama2-70b", "a100_sxm", 4, 44.99, 72.95, 227.08),
        ("llama2-70b", "a100_sxm", 8, 44.85, 71.61, 154.46),
        ("llama2-70b", "h100_sxm", 2, 37.00, 42.30, 157.95),
        ("llama2-70b", "h100_sxm", 4, 29.72, 52.36, 105.61),
        ("llama2-70b", "h100_sxm", 8, 29.76, 50.16, 77.91),
    )
)
SPLITWISE_CONTEXT_TOKENS = 512
SPLITWISE_BATCH = 64
SPLITWISE_MODELS = {
    "bloom-176b": Architecture(
        parameters=176_247_000_000,
        layers=70,
        attention_heads=112,
        key_value_heads=112,
        head_size=128,
        hidden_size=14_336,
        vocabulary_size=250_880,
        embedding_tables=1,
    ),
    "llama2-70b": Architecture(
        parameters=68_976_000_000,
        layers=80,
        attention_heads=64,
        key_value_heads=8,
        head_size=128,
        hidden_size=8192,
        vocabulary_size=32_000,
    ),
}


# inference-sim/inference-sim before 90522ded (Apache-2.0): coefficients trained on real runs of vLLM 0.11 on one H100, the only ones there
# that are identifiable one by one: (model, base of a step in ms, microseconds per prompt token); read 2026-11.
BLIS = (
    ("Qwen/Qwen2.5-3B-Instruct", 4.80, 9.45),
    ("Qwen/Qwen2.5-7B-Instruct", 7.05, 19.54),
    ("meta-llama/Llama-3.1-8B-Instruct", 6.47, 19.80),
    ("Qwen/Qwen3-14B", 13.58, 39.44),
)


def rows() -> tuple[CalibrationRow, ...]:
    """Return the rows that may be relied on, from the shared table where this checkout has one beside it."""
    found = _read(SHARED) if SHARED.exists() else ROWS
    return tuple(row for row in found if usable(row))


def family(row: CalibrationRow) -> str:
    """Return the family that is left out with this row."""
    return FAMILIES[row.model]


def same_storage(row: CalibrationRow) -> str:
    """Return the family and how it is stored: within a family, fp8 kernels are another matter."""
    return f"{family(row)}, fp8" if "fp8" in row.model.lower() else family(row)


def _read(path: Path) -> tuple[CalibrationRow, ...]:
    with path.open() as file:
        return tuple(
            CalibrationRow(
                model=each["model"],
                accelerator=each["gpu"],
                tensor_parallel_size=int(each["tp"]),
                a_ms=float(each["itl_a"]),
                b_ms_per_sequence=float(each["itl_b_per_seq"]),
                c_ms_per_thousand_kv_tokens=float(each["itl_c_per_kKVtok"]),
                delta_us_per_prompt_token=float(each["delta_us_per_tok"]),
                quad_ms_per_million_squared_tokens=float(each["prefill_quad_ms_per_Mtok2"]),
                one_sequence_ms=float(each["itl_B1"]),
                full_batch_ms=float(each["itl_B64_ctx2k"]),
                prompt_1000_ms=float(each["prefill_1k"]),
                kv_tokens=int(each["kv_tokens_cap"]),
            )
            for each in csv.DictReader(file)
        )
