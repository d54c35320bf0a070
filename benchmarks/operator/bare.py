"""A bare client: applies prepared requests over 32 connections, in a process of its own, and prints how long that took.

Run as `python -m benchmarks.operator.bare KUBECONFIG REQUESTS`, where REQUESTS is a file with one JSON array [path, body] a line. It
does what any client must (send, read the answer to the end, look at the code) and nothing else.
"""

import asyncio
import json
import ssl
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import yaml

CONNECTIONS = 32


async def apply_all(kubeconfig: Path, requests: list[tuple[str, bytes]]) -> float:
    """Send all requests; return the seconds it took."""
    server, context = access(kubeconfig)
    connector = aiohttp.TCPConnector(limit=CONNECTIONS, ssl=context)
    left = iter(requests)
    async with aiohttp.ClientSession(connector=connector) as session:
        started = time.monotonic()
        await asyncio.gather(*(_send(session, server, left) for _ in range(CONNECTIONS)))
        return time.monotonic() - started


async def _send(session: aiohttp.ClientSession, server: str, left: Iterator[tuple[str, bytes]]) -> None:
    headers = {"Content-Type": "application/apply-patch+yaml", "Accept": "application/json"}
    for path, body in left:
        async with session.patch(server + path, data=body, headers=headers) as answer:
            content = await answer.read()
            if answer.status >= 300:
                raise RuntimeError(f"{path}: {content.decode()}")


def access(kubeconfig: Path) -> tuple[str, ssl.SSLContext]:
    """Return the server's address and how to be trusted by it."""
    config = yaml.safe_load(kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    context = ssl.create_default_context(cadata=_pem(cluster["certificate-authority-data"]))
    pair = kubeconfig.with_suffix(".bare.pem")
    pair.write_text(_pem(user["client-certificate-data"]) + _pem(user["client-key-data"]))
    pair.chmod(0o600)
    context.load_cert_chain(pair)
    return cluster["server"], context


def _pem(data: str) -> str:
    import base64

    return base64.b64decode(data).decode()


def main() -> None:
    kubeconfig, file = Path(sys.argv[1]), Path(sys.argv[2])
    requests = [(path, json.dumps(body).encode()) for path, body in map(json.loads, file.read_text().splitlines())]
    cpu_s = time.process_time()
    wall_s = asyncio.run(apply_all(kubeconfig, requests))
    print(json.dumps({"requests": len(requests), "wall_s": wall_s, "cpu_s": time.process_time() - cpu_s}))


if __name__ == "__main__":
    main()
