"""Executes a plan: one start of Ansible per visit deploys a setup, proves it, measures its cells and removes it.

Everything learned reaches the run folder as it happens. A visit that fails is recorded with its reasons, its
setup is removed, and the plan goes on, once a node that was lost answers again. A node that stays away ends the run,
and so does a run folder that cannot be written, after its setup is removed.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from labctl.core.errors import LabctlError, Problem
from labctl.core.files import make_directory, write_json, write_yaml
from labctl.engine.events import FINGERPRINTERS, PROVERS, Event, TaskResult, TaskStart
from labctl.engine.inventory import Inventory
from labctl.engine.outcome import Ending, Failure, Outcome
from labctl.engine.session import AnsibleOptions, Session
from labctl.plan import plan as planning
from labctl.plan.plan import Plan, Visit
from labctl.plan.visit import samples_for, setup_inventory
from labctl.runs import status as statuses
from labctl.runs.folder import RunFolder
from labctl.runs.status import RunState, Status, VisitRecord
from labctl.samples import sample as samples


@dataclass(frozen=True)
class Step:
    """What the run is doing now."""

    setup: str
    round: int
    node: str
    text: str
    left_s: float


@dataclass(frozen=True)
class Measured:
    """A sample is on disk. `number` of `total` samples of the plan."""

    sample: samples.Sample
    number: int
    total: int
    left_s: float


@dataclass(frozen=True)
class VisitFailed:
    """A visit did not go as planned; the run goes on."""

    setup: str
    round: int
    failures: tuple[Failure, ...]


Progress = Step | Measured | VisitFailed


class Revive(Protocol):
    """Starts again what labctl itself made: the nodes of a local or vm lab."""

    def needed(self) -> bool:
        """Whether a node will not come back by itself."""

    def __call__(self) -> None:
        """Bring the nodes back, ready for any setup. Raises LabctlError."""


class StopSwitch:
    """Asked once, a run ends after the sample in flight; asked twice, at once."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self.requests = 0

    def request(self) -> None:
        """Ask the run to end."""
        self.requests += 1
        if self.requests == 1:
            try:
                self._folder.stop.touch()
            except OSError:  # nowhere to say it: then at once
                self.requests += 1

    @property
    def asked(self) -> bool:
        """Whether no further sample is to begin."""
        return self.requests > 0

    def at_once(self) -> bool:
        """Whether Ansible is to be ended now."""
        return self.requests > 1


@dataclass
class _VisitLog:
    """Collects what one visit's playbook reports."""

    run: Execution
    visit: Visit
    folder: Path
    started: float = field(default_factory=time.monotonic)
    marks: list[tuple[str, float]] = field(default_factory=list)
    fingerprints: dict[str, object] = field(default_factory=dict)

    def __call__(self, event: Event) -> None:
        try:
            self.note(event)
        except LabctlError as error:  # not through runner, which would leave Ansible running
            self.run.broken = self.run.broken or error

    def note(self, event: Event) -> None:
        if isinstance(event, TaskStart):
            if not self.marks or self.marks[-1][0] != event.play:
                self.marks.append((event.play, time.monotonic()))
            self.run.step(self.visit, event.task, "")
        else:
            self.result(event)

    def result(self, event: TaskResult) -> None:
        if event.action in FINGERPRINTERS and event.ok:
            self.fingerprints[event.node] = event.data["fingerprint"]
            write_json(self.folder / "fingerprint.json", self.fingerprints)
        elif event.action in PROVERS and "assertions" in event.data:
            write_json(self.folder / "proof.json", proof_of(self.visit, event.data))
        elif event.action == "netperf_sample" and event.data.get("status") in ("ok", "failed"):
            self.run.measured(Path(event.data["folder"]))
        elif event.action == "netperf_sample" and event.data.get("status") == "unwritten":
            hint = f"make room, then: labctl matrix --resume {self.run.plan.id}"
            raise LabctlError(
                Problem("the run folder cannot be written", str(self.run.folder.path), event.data["msg"], hint)
            )
        elif not event.ok:
            self.run.step(self.visit, event.task, event.node)

    def seconds(self) -> dict[str, float]:
        """Wall time of each play, start-up counted to the first."""
        now = time.monotonic()
        starts = [self.started, *(mark for _, mark in self.marks[1:])]
        ends = [*(mark for _, mark in self.marks[1:]), now]
        spent = {play: round(end - start, 3) for (play, _), start, end in zip(self.marks, starts, ends, strict=True)}
        return {**spent, "total": round(now - self.started, 3)}


