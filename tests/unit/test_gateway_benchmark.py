"""The gateway's benchmark says which bars are met, and calls no peer beaten that it has not measured."""

from collections.abc import Mapping

from benchmarks.gateway import report
from benchmarks.gateway.measures import Figures
from benchmarks.gateway.report import Bar
from benchmarks.gateway.stage import DEDICATED, DIRECT, OWNED, PLAIN, SAME, SPILLED

PEER, ABSENT = "a peer", "an absent peer"
# In microseconds, in two rounds of which the second is twice as slow for all: each bar is just met, and the peer is just slower.
P50_US = {DIRECT: 20, PLAIN: 100, SAME: 108, OWNED: 135, DEDICATED: 110, SPILLED: 250, PEER: 136}
FIRST_US = {DIRECT: 100, OWNED: 500, DEDICATED: 500}


def figures(p50_us: Mapping[str, float] | None = None, *, together: int = 1) -> dict[str, Figures]:
    """Return figures, of which some are other ones."""
    return {name: _figures((p50_us or {}).get(name, each), FIRST_US.get(name, 500), together) for name, each in P50_US.items()}


def _figures(p50_us: float, first_us: float, together: int) -> Figures:
    return Figures(
        p50_us=[p50_us, 2 * p50_us],
        all_us=[p50_us, 2 * p50_us],
        first_us=[first_us, first_us + 100],
        lag_us=[50.0] * 100,
        together=together,
        per_s={16: [10_000], 256: [5000]},
    )


def bars(found: dict[str, Figures], *, absent: dict[str, str] | None = None, burst: float = 0.95) -> dict[str, Bar]:
    return {each.what: each for each in report.bars(found, peers=[PEER], absent=absent or {}, burst=burst)}


def missed(found: dict[str, Bar]) -> set[str]:
    return {what for what, bar in found.items() if not bar.met}


def test_bars_are_met_at_what_they_allow() -> None:
    assert not missed(bars(figures()))


def test_a_peer_that_was_not_run_is_not_beaten() -> None:
    found = bars(figures(), absent={ABSENT: "set its variable"})
    assert missed(found) == {f"{OWNED}: p50 over {ABSENT}"}
    assert found[f"{OWNED}: p50 over {ABSENT}"].found == "not run: set its variable"


def test_a_peer_that_is_as_fast_is_not_beaten() -> None:
    assert missed(bars(figures({PEER: 135}))) == {f"{OWNED}: p50 over {PEER}"}
    assert missed(bars(figures({PEER: 110}))) == {f"{name}: p50 over {PEER}" for name in (OWNED, DEDICATED)}


def test_each_bar_is_missed_by_what_is_just_worse() -> None:
    assert missed(bars(figures({SPILLED: 251}))) == {f"{SPILLED}: p50 over {PLAIN}"}
    assert missed(bars(figures({SAME: 107.9}))) == {f"{OWNED}: p50 over {SAME}"}
    assert missed(bars(figures({PLAIN: 99}))) == {f"{OWNED}: p50 over {PLAIN}", f"{SPILLED}: p50 over {PLAIN}"}
    assert missed(bars(figures(together=2))) == {f"{OWNED}: 256 streams"}
    assert missed(bars(figures(), burst=0.94)) == {"a burst of 256 streams: owned slots taken before the first spill"}
    late = figures()
    late[OWNED].first_us = [601, 702]
    assert missed(bars(late)) == {f"{OWNED}: first byte of a stream"}


def test_a_row_has_what_every_target_was_measured_by() -> None:
    (row,) = [line for line in report.table(figures()).splitlines() if line.startswith(f"| {SPILLED} ")]
    cells = [each.strip() for each in row.split("|")[1:-1]]
    assert cells[1:9] == ["375 µs", "250 µs", "500 µs", "2.50x", "0.55 ms", "0.05 ms, 0.05 ms", "10,000", "5,000"]
