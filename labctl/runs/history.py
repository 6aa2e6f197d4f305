"""What happened to a run besides its samples: attempts, accepted drift, visits that failed, samples taken again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from labctl.core.errors import LabctlError, Problem, collected
from labctl.core.files import read_record
from labctl.engine.outcome import Failure
from labctl.runs.attempts import Attempt
from labctl.runs.conditions import VISIT, Conditions
from labctl.runs.folder import RunFolder
from labctl.runs.status import Status, VisitRecord
from labctl.samples.sample import Sample

LONGEST = 400  # characters of what was seen in a failure, in a table; status.json has all of it


@dataclass(frozen=True)
class FailedVisit:
    """A visit that did not come to its end, in which attempt at the run, and why."""

    setup: str
    round: int
    attempt: int
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Retaken:
    """A sample that was set aside by a resume. `sample` is its folder below samples/."""

    sample: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Drift:
    """Something that was not as in the attempt before, accepted when this attempt was made."""

    attempt: int
    change: str


@dataclass(frozen=True)
class Disturbed:
    """A visit under other conditions than the run's first, what was different, and how many samples that voids."""

    setup: str
    round: int
    attempt: int
    changes: tuple[str, ...]
    void: int


@dataclass(frozen=True)
class History:
    """`cut_rounds` hold samples of several attempts, or deployments of a setup; `damaged` files are named.

    `unsealed` are visits that ended before the nodes could be read again: whether something changed is not known.
    """

    attempts: int = 1
    cut_rounds: tuple[int, ...] = ()
    drift: tuple[Drift, ...] = ()
    failed_visits: tuple[FailedVisit, ...] = ()
    disturbed: tuple[Disturbed, ...] = ()
    unsealed: tuple[str, ...] = ()
    retaken: tuple[Retaken, ...] = ()
    damaged: tuple[str, ...] = ()


def read(folder: RunFolder) -> History:
    """The history of a run. Never raises for what stands in its files: a damaged one is named."""
    problems: list[Problem] = []
    made: list[Attempt] = []
    starts: tuple[Path, ...] = ()
    with collected(problems):
        starts = folder.attempts()
    for path in starts:
        with collected(problems):
            made.append(read_record(Attempt, path))
    visits: tuple[VisitRecord, ...] = ()
    if folder.status.exists():
        with collected(problems):
            visits = read_record(Status, folder.status).visits
    seen: list[Conditions] = []
    found: list[Path] = []
    with collected(problems):
        found += folder.of_visits(VISIT)
    for path in found:
        with collected(problems):
            seen.append(read_record(Conditions, path))
    aside: tuple[Path, ...] = ()
    with collected(problems):
        aside = folder.set_aside()
    seen.sort(key=lambda one: (one.attempt, one.round))
    attempts = max((int(path.stem) for path in starts), default=1)
    over = {(visit.setup, visit.round, visit.deployment) for visit in visits}
    return History(
        attempts=attempts,
        cut_rounds=cut_rounds(visits),
        drift=tuple(Drift(attempt.number, str(change)) for attempt in made for change in attempt.drift),
        failed_visits=tuple(
            FailedVisit(
                visit.setup,
                visit.round,
                visit.attempt,
                tuple(told for one in visit.failures for told in in_lines(one, LONGEST)),
            )
            for visit in visits
            if visit.failures
        ),
        disturbed=tuple(
            Disturbed(one.setup, one.round, one.attempt, one.reasons, len(one.void)) for one in seen if one.changes
        ),
        unsealed=tuple(
            f"{one.setup}, round {one.round}"
            for one in seen  # one that is neither over nor of an earlier attempt goes on
            if not one.sealed and ((one.setup, one.round, one.deployment) in over or one.attempt < attempts)
        ),
        retaken=tuple(_retaken(folder.samples, one) for one in aside),
        damaged=tuple(f"{problem.what} ({problem.where})" for problem in problems),
    )


def cut_rounds(visits: Iterable[VisitRecord]) -> tuple[int, ...]:
    """The rounds that were not taken in one go. A visit killed with labctl left no record, its successor has."""
    attempts_of: dict[int, set[int]] = {}
    again = set()
    for visit in visits:
        attempts_of.setdefault(visit.round, set()).add(visit.attempt)
        if visit.deployment > 1:
            again.add(visit.round)
    return tuple(sorted(again | {number for number, made in attempts_of.items() if len(made) > 1}))


def in_lines(failure: Failure, longest: int | None = None) -> tuple[str, ...]:
    """A failure in a line for each of its problems. What was seen is cut to `longest` characters, and nothing else."""
    head = [failure.node, failure.task]
    if not failure.problems:
        return (_line([*head, _cut(failure.message, longest)], failure.hint),)
    return tuple(
        _line([*head, _placed(one, failure.node), _cut(one.seen or "", longest)], one.hint) for one in failure.problems
    )


def _line(parts: Iterable[str], hint: str | None) -> str:
    text = ": ".join(" ".join(part.split()) for part in parts if part)
    return f"{text}; next: {' '.join(hint.split())}" if hint else text


def _placed(problem: Problem, node: str) -> str:
    """What is wrong, and where on the node, or elsewhere, that is."""
    where = "" if problem.where == node else (problem.where or "").removeprefix(f"{node}, ")
    return f"{problem.what.removesuffix('.')} ({where})" if where else problem.what.removesuffix(".")


def _cut(text: str, longest: int | None) -> str:
    """A text in a line. Where it is too long its beginning and its end stay: it often ends in what counts."""
    line = " ".join(text.split())
    if longest is None or len(line) <= longest:
        return line
    return f"{line[: longest // 2]} ... {line[-(longest // 2) :]}"


def _retaken(root: Path, folder: Path) -> Retaken:
    name = str(folder.relative_to(root))
    try:
        return Retaken(name, read_record(Sample, folder / "sample.json").reasons)
    except LabctlError as error:
        return Retaken(name, tuple(f"{problem.what} ({problem.where})" for problem in error.problems))
