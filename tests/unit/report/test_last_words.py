"""What is said about an engine that ended, from vLLM 0.32.0's last words. Those marked (seen) are as it left them, but for length."""

import pytest

from spillway.report.last_words import advise

PYDANTIC = "\n    For further information visit https://errors.pydantic.dev/2.14/v/value_error\n"
INPUT = "[type=value_error, input_value=ArgsKwargs((), {'model': ...nderer_num_workers': 1}), input_type=ArgsKwargs]" + PYDANTIC
KNOWN_ONES = ", ".join(f"'Model{letter}ForCausalLM'" for letter in "ABCDEFGHIJKLMNOP")
WAITED = """\
  File "/opt/vllm/lib/python3.11/site-packages/vllm/v1/engine/utils.py", line 1431, in wait_for_engine_startup
    raise RuntimeError(
RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}
"""


@pytest.mark.parametrize(
    ("last_words", "advice"),
    [
        pytest.param(
            "usage: vllm [-h] [-v]\n            ...\nvllm: error: unrecognized arguments: --no-such-flag\n",
            "extraArgs",
            id="(seen) argument",
        ),
        pytest.param(f"alLM', {KNOWN_ONES}]) {INPUT}", "does not support the model's architecture", id="(seen) architecture, cut"),
        pytest.param(
            "ValidationError: 1 validation error for ModelConfig\n  Value error, The checkpoint you are trying to load has model type "
            f"`foonext` but Transformers does not recognize this architecture. This could be because of an issue {INPUT}",
            "does not support the model's architecture",
            id="(seen) model type",
        ),
        pytest.param(
            f"Please pass the argument `trust_remote_code=True` to allow custom code to be run. {INPUT}",
            "--trust-remote-code",
            id="(seen) code of its own",
        ),
        pytest.param(
            "Value error, User-specified max_model_len (999999) is greater than the derived max_model_len (max_position_embeddings=2048.0 "
            f"or model_max_length=None in model's config.json). {INPUT}",
            "maxContextTokens exceeds",
            id="(seen) context",
        ),
        pytest.param(
            f"Value error, Total number of attention heads (8) must be divisible by tensor parallel size (3). {INPUT}",
            "divisor of the model's attention heads",
            id="(seen) heads",
        ),
        pytest.param(
            "HFValidationError: Repo id must be in the form 'repo_name' or 'namespace/repo_name': '/model/llama'. Use `repo_type` argument",
            "No model was found there",
            id="(seen) path of a volume",
        ),
        pytest.param(
            f"Value error, Invalid repository ID or local directory specified: '/model'.\nPlease verify the following:\n {INPUT}",
            "No model was found there",
            id="(seen) empty folder",
        ),
        pytest.param(
            "LocalEntryNotFoundError: Cannot find an appropriate cached snapshot folder for the specified revision on the local disk and "
            "outgoing traffic has been disabled.",
            "The hub cannot be reached",
            id="(seen) no way out",
        ),
        pytest.param(WAITED, "further up in the engine's log", id="(seen) the engine's own process"),
        pytest.param(
            "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the engine.\n"
            + WAITED,
            "too little memory for the KV cache",
            id="no KV cache",
        ),
        pytest.param(
            "ValueError: To serve at least one request with the model's max seq len (131072), 16.00 GiB KV cache is needed, which is "
            "larger than the available KV cache memory (7.2 GiB).",
            "too little memory for the KV cache",
            id="a short KV cache",
        ),
        pytest.param(
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.", "accelerator ran out of memory", id="out of memory"
        ),
        pytest.param(
            "ValueError: Free memory on device cuda:0 (3.22/4.0 GiB) on startup is less than desired GPU memory utilization (0.9).",
            "Something else uses accelerator memory",
            id="a shared accelerator",
        ),
        pytest.param(
            "ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0. Your Tesla T4 GPU has compute "
            "capability 7.5.",
            "set model.quantization to fp16",
            id="a T4",
        ),
        pytest.param(
            "OSError: You are trying to access a gated repo.\nMake sure to have access to it at https://huggingface.co/acme/gated.\n401 "
            "Client Error. (Request ID: Root=1)",
            "is gated",
            id="a gated repository",
        ),
        pytest.param(
            "RepositoryNotFoundError: 401 Client Error. Repository Not Found for url: https://huggingface.co/api/models/acme/no.",
            "no such repository",
            id="no such repository",
        ),
        pytest.param("RuntimeError: NCCL error: unhandled system error", "NCCL_DEBUG", id="NCCL"),
        pytest.param("OSError: [Errno 28] No space left on device", "A volume is full", id="a full disk"),
    ],
)
def test_an_engines_last_words_become_advice(last_words: str, advice: str) -> None:
    found = advise(last_words)
    assert found is not None
    assert advice in found


@pytest.mark.parametrize("last_words", ["", "INFO 11-27 23:31:56 [api_server.py:1] Application startup complete.", "Segmentation fault"])
def test_nothing_is_said_of_words_that_are_not_known(last_words: str) -> None:
    assert advise(last_words) is None