def proof_of(visit: Visit, data: Any) -> dict[str, object]:
    """The content of proof.json from what the proof's task returned."""
    kept = {name: data[name] for name in ("holds", "assertions", "evidence") if name in data}
    return {"schema": "labctl.proof/1", "setup": visit.setup, "round": visit.round, **kept}


@dataclass
class Execution:
    """A plan being executed in a run folder. `kept` are the samples that an earlier attempt left, and that count.

    `besides`: seconds that the last visit of a setup took besides its samples.
    """

    session: Session
    plan: Plan
    inventory: Inventory
    folder: RunFolder
    options: AnsibleOptions
    progress: Callable[[Progress], None]
    stop: StopSwitch
    attempt: int = 1
    kept: frozenset[str] = frozenset()
    visits: list[VisitRecord] = field(default_factory=list)
    besides: dict[str, float] = field(default_factory=dict)
    fail_fast: bool = False
    taken: int = 0
    unusable: int = 0
    lost: bool = False
    failed_visits: int = 0
    broken: LabctlError | None = None
    revive: Revive | None = None
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat())

    def __post_init__(self) -> None:
        self.todo = [visit for visit in self.plan.visits if self.missing(visit)]
        self.taken = len(self.kept)

    def missing(self, visit: Visit) -> bool:
        """Whether a visit has samples that are still to be taken."""
        return any(sample.id not in self.kept for sample in samples_for(self.plan, visit))

    def run(self) -> None:
        """Visit every setup that lacks samples, in the plan's order. `broken` says afterwards what ended it early."""
        self.folder.stop.unlink(missing_ok=True)
        self.save(RunState.RUNNING)
        while self.todo and not (self.stop.asked or self.broken or (self.fail_fast and self.failed)):
            before = self.taken
            record = self.visit(self.todo[0])
            if record.status == "ok":
                samples_s = (self.taken - before) * planning.sample_s(self.plan)
                self.besides[record.setup] = max(record.seconds["total"] - samples_s, 0.0)
            del self.todo[0]
            self.visits.append(record)
            self.failed_visits += record.status != "ok"
            self.save(RunState.RUNNING)
        self.folder.stop.unlink(missing_ok=True)
        self.save(RunState.INTERRUPTED if self.stop.asked else RunState.DONE if self.complete else RunState.FAILED)

    @property
    def failed(self) -> bool:
        """Whether a visit of this attempt did not go as planned, or a sample does not count."""
        return self.broken is not None or self.unusable > 0 or self.failed_visits > 0

    @property
    def complete(self) -> bool:
        """Whether every sample of the plan is there and counts, and nothing failed on the way."""
        return not (self.failed or self.stop.asked) and self.taken == self.plan.samples

    def visit(self, visit: Visit) -> VisitRecord:
        """Deploy, prove, measure and remove one setup; remove it also when that failed."""
        deployment = self.folder.next_deployment(visit.setup, visit.round)
        folder = self.folder.visit(visit.setup, visit.round, deployment)
        log = _VisitLog(self, visit, folder)
        failures: list[Failure] = []
        status: Ending = "failed"
        lost: tuple[str, ...] = ()
        try:
            self.write_inventory(visit, folder, deployment)
            outcome = self.play("visit.yml", folder, log, lambda: self.stop.at_once() or self.broken is not None)
            status = "failed" if self.broken else outcome.status
            failures += outcome.failures
            lost = outcome.unreachable
        except LabctlError as error:
            self.broken = self.broken or error
        if lost and not self.broken:
            self.wait(lost, folder, log)
        if self.broken and not failures:
            words = (Failure("labctl", "", "controller", str(problem)) for problem in self.broken.problems)
            failures += words
        if status != "ok" and (folder / "setup.yml").is_file() and not self.lost:
            failures += self.remove(folder, log)
        if failures:
            self.progress(VisitFailed(visit.setup, visit.round, tuple(failures)))
        return VisitRecord(visit.setup, visit.round, deployment, self.attempt, status, log.seconds(), tuple(failures))

    def write_inventory(self, visit: Visit, folder: Path, deployment: int) -> None:
        """Write setup.yml: the setup, and those of its samples that are missing."""
        inventory = setup_inventory(self.plan, visit, self.inventory.hosts, self.folder.samples, self.kept, deployment)
        for variables in inventory["all"]["hosts"].values():
            variables["measure_stop_file"] = str(self.folder.stop.absolute())
            variables["setup_folder"] = str(folder.absolute())
        write_yaml(folder / "setup.yml", inventory, "Generated by labctl: what is deployed and measured in one visit.")
        make_directory(folder / "ansible")

    def wait(self, nodes: tuple[str, ...], folder: Path, log: _VisitLog) -> None:
        """Wait until nodes that were lost answer again, or start them again where labctl made them.

        A node that stays away ends the run.
        """
        revive = self.revive
        needed = revive.needed if revive is not None else lambda: False
        outcome = self.play("wait.yml", folder, log, lambda: self.stop.asked or needed())
        self.lost = not outcome.ok
        if outcome.ok or self.stop.asked:
            return
        if revive is not None and needed():
            try:
                revive()
                self.lost = False
            except LabctlError as error:
                self.broken = error
            return
        seen = "; ".join(f"{failure.node}: {failure.message}" for failure in outcome.failures)
        hint = f"bring it back, then: labctl matrix --resume {self.plan.id}"
        self.broken = LabctlError(Problem("a node was lost and did not come back", ", ".join(nodes), seen, hint))

    def remove(self, folder: Path, log: _VisitLog) -> tuple[Failure, ...]:
        """Take a setup down whose visit did not come to its end, and return what failed in that."""
        try:
            # Two requests to stop ended the visit; the removal itself must not be ended by them.
            return self.play("undeploy.yml", folder, log, lambda: False).failures
        except LabctlError as error:
            self.broken = self.broken or error
            return ()

    def play(self, name: str, folder: Path, log: _VisitLog, cancelled: Callable[[], bool]) -> Outcome:
        """Run a playbook over the lab and the visit's setup.yml."""
        return self.session.run_playbook(
            name,
            [self.inventory.path, folder / "setup.yml"],
            options=self.options,
            listener=log,
            log=folder / "ansible" / f"{Path(name).stem}.log",
            cancelled=cancelled,
        )

    def measured(self, folder: Path) -> None:
        """Derive sample.json from the raw files that the measuring plugin left."""
        cell = next(cell for cell in self.plan.cells if cell.id == folder.parent.name)
        workload = next(workload for workload in self.plan.workloads if workload.name == cell.workload)
        sample = samples.derive(folder, workload)
        write_json(folder / "sample.json", samples.to_json(sample))
        self.taken += 1
        if sample.status is not samples.Status.VALID:
            self.unusable += 1
            if self.fail_fast:
                self.folder.stop.touch()
        self.progress(Measured(sample, self.taken, self.plan.samples, self.left_s()))

    def step(self, visit: Visit, task: str, node: str) -> None:
        """Tell what is being done."""
        self.progress(Step(visit.setup, visit.round, node, task, self.left_s()))

    def left_s(self) -> float:
        """Seconds that the rest of the plan takes, by what visits took so far and the catalog's estimate of others."""
        return planning.time_left(self.plan, self.plan.samples - self.taken, self.todo, self.besides)

    def save(self, state: RunState) -> None:
        """Write how far the run got; a folder that cannot be written ends the run."""
        try:
            write_json(self.folder.status, statuses.to_json(self.status(state)))
        except LabctlError as error:
            self.broken = self.broken or error

    def status(self, state: RunState) -> Status:
        """How far the run got."""
        return Status(
            schema="labctl.status/1",
            state=state,
            host=platform.node(),
            pid=os.getpid(),
            started=self.started,
            updated=datetime.now(UTC).isoformat(),
            samples_planned=self.plan.samples,
            samples_taken=self.taken,
            visits=tuple(self.visits),
        )
