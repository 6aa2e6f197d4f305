"""What happened to a run besides its samples, from its files; a damaged one is named and hides nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from labctl.catalog import Catalog
from labctl.core.errors import Problem
from labctl.core.files import write_json
from labctl.engine.inventory import Inventory
from labctl.engine.outcome import Failure
from labctl.matrix.record import Record
from labctl.nodes.fingerprint import Span
from labctl.plan.plan import Plan
from labctl.runs import attempts, history
from labctl.runs.attempts import Change
from labctl.runs.conditions import Changed, Conditions
from labctl.runs.folder import RunFolder
from labctl.runs.history import History
from labctl.runs.status import RunState, VisitRecord
from labctl.samples.sample import Status
from tests.unit.synthetic import plan_of, samples_of

LAB = Inventory(Path("/labs/local"), "local", "local", "node1", "node2", {"node1": {}, "node2": {}})
FAILURE = Failure("visit.yml", "Proof", "node2", "no\n  program")


@pytest.fixture
def plan(small_catalog: Catalog) -> Plan:
    return plan_of(small_catalog, variant="base", workload="tcp_rr", processes="1", rounds="4")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


def visit(number: int, deployment: int = 1, attempt: int = 1, *failures: Failure) -> VisitRecord:
    return VisitRecord("base", number, deployment, attempt, "ok", {"total": 1.0}, failures)


def keep(folder: RunFolder, plan: Plan, *visits: VisitRecord) -> None:
    Record(plan, folder, visits=visits).save(RunState.RUNNING)


def test_a_run_without_incident_has_none(folder: RunFolder, plan: Plan) -> None:
    assert history.read(folder) == History()
    keep(folder, plan, visit(1), visit(2))
    assert history.read(folder) == History()


def test_rounds_that_were_cut_are_known(folder: RunFolder, plan: Plan) -> None:
    keep(folder, plan, visit(1, 1, 1), visit(2, 2, 2), visit(3, 1, 1), visit(3, 1, 2, FAILURE), visit(4, 1, 2))
    past = history.read(folder)
    assert past.cut_rounds == (2, 3)
    (failed,) = past.failed_visits
    assert (failed.round, failed.attempt, failed.reasons) == (3, 2, ("node2: Proof: no program",))


def test_a_long_failure_is_cut_to_a_line(folder: RunFolder, plan: Plan) -> None:
    long = replace(FAILURE, message="no program " * 100)
    keep(folder, plan, visit(1, 1, 1, long, replace(FAILURE, task="")))
    (failed,) = history.read(folder).failed_visits
    first, second = failed.reasons
    assert len(first) == len("node2: Proof: ") + history.LONGEST + len(" ... ")
    assert first.endswith("no program")
    assert second == "node2: no program"


def test_a_failure_is_told_a_line_for_each_problem_with_its_whole_hint(folder: RunFolder, plan: Plan) -> None:
    hint = "make it again with: " + "labctl bundle create " * 40
    problems = (Problem("No image.", "node2, image x", "gone " * 200, hint), Problem("no room", "node2"))
    told = replace(FAILURE, message="No image.\nno room", hint=None, problems=problems)
    keep(folder, plan, visit(1, 1, 1, told, replace(FAILURE, hint="look\n there")))
    (failed,) = history.read(folder).failed_visits
    image, room, plain = failed.reasons
    assert image.startswith("node2: Proof: No image (image x): gone gone")
    assert image.endswith(f"gone; next: {hint.strip()}")
    assert "gone ... gone" in image
    assert room == "node2: Proof: no room"
    assert plain == "node2: Proof: no program; next: look there"
    assert history.in_lines(told)[0].count("gone") == 200


def test_drift_is_told_by_the_attempt_that_accepted_it(folder: RunFolder) -> None:
    first = attempts.observe(1, "", LAB, {})
    change = Change("lab", "node1: ansible_host", "10.0.0.1", "10.0.0.2")
    attempts.write(folder, first)
    attempts.write(folder, replace(first, number=2, drift=(change,)))
    past = history.read(folder)
    assert past.attempts == 2
    assert [(drift.attempt, drift.change) for drift in past.drift] == [(2, str(change))]


def test_samples_taken_again_are_told_with_their_reasons(folder: RunFolder, plan: Plan) -> None:
    sample = replace(samples_of(plan)[0], status=Status.FAILED, reasons=("netperf was killed",))
    cell = folder.samples / sample.cell
    write_json(cell / "1-1.failed-1" / "sample.json", sample)
    (cell / "1-2.damaged-1").mkdir()
    (cell / "1-3").mkdir()
    (cell / ".1-4.partial-1").mkdir()
    failed, damaged = history.read(folder).retaken
    assert (failed.sample, failed.reasons) == (f"{sample.cell}/1-1.failed-1", ("netperf was killed",))
    assert damaged.sample == f"{sample.cell}/1-2.damaged-1"
    assert damaged.reasons == (f"a file cannot be read ({cell}/1-2.damaged-1/sample.json)",)


def test_damaged_files_are_named_and_the_others_read(folder: RunFolder, plan: Plan) -> None:
    attempts.write(folder, attempts.observe(1, "", LAB, {}))
    folder.attempt(2).write_text("{")
    keep(folder, plan, visit(1))
    status = json.loads(folder.status.read_text())
    write_json(folder.status, status | {"visits": [{"setup": "base"}]})
    past = history.read(folder)
    assert past.attempts == 2
    assert past.damaged[0] == f"a file is not valid JSON ({folder.attempt(2)})"
    assert all(words.startswith("missing key (") and str(folder.status) in words for words in past.damaged[1:])
    assert len(past.damaged) > 1


def test_visits_under_other_conditions_are_told_and_those_that_were_cut_short(folder: RunFolder, plan: Plan) -> None:
    change = Changed(Span.SETUP, "setups/base/1/fingerprint.json", "node2", "link.mtu", 1500, 1400)
    for number, changes, sealed in ((1, (), True), (2, (change,), True), (3, (), False)):
        ids = (f"base.tcp_rr.1/{number}-1",)
        one = Conditions("labctl.visit/1", "base", number, 1, 1, sealed, changes, ids, ids if changes else ())
        write_json(folder.visit("base", number) / "visit.json", one)
    assert history.read(folder).unsealed == ()  # it may go on still
    keep(folder, plan, visit(1), visit(2), visit(3))
    past = history.read(folder)
    words = "node2: link.mtu is 1400, and was 1500 in the run's first (setups/base/1/fingerprint.json)"
    assert past.disturbed == (history.Disturbed("base", 2, 1, (words,), 1),)
    assert past.unsealed == ("base, round 3",)
    assert past.damaged == ()
    (folder.visit("base", 1) / "visit.json").write_text("{")
    assert len(history.read(folder).damaged) == 1
