"""The two completion endpoints: what is asked, checked as vLLM checks it, and the answer in its shapes."""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from . import wire
from .knobs import Knobs
from .scheduler import RefusedError, Scheduler, Sequence

CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"
FINGERPRINT = "vllm-0.32.0-simulated"
DEFAULT_MAX_TOKENS = 16  # of /v1/completions, by OpenAI's definition; a chat goes on to the end of the context
GONE_CHECK_S = 0.25
DEAD = "EngineCore encountered an issue. See stack trace (above) for the root cause."
END = b"data: [DONE]\n\n"


class BadRequestError(Exception):
    """A request that vLLM answers with 400 or 404."""

    def __init__(self, reply: wire.Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A checked request."""

    chat: bool
    model: str
    identity: str
    stream: bool
    include_usage: bool
    sequence: Sequence


class Completions:
    """Answers completions with the scheduler's tokens."""

    def __init__(self, names: list[str], context: int, scheduler: Scheduler, knobs: Knobs) -> None:
        self._names, self._context, self._scheduler, self._knobs = names, context, scheduler, knobs

    async def answer(self, request: wire.Request) -> wire.Reply:
        """Answer one request, streamed or whole."""
        try:
            asked = self._read(request)
        except BadRequestError as bad:
            return bad.reply
        if self._scheduler.closed:
            # vLLM's tokenizer threads are gone by now, and its web framework reports the exception.
            return wire.Reply(status=500, body=b"Internal Server Error", kind="text/plain", headers=(("connection", "close"),))
        try:
            self._scheduler.check()
            await asyncio.sleep(self._knobs.admission_gap_ms / 1000)
            if asked.stream:
                return wire.Reply(kind=wire.EVENTS, stream=self._stream(asked, request))
            self._scheduler.submit(asked.sequence)
        except RefusedError as refused:
            return wire.error(503, str(refused), "Service Unavailable")
        return await self._whole(asked, request)

    def _read(self, request: wire.Request) -> Asked:
        try:
            body = json.loads(request.body)
        except ValueError:
            raise BadRequestError(wire.error(400, "1 validation error:\n  {'type': 'json_invalid'}", "Bad Request", "body.1")) from None
        chat = request.path == CHAT
        wanted = "messages" if chat else "prompt"
        if not isinstance(body, dict) or wanted not in body:
            raise BadRequestError(_nothing_asked(wanted))
        model = body.get("model") or self._names[0]
        if model not in self._names:
            message = f"The model `{model}` does not exist. Valid aliases: {', '.join(self._names)}."
            raise BadRequestError(wire.error(404, message, "NotFoundError", "model"))
        prompt = self._tokens(body[wanted])
        longest = self._context - prompt
        asked_for = body.get("max_completion_tokens") or body.get("max_tokens")
        maximum = (longest if chat else DEFAULT_MAX_TOKENS) if asked_for is None else int(asked_for)
        self._check(prompt, maximum)
        stamp = request.headers.get("x-request-id") or secrets.token_hex(8)
        return Asked(
            chat=chat,
            model=model,
            identity=f"{'chatcmpl' if chat else 'cmpl'}-{stamp}",
            stream=bool(body.get("stream")),
            include_usage=bool((body.get("stream_options") or {}).get("include_usage")),
            sequence=Sequence(prompt_tokens=prompt, max_tokens=max(1, min(maximum, longest)), ignore_eos=bool(body.get("ignore_eos"))),
        )

    def _check(self, prompt: int, maximum: int) -> None:
        complaint, parameter = "", "max_tokens"
        if maximum < 1:
            complaint = f"max_tokens must be at least 1, got {maximum}. (parameter=max_tokens, value={maximum})"
        elif maximum > self._context:
            complaint = f"max_tokens={maximum} cannot be greater than max_model_len={self._context}. Please request fewer output tokens. "
            complaint += f"(parameter=max_tokens, value={maximum})"
        elif prompt >= self._context:
            parameter = "input_tokens"
            complaint = f"This model's maximum context length is {self._context} tokens. However, your request has {prompt} input tokens."
        if complaint:
            raise BadRequestError(wire.error(400, complaint, "BadRequestError", parameter))

    def _tokens(self, prompt: Any) -> int:
        if isinstance(prompt, list) and prompt and isinstance(prompt[0], dict):
            return sum(4 + self._tokens(message.get("content") or "") for message in prompt)
        if isinstance(prompt, list) and prompt and isinstance(prompt[0], int):
            return len(prompt)
        text = prompt if isinstance(prompt, str) else json.dumps(prompt)
        return 1 + int(len(text.encode()) / self._knobs.bytes_per_token)

    async def _whole(self, asked: Asked, request: wire.Request) -> wire.Reply:
        async with aclosing(self._parts(asked, request)) as parts:
            received = [part async for part in parts]
        if None in received:
            return wire.Reply(kind="application/json", stream=_cut())
        text = "".join(part for part in received if part is not None)
        sequence = asked.sequence
        if sequence.finish == "error":
            return wire.error(500, DEAD, "InternalServerError")
        common = {"index": 0, "logprobs": None, "finish_reason": sequence.finish, "stop_reason": None}
        choice: dict[str, Any] = {**common, "message": {"role": "assistant", "content": text}} if asked.chat else {**common, "text": text}
        kind = "chat.completion" if asked.chat else "text_completion"
        return wire.of_json({**_head(asked, kind), "choices": [choice], "system_fingerprint": FINGERPRINT, "usage": _usage(sequence)})

    async def _stream(self, asked: Asked, request: wire.Request) -> wire.Chunks:
        head = _head(asked, "chat.completion.chunk" if asked.chat else "text_completion")
        sequence = asked.sequence
        try:
            self._scheduler.submit(sequence)
        except RefusedError as refused:
            # The 200 has been sent, so the refusal comes as an event: no proxy can retry it.
            yield _event({"error": {"message": str(refused), "type": "Service Unavailable", "param": None, "code": 503}})
            yield END
            return
        sent = 0
        async with aclosing(self._parts(asked, request)) as parts:
            async for part in parts:
                if part is None:
                    yield None
                    return
                if asked.chat and sent == 0:
                    yield _event({**head, "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]})
                sent += 1
                # The last token's chunk carries the reason: by now the scheduler has set it.
                finish = sequence.finish if sent == sequence.generated else None
                choice = {"delta": {"content": part}} if asked.chat else {"text": part}
                yield _event({**head, "choices": [{"index": 0, **choice, "logprobs": None, "finish_reason": finish}]})
        if sequence.finish == "error":
            yield _event({"error": {"message": DEAD, "type": "InternalServerError", "param": None, "code": 500}})
        elif asked.include_usage:
            yield _event({**head, "choices": [], "usage": _usage(sequence), "system_fingerprint": FINGERPRINT})
        yield END

    async def _parts(self, asked: Asked, request: wire.Request) -> AsyncGenerator[str | None, None]:
        """Yield the tokens as they come; None where an injected fault cuts the answer. A client that leaves ends its sequence."""
        sequence, knobs = asked.sequence, self._knobs
        sent = 0
        try:
            while True:
                try:
                    part = await asyncio.wait_for(sequence.tokens.get(), GONE_CHECK_S)
                except TimeoutError:
                    if request.gone():
                        return
                    continue
                if request.gone():
                    return
                if knobs.stall_after_tokens and sent >= knobs.stall_after_tokens:
                    continue
                if part is None:
                    return
                yield part
                sent += 1
                if knobs.cut_after_tokens and sent >= knobs.cut_after_tokens:
                    yield None
                    return
        finally:
            self._scheduler.abort(sequence)


def _head(asked: Asked, kind: str) -> dict[str, Any]:
    return {"id": asked.identity, "object": kind, "created": int(time.time()), "model": asked.model}


def _usage(sequence: Sequence) -> dict[str, int]:
    total = sequence.prompt_tokens + sequence.generated
    return {"prompt_tokens": sequence.prompt_tokens, "total_tokens": total, "completion_tokens": sequence.generated}


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


def _nothing_asked(wanted: str) -> wire.Reply:
    if wanted == "prompt":
        message = "Either prompt or prompt_embeds must be provided and non-empty. (parameter=prompt)"
        return wire.error(400, message, "BadRequestError", "prompt")
    message = "1 validation error:\n  {'type': 'missing', 'loc': 'body.messages', 'msg': 'Field required'}"
    return wire.error(400, message, "Bad Request", "body.messages")


async def _cut() -> wire.Chunks:
    yield b"{"
    yield None
