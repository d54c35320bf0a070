"""Shares and quantiles of cumulative buckets."""

import math

import pytest

from spillway.observe.histogram import Buckets, added, quantile, share_within

BUCKETS = {0.1: 50.0, 0.5: 90.0, math.inf: 100.0}


@pytest.mark.parametrize(
    ("limit", "exact", "expected"),
    [(0.1, True, 0.5), (0.5, True, 0.9), (0.3, True, None), (0.3, False, 0.7), (0.05, False, 0.25), (9.0, False, 0.9)],
    ids=["an edge", "another edge", "no edge, none wanted", "between edges", "below the first", "above the last"],
)
def test_share_within_a_limit(limit: float, exact: bool, expected: float | None) -> None:  # noqa: FBT001 - a column of the table above
    found = share_within(BUCKETS, limit, exact=exact)
    assert found == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(("q", "expected"), [(0.25, 0.05), (0.5, 0.1), (0.7, 0.3), (0.99, 0.5)])
def test_quantile(q: float, expected: float) -> None:
    assert quantile(BUCKETS, q) == pytest.approx(expected)


@pytest.mark.parametrize("buckets", [{}, {0.1: 0.0, math.inf: 0.0}], ids=["none", "empty"])
def test_no_events_have_neither(buckets: Buckets) -> None:
    assert quantile(buckets, 0.95) is None
    assert share_within(buckets, 0.1, exact=False) is None


def test_histograms_add_up() -> None:
    assert added([{1.0: 1.0, math.inf: 2.0}, {1.0: 3.0, math.inf: 3.0}]) == {1.0: 4.0, math.inf: 5.0}


def test_no_share_is_told_while_some_gateways_have_no_edge_at_the_target() -> None:
    before, after = {500.0: 90.0, 750.0: 95.0, math.inf: 100.0}, {500.0: 9.0, 600.0: 9.5, 750.0: 9.5, math.inf: 10.0}
    assert share_within(after, 600.0, exact=True) == 0.95
    assert share_within(added([before, after]), 600.0, exact=True) is None
