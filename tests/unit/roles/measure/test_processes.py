"""Client processes: real ones, behind a real barrier."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from labctl_agent import procfs
from labctl_agent.places import Node
from labctl_agent.processes import Clients

from tests.unit.roles.measure.conftest import until

NOW = ["date", "+%s.%N"]


def test_nobody_runs_before_all_are_at_the_barrier_and_then_all_at_once(lifeline: int) -> None:
    with Clients(Node()) as clients:
        clients.start([NOW] * 8, [None] * 8)
        time.sleep(0.3)
        commands = [Path(f"/proc/{process.pid}/cmdline").read_bytes() for process in clients.processes]
        assert not any(command.startswith(b"date") for command in commands)
        released = time.time()
        clients.release()
        assert clients.wait(10, lifeline) is None
    reports = [process.report() for process in clients.processes]
    began = [float(report["stdout"]) for report in reports]
    assert all(released <= moment for moment in began)
    assert max(began) - min(began) < 0.5
    assert {(report["exit"], report["signal"], report["stderr"]) for report in reports} == {(0, None, "")}
    assert all(released <= report["started"] <= report["ended"] for report in reports)
    assert len({report["started"] for report in reports}) == 1


def test_how_each_process_ended_is_told(lifeline: int) -> None:
    scripts = ("echo out; echo err >&2; exit 3", "kill -TERM $$")
    with Clients(Node()) as clients:
        clients.start([*(["sh", "-c", script] for script in scripts), ["/no/such/program"]], [None] * 3)
        clients.release()
        assert clients.wait(10, lifeline) is None
    failed, killed, missing = (process.report() for process in clients.processes)
    assert (failed["exit"], failed["signal"], failed["stdout"], failed["stderr"]) == (3, None, "out\n", "err\n")
    assert (killed["exit"], killed["signal"]) == (None, signal.SIGTERM)
    assert missing["exit"] == 127
    assert missing["stderr"] == "/no/such/program: [Errno 2] No such file or directory"


def test_a_process_runs_on_the_cpu_it_was_given_and_reads_nothing(lifeline: int) -> None:
    cpu = max(os.sched_getaffinity(0))
    with Clients(Node()) as clients:
        clients.start([["sh", "-c", "cat; grep Cpus_allowed_list /proc/self/status"]], [cpu])
        clients.release()
        assert clients.wait(10, lifeline) is None
    assert clients.processes[0].report()["stdout"].split() == ["Cpus_allowed_list:", str(cpu)]


def test_at_the_time_limit_those_that_run_are_ended_and_named(lifeline: int) -> None:
    with Clients(Node()) as clients:
        clients.start([["sleep", "60"], ["sleep", "0"], ["sleep", "60"]], [None] * 3)
        clients.release()
        os.kill(clients.processes[2].pid, signal.SIGSTOP)
        began = time.monotonic()
        reason = clients.wait(0.5, lifeline)
    assert reason == "the time limit of 0.5 s was reached: sleep process 0, 2 (it was stopped) had not ended"
    assert 0.4 < time.monotonic() - began < 5
    reports = [process.report() for process in clients.processes]
    assert [(r["exit"], r["signal"]) for r in reports] == [(None, 9), (0, None), (None, 9)]


def test_the_end_of_the_lifeline_ends_the_processes_and_the_agent() -> None:
    reading, writing = os.pipe()
    threading.Timer(0.3, os.close, [writing]).start()
    with Clients(Node()) as clients:
        clients.start([["sleep", "60"]], [None])
        clients.release()
        with pytest.raises(SystemExit, match="input ended during a sample"):
            clients.wait(60, reading)
    os.close(reading)
    until(lambda: procfs.has_ended(clients.processes[0].pid))
    assert clients.processes[0].reap()


def test_what_waits_at_the_barrier_is_ended_where_a_start_fails() -> None:
    class Full(Node):
        """A node that has room for one process."""

        left = 1

        def fork(self) -> int:
            if not self.left:
                raise BlockingIOError("no more processes")
            self.left -= 1
            return super().fork()

    with pytest.raises(BlockingIOError), Clients(Full()) as clients:
        clients.start([NOW, NOW], [None, None])
    (waiting,) = clients.processes
    until(waiting.reap)
    assert waiting.signal == signal.SIGKILL
    assert waiting.report()["stdout"] == ""


def test_signals_are_as_they_were_afterwards() -> None:
    before = signal.getsignal(signal.SIGCHLD)
    opened = len(list(Path("/proc/self/fd").iterdir()))
    with Clients(Node()):
        assert signal.getsignal(signal.SIGCHLD) is not before
    assert signal.getsignal(signal.SIGCHLD) is before
    assert signal.set_wakeup_fd(-1) == -1
    assert len(list(Path("/proc/self/fd").iterdir())) == opened
