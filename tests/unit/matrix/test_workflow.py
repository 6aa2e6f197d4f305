"""How a run comes about, on labs of every kind whose playbooks are scripted: made ready, begun, resumed, ended."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from labctl import catalog
from labctl.core import ending
from labctl.core.errors import LabctlError, UsageError
from labctl.core.files import read_record
from labctl.engine.events import Event, Listener, TaskResult
from labctl.engine.inventory import Inventory
from labctl.engine.outcome import Outcome
from labctl.engine.session import AnsibleOptions
from labctl.labs import lock
from labctl.matrix import workflow
from labctl.matrix.execution import Measured, Progress, VisitFailed
from labctl.matrix.workflow import Bench, RunResult
from labctl.plan.options import MatrixOptions, RawOptions, parse_options
from labctl.plan.plan import Plan
from labctl.runs import find
from labctl.runs.attempts import Attempt
from labctl.runs.folder import RunFolder
from labctl.runs.status import RunState
from tests.unit import lab_records
from tests.unit.scripted import Call, ScriptedSession, ended, failing, looked_at, measuring

NODES: dict[str, dict[str, object]] = {"node1": {"ansible_host": "10.0.0.1"}, "node2": {"ansible_host": "10.0.0.2"}}
OPTIONS = AnsibleOptions(forks=4)


@dataclass
class Told:
    """Hears what a person would be told; `on_planned` happens when a run is about to begin."""

    lines: list[str] = field(default_factory=list)
    events: list[Progress] = field(default_factory=list)
    plans: list[Plan] = field(default_factory=list)
    on_planned: Callable[[Plan], None] = lambda _: None

    def line(self, text: str) -> None:
        self.lines.append(text)

    timed = line

    def tasks(self, changed: str = "changed {node}: {task}") -> Listener:
        def listener(event: Event) -> None:
            if isinstance(event, TaskResult) and event.changed:
                self.lines.append(changed.format(node=event.node, task=event.task))

        return listener

    def planned(self, plan: Plan) -> None:
        self.plans.append(plan)
        self.on_planned(plan)

    def progress(self, plan: Plan) -> Callable[[Progress], None]:  # noqa: ARG002  (as every Teller has it)
        return self.events.append

    def clear(self) -> None:
        pass


@dataclass
class Stage:
    """A lab, a scripted session and somebody who hears, in a directory of their own."""

    here: Path
    session: ScriptedSession
    held: lock.LabLock
    told: Told
    kind: str = "metal"

    def bench(self) -> Bench:
        lab = Inventory(self.here / "lab", "mine", self.kind, "node1", "node2", NODES)
        return Bench(self.session, lab, self.held, OPTIONS, lambda: self.told)

    def measure(self) -> RunResult:
        return workflow.measure(self.bench(), wanted())

    def resume(self, result: RunResult, accept_drift: bool = False) -> RunResult:
        return workflow.resume(self.bench(), result.folder, accept_drift)

    @property
    def played(self) -> list[str]:
        return self.session.played

    @property
    def runs(self) -> list[str]:
        """What is in ./runs, hidden or not."""
        directory = self.here / "runs"
        return sorted(path.name for path in directory.iterdir()) if directory.exists() else []


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LABCTL_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    lab_records.let_become_root(monkeypatch, tmp_path / "bin")
    (tmp_path / "lab").mkdir()
    (tmp_path / "locks").mkdir(mode=0o1777)
    monkeypatch.setattr(lock, "SHARED", tmp_path / "locks")
    with ScriptedSession() as session, lock.held("mine", "lab-mine", "matrix") as held:
        session.plays |= {"clear.yml": looked_at(), "check.yml": looked_at(), "visit.yml": measuring}
        yield Stage(tmp_path, session, held, Told())


def wanted() -> MatrixOptions:
    """Two setups, one round of one sample."""
    small = RawOptions.of(
        variant="baseline,baseline-notrack", workload="tcp_crr", processes="1", rounds="1", duration="2", warmup="1"
    )
    return parse_options(small, catalog.load())


def create(state: Path, kind: str, kvm: bool = True) -> Callable[[Call], Outcome]:
    """lab_create.yml of a lab of this kind."""

    def play(call: Call) -> Outcome:
        lab_records.record(state, "mine", kind, kvm=kvm)
        call.end(f"{kind}_lab", "localhost", changed=True, name="mine")
        return ended("ok")

    return play


# The lab made ready.


def test_servers_are_looked_at_with_nothing_deployed_and_nothing_else_is_done(stage: Stage) -> None:
    def clear(call: Call) -> Outcome:
        call.end("command", "node2", changed=True)
        return looked_at()(call)

    stage.session.plays["clear.yml"] = clear
    seen = workflow.ready(stage.bench())
    assert set(seen.fingerprints) == {"node1", "node2"}
    assert stage.played == ["clear.yml"]
    assert stage.session.calls[0].options is OPTIONS
    assert stage.told.lines == ["cleared  node2, where an earlier run left it: Task of command"]


def test_servers_that_are_not_provisioned_are_left_to_their_owner(stage: Stage) -> None:
    stage.session.plays["clear.yml"] = looked_at(provisioned=False)
    with pytest.raises(LabctlError, match="the lab is not provisioned") as raised:
        workflow.ready(stage.bench())
    assert raised.value.problems[0].hint == "labctl provision"
    assert stage.played == ["clear.yml"]


def test_an_existing_cluster_is_measured_as_it_is(stage: Stage) -> None:
    stage.kind = "cluster"
    stage.session.plays["clear.yml"] = looked_at(provisioned=False)
    workflow.ready(stage.bench())
    assert stage.played == ["clear.yml"]


def test_nodes_that_do_not_answer_are_named(stage: Stage) -> None:
    stage.session.plays["clear.yml"] = failing("node2", "Connection refused", lost=True)
    with pytest.raises(LabctlError, match="Connection refused"):
        workflow.ready(stage.bench())


def test_what_a_lab_that_does_not_run_cannot_have_is_refused_before_it_is_made(stage: Stage) -> None:
    stage.kind = "local"
    asked = parse_options(RawOptions.of(variant="k8s-ptp"), catalog.load(), stage.kind)
    with pytest.raises(UsageError, match="k8s-ptp comes in editions, and none of them is asked for"):
        workflow.measure(stage.bench(), asked)
    assert (stage.played, stage.runs) == ([], [])


def test_the_edition_of_the_labs_cluster_is_measured_where_none_is_asked_for(stage: Stage) -> None:
    stage.session.plays["clear.yml"] = looked_at(versions={"edition": "current"})
    asked = parse_options(RawOptions.of(variant="k8s-ptp", workload="tcp_crr"), catalog.load(), stage.kind)
    stage.told.on_planned = lambda plan: (stage.here / "runs" / plan.id).mkdir(parents=True)
    with pytest.raises(LabctlError, match="a run of this name exists"):
        workflow.measure(stage.bench(), asked)
    (planned,) = stage.told.plans
    assert [setup.id for setup in planned.setups] == ["baseline", "k8s-ptp.current"]
    assert planned.notes[0].startswith("edition current: none was asked for")


@pytest.mark.parametrize("kind", ["local", "vm"])
def test_a_lab_of_this_machine_that_is_missing_is_created_and_provisioned(stage: Stage, kind: str) -> None:
    stage.kind = kind
    stage.session.plays |= {
        "lab_create.yml": create(stage.here / "state", kind),
        "clear.yml": looked_at(provisioned=False),
    }
    seen = workflow.ready(stage.bench())
    assert stage.played == ["lab_create.yml", "clear.yml", "provision.yml", "check.yml"]
    assert seen.fingerprints["node1"].text("versions", "provisioned") == "1"
    assert stage.told.lines == [
        "creating lab mine",
        f"changed localhost: Task of {kind}_lab",
        "provisioning lab mine",
    ]


def test_guests_that_are_emulated_are_told(stage: Stage) -> None:
    stage.kind = "vm"
    stage.session.plays["lab_create.yml"] = create(stage.here / "state", "vm", kvm=False)
    workflow.ready(stage.bench())
    assert any("emulated" in line for line in stage.told.lines)


def test_a_lab_that_runs_and_is_provisioned_is_only_cleared(stage: Stage) -> None:
    stage.kind = "local"
    lab_records.record(stage.here / "state")
    workflow.ready(stage.bench())
    assert (stage.played, stage.told.lines) == (["clear.yml"], [])


def test_a_lab_that_cannot_be_provisioned_is_not_measured(stage: Stage) -> None:
    stage.kind = "local"
    lab_records.record(stage.here / "state")
    stage.session.plays |= {"clear.yml": looked_at(provisioned=False), "provision.yml": failing("node1", "no room")}
    with pytest.raises(LabctlError, match="no room"):
        stage.measure()
    assert (stage.played, stage.runs) == (["clear.yml", "provision.yml"], [])


# A new run.


def test_a_run_is_measured_and_whole(stage: Stage) -> None:
    result = stage.measure()
    assert (result.complete, result.broken) == (True, None)
    assert stage.played == ["clear.yml", "visit.yml", "visit.yml"]
    (run,) = find.list_runs()
    assert (run.path, run.state) == (result.folder, find.State.DONE)
    assert run.plan == stage.told.plans[0]
    assert [event.number for event in stage.told.events if isinstance(event, Measured)] == [1, 2]
    attempt = read_record(Attempt, RunFolder(result.folder).attempt(1))
    assert (attempt.lab.name, set(attempt.fingerprints), attempt.drift) == ("mine", {"node1", "node2"}, ())


def test_others_who_want_the_lab_are_told_which_run_has_it(stage: Stage) -> None:
    result = stage.measure()
    with (
        pytest.raises(LabctlError, match=f"run {result.folder}"),
        lock.held("mine", "lab-mine", "matrix"),
    ):
        pass


def test_the_folder_of_a_run_is_there_whole_or_not_at_all(stage: Stage) -> None:
    seen: list[tuple[list[str], RunState]] = []

    def visit(call: Call) -> Outcome:
        (run,) = find.list_runs()
        assert run.status is not None
        assert run.plan is not None
        seen.append((stage.runs, run.status.state))
        return measuring(call)

    stage.session.plays["visit.yml"] = visit
    stage.told.on_planned = lambda _: seen.append((stage.runs, RunState.DONE))
    name = stage.measure().folder.name
    assert seen == [([], RunState.DONE), ([name], RunState.RUNNING), ([name], RunState.RUNNING)]


def test_a_run_that_cannot_be_begun_leaves_nothing_that_looks_like_one(stage: Stage) -> None:
    def stand_in_the_way(plan: Plan) -> None:
        begun = stage.here / "runs" / f".{plan.id}.partial"
        begun.mkdir(parents=True)
        (begun / "attempts").write_text("in the way")

    stage.told.on_planned = stand_in_the_way
    with pytest.raises(LabctlError, match="attempts"):
        stage.measure()
    assert (stage.played, find.list_runs()) == (["clear.yml"], ())


def test_a_run_of_the_same_name_is_left_alone(stage: Stage) -> None:
    stage.told.on_planned = lambda plan: (stage.here / "runs" / plan.id).mkdir(parents=True)
    with pytest.raises(LabctlError, match="a run of this name exists"):
        stage.measure()
    (name,) = stage.runs
    assert list((stage.here / "runs" / name).iterdir()) == []
    assert stage.played == ["clear.yml"]


@pytest.mark.parametrize("number", ending.SIGNALS)
def test_a_signal_ends_a_run_after_the_sample_in_flight(stage: Stage, number: signal.Signals) -> None:
    before = signal.getsignal(number)

    def visit(call: Call) -> Outcome:
        os.kill(os.getpid(), number)
        return measuring(call)

    stage.session.plays["visit.yml"] = visit
    said: list[str] = []
    with ending.heard(said.append) as requests:
        result = stage.measure()
    assert (result.complete, result.broken, requests.first) == (False, None, number)
    assert find.open_run(result.folder).state is find.State.INTERRUPTED
    assert stage.played == ["clear.yml", "visit.yml"]
    assert said[0].startswith(f"{number.name}: the run ends after the task in hand, or the sample in flight")
    assert "0 of 2 samples are there; labctl matrix --resume" in stage.told.lines[-1]
    assert signal.getsignal(number) == before


def test_a_signal_before_a_run_was_begun_leaves_none(stage: Stage) -> None:
    def clear(_: Call) -> Outcome:
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError

    stage.session.plays["clear.yml"] = clear
    with pytest.raises(ending.Ended) as ended_by, ending.heard(lambda _: None):
        stage.measure()
    assert ended_by.value.left == "no run was begun; a lab that was made stays, and the same command goes on with it"
    assert not (stage.here / "runs").exists()


def test_the_nodes_of_a_lab_that_labctl_made_are_brought_back(stage: Stage) -> None:
    stage.kind = "local"
    lab = lab_records.record(stage.here / "state")
    left = ["once"]

    def visit(call: Call) -> Outcome:
        if not left:
            return measuring(call)
        left.clear()
        lab_records.stop(lab, "node2")
        return failing("node2", "timed out", lost=True)(call)

    def wait(call: Call) -> Outcome:
        assert call.cancelled()  # it will not come back by itself
        return ended("interrupted")

    stage.session.plays |= {"visit.yml": visit, "wait.yml": wait}
    stage.session.plays["lab_create.yml"] = create(stage.here / "state", "local")
    result = stage.measure()
    assert stage.played == [
        *("clear.yml", "visit.yml", "wait.yml", "lab_create.yml", "provision.yml", "undeploy.yml", "visit.yml")
    ]
    assert (result.complete, result.broken) == (False, None)


def test_servers_are_not_started_by_labctl(stage: Stage) -> None:
    stage.session.plays |= {
        "visit.yml": failing("node2", "timed out", lost=True),
        "wait.yml": failing("node2", "no answer"),
    }
    result = stage.measure()
    assert stage.played == ["clear.yml", "visit.yml", "wait.yml"]
    assert "did not come back" in str(result.broken)
    (failed,) = [event for event in stage.told.events if isinstance(event, VisitFailed)]
    assert failed.failures[0].message == "timed out"


# A run gone on with.


@pytest.fixture
def half(stage: Stage) -> RunResult:
    """A run whose second visit failed, everything that was said and done forgotten."""
    visits = [failing("node2", "no program"), measuring]
    stage.session.plays["visit.yml"] = lambda call: visits.pop()(call)
    result = stage.measure()
    assert not result.complete
    stage.session.plays["visit.yml"] = measuring
    stage.session.calls.clear()
    stage.told.lines.clear()
    stage.told.events.clear()
    return result


def test_a_run_that_is_resumed_becomes_whole(stage: Stage, half: RunResult) -> None:
    result = stage.resume(half)
    assert (result.folder, result.complete) == (half.folder, True)
    assert stage.played == ["clear.yml", "visit.yml"]
    (line,) = stage.told.lines
    assert line == f"{half.folder.name}: 1 of 2 samples are there and count"
    assert [event.number for event in stage.told.events if isinstance(event, Measured)] == [2]
    run = find.open_run(half.folder)
    assert run.status is not None
    assert [(visit.status, visit.attempt) for visit in run.status.visits] == [("ok", 1), ("failed", 1), ("ok", 2)]
    assert read_record(Attempt, RunFolder(half.folder).attempt(2)).drift == ()


def test_a_lab_that_is_not_what_it_was_is_refused_with_everything_that_changed(stage: Stage, half: RunResult) -> None:
    stage.session.plays["clear.yml"] = looked_at(kernel={"release": "7.0.0"})
    before = {path: path.read_bytes() for path in half.folder.rglob("*") if path.is_file()}
    with pytest.raises(LabctlError) as raised:
        stage.resume(half)
    assert [problem.where for problem in raised.value.problems] == [
        "node1: kernel.release",
        "node2: kernel.release",
    ]
    assert all("--accept-drift" in str(problem.hint) for problem in raised.value.problems)
    assert stage.played == ["clear.yml"]
    assert {path: path.read_bytes() for path in half.folder.rglob("*") if path.is_file()} == before


def test_a_change_that_is_accepted_is_recorded_and_told(stage: Stage, half: RunResult) -> None:
    stage.session.plays["clear.yml"] = looked_at(kernel={"release": "7.0.0"})
    assert stage.resume(half, accept_drift=True).complete
    drift = read_record(Attempt, RunFolder(half.folder).attempt(2)).drift
    assert [change.now for change in drift] == ["7.0.0", "7.0.0"]
    assert stage.told.lines[:2] == [f"accepted: {change}" for change in drift]


def test_what_is_damaged_and_what_is_set_aside_are_told(stage: Stage, half: RunResult) -> None:
    (sample,) = half.folder.glob("samples/*/*/client.json")
    sample.write_text("{")
    sample.with_name("sample.json").unlink()
    (half.folder / "status.json").write_text("{")
    assert stage.resume(half).complete
    damaged, *others = stage.told.lines
    assert damaged.startswith(f"damaged: a file is not valid JSON\n  where: {half.folder}/status.json")
    assert others == [
        f"set aside: {sample.parent.relative_to(half.folder)}.damaged-1",
        "set aside: status.json.damaged-1",
        f"{half.folder.name}: 0 of 2 samples are there and count",
    ]


def test_a_run_whose_plan_cannot_be_read_is_refused_before_the_lab_is_touched(stage: Stage, half: RunResult) -> None:
    (half.folder / "plan.json").write_text(json.dumps({"schema": "labctl.plan/0"}))
    with pytest.raises(LabctlError, match=r"plan\.json"):
        stage.resume(half)
    assert stage.played == []
