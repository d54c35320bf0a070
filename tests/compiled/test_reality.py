"""What a GPU said once, against the simulator and the learner as they are now: a change that takes them away from it fails here."""

from pathlib import Path

from benchmarks.reality import __main__ as reality
from benchmarks.reality import figures, gpu
from benchmarks.reality.session import restored

KEPT = Path(reality.__file__).with_name("on_gpu.json")


def test_the_simulator_still_meets_the_bars_that_a_real_gpu_sets() -> None:
    session = restored(KEPT)
    found = figures.compared(reality.simulated(session, seed=1), session.measured)
    assert [each.name for each in found if each.met is False] == []
    assert {each.name for each in found if each.met} >= {"spilled", "failed", "SLO attainment", "own: first token, p50"}


def test_production_learns_a_rate_from_a_real_gpus_counters_that_it_keeps() -> None:
    session = restored(KEPT)
    assert session.promise
    assert session.learned
    learned = gpu.learned(session.fit, session.lab)
    assert learned.requests_per_s
    # The plan's whole rate broke the promise there; a new engine kept what was learned of it.
    assert session.promise.met_percent < 99 <= session.learned.met_percent
    assert learned.requests_per_s <= session.learned.requests_per_s + 0.5 < session.promise.requests_per_s
    assert learned.batch < session.limits.max_num_seqs
