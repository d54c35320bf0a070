"""What an engine that ended says in its last words, and what to do about it.

The kubelet keeps the end of its log, 2048 bytes. What vLLM finds in its arguments or in the model's files is in there. What its engine's
own process finds (memory, the driver, NCCL) seldom is, for the traceback of the server that waited for it comes behind. The words are
those of 0.32.0; what is said of them here repeats no numbers or names of theirs, which change from start to start.
"""

import re
from typing import NamedTuple

_HUB_TOKEN = "model.source.huggingFace.tokenSecretRef"  # noqa: S105  a field


class _Said(NamedTuple):
    pattern: re.Pattern[str]
    advice: str


def _said(pattern: str, advice: str) -> _Said:
    return _Said(re.compile(pattern, re.IGNORECASE), advice)


# What stands first counts: the reason, before what it led to.
_KNOWN = (
    _said(
        r"gated repo|access to model \S+ is restricted",
        f"The model's repository is gated: accept its terms at the hub, and name that account's token in {_HUB_TOKEN}.",
    ),
    _said(
        r"trust_remote_code=True",
        "The model's files hold code of their own: add --trust-remote-code to dedicated.engine.extraArgs if you trust it.",
    ),
    _said(
        r"does not recognize this architecture|are not supported for now|(?:'\w+', ){10}",  # the last: a list, cut, of those that are
        "This vLLM does not know the model's architecture: set dedicated.engine.image and version to a newer one.",
    ),
    _said(r"greater than the derived max_model_len", "The model's own context is shorter than model.maxContextTokens: lower that."),
    _said(
        r"must be divisible by tensor parallel size",
        "Take a dedicated.engine.tensorParallelSize that divides the model's attention heads.",
    ),
    _said(
        r"unrecognized arguments|error: argument |invalid choice",
        "This vLLM refuses an argument: correct dedicated.engine.extraArgs, and dedicated.engine.version where it is not the image's.",
    ),
    _said(
        r"repo id must be in the form|invalid repository id or local directory",
        "There is no model in that place: correct model.source or model.id.",
    ),
    _said(
        r"401 client error|403 client error|RepositoryNotFoundError|is not a valid model identifier",
        f"The hub shows this token no such repository: correct model.id or model.source, or the token in {_HUB_TOKEN}.",
    ),
    _said(
        r"no space left on device|disk quota exceeded",
        "A volume is full: give the claim of dedicated.modelCache, or the node's disk, room for the weights.",
    ),
    _said(
        r"name resolution|name or service not known|max retries exceeded|connecterror|connecttimeout|traffic has been disabled",
        "The hub cannot be reached: let replicas out to it, or set HF_ENDPOINT or HTTPS_PROXY in dedicated.engine.env.",
    ),
    _said(
        r"no available memory for the cache blocks|available kv cache memory|stored in kv cache",
        "The weights leave too little memory for the KV cache: lower model.maxContextTokens, raise dedicated.engine.tensorParallelSize "
        "or gpuMemoryUtilizationPercent, or name a class with more memory.",
    ),
    _said(
        r"less than desired gpu memory utilization",
        "Something else holds memory of the accelerator (time-slicing, a process left behind): free it, or lower "
        "dedicated.engine.gpuMemoryUtilizationPercent.",
    ),
    _said(
        r"(?:cuda|hip) out of memory|OutOfMemoryError",
        "The accelerator's memory does not do: lower dedicated.engine.gpuMemoryUtilizationPercent or maxNumSeqs, raise "
        "tensorParallelSize, or name a class with more memory.",
    ),
    _said(r"bfloat16 is only supported", "The accelerator does not know bfloat16: set model.quantization to fp16."),
    _said(
        r"nccl (?:error|warn)|nccl\w*error",
        "A replica's accelerators do not reach each other by NCCL: set NCCL_DEBUG to INFO in dedicated.engine.env, and see its log.",
    ),
    _said(
        r"engine core initialization failed|enginecore failed to start|enginedeaderror",
        "What ended the engine stands further up in its log, memory most often.",
    ),
)


def advise(last_words: str) -> str | None:
    """Return what to do about an engine's end, in a sentence; None where its last words are not known here."""
    return next((advice for pattern, advice in _KNOWN if pattern.search(last_words)), None)
