"""Executes a plan: one start of Ansible per visit deploys a setup, proves it, measures its cells and removes it.

Everything learned reaches the run folder as it happens. A visit that fails is recorded with its reasons, its
setup is removed, and the plan goes on.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from labctl import plan as planning
from labctl import sample as samples
from labctl import status as statuses
from labctl.plan import Plan, Visit
from labctl.play import AnsibleOptions, Event, Failure, Inventory, Outcome, Session, TaskResult, TaskStart
from labctl.runfolder import RunFolder, write_json, write_yaml
from labctl.status import RunState, Status, VisitRecord
from labctl.visit import setup_inventory


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


class StopSwitch:
    """Asked once, a run ends after the sample in flight; asked twice, at once."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self.requests = 0

    def request(self) -> None:
        """Ask the run to end."""
        self.requests += 1
        if self.requests == 1:
            self._folder.stop.touch()

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
    started: float = field(default_factory=time.monotonic)
    marks: list[tuple[str, float]] = field(default_factory=list)
    fingerprints: dict[str, object] = field(default_factory=dict)

    def __call__(self, event: Event) -> None:
        if isinstance(event, TaskStart):
            if not self.marks or self.marks[-1][0] != event.play:
                self.marks.append((event.play, time.monotonic()))
            self.run.step(self.visit, event.task, "")
        else:
            self.result(event)

    def result(self, event: TaskResult) -> None:
        folder = self.run.folder.visit(self.visit.setup, self.visit.round)
        if event.action == "fingerprint" and event.ok:
            self.fingerprints[event.node] = event.data["fingerprint"]
            write_json(folder / "fingerprint.json", self.fingerprints)
        elif event.action == "datapath_proof" and "assertions" in event.data:
            write_json(folder / "proof.json", proof_of(self.visit, event.data))
        elif event.action == "netperf_sample" and event.data.get("status") in ("ok", "failed"):
            self.run.measured(Path(event.data["folder"]))
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
    """A plan being executed in a run folder."""

    session: Session
    plan: Plan
    inventory: Inventory
    folder: RunFolder
    options: AnsibleOptions
    progress: Callable[[Progress], None]
    stop: StopSwitch
    taken: int = 0
    unusable: int = 0
    visits: list[VisitRecord] = field(default_factory=list)
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat())

    def run(self) -> None:
        """Visit every setup of every round in the plan's order."""
        write_json(self.folder.plan, planning.to_json(self.plan))
        self.write_status(RunState.RUNNING)
        for visit in self.plan.visits:
            if self.stop.asked:
                break
            self.visits.append(self.visit(visit))
            self.write_status(RunState.RUNNING)
        self.folder.stop.unlink(missing_ok=True)
        state = RunState.INTERRUPTED if self.stop.asked else RunState.FAILED if self.failed else RunState.DONE
        self.write_status(state)

    @property
    def failed(self) -> bool:
        """Whether any visit did not go as planned, or any sample does not count."""
        return self.unusable > 0 or any(visit.status != "ok" for visit in self.visits)

    def visit(self, visit: Visit) -> VisitRecord:
        """Deploy, prove, measure and remove one setup; remove it also when that failed."""
        folder = self.folder.visit(visit.setup, visit.round)
        inventory = setup_inventory(self.plan, visit, self.inventory.hosts, self.folder.samples)
        for variables in inventory["all"]["hosts"].values():
            variables["measure_stop_file"] = str(self.folder.stop.absolute())
        write_yaml(folder / "setup.yml", inventory, "Generated by labctl: what is deployed and measured in one visit.")
        (folder / "ansible").mkdir(exist_ok=True)
        log = _VisitLog(self, visit)
        outcome = self.play("visit.yml", folder, log, self.stop.at_once)
        failures = list(outcome.failures)
        if not outcome.ok:
            # Two requests to stop ended the visit; the removal itself must not be ended by them.
            removal = self.play("undeploy.yml", folder, log, lambda: False)
            failures.extend(removal.failures)
        if failures:
            self.progress(VisitFailed(visit.setup, visit.round, tuple(failures)))
        return VisitRecord(visit.setup, visit.round, outcome.status, log.seconds(), tuple(failures))

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
        self.unusable += sample.status is not samples.Status.VALID
        self.progress(Measured(sample, self.taken, self.plan.samples, self.left_s()))

    def step(self, visit: Visit, task: str, node: str) -> None:
        """Tell what is being done."""
        self.progress(Step(visit.setup, visit.round, node, task, self.left_s()))

    def left_s(self) -> float:
        """Seconds that the rest of the plan takes, by the plan's own estimate."""
        return planning.time_left(self.plan, self.plan.samples - self.taken, len(self.plan.visits) - len(self.visits))

    def write_status(self, state: RunState) -> None:
        """Write how far the run got."""
        status = Status(
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
        write_json(self.folder.status, statuses.to_json(status))
