"""Whose a process is: of the tool that measures, of labctl itself, of what carries the packets, of a cluster, foreign.

Processes are told by an identity that holds in all process namespaces of one kernel, since an agent in a node counts
otherwise than the machine below it.
"""

from __future__ import annotations

import functools
import os
import re
from typing import Any, Dict, Mapping, NamedTuple, Optional, Sequence, Tuple

from labctl_agent import procfs

ENDPOINT, OWN, PATH, CLUSTER, FOREIGN = "endpoint", "own", "path", "cluster", "foreign"
# Names of kernel threads that do what the network asks for: softirqs, polling of a card, RCU (7 % of an emulated CPU).
CARRIERS = ("ksoftirqd/", "napi/", "rcu")
# What the nodes of a cluster run beside every setup alike; their containers have other names, the agent of a CNI say.
PLATFORM = ("kubelet", "kube-", "etcd", "containerd")
Identity = Dict[str, Any]


def identity(pid: int) -> Identity:
    """What names a process of ours for every agent on this kernel."""
    return {"namespace": os.stat("/proc/self/ns/pid").st_ino, "pid": pid, "started": procfs.start_time(pid)}


def resolve(who: Optional[Identity]) -> int:
    """The process as this namespace counts it; 0 when it is gone, or not to be seen from here."""
    return _resolve(**who) if who else 0


@functools.lru_cache(maxsize=None)
def _resolve(namespace: int, pid: int, started: str) -> int:
    if namespace == os.stat("/proc/self/ns/pid").st_ino:
        return pid if procfs.start_time(pid) == started else 0
    return next((each for each in procfs.numbered() if _is(each, namespace, pid, started)), 0)


def _is(candidate: int, namespace: int, pid: int, started: str) -> bool:
    if procfs.start_time(candidate) != started:
        return False
    numbers = re.search(r"^NSpid:.*\t(\d+)$", procfs.read("/proc/%d/status" % candidate) or "", re.MULTILINE)
    try:
        its = os.stat("/proc/%d/ns/pid" % candidate).st_ino
    except OSError:
        return False  # it ended while we looked, or is not ours to see
    return its == namespace and numbers is not None and int(numbers.group(1)) == pid


class Task(NamedTuple):
    """A process at one moment: CPU seconds of all its threads, and of its children that ended and were waited for."""

    name: str
    parent: int
    started: str
    own_s: float
    children_s: float


Tasks = Mapping[int, Task]


class Parties(NamedTuple):
    """The processes by which all others are told: those below one are its party's, too.

    What `starter` starts are the clients, and it is labctl's own itself; `server` is 0 where it is not on this kernel.
    `nodes` are the first processes of the lab's nodes: a cluster that is not the lab's is foreign.
    """

    starter: int
    server: int
    own: Tuple[int, ...]
    carriers: Tuple[str, ...] = CARRIERS
    nodes: Tuple[int, ...] = ()

    @classmethod
    def told(
        cls,
        starter: Identity,
        server: Optional[Identity],
        own: Sequence[Identity],
        carriers: Sequence[str],
        nodes: Sequence[Identity],
    ) -> Parties:
        """The parties as the controller names them; this helper is labctl's own, too."""
        ours = (os.getpid(), *map(resolve, own))
        return cls(resolve(starter), resolve(server), ours, (*CARRIERS, *carriers), tuple(map(resolve, nodes)))

    def of(self, pid: int, tasks: Tasks) -> str:
        """Whose a process is."""
        if pid != self.starter and tasks[pid].name.startswith(self.carriers):
            return PATH
        platform = tasks[pid].name.startswith(PLATFORM)
        below = 0
        while pid in tasks:
            if pid == self.server or (pid == self.starter and below):
                return ENDPOINT
            if pid == self.starter or pid in self.own:
                return OWN
            if platform and pid in self.nodes:
                return CLUSTER
            below, pid = pid, tasks[pid].parent
        return FOREIGN

    def of_children(self, pid: int, tasks: Tasks) -> str:
        """Whose the children were that a process has waited for."""
        return ENDPOINT if pid == self.starter else self.of(pid, tasks)
