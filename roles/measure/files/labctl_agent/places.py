"""Where processes run: on the node itself, in a named network namespace of it, or in a pod with its control groups."""

from __future__ import annotations

import os
import re
from typing import Iterator, List, NamedTuple

from labctl_agent import namespaces, procfs

POD_MARK = "LABCTL_POD_UID"  # the variable by which the container of a pod's server is marked (role netperf_pods)
# A process that enters a pod takes all of these, the mount namespace last: /proc is another's from then on.
POD_NAMESPACES = ("cgroup", "ipc", "uts", "net", "mnt")


class Mount(NamedTuple):
    """A mounted hierarchy: the group that its mount point shows, and its options, the controllers among them."""

    kind: str
    root: str
    point: str
    options: List[str]

    def holds(self, controllers: str) -> bool:
        """Whether it is the hierarchy of these controllers (none: that of cgroup v2)."""
        return self.kind == "cgroup2" if not controllers else set(controllers.split(",")) <= set(self.options)


def mounts() -> Iterator[Mount]:
    """The hierarchies that process 1 of the node sees."""
    for line in (procfs.read("/proc/1/mountinfo") or "").splitlines():
        left, _, right = line.partition(" - ")
        root, point = left.split()[3:5]
        kind, _, words = right.split()
        if kind in ("cgroup", "cgroup2"):
            yield Mount(kind, root, point, words.split(","))


def cgroups_to_join(pid: int) -> List[str]:
    """The files into which this process writes 0 to join the control groups of process `pid` in which it is not yet.

    Those that process 1 of the node sees: the helper may be in a pod itself, which sees its own control groups only.
    """
    if not namespaces.same("/proc/1/ns/cgroup", "/proc/self/ns/cgroup"):
        namespaces.enter("/proc/1/ns/cgroup")
    own = (procfs.read("/proc/self/cgroup") or "").splitlines()
    known = list(mounts())
    files = []
    for line in (procfs.read("/proc/%d/cgroup" % pid) or "").splitlines():
        _, controllers, path = line.split(":", 2)
        mount = next((mount for mount in known if mount.holds(controllers)), None)
        if mount and line not in own:
            group = "%s/%s" % (mount.point, os.path.relpath(path, mount.root))
            files.append(os.path.normpath("/proc/1/root/%s/cgroup.procs" % group))
    return files


def join_cgroups(pid: int) -> None:
    """Move this process into the control groups of process `pid`."""
    for file in cgroups_to_join(pid):
        with open(file, "w", encoding="ascii") as procs:
            procs.write("0")


class Node:
    """The node itself. The other places are ways to leave it."""

    def fork(self) -> int:
        """Fork; the child is born into the place's process namespace."""
        return os.fork()

    def process(self) -> int:
        """One that may run on the CPUs on which those of the place may: 0 is the calling one."""
        return 0

    def enter_network(self) -> None:
        """Move the calling thread into the place's network namespace."""

    def enter(self) -> None:
        """Become a process of the place."""
        self.enter_network()


class Namespace(Node):
    """A named network namespace."""

    def __init__(self, name: str) -> None:
        self.path = "/run/netns/" + name
        if not os.path.exists(self.path):
            raise RuntimeError("there is no network namespace " + name)

    def enter_network(self) -> None:
        namespaces.enter(self.path, namespaces.CLONE_NEWNET)


class Pod(Node):
    """The container of a pod's server, its process 1: found by the pod's uid in its environment, whatever the runtime.

    What runs there is in all of its namespaces and in its control groups. Where the helper lives in one of them
    itself, there is nothing to enter.
    """

    def __init__(self, uid: str) -> None:
        self.uid = uid
        self._first = 0
        self._started = ""

    def first(self) -> int:
        """The container's first process, 0 when there is none: kubelet may be about to start it again."""
        if not procfs.lives(self._first, self._started):
            self._first = next(filter(self._is_first, procfs.numbered()), 0)
            self._started = procfs.start_time(self._first) if self._first else ""
        return self._first

    def _is_first(self, pid: int) -> bool:
        try:
            with open("/proc/%d/environ" % pid, "rb") as file:
                marked = ("%s=%s" % (POD_MARK, self.uid)).encode() in file.read().split(b"\0")
        except OSError:
            return False  # it ended while we looked, or belongs to somebody whose environment is not ours to see
        numbers = re.search(r"^NSpid:.*\t(\d+)$", procfs.read("/proc/%d/status" % pid) or "", re.MULTILINE)
        return marked and numbers is not None and numbers.group(1) == "1" and not procfs.has_ended(pid)

    def require(self) -> int:
        pid = self.first()
        if not pid:
            raise RuntimeError("the pod (uid %s) runs no server here: it ended, or was evicted" % self.uid)
        return pid

    def process(self) -> int:
        return self.require()

    def fork(self) -> int:
        path = "/proc/%d/ns/pid" % self.require()
        if namespaces.same(path, "/proc/self/ns/pid"):
            return os.fork()
        namespaces.enter(path, namespaces.CLONE_NEWPID)
        child = -1
        try:
            child = os.fork()
        finally:
            if child != 0:
                namespaces.enter("/proc/self/ns/pid", namespaces.CLONE_NEWPID)
        return child

    def enter_network(self) -> None:
        path = "/proc/%d/ns/net" % self.require()
        if not namespaces.same(path, "/proc/thread-self/ns/net"):
            namespaces.enter(path, namespaces.CLONE_NEWNET)

    def enter(self) -> None:
        """Become a process of the container: its control groups, then its other namespaces.

        After the fork: a look for the first process would go by another /proc than the numbers that were found.
        """
        spaces = {name: "/proc/%d/ns/%s" % (self._first, name) for name in POD_NAMESPACES}
        if not namespaces.same(spaces["mnt"], "/proc/self/ns/mnt"):
            join_cgroups(self._first)
        foreign = {name: path for name, path in spaces.items() if not namespaces.same(path, "/proc/self/ns/" + name)}
        opened = {name: os.open(path, os.O_RDONLY | os.O_CLOEXEC) for name, path in foreign.items()}
        for name, fd in opened.items():
            namespaces.enter_opened(fd, "to the pod's " + name)


def place(netns: str, pod: str) -> Node:
    """The pod with this uid, else the network namespace with this name, else the node."""
    return Pod(pod) if pod else Namespace(netns) if netns else Node()
