"""Executing a plan: every way in which a visit ends, seen in the run folder, with playbooks that are scripted."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from labctl import catalog
from labctl.core.errors import LabctlError, Problem
from labctl.core.files import read_record, write_json
from labctl.engine.inventory import Inventory
from labctl.engine.outcome import Outcome
from labctl.engine.session import AnsibleOptions
from labctl.matrix.execution import Execution, Measured, Progress, Step, VisitBegun, VisitDisturbed, VisitFailed, Work
from labctl.matrix.record import Record
from labctl.plan import plan as planning
from labctl.plan.plan import Plan
from labctl.plan.visit import all_samples, samples_for
from labctl.runs import conditions
from labctl.runs.conditions import Conditions
from labctl.runs.folder import RunFolder
from labctl.runs.read import read
from labctl.runs.status import RunState, Status
from labctl.samples import sample as samples
from tests.unit.scripted import Call, ScriptedSession, done, ended, failing, lay, looked_at, measuring, take
from tests.unit.synthetic import plan_of

NODES: dict[str, dict[str, object]] = {"node1": {}, "node2": {}}


@pytest.fixture(scope="module")
def plan() -> Plan:
    """Two setups, two rounds, two samples a visit: eight samples."""
    small = {"rounds": "2", "repeat": "2", "duration": "2", "warmup": "1"}
    return plan_of(catalog.load(), variant="baseline,baseline-notrack", workload="tcp_crr", processes="1", **small)


@dataclass
class Bench:
    """A run folder, a scripted session and what was told; `execute` executes the plan."""

    plan: Plan
    folder: RunFolder
    session: ScriptedSession
    fail_fast: bool = False
    revival: Revival = field(default_factory=lambda: Revival(is_needed=False))
    told: list[Progress] = field(default_factory=list)
    on_progress: Callable[[Execution, Progress], None] = lambda *_: None

    def execute(self, record: Record | None = None) -> Execution:
        def progress(event: Progress) -> None:
            self.told.append(event)
            self.on_progress(execution, event)

        lab = Inventory(self.folder.path.parent / "lab", "lab", "metal", "node1", "node2", NODES)
        revival = self.revival
        work = Work(self.session, lab, AnsibleOptions(), progress, self.fail_fast, revival.needed, revival)
        execution = Execution(work, self.plan, self.folder, record)
        execution.run()
        return execution

    @property
    def status(self) -> Status:
        """status.json."""
        return read_record(Status, self.folder.status)

    @property
    def played(self) -> list[str]:
        """The playbooks, each with the setup it was played for."""
        return [f"{call.name} {call.setup}" for call in self.session.calls]

    @property
    def failed(self) -> list[VisitFailed]:
        """The failed visits that were told."""
        return [event for event in self.told if isinstance(event, VisitFailed)]

    def visits(self, first: int = 0) -> list[str]:
        """Visits of the plan that go well."""
        return [f"visit.yml {visit.setup}" for visit in self.plan.visits[first:]]


@pytest.fixture
def bench(tmp_path: Path, plan: Plan) -> Iterator[Bench]:
    with ScriptedSession() as session:
        session.plays["visit.yml"] = measuring
        yield Bench(plan, RunFolder(tmp_path / "run"), session)


def first_time(play: Callable[[Call], Outcome]) -> Callable[[Call], Outcome]:
    """A visit that goes otherwise the first time, and well from then on."""
    left = [play]
    return lambda call: left.pop()(call) if left else measuring(call)


class Revival:
    """Brings back nodes, where `error` does not keep it from that."""

    def __init__(self, is_needed: bool = True, error: LabctlError | None = None) -> None:
        self.is_needed = is_needed
        self.error = error
        self.done = 0

    def needed(self) -> bool:
        return self.is_needed

    def __call__(self) -> None:
        if self.error:
            raise self.error
        self.done += 1


def test_every_sample_of_the_plan_is_taken_in_its_order(bench: Bench, plan: Plan) -> None:
    execution = bench.execute()
    assert execution.complete
    assert bench.played == bench.visits()
    measured = [event for event in bench.told if isinstance(event, Measured)]
    assert [event.sample.id for event in measured] == [sample.id for sample in all_samples(plan)]
    assert [(event.number, event.total) for event in measured] == [(number, 8) for number in range(1, 9)]
    assert measured[0].left_s > measured[-1].left_s
    for event in measured:
        kept = bench.folder.samples / event.sample.id / "sample.json"
        assert read_record(samples.Sample, kept) == event.sample
        assert event.sample.status is samples.Status.VALID
    assert bench.status.state is RunState.DONE


def test_ansible_gets_the_lab_and_what_is_deployed_and_leaves_its_log_there(bench: Bench, plan: Plan) -> None:
    bench.execute()
    first = plan.visits[0]
    folder = bench.folder.visit(first.setup, first.round)
    assert bench.session.calls[0].inventories == (bench.folder.path.parent / "lab", folder / "setup.yml")
    assert (folder / "ansible" / "visit.log").read_text() == "visit.yml: ok\n"
    assert bench.session.calls[0].variables["setup_folder"] == str(folder)


def test_the_status_on_disk_grows_with_every_visit(bench: Bench) -> None:
    seen: list[tuple[RunState, int, int]] = []

    def visit(call: Call) -> Outcome:
        status = bench.status
        seen.append((status.state, status.samples_taken, len(status.visits)))
        return measuring(call)

    bench.session.plays["visit.yml"] = visit
    bench.execute()
    assert seen == [(RunState.RUNNING, 2 * visits, visits) for visits in range(4)]
    last = bench.status
    assert (last.samples_planned, last.samples_taken) == (8, 8)
    assert [(visit.status, visit.attempt, visit.deployment) for visit in last.visits] == [("ok", 1, 1)] * 4
    assert list(last.visits[0].seconds) == ["A play", "total"]


def test_a_run_that_is_resumed_takes_only_what_it_lacks(bench: Bench, plan: Plan) -> None:
    planned = all_samples(plan)
    lacking = (planned[1], *planned[6:])  # the second of the first visit, the last visit
    kept = [sample for sample in planned if sample not in lacking]
    for sample in kept:
        lay(bench.folder.samples / sample.id, vars(sample))
    bench.folder.visit(planned[1].setup, 1).mkdir(parents=True)  # deployed by the attempt before
    execution = bench.execute(Record(plan, bench.folder, 2, frozenset(sample.id for sample in kept)))
    assert execution.complete
    taken = [event.sample.id for event in bench.told if isinstance(event, Measured)]
    assert taken == [sample.id for sample in lacking]
    first, last = bench.status.visits
    assert (first.setup, first.round, first.deployment, first.attempt) == (planned[1].setup, 1, 2, 2)
    assert (last.setup, last.round, last.deployment, last.attempt) == (planned[7].setup, 2, 1, 2)
    assert bench.session.calls[0].inventories[1].parent.name == "1.2"


def test_a_visit_that_fails_is_taken_down_and_the_run_goes_on(bench: Bench, plan: Plan) -> None:
    bench.session.plays["visit.yml"] = first_time(failing("node2", "no program on the cable"))
    execution = bench.execute()
    first, *others = bench.visits()
    assert bench.played == [first, f"undeploy.yml {plan.visits[0].setup}", *others]
    (told,) = bench.failed
    assert (told.setup, told.round) == (plan.visits[0].setup, 1)
    assert [failure.message for failure in told.failures] == ["no program on the cable"]
    assert bench.status.visits[0].failures == told.failures
    assert [visit.status for visit in bench.status.visits] == ["failed", "ok", "ok", "ok"]
    assert (bench.status.state, bench.status.samples_taken) == (RunState.FAILED, 6)
    assert (execution.complete, execution.record.broken) == (False, None)


def test_what_fails_while_a_setup_is_taken_down_is_told_too(bench: Bench) -> None:
    bench.session.plays["visit.yml"] = first_time(failing("node2", "no program"))
    bench.session.plays["undeploy.yml"] = failing("node1", "a link that stays")
    bench.execute()
    assert [failure.message for failure in bench.status.visits[0].failures] == ["no program", "a link that stays"]


def test_a_sample_that_fails_counts_as_taken_but_not_as_good(bench: Bench) -> None:
    def visit(call: Call) -> Outcome:
        first, second = call.variables["measure_samples"]
        take(call, first, reason="netperf was killed")
        take(call, second)
        return ended("ok")

    bench.session.plays["visit.yml"] = first_time(visit)
    execution = bench.execute()
    assert bench.played == bench.visits()
    assert (bench.status.state, bench.status.samples_taken) == (RunState.FAILED, 8)
    assert not execution.complete
    first = next(event.sample for event in bench.told if isinstance(event, Measured))
    assert (first.status, first.reasons) == (samples.Status.FAILED, ("netperf was killed",))


def test_a_node_that_was_lost_is_waited_for_and_the_run_goes_on(bench: Bench, plan: Plan) -> None:
    bench.session.plays["visit.yml"] = first_time(failing("node2", "timed out", lost=True))
    execution = bench.execute()
    setup = plan.visits[0].setup
    assert bench.played == [
        *(f"{name} {setup}" for name in ("visit.yml", "wait.yml", "undeploy.yml")),
        *bench.visits(1),
    ]
    assert execution.record.broken is None
    assert bench.status.samples_taken == 6


def test_a_node_that_stays_away_ends_the_run_and_nothing_is_tried_on_it(bench: Bench, plan: Plan) -> None:
    bench.session.plays |= {
        "visit.yml": first_time(failing("node2", "timed out", lost=True)),
        "wait.yml": failing("node2", "no answer in 300 s"),
    }
    bench.revival = Revival(is_needed=False)
    execution = bench.execute()
    assert bench.session.played == ["visit.yml", "wait.yml"]
    assert execution.record.broken is not None
    (problem,) = execution.record.broken.problems
    assert (problem.what, problem.where) == ("a node was lost and did not come back", "node2")
    assert problem.seen == "node2: no answer in 300 s"
    assert str(problem.hint).endswith(f"labctl matrix --resume {plan.id}")
    assert bench.status.state is RunState.FAILED


def never_alone(call: Call) -> Outcome:
    """Waiting for nodes that do not come back by themselves."""
    return ended("interrupted") if call.cancelled() else done(call)


def test_nodes_that_labctl_made_are_started_again(bench: Bench) -> None:
    bench.session.plays |= {
        "visit.yml": first_time(failing("node2", "timed out", lost=True)),
        "wait.yml": never_alone,
    }
    bench.revival = revival = Revival()
    execution = bench.execute()
    assert revival.done == 1
    assert bench.session.played == ["visit.yml", "wait.yml", "undeploy.yml", *["visit.yml"] * 3]
    assert execution.record.broken is None


def test_nodes_that_cannot_be_started_again_end_the_run(bench: Bench) -> None:
    bench.session.plays |= {
        "visit.yml": first_time(failing("node2", "timed out", lost=True)),
        "wait.yml": never_alone,
    }
    error = LabctlError(Problem("no room for a guest"))
    bench.revival = Revival(error=error)
    assert bench.execute().record.broken is error
    assert bench.session.played == ["visit.yml", "wait.yml"]


def requests(number: int, moment: type[Progress] = Measured) -> Callable[[Execution, Progress], None]:
    """Ask so many times to stop, as soon as a first sample is there."""

    def progress(execution: Execution, event: Progress) -> None:
        if isinstance(event, moment) and not execution.stop.asked:
            for _ in range(number):
                execution.stop.request()

    return progress


def test_a_visit_that_finds_no_nodes_fails(bench: Bench) -> None:
    bench.session.plays["visit.yml"] = first_time(done)  # as when the inventory lost its groups meanwhile
    execution = bench.execute()
    (failed,) = bench.failed
    assert failed.failures[0].message.startswith("the visit ended without a sample")
    assert bench.session.played[:2] == ["visit.yml", "undeploy.yml"]
    assert (execution.complete, bench.status.samples_taken) == (False, 6)


def test_what_a_request_means_is_said(bench: Bench) -> None:
    said: list[str] = []
    bench.on_progress = lambda execution, event: (
        said.extend(execution.stop.request() for _ in range(2)) if isinstance(event, VisitBegun) else None
    )
    bench.execute()
    patient, at_once = said
    assert patient.startswith("the run ends after the task in hand, or the sample in flight (3 s); then its setup is ")
    assert at_once.startswith("the run ends at once; its setup is taken down all the same")


def test_every_visit_is_told_before_it_begins(bench: Bench, plan: Plan) -> None:
    bench.execute()
    begun = [event for event in bench.told if isinstance(event, VisitBegun)]
    assert [(event.setup, event.round, event.number, event.total) for event in begun] == [
        (visit.setup, visit.round, number, 4) for number, visit in enumerate(plan.visits, start=1)
    ]
    assert bench.told[0] == begun[0]
    assert begun[0].left_s > begun[-1].left_s > 0


def test_asked_to_stop_before_the_first_sample_a_run_ends_between_two_tasks(bench: Bench) -> None:
    def deploy(call: Call) -> Outcome:
        call.start("The link is there")
        assert Path(call.variables["measure_stop_file"]).exists()
        return ended("interrupted")

    bench.session.plays["visit.yml"] = deploy
    bench.on_progress = requests(1, VisitBegun)
    bench.execute()
    assert bench.session.played == ["visit.yml", "undeploy.yml"]
    assert [visit.status for visit in bench.status.visits] == ["interrupted"]
    assert (bench.status.state, bench.failed) == (RunState.INTERRUPTED, [])


def test_asked_to_stop_once_a_run_ends_after_the_sample_in_flight(bench: Bench) -> None:
    bench.on_progress = requests(1)
    execution = bench.execute()
    assert bench.session.played == ["visit.yml"]
    assert (bench.status.state, bench.status.samples_taken) == (RunState.INTERRUPTED, 1)
    assert (execution.complete, execution.record.failed, bench.failed) == (False, False, [])
    assert not bench.folder.stop.exists()


def test_asked_to_stop_twice_a_run_ends_at_once_and_its_setup_is_taken_down(bench: Bench) -> None:
    bench.on_progress = requests(2)
    uncancelled: list[bool] = []

    def undeploy(call: Call) -> Outcome:
        uncancelled.append(not call.cancelled())
        return done(call)

    bench.session.plays["undeploy.yml"] = undeploy
    bench.execute()
    assert bench.session.played == ["visit.yml", "undeploy.yml"]
    assert uncancelled == [True]
    assert bench.status.state is RunState.INTERRUPTED
    assert [visit.status for visit in bench.status.visits] == ["interrupted"]


def test_asked_to_stop_while_a_node_is_waited_for_a_run_ends_without_blame(bench: Bench) -> None:
    def progress(execution: Execution, event: Progress) -> None:
        if isinstance(event, Step) and event.text == "The node answers":
            execution.stop.request()

    bench.on_progress = progress

    def wait(call: Call) -> Outcome:
        call.start("The node answers")
        return never_alone(call)

    bench.session.plays |= {"visit.yml": failing("node2", "timed out", lost=True), "wait.yml": wait}
    execution = bench.execute()
    assert bench.session.played == ["visit.yml", "wait.yml"]
    assert (bench.status.state, execution.record.broken) == (RunState.INTERRUPTED, None)


def test_a_request_that_cannot_be_written_ends_the_run_at_once(bench: Bench) -> None:
    def lose_the_folder(execution: Execution, event: Progress) -> None:
        if isinstance(event, Measured) and bench.folder.path.is_dir():
            replace_by_a_file(bench.folder.path)
            execution.stop.request()
            assert execution.stop.at_once()

    bench.on_progress = lose_the_folder
    assert bench.execute().record.broken is not None


def test_a_request_of_an_earlier_attempt_is_forgotten(bench: Bench) -> None:
    bench.folder.path.mkdir()
    bench.folder.stop.touch()
    assert bench.execute().complete


def test_fail_fast_ends_a_run_at_the_first_sample_that_does_not_count(bench: Bench) -> None:
    def visit(call: Call) -> Outcome:
        take(call, call.variables["measure_samples"][0], reason="netperf was killed")
        assert Path(call.variables["measure_stop_file"]).exists()
        return ended("ok")

    bench.fail_fast = True
    bench.session.plays["visit.yml"] = visit
    bench.execute()
    assert bench.session.played == ["visit.yml"]
    assert (bench.status.state, bench.status.samples_taken) == (RunState.FAILED, 1)
    assert not bench.folder.stop.exists()


def test_fail_fast_ends_a_run_at_the_first_visit_that_fails(bench: Bench) -> None:
    bench.fail_fast = True
    bench.session.plays["visit.yml"] = failing("node1", "no")
    bench.execute()
    assert bench.session.played == ["visit.yml", "undeploy.yml"]
    assert bench.status.state is RunState.FAILED


def replace_by_a_file(path: Path) -> None:
    """Make a directory unwritable, to root too: a file stands where it stood."""
    shutil.rmtree(path)
    path.write_text("in the way")


def test_a_run_folder_that_cannot_be_written_is_told_before_anything_is_done(bench: Bench) -> None:
    bench.folder.path.write_text("in the way")
    execution = bench.execute()
    assert bench.session.played == []
    assert execution.record.broken is not None
    assert str(bench.folder.path) in str(execution.record.broken)
    assert not execution.complete


def test_a_setup_that_cannot_be_written_is_not_deployed(bench: Bench) -> None:
    bench.folder.path.mkdir()
    (bench.folder.path / "setups").write_text("in the way")
    execution = bench.execute()
    assert bench.session.played == []
    (visit,) = bench.status.visits
    assert (bench.status.state, visit.status) == (RunState.FAILED, "failed")
    (failure,) = visit.failures
    assert failure.message == str(execution.record.broken)
    assert failure.message.startswith("a file cannot be written")


def test_a_sample_that_cannot_be_kept_ends_the_run_after_its_setup_is_taken_down(bench: Bench) -> None:
    def visit(call: Call) -> Outcome:
        item = call.variables["measure_samples"][0]
        folder = bench.folder.samples / item["id"]
        folder.mkdir(parents=True)
        (folder / "sample.json").mkdir()
        lay(folder / "raw", item)
        for raw in (folder / "raw").iterdir():
            raw.rename(folder / raw.name)
        call.end("netperf_sample", status="ok", folder=str(folder))
        assert call.cancelled()
        return ended("interrupted")

    bench.session.plays["visit.yml"] = visit
    execution = bench.execute()
    assert bench.session.played == ["visit.yml", "undeploy.yml"]
    assert (bench.status.state, bench.status.samples_taken) == (RunState.FAILED, 0)
    (record,) = bench.status.visits
    assert record.status == "failed"
    assert [failure.message for failure in record.failures] == [str(execution.record.broken)]
    assert "sample.json" in record.failures[0].message


def test_a_run_folder_that_is_lost_on_the_way_ends_the_run_with_its_reason(bench: Bench) -> None:
    bench.on_progress = lambda _, event: (
        replace_by_a_file(bench.folder.path) if isinstance(event, Measured) and bench.folder.path.is_dir() else None
    )
    execution = bench.execute()
    assert execution.record.broken is not None
    (problem,) = execution.record.broken.problems
    assert (problem.what, problem.where) == ("the run folder cannot be written", str(bench.folder.path))
    assert str(problem.seen).startswith("sample baseline-notrack.tcp_crr.1/1-2 is lost")
    assert "matrix --resume" in str(problem.hint)
    assert bench.session.played == ["visit.yml"]  # there is no setup.yml any more to take it down by
    assert not execution.complete


def test_nobody_waits_for_a_node_where_the_run_ends_anyway(bench: Bench) -> None:
    def visit(call: Call) -> Outcome:
        call.end("netperf_sample", ok=False, status="unwritten", msg="no space left")
        return failing("node2", "timed out", lost=True)(call)

    bench.session.plays["visit.yml"] = visit
    execution = bench.execute()
    assert bench.session.played == ["visit.yml", "undeploy.yml"]
    assert "no space left" in str(execution.record.broken)


def looking(**changes: Any) -> Callable[[Call], Outcome]:
    """A visit with its fingerprints, which after the last sample hold `changes` in sections."""

    def visit(call: Call) -> Outcome:
        looked_at()(call)
        outcome = measuring(call)
        looked_at(**changes)(call)
        return outcome

    return visit


def of_first_visit(bench: Bench) -> tuple[Conditions, list[samples.Sample]]:
    """The conditions of the first visit, and its samples as the run folder has them."""
    first = bench.plan.visits[0]
    found = read_record(Conditions, bench.folder.visit(first.setup, first.round) / conditions.VISIT)
    ids = [sample.id for sample in samples_for(bench.plan, first)]
    return found, [read_record(samples.Sample, bench.folder.samples / name / "sample.json") for name in ids]


def test_a_run_in_which_nothing_changes_is_sealed_and_counts(bench: Bench) -> None:
    bench.session.plays["visit.yml"] = looking()
    assert bench.execute().complete
    for visit in bench.plan.visits:
        found = read_record(Conditions, bench.folder.visit(visit.setup, visit.round) / conditions.VISIT)
        assert (found.sealed, found.changes, found.void) == (True, (), ())
        assert found.samples == tuple(sample.id for sample in samples_for(bench.plan, visit))


def test_what_changes_during_a_visit_voids_its_samples_and_only_those(bench: Bench) -> None:
    changed = looking(link={"gso_max_size": 4096})
    left = [changed]
    bench.session.plays["visit.yml"] = lambda call: left.pop()(call) if left else looking()(call)
    write_json(bench.folder.plan, planning.to_json(bench.plan))
    execution = bench.execute()
    found, taken = of_first_visit(bench)
    reason = "node1: link.gso_max_size changed during this visit: 65536 became 4096"
    assert reason in found.reasons
    assert found.void == found.samples == tuple(sample.id for sample in taken)
    assert all(sample.status is samples.Status.INVALID and reason in sample.reasons for sample in taken)
    assert all(sample.rate is not None for sample in taken)  # kept for a person to look at
    invalid = [one for one in read(bench.folder.path).samples if one.status is not samples.Status.VALID]
    assert [sample.id for sample in invalid] == [sample.id for sample in taken]
    assert bench.status.state is RunState.FAILED
    assert not execution.complete
    (told,) = [event for event in bench.told if isinstance(event, VisitDisturbed)]
    assert (told.setup, told.round, told.void) == (bench.plan.visits[0].setup, 1, 2)
    assert reason in told.changes


def test_a_visit_that_begins_under_other_conditions_is_void_from_its_first_sample(bench: Bench) -> None:
    changed: dict[str, Any] = {"sysctl": {"namespace": {"net.ipv4.tcp_rmem": "1 2 3"}}}

    def visit(call: Call) -> Outcome:
        second = call.variables["measure_samples"][0]["round"] == 2
        looked_at(**(changed if second else {}))(call)
        return measuring(call)

    bench.session.plays["visit.yml"] = visit
    bench.execute()
    measured = [event.sample for event in bench.told if isinstance(event, Measured)]
    assert {sample.round for sample in measured if sample.status is samples.Status.INVALID} == {2}
    assert {sample.round for sample in measured if sample.status is samples.Status.VALID} == {1}
    reasons = {reason for sample in measured for reason in sample.reasons}
    assert any("node2: sysctl.namespace.net.ipv4.tcp_rmem is 1 2 3, and was " in reason for reason in reasons)


def test_fail_fast_ends_a_run_at_a_visit_whose_samples_are_void(bench: Bench) -> None:
    bench.fail_fast = True
    bench.session.plays["visit.yml"] = looking(link={"gso_max_size": 4096})
    bench.execute()
    assert bench.session.played == ["visit.yml"]
    assert bench.status.state is RunState.FAILED


def test_a_visit_that_was_cut_short_keeps_its_samples_and_says_that_it_is_not_sealed(bench: Bench) -> None:
    def visit(call: Call) -> Outcome:
        looked_at()(call)
        take(call, call.variables["measure_samples"][0])
        return failing("node2", "no")(call)

    bench.session.plays["visit.yml"] = first_time(visit)
    bench.execute()
    first = bench.plan.visits[0]
    found = read_record(Conditions, bench.folder.visit(first.setup, first.round) / conditions.VISIT)
    assert (found.sealed, len(found.samples), found.void) == (False, 1, ())
