"""What the probes say of each state the process can be in."""

from dataclasses import replace

import pytest

from spillway.edge.vitals import Role, Vitals, Watches, not_live, not_ready

WELL = Vitals(watches=Watches.RUNNING, role=Role.LEADING, stalled_s=0, stuck_after_s=14, all_shown=True)


@pytest.mark.parametrize("role", [Role.LEADING, Role.STANDBY])
def test_a_replica_that_leads_or_stands_by_is_live_and_ready(role: Role) -> None:
    vitals = replace(WELL, role=role)
    assert (not_live(vitals), not_ready(vitals)) == (None, None)


@pytest.mark.parametrize(
    ("vitals", "problem"),
    [
        (replace(WELL, watches=Watches.ENDED), "the watches have ended"),
        (replace(WELL, stalled_s=14), "no progress for 14 s"),
        (replace(WELL, role=Role.DEPOSED), "the Lease is lost"),
        (replace(WELL, all_shown=False), "a watch has stopped delivering"),
        (replace(WELL, role=Role.STANDBY, all_shown=False), "a watch has stopped delivering"),
    ],
    ids=["watches ended", "queue stalled", "Lease lost", "watch silent", "watch silent on a standby"],
)
def test_what_a_restart_would_mend_is_neither_live_nor_ready(vitals: Vitals, problem: str) -> None:
    assert (not_live(vitals), not_ready(vitals)) == (problem, problem)


@pytest.mark.parametrize(
    ("vitals", "problem"),
    [
        (replace(WELL, watches=Watches.STARTING, role=Role.STANDBY), "the watches have not started"),
        (replace(WELL, role=Role.PREPARING), "not in sync with the cluster yet"),
        (replace(WELL, uncompared="403: no"), "what there is cannot be listed: 403: no"),
    ],
    ids=["watches starting", "not prepared", "lists refused"],
)
def test_what_no_restart_would_mend_is_live_but_not_ready(vitals: Vitals, problem: str) -> None:
    assert (not_live(vitals), not_ready(vitals)) == (None, problem)


@pytest.mark.parametrize("role", [Role.STANDBY, Role.PREPARING])
def test_a_queue_that_nobody_works_on_yet_is_not_stuck(role: Role) -> None:
    assert not replace(WELL, role=role, stalled_s=1000).stuck
