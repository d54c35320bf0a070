"""What gateway pods hold now, asked of them directly: Prometheus shows it half a minute later, and shares of the cap move in seconds."""

import asyncio
import json
import re

import aiohttp

from spillway.api.vocabulary import CLUSTER_OWNED
from spillway.plan.gateway.shares import MOST_COUNTED, GatewayLoad
from spillway.render.envoy.operations import IN_FORCE_PATH
from spillway.render.envoy.owned import CAP_KEY

TIMEOUT_S = 1.0  # a pod of the same cluster answers in a millisecond
# A gateway says this in some kilobytes. Whoever may make pods can give one the labels of a gateway and have it say more, or elsewhere.
MOST_BYTES = 64 * 1024
METRICS_PATH = "/metrics"
FILTER = f"^cluster\\.({CLUSTER_OWNED}|hosted-.*)\\.upstream_rq_active"  # a few lines of some thousand
_SAMPLE = re.compile(r'^envoy_cluster_upstream_rq_active(_overflow)?\{envoy_cluster_name="([^"]*)"\} (\d+)$', re.MULTILINE)


async def read_load(session: aiohttp.ClientSession, url: str) -> GatewayLoad | None:
    """Return what the gateway at this URL (of its second port) holds; None when it does not say.

    What is in force is read first: what is open can then only fall to it.
    """
    try:
        async with asyncio.timeout(TIMEOUT_S):
            in_force = int(json.loads(await _told(session, f"{url}{IN_FORCE_PATH}"))["entries"][CAP_KEY]["final_value"])
            return _load(in_force, await _told(session, f"{url}{METRICS_PATH}", filter=FILTER))
    except (aiohttp.ClientError, OSError, ValueError, LookupError, TypeError, OverflowError, RecursionError):  # TimeoutError is an OSError
        return None


async def _told(session: aiohttp.ClientSession, url: str, **query: str) -> str:
    """Return what a gateway says. Raises ValueError for what none would."""
    plain = {"Accept-Encoding": "identity"}
    async with session.get(url, params=query, headers=plain, auto_decompress=False, allow_redirects=False) as response:
        response.raise_for_status()
        said = bytearray()
        async for part in response.content.iter_any():
            said += part
            if len(said) > MOST_BYTES:
                raise ValueError("no gateway says so much")
        return said.decode()


def _load(in_force: int, text: str) -> GatewayLoad | None:
    owned, hosted, turned_away = None, 0, None
    for overflow, cluster, count in _SAMPLE.findall(text):
        if cluster != CLUSTER_OWNED:
            hosted += 0 if overflow else int(count)
        elif overflow:
            turned_away = int(count)
        else:
            owned = int(count)
    if owned is None or turned_away is None or max(abs(in_force), owned, hosted, turned_away) > MOST_COUNTED:
        return None
    return GatewayLoad(in_force=in_force, owned=owned, hosted=hosted, turned_away=turned_away)
