"""Long prompts kept and spilled, side by side: `hosted.overflow.longPrompts`, all else equal.

python -m benchmarks.autoscaling long [--trace NAME ...] [--kappa K ...] [--days N]
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.autoscaling.unit import Bench, Row, Unit
from spillway.plan.replica.long_prompts import longest_own_prompt_tokens

START_UP_S = 180.0
KAPPAS = (1.5, 2.5, 10.0)
HEAD = (
    "| trace | kappa | longest own | longer | cost | SLO % | worst 5 min % | spilled % | starts |\n|---|---|---|---|---|---|---|---|---|\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One cell: what is kept, and spilled."""

    kept: Row
    spilled: Row
    longest_tokens: int
    long_share: float


def pairs(traces: Sequence[str], kappas: Sequence[float], days: float) -> Iterator[Pair]:
    """Yield the cells, one seed of each. Raises ValueError where nothing says which prompts are long."""
    for trace in traces:
        for kappa in kappas:
            plain, spilling = (
                Bench(
                    Unit(trace=trace, start_up_s=START_UP_S, seed=1, days=days, kappas=(kappa,), baselines=False, spills_long_prompts=each)
                )
                for each in (False, True)
            )
            longest = longest_own_prompt_tokens(spilling.case.spec, spilling.case.accelerator)
            if longest is None:
                raise ValueError("no prompt is long: the workload needs slo.timeToFirstTokenMs and a model of known shape")
            share = float((spilling.trace.input_tokens > longest).mean())
            yield Pair(kept=plain.ours(kappa), spilled=spilling.ours(kappa), longest_tokens=longest, long_share=share)


def row(pair: Pair) -> str:
    """Return a cell as a line of the table: kept, then spilled."""
    kept, spilled = pair.kept, pair.spilled
    return (
        f"| {kept.trace} | {kept.kappa:g} | {pair.longest_tokens:,} | {pair.long_share:.3%} | {spilled.cost_usd / kept.cost_usd - 1:+.2%} "
        f"| {kept.attainment_percent:.2f}, {spilled.attainment_percent:.2f} "
        f"| {kept.worst_5_min_percent:.1f}, {spilled.worst_5_min_percent:.1f} "
        f"| {kept.spilled_percent:.1f}, {spilled.spilled_percent:.1f} | {kept.starts}, {spilled.starts} |"
    )
