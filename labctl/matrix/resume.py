"""What a run folder holds already, and what of it is kept when the run is resumed.

Valid samples are kept, whatever happened around them: nothing that counts is measured twice. Failed and invalid ones,
and those whose raw files are damaged, are set aside under another name and taken again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from labctl.core import names, paths, trust
from labctl.core.errors import LabctlError, Problem, UsageError, collected
from labctl.core.files import read_record
from labctl.labs import embedded
from labctl.plan import stored
from labctl.plan.plan import Plan
from labctl.runs import attempts
from labctl.runs.attempts import Attempt, Change
from labctl.runs.folder import RunFolder, set_aside
from labctl.runs.read import read
from labctl.runs.status import Status as RunStatus
from labctl.runs.status import VisitRecord
from labctl.samples.sample import Status

DAMAGED = "damaged"


@dataclass(frozen=True)
class Earlier:
    """A run as its folder tells. `last` is the last attempt that can be read, `problems` name what cannot be."""

    folder: RunFolder
    plan: Plan
    last: Attempt | None
    attempts: int
    visits: tuple[VisitRecord, ...]
    problems: tuple[Problem, ...]

    @property
    def inventory(self) -> str:
        """The inventory that the run was begun on, where it is the one that this machine knows its lab by.

        An inventory says what runs, and a run folder may come from elsewhere. So any other is refused by a UsageError,
        until somebody names it.
        """
        name = names.LAB.require(self.plan.lab.name, f"{self.folder.plan}:lab.name")
        recorded = self.last and self.last.lab.inventory
        if not recorded or not trust.is_directory(Path(recorded)):
            return name
        if Path(recorded).resolve() in _present(name):
            return recorded
        what = f"the run was begun on an inventory that is not the one of a lab {name} here"
        where = f"{self.folder.attempt(self.last.number)}:lab.inventory" if self.last else str(self.folder.path)
        hint = "look at it; if it is the lab that is meant, name it: labctl matrix --resume RUN -i INVENTORY"
        raise UsageError(Problem(what, where, ascii(recorded), hint))


def _present(lab: str) -> Iterator[Path]:
    """The inventories that this machine knows a lab of this name by: by its name, by its record, or as a cluster's."""
    with suppress(UsageError):
        yield paths.resolve_lab(lab)
    with suppress(LabctlError):
        yield Path(embedded.read(lab).inventory).resolve()
    clusters = paths.user_state_dir() / "clusters"
    if clusters.is_dir():
        yield from (entry.resolve() for entry in clusters.iterdir() if entry.name.startswith(f"{lab}-"))


@dataclass(frozen=True)
class Kept:
    """The ids of the samples that count, and what was set aside so that it can be taken again."""

    samples: frozenset[str]
    aside: tuple[Path, ...]


def reopen(path: Path) -> Earlier:
    """Read a run; changes nothing in it. Raises LabctlError when its plan cannot be read, so nobody knows the rest.

    What stands in it decides what is deployed: UsageError for one that others than root and the caller can write.
    """
    folder = RunFolder(path)
    trust.require_trusted("a run to go on with", *dict.fromkeys((path, folder.plan, folder.status, *folder.attempts())))
    plan = stored.read(folder.plan)
    problems: list[Problem] = []
    last: Attempt | None = None
    for file in folder.attempts():
        with collected(problems):
            last = read_record(Attempt, file)
    visits: tuple[VisitRecord, ...] = ()
    with collected(problems):
        visits = read_record(RunStatus, folder.status).visits
    numbers = [int(file.stem) for file in folder.attempts()]
    return Earlier(folder, plan, last, max(numbers, default=0), visits, tuple(problems))


def drift(earlier: Earlier, now: Attempt) -> tuple[Change, ...]:
    """What changed since the last attempt; where none can be read, that nothing can be told."""
    if earlier.last is None:
        return (Change("lab", f"{earlier.folder.path}: attempts", None, "not comparable"),)
    asleep = attempts.idle_changes(earlier.plan.idle, earlier.last, now)
    return (*attempts.changes(earlier.last, now), *asleep)


def keep(earlier: Earlier) -> Kept:
    """Sort the samples of a run into those that are kept and those that are set aside, and sweep what was half written.

    A sample whose raw files are whole but which was not derived yet is derived, not measured again.
    """
    folder = earlier.folder
    folder.sweep()
    results = read(folder.path)
    spoilt = {sample.id: sample.status.value for sample in results.samples if sample.status is not Status.VALID}
    spoilt |= dict.fromkeys(results.damaged, DAMAGED)
    aside = [set_aside(folder.samples / sample_id, why) for sample_id, why in spoilt.items()]
    damaged = any((problem.where or "").startswith(str(folder.status)) for problem in earlier.problems)
    if damaged and folder.status.exists():
        aside.append(set_aside(folder.status, DAMAGED))
    kept = frozenset(sample.id for sample in results.samples if sample.id not in spoilt)
    return Kept(kept, tuple(aside))
