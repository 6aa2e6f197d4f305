"""What /proc says of processes."""

from __future__ import annotations

import os
import re
from typing import Optional, Tuple

PF_EXITING = 0x4


def read(path: str) -> Optional[str]:
    """The text of `path`, or None where it does not exist or cannot be read."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return None


def number(text: Optional[str], base: int = 10) -> Optional[int]:
    """A whole number as the kernel writes it, None for anything else: no reading is worth a sample."""
    try:
        return int(text or "", base)
    except ValueError:
        return None


def stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat from the state on; empty when it is gone."""
    return (read("/proc/%d/stat" % pid) or "").rpartition(")")[2].split()


def start_time(pid: int) -> str:
    """When the process began, in jiffies since boot: with its id it names one process for good. Empty when gone."""
    return "".join(stat(pid)[19:20])


def last_cpu(pid: int) -> Optional[int]:
    """The CPU that the process ran on last, or None when it is gone."""
    return number("".join(stat(pid)[36:37]))


def switches(pid: int) -> Optional[Tuple[int, int]]:
    """How often the process has given its CPU away, to wait for something, and how often it was taken from it."""
    found = re.findall(r"^(?:non)?voluntary_ctxt_switches:\s*(\d+)$", read("/proc/%d/status" % pid) or "", re.MULTILINE)
    return (int(found[0]), int(found[1])) if len(found) == 2 else None


def cpu_s(pid: int) -> Optional[float]:
    """The CPU time that the process has used, in seconds, exact where kernels sample the time of /proc/<pid>/stat."""
    fields = (read("/proc/%d/schedstat" % pid) or "").split()
    ran = number(fields[0]) if fields else None
    return None if ran is None else ran / 1e9


def sockets(pid: int) -> Optional[int]:
    """How many sockets the process holds, None where it is gone."""
    below = "/proc/%d/fd" % pid
    try:
        return sum(os.readlink("%s/%s" % (below, fd)).startswith("socket:") for fd in os.listdir(below))
    except OSError:
        return None  # it has ended, or has just closed what we looked at


def children(pid: int) -> list[int]:
    found = map(number, (read("/proc/%d/task/%d/children" % (pid, pid)) or "").split())
    return [child for child in found if child is not None]


def is_stopped(pid: int) -> bool:
    """Whether somebody stopped the process (SIGSTOP, a debugger)."""
    return stat(pid)[:1] in (["T"], ["t"])


def has_ended(pid: int) -> bool:
    """Whether the process is gone, or on its way: the first one of a pod waits in the kernel for all others to end."""
    fields = stat(pid)
    return not fields or fields[0] in "ZX" or bool((number("".join(fields[6:7])) or 0) & PF_EXITING)


def lives(pid: int, started: str) -> bool:
    """Whether a process that was seen before, with the start it had, still runs."""
    return pid > 0 and start_time(pid) == started and not has_ended(pid)


def numbered() -> list[int]:
    """The ids of all processes."""
    return [int(entry) for entry in os.listdir("/proc") if entry.isdecimal()]
