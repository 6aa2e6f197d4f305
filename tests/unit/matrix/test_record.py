"""What an execution has done so far: counted once, and on disk as status.json."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from labctl.catalog import Catalog
from labctl.core.errors import LabctlError, Problem
from labctl.core.files import read_record
from labctl.engine.outcome import Ending
from labctl.matrix.record import Record
from labctl.plan.plan import Plan, Visit, sample_s
from labctl.runs import status as statuses
from labctl.runs.folder import RunFolder
from labctl.runs.status import RunState, VisitRecord
from labctl.samples.sample import Sample, Status
from tests.unit.synthetic import plan_of, samples_of


@pytest.fixture
def plan(small_catalog: Catalog) -> Plan:
    """Two setups, two rounds, a sample each."""
    return plan_of(small_catalog, variant="base,pods", workload="tcp_rr", processes="1", rounds="2")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


@pytest.fixture
def record(plan: Plan, folder: RunFolder) -> Record:
    return Record(plan, folder)


def visited(setup: str = "base", status: Ending = "ok", total: float = 9.0) -> VisitRecord:
    return VisitRecord(setup, 1, 1, 1, status, {"total": total}, ())


def test_nothing_is_done_at_first(record: Record, plan: Plan) -> None:
    assert (record.taken, record.failed, record.complete, record.broken) == (0, False, False, None)
    assert record.lacking() == plan.visits


def test_a_plan_is_complete_when_every_sample_is_there_and_counts(record: Record, plan: Plan) -> None:
    for number, sample in enumerate(samples_of(plan), start=1):
        assert not record.complete
        record.add_sample(sample)
        assert record.taken == number
    record.add_visit(visited(), 1)
    assert (record.complete, record.failed) == (True, False)


@pytest.mark.parametrize("status", [Status.FAILED, Status.INVALID])
def test_a_sample_that_does_not_count_is_taken_and_a_failure(record: Record, plan: Plan, status: Status) -> None:
    first, *others = samples_of(plan)
    for sample in (replace(first, status=status), *others):
        record.add_sample(sample)
    assert (record.taken, record.failed, record.complete) == (4, True, False)


@pytest.mark.parametrize("status", ["failed", "interrupted"])
def test_a_visit_that_does_not_come_to_its_end_is_a_failure(record: Record, plan: Plan, status: Ending) -> None:
    for sample in samples_of(plan):
        record.add_sample(sample)
    record.add_visit(visited(status=status), 1)
    assert (record.failed, record.complete) == (True, False)


def test_the_first_reason_to_break_off_stays(record: Record) -> None:
    first, second = LabctlError(Problem("no room")), LabctlError(Problem("no network"))
    record.break_off(first)
    record.break_off(second)
    assert record.broken is first
    assert record.failed


def test_what_an_earlier_attempt_left_is_counted_and_not_taken_again(plan: Plan, folder: RunFolder) -> None:
    samples: list[Sample] = samples_of(plan)
    kept = frozenset(sample.id for sample in samples if sample.setup == "base" or sample.round == 2)
    record = Record(plan, folder, 3, kept, (visited(status="failed"),))
    assert record.lacking() == (Visit(1, "pods"),)
    assert (record.taken, record.failed) == (3, False)  # what failed then is told by history
    record.add_sample(next(sample for sample in samples if sample.id not in kept))
    assert record.complete
    assert [visit.status for visit in record.status(RunState.DONE).visits] == ["failed"]


def test_the_time_left_follows_what_visits_took(record: Record, plan: Plan) -> None:
    todo = plan.visits[1:]
    by_the_catalog = record.left_s(todo)
    assert by_the_catalog == pytest.approx(4 * sample_s(plan) + sum(plan.setup(one.setup).visit_s for one in todo))
    for setup in ("base", "pods"):
        record.add_visit(visited(setup, total=sample_s(plan) + 2.5), 1)
    assert record.left_s(todo) == pytest.approx(4 * sample_s(plan) + 3 * 2.5, abs=0.1)
    record.add_visit(visited(status="failed", total=500.0), 1)  # says nothing of how long one takes
    assert record.left_s(todo) == pytest.approx(4 * sample_s(plan) + 3 * 2.5, abs=0.1)
    for sample in samples_of(plan):
        record.add_sample(sample)
    assert record.left_s(()) == 0.0


def test_status_json_says_how_far_it_got_and_whose_it_is(record: Record, plan: Plan, folder: RunFolder) -> None:
    record.add_sample(samples_of(plan)[0])
    record.add_visit(visited(), 1)
    record.save(RunState.RUNNING)
    status = read_record(statuses.Status, folder.status)
    assert (status.state, status.samples_planned, status.samples_taken) == (RunState.RUNNING, 4, 1)
    assert (status.pid, status.visits) == (os.getpid(), (visited(),))
    assert status.started <= status.updated


def test_a_folder_that_cannot_be_written_breaks_the_attempt_off(record: Record, folder: RunFolder) -> None:
    folder.path.write_text("in the way")
    record.save(RunState.RUNNING)
    assert record.broken is not None
    assert [problem.where for problem in record.broken.problems] == [str(folder.path)]
