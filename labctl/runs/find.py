"""The runs in a directory: list, find, describe, remove. A damaged run is named, and spoils nothing else.

What is in that directory and is no run is not looked at, and never removed.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from labctl.core import paths, removal
from labctl.core.errors import LabctlError, Problem, UsageError
from labctl.core.files import read_record
from labctl.core.names import RUN
from labctl.core.records import suggestion
from labctl.core.tables import Value
from labctl.plan import stored
from labctl.plan.plan import Plan
from labctl.plan.tables import marks
from labctl.runs.attempts import Attempt
from labctl.runs.folder import RunFolder
from labctl.runs.history import in_lines
from labctl.runs.status import RunState, Status

LATEST = "latest"
BEGINNING = 8  # characters of an id, its day, by which a run may be removed
STILL = "its plan and its samples can be read: labctl report and labctl matrix --resume work without it"


class State(StrEnum):
    """What became of a run. `killed` was left by a labctl that is gone; `damaged` cannot be read.

    `removing` is what a removal that was cut short left.
    """

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    KILLED = "killed"
    DAMAGED = "damaged"
    REMOVING = "removing"


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
        return self.path.name.removeprefix(removal.ASIDE)


def list_runs(directory: Path | None = None) -> tuple[Run, ...]:
    """Every run in `directory` (./runs), oldest first; none where there is no such directory."""
    root = directory or paths.runs_dir()
    cut = (_cut_short(root, name) for name in removal.cut_short(root))
    return tuple(sorted([*map(open_run, _folders(root)), *cut], key=lambda run: run.id))


def _folders(root: Path) -> list[Path]:
    """The folders of runs; a name that begins with a dot is one that was never begun."""
    try:
        found = list(root.iterdir()) if root.is_dir() else []
        return sorted(path for path in found if RunFolder(path).seems_a_run())
    except OSError as error:
        hint = "let this user read it, or go to another directory"
        raise LabctlError(Problem("the runs cannot be listed", str(root), error.strerror, hint)) from error


def _cut_short(root: Path, name: str) -> Run:
    path = root / f"{removal.ASIDE}{name}"
    problem = Problem(f"its removal was cut short: {_again(name)} finishes it", str(path))
    return Run(path, State.REMOVING, problems=(problem,))


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
    return root / _one_of(reference, ids, ids, root)


def _one_of(reference: str, ids: Sequence[str], by_beginning: Sequence[str], root: Path) -> str:
    """The id that is meant: one of `ids` whole, or the only one `by_beginning` that begins like this."""
    if reference in ids:
        return reference
    matching = [name for name in by_beginning if reference and name.startswith(reference)]
    if len(matching) == 1:
        return matching[0]
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
        f"{visit.setup}, round {visit.round}: {line}"
        for visit in status.visits
        for failure in visit.failures
        for line in in_lines(failure)
    ]
    head = ": ".join([f"run {run.id}", *marks(plan.quick, plan.lab.emulated)])
    return "\n".join([head, *lines, *failures])


def remove(reference: str, directory: Path | None = None) -> str:
    """Delete a run and return its id: named by its path, its id, or the beginning of one if it is not damaged.

    Raises UsageError for a run that is going on, and for what is no run; LabctlError for one that cannot be removed.
    """
    root, name = directory or paths.runs_dir(), reference
    if os.sep in reference:
        # By its words alone: what `..` or a link means is never followed to something else.
        above, _, name = reference.rstrip(os.sep).rpartition(os.sep)
        root = Path(above or ".").absolute() if name else root
    else:
        name = _removable(reference, root)
    removal.remove(root, name, RUN, _kept, _again(name))
    return name


def _removable(reference: str, root: Path) -> str:
    """The id in `root` that is meant by what was given for a run to remove."""
    runs = list_runs(root)
    named = root / reference
    if reference and not RUN.problem(reference, "") and os.path.lexists(named):
        return reference  # whether it is a run is said of itself
    if not runs:
        raise UsageError(Problem("there is no run", str(root), hint="make one with: labctl matrix"))
    sound = [run.id for run in runs if run.state not in (State.DAMAGED, State.REMOVING)]
    found = _one_of(reference, [run.id for run in runs], sound, root)
    if found != reference and len(reference) < BEGINNING:
        hint = f"give its id, or at least the first {BEGINNING} characters of it: {found}"
        raise UsageError(Problem("that is too little to remove a run by", str(root), repr(reference), hint))
    return found


def _kept(folder: Path) -> Problem | None:
    """Why a folder is not to be removed as a run."""
    if not RunFolder(folder).proves_a_run():
        what = "this is no run: no record in it says so (plan.json, status.json, attempts/)"
        return Problem(what, str(folder), hint="remove it by hand if it is one; `labctl runs list` shows the runs")
    if _goes_on(open_run(folder)):
        return Problem("the run is going on", str(folder), hint="end it with Ctrl-C first")
    return None


def _goes_on(run: Run) -> bool:
    """Whether a labctl still works on a run. Where that cannot be read any more, its last attempt tells who did."""
    if run.status is None:
        with suppress(LabctlError):
            last = next(reversed(RunFolder(run.path).attempts()), None)
            attempt = None if last is None else read_record(Attempt, last)
            return attempt is not None and attempt.host == platform.node() and _is_labctl(attempt.pid)
    return run.state is State.RUNNING


def _is_labctl(pid: int) -> bool:
    with suppress(OSError):
        return b"labctl" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def _again(name: str) -> str:
    return f"labctl runs remove {name}"


def _state(status: Status) -> State:
    """The state as written, or killed where it says running and nobody is."""
    here = status.host == platform.node()
    if status.state is RunState.RUNNING and here and not Path(f"/proc/{status.pid}").exists():
        return State.KILLED
    return State(status.state.value)
