"""CPU use of an end within a window, from cumulative /proc/stat readings. Pure functions.

Busy is the time that passed, less idle, iowait and steal: a tickless kernel measures how long a CPU is idle, and only
samples what it does otherwise, once a tick, so that work in short pieces is missed in part, or counted in full where
something else runs at every tick. The busy fields (user, nice, system, irq, softirq) tell what kind of work it was, and
with the others have to make the time that passed (`accounted_pct`). The kernel has added guest time to user and
guest_nice to nice already (proc(5)). iowait is idle: the CPU had nothing to run. steal is apart: somebody else had the
CPU. netperf's own `-c -C` counts iowait as busy and guest twice, so it is not asked.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from labctl.core.errors import LabctlError, Problem

ACCOUNTED_PCT = (95.0, 105.0)  # outside, /proc/stat and the clock disagree about how much time passed
LOOSE_SHARE = 0.25  # of the window: readings further apart at an edge make the cut a guess
_FIELDS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
_MAY_FALL = {"idle": 1.0, "iowait": 1.0}  # jiffies, by rounding (proc(5) warns of it); more is another count
# A row can hold no more than the time that passed between two readings; jiffies are booked late, though.
_MOST_BOOKED, _BOOKED_LATE = 2.0, 10.0


class CpuError(LabctlError):
    """The readings do not say what the CPUs did within the window."""


@dataclass(frozen=True)
class Tick:
    """One reading at `t` (epoch seconds by that node's clock): /proc/stat rows by name ("cpu", "cpu0"), jiffies."""

    t: float
    stat: Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class CpuUse:
    """What the CPUs of a machine did within a window.

    Every `_pct` is percent of all `threads` together; `busy_pct`, `steal_pct` and `idle_pct` (which contains iowait)
    add up to 100, the parts of busy as they were sampled need not. `softirq_by_cpu` is percent of each CPU's own time,
    by CPU number. `busy_core_s` is in seconds of one CPU. `accounted_pct` is the time that /proc/stat accounts for over
    the time that passed: far from 100 (`is_sound`) the kernel lost ticks, or saw others than the test's.
    """

    threads: int
    busy_pct: float
    user_pct: float
    nice_pct: float
    system_pct: float
    irq_pct: float
    softirq_pct: float
    steal_pct: float
    idle_pct: float
    busy_core_s: float
    softirq_by_cpu: tuple[float, ...]
    accounted_pct: float

    @property
    def is_sound(self) -> bool:
        """Whether /proc/stat and the clock agree about how much time passed."""
        return ACCOUNTED_PCT[0] <= self.accounted_pct <= ACCOUNTED_PCT[1]


def use(ticks: Sequence[Tick], start: float, end: float, hz: int, threads: int, source: str) -> CpuUse:
    """CPU use from `start` to `end` (epoch seconds by the clock of `ticks`), `hz` jiffies a second.

    Readings are interpolated linearly at both edges. Raises CpuError when they do not enclose the window, are
    too far apart at an edge, go backwards or jump between any two, or name other CPUs than `threads` of them.
    """
    low, high = _around(ticks, start, source)[0], _around(ticks, end, source)[1]
    _check(ticks[low : high + 1], hz, source)
    first, last = _at(ticks, start, end - start, source), _at(ticks, end, end - start, source)
    names = sorted((name for name in first if name != "cpu"), key=lambda name: int(name[3:]))
    if len(names) != threads:
        seen = f"{len(names)} CPUs in /proc/stat"
        raise CpuError(Problem(f"the readings are not of {threads} CPU threads throughout", source, seen))
    spent = _spent(first["cpu"], last["cpu"], f"{source}:cpu")
    passed = threads * hz * (end - start)
    unused = spent["idle"] + spent["steal"]
    whole = max(passed, unused)  # the clock's rounding makes no CPU less than idle
    by_cpu = []
    for name in names:
        one = _spent(first[name], last[name], f"{source}:{name}")
        by_cpu.append(100 * one["softirq"] / math.fsum(one.values()))
    return CpuUse(
        threads=threads,
        busy_pct=100 * ((whole - unused) / whole),  # in this order it is never above 100
        **{f"{name}_pct": 100 * jiffies / whole for name, jiffies in spent.items()},
        busy_core_s=(whole - unused) / hz,
        softirq_by_cpu=tuple(by_cpu),
        accounted_pct=100 * math.fsum(spent.values()) / passed,
    )


def _around(ticks: Sequence[Tick], t: float, source: str) -> tuple[int, int]:
    """The numbers of the tick at or before `t` and of the one at or after it."""
    if any(later.t < earlier.t for earlier, later in pairwise(ticks)):
        raise CpuError(Problem("the clock went backwards between two CPU readings", source))
    after, before = bisect_left(ticks, t, key=lambda tick: tick.t), bisect_right(ticks, t, key=lambda tick: tick.t) - 1
    if before < 0 or after == len(ticks):
        seen = f"{ticks[0].t:.3f} to {ticks[-1].t:.3f}" if ticks else "none"
        raise CpuError(Problem(f"no CPU readings around {t:.3f}", source, seen))
    return before, after


def _check(ticks: Sequence[Tick], hz: int, source: str) -> None:
    """Compare every reading with the one before: what came and went, or ran back and forth, shows in no sum."""
    for earlier, later in pairwise(ticks):
        if earlier.stat.keys() != later.stat.keys() or "cpu" not in earlier.stat:
            raise CpuError(Problem("the CPUs changed between two readings", source))
        for name, row in earlier.stat.items():
            spent = _steps(row, later.stat[name], f"{source}:{name}")
            threads = len(earlier.stat) - 1 if name == "cpu" else 1
            for kind, jiffies in spent.items():
                if jiffies < -threads * _MAY_FALL.get(kind, 0.0):
                    raise CpuError(Problem(f"{kind} time went backwards", f"{source}:{name}", f"{jiffies:.1f} jiffies"))
            most = threads * (_MOST_BOOKED * hz * (later.t - earlier.t) + _BOOKED_LATE)
            kind = max(spent, key=lambda one: spent[one])
            if spent[kind] > most:
                what, seen = f"{kind} time jumped", f"{spent[kind]:.1f} jiffies in {later.t - earlier.t:.3f} s"
                raise CpuError(Problem(what, f"{source}:{name}", seen))


def _at(ticks: Sequence[Tick], t: float, window_s: float, source: str) -> dict[str, tuple[float, ...]]:
    """The readings at `t`, between the tick at or before it and the one at or after it."""
    before, after = _around(ticks, t, source)
    low, high = ticks[before], ticks[after]
    if high.t - low.t > LOOSE_SHARE * window_s:
        what = f"CPU readings are {high.t - low.t:.3f} s apart at an edge of a window of {window_s:.3f} s"
        raise CpuError(Problem(what, source))
    share = (t - low.t) / (high.t - low.t) if high.t > low.t else 0.0
    return {
        name: tuple(a + share * (b - a) for a, b in zip(row, high.stat[name], strict=False))
        for name, row in low.stat.items()
    }


def _steps(first: Sequence[float], last: Sequence[float], source: str) -> dict[str, float]:
    """Jiffies by kind between two rows of /proc/stat.

    The columns after steal (guest, guest_nice) repeat what user and nice already contain.
    """
    if len(first) < len(_FIELDS) or len(last) < len(_FIELDS):
        raise CpuError(Problem(f"a row of /proc/stat has fewer than {len(_FIELDS)} columns", source))
    return {name: last[i] - first[i] for i, name in enumerate(_FIELDS)}


def _spent(first: Sequence[float], last: Sequence[float], source: str) -> dict[str, float]:
    """The same, with iowait within idle."""
    spent = _steps(first, last, source)
    spent["idle"] = max(0.0, spent["idle"] + spent.pop("iowait"))
    if math.fsum(spent.values()) <= 0:
        raise CpuError(Problem("no CPU time passed within the window", source))
    return spent
