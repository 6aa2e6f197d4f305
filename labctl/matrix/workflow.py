"""How a run comes about: the lab made ready, planned for and measured, or a run that was interrupted gone on with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from labctl import catalog
from labctl.catalog import CLUSTER
from labctl.catalog.lab import LabFacts
from labctl.core import ending, paths
from labctl.core.errors import LabctlError, Problem
from labctl.core.files import write_json
from labctl.engine.events import Listener
from labctl.engine.inventory import Inventory
from labctl.engine.session import AnsibleOptions, Session
from labctl.labs import embedded as labs
from labctl.labs import facts
from labctl.labs.lock import LabLock
from labctl.labs.look import Look, is_provisioned, look
from labctl.labs.provision import provision
from labctl.matrix import resume as resuming
from labctl.matrix.execution import Execution, Progress, Work
from labctl.matrix.record import Record
from labctl.plan import deployable
from labctl.plan import plan as planning
from labctl.plan.options import MatrixOptions
from labctl.plan.plan import Plan
from labctl.runs import attempts
from labctl.runs.folder import RunFolder
from labctl.runs.status import RunState

LEFTOVER = "cleared  {node}, where an earlier run left it: {task}"


class Teller(Protocol):
    """Tells a person how a stage goes; its clock begins with the stage."""

    def line(self, text: str) -> None:
        """Say something that stays."""

    def timed(self, text: str) -> None:
        """Say something that stays, with the time since the stage began."""

    def tasks(self, changed: str = ...) -> Listener:
        """Tell the tasks of playbooks; `changed` is how one that changed something is told."""

    def planned(self, plan: Plan) -> None:
        """Say what is about to be measured."""

    def progress(self, plan: Plan) -> Callable[[Progress], None]:
        """Tell how a plan's execution goes."""


@dataclass(frozen=True)
class Bench:
    """What a run takes besides its plan: a lab that nobody else uses meanwhile, and somebody to tell."""

    session: Session
    lab: Inventory
    held: LabLock
    options: AnsibleOptions
    stage: Callable[[], Teller]
    fail_fast: bool = False


@dataclass(frozen=True)
class RunResult:
    """A run that ended: its folder, whether all that was planned was done and counts, and what ended it if not."""

    folder: Path
    complete: bool
    broken: LabctlError | None


def plan(options: MatrixOptions, lab: LabFacts) -> Plan:
    """The plan for what was asked, on this lab, now."""
    return planning.build(options, catalog.load(), lab, datetime.now(UTC))


def ready(bench: Bench) -> Look:
    """The lab as it is with nothing deployed; one of this machine that is missing or bare is made and provisioned.

    Raises LabctlError where it cannot be brought there.
    """
    tell = bench.stage()
    lab = bench.lab
    if lab.kind in labs.KINDS and not labs.is_up(lab.name):
        tell.timed(f"creating lab {lab.name}")
        if labs.create(bench.session, str(lab.path), bench.options, tell.tasks()).emulated:
            tell.line(labs.EMULATION)
    seen = look(bench.session, lab, bench.options, tell.tasks(LEFTOVER), playbook="clear.yml")
    seen.outcome.require()
    if lab.kind != CLUSTER and not is_provisioned(seen):
        if lab.kind not in labs.KINDS:
            raise LabctlError(Problem("the lab is not provisioned", str(lab.path), hint="labctl provision"))
        tell.timed(f"provisioning lab {lab.name}")
        provision(bench.session, lab, bench.options, tell.tasks()).require()
        seen = look(bench.session, lab, bench.options, tell.tasks())
        seen.outcome.require()
    for problem in facts.keep(lab, seen):
        tell.line(f"warning: {problem}")
    return seen


