"""The runs in a directory: list, find, describe, remove. A damaged run is named, and spoils nothing else."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from labctl.core import paths
from labctl.core.errors import LabctlError, Problem, UsageError
from labctl.core.files import read_record
from labctl.core.records import suggestion
from labctl.core.tables import Value
from labctl.plan import stored
from labctl.plan.plan import Plan
from labctl.plan.tables import marks
from labctl.runs.folder import RunFolder
from labctl.runs.status import RunState, Status

LATEST = "latest"
STILL = "its plan and its samples can be read: labctl report and labctl matrix --resume work without it"


class State(StrEnum):
    """What became of a run. `killed` was left by a labctl that is gone; `damaged` cannot be read."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    KILLED = "killed"
    DAMAGED = "damaged"


@dataclass(frozen=True)
class Run:
    """One run folder. `plan` and `status` are None where it is damaged, and `problems` say why."""

    path: Path
    state: State
    plan: Plan | None = None
    status: Status | None = None
    problems: tuple[Problem, ...] = ()

    @property
    def id(self) -> str:
        """The name of its folder."""
        return self.path.name


def list_runs(directory: Path | None = None) -> tuple[Run, ...]:
    """Every run in `directory` (./runs), oldest first; none where there is no such directory."""
    root = directory or paths.runs_dir()
    return tuple(open_run(folder) for folder in _folders(root))


def _folders(root: Path) -> list[Path]:
    """The folders of runs; a name that begins with a dot is one that was never begun."""
    try:
        found = list(root.iterdir()) if root.is_dir() else []
    except OSError as error:
        hint = "let this user read it, or go to another directory"
        raise LabctlError(Problem("the runs cannot be listed", str(root), error.strerror, hint)) from error
    return sorted(path for path in found if path.is_dir() and not path.name.startswith("."))


def open_run(folder: Path) -> Run:
    """The run in a folder. Never raises for what stands in it: a damaged run says so itself."""
    files = RunFolder(folder)
    plan = None
    try:
        plan = stored.read(files.plan)
        status = read_record(Status, files.status, STILL)
    except LabctlError as error:
        return Run(folder, State.DAMAGED, plan, problems=error.problems)
    return Run(folder, _state(status), plan, status)


def find(reference: str, directory: Path | None = None) -> Path:
    """The folder of a run: by path, by id, by the unique beginning of one, or the `latest` whose plan can be read.

    Raises UsageError when there is none, or more than one.
    """
    root = directory or paths.runs_dir()
    if os.sep in reference and _is_directory(Path(reference)):
        return Path(reference).absolute()
    ids = [path.name for path in _folders(root)]
    if not ids:
        raise UsageError(Problem("there is no run", str(root), hint="make one with: labctl matrix"))
    if reference == LATEST:
        sound = [run for run in list_runs(root) if run.plan is not None]
        if not sound:
            raise UsageError(Problem("every run is damaged", str(root), ", ".join(ids), "labctl runs list"))
        return sound[-1].path
    matching = [reference] if reference in ids else [name for name in ids if reference and name.startswith(reference)]
    if len(matching) == 1:
        return root / matching[0]
    if matching:
        hint = f"give more of the id; it matches {', '.join(matching)}"
        raise UsageError(Problem("more than one run begins like this", str(root), repr(reference), hint))
    raise UsageError(Problem("there is no such run", str(root), repr(reference), suggestion(reference, ids)))


def _is_directory(path: Path) -> bool:
    """Whether there is a directory of this name; there is none of a name that no file can have."""
    try:
        return path.is_dir()
    except OSError:
        return False


def list_rows(directory: Path | None = None) -> list[dict[str, Value]]:
    """A row for every run, with what is wrong with a damaged one."""
    return [_row(run) for run in list_runs(directory)]


def _row(run: Run) -> dict[str, Value]:
    plan, status = run.plan, run.status
    notes = marks(plan.quick, plan.lab.emulated) if plan else []
    notes += [f"{problem.what} ({problem.where})" for problem in run.problems]
    return {
        "run": run.id,
        "lab": plan.lab.name if plan else None,
        "state": run.state.value,
        "setups": len(plan.setups) if plan else None,
        "rounds": plan.rounds if plan else None,
        "samples": f"{status.samples_taken}/{status.samples_planned}" if status else None,
        "note": "; ".join(notes),
    }


def describe(reference: str, directory: Path | None = None) -> str:
    """What a run is, how far it got, and what failed, as text. LabctlError with what is wrong with a damaged one."""
    run = open_run(find(reference, directory))
    if run.plan is None or run.status is None:
        raise LabctlError(*run.problems)
    plan, status = run.plan, run.status
    facts = {
        "lab": f"{plan.lab.name} ({plan.lab.kind}): {plan.lab.client} to {plan.lab.server}, "
        f"{plan.lab.threads} CPU threads",
        "created": plan.created,
        "state": run.state.value,
        "samples": f"{status.samples_taken} of {status.samples_planned} taken",
        "setups": ", ".join(setup.id for setup in plan.setups),
        "workloads": ", ".join(workload.name for workload in plan.workloads),
        "rounds": f"{plan.rounds}, {plan.repeat} per cell and round, seed {plan.seed}",
        "window": f"{plan.duration_s:g} s after {plan.warmup_s:g} s of warm-up",
        "CPUs": f"idle {plan.idle}, pinned {plan.pin}",
        "folder": str(run.path),
    }
    lines = [f"{name + ':':<11}{text}" for name, text in facts.items()]
    failures = [
        f"{visit.setup}, round {visit.round}: {failure.node}: {failure.task}: {failure.message}"
        for visit in status.visits
        for failure in visit.failures
    ]
    head = ": ".join([f"run {run.id}", *marks(plan.quick, plan.lab.emulated)])
    return "\n".join([head, *lines, *failures])


def remove(reference: str, directory: Path | None = None) -> str:
    """Delete a run folder and return its id. Raises UsageError for a run that is going on, or what is none."""
    folder = find(reference, directory)
    run = open_run(folder)
    if run.state is State.RUNNING:
        raise UsageError(Problem("the run is going on", str(folder), hint="end it with Ctrl-C first"))
    root = (directory or paths.runs_dir()).absolute()
    if run.state is State.DAMAGED and folder.parent != root:
        hint = f"remove it by hand if it is one; runs in {root} can be named by id"
        raise UsageError(Problem("this does not look like a run", str(folder), hint=hint))
    shutil.rmtree(folder)
    return run.id


def _state(status: Status) -> State:
    """The state as written, or killed where it says running and nobody is."""
    here = status.host == platform.node()
    if status.state is RunState.RUNNING and here and not Path(f"/proc/{status.pid}").exists():
        return State.KILLED
    return State(status.state.value)
