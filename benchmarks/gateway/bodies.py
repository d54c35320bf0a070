"""What a body's making costs the gateway: CPU to read 8 MiB of one thing on its way to a limited hosted backend, beside as much text."""

import argparse
import asyncio
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.gateway.report import circumstances
from spillway.render.envoy.config import GatewayAddresses
from tests.dataplane import decisions
from tests.dataplane.client import Client
from tests.dataplane.process import Gateway, running

BYTES = 8 * 1024 * 1024
TEXT = "x"
THINGS = {"brackets": "[", "numbers": "1,", "empty strings": '"",', "escaped letters": "\\u0041", "escapes of none": "\\u00"}
MOST_TIMES = 20.0  # as much as text; while it is read, its worker does nothing else
_PROVIDER, _MODEL = "alpha", "vendor/alpha-model"


def main() -> int:
    """Run, print a table, and say by the exit status whether each is within the bar."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway.bodies", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="requests of each kind, by turns")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as scratch:
        spent_ms = asyncio.run(_measured(rounds, Path(scratch)))
    text_ms = statistics.median(spent_ms.pop("text"))
    times = {name: statistics.median(each) / text_ms for name, each in spent_ms.items()}
    print(f"| 8 MiB of | CPU, median of {rounds} | beside text |\n|---|---|---|\n| text | {text_ms:.0f} ms | 1.0x |")
    print("\n".join(f"| {name} | {statistics.median(spent_ms[name]):.0f} ms | {each:.1f}x |" for name, each in times.items()))
    print(f"\n{circumstances(f'python -m benchmarks.gateway.bodies --rounds {rounds}')}")
    return 0 if max(times.values()) <= MOST_TIMES else 1


async def _measured(rounds: int, scratch: Path) -> dict[str, list[float]]:
    """Return the gateway's CPU time of each request, milliseconds, by what its body is made of."""
    spec = {
        "model": {"id": decisions.MODEL},
        "placement": {"mode": "Hosted"},
        "hosted": {"backends": [{"providerRef": {"name": _PROVIDER}, "model": _MODEL}], "overflow": {"maxUSDPerDay": "1"}},
        "gateway": {"replicas": 1},
    }
    workload = decisions.workload(spec)
    provider = decisions.provider(f"https://{_PROVIDER}.test/v1", _MODEL)  # never asked: there is no permit
    decision = decisions.decision(workload, {_PROVIDER: provider}, cap=0)
    bodies = {"text": _body(f'"{TEXT * BYTES}"')} | {name: _body(_filled(each)) for name, each in THINGS.items()}
    spent_ms: dict[str, list[float]] = {name: [] for name in bodies}
    async with running(workload, decision, scratch, GatewayAddresses()) as gateway, Client(gateway.url) as client:
        for _ in range(rounds):
            for name, body in bodies.items():
                spent_ms[name].append(await _spent_ms(gateway, client, body))
    return spent_ms


async def _spent_ms(gateway: Gateway, client: Client, body: bytes) -> float:
    before_s = gateway.cpu_s()
    answer = await client.post(body)
    assert answer.json["error"]["code"] == "spill_permit_missing", answer
    return 1000 * (gateway.cpu_s() - before_s)


def _body(value: str) -> bytes:
    return f'{{"model":"{decisions.SERVED}","stream":true,"text":{value}}}'.encode()


def _filled(thing: str) -> str:
    """Return a JSON value of this size that is made of one thing alone."""
    many = thing * (BYTES // len(thing))
    if thing == "[":
        return many[: BYTES // 2] + "]" * (BYTES // 2)
    return f'"{many}"' if thing.startswith("\\") else f"[{many.removesuffix(',')}]"


if __name__ == "__main__":
    sys.exit(main())
