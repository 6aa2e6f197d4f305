"""The seat of a node's helper: there is one, and whoever takes it ends the one before."""

from __future__ import annotations

import os
import signal

from labctl_agent import procfs


class Seat:
    """A file that names the process of the node's helper. What that had started dies with it."""

    def __init__(self, directory: str = "/run") -> None:
        self.directory = directory
        # One per node, also where nodes share /run.
        self.path = "%s/labctl-agent-%d" % (directory, os.stat("/proc/self/ns/net").st_ino)
        self.mark = "%d %s" % (os.getpid(), procfs.start_time(os.getpid()))

    def take(self) -> None:
        pid, _, started = (procfs.read(self.path) or "0 ").partition(" ")
        if int(pid) not in (0, os.getpid()) and procfs.start_time(int(pid)) == started:
            os.kill(int(pid), signal.SIGKILL)
        if os.access(self.directory, os.W_OK):
            with open(self.path, "w", encoding="ascii") as file:
                file.write(self.mark)

    def leave(self) -> None:
        if procfs.read(self.path) == self.mark:
            os.unlink(self.path)
