"""`make demo`: the product at work on a real cluster, with real traffic, shown live.

A quiet time on one owned replica, a burst that spills, a second replica that takes it back, calm and the scale-down, then what it cost and
why each thing was done. The cluster stays up; `make demo-down` removes it.
"""

import argparse
import asyncio
import re
import sys
import time
from collections.abc import Callable
from typing import Any, Self

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tests.e2e.cluster.choice import PROVIDERS, choose
from tests.e2e.stack import Stack, eventually
from tests.e2e.traffic import Load, describe

NAMESPACE, NAME = "quickstart", "chat"
QUIET_S, BURST_MAX_S, FADE_MAX_S, CALM_MAX_S = 60, 180, 120, 240
CALM_PAUSE_S = 3.0  # a stream that begins anew at once keeps more than half a replica busy on two cores
# A replica holds its batch of 4 and, by what a step was measured to take, up to two batches that wait: 16 streams overflow one for certain.
BURST_STREAMS = 16
FADED = 0.5  # of the share that spilled while there was one replica
TOKENS = 40
SHOWN_S = 10  # who answered over the last seconds
REFRESH_S = 1.0
LINE_S = 5.0  # without a terminal: one line this often


class Show:
    """What the viewer sees while traffic runs: a live table on a terminal, a line now and then elsewhere."""

    def __init__(self, console: Console, stack: Stack, load: Load) -> None:
        self._console, self._stack, self._load = console, stack, load
        self._live: Live | None = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._said = 0.0
        self.status: dict[str, Any] = {}

    @property
    def owned(self) -> dict[str, Any]:
        """What the status says of the owned side."""
        return dict(self.status.get("dedicated", {}))

    @property
    def usd_per_hour(self) -> str | None:
        """What the owned side costs, as the status says."""
        found: str | None = self.status.get("cost", {}).get("dedicatedUSDPerHour")
        return found

    def spilled_share(self) -> float:
        """Return the share of the last seconds' answers that hosted backends gave; all of them before there is an answer."""
        lately = self._load.tally.since(time.monotonic() - SHOWN_S)
        return lately.hosted / (lately.owned + lately.hosted) if lately.answers else 1.0

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    async def until(self, phase: str, done: Callable[[], bool], *, within: float) -> None:
        """Show this phase until `done`, or raise when it takes too long."""
        started = time.monotonic()
        while True:
            self.status = (await asyncio.to_thread(self._stack.workload, NAMESPACE, NAME)).get("status", {})
            self._draw(phase, time.monotonic() - started)
            if done():
                return
            if time.monotonic() - started > within:
                raise SystemExit(
                    f"demo: {phase!r} did not end within {within:.0f} s; look with `kubectl -n {NAMESPACE} describe iw {NAME}`"
                )
            await asyncio.sleep(REFRESH_S)

    async def lasting(self, phase: str, seconds: float) -> None:
        """Show this phase for a time."""
        end = time.monotonic() + seconds
        await self.until(phase, lambda: time.monotonic() >= end, within=seconds + 30)

    def _draw(self, phase: str, elapsed: float) -> None:
        lately = self._load.tally.since(time.monotonic() - SHOWN_S)
        figures = {
            "phase": f"{phase} ({elapsed:.0f} s)",
            "open streams": str(self._load.open),
            f"answered by owned / hosted, last {SHOWN_S} s": f"{lately.owned} / {lately.hosted}",
            "answered in all": f"{self._load.tally.owned} owned, {self._load.tally.hosted} hosted, {len(self._load.tally.failed)} failed",
            "replicas ready / wanted": f"{self.owned.get('readyReplicas', 0)} / {self.owned.get('desiredReplicas', 0)}",
            "USD per hour": self.status.get("cost", {}).get("usdPerHour", "not known yet"),
        }
        if self._live:
            table = Table(box=box.SIMPLE, show_header=False)
            for name, value in figures.items():
                table.add_row(Text(name, style="dim"), value)
            self._live.update(table, refresh=True)
        elif time.monotonic() - self._said > LINE_S:
            self._said = time.monotonic()
            self._console.print(
                f"{phase:<34} open {self._load.open:>2} | last {SHOWN_S} s: owned {lately.owned:>2}, hosted {lately.hosted:>2} | "
                f"failed {len(self._load.tally.failed)} | replicas {figures['replicas ready / wanted']}",
                soft_wrap=True,
            )


