"""The command line of `vllm serve`, as far as anything here uses it; what vLLM refuses is refused."""

import argparse
from collections.abc import Sequence

SIZES = {"": 1, "k": 10**3, "K": 2**10, "m": 10**6, "M": 2**20, "g": 10**9, "G": 2**30}


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Return the options, or exit with 2 and a message as vLLM does."""
    parser = argparse.ArgumentParser(prog="vllm")
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", usage="vllm serve [model_tag] [options]", allow_abbrev=False)
    serve.add_argument("model_tag", nargs="?")
    serve.add_argument("--model")
    serve.add_argument("--served-model-name", nargs="+")
    serve.add_argument("--host", default="0.0.0.0")
    serve.add_argument("--port", type=int, default=8000)
    serve.add_argument("--api-key", nargs="*")
    serve.add_argument("--ssl-keyfile")
    serve.add_argument("--ssl-certfile")
    serve.add_argument("--max-model-len", type=_size, default=2048)
    serve.add_argument("--max-num-seqs", type=int, default=128)
    serve.add_argument("--max-num-batched-tokens", type=_size, default=2048)
    serve.add_argument("--max-num-queued-reqs", type=int)
    serve.add_argument("--max-num-queued-tokens", type=int)
    serve.add_argument("--shutdown-timeout", type=int, default=0)
    serve.add_argument("--enable-request-id-headers", action="store_true")
    _accepted(serve)
    options = parser.parse_args(argv)
    options.model = options.model or options.model_tag or "model"
    options.names = options.served_model_name or [options.model]
    return options


def _accepted(serve: argparse.ArgumentParser) -> None:
    """Add the options that are taken for their form and change nothing here."""
    for name in ("--tensor-parallel-size", "-tp", "--pipeline-parallel-size", "--seed", "--block-size"):
        serve.add_argument(name, type=int)
    serve.add_argument("--gpu-memory-utilization", type=float)
    serve.add_argument("--kv-cache-memory-bytes", type=_size)
    for name in ("--dtype", "--quantization", "--kv-cache-dtype", "--revision", "--tokenizer", "--download-dir", "--load-format"):
        serve.add_argument(name)
    for name in ("--chat-template", "--uvicorn-log-level", "--generation-config", "--distributed-executor-backend"):
        serve.add_argument(name)
    for name in ("--enable-prefix-caching", "--enforce-eager", "--enable-chunked-prefill", "--trust-remote-code", "--enable-log-requests"):
        serve.add_argument(name, action=argparse.BooleanOptionalAction)
    for name in ("--enable-server-load-tracking", "--disable-uvicorn-access-log", "--disable-log-stats"):
        serve.add_argument(name, action="store_true")


def _size(text: str) -> int:
    """Read a whole number with an optional unit: 32k is 32000, 32K is 32768, as vLLM has it."""
    digits, unit = (text[:-1], text[-1]) if text[-1:] in SIZES and text[-1:] else (text, "")
    return int(float(digits) * SIZES[unit]) if unit else int(digits)
