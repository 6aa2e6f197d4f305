"""What a run folder holds already, and what of it is kept when the run is resumed.

Valid samples are kept, whatever happened around them: nothing that counts is measured twice. Failed and invalid ones,
and those whose raw files are damaged, are set aside under another name and taken again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from labctl.core import trust
from labctl.core.errors import Problem, collected
from labctl.core.files import read_record
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
        """The lab's inventory as it was recorded, else a lab of that name."""
        recorded = self.last and self.last.lab.inventory
        return recorded if recorded and Path(recorded).is_dir() else self.plan.lab.name


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
