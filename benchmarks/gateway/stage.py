"""Everything that a run measures, on loopback: engines, a provider, gateways of ours, lesser Envoys, peers."""

import contextlib
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gateway import targets
from benchmarks.gateway.peers import ENGINE_PORT, peers
from benchmarks.gateway.processes import Target, await_answer, compiled, envoy_process, running
from tests.dataplane import certificates
from tests.dataplane.process import port_of, reserved

HERE = Path(__file__).parent
DIRECT, PLAIN, SAME = "direct", "plain Envoy hop", "Envoy, same filters"
OWNED, DEDICATED, SPILLED = "Spillway, owned", "Spillway, owned, Dedicated", "Spillway, spilled"
BURST_SLOTS = 64
_EVENT_US, _HELD_US = 200_000, 3_000_000  # between events of a stream


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What there is to measure."""

    client: Path  # the load generator
    targets: list[Target]
    burst: Target  # a gateway with BURST_SLOTS slots whose streams, owned or spilled, last longer than any burst
    held: tuple[int, int]  # ports of the engines behind it: its own, and the provider's
    absent: dict[str, str]  # peers that were not run, and why


class _Builder:
    def __init__(self, scratch: Path, stack: ExitStack) -> None:
        self.scratch, self.stack = scratch, stack
        (scratch / "answer.json").write_text(json.dumps(targets.ANSWER))
        self.engine_program = compiled(scratch, HERE / "engine.c")

    def free_port(self) -> int:
        return port_of(self.stack.enter_context(reserved()))

    def engine(self, name: str, *, interval_us: int, port: int | None = None) -> Target:
        at = port or self.free_port()
        command = [str(self.engine_program), str(at), str(self.scratch / "answer.json"), str(interval_us)]
        self.stack.enter_context(running(command, self.scratch / f"{name}.log"))
        return Target(name=name, port=at)

    def envoy(self, name: str, port: int, config: dict[str, object]) -> Target:
        return Target(name=name, port=port, pid=self.stack.enter_context(envoy_process(self.scratch / name, config)))

    def gateway(self, name: str, sides: targets.Sides, *, mode: str = "Hybrid", cap: int = 1000) -> Target:
        listen, folder = self.free_port(), self.scratch / name
        folder.mkdir()
        config = targets.gateway(folder, sides, listen=listen, metrics=self.free_port(), mode=mode, cap=cap)
        lesser = {SAME: targets.single_tier, PLAIN: targets.plain}.get(name)
        return self.envoy(name, listen, lesser(config) if lesser else config)


@contextlib.contextmanager
def set_up(scratch: Path) -> Iterator[Stage]:
    """Run everything for the length of a block."""
    with ExitStack() as stack:
        make = _Builder(scratch, stack)
        fixed = os.environ.get(ENGINE_PORT)
        engine = make.engine(DIRECT, interval_us=_EVENT_US, port=int(fixed) if fixed else None)
        held, rented = (make.engine(name, interval_us=_HELD_US) for name in ("held", "rented"))
        authority = certificates.authority()
        chain, key = authority.issue("alpha.test", scratch)
        tls = make.free_port()
        make.envoy("provider", tls, targets.provider(tls, streams=engine.port, held=rented.port, chain=chain, key=key))
        sides = targets.Sides(engine=engine.port, provider=tls, authority=authority.pem)
        ours = [
            engine,
            *(make.gateway(name, sides) for name in (PLAIN, SAME, OWNED)),
            make.gateway(DEDICATED, sides, mode="Dedicated"),
            make.gateway(SPILLED, sides, cap=0),
        ]
        burst = make.gateway(
            "burst", targets.Sides(engine=held.port, provider=tls, authority=authority.pem, path="/held/v1"), cap=BURST_SLOTS
        )
        for each in (*ours, burst):
            await_answer(each)
        found, absent = stack.enter_context(peers(scratch, engine=engine.port))
        yield Stage(
            client=compiled(scratch, HERE / "client.c"),
            targets=[*ours, *found],
            burst=burst,
            held=(held.port, rented.port),
            absent=absent,
        )
