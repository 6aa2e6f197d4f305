"""The common window of a sample: when all its processes ran, minus warm-up, and their rates within it.

All times are epoch seconds by the client's clock, as the tool stamps its interim results. Pure functions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from labctl.core.errors import LabctlError, Problem
from labctl.tools.reading import Interim, Reading

SHORTEST_SHARE = 0.5  # of the planned duration: a window below it says more about the start than about the network
COVERED_SHARE = 0.95  # of the window that interim results have to account for
# Tools round the time that they took (netperf to 0.01 s); only a longer silence at the end is a stall.
STALL_S = 0.02


class WindowError(LabctlError):
    """There is no window in which all processes ran, or no interim results in it."""


@dataclass(frozen=True)
class Window:
    """`seconds` from `start` to `end`; `start_skew_s` lies between the first and the last process to send data."""

    start: float
    end: float
    seconds: float
    start_skew_s: float


def timeline(reading: Reading, length_s: float, source: str) -> tuple[Interim, ...]:
    """The interim results of one process from its first unit's start to the end of its test.

    The last, shorter result is there only when a unit was completed since the one before (as netperf prints it). So
    a process that stalls until its time (`length_s`, what it was asked for) is up falls silent early: the rest is a
    rate of 0 that was measured, not a piece to cut off. Raises WindowError without any interim result.
    """
    if not reading.interim:
        raise WindowError(Problem("there are no interim results", source))
    first, last = reading.interim[0], reading.interim[-1]
    over = first.start + min(reading.elapsed_s, length_s)
    if over - last.end > STALL_S:
        return (*reading.interim, Interim(last.end, over, 0.0))
    return reading.interim


def common(timelines: Sequence[Sequence[Interim]], warmup_s: float, duration_s: float) -> Window:
    """`[max(start) + warmup_s, min(end)]` over all processes.

    Raises WindowError when less than half of `duration_s` is left, which happens when processes start far
    apart or one of them ends early.
    """
    starts = [intervals[0].start for intervals in timelines]
    start, end = max(starts) + warmup_s, min(intervals[-1].end for intervals in timelines)
    window = Window(start, end, end - start, start_skew_s=max(starts) - min(starts))
    if window.seconds < SHORTEST_SHARE * duration_s:
        raise WindowError(
            Problem(
                f"all processes ran together for {max(0.0, window.seconds):.3f} s after the warm-up, "
                f"less than half of the {duration_s:g} s planned",
                seen=f"start skew {window.start_skew_s:.3f} s, {len(starts)} processes",
                hint="fewer processes, a longer --duration, or an idle machine",
            )
        )
    return window


def rate(intervals: Sequence[Interim], window: Window, source: str) -> float:
    """The mean rate within `window`: every interval counts with the time it shares with the window.

    Raises WindowError when the intervals leave more than 5 % of the window unaccounted for.
    """
    shares = [max(0.0, min(i.end, window.end) - max(i.start, window.start)) for i in intervals]
    covered = math.fsum(shares)
    if covered < COVERED_SHARE * window.seconds:
        what = f"interim results cover {covered:.3f} s of a window of {window.seconds:.3f} s"
        raise WindowError(Problem(what, source))
    return math.fsum(share * i.rate for share, i in zip(shares, intervals, strict=True)) / covered
