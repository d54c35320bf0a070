"""A recording turned into requests again: what is known is kept, what is not is said."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.plan.traffic.lengths import Lengths
from spillway.simulate.reading import Reading, TraceError
from spillway.simulate.recorded import LOST, History, recorded_trace

SPREAD = Lengths(input_mean=1000, input_p95=3000, output_mean=250)
UNKNOWN = float("nan")


def recorded(requests: list[float], *, inputs: list[float] | None = None, outputs: list[float] | None = None, seed: int = 1) -> Reading:
    history = History(
        requests=np.array(requests, dtype=np.float64),
        input_tokens_mean=np.array([800.0] * len(requests) if inputs is None else inputs),
        output_tokens_mean=np.array([200.0] * len(requests) if outputs is None else outputs),
    )
    return recorded_trace(history, name="team/chat", spread=SPREAD, seed=seed)


def per_minute(reading: Reading, minutes: int) -> list[int]:
    counts: list[int] = np.bincount((reading.trace.arrival_s // 60).astype(np.int64), minlength=minutes).tolist()
    return counts


@given(counts=st.lists(st.integers(0, 60), min_size=1, max_size=30).filter(any), seed=st.integers(0, 9))
def test_each_minute_has_the_requests_that_were_counted_in_order(counts: list[int], seed: int) -> None:
    reading = recorded([float(each) for each in counts], seed=seed)
    assert per_minute(reading, len(counts)) == counts
    assert np.all(np.diff(reading.trace.arrival_s) >= 0)
    assert reading.trace.duration_s == 60 * len(counts)
    assert min(reading.trace.input_tokens.min(), reading.trace.output_tokens.min()) >= 1


def test_half_a_request_is_one_in_half_of_the_minutes() -> None:
    assert sum(per_minute(recorded([0.5] * 2000), 2000)) == pytest.approx(1000, abs=100)


def test_lengths_are_spread_around_the_means_of_their_minute() -> None:
    reading = recorded([5000.0, 5000.0], inputs=[800.0, 100.0], outputs=[200.0, 20.0])
    early = reading.trace.arrival_s < 60
    assert reading.trace.input_tokens[early].mean() == pytest.approx(800, rel=0.1)
    assert reading.trace.input_tokens[~early].mean() == pytest.approx(100, rel=0.1)
    assert reading.trace.output_tokens[early].mean() == pytest.approx(200, rel=0.1)
    assert np.percentile(reading.trace.input_tokens[early], 95) == pytest.approx(2400, rel=0.15)


def test_the_same_seed_gives_the_same_requests_and_another_others() -> None:
    assert recorded([9.0]).trace.arrival_s.tolist() == recorded([9.0]).trace.arrival_s.tolist()
    assert recorded([9.0]).trace.arrival_s.tolist() != recorded([9.0], seed=2).trace.arrival_s.tolist()


def test_what_is_lost_is_always_said() -> None:
    assert recorded([9.0]).remarks == (LOST,)


def test_minutes_without_a_recording_stay_empty_and_are_told() -> None:
    reading = recorded([5.0, UNKNOWN, UNKNOWN, 5.0, UNKNOWN, 5.0])
    assert per_minute(reading, 6) == [5, 0, 0, 5, 0, 5]
    assert "3 minutes of 6 minutes have no recording, in 2 gaps (the longest 2 minutes)" in reading.remarks[1]


def test_minutes_without_metered_tokens_get_the_lengths_of_the_others() -> None:
    reading = recorded([3000.0, 3000.0], inputs=[800.0, UNKNOWN])
    assert reading.trace.input_tokens[reading.trace.arrival_s >= 60].mean() == pytest.approx(800, rel=0.1)
    assert "1 minute had requests and no metered tokens" in reading.remarks[1]


@pytest.mark.parametrize("requests", [[0.0, 0.0], [UNKNOWN]], ids=["nothing came", "nothing is known"])
def test_a_time_without_requests_is_refused(requests: list[float]) -> None:
    with pytest.raises(TraceError, match="no request of team/chat was recorded"):
        recorded(requests)


def test_requests_of_which_no_length_is_known_are_refused() -> None:
    with pytest.raises(TraceError, match="no tokens of team/chat were metered"):
        recorded([5.0], outputs=[UNKNOWN])
