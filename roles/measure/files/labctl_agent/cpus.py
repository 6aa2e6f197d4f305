"""The CPUs of a machine, as the kernel shows them below /sys, and those on which a process may run."""

from __future__ import annotations

from typing import List, Optional

from labctl_agent.procfs import read

CPUS = "/sys/devices/system/cpu"


def numbers(ranges: str) -> List[int]:
    """The CPUs of a list as the kernel writes it: `0-2,4`."""
    bounds = (part.partition("-") for part in ranges.strip().split(",") if part)
    return [cpu for first, _, last in bounds for cpu in range(int(first), int(last or first) + 1)]


def online(directory: str = CPUS) -> Optional[List[int]]:
    """The CPUs that are switched on, None where that cannot be read."""
    ranges = read(directory + "/online")
    return None if ranges is None else numbers(ranges)
