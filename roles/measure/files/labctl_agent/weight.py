"""How much the scheduler gives a process where CPU is short: the weights of its control groups."""

from __future__ import annotations

import os
from typing import Iterator, Optional, Tuple

from labctl_agent import namespaces, procfs
from labctl_agent.places import Mount, mounts

PLAIN = 100  # what a group has that nobody gave a weight, and a process without a group, as cgroup v2 counts
SHARES = 1024  # the same as cgroup v1 counts
ROOT = "/proc/1/root/"  # what process 1 sees


def enter_outermost_cgroups() -> None:
    """Let the calling thread see control groups as the first process of the node does: a pod sees its own only.

    Who may not look into that process sees by itself, as it does everywhere else.
    """
    if os.access(ROOT, os.R_OK) and not namespaces.same("/proc/1/ns/cgroup", "/proc/thread-self/ns/cgroup"):
        namespaces.enter("/proc/1/ns/cgroup")


def cpu_weight(pid: int) -> Optional[int]:
    """The smallest weight on the way from the node's first group to that of a process, None where there is no such way.

    As cgroup v2 counts it; a small weight anywhere leaves a process little, whatever the others are.
    """
    found = hierarchy(pid)
    return min((PLAIN, *weights(*found))) if found else None


def hierarchy(pid: int) -> Optional[Tuple[Mount, str]]:
    """The hierarchy that shares out CPU time, and the path of the process's group in it: of version 1, else 2."""
    lines = [line.split(":", 2) for line in (procfs.read("/proc/%d/cgroup" % pid) or "").splitlines()]
    known = list(mounts())
    for wanted in ("cpu", ""):
        for _, controllers, path in lines:
            if wanted in controllers.split(","):
                mount = next((mount for mount in known if mount.holds(wanted)), None)
                if mount:
                    return mount, path
    return None


def weights(mount: Mount, path: str) -> Iterator[int]:
    """The weights of a group and of those above it, as far as they have any."""
    top = os.path.normpath((ROOT if os.access(ROOT, os.R_OK) else "/") + mount.point)
    group = os.path.normpath(os.path.join(top, os.path.relpath(path, mount.root)))
    while group.startswith(top):
        weight, shares = procfs.read(group + "/cpu.weight"), procfs.read(group + "/cpu.shares")
        if weight:
            yield int(weight)
        elif shares:
            yield max(1, round(int(shares) * PLAIN / SHARES))
        group = os.path.dirname(group)
