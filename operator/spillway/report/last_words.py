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
        f"The model's repository is gated: accept its terms on the hub, and set that account's token in {_HUB_TOKEN}.",
    ),
    _said(
        r"trust_remote_code=True",
        "The model repository contains custom code: add --trust-remote-code to dedicated.engine.extraArgs if you trust it.",
    ),
    _said(
        r"does not recognize this architecture|are not supported for now|(?:'\w+', ){10}",  # the last: a list, cut, of those that are
        "This vLLM version does not support the model's architecture: set a newer dedicated.engine.image and version.",
    ),
    _said(r"greater than the derived max_model_len", "model.maxContextTokens exceeds the model's own context length: lower it."),
    _said(
        r"must be divisible by tensor parallel size",
        "Set dedicated.engine.tensorParallelSize to a divisor of the model's attention heads.",
    ),
    _said(
        r"unrecognized arguments|error: argument |invalid choice",
        "vLLM rejects an argument: correct dedicated.engine.extraArgs, or dedicated.engine.version if it is not the image's.",
    ),
    _said(
        r"repo id must be in the form|invalid repository id or local directory",
        "No model was found there: correct model.source or model.id.",
    ),
    _said(
        r"401 client error|403 client error|RepositoryNotFoundError|is not a valid model identifier",
        f"The hub has no such repository for this token: correct model.id or model.source, or the token in {_HUB_TOKEN}.",
    ),
    _said(
        r"no space left on device|disk quota exceeded",
        "A volume is full: make room for the weights on the claim of dedicated.modelCache or the node's disk.",
    ),
    _said(
        r"name resolution|name or service not known|max retries exceeded|connecterror|connecttimeout|traffic has been disabled",
        "The hub cannot be reached: allow replicas egress to it, or set HF_ENDPOINT or HTTPS_PROXY in dedicated.engine.env.",
    ),
    _said(
        r"no available memory for the cache blocks|available kv cache memory|stored in kv cache",
        "The weights leave too little memory for the KV cache: lower model.maxContextTokens, raise dedicated.engine.tensorParallelSize "
        "or gpuMemoryUtilizationPercent, or choose a class with more memory.",
    ),
    _said(
        r"less than desired gpu memory utilization",
        "Something else uses accelerator memory (time-slicing, a leftover process): free it, or lower "
        "dedicated.engine.gpuMemoryUtilizationPercent.",
    ),
    _said(
        r"(?:cuda|hip) out of memory|OutOfMemoryError",
        "The accelerator ran out of memory: lower dedicated.engine.gpuMemoryUtilizationPercent or maxNumSeqs, raise "
        "tensorParallelSize, or choose a class with more memory.",
    ),
    _said(r"bfloat16 is only supported", "The accelerator does not support bfloat16: set model.quantization to fp16."),
    _said(
        r"nccl (?:error|warn)|nccl\w*error",
        "A replica's accelerators cannot communicate over NCCL: set NCCL_DEBUG to INFO in dedicated.engine.env, and check its log.",
    ),
    _said(
        r"engine core initialization failed|enginecore failed to start|enginedeaderror",
        "The cause is further up in the engine's log, most often memory.",
    ),
)


def advise(last_words: str) -> str | None:
    """Return what to do about an engine's end, in a sentence; None where its last words are not known here."""
    return next((advice for pattern, advice in _KNOWN if pattern.search(last_words)), None)
