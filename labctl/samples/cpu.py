"""CPU use of an end within a window, from cumulative /proc/stat readings. Pure functions.

Busy is user + nice + system + irq + softirq. The kernel has added guest time to user and guest_nice to nice
already (proc(5)), so they are not added again. iowait is idle: the CPU had nothing to run. steal is apart: somebody
else had the CPU. netperf's own `-c -C` counts iowait as busy and guest twice, so it is not asked.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from labctl.core.errors import LabctlError, Problem

STEAL_LIMIT_PCT = 1.0
LOOSE_SHARE = 0.25  # of the window: readings further apart at an edge make the cut a guess
_FIELDS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
_NEVER_BACKWARDS = ("user", "nice", "system", "irq", "softirq", "steal")  # idle and iowait may, by a little
_BUSY = ("user", "nice", "system", "irq", "softirq")


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

    Every `_pct` is percent of all `threads` together; they add up to 100 with `busy_pct`, `steal_pct` and
    `idle_pct` (which contains iowait). `softirq_by_cpu` is percent of each CPU's own time, by CPU number.
    `busy_core_s` is in seconds of one CPU. `accounted_pct` is the time that /proc/stat accounts for over the time
    that passed: far from 100 the kernel lost ticks or the CPUs changed.
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
    def stolen(self) -> bool:
        """Whether somebody else had the CPUs for more than 1 % of the time."""
        return self.steal_pct > STEAL_LIMIT_PCT


def use(ticks: Sequence[Tick], start: float, end: float, hz: int, threads: int, source: str) -> CpuUse:
    """CPU use from `start` to `end` (epoch seconds by the clock of `ticks`), `hz` jiffies a second.

    Readings are interpolated linearly at both edges. Raises CpuError when they do not enclose the window, are
    too far apart at an edge, go backwards, or name other CPUs than `threads` of them.
    """
    first, last = _at(ticks, start, end - start, source), _at(ticks, end, end - start, source)
    names = sorted((name for name in first if name != "cpu"), key=lambda name: int(name[3:]))
    if len(names) != threads or first.keys() != last.keys():
        seen = f"{len(names)} CPUs in /proc/stat"
        raise CpuError(Problem(f"the readings are not of {threads} CPU threads throughout", source, seen))
    spent = _spent(first["cpu"], last["cpu"], f"{source}:cpu")
    total, busy = math.fsum(spent.values()), math.fsum(spent[name] for name in _BUSY)
    part = {name: 100 * jiffies / total for name, jiffies in spent.items()}
    by_cpu = []
    for name in names:
        one = _spent(first[name], last[name], f"{source}:{name}")
        by_cpu.append(100 * one["softirq"] / math.fsum(one.values()))
    return CpuUse(
        threads=threads,
        busy_pct=100 * (busy / total),  # in this order it is never above 100
        **{f"{name}_pct": share for name, share in part.items()},
        busy_core_s=busy / hz,
        softirq_by_cpu=tuple(by_cpu),
        accounted_pct=100 * total / (threads * hz * (end - start)),
    )


def _at(ticks: Sequence[Tick], t: float, window_s: float, source: str) -> dict[str, tuple[float, ...]]:
    """The readings at `t`, between the tick at or before it and the one at or after it."""
    if any(later.t < earlier.t for earlier, later in pairwise(ticks)):
        raise CpuError(Problem("the clock went backwards between two CPU readings", source))
    after, before = bisect_left(ticks, t, key=lambda tick: tick.t), bisect_right(ticks, t, key=lambda tick: tick.t) - 1
    if before < 0 or after == len(ticks):
        seen = f"{ticks[0].t:.3f} to {ticks[-1].t:.3f}" if ticks else "none"
        raise CpuError(Problem(f"no CPU readings around {t:.3f}", source, seen))
    low, high = ticks[before], ticks[after]
    if high.t - low.t > LOOSE_SHARE * window_s:
        what = f"CPU readings are {high.t - low.t:.3f} s apart at an edge of a window of {window_s:.3f} s"
        raise CpuError(Problem(what, source))
    if low.stat.keys() != high.stat.keys() or "cpu" not in low.stat:
        raise CpuError(Problem("the CPUs changed between two readings", source))
    share = (t - low.t) / (high.t - low.t) if high.t > low.t else 0.0
    return {
        name: tuple(a + share * (b - a) for a, b in zip(row, high.stat[name], strict=False))
        for name, row in low.stat.items()
    }


def _spent(first: Sequence[float], last: Sequence[float], source: str) -> dict[str, float]:
    """Jiffies by kind between two rows of /proc/stat, iowait within idle.

    The columns after steal (guest, guest_nice) repeat what user and nice already contain.
    """
    if len(first) < len(_FIELDS) or len(last) < len(_FIELDS):
        raise CpuError(Problem(f"a row of /proc/stat has fewer than {len(_FIELDS)} columns", source))
    spent = {name: last[i] - first[i] for i, name in enumerate(_FIELDS)}
    for name in _NEVER_BACKWARDS:
        if spent[name] < 0:
            raise CpuError(Problem(f"{name} time went backwards", source, f"{spent[name]:.1f} jiffies"))
    spent["idle"] = max(0.0, spent["idle"] + spent.pop("iowait"))
    if sum(spent.values()) <= 0:
        raise CpuError(Problem("no CPU time passed within the window", source))
    return spent
