"""Real vLLM and the simulator as local processes with one way to start, ask and end them."""

import contextlib
import json
import os
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import httpx

from tests.dataplane.process import port_of, reserved
from tests.e2e.cluster.engine import environment, model

T = TypeVar("T")
Kind = Literal["vllm", "sim"]
MODEL = "acme/tiny-chat"
ATTEMPTS = 5
ANSWERED_S = 180  # what takes 4 s alone took 26 s beside a build
READY_S = 180  # four engines at once on two busy cores
SIM_PACKAGE = Path(environment.__file__).parent
DEFAULTS = ("--served-model-name", MODEL, "--host", "127.0.0.1", "--max-model-len", "2048")
CPU_ONLY = ("--enforce-eager", "--kv-cache-memory-bytes", "33554432")


@dataclass(kw_only=True)
class Engine:
    """One running engine."""

    kind: Kind
    url: str
    process: subprocess.Popen[bytes]
    log: Path
    client: httpx.Client
    threads: list[threading.Thread] = field(default_factory=list)

    def complete(self, *, tokens: int = 3, chat: bool = True, stream: bool = False, **more: Any) -> httpx.Response:
        """Ask for a completion of exactly this many tokens."""
        prompt: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]} if chat else {"prompt": "hello"}
        body = {"model": MODEL, "max_tokens": tokens, "ignore_eos": True, "stream": stream, **prompt, **more}
        return self.client.post("/v1/chat/completions" if chat else "/v1/completions", json=body)

    def busy(self, requests: int, *, tokens: int = 1800, stream: bool = False) -> "UnderWay":
        """Send long completions in the background; return once /metrics has shown all of them in flight and none was answered.

        While vLLM's API process is behind the steps of its engine, its event loop does nothing but catch up (two coroutines that find
        their next message there never yield): on two busy cores /metrics was answered after 5.7 s, with the requests that it should
        have shown. All of them must have been answered well then, and others are sent.
        """
        for _ in range(ATTEMPTS):
            found = self._send(requests, tokens=tokens, stream=stream)
            while not found.answers and found.shown < requests:
                found.page = self.client.get("/metrics").text
                time.sleep(0.02)
            if not found.answers:
                return found
            found.finish()
        raise AssertionError(f"{ATTEMPTS} times in a row {requests} requests were done before /metrics had shown them")

    def _send(self, requests: int, *, tokens: int, stream: bool) -> "UnderWay":
        answers: list[httpx.Response | Exception] = []

        def ask() -> None:
            try:
                answers.append(self.complete(tokens=tokens, chat=False, stream=stream))
            except httpx.HTTPError as failed:
                answers.append(failed)

        threads = [threading.Thread(target=ask, daemon=True) for _ in range(requests)]
        for thread in threads:
            thread.start()
        self.threads += threads
        return UnderWay(answers=answers, threads=threads)

    def burst(self, requests: int, *, tokens: int) -> list[httpx.Response]:
        """Send streamed completions at the same moment, each on a connection of its own, and return the answers."""
        start = threading.Barrier(requests)

        def ask(_: int) -> httpx.Response:
            with httpx.Client(base_url=self.url, timeout=ANSWERED_S) as client:
                client.get("/health")
                start.wait()
                body = {"model": MODEL, "prompt": "hello", "max_tokens": tokens, "ignore_eos": True, "stream": True}
                return client.post("/v1/completions", json=body)

        with ThreadPoolExecutor(requests) as pool:
            return list(pool.map(ask, range(requests)))

    def in_flight(self) -> float:
        """Return the engine's own count of running and waiting requests."""
        return in_flight(self.client.get("/metrics").text)

    def join(self, within_s: float = ANSWERED_S) -> None:
        """Wait for every request sent by `busy`."""
        for thread in self.threads:
            thread.join(within_s)

    def kill_worker(self) -> None:
        """Send SIGKILL to the process that computes."""
        self.signal_worker(signal.SIGKILL)

    def signal_worker(self, number: signal.Signals) -> None:
        """Send a signal to the process that computes: the last one that was started."""
        children = [self.process.pid]
        while found := [int(pid) for parent in children for pid in _children(parent)]:
            children = found
        os.kill(children[-1], number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    def catches_sigterm(self) -> bool:
        """Whether the process has put something in the place of what SIGTERM does by itself."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
        return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)

    def exited(self, within_s: float) -> int | None:
        """Return the exit status, or None when the engine still runs after so long."""
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            return None


@dataclass(kw_only=True)
class UnderWay:
    """Long completions that an engine works on."""

    answers: list[httpx.Response | Exception]  # of those that are done
    threads: list[threading.Thread]
    page: str = ""  # of metrics, as read last

    @property
    def shown(self) -> float:
        """How many requests that page shows."""
        return in_flight(self.page)

    def finish(self) -> None:
        """Wait until all are answered, and see that they are answered well."""
        for thread in self.threads:
            thread.join(ANSWERED_S)
        assert len(self.answers) == len(self.threads), f"{len(self.answers)} of {len(self.threads)} answered within {ANSWERED_S} s"
        said = [each.status_code if isinstance(each, httpx.Response) else each for each in self.answers]
        assert set(said) == {200}, said


def in_flight(page: str) -> float:
    """Return how many requests run and wait by a page of metrics."""
    names = ("vllm:num_requests_running{", "vllm:num_requests_waiting{")
    return sum(float(line.rpartition(" ")[2]) for line in page.splitlines() if line.startswith(names))


def tried(attempt: Callable[[], T], *, times: int = ATTEMPTS) -> T:
    """Return the first true answer of several attempts at something that a busy machine may come to too late."""
    for _ in range(times):
        if found := attempt():
            return found
    raise AssertionError(f"not in {times} attempts")


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def until(check: Any, *, within_s: float) -> None:
    """Wait until the check holds."""
    deadline = time.monotonic() + within_s
    while not check():
        assert time.monotonic() < deadline, f"not so within {within_s} s"
        time.sleep(0.02)


@contextlib.contextmanager
def started(
    kind: Kind,
    *flags: str,
    wait: bool = True,
    binds: dict[Path, str] | None = None,
    variables: dict[str, str] | None = None,
    scheme: str = "http",
    trusted: Path | None = None,
    served: str = "/models",
) -> Iterator[Engine]:
    """Run an engine for the length of a block; by default from the moment it is ready."""
    held = reserved()  # vLLM listens seconds after it was told where
    port = port_of(held)
    url = f"{scheme}://127.0.0.1:{port}"
    arguments = ["serve", served, *DEFAULTS, *(CPU_ONLY if kind == "vllm" else ()), "--port", str(port), *flags]  # the last of a flag holds
    given = {"HF_HUB_OFFLINE": "1", "VLLM_HOST_IP": "127.0.0.1", **(variables or {})}
    if kind == "vllm":
        models = {model.model_dir("tiny"): "/models"} if served == "/models" else {}
        command, variables = environment.local(["vllm", *arguments], binds={**models, **(binds or {})}, environment=given)
        folder = None
    else:
        command, variables, folder = [sys.executable, "-m", "sim", *arguments], {"PATH": os.environ["PATH"], **given}, SIM_PACKAGE
    with (
        held,
        tempfile.TemporaryDirectory() as scratch,
        httpx.Client(base_url=url, timeout=ANSWERED_S, verify=ssl.create_default_context(cafile=trusted)) as client,
    ):
        log = Path(scratch) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(command, env=variables, cwd=folder, stdout=output, stderr=output, start_new_session=True)
        engine = Engine(kind=kind, url=url, process=process, log=log, client=client)
        try:
            if wait:
                until(lambda: _ready(engine), within_s=READY_S)
            yield engine
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            engine.join(10)


def events(response: httpx.Response) -> list[dict[str, Any]]:
    """Return the JSON of a stream's events and check that it ends as OpenAI's do."""
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def _ready(engine: Engine) -> bool:
    assert engine.process.poll() is None, engine.log.read_text()[-3000:]
    try:
        return engine.client.get("/health").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
