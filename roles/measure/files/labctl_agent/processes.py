"""Client processes: held behind one barrier, released together, reaped, ended at a time limit."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from typing import Any, Dict, List, Optional

from labctl_agent.namespaces import libc
from labctl_agent.places import Node
from labctl_agent.procfs import is_stopped

PR_SET_PDEATHSIG = 1
NEVER = 3600.0


class Process:
    """One process, held at the barrier until released. It dies with this one."""

    def __init__(self, argv: List[str], place: Node, cpu: Optional[int], barrier: int, ready: int) -> None:
        self.argv = argv
        self.stdout = os.memfd_create("stdout")  # a file in memory: the process never waits for a reader
        self.stderr = os.memfd_create("stderr")
        self.started: Optional[float] = None
        self.ended: Optional[float] = None
        self.exit: Optional[int] = None
        self.signal: Optional[int] = None
        self.pid = place.fork()
        if self.pid == 0:
            self._become(place, cpu, barrier, ready)

    def _become(self, place: Node, cpu: Optional[int], barrier: int, ready: int) -> None:
        try:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            if cpu is not None:
                os.sched_setaffinity(0, {cpu})
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(self.stdout, 1)
            os.dup2(self.stderr, 2)
            place.enter()
            os.write(ready, b".")
            os.read(barrier, 1)
            os.execvp(self.argv[0], self.argv)  # noqa: S606  (an argv of the controller, no shell wanted)
        except OSError as error:
            os.write(2, ("%s: %s" % (self.argv[0], error)).encode())
            os.write(ready, b".")  # the others are not kept waiting; the exit status tells
        finally:
            os._exit(127)

    def reap(self) -> bool:
        """Whether it has ended. How is noted once."""
        if self.ended is None:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                self.ended = time.time()
                self.exit = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
                self.signal = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
        return self.ended is not None

    def kill(self) -> None:
        if self.ended is None:
            os.kill(self.pid, signal.SIGKILL)

    def report(self) -> Dict[str, Any]:
        """What the sample's raw file says of it."""
        texts = {}
        for name, fd in (("stdout", self.stdout), ("stderr", self.stderr)):
            with os.fdopen(fd, "rb") as file:
                file.seek(0)
                texts[name] = file.read().decode("utf-8", "replace")
        how = {"started": self.started, "ended": self.ended, "exit": self.exit, "signal": self.signal}
        return dict(texts, argv=self.argv, pid=self.pid, **how)


class Clients:
    """The client processes of one sample: in a `with`, after which none of them runs."""

    def __init__(self, place: Node) -> None:
        self.place = place
        self.processes: List[Process] = []

    def __enter__(self) -> Clients:
        self.barrier, self.release_end = os.pipe2(os.O_CLOEXEC)
        self.ready, self.ready_end = os.pipe2(os.O_CLOEXEC)
        self.wakeup, self.wakeup_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.handler = signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.wakeup_end)
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, self.handler)
        for fd in (self.barrier, self.release_end, self.ready, self.ready_end, self.wakeup, self.wakeup_end):
            os.close(fd)

    def start(self, argvs: List[List[str]], cpus: List[Optional[int]]) -> None:
        """Start all, each on its CPU if it has one, and return when every one of them is at the barrier."""
        for argv, cpu in zip(argvs, cpus):
            self.processes.append(Process(argv, self.place, cpu, self.barrier, self.ready_end))
        waiting = len(argvs)
        while waiting:
            waiting -= len(os.read(self.ready, waiting))

    def release(self) -> None:
        now = time.time()
        for process in self.processes:
            process.started = now
        os.write(self.release_end, b"." * len(self.processes))

    def wait(self, time_limit: float, lifeline: int = 0) -> Optional[str]:
        """Wait until all have ended; what ended them early, if anything did. The end of the lifeline ends us all."""
        reason = None
        deadline = time.monotonic() + time_limit
        while self.running():
            readable, _, _ = select.select([lifeline, self.wakeup], [], [], max(0.0, deadline - time.monotonic()))
            if lifeline in readable:
                sys.exit("input ended during a sample")
            if self.wakeup in readable:
                os.read(self.wakeup, 4096)
            elif reason is None and self.running():
                reason = self.overdue(time_limit)
                self.kill()
                deadline += NEVER
        return reason

    def running(self) -> List[Process]:
        """The processes that have not ended; those that have are reaped."""
        return [process for process in self.processes if not process.reap()]

    def overdue(self, time_limit: float) -> str:
        """What is said of a sample whose time was up."""
        late = [(index, process.pid) for index, process in enumerate(self.processes) if process.ended is None]
        words = ["%d%s" % (index, " (it was stopped)" if is_stopped(pid) else "") for index, pid in late]
        program = os.path.basename(self.processes[0].argv[0])
        which = ", ".join(words)
        return "the time limit of %g s was reached: %s process %s had not ended" % (time_limit, program, which)

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
