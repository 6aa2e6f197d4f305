"""The accounts of this machine's processes: exact, whoever else is busy on it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

import pytest
from labctl_agent import load
from labctl_agent.instrument import Machine
from labctl_agent.load import Growth, Load, account, look
from labctl_agent.parties import Parties, Task, identity

from tests.unit.roles.measure.conftest import NOBODY, ROOT, agent, running, until

FOREIGN = Parties(0, 0, ())  # all of them are
SAMPLE = {"time_limit_s": 5, "interval_s": 0.1, "warmup_s": 0.1, "duration_s": 0.1}
SPIN = "import time\nend = time.process_time() + {}\nwhile time.process_time() < end: pass"


def spin(seconds: float) -> list[str]:
    """The command of a program that takes so much CPU time and ends."""
    return [sys.executable, "-c", SPIN.format(seconds)]


def clock(pid: int) -> float:
    seen = load.cpu_clock_s(pid)
    assert seen is not None
    return seen


def task(parent: int, own_s: float, children_s: float, started: str = "1") -> Task:
    return Task("x", parent, started, own_s, children_s)


def test_a_hog_is_named_with_what_it_took_and_is_nobody_elses() -> None:
    with running(*spin(600)) as hog:
        until(lambda: clock(hog.pid) > 0.1)
        before, first = look(), clock(hog.pid)
        until(lambda: clock(hog.pid) > first + 0.2)
        after, last = look(), clock(hog.pid)
    told = account(before, after, FOREIGN)
    (named,) = (one for one in told["top"] if one["pid"] == hog.pid)
    assert named["name"].startswith("python")
    assert named["cpu_s"] == pytest.approx(last - first, abs=0.05)
    assert told["foreign_s"] >= named["cpu_s"]
    assert told["seconds"] == after.at - before.at
    ours = account(before, after, Parties(hog.pid, 0, (hog.pid,)))
    assert ours["own_s"] == pytest.approx(named["cpu_s"])
    assert hog.pid not in [one["pid"] for one in ours["top"]]
    assert ours["cpu_s"] == pytest.approx(told["cpu_s"])


def test_short_lived_work_shows_through_the_parent_that_waits() -> None:
    shell = ["sh", "-c", f"read _; for _ in 1 2 3; do {sys.executable} -c '{SPIN.format(0.1)}'; done; echo; read _"]
    with subprocess.Popen(shell, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        before = look()
        process.stdin.write(b"\n")
        process.stdin.flush()
        process.stdout.readline()
        told = account(before, look(), FOREIGN)
        process.stdin.close()
    (named,) = (one for one in told["top"] if one["pid"] == process.pid)
    assert named["name"] == "sh"
    assert 0.28 < named["cpu_s"] < 0.7  # three interpreters start, too


def test_what_a_process_had_used_before_counts_for_nobody_when_it_ends() -> None:
    with running(*spin(0.5)) as old:
        until(lambda: clock(old.pid) > 0.4)
        before = look()
        old.wait(timeout=60)
        told = account(before, look(), Parties(0, 0, (os.getpid(),)))
    # Its last 0.1 s and our waiting; all that it ever used, 0.5 s, has been added to our children's.
    assert told["own_s"] < 0.4


def test_what_a_child_had_used_is_taken_from_the_ancestors_that_got_it() -> None:
    before = {1: task(0, 1.0, 50.0), 5: task(1, 2.0, 0.0), 6: task(5, 3.0, 1.0), 7: task(6, 10.0, 0.0)}
    # 6 ended and 5 waited for it; 7 was left to process 1, which has waited for it.
    growth = Growth(before, {1: task(0, 1.0, 60.5), 5: task(1, 2.0, 4.25)})
    assert growth.own == {1: 0.0, 5: 0.0}
    assert sum(growth.children.values()) == pytest.approx(0.75)
    assert min(growth.children.values()) >= 0


def test_a_child_that_nobody_waits_for_takes_nothing_from_others() -> None:
    growth = Growth({1: task(0, 0.0, 0.0), 5: task(1, 9.0, 0.0)}, {1: task(0, 0.5, 0.0), 5: task(1, 0.25, 0.0, "2")})
    assert growth.own == {1: 0.5, 5: 0.25}  # 5 is another process by now
    assert growth.children == {1: 0.0, 5: 0.0}


def test_an_idle_second_of_an_agent_costs_it_next_to_nothing() -> None:
    with agent() as channel:
        channel.ask("kernel_begin", sample=SAMPLE, parties={**NOBODY, "starter": identity(channel.process.pid)})
        time.sleep(0.3)
        told: dict[str, Any] = channel.ask("kernel_end")["kernel"]["load"]
    assert 0 < told["own_s"] < 0.15
    assert told["endpoint_s"] < 0.05


def test_from_a_process_namespace_of_its_own_nothing_is_known_and_nothing_guessed(node: tuple[str, ...]) -> None:
    with agent(*node) as channel:
        channel.ask("kernel_begin", sample=SAMPLE, parties=NOBODY)
        told = channel.ask("kernel_end")["kernel"]["load"]
    assert told.pop("seconds") > 0
    assert told.pop("top") == []
    assert set(told) == {"cpu_s", "endpoint_s", "own_s", "path_s", "cluster_s", "foreign_s"}
    assert set(told.values()) == {None}


def test_the_instrument_encloses_a_sample() -> None:
    instrument = Load(Machine({}, FOREIGN))
    instrument.begin()
    assert instrument.end()["load"]["cpu_s"] > 0


def test_hidden_processes_are_not_taken_for_idle_ones() -> None:
    hidden = "mount -t proc -o hidepid=2 proc /proc && exec setpriv --reuid 65534 --regid 65534 --clear-groups"
    program = "import sys; sys.path.insert(0, sys.argv[1]); from labctl_agent import load; print(load.look().tasks)"
    agents = str(load.__file__).rpartition("/labctl_agent/")[0]
    shell = [*ROOT, "unshare", "--mount", "sh", "-c", f'{hidden} "$@"', "-"]
    command = [*shell, "/usr/bin/python3", "-c", program, agents]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "None\n"
