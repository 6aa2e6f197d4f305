"""What a visit's playbooks report is put where it belongs, and nothing that goes wrong there reaches Ansible."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from labctl.core.errors import LabctlError, Problem
from labctl.engine.events import TaskResult, TaskStart
from labctl.matrix.visit_log import VisitLog
from labctl.plan.plan import Visit
from labctl.runs.folder import RunFolder


@dataclass
class Heard:
    """What a log told, and the folder of its visit."""

    folder: Path
    steps: list[tuple[str, str]] = field(default_factory=list)
    samples: list[Path] = field(default_factory=list)
    errors: list[LabctlError] = field(default_factory=list)

    def read(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text())


@pytest.fixture
def heard(tmp_path: Path) -> Heard:
    return Heard(tmp_path / "run" / "setups" / "base" / "2")


@pytest.fixture
def log(heard: Heard, tmp_path: Path) -> VisitLog:
    return VisitLog(
        RunFolder(tmp_path / "run"),
        Visit(2, "base"),
        heard.folder,
        on_step=lambda task, node: heard.steps.append((task, node)),
        on_sample=heard.samples.append,
        on_error=heard.errors.append,
    )


def result(action: str, node: str = "node1", ok: bool = True, **data: object) -> TaskResult:
    return TaskResult(action, f"Task of {action}", node, ok, False, data)


def test_tasks_that_begin_are_steps_and_those_that_fail_name_their_node(log: VisitLog, heard: Heard) -> None:
    log(TaskStart("A play", "A link is there"))
    log(result("command"))
    log(result("command", "node2", ok=False))
    assert heard.steps == [("A link is there", ""), ("Task of command", "node2")]


@pytest.mark.parametrize("action", ["fingerprint", "cluster_fingerprint"])
def test_fingerprints_of_all_nodes_are_one_file(log: VisitLog, heard: Heard, action: str) -> None:
    log(result(action, "node1", fingerprint={"identity": "a"}))
    log(result(action, "node2", fingerprint={"identity": "b"}))
    log(result(action, "node3", ok=False, msg="no Python"))
    assert heard.read("fingerprint.json") == {"node1": {"identity": "a"}, "node2": {"identity": "b"}}


def test_sections_of_several_modules_are_one_fingerprint_and_what_is_read_after_samples_another(
    log: VisitLog, heard: Heard
) -> None:
    log(result("fingerprint", "node1", fingerprint={"identity": "a"}))
    log(result("some_cni", "node1", fingerprint={"cni": {"says": "yes"}}))
    log(result("netperf_sample", status="ok", folder="/run/samples/x/2-1"))
    log(result("fingerprint", "node1", fingerprint={"identity": None}))
    assert heard.read("fingerprint.json") == {"node1": {"identity": "a", "cni": {"says": "yes"}}} == log.prints
    assert heard.read("seal.json") == {"node1": {"identity": None}} == log.seal


def test_a_proof_is_kept_whether_it_holds_or_not_with_nothing_else_of_its_task(log: VisitLog, heard: Heard) -> None:
    said: dict[str, Any] = {"holds": False, "assertions": [{"name": "mss", "holds": False}], "evidence": {"mss": 1400}}
    log(result("datapath_proof", ok=False, msg="does not hold", invocation={}, **said))
    assert heard.read("proof.json") == {"schema": "labctl.proof/1", "setup": "base", "round": 2, **said}


def test_a_proof_that_was_not_taken_leaves_no_file(log: VisitLog, heard: Heard) -> None:
    log(result("datapath_proof", ok=False, msg="no such link"))
    assert not (heard.folder / "proof.json").exists()
    assert heard.steps == [("Task of datapath_proof", "node1")]


@pytest.mark.parametrize(("status", "kept"), [("ok", True), ("failed", True), ("stopped", False)])
def test_a_sample_is_told_when_its_folder_is_there(log: VisitLog, heard: Heard, status: str, kept: bool) -> None:
    log(result("netperf_sample", status=status, folder="/run/samples/x/2-1"))
    assert heard.samples == ([Path("/run/samples/x/2-1")] if kept else [])


def test_a_sample_that_was_refused_is_a_failed_step(log: VisitLog, heard: Heard) -> None:
    log(result("netperf_sample", ok=False, status="refused", msg="node2 was restarted"))
    assert (heard.samples, heard.errors) == ([], [])
    assert heard.steps == [("Task of netperf_sample", "node1")]


def test_a_sample_whose_files_cannot_be_written_says_what_to_do(log: VisitLog, heard: Heard, tmp_path: Path) -> None:
    log(result("netperf_sample", ok=False, status="unwritten", msg="sample x is lost: no space left"))
    (error,) = heard.errors
    hint = "make room, then: labctl matrix --resume run"
    what = "the run folder cannot be written"
    assert error.problems == (Problem(what, str(tmp_path / "run"), "sample x is lost: no space left", hint),)


def test_what_goes_wrong_while_listening_does_not_reach_ansible(log: VisitLog, heard: Heard) -> None:
    heard.folder.parent.parent.mkdir(parents=True)
    heard.folder.parent.write_text("in the way")
    log(result("fingerprint", fingerprint={}))
    assert [problem.what for error in heard.errors for problem in error.problems] == ["a file cannot be written"]


def test_every_play_has_its_time_and_start_up_belongs_to_the_first(log: VisitLog) -> None:
    for play in ("Deploy", "Deploy", "Measure", "Take down", "Measure"):
        log(TaskStart(play, "A task"))
    spent = log.seconds()
    assert list(spent) == ["Deploy", "Measure", "Take down", "total"]
    assert spent["total"] == pytest.approx(sum(list(spent.values())[:-1]), abs=0.002)


def test_a_visit_in_which_nothing_began_has_a_total_alone(log: VisitLog) -> None:
    assert list(log.seconds()) == ["total"]
