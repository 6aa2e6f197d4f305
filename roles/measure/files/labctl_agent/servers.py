"""The server of the tool that measures: made to listen before a sample, and asked what is wrong with it afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import Optional

from labctl_agent import procfs
from labctl_agent.places import Node, Pod

LISTEN = "0A"  # include/net/tcp_states.h


class Server:
    """A server that listens on one TCP port, whoever keeps it running."""

    limit_s = 0.0
    when_ended = ""

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self.port = port

    def pid(self) -> int:
        """Its process, 0 when it does not run."""
        raise NotImplementedError

    def restart(self) -> None:
        """Replace whatever is left of it, however it hangs."""
        raise NotImplementedError

    def listens(self, pid: int) -> bool:
        rows = [row.split() for row in (procfs.read("/proc/%d/net/tcp" % pid) or "").splitlines()[1:]]
        return any(row[1].endswith(":%04X" % self.port) and row[3] == LISTEN for row in rows)

    def start(self) -> int:
        """Start it anew and return its process once it listens."""
        self.restart()
        deadline = time.monotonic() + self.limit_s
        while time.monotonic() < deadline:
            pid = self.pid()
            if pid and self.listens(pid):
                return pid
            time.sleep(0.01)
        raise RuntimeError("%s was started again and does not listen on port %d" % (self.name, self.port))

    def trouble(self, pid: int) -> Optional[str]:
        """What is wrong with it after a sample that failed, in which it was process `pid`."""
        if procfs.has_ended(pid):
            return "%s (process %d) ended during the sample%s" % (self.name, pid, self.when_ended)
        stopped = [each for each in (pid, *procfs.children(pid)) if procfs.is_stopped(each)]
        return "%s (process %d) was stopped" % (self.name, stopped[0]) if stopped else None


class UnitServer(Server):
    """A server that is a unit of systemd."""

    limit_s = 10.0

    def __init__(self, name: str, port: int, unit: str) -> None:
        super().__init__(name, port)
        self.unit = unit
        self._pid = 0
        self._started = ""

    def pid(self) -> int:
        """Asking systemd takes longer than most of what comes before a sample, so it is asked once for each process."""
        if not procfs.lives(self._pid, self._started):
            self._pid = int(systemctl("show", "--property=MainPID", "--value", self.unit) or 0)
            self._started = procfs.start_time(self._pid)
        return self._pid

    def restart(self) -> None:
        if self.pid():
            systemctl("kill", "--kill-who=all", "--signal=KILL", self.unit)
        systemctl("reset-failed", self.unit)
        systemctl("restart", self.unit)


class PodServer(Server):
    """A server that is process 1 of its container: kubelet starts it at once, then after 10 s, 20 s, ..."""

    limit_s = 30.0
    when_ended = ": its pod was evicted or deleted, or its container ended"

    def __init__(self, name: str, port: int, pod: Pod) -> None:
        super().__init__("%s of the pod with uid %s" % (name, pod.uid), port)
        self.pod = pod

    def pid(self) -> int:
        return self.pod.first()

    def restart(self) -> None:
        """End the tests that are left; and the server where it hangs itself."""
        first = self.pod.require()
        for pid in (*procfs.children(first), *([first] if procfs.is_stopped(first) else ())):
            os.kill(pid, signal.SIGKILL)


def systemctl(*arguments: str) -> str:
    done = subprocess.run(
        ["systemctl", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True, timeout=30
    )
    if done.returncode:
        raise RuntimeError("systemctl %s: %s" % (" ".join(arguments), done.stderr.strip()))
    return done.stdout.strip()


def server(place: Node, name: str, port: int, unit: str) -> Server:
    """The server of a place: a pod's own, else a unit of the node."""
    return PodServer(name, port, place) if isinstance(place, Pod) else UnitServer(name, port, unit)
