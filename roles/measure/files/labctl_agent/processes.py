"""Client processes: held behind one barrier, released together, reaped, ended at a time limit."""

from __future__ import annotations

import os
import resource
import select
import signal
import sys
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from labctl_agent import procfs
from labctl_agent.namespaces import libc
from labctl_agent.places import Node
from labctl_agent.watched import refusal

PR_SET_PDEATHSIG = 1
NEVER = 3600.0
# How often it is looked whether all processes wait for the server, and how soon that is told again.
LOOK_S, AGAIN_S = 0.005, 0.05
# A process that has not run for so long waits for its server's last word: it holds one socket, so it is on no data
# connection; or it may wait on one, for longer than any round trip takes.
ALONE_S, QUIET_S = 0.005, 0.25
READY, REFUSED = b".", b"!"


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
        self.usage: Optional[resource.struct_rusage] = None
        self.cpu = cpu
        self.quiet: Optional[Tuple[int, int]] = None  # its context switches, while it does nothing
        self.quiet_since = 0.0
        self.pid = place.fork()
        if self.pid == 0:
            self._become(place, cpu, barrier, ready)

    def _become(self, place: Node, cpu: Optional[int], barrier: int, ready: int) -> None:
        try:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(self.stdout, 1)
            os.dup2(self.stderr, 2)
            place.enter()
            os.write(ready, READY if self._take(cpu) else REFUSED)
            os.read(barrier, 1)
            os.execvp(self.argv[0], self.argv)  # noqa: S606  (an argv of the controller, no shell wanted)
        except OSError as error:
            os.write(2, ("%s: %s" % (self.argv[0], error)).encode())
            os.write(ready, READY)  # the others are not kept waiting; the exit status tells
        finally:
            os._exit(127)

    def _take(self, cpu: Optional[int]) -> bool:
        """Whether this process, where it is now, may run on its CPU, and does so from here on.

        The control groups of the place are joined before: joining them sets the CPUs anew.
        """
        try:
            if cpu is not None:
                os.sched_setaffinity(0, {cpu})
        except OSError as error:
            allowed = sorted(os.sched_getaffinity(0))
            os.write(2, refusal(os.path.basename(self.argv[0]), cpu or 0, error, allowed).encode())
            return False
        return True

    def is_waiting(self) -> bool:
        """Whether the process has done nothing for a while, by the looks so far, but wait for its server."""
        now = time.monotonic()
        asleep = procfs.stat(self.pid)[:1] == ["S"]
        switches = procfs.switches(self.pid) if asleep else None
        if switches is None or switches != self.quiet:
            self.quiet, self.quiet_since = switches, now
            return False
        return now - self.quiet_since >= (ALONE_S if procfs.sockets(self.pid) == 1 else QUIET_S)

    def reap(self) -> bool:
        """Whether it has ended. How is noted once."""
        if self.ended is None:
            done, status, usage = os.wait4(self.pid, os.WNOHANG)
            if done:
                self.ended, self.usage = time.time(), usage
                self.exit = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
                self.signal = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
        return self.ended is not None

    def kill(self) -> None:
        if self.ended is None:
            os.kill(self.pid, signal.SIGKILL)

    def report(self) -> Dict[str, Any]:
        """What the sample's raw file says of it."""
        how = {"started": self.started, "ended": self.ended, "exit": self.exit, "signal": self.signal}
        if self.usage:
            how["voluntary_switches"], how["involuntary_switches"] = self.usage.ru_nvcsw, self.usage.ru_nivcsw
            how["cpu_s"] = self.usage.ru_utime + self.usage.ru_stime
        texts = {"stdout": text(self.stdout), "stderr": text(self.stderr)}
        for fd in (self.stdout, self.stderr):
            os.close(fd)
        return dict(texts, argv=self.argv, pid=self.pid, planned=self.cpu, **how)


def text(fd: int) -> str:
    """What was written into a file in memory."""
    return os.pread(fd, os.fstat(fd).st_size, 0).decode("utf-8", "replace")


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

    def start(self, argvs: List[List[str]], cpus: List[Optional[int]]) -> Optional[str]:
        """Start all, each on its CPU if it has one, and return when every one of them is at the barrier.

        Where one may not run on its CPU they all end there, and why is returned.
        """
        for argv, cpu in zip(argvs, cpus):
            self.processes.append(Process(argv, self.place, cpu, self.barrier, self.ready_end))
        answers = b""
        while len(answers) < len(argvs):
            answers += os.read(self.ready, len(argvs))
        if REFUSED not in answers:
            return None
        self.kill()
        words = (text(process.stderr) for process in self.processes)
        return "; ".join(filter(None, words))

    def release(self) -> None:
        now = time.time()
        for process in self.processes:
            process.started = now
        os.write(self.release_end, b"." * len(self.processes))

    def wait(
        self,
        time_limit: float,
        lifeline: int = 0,
        over_after: Optional[float] = None,
        tell_over: Callable[[], None] = lambda: None,
    ) -> Optional[str]:
        """Wait until all have ended; what ended them early, if anything did. The end of the lifeline ends us all.

        Where a server lingers `over_after` is the earliest time, in seconds from now, at which the processes can be
        done. From then on it is told when they all wait for the server, and again as long as they do.
        """
        reason = None
        now = time.monotonic()
        deadline, look = now + time_limit, now + (NEVER if over_after is None else over_after)
        while self.running():
            patience = max(0.0, min(deadline, look) - time.monotonic())
            readable, _, _ = select.select([lifeline, self.wakeup], [], [], patience)
            if lifeline in readable:
                sys.exit("input ended during a sample")
            if self.wakeup in readable:
                os.read(self.wakeup, 4096)
            elif time.monotonic() < deadline:
                waiting = [process.is_waiting() for process in self.running()]
                over = bool(waiting) and all(waiting)
                if over:
                    tell_over()
                look = time.monotonic() + (AGAIN_S if over else LOOK_S)
            elif reason is None and self.running():
                reason = self.overdue(time_limit)
                self.kill()
                deadline, look = deadline + NEVER, deadline + NEVER
        return reason

    def running(self) -> List[Process]:
        """The processes that have not ended; those that have are reaped."""
        return [process for process in self.processes if not process.reap()]

    def overdue(self, time_limit: float) -> str:
        """What is said of a sample whose time was up."""
        late = [(index, process.pid) for index, process in enumerate(self.processes) if process.ended is None]
        words = ["%d%s" % (index, " (it was stopped)" if procfs.is_stopped(pid) else "") for index, pid in late]
        program = os.path.basename(self.processes[0].argv[0])
        which = ", ".join(words)
        return "the time limit of %g s was reached: %s process %s had not ended" % (time_limit, program, which)

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
