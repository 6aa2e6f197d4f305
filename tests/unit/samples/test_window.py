"""The common window of a sample's processes, and their rates within it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl.samples import window
from labctl.samples.window import Window, WindowError
from labctl.tools.reading import Interim, RateUnit, Reading


def intervals(start: float, *rates: float, width: float = 1.0) -> tuple[Interim, ...]:
    return tuple(Interim(start + i * width, start + (i + 1) * width, rate) for i, rate in enumerate(rates))


def reading(*interim: Interim, elapsed_s: float) -> Reading:
    return Reading("prog", RateUnit.UNIT, 1.0, elapsed_s, interim)


def between(start: float, end: float) -> Window:
    return Window(start, end, end - start, 0.0)


def test_the_window_is_when_all_ran_minus_warm_up() -> None:
    first, second = intervals(100.0, 1, 1, 1, 1), intervals(100.25, 1, 1, 1, 1)
    assert window.common([first, second], warmup_s=1.0, duration_s=3.0) == Window(101.25, 104.0, 2.75, 0.25)


def test_one_process_has_no_skew() -> None:
    assert window.common([intervals(100.0, 1, 1, 1)], 1.0, 2.0) == Window(101.0, 103.0, 2.0, 0.0)


def test_a_window_of_less_than_half_the_duration_is_refused() -> None:
    late = [intervals(100.0, 1, 1, 1), intervals(101.25, 1, 1, 1)]
    with pytest.raises(WindowError) as caught:
        window.common(late, 1.0, 2.0)
    assert str(caught.value) == (
        "all processes ran together for 0.750 s after the warm-up, less than half of the 2 s planned\n"
        "  seen:  start skew 1.250 s, 2 processes\n"
        "  next:  fewer processes, a longer --duration, or an idle machine"
    )


def test_processes_that_never_ran_together_have_no_window() -> None:
    with pytest.raises(WindowError, match=r"ran together for 0\.000 s"):
        window.common([intervals(100.0, 1, 1), intervals(200.0, 1, 1)], 0.0, 2.0)


def test_the_warm_up_does_not_count() -> None:
    assert window.rate(intervals(100.0, 7000, 10, 20), between(101.0, 103.0), "f") == 15.0


def test_a_rate_is_the_same_by_every_python() -> None:
    # Ten times 0.1 is 0.9999999999999999 by the sum() of Python 3.11, and 1.0 by that of Python 3.12.
    assert window.rate(intervals(100.0, *[0.1] * 10), between(100.0, 110.0), "f") == 0.1


def test_intervals_across_the_edges_count_in_part() -> None:
    # a quarter of the first, all of the second, half of the third
    rate = window.rate(intervals(100.0, 100, 200, 400), between(100.75, 102.5), "f")
    assert rate == pytest.approx((0.25 * 100 + 1 * 200 + 0.5 * 400) / 1.75)


def test_what_happens_after_the_window_does_not_count() -> None:
    assert window.rate(intervals(100.0, 10, 10, 9999), between(100.0, 102.0), "f") == 10.0


def test_a_gap_in_the_interim_results_is_refused() -> None:
    gap = (*intervals(100.0, 10), *intervals(101.2, 10, 10))
    with pytest.raises(WindowError) as caught:
        window.rate(gap, between(100.0, 103.2), "netperf-03.txt")
    assert str(caught.value) == ("interim results cover 3.000 s of a window of 3.200 s\n  where: netperf-03.txt")


def test_a_late_stamp_is_no_gap() -> None:
    late = (Interim(100.0, 101.0, 10), Interim(101.02, 102.02, 10))
    assert window.rate(late, between(100.0, 102.0), "f") == pytest.approx(10)


def test_a_timeline_is_the_interim_results() -> None:
    interim = intervals(100.0, 1, 2, 3)
    assert window.timeline(reading(*interim, elapsed_s=3.01), 3, "f") == interim


def test_a_stall_until_the_end_is_a_rate_of_zero_and_not_an_early_end() -> None:
    """No last interim result is printed when nothing was completed since the one before."""
    timeline = window.timeline(reading(*intervals(100.0, 50, 50), elapsed_s=4.0), 4, "f")
    assert timeline[-1] == Interim(102.0, 104.0, 0.0)
    common = window.common([timeline], 0.0, 4.0)
    assert window.rate(timeline, common, "f") == pytest.approx(25)


def test_a_test_that_drains_beyond_its_length_has_not_stalled() -> None:
    interim = intervals(100.0, 50, 50)
    assert window.timeline(reading(*interim, elapsed_s=6.0), 2, "f") == interim


def test_without_interim_results_there_is_no_fallback() -> None:
    with pytest.raises(WindowError) as caught:
        window.timeline(reading(elapsed_s=3.0), 3, "netperf-00.txt")
    assert str(caught.value) == ("there are no interim results\n  where: netperf-00.txt")


RATES = st.lists(st.floats(0, 1e6), min_size=4, max_size=12)


@given(RATES, st.floats(0, 1), st.floats(0, 1))
def test_a_rate_lies_between_the_slowest_and_the_fastest_interval(rates: list[float], a: float, b: float) -> None:
    cut = between(100 + a, 100 + len(rates) - b)
    rate = window.rate(intervals(100.0, *rates), cut, "f")
    assert min(rates) - 1e-6 <= rate <= max(rates) + 1e-6


@given(RATES, st.integers(1, 3))
def test_two_halves_of_a_window_make_the_whole(rates: list[float], middle: int) -> None:
    timeline, end = intervals(100.0, *rates), 100.0 + len(rates)
    cut = 100.0 + middle
    parts = [
        window.rate(timeline, between(*edges), "f") * (edges[1] - edges[0]) for edges in ((100.0, cut), (cut, end))
    ]
    assert sum(parts) == pytest.approx(window.rate(timeline, between(100.0, end), "f") * (end - 100.0), abs=1e-3)
