"""What /proc says of processes, asked of real ones."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from labctl_agent import procfs

from tests.unit.roles.measure.conftest import running, until


def test_a_file_that_is_not_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"text\xff\n")
    assert procfs.read(str(tmp_path / "there")) == "text\N{REPLACEMENT CHARACTER}\n"
    assert procfs.read(str(tmp_path / "not")) is None


def test_a_process_is_known_by_its_number_and_its_start() -> None:
    with running("sleep", "60") as one, running("sleep", "60") as other:
        assert {one.pid, other.pid} <= set(procfs.children(os.getpid()))
        assert {one.pid, other.pid} <= set(procfs.numbered())
        assert int(procfs.start_time(os.getpid())) < int(procfs.start_time(one.pid))
        assert not procfs.has_ended(one.pid)
    assert (procfs.start_time(one.pid), procfs.last_cpu(one.pid)) == ("", None)
    assert one.pid not in procfs.children(os.getpid())


def test_a_stopped_process_is_no_ended_one(sleeper: int) -> None:
    assert not procfs.is_stopped(sleeper)
    os.kill(sleeper, signal.SIGSTOP)
    until(lambda: procfs.is_stopped(sleeper))
    assert not procfs.has_ended(sleeper)


def test_a_process_that_nobody_reaped_has_ended() -> None:
    with subprocess.Popen(["true"]) as process:
        until(lambda: procfs.has_ended(process.pid))
        assert procfs.stat(process.pid)[0] == "Z"


def test_the_cpu_of_a_bound_process_is_the_one_it_is_bound_to(sleeper: int) -> None:
    cpu = max(os.sched_getaffinity(0))
    with running("taskset", "-c", str(cpu), "sleep", "60") as process:
        until(lambda: procfs.last_cpu(process.pid) == cpu)