def measure(bench: Bench, options: MatrixOptions) -> RunResult:
    """A new run of what was asked.

    The first signal that asks it to end lets the sample in flight or the task in hand come to its end, the second does
    not; a run that was begun has its setup taken down either way.
    """
    if bench.lab.kind in labs.KINDS and not labs.is_up(bench.lab.name):
        plan(options, facts.of_inventory(bench.lab, "it does not run now"))  # refused before a lab is made for it
    with ending.leaves("no run was begun; a lab that was made stays, and the same command goes on with it"):
        seen = ready(bench)
    planned = plan(options, facts.of_look(bench.lab, seen))
    folder = RunFolder(paths.runs_dir() / planned.id)
    bench.held.tell(folder.path)
    tell = bench.stage()
    tell.planned(planned)
    record = Record(planned, folder)
    _begin(folder, planned, record, bench, seen)
    return _execute(bench, tell, planned, folder, record)


def resume(bench: Bench, path: Path, accept_drift: bool) -> RunResult:
    """Measure what a run lacks, in its plan's order.

    Raises LabctlError with everything about the lab that is not what the run began with, unless that is accepted.
    """
    earlier = resuming.reopen(path)
    deployable.require(earlier.plan, catalog.load(), str(earlier.folder.plan))
    bench.held.tell(path)
    tell = bench.stage()
    for problem in earlier.problems:
        tell.line(f"damaged: {problem}")
    with ending.leaves(f"no sample was added; labctl matrix --resume {earlier.plan.id} goes on"):
        seen = ready(bench)
    refused = facts.of_look(bench.lab, seen).awake_refused
    text = earlier.folder.plan.read_text()
    now = attempts.observe(earlier.attempts + 1, text, bench.lab, seen.fingerprints, refused)
    attempt = replace(now, drift=resuming.drift(earlier, now))
    if attempt.drift and not accept_drift:
        raise LabctlError(*(change.problem() for change in attempt.drift))
    for change in attempt.drift:
        tell.line(f"accepted: {change}")
    kept = resuming.keep(earlier)
    for aside in kept.aside:
        tell.line(f"set aside: {aside.relative_to(path)}")
    tell.line(f"{earlier.plan.id}: {len(kept.samples)} of {earlier.plan.samples} samples are there and count")
    attempts.write(earlier.folder, attempt)
    record = Record(earlier.plan, earlier.folder, attempt.number, kept.samples, earlier.visits)
    return _execute(bench, tell, earlier.plan, earlier.folder, record)


def _begin(folder: RunFolder, plan: Plan, record: Record, bench: Bench, seen: Look) -> None:
    """Make the folder of a new run, under a name that means nothing until it holds a whole run."""
    if folder.path.exists():
        problem = Problem("a run of this name exists", str(folder.path), hint="wait a second, or remove it")
        raise LabctlError(problem)
    begun = RunFolder(folder.path.with_name(f".{plan.id}.partial"))
    write_json(begun.plan, planning.to_json(plan))
    text, refused = begun.plan.read_text(), plan.lab.awake_refused
    attempts.write(begun, attempts.observe(record.attempt, text, bench.lab, seen.fingerprints, refused))
    write_json(begun.status, record.status(RunState.RUNNING))
    begun.path.rename(folder.path)


def _execute(bench: Bench, tell: Teller, plan: Plan, folder: RunFolder, record: Record) -> RunResult:
    lab = bench.lab

    def is_down() -> bool:
        return lab.kind in labs.KINDS and not labs.is_up(lab.name)

    def revive() -> None:
        labs.create(bench.session, str(lab.path), bench.options)  # what does not run; its disks are as new
        provision(bench.session, lab, bench.options).require()

    work = Work(bench.session, lab, bench.options, tell.progress(plan), bench.fail_fast, is_down, revive)
    execution = Execution(work, plan, folder, record)
    with ending.kept(execution.stop.request):
        execution.run()
    if execution.stop.asked:
        there = f"{record.taken} of {plan.samples} samples are there"
        tell.line(f"the run was asked to end: {there}; labctl matrix --resume {plan.id} takes the others")
    return RunResult(folder.path, execution.complete, record.broken)
