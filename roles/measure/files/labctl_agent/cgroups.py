"""Control groups of other processes."""

from __future__ import annotations

import os
from typing import Iterator, NamedTuple

from labctl_agent import namespaces
from labctl_agent.procfs import read


class Mount(NamedTuple):
    """A mounted hierarchy: the group that its mount point shows, and its options, the controllers among them."""

    kind: str
    root: str
    point: str
    options: list[str]

    def holds(self, controllers: str) -> bool:
        """Whether it is the hierarchy of these controllers (none: that of cgroup v2)."""
        return self.kind == "cgroup2" if not controllers else set(controllers.split(",")) <= set(self.options)


def mounts() -> Iterator[Mount]:
    """The hierarchies that process 1 of the node sees."""
    for line in (read("/proc/1/mountinfo") or "").splitlines():
        left, _, right = line.partition(" - ")
        root, point = left.split()[3:5]
        kind, _, words = right.split()
        if kind in ("cgroup", "cgroup2"):
            yield Mount(kind, root, point, words.split(","))


def files_to_join(pid: int) -> list[str]:
    """The files into which this process writes 0 to join the control groups of process `pid` in which it is not yet.

    Those that process 1 of the node sees: the helper may be in a pod itself, which sees its own control groups only.
    """
    if not namespaces.same("/proc/1/ns/cgroup", "/proc/self/ns/cgroup"):
        namespaces.enter("/proc/1/ns/cgroup")
    own = (read("/proc/self/cgroup") or "").splitlines()
    known = list(mounts())
    files = []
    for line in (read("/proc/%d/cgroup" % pid) or "").splitlines():
        _, controllers, path = line.split(":", 2)
        mount = next((mount for mount in known if mount.holds(controllers)), None)
        if mount and line not in own:
            group = "%s/%s" % (mount.point, os.path.relpath(path, mount.root))
            files.append(os.path.normpath("/proc/1/root/%s/cgroup.procs" % group))
    return files


def join(pid: int) -> None:
    """Move this process into the control groups of process `pid`."""
    for file in files_to_join(pid):
        with open(file, "w", encoding="ascii") as procs:
            procs.write("0")
