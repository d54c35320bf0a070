"""What breaks, and what must and must not become of the requests that are sent meanwhile."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.dataplane import fakes
from tests.dataplane.conftest import KEYS, Stage
from tests.dataplane.fakes import Backend
from tests.dataplane.load import Load
from tests.dataplane.process import until

CAP_PUSHES, KEY_ROTATIONS = 120, 20
# A stream waits for headers as long as its target says, then it is tried elsewhere; on a busy machine these wait for their turn.
PATIENT = {"slo": {"timeToFirstTokenMs": 30_000}}
_SHORT = {"gateway": {"replicas": 1, "maxRequestSeconds": 10}}
_OWNED = {"engines": 2, "spec": PATIENT}
_RENTED = {"engines": 1, "cap": 2, "spec": PATIENT}  # two slots of our own for eight clients: the others are spilled
_NAMED = {"dns": True, "spec": PATIENT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault. Each outcome of a request is in `some` (must be seen), in `none` (must not), or may be."""

    name: str
    seen: str  # what clients see, for the table
    stage: dict[str, Any]
    play: Callable[[Stage, Load], Awaitable[None]]
    some: frozenset[str]
    none: frozenset[str]
    pause_s: float = 0.01
    waits: bool = False  # most of the time for a timeout; those that do are played together
    errors: frozenset[str] = field(default_factory=frozenset)  # of failed requests; no other may come


async def _killed_before_an_answer(scene: Stage, load: Load) -> None:
    doomed = scene.engines[0]
    doomed.script = fakes.hang(asyncio.Event())
    await until(lambda: doomed.active >= 2, "requests wait at the replica")
    await doomed.kill()
    await load.more("sent", 40)


