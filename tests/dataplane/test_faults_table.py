"""docs/reliability.md says of every fault of the suite what became of requests, and of no other."""

import pytest

from tests.dataplane.faults import FAULTS, LOG_FULL, LOG_STUCK
from tests.dataplane.reliability import Table, Tally, committed
from tests.dataplane.test_faults_control import CONTROL
from tests.dataplane.test_faults_hostile import HOSTILE
from tests.dataplane.test_soak import SOAK_FAULT

pytestmark = pytest.mark.dataplane
NAMES = [*(fault.name for fault in (*FAULTS, LOG_FULL, LOG_STUCK)), *HOSTILE, *CONTROL, SOAK_FAULT]


def test_the_committed_table_has_a_row_for_each_fault_of_the_suite_and_no_other() -> None:
    assert sorted(committed()) == sorted(NAMES)


def test_every_row_adds_up_and_none_says_less_than_a_run() -> None:
    for row in committed().values():
        sent, *outcomes = (int(cell) for cell in row.split("|")[2:7])
        assert sent == sum(outcomes) > 0, row


def test_what_is_recorded_replaces_the_row_of_its_fault() -> None:
    table = Table()
    table.record(NAMES[0], Tally(owned=1, spilled=2, failed=3, lost=4), seen="something")
    assert table.rows[NAMES[0]] == f"| {NAMES[0]} | 10 | 1 | 2 | 3 | 4 | something |"
    assert sorted(table.rows) == sorted(committed())
