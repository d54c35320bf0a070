"""PrefixHash against LeastLoad on real vLLM: how much of the prompts is found in the replicas' caches, and when the first token comes.

    python -m benchmarks.routing [--rounds 3] [--write]

Two vLLM replicas on this machine's CPU behind two gateways as rendered, one of each routing (stage.py). Clients that ask again as soon as
they are answered take documents by lot, of which there are more than one replica's prefix cache holds. Rounds of the two routings
alternate, each with documents of its own. Needs what `make test` needs.
"""

import argparse
import asyncio
import os
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import numpy as np

from benchmarks.machine import processor
from benchmarks.readme import write_results
from benchmarks.routing.stage import REPLICAS, Stage, staged
from spillway.api.routing import Routing
from tests.dataplane.decisions import SERVED

README = Path(__file__).parent / "README.md"
DOCUMENTS = 16
DOCUMENT_TOKENS, QUESTION_TOKENS, ANSWER_TOKENS = 1024, 32, 4
CLIENTS = 4
FIRST_TOKEN, LAST_TOKEN = 300, 500  # of the vocabulary of 512: bytes and merges, nothing special
TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What came of one round of one routing. Arrays and shares are over the requests that count, not over those that fill the caches."""

    routing: Routing
    ttft_ms: tuple[float, ...]
    took_s: float
    looked_up: float  # tokens of prompts
    found: float  # of these in a cache
    cpu_s: float  # of both replicas
    busiest: float  # share of the requests that one replica got
    load: float  # mean number of runnable processes over the last minute, of all that runs on the machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What was measured, when and where."""

    rounds: tuple[Round, ...]
    cached_tokens: int
    machine: str
    date: str


def main() -> int:
    """Measure, print, and write when asked to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.routing", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of each routing")
    parser.add_argument("--requests", type=int, default=72, help="of each round")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="rewrite the README's table")
    arguments = parser.parse_args()
    told = report(asyncio.run(measure(rounds=arguments.rounds, requests=arguments.requests, seed=arguments.seed)))
    print(told)
    if arguments.write:
        write_results(README, told)
    return 0


async def measure(*, rounds: int, requests: int, seed: int) -> Session:
    """Run the rounds; who comes first alternates."""
    chance = random.Random(seed)
    found = []
    async with staged() as stage:
        for place in range(rounds):
            for routing in list(Routing) if place % 2 == 0 else list(reversed(Routing)):
                found.append(await one_round(stage, routing, requests=requests, chance=chance))
                print(told_round(found[-1]), file=sys.stderr)
        return Session(
            rounds=tuple(found),
            cached_tokens=await stage.cached_tokens(),
            machine=f"{os.cpu_count()} x {processor()}",
            date=datetime.now(UTC).date().isoformat(),
        )


async def one_round(stage: Stage, routing: Routing, *, requests: int, chance: random.Random) -> Round:
    """Ask for each document once, then for documents by lot, and count the latter."""
    documents = [_tokens(chance, DOCUMENT_TOKENS) for _ in range(DOCUMENTS)]
    url = f"{stage.gateways[routing].url}/v1/completions"
    await asked(url, [each + _tokens(chance, QUESTION_TOKENS) for each in documents])
    before = await stage.counters()
    clock = asyncio.get_running_loop().time
    begun_s = clock()
    ttft_ms = await asked(url, [chance.choice(documents) + _tokens(chance, QUESTION_TOKENS) for _ in range(requests)])
    took_s = clock() - begun_s
    counted = [after.since(earlier) for after, earlier in zip(await stage.counters(), before, strict=True)]
    answered = [each.answered for each in counted]
    assert sum(answered) == requests, f"{answered} of {requests} answered"
    return Round(
        routing=routing,
        ttft_ms=tuple(ttft_ms),
        took_s=took_s,
        looked_up=sum(each.looked_up for each in counted),
        found=sum(each.found for each in counted),
        cpu_s=sum(each.cpu_s for each in counted),
        busiest=max(answered) / requests,
        load=os.getloadavg()[0],
    )


async def asked(url: str, prompts: Sequence[list[int]]) -> list[float]:
    """Send prompts, CLIENTS at a time, and return each one's time to the first token in ms."""
    waiting = iter(prompts)
    ttft_ms: list[float] = []

    async def client(session: aiohttp.ClientSession) -> None:
        for prompt in waiting:
            waited_ms = await _first_token_ms(session, url, prompt)
            ttft_ms.append(waited_ms)

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as session:
        await asyncio.gather(*(client(session) for _ in range(CLIENTS)))
    return ttft_ms


async def _first_token_ms(session: aiohttp.ClientSession, url: str, prompt: list[int]) -> float:
    body = {"model": SERVED, "prompt": prompt, "max_tokens": ANSWER_TOKENS, "ignore_eos": True, "temperature": 0.0, "stream": True}
    clock = asyncio.get_running_loop().time
    sent_s = clock()
    async with session.post(url, json=body) as response:
        first = await response.content.readany()
        waited_ms = (clock() - sent_s) * 1e3
        rest = await response.content.read()
        whole = (first + rest).rstrip().endswith(b"[DONE]")
        assert (response.status, response.headers["x-served-by"], whole) == (200, "owned", True), first + rest
    return waited_ms


def _tokens(chance: random.Random, count: int) -> list[int]:
    return [chance.randint(FIRST_TOKEN, LAST_TOKEN) for _ in range(count)]


def report(session: Session) -> str:
    """Return the table with how it came about."""
    loads = ", ".join(f"{each.load:.1f}" for each in session.rounds)
    when = f"{session.date}, {session.machine}; load average at the end of each round: {loads}."
    what = (
        f"{DOCUMENTS} documents of {DOCUMENT_TOKENS} tokens, {DOCUMENTS * DOCUMENT_TOKENS} in all; the prefix cache of each of {REPLICAS} "
        f"replicas holds {session.cached_tokens}. {QUESTION_TOKENS} tokens of question, {ANSWER_TOKENS} of answer, {CLIENTS} clients."
    )
    head = (
        "| routing | rounds | requests | prompt tokens found in a cache | first token, mean | p50 | p95 | requests/s "
        "| CPU of the replicas, a request | busiest replica's share |\n|---|---|---|---|---|---|---|---|---|---|"
    )
    rows = [told_rounds([each for each in session.rounds if each.routing is routing]) for routing in Routing]
    return "\n\n".join((f"{when} {what}", "\n".join((head, *rows))))


def told_rounds(rounds: Sequence[Round]) -> str:
    """Return one routing's row; of what is one figure for each round, the mean."""
    ttft_ms = np.concatenate([each.ttft_ms for each in rounds])
    found = sum(each.found for each in rounds) / sum(each.looked_up for each in rounds)
    rate = len(ttft_ms) / sum(each.took_s for each in rounds)
    busiest = float(np.mean([each.busiest for each in rounds]))
    cpu_ms = sum(each.cpu_s for each in rounds) / len(ttft_ms) * 1e3
    p50, p95 = np.percentile(ttft_ms, (50, 95))
    return (
        f"| {rounds[0].routing} | {len(rounds)} | {len(ttft_ms)} | {found * 100:.0f} % | {ttft_ms.mean():.0f} ms | {p50:.0f} ms "
        f"| {p95:.0f} ms | {rate:.1f} | {cpu_ms:.0f} ms | {busiest * 100:.0f} % |"
    )


def told_round(each: Round) -> str:
    """Return one round's row."""
    return told_rounds([each])


if __name__ == "__main__":
    sys.exit(main())
