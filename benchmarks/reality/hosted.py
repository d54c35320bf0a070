"""A hosted endpoint over TLS whose latencies are drawn from a known distribution, in a process of its own.

    python -m benchmarks.reality.hosted SETTING

SETTING is a JSON file: `hosted` (the distribution), `seed`, `chain` and `key` (of its certificate, files), `api_key` and `model`. It prints
its port, serves until its standard input ends, and then prints what was wrong with the requests that came, as a JSON list.
"""

import asyncio
import json
import math
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aiohttp import web

from benchmarks.reality.lab import restored_hosted
from spillway.simulate.setting import HostedModel
from spillway.simulate.simulate import NORMAL_99
from tests.dataplane import certificates, fakes
from tests.dataplane.conftest import HOSTED_HEADERS

MODEL = "vendor/alpha-model"
HOST = "alpha.test"


@asynccontextmanager
async def hosted(model: HostedModel, *, authority: certificates.Authority, api_key: str, folder: Path, seed: int) -> AsyncIterator[int]:
    """Run it for the length of a block; gives its port, and ends the program when it got what it must not."""
    chain, key = authority.issue(HOST, folder / "certificates")
    setting = folder / "hosted.json"
    said = {"hosted": asdict(model), "seed": seed, "chain": str(chain), "key": str(key), "api_key": api_key, "model": MODEL}
    setting.write_text(json.dumps(said))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.reality.hosted", str(setting)), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout
    try:
        yield int(await process.stdout.readline())
    finally:
        ended, _ = await process.communicate(b"")
    if problems := json.loads(ended):
        raise SystemExit(f"the hosted side got what it must not: {problems[:3]}")


async def _serve(setting: dict[str, Any]) -> list[str]:
    """Serve until standard input ends; return what was wrong with requests."""
    chance = random.Random(setting["seed"])
    model = restored_hosted(setting["hosted"])
    backend = fakes.Backend(
        model=setting["model"],
        keys=frozenset({setting["api_key"]}),
        allowed_headers=HOSTED_HEADERS,
        tls=certificates.server(Path(setting["chain"]), Path(setting["key"])),
        script=lambda _, request, body: _answer_in_time(request, body, model, chance),
    )
    await backend.start()
    backend.host = f"{HOST}:{backend.port}"
    print(backend.port, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await backend.stop()
    return backend.problems


async def _answer_in_time(request: web.Request, body: dict[str, Any], model: HostedModel, chance: random.Random) -> web.StreamResponse:
    """Stream as many tokens as asked for, the first and the others when the model says."""
    sigma = math.log(model.ttft_p99_ms / model.ttft_median_ms) / NORMAL_99
    first_s = chance.lognormvariate(math.log(model.ttft_median_ms), sigma) / 1e3
    gap_s = chance.uniform(*model.inter_token_ms) / 1e3
    clock = asyncio.get_running_loop().time
    begun_s = clock()
    response = await fakes.open_stream(request)
    with fakes.stream_end(response):
        for token in range(int(body["max_tokens"])):
            await asyncio.sleep(max(0.0, begun_s + first_s + token * gap_s - clock()))
            await response.write(fakes.event({"object": "text_completion", "choices": [{"index": 0, "text": "hel"}]}))
        if (body.get("stream_options") or {}).get("include_usage"):
            await response.write(fakes.event({"object": "text_completion", "choices": [], "usage": fakes.usage()}))
        await response.write(b"data: [DONE]\n\n")
        await response.write_eof()
    return response


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_serve(json.loads(Path(sys.argv[1]).read_text())))))
