"""An instrument of whoever owns the kernel: the CPU seconds of all its processes over a sample, and whose they were.

Accounts, no samples: what a process used is what the scheduler gave it, to the nanosecond, and what ended meanwhile
shows through the parent that waited for it. Lost is only what nobody waits for (a parent that ignores SIGCHLD).
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from typing import Any, DefaultDict, Dict, NamedTuple, Optional

from labctl_agent import procfs
from labctl_agent.instrument import Machine
from labctl_agent.parties import CLUSTER, ENDPOINT, FOREIGN, OWN, PATH, Parties, Task, Tasks

HZ = os.sysconf("SC_CLK_TCK")
PF_KTHREAD = 0x200000
NAMED = 5  # of the processes that took most
NAMED_FROM_S = 0.005


def sees_all() -> bool:
    """Whether all processes of the kernel can be seen: its first thread can, from the first namespace alone."""
    fields = procfs.stat(2)
    return bool(fields) and bool(int(fields[6]) & PF_KTHREAD)


def cpu_clock_s(pid: int) -> Optional[float]:
    """CPU seconds of all threads of a process, also of those that ended, by its clock (clock_getcpuclockid(3))."""
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return None


def tasks() -> Dict[int, Task]:
    """All processes now."""
    found = {}
    for pid in procfs.numbered():
        head, _, rest = (procfs.read("/proc/%d/stat" % pid) or "").rpartition(")")
        fields, used = rest.split(), cpu_clock_s(pid)
        if fields and used is not None:  # else it ended while we looked
            children = (int(fields[13]) + int(fields[14])) / HZ
            found[pid] = Task(head.partition("(")[2], int(fields[1]), fields[19], used, children)
    return found


class Look(NamedTuple):
    """All processes at one moment of the monotonic clock; None where they cannot all be seen."""

    at: float
    tasks: Optional[Tasks]


def look() -> Look:
    seen = tasks() if sees_all() else None
    return Look(time.monotonic(), seen)


class Growth:
    """What was used between two looks, by process: each one's own part, and what its ended children leave it.

    A child that is waited for hands over all that it ever used, so what it had used before the first look is taken out
    again, from whichever of its ancestors has got it.
    """

    def __init__(self, before: Tasks, after: Tasks) -> None:
        self.own: Dict[int, float] = {}
        self.children: Dict[int, float] = {}
        for pid, task in after.items():
            first = before.get(pid)
            known = first is not None and first.started == task.started
            self.own[pid] = task.own_s - (first.own_s if first and known else 0.0)
            self.children[pid] = task.children_s - (first.children_s if first and known else 0.0)
        for pid, task in before.items():
            if pid not in after or after[pid].started != task.started:
                self.take_out(task.own_s + task.children_s, task.parent, before)

    def take_out(self, seconds: float, heir: int, before: Tasks) -> None:
        while seconds > 0 and heir:
            part = min(seconds, self.children.get(heir, 0.0))
            seconds -= part
            if part:
                self.children[heir] -= part
            heir = before[heir].parent if heir in before else 0


def account(before: Look, after: Look, parties: Parties) -> Dict[str, Any]:
    """Whose the CPU seconds between two looks were (docs/run-folder.md, `load`)."""
    seconds = after.at - before.at
    if before.tasks is None or after.tasks is None:
        unknown = dict.fromkeys(("cpu_s", "endpoint_s", "own_s", "path_s", "cluster_s", "foreign_s"))
        return dict(unknown, seconds=seconds, top=[])
    growth = Growth(before.tasks, after.tasks)
    shares: DefaultDict[str, float] = defaultdict(float)
    foreign = {}
    for pid in after.tasks:
        whose = parties.of(pid, after.tasks)
        shares[whose] += growth.own[pid]
        shares[parties.of_children(pid, after.tasks)] += growth.children[pid]
        if whose == FOREIGN:
            foreign[pid] = growth.own[pid] + growth.children[pid]
    largest = sorted(foreign, key=lambda pid: -foreign[pid])[:NAMED]
    return {
        "seconds": seconds,
        "cpu_s": sum(shares.values()),
        "endpoint_s": shares[ENDPOINT],
        "own_s": shares[OWN],
        "path_s": shares[PATH],
        "cluster_s": shares[CLUSTER],
        "foreign_s": shares[FOREIGN],
        "top": [
            {"name": after.tasks[pid].name, "pid": pid, "cpu_s": foreign[pid]}
            for pid in largest
            if foreign[pid] > NAMED_FROM_S
        ],
    }


class Load:
    """Accounts for the time of a sample."""

    def __init__(self, machine: Machine) -> None:
        self.parties = machine.parties
        self.before: Look

    def begin(self) -> None:
        self.before = look()

    def end(self) -> Dict[str, Any]:
        return {"load": account(self.before, look(), self.parties)}
