"""Executes a plan: one start of Ansible per visit deploys a setup, proves it, measures its cells and removes it.

Everything learned reaches the run folder as it happens. A visit that fails is recorded with its reasons, its
setup is removed, and the plan goes on, once a node that was lost answers again. A node that stays away ends the run,
and so does a run folder that cannot be written, after its setup is removed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from labctl.core.errors import LabctlError, Problem
from labctl.core.files import write_json, write_yaml, writing
from labctl.engine.inventory import Inventory
from labctl.engine.outcome import Ending, Failure, Outcome
from labctl.engine.session import AnsibleOptions, Session
from labctl.matrix.record import Record
from labctl.matrix.visit_log import VisitLog
from labctl.plan import plan as planning
from labctl.plan.plan import Plan, Visit
from labctl.plan.visit import samples_for, setup_inventory
from labctl.runs.conditions import VISIT, Beginning, Conditions
from labctl.runs.folder import RunFolder
from labctl.runs.status import RunState, VisitRecord
from labctl.samples import sample as samples

NO_SAMPLE = "the visit ended without a sample: Ansible found no client and server in the lab's inventory"
NO_SAMPLE_HINT = "was the inventory changed while the run went on? Put it back, then: labctl matrix --resume"


@dataclass(frozen=True)
class Step:
    """What the run is doing now."""

    setup: str
    round: int
    node: str
    text: str
    left_s: float


@dataclass(frozen=True)
class VisitBegun:
    """A visit begins: `number` of `total` of this attempt, in the `rounds` of the plan."""

    setup: str
    round: int
    rounds: int
    number: int
    total: int
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


@dataclass(frozen=True)
class VisitDisturbed:
    """Something changed, since the run's first visit of a setup or during this one; so many samples do not count."""

    setup: str
    round: int
    changes: tuple[str, ...]
    void: int


Progress = Step | VisitBegun | Measured | VisitFailed | VisitDisturbed


class StopSwitch:
    """Asked once, a run ends after the sample in flight, or the task in hand; asked twice, at once.

    A sample takes `sample_s` seconds.
    """

    def __init__(self, folder: RunFolder, sample_s: float) -> None:
        self._folder = folder
        self._sample_s = sample_s
        self.requests = 0

    def request(self, _count: int = 0) -> str:
        """Ask the run to end; what happens now, in words."""
        self.requests += 1
        if self.requests == 1:
            try:
                self.hold()
            except LabctlError:  # nowhere to say it: then at once
                self.requests += 1
        if self.at_once():
            return "the run ends at once; its setup is taken down all the same, which takes up to a minute"
        return (
            f"the run ends after the task in hand, or the sample in flight ({self._sample_s:.0f} s); then its setup is "
            "taken down, which takes up to a minute; once more ends the task or sample at once"
        )

    def hold(self) -> None:
        """Let no further sample begin. Raises LabctlError where the run folder cannot be written."""
        with writing(self._folder.stop):
            self._folder.stop.touch()

    def release(self) -> None:
        """Let samples begin: what an earlier attempt was asked is over. Raises LabctlError as `hold`."""
        with writing(self._folder.stop):
            self._folder.stop.unlink(missing_ok=True)

    @property
    def asked(self) -> bool:
        """Whether no further sample is to begin."""
        return self.requests > 0

    def at_once(self) -> bool:
        """Whether Ansible is to be ended now."""
        return self.requests > 1


@dataclass(frozen=True)
class Work:
    """What executing a plan takes besides the plan.

    `is_down`: whether a node that labctl itself made does not run, and so will not come back by itself; `revive` brings
    such nodes back, ready for any setup, or raises LabctlError.
    """

    session: Session
    lab: Inventory
    options: AnsibleOptions
    progress: Callable[[Progress], None]
    fail_fast: bool = False
    is_down: Callable[[], bool] = lambda: False
    revive: Callable[[], None] = lambda: None


@dataclass
class _Conditions:
    """The conditions of a visit as they are known so far, kept in its visit.json; `measured` are its samples."""

    beginning: Beginning
    visit: Visit
    deployment: int
    log: VisitLog
    samples: tuple[str, ...]
    last: Conditions | None = None
    measured: list[Path] = field(default_factory=list)

    def judge(self) -> Conditions:
        """Judge them by all that was read of the nodes so far."""
        log = self.log
        self.last = self.beginning.judge(self.visit, self.deployment, self.samples, log.prints, log.seal)
        write_json(log.folder / VISIT, self.last)
        return self.last


