"""The report of a run, made from its folder. What is derived (sample.json, summary.json) is made again if missing."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from labctl.catalog import Workload
from labctl.core.errors import LabctlError, Problem
from labctl.core.tables import Style, style_of
from labctl.plan import plan as planning
from labctl.plan.plan import Plan
from labctl.plan.visit import PlannedSample, all_samples
from labctl.results import summary as summaries
from labctl.results.summary import Summary, summarise
from labctl.results.tables import summary_tables
from labctl.runs import history
from labctl.runs.find import find
from labctl.runs.folder import RunFolder, read_json, write_json
from labctl.samples import sample as samples
from labctl.samples.sample import Sample


@dataclass(frozen=True)
class Results:
    """The plan of a run and those of its samples that were taken; `damaged` says by id what cannot be read."""

    plan: Plan
    samples: tuple[Sample, ...]
    damaged: Mapping[str, tuple[str, ...]]


def render(run: str, style: str = Style.TABLE, reference: str | None = None, directory: Path | None = None) -> str:
    """The tables of a run in a style; `run` is an id, the beginning of one, a path, or "latest".

    Raises LabctlError when there is no such run, or its plan cannot be read.
    """
    shown = style_of(style)
    return summary_tables(summary_of(find(run, directory), reference), shown)


def summary_of(folder: Path, reference: str | None = None) -> Summary:
    """The summary of a run folder. Writes summary.json unless it stands there already, or `reference` differs."""
    results = read(folder)
    past = history.read(RunFolder(folder))
    summary = summarise(results.plan, results.samples, reference, results.damaged, past)
    content = summaries.to_json(summary)
    path = folder / "summary.json"
    if reference is None and not (path.is_file() and _content(path) == content):
        _keep(path, content)
    return summary


def read(folder: Path) -> Results:
    """Read a run folder, deriving again what is missing. Raises LabctlError when its plan cannot be read."""
    files = RunFolder(folder)
    plan = planning.from_json(read_json(files.plan), str(files.plan))
    workloads = {workload.name: workload for workload in plan.workloads}
    found: list[Sample] = []
    damaged: dict[str, tuple[str, ...]] = {}
    for planned in all_samples(plan):
        place = files.samples / planned.id
        if not place.is_dir():
            continue
        try:
            found.append(_sample(place, planned, workloads[planned.workload]))
        except LabctlError as error:
            damaged[planned.id] = tuple(f"{problem.what} ({problem.where})" for problem in error.problems)
    return Results(plan, tuple(found), damaged)


def _sample(folder: Path, planned: PlannedSample, workload: Workload) -> Sample:
    """The sample in a folder: as derived before, else derived now from its raw files."""
    path = folder / "sample.json"
    try:
        sample = samples.from_json(read_json(path), str(path))
    except LabctlError:  # missing, damaged or of another version: it is only derived
        sample = samples.derive(folder, workload)
        _keep(path, samples.to_json(sample))
    if sample.id != planned.id:
        raise LabctlError(Problem("the folder holds another sample", str(folder), sample.id))
    return sample


def _keep(path: Path, content: object) -> None:
    """Write a derived file, unless that is not possible (a full disk, an archive): it can be derived any time."""
    with suppress(LabctlError):
        write_json(path, content)


def _content(path: Path) -> object:
    """What a derived file holds; None where it is damaged, since it is about to be written again."""
    try:
        return read_json(path)
    except LabctlError:
        return None