@dataclass(slots=True)
class _Begun:
    """Answers that began and did not end."""

    streamed: int = 0
    plain: int = 0

    @property
    def missing(self) -> set[str]:
        """Which kinds have not begun often enough."""
        return {kind for kind, begun, wanted in (("streamed", self.streamed, 2), ("plain", self.plain, 1)) if begun < wanted}

    def script(self, *, half_close: bool) -> fakes.Script:
        """Return a script that begins every answer and ends none, but for those that would take the places of a kind that is missing."""

        async def script(backend: Backend, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
            if self.missing and ("streamed" if body.get("stream") else "plain") not in self.missing:
                return await fakes.complete(backend, request, body)
            if body.get("stream"):
                response = await fakes.open_stream(request)
                await response.write(fakes.event(fakes.delta("hel")))
                self.streamed += 1
            else:
                response = web.StreamResponse(headers={"content-type": "application/json", "content-length": "1000"})
                await response.prepare(request)
                await response.write(b'{"choices":')
                self.plain += 1
            if half_close:
                fakes.send_no_more(request)
            await asyncio.Event().wait()
            raise AssertionError

        return script

    async def noticed(self, load: Load) -> None:
        """Wait until clients know, and see that exactly what had begun did not end well."""
        await until(lambda: load.tally.lost + load.tally.failed >= self.streamed + self.plain, f"clients notice: {load.tally}")
        assert (load.tally.lost, load.tally.failed) == (self.streamed, self.plain)


async def _killed_in_mid_answer(scene: Stage, load: Load) -> None:
    doomed, begun = scene.engines[0], _Begun()
    doomed.script = begun.script(half_close=False)
    await until(lambda: not begun.missing, "answers have begun")
    await doomed.kill()
    await begun.noticed(load)  # one that was sent again would have ended well
    await load.more("sent", 40)


async def _hung(scene: Stage, load: Load) -> None:
    engine = scene.engines[0]
    engine.frozen = asyncio.Event()
    await load.more("failed", 1)  # plain calls may take their time: until the longest that a request may
    await load.more("spilled", 20)
    engine.frozen.set()
    engine.frozen = None
    await load.more("owned", 20)


@contextlib.asynccontextmanager
async def _replica(scene: Stage, **how: Any) -> AsyncIterator[Backend]:
    """Start a replica that the gateway finds by its name."""
    assert scene.names
    engine = await Backend(model="tiny-chat", address="127.0.0.2", port=scene.gateway.addresses.engine_port, **how).start()
    scene.names.addresses = ["127.0.0.2"]
    try:
        yield engine
    finally:
        await engine.stop()
    assert not engine.problems


async def _starts_slowly(scene: Stage, load: Load) -> None:
    async with _replica(scene, healthy=False) as engine:
        await until(lambda: engine.checks >= 2, "the gateway knows that it is not ready")
        await load.more("spilled", 20)
        assert engine.requests == 0
        engine.healthy = True
        await load.more("owned", 20)
        await load.finish()


async def _no_name(scene: Stage, load: Load) -> None:
    assert scene.names
    async with _replica(scene):
        await load.more("owned", 20)
        scene.names.addresses = []
        await load.more("spilled", 20)
        await load.finish()


async def _no_name_server(scene: Stage, load: Load) -> None:
    assert scene.names
    async with _replica(scene):
        await load.more("owned", 20)
        spilled, failures = load.tally.spilled, await _failed_look_ups(scene)
        scene.names.close()
        await until(lambda: _looked_up_in_vain(scene, failures), "the gateway asks and is not answered")
        await load.more("owned", 20)
        await load.finish()
        assert load.tally.spilled == spilled, "known replicas go on serving"


async def _failed_look_ups(scene: Stage) -> float:
    return await scene.gateway.metric("envoy_cluster_update_failure", envoy_cluster_name="owned")


async def _looked_up_in_vain(scene: Stage, before: float) -> bool:
    return await _failed_look_ups(scene) >= before + 2


def _hosted(script: fakes.Script) -> Callable[[Stage, Load], Awaitable[None]]:
    async def play(scene: Stage, load: Load) -> None:
        await load.more("owned", 10)
        scene.alpha.script = script
        await load.more("sent", 60)

    return play


async def _hosted_waits(scene: Stage, load: Load) -> None:
    scene.alpha.script = fakes.hang(asyncio.Event())
    await load.more("failed", 4)


async def _hosted_is_followed(scene: Stage, load: Load) -> None:
    scene.alpha.script = fakes.fail(500)
    await load.more("sent", 60)


async def _hosted_ends_in_mid_answer(scene: Stage, load: Load) -> None:
    begun = _Begun()
    scene.alpha.script = begun.script(half_close=True)
    await until(lambda: not begun.missing, "answers have begun")
    scene.alpha.script = None
    await begun.noticed(load)
    await load.more("spilled", 20)


async def _untrusted(scene: Stage, load: Load) -> None:
    await load.more("sent", 60)
    assert scene.alpha.requests == 0, "nothing is told to who is not the provider"


async def _caps_change(scene: Stage, load: Load) -> None:
    for push in range(CAP_PUSHES):
        cap = push % 13
        scene.gateway.set_cap(cap)
        await until(lambda cap=cap: _cap_is(scene, cap), f"cap {cap} is in force")
    await load.more("sent", 1)


async def _cap_is(scene: Stage, cap: int) -> bool:
    return await scene.gateway.cap_in_force() == cap


async def _keys_change(scene: Stage, load: Load) -> None:
    keys = [f"alpha-key-{number}" for number in range(2, KEY_ROTATIONS + 2)]
    scene.alpha.keys = frozenset({KEYS["alpha"], *keys})
    for key in keys:
        scene.gateway.write_key("alpha", key)
        await until(lambda key=key: _last_key(scene) == f"Bearer {key}", f"{key} is used")
    scene.alpha.keys = frozenset({keys[-1]})  # requests with an earlier one are over: the loads are closed loops
    await load.more("spilled", 20)


def _last_key(scene: Stage) -> str | None:
    return scene.alpha.headers[-1]["Authorization"] if scene.alpha.headers else None


async def _nothing(_: Stage, load: Load) -> None:
    await load.more("sent", 400)  # some 200 KiB of log


_CUT_SHORT = "plain calls: 502 `gateway_error`; streams are cut, and cannot be taken for whole"
_UNHARMED = frozenset({"failed", "lost"})
_NO_CAPACITY, _TIMEOUT, _CUT = "503 no_capacity", "504 timeout", "502 gateway_error"


def _some(*outcomes: str) -> frozenset[str]:
    return frozenset(outcomes)


def _refusing(name: str, script: fakes.Script) -> Fault:
    return Fault(
        name=name,
        seen="503 `no_capacity` with `Retry-After` for what does not fit on own replicas",
        stage=_RENTED,
        play=_hosted(script),
        some=_some("owned", "failed"),
        none=_some("lost"),
        errors=_some(_NO_CAPACITY),
    )


FAULTS = (
    Fault(
        name="replica killed before the first byte",
        seen="an answer: what waited there is sent on",
        stage=_OWNED,
        play=_killed_before_an_answer,
        some=_some("owned", "spilled"),
        none=_UNHARMED,
    ),
    Fault(
        name="replica killed after the first byte",
        seen=_CUT_SHORT + "; nothing is sent twice",
        stage=_OWNED,
        play=_killed_in_mid_answer,
        some=_some("owned", "failed", "lost"),
        none=frozenset(),
        errors=_some(_CUT),
    ),
    Fault(
        name="replica hung",
        seen="streams: a hosted answer after the TTFT target; plain calls that were there: 504 `timeout` after `maxRequestSeconds`",
        stage={"engines": 1, "spec": _SHORT},
        play=_hung,
        waits=True,
        some=_some("owned", "spilled", "failed"),
        none=_some("lost"),
        pause_s=0.1,
        errors=_some(_TIMEOUT),
    ),
    Fault(
        name="replica slow to start",
        seen="hosted answers until it is ready",
        stage=_NAMED,
        play=_starts_slowly,
        waits=True,
        some=_some("owned", "spilled"),
        none=_UNHARMED,
    ),
    Fault(
        name="DNS has no replica any more",
        seen="hosted answers",
        stage=_NAMED,
        play=_no_name,
        some=_some("owned", "spilled"),
        none=_UNHARMED,
    ),
    Fault(
        name="DNS gone",
        seen="nothing: replicas that are known go on",
        stage=_NAMED,
        play=_no_name_server,
        some=_some("owned"),
        none=_UNHARMED,
    ),
    _refusing("hosted 429", fakes.fail(429)),
    _refusing("hosted 500", fakes.fail(500)),
    _refusing("hosted closes without an answer", fakes.close),
    _refusing("hosted half-closes before an answer", fakes.half_close),
    Fault(
        name="hosted certificate of somebody else",
        seen="503 `no_capacity` for what does not fit on own replicas; nothing is sent there",
        stage={**_RENTED, "certificate": "somebody-else.test", "healthy": False},
        play=_untrusted,
        some=_some("owned", "failed"),
        none=_some("spilled", "lost"),
        errors=_some(_NO_CAPACITY),
    ),
    Fault(
        name="hosted hangs",
        seen="504 `timeout` after `maxRequestSeconds` for what was sent there",
        stage={**_RENTED, "spec": PATIENT | _SHORT},
        play=_hosted_waits,
        waits=True,
        some=_some("owned", "failed"),
        none=_some("lost", "spilled"),
        pause_s=0.1,
        errors=_some(_TIMEOUT),
    ),
    Fault(
        name="hosted half-closes in mid-answer",
        seen=_CUT_SHORT,
        stage=_RENTED,
        play=_hosted_ends_in_mid_answer,
        some=_some("owned", "spilled", "failed", "lost"),
        none=frozenset(),
        errors=_some(_CUT),
    ),
    Fault(
        name="hosted 500, and a second hosted backend",
        seen="the second one's answer",
        stage={**_RENTED, "hosted": 2},
        play=_hosted_is_followed,
        some=_some("owned", "spilled"),
        none=_UNHARMED,
    ),
    Fault(
        name=f"{CAP_PUSHES} changes of the cap",
        seen="nothing",
        stage=_OWNED,
        play=_caps_change,
        some=_some("owned", "spilled"),
        none=_UNHARMED,
    ),
    Fault(
        name=f"{KEY_ROTATIONS} rotations of the hosted key",
        seen="nothing",
        stage=_RENTED,
        play=_keys_change,
        some=_some("owned", "spilled"),
        none=_UNHARMED,
    ),
)
LOG_FULL = Fault(
    name="full disk: the access log cannot be written",
    seen="nothing",
    stage=_RENTED,
    play=_nothing,
    some=_some("owned", "spilled"),
    none=_UNHARMED,
)
LOG_STUCK = Fault(
    name="nobody reads the access log",
    seen="nothing; lines pile up in the gateway's memory",
    stage=_RENTED,
    play=_nothing,
    some=_some("owned", "spilled"),
    none=_UNHARMED,
)
