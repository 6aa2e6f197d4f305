"""The CPUs of a machine, as the kernel shows them below /sys, and those on which a process may run."""

from __future__ import annotations

import os
import re
from typing import Any, Dict, List, Optional

from labctl_agent.procfs import read

CPUS = "/sys/devices/system/cpu"
RANGES = re.compile(r"[0-9]{1,5}(-[0-9]{1,5})?(,[0-9]{1,5}(-[0-9]{1,5})?)*\Z")


def numbers(ranges: str) -> List[int]:
    """The CPUs of a list as the kernel writes it, `0-2,4`; of anything else none."""
    parts = ranges.strip().split(",") if RANGES.match(ranges.strip()) else []
    bounds = (part.partition("-") for part in parts)
    return [cpu for first, _, last in bounds for cpu in range(int(first), int(last or first) + 1)]


def online(directory: str = CPUS) -> Optional[List[int]]:
    """The CPUs that are switched on, None where that cannot be read."""
    ranges = read(directory + "/online")
    return None if ranges is None else numbers(ranges)


def cores(cpus: List[int], directory: str = CPUS) -> List[List[int]]:
    """These CPUs by the physical core whose threads they are; each a core of its own where that cannot be read."""
    found: Dict[int, List[int]] = {}
    for cpu in cpus:
        threads = numbers(read("%s/cpu%d/topology/thread_siblings_list" % (directory, cpu)) or str(cpu))
        found.setdefault(min(threads), []).append(cpu)
    return sorted(found.values())


def of_process(pid: int) -> Dict[str, Any]:
    """The CPUs that are switched on, those on which a process may run, and which of these share a core."""
    allowed = sorted(os.sched_getaffinity(pid))
    return {"online": online(), "allowed": allowed, "cores": cores(allowed)}


def words(numbers: List[int]) -> str:
    """CPUs as they are told to people: `0, 2, 4`."""
    return ", ".join(map(str, numbers))
