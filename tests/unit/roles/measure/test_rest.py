"""The gate before the first sample, with real agents and a real hog; on whose machine other things may be busy too."""

from __future__ import annotations

import sys
import time

import pytest
from labctl_agent import load
from labctl_agent.load import Look
from labctl_agent.parties import Parties, Task, identity
from labctl_agent.rest import LOOK_S
from labctl_agent.rest import rest as wait_for_rest
from labctl_measure.rest import BUSY_PCT, NoRest, Unwanted, rest, words

from labctl.samples.conditions import FOREIGN_PCT
from tests.unit.roles.measure.conftest import NOBODY, agent, running

QUIET = Parties(0, 0, ())


def looks(monkeypatch: pytest.MonkeyPatch, *foreign_s: float) -> None:
    """Let one process of somebody else have used so much more at each look, which are half a second apart."""
    seen = iter([Look(0.5 * n, {7: Task("cc", 1, "1", used, 0.0)}) for n, used in enumerate(foreign_s)])
    monkeypatch.setattr(load, "look", lambda: next(seen))
    monkeypatch.setattr(time, "sleep", lambda _: None)


def test_what_keeps_a_visit_from_beginning_is_what_would_void_its_samples() -> None:
    assert FOREIGN_PCT.void == BUSY_PCT


def test_a_quiet_machine_is_at_rest_after_one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    looks(monkeypatch, 5.0, 5.04)
    told = wait_for_rest(QUIET, 30.0, 10.0)
    assert told["at_rest"] is True
    assert told["least_pct"] == pytest.approx(8)
    assert told["load"]["seconds"] == LOOK_S


def test_what_ends_in_time_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    looks(monkeypatch, 5.0, 5.5, 6.0, 6.01)
    told = wait_for_rest(QUIET, 30.0, 10.0)
    assert (told["at_rest"], told["load"]["seconds"]) == (True, 1.5)


def test_at_the_limit_the_whole_time_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    looks(monkeypatch, 5.0, 5.4, 5.5, 5.9)
    told = wait_for_rest(QUIET, 1.2, 10.0)
    assert told["at_rest"] is False
    assert told["least_pct"] == pytest.approx(20)
    assert words("node1", told) == (
        "node1 does not come to rest: within 2 s other processes took 60 % of one CPU thread, and never less than "
        "20 %, where at most 10 % may be taken: cc (process 7) 60 %"
    )


def test_a_run_that_is_asked_to_stop_does_not_wait() -> None:
    began = time.monotonic()
    with running(sys.executable, "-c", "while True: pass"), agent() as channel, pytest.raises(Unwanted):
        rest([channel], NOBODY, 30.0, lambda: True)
    assert time.monotonic() - began < 15


def test_a_hog_is_named_with_the_machine_and_what_to_do() -> None:
    with running(sys.executable, "-c", "while True: pass") as hog, agent() as channel:
        with pytest.raises(NoRest) as raised:
            rest([channel], NOBODY, 0.6)
        assert str(raised.value).startswith("here does not come to rest: within 1 s other processes took ")
        assert f" (process {hog.pid}) " in str(raised.value)
        assert "measure_rest_limit_s" in str(raised.value)


def test_our_own_work_is_no_unrest() -> None:
    everybody = [identity(pid) for pid, task in load.tasks().items() if task.parent == 0]  # and all below them
    with running(sys.executable, "-c", "while True: pass"), agent() as channel:
        rest([channel], {**NOBODY, "own": everybody}, 0.6)


def test_where_nobody_sees_the_machine_nothing_is_waited_for(node: tuple[str, ...]) -> None:
    with running(sys.executable, "-c", "while True: pass"), agent(*node) as channel:
        began = time.monotonic()
        rest([channel], NOBODY, 60.0)
        assert time.monotonic() - began < 10
