"""Processes of the machine: told apart, found, ended."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass
from typing import Callable, Dict, Iterable, List, Optional, Tuple, TypeVar

from ansible.module_utils.labctl_node.refused import Refused
from ansible.module_utils.labctl_node.wait import wait_until

T = TypeVar("T")


@dataclass(frozen=True)
class Process:
    """A process told apart from a later one with its number by its start (clock ticks since boot)."""

    pid: int
    started: int

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        return process(self.pid) == self


def stat(directory: str) -> Tuple[str, List[str]]:
    """The name of a process, by its directory in /proc, and the fields of its stat from the state on."""
    with open(f"{directory}/stat", encoding="utf-8", errors="replace") as file:
        before, _, after = file.read().rpartition(")")
    return before.partition("(")[2], after.split()


def process(pid: int) -> Optional[Process]:
    """The process of a pid, or None when there is none or only its remains (a zombie)."""
    try:
        _, fields = stat(f"/proc/{pid}")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else Process(pid, int(fields[19]))


def pids() -> List[int]:
    """The numbers of all processes of the host."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def of_processes(look: Callable[[str], T]) -> Dict[int, T]:
    """What `look` makes of the directory in /proc of each process, by its number.

    Left out is a process that ends meanwhile, or that is closed even to us.
    """
    found = {}
    for pid in pids():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            found[pid] = look(f"/proc/{pid}")
    return found


def processes_that(fit: Callable[[str], bool]) -> List[int]:
    """The numbers of the processes whose directory in /proc fits."""
    return [pid for pid, fits in of_processes(fit).items() if fits]


def processes_in_namespace(path: str) -> List[int]:
    """The processes whose network namespace is the one mounted at `path`; none when nothing is."""
    try:
        wanted = os.stat(path)
    except FileNotFoundError:
        return []
    return processes_that(lambda directory: os.path.samestat(os.stat(f"{directory}/ns/net"), wanted))


def schedule_as_a_service() -> None:
    """Take the scheduling that a service has, for this process and all that it will start: a node is none of its
    caller's programs, which may run under `nice`, `taskset` or `chrt`.

    Without root's rights it stays the caller's.
    """
    if os.geteuid() == 0:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, 0, 0)
        os.sched_setaffinity(0, range(os.sysconf("SC_NPROCESSORS_CONF")))


def kill(numbers: Iterable[int], timeout_s: float = 10.0) -> int:
    """End processes at once and wait for their ends. Returns how many there were; raises Refused for a survivor."""
    there = [found for found in map(process, set(numbers)) if found is not None]
    for one in there:
        with contextlib.suppress(ProcessLookupError):  # ended meanwhile
            os.kill(one.pid, signal.SIGKILL)
    if not wait_until(lambda: not any(one.alive for one in there), timeout_s):
        left = sorted(one.pid for one in there if one.alive)
        raise Refused("Processes of a node do not end.", seen=f"pid {', '.join(map(str, left))}")
    return len(there)


def end_all(find: Callable[[], List[int]], what: str, timeout_s: float) -> bool:
    """Kill processes until `find` finds none, so that one which forks meanwhile is met; whether there were any.

    Raises Refused with `what` for those that stay.
    """

    def none_left() -> bool:
        for pid in find():
            with contextlib.suppress(ProcessLookupError):  # ended meanwhile
                os.kill(pid, signal.SIGKILL)
        return not find()

    there = bool(find())
    if not wait_until(none_left, timeout_s):
        raise Refused(what, seen=f"processes {find()}")
    return there
