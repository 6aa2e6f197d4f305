"""The seat: one agent at a time, and no other process is ever ended for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from labctl_agent import procfs
from labctl_agent.seat import Seat

from tests.unit.roles.measure.conftest import AGENT, until

TAKE = """
import sys, time
sys.path.insert(0, sys.argv[1])
from labctl_agent.seat import Seat
Seat(sys.argv[2]).take()
time.sleep(60)
"""


def test_whoever_takes_the_seat_ends_the_one_before(tmp_path: Path) -> None:
    seat = Seat(str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", TAKE, str(AGENT.parent), str(tmp_path)]) as before:
        until(lambda: (procfs.read(seat.path) or "").startswith(f"{before.pid} "))
        seat.take()
        assert before.wait(timeout=10) == -signal.SIGKILL
    assert procfs.read(seat.path) == f"{os.getpid()} {procfs.start_time(os.getpid())}"


def test_taking_it_twice_ends_nobody(tmp_path: Path) -> None:
    seat = Seat(str(tmp_path))
    seat.take()
    seat.take()
    seat.leave()
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_got_the_number_of_an_old_agent_lives(tmp_path: Path, sleeper: int) -> None:
    seat = Seat(str(tmp_path))
    earlier = int(procfs.start_time(sleeper)) - 1
    Path(seat.path).write_text(f"{sleeper} {earlier}")
    seat.take()
    assert not procfs.has_ended(sleeper)


def test_the_seat_of_another_is_not_left(tmp_path: Path, sleeper: int) -> None:
    seat = Seat(str(tmp_path))
    Path(seat.path).write_text(f"{sleeper} {procfs.start_time(sleeper)}")
    seat.leave()
    assert Path(seat.path).exists()
