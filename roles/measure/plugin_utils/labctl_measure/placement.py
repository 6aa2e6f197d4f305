"""Which CPUs the two ends of a pinned sample get. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Placement:
    """The CPUs of each end's processes, in the order in which they are given out, and round; None where not pinned."""

    client: list[int] | None
    server: list[int] | None


def place(
    pin: str, client: Mapping[str, Any], server: Mapping[str, Any], processes: int, shared_kernel: bool
) -> Placement:
    """Place the processes of both ends on CPUs that are online and allowed: `cpus` of either end's agent.

    Where the ends share a kernel no CPU is both ends', and no core is, as long as there are enough of them. With one
    CPU in all, both run there. Of a core the first thread is given out first.
    """
    if pin != "cores":
        return Placement(None, None)
    ends = usable(client), usable(server)
    cores = merged(set(core) for end in (client, server) for core in end["cores"])
    if shared_kernel:
        lone = [{cpu} for cpu in sorted(ends[0] | ends[1])]
        for units in (cores, lone):
            parted = part(units, *ends)
            if all(parted):
                ends = parted
                break
    return Placement(*(in_order(end, cores)[:processes] for end in ends))


def usable(end: Mapping[str, Any]) -> set[int]:
    """The CPUs on which an end may run, and that are switched on where that is known."""
    allowed = set(end["allowed"])
    return allowed if end["online"] is None else allowed & set(end["online"])


def part(units: Iterable[set[int]], client: set[int], server: set[int]) -> tuple[set[int], set[int]]:
    """Share out units of CPUs, each whole: what only one may have, then the rest to the one that has less so far."""
    got: tuple[set[int], set[int]] = (set(), set())
    ends = [(client & unit, server & unit) for unit in sorted(units, key=min)]
    for for_client, for_server in sorted(ends, key=all):
        if not for_server or (for_client and len(got[0]) <= len(got[1])):
            got[0].update(for_client)
        else:
            got[1].update(for_server)
    return got


def merged(cores: Iterable[set[int]]) -> list[set[int]]:
    """Return cores whole, of which each end may have told the threads that it may use."""
    whole: list[set[int]] = []
    for core in cores:
        same = [each for each in whole if each & core]
        whole = [each for each in whole if each not in same] + [core.union(*same)]
    return whole


def in_order(cpus: set[int], cores: Iterable[set[int]]) -> list[int]:
    """Return CPUs with the first thread of every core before the second of any."""
    ranked = {(thread, cpu) for core in cores for thread, cpu in enumerate(sorted(core & cpus))}
    return [cpu for _, cpu in sorted(ranked)]
