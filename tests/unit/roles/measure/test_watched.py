"""Watched processes: where they were seen, and that they run where they are to, or why not."""

from __future__ import annotations

import os
import time

import pytest
from labctl_agent import procfs
from labctl_agent.instrument import Scene
from labctl_agent.looks import LOOK_S, Looks
from labctl_agent.namespaces import Inside
from labctl_agent.places import Node
from labctl_agent.watched import OWN_START_LOOKS, Watched

from tests.unit.roles.measure.conftest import running, until

SPIN = ("sh", "-c", "while :; do :; done")
NOBODY = 2**22 + 1  # no process has this number
MISSING = max(os.sched_getaffinity(0)) + 900


def watched(*pids: int) -> Watched:
    return Watched(lambda: pids)


def looked(watching: Watched, seconds: float) -> None:
    """Look at processes for a while, as in a sample."""
    instrument = Looks(Scene({}, Inside(Node().enter_network), "lo", True, watching))
    instrument.begin()
    time.sleep(seconds)
    assert instrument.end() == {}


def test_a_process_is_seen_where_it_runs_with_its_time_and_its_switches() -> None:
    cpu = max(os.sched_getaffinity(0))
    with running(*SPIN) as process:
        os.sched_setaffinity(process.pid, {cpu})
        until(lambda: os.sched_getaffinity(process.pid) == {cpu})
        time.sleep(0.05)
        watching = watched(process.pid, NOBODY)
        looked(watching, 0.55)
    report = watching.report(process.pid)
    assert list(watching.seen) == [process.pid]
    assert (report["cpus"], list(report["looks"])) == ([cpu], [cpu])
    assert 0.3 / LOOK_S <= report["looks"][cpu] <= 0.55 / LOOK_S + 2
    assert 0.05 < report["cpu_s"] < 5
    assert report["voluntary_switches"] >= 0
    assert report["planned"] is None


def test_of_a_process_that_was_not_seen_nothing_is_known() -> None:
    report = watched().report(NOBODY)
    assert report == {
        "cpus": [],
        "looks": {},
        "planned": None,
        "voluntary_switches": None,
        "involuntary_switches": None,
        "cpu_s": None,
    }


def test_one_that_runs_on_a_planned_cpu_alone_stays_there_and_others_are_put_on_theirs() -> None:
    first, last = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))
    with running("sleep", "60") as placed, running("sleep", "60") as free:
        os.sched_setaffinity(placed.pid, {last})
        watching = watched(placed.pid, free.pid)
        watching.planned = [last, first]
        looked(watching, 2 * OWN_START_LOOKS * LOOK_S)
        assert (os.sched_getaffinity(placed.pid), os.sched_getaffinity(free.pid)) == ({last}, {first})
    assert [watching.report(each.pid)["planned"] for each in (placed, free)] == [last, first]
    assert watching.refused is None


def test_one_that_its_tool_places_after_it_was_first_seen_is_left_to_the_tool() -> None:
    """Two servers' processes, seen in another order than the tool's: each has the CPU that the tool gave it."""
    first, last = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))
    with running("sleep", "60") as one, running("sleep", "60") as other:
        watching = watched(one.pid, other.pid)
        watching.planned = [first, last]
        os.sched_setaffinity(one.pid, {last})
        watching.look()
        assert os.sched_getaffinity(other.pid) == os.sched_getaffinity(0), "not touched yet"
        os.sched_setaffinity(other.pid, {first})
        watching.look()
    assert [watching.report(each.pid)["planned"] for each in (one, other)] == [last, first]


def test_of_one_that_ends_soon_its_plan_stays_known(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = max(os.sched_getaffinity(0))
    with running("sleep", "60") as process:
        os.sched_setaffinity(process.pid, {cpu})
        watching = watched(process.pid)
        watching.planned = [cpu]
        watching.look()
    monkeypatch.setattr(procfs, "last_cpu", lambda _: cpu)  # it ends between the two readings of a look
    watching.look()
    assert watching.report(process.pid)["planned"] == cpu


def test_a_cpu_that_is_refused_is_told_with_the_kernels_words() -> None:
    allowed = ", ".join(map(str, sorted(os.sched_getaffinity(0))))
    with running("sleep", "60") as process:
        until(lambda: procfs.read(f"/proc/{process.pid}/comm") == "sleep\n")
        watching = watched(process.pid, NOBODY)
        watching.planned = [MISSING]
        looked(watching, 2 * OWN_START_LOOKS * LOOK_S)
    assert watching.report(process.pid)["planned"] is None
    assert watching.refused == (
        f"sleep (process {process.pid}) cannot run on CPU {MISSING}: Invalid argument (it may run on {allowed})"
    )


def test_one_that_ends_meanwhile_was_refused_nothing() -> None:
    watching = watched(NOBODY)
    watching.planned = [0]
    assert watching.place(NOBODY, put=True) is None
    assert watching.refused is None
