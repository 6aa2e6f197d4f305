"""Reading what a run measured: its plan and its samples. A sample.json that is missing or damaged is derived again."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from labctl.catalog import Workload
from labctl.core.documents import READABLE, shortened
from labctl.core.errors import LabctlError, Problem
from labctl.core.files import read_json, read_record, write_json
from labctl.plan import stored
from labctl.plan.plan import Plan
from labctl.plan.visit import PlannedSample, all_samples
from labctl.runs import conditions
from labctl.runs.folder import RunFolder
from labctl.samples import sample as samples
from labctl.samples.sample import Sample

OF_PLAN = ("id", "cell", "setup", "workload", "processes", "processes_label", "round", "n")


@dataclass(frozen=True)
class Results:
    """The plan of a run and those of its samples that were taken; `damaged` says by id what cannot be read."""

    plan: Plan
    samples: tuple[Sample, ...]
    damaged: Mapping[str, tuple[str, ...]]


def read(folder: Path) -> Results:
    """Read a run folder, deriving again what is missing. Raises LabctlError when its plan cannot be read."""
    files = RunFolder(folder)
    plan = stored.read(files.plan)
    workloads = {workload.name: workload for workload in plan.workloads}
    found: list[Sample] = []
    damaged: dict[str, tuple[str, ...]] = {}
    void = conditions.void(files)
    for planned in all_samples(plan):
        place = files.samples / planned.id
        try:
            if not _is_taken(place):
                continue
            reasons = _void(place, planned, void)
            found.append(_sample(place, planned, workloads[planned.workload], reasons))
        except LabctlError as error:
            damaged[planned.id] = tuple(f"{problem.what} ({problem.where})" for problem in error.problems)
    return Results(plan, tuple(found), damaged)


def _is_taken(place: Path) -> bool:
    """Whether a sample's folder is there. Raises LabctlError where that cannot be seen: nothing passes for missing."""
    try:
        return stat.S_ISDIR(place.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise LabctlError(Problem("a sample cannot be read", str(place), error.strerror, READABLE)) from error


def _void(folder: Path, planned: PlannedSample, void: Mapping[tuple[str, int], tuple[str, ...]]) -> tuple[str, ...]:
    """Why the visit voids the sample in a folder, whose raw files say in which deployment it was taken."""
    if not any(sample == planned.id for sample, _ in void):
        return ()
    measurement = read_json(folder / "measurement.json")
    item = measurement.get("sample") if isinstance(measurement, Mapping) else None
    deployment = item.get("deployment", 1) if isinstance(item, Mapping) else 1
    return void.get((planned.id, deployment), ()) if isinstance(deployment, int) else ()


def _sample(folder: Path, planned: PlannedSample, workload: Workload, void: tuple[str, ...]) -> Sample:
    """The sample in a folder: as derived before, else, or where its visit was voided since, from its raw files."""
    path = folder / "sample.json"
    try:
        sample: Sample | None = read_record(Sample, path)
    except LabctlError:  # missing, damaged or of another version: it is only derived
        sample = None
    if sample is None or not _is_sound(sample, workload, void):
        sample = samples.derive(folder, workload, void)
        keep_derived(path, sample)
    other = [name for name in OF_PLAN if getattr(sample, name) != getattr(planned, name)]
    if other:
        seen = ", ".join(f"{name} {shortened(str(getattr(sample, name)))}" for name in other)
        hint = f"move it to where it belongs; matrix --resume takes {planned.id} again"
        raise LabctlError(Problem("the folder holds another sample", str(folder), seen, hint))
    return sample


def _is_sound(sample: Sample, workload: Workload, void: tuple[str, ...]) -> bool:
    """Whether a derived sample tells all that is known against it, and nothing that cannot be reckoned with."""
    if sample.status is not samples.Status.FAILED and not set(void) <= set(sample.reasons):
        return False
    rate, cpus = sample.rate, sample.cpu.known
    if rate is None:
        return sample.status is not samples.Status.VALID
    return rate.value >= 0 and rate.unit is workload.unit and all(use.softirq_by_cpu for use in cpus)


def keep_derived(path: Path, content: object) -> None:
    """Write a derived file, unless that is not possible (a full disk, an archive): it can be derived any time."""
    with suppress(LabctlError):
        write_json(path, content)
