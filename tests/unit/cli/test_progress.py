"""How work is told where nobody sits at a terminal: lines that stay, and no more."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from labctl.catalog import Catalog
from labctl.cli.progress import Terminal, working
from labctl.core.errors import LabctlError
from labctl.engine.events import TaskResult, TaskStart
from labctl.engine.outcome import Failure
from labctl.matrix.execution import Measured, Step, VisitBegun, VisitFailed
from labctl.plan.plan import Plan
from tests.unit.scripted import ScriptedSession, two_nodes
from tests.unit.synthetic import plan_of, samples_of

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def plan(small_catalog: Catalog) -> Plan:
    return plan_of(small_catalog, variant="base", workload="tcp_rr", processes="1", rounds="2")


def said(capsys: Capture) -> list[str]:
    """The lines on standard error, without the time at their beginning; nothing is on standard output."""
    captured = capsys.readouterr()
    assert captured.out == ""
    return [re.sub(r"^\d\d:\d\d  ", "", line) for line in captured.err.splitlines()]


def test_tasks_that_change_or_fail_are_told_and_others_pass(capsys: Capture) -> None:
    terminal = Terminal()
    for listen in (terminal.tasks(), terminal.tasks("cleared {node}: {task}")):
        listen(TaskStart("A play", "A link is there"))
        listen(TaskResult("command", "Nothing to do", "node1", True, False, {}))
        listen(TaskResult("command", "A link is there", "node1", True, True, {}))
        listen(TaskResult("command", "A link is there", "node2", False, False, {}, "cable0"))
    assert said(capsys) == [
        "changed  node1: A link is there",
        "failed   node2: A link is there: cable0",
        "cleared node1: A link is there",
        "failed   node2: A link is there: cable0",
    ]


def test_a_run_is_told_by_its_samples_and_failures(capsys: Capture, plan: Plan) -> None:
    terminal = Terminal()
    terminal.planned(plan)
    tell = terminal.progress(plan)
    tell(VisitBegun("base", 1, 2, 1, 2, 90.0))
    tell(Step("base", 1, "", "A link is there", 90.0))
    tell(Step("base", 1, "node2", "A link is there", 90.0))
    tell(Measured(samples_of(plan)[0], 1, 2, 61.0))
    tell(VisitFailed("base", 2, (Failure("visit.yml", "A proof", "node1", "no program"),)))
    planned, begun, failed, measured, *visit = said(capsys)
    assert begun == "visit 1/2: base round 1/2, 01:30 left"
    assert planned.startswith(f"{plan.id}: 1 setups, 2 samples, about 00:")
    assert failed == "base round 1: node2: failed: A link is there"
    assert re.fullmatch(r"1/2  base\.tcp_rr\.1/1-1 .* 01:01 left", measured)
    assert visit == [
        "base round 2 failed: an Ansible task failed",
        "  where: node1, task 'A proof' of visit.yml",
        "  seen:  no program",
    ]


def test_a_lab_is_worked_on_by_one_labctl(
    lab: ScriptedSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with working("mine", "matrix") as (_, inventory, _):
        assert (inventory.name, inventory.client) == ("mine", "node1")
        with pytest.raises(LabctlError, match="another labctl uses this lab"), working("mine", "provision"):
            pass


def test_a_lab_that_a_dead_labctl_held_is_taken_over_aloud(
    lab: ScriptedSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    with working("mine", "matrix"):
        (held,) = tmp_path.rglob("nodes-*.json")
        left = json.loads(held.read_text()) | {"pid": 1}
    held.write_text(json.dumps(left))
    with working("mine", "provision"):
        pass
    (line,) = said(capsys)
    assert line.startswith("lab mine is taken over from a labctl that no longer runs: labctl matrix, process 1 on ")


def test_work_on_nodes_of_this_machine_says_whose_measurement_it_disturbs(
    lab: ScriptedSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    lab.variables.update(two_nodes("mine", "local"))
    with working("mine", "matrix", measures=True) as (_, _, held):
        held.tell(tmp_path / "runs" / "one")
        with pytest.raises(LabctlError, match="another labctl uses this lab"), working("mine", "provision"):
            pass
    (line,) = said(capsys)
    assert line.startswith("warning: this disturbs a measurement on this machine: lab mine, labctl matrix, process ")
    assert f", run {tmp_path / 'runs' / 'one'}, since " in line
    with working("mine", "provision"):
        pass
    assert said(capsys) == []