class Execution:
    """A plan being executed in a run folder. What it has done so far stands in `record`, where nobody else counts."""

    def __init__(self, work: Work, plan: Plan, folder: RunFolder, record: Record | None = None) -> None:
        self.record = record or Record(plan, folder)
        self.stop = StopSwitch(folder, planning.sample_s(plan))
        self._work = work
        self._plan = plan
        self._folder = folder
        self._lost = False  # a node is away, so that nothing can be removed from it
        self._todo = list(self.record.lacking())
        self._visits = len(self._todo)
        self._beginning = Beginning(folder, self.record.attempt)

    def run(self) -> None:
        """Visit every setup that lacks samples, in the plan's order. The record says afterwards how it ended."""
        self._release()
        self.record.save(RunState.RUNNING)
        while self._todo and not self._over():
            before = self.record.taken
            visited = self._visit(self._todo[0])
            del self._todo[0]
            self.record.add_visit(visited, self.record.taken - before)
            self.record.save(RunState.RUNNING)
        self._release()
        ended = RunState.DONE if self.record.complete else RunState.FAILED
        self.record.save(RunState.INTERRUPTED if self.stop.asked else ended)

    @property
    def complete(self) -> bool:
        """Whether every sample of the plan is there and counts, nothing failed, and nobody asked to stop."""
        return self.record.complete and not self.stop.asked

    def _release(self) -> None:
        """Take the stop file away."""
        try:
            self.stop.release()
        except LabctlError as error:
            self.record.break_off(error)

    def _over(self) -> bool:
        """Whether no further visit is to begin."""
        return self.stop.asked or self.record.broken is not None or (self._work.fail_fast and self.record.failed)

    def _visit(self, visit: Visit) -> VisitRecord:
        """Deploy, prove, measure and remove one setup; remove it also when that failed."""
        number, left_s = self._visits - len(self._todo) + 1, self.record.left_s(self._todo)
        rounds, total = self._plan.rounds, self._visits
        self._work.progress(VisitBegun(visit.setup, visit.round, rounds, number, total, left_s))
        deployment = self._folder.next_deployment(visit.setup, visit.round)
        folder = self._folder.visit(visit.setup, visit.round, deployment)
        log = VisitLog(
            self._folder,
            visit,
            folder,
            on_step=lambda task, node: self._step(visit, task, node),
            on_sample=lambda raw: self._measured(raw, conditions),
            on_error=self.record.break_off,
        )
        conditions = _Conditions(self._beginning, visit, deployment, log, self._planned(visit))
        failures: list[Failure] = []
        status: Ending = "failed"
        lost: tuple[str, ...] = ()
        try:
            self._write_inventory(visit, folder, deployment)
            broken_off = lambda: self.stop.at_once() or self.record.broken is not None  # noqa: E731
            outcome = self._play("visit.yml", folder, log, broken_off, self._folder.stop)
            status = "failed" if self.record.broken else outcome.status
            failures += outcome.failures
            lost = outcome.unreachable
        except LabctlError as error:
            self.record.break_off(error)
        self._seal(conditions)
        if lost and not self.record.broken:
            self._wait(lost, folder, log)
        if self.record.broken and not failures:
            broken = self.record.broken.problems
            failures += (Failure("labctl", "", "controller", str(one), one.hint, (one,)) for one in broken)
        if status == "ok" and conditions.samples and not conditions.measured and not self.stop.asked:
            status = "failed"
            failures.append(Failure("visit.yml", "", "controller", NO_SAMPLE, NO_SAMPLE_HINT))
        if status != "ok" and (folder / "setup.yml").is_file() and not self._lost:
            failures += self._remove(folder, log)
        if failures:
            self._work.progress(VisitFailed(visit.setup, visit.round, tuple(failures)))
        return VisitRecord(
            visit.setup, visit.round, deployment, self.record.attempt, status, log.seconds(), tuple(failures)
        )

    def _write_inventory(self, visit: Visit, folder: Path, deployment: int) -> None:
        """Write setup.yml: the setup, and those of its samples that are missing."""
        hosts, kept = self._work.lab.hosts, self.record.kept
        inventory = setup_inventory(self._plan, visit, hosts, self._folder.samples, kept, deployment)
        for variables in inventory["all"]["hosts"].values():
            variables["measure_stop_file"] = str(self._folder.stop.absolute())
            variables["setup_folder"] = str(folder.absolute())
        write_yaml(folder / "setup.yml", inventory, "Generated by labctl: what is deployed and measured in one visit.")
        with writing(folder / "ansible"):
            (folder / "ansible").mkdir(exist_ok=True)

    def _wait(self, nodes: tuple[str, ...], folder: Path, log: VisitLog) -> None:
        """Wait until nodes that were lost answer again, or start them again where labctl made them.

        A node that stays away ends the run.
        """
        is_down = self._work.is_down
        outcome = self._play("wait.yml", folder, log, lambda: self.stop.asked or is_down())
        self._lost = not outcome.ok
        if outcome.ok or self.stop.asked:
            return
        if is_down():
            try:
                self._work.revive()
                self._lost = False
            except LabctlError as error:
                self.record.break_off(error)
            return
        seen = "; ".join(f"{failure.node}: {failure.message}" for failure in outcome.failures)
        hint = f"bring it back, then: labctl matrix --resume {self._plan.id}"
        problem = Problem("a node was lost and did not come back", ", ".join(nodes), seen, hint)
        self.record.break_off(LabctlError(problem))

    def _remove(self, folder: Path, log: VisitLog) -> tuple[Failure, ...]:
        """Take a setup down whose visit did not come to its end, and return what failed in that."""
        try:
            # Two requests to stop ended the visit; the removal itself must not be ended by them.
            failures = self._play("undeploy.yml", folder, log, lambda: False).failures
            hint = "the setup is still on the nodes; the next labctl matrix or provision takes it down first"
            return tuple(failure.advised(hint) for failure in failures)
        except LabctlError as error:
            self.record.break_off(error)
            return ()

    def _play(
        self, name: str, folder: Path, log: VisitLog, cancelled: Callable[[], bool], stop: Path | None = None
    ) -> Outcome:
        """Run a playbook over the lab and the visit's setup.yml."""
        return self._work.session.run_playbook(
            name,
            [self._work.lab.path, folder / "setup.yml"],
            options=self._work.options,
            listener=log,
            log=folder / "ansible" / f"{Path(name).stem}.log",
            cancelled=cancelled,
            stop=stop,
        )

    def _planned(self, visit: Visit) -> tuple[str, ...]:
        """The ids of the samples that a visit is to take."""
        return tuple(one.id for one in samples_for(self._plan, visit) if one.id not in self.record.kept)

    def _seal(self, conditions: _Conditions) -> None:
        """Hold the visit against the run's first, and void its samples where something changed."""
        if not (conditions.measured or conditions.log.prints):
            return  # it ended before anything was known
        conditions.samples = tuple(f"{raw.parent.name}/{raw.name}" for raw in conditions.measured)
        try:
            before, now = conditions.last, conditions.judge()
            if before is not None and now.reasons != before.reasons:
                for raw in conditions.measured:
                    self._derive(raw, now)
                self.record.void()
                if self._work.fail_fast:
                    self.stop.hold()
            if now.reasons:
                void = len(conditions.measured)
                self._work.progress(VisitDisturbed(now.setup, now.round, now.reasons, void))
        except LabctlError as error:
            self.record.break_off(error)

    def _derive(self, folder: Path, conditions: Conditions) -> samples.Sample:
        """Derive sample.json from the raw files that the measuring plugin left."""
        cell = next(cell for cell in self._plan.cells if cell.id == folder.parent.name)
        workload = next(workload for workload in self._plan.workloads if workload.name == cell.workload)
        sample = samples.derive(folder, workload, conditions.reasons)
        write_json(folder / "sample.json", sample)
        return sample

    def _measured(self, folder: Path, conditions: _Conditions) -> None:
        """A sample is on disk."""
        sample = self._derive(folder, conditions.last or conditions.judge())
        conditions.measured.append(folder)
        self.record.add_sample(sample)
        if self._work.fail_fast and sample.status is not samples.Status.VALID:
            self.stop.hold()
        self._work.progress(Measured(sample, self.record.taken, self._plan.samples, self.record.left_s(self._todo)))

    def _step(self, visit: Visit, task: str, node: str) -> None:
        """Tell what is being done."""
        self._work.progress(Step(visit.setup, visit.round, node, task, self.record.left_s(self._todo)))