async def traffic(console: Console, stack: Stack) -> Load:
    """Run the phases and return the load with every answer."""
    load = Load(stack.url(NAMESPACE, NAME) + "/v1", NAME, max_tokens=TOKENS)
    async with load:
        with Show(console, stack, load) as show:

            def ready(count: int) -> bool:
                return bool(show.owned.get("readyReplicas") == count)

            def alone() -> bool:
                """Tell whether the other replica is gone and the status has the price of one again."""
                return ready(1) and show.owned["replicas"] == 1 and show.usd_per_hour == before

            load.hold(1)
            await show.lasting("quiet: one owned replica", QUIET_S)
            before = show.usd_per_hour
            load.hold(BURST_STREAMS)
            await show.until("burst: the overflow spills", lambda: ready(2) and show.spilled_share() > 0, within=BURST_MAX_S)
            spilled = show.spilled_share()
            await show.until("two replicas: the spill fades", lambda: show.spilled_share() <= FADED * spilled, within=FADE_MAX_S)
            # While a few requests come, when the second replica stops to pay depends on how fast these cores happen to be.
            load.hold(0)
            await show.until("calm: no request, scale down", lambda: show.owned["desiredReplicas"] == 1, within=CALM_MAX_S)
            load.hold(1, pause_s=CALM_PAUSE_S)
            await show.until("one replica goes, nothing cut", alone, within=CALM_MAX_S)
            load.hold(0)
    return load


def summary(console: Console, stack: Stack, load: Load) -> None:
    """Print what `kubectl` says at the end, in the terminal's width."""
    item = stack.workload(NAMESPACE, NAME)
    status = item["status"]
    console.rule("kubectl get iw -o wide")
    _print_wide(console, stack.kubectl("-n", NAMESPACE, "get", "iw", "-o", "wide").splitlines())
    console.rule("conditions")
    conditions = Table("Type", "Status", "Reason", "Message", box=box.SIMPLE)
    for found in status["conditions"]:
        conditions.add_row(found["type"], found["status"], found["reason"], found["message"])
    console.print(conditions)
    console.rule("cost")
    cost = Table(box=box.SIMPLE, show_header=False)
    for name, value in status["cost"].items():
        cost.add_row(name, str(value))
    console.print(cost)
    console.rule("last decisions")
    decisions = Table("Time", "What", "Reason", "Why", box=box.SIMPLE)
    for decision in status["decisions"]:
        decisions.add_row(decision["time"][11:19], decision["what"], decision["reason"], decision["why"])
    console.print(decisions)
    tally = load.tally
    console.print(f"{len(tally.answers)} requests: {tally.owned} owned, {tally.hosted} hosted, {len(tally.failed)} failed.")
    if tally.failed:
        raise SystemExit(f"demo: requests failed: {describe(tally.failed)}")


def _print_wide(console: Console, lines: list[str]) -> None:
    """Print kubectl's table as it is where it fits, else one column a line."""
    if max(map(len, lines)) <= console.width:
        for line in lines:
            console.print(line, highlight=False)
        return
    starts = [match.start() for match in re.finditer(r"(?<!\S)\S+( \S+)*", lines[0])]
    table = Table(box=box.SIMPLE, show_header=False)
    for start, end in zip(starts, [*starts[1:], None], strict=True):
        table.add_row(*(line[start:end].strip() for line in lines))
    console.print(table)


def main() -> int:
    """Run the demo; return the exit status."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--provider", choices=["auto", *PROVIDERS], default="auto")
    parser.add_argument("--name", default="spillway")
    parser.add_argument("--yes-this-context", action="store_true", help="use an existing cluster that this tool did not make")
    arguments = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 120)
    stack = Stack(choose(arguments.provider, arguments.name, any_context=arguments.yes_this_context))
    started = time.monotonic()
    stack.up()
    stack.models(NAMESPACE, "med")
    stack.secrets(NAMESPACE)
    stack.apply(*stack.quickstart(NAMESPACE))
    console.print(f"applied examples/quickstart; waiting for Ready … ({time.monotonic() - started:.0f} s so far)")
    stack.await_condition(NAMESPACE, "Ready", within=240)
    stack.await_condition(NAMESPACE, "ReplicasReady", within=240)
    stack.await_hosted()
    eventually(lambda: stack.condition(NAMESPACE, "MetricsAvailable")["status"] == "True", within=90, what="metrics")
    stack.await_routing(NAMESPACE)
    load = asyncio.run(traffic(console, stack))
    summary(console, stack, load)
    console.rule("look around")
    console.print(
        f"The cluster stays up ({time.monotonic() - started:.0f} s in all). Look around with\n"
        f"  export KUBECONFIG={stack.cluster.kubeconfig}\n"
        f"  kubectl -n {NAMESPACE} get iw -w\n"
        f"  kubectl -n {NAMESPACE} describe iw {NAME}\n"
        f"  curl {stack.url(NAMESPACE, NAME)}/v1/models\n"
        "and remove everything with: make demo-down",
        soft_wrap=True,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
