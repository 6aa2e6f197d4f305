"""Whether a visit was measured under the conditions that the run began with (setups/<setup>/<round>/visit.json).

Its fingerprint is held against the run's first: that of the first visit of the same setup, in everything, and the one
with which the attempt began, in what no setup changes. What was read again after the last sample is held against what
was read before the first one. Whatever changed voids the samples of the visit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from labctl.core.errors import LabctlError
from labctl.core.files import read_json, read_record
from labctl.nodes.fingerprint import Span, differences, parse, shown
from labctl.plan.plan import Visit
from labctl.runs.attempts import Attempt
from labctl.runs.folder import RunFolder

VISIT = "visit.json"
FINGERPRINT = "fingerprint.json"
SEAL = "seal.json"
LONGEST = 160  # characters of a value in a reason; visit.json has all of it

# The documents of roles/fingerprint by node.
Prints = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Changed:
    """One value of a visit that is not what it was in the `reference`, a file of the run. Null is "none"."""

    span: Span
    reference: str
    node: str
    path: str
    before: object
    after: object

    def __str__(self) -> str:
        before, after = (_cut(shown(value)) for value in (self.before, self.after))
        if self.span is Span.VISIT:
            return f"{self.node}: {self.path} changed during this visit: {before} became {after}"
        return f"{self.node}: {self.path} is {after}, and was {before} in the run's first ({self.reference})"


@dataclass(frozen=True)
class Conditions:
    """visit.json. `sealed`: whether the nodes were read again after the last sample, which a visit cut short is not.

    `samples` are the ids of those taken in it, as long as it goes on of all that are to be taken; `void` are those of
    them that do not count because of `changes`.
    """

    schema: Literal["labctl.visit/1"]
    setup: str
    round: int
    deployment: int
    attempt: int
    sealed: bool
    changes: tuple[Changed, ...]
    samples: tuple[str, ...]
    void: tuple[str, ...]

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why its samples do not count; none where they do."""
        return tuple(map(str, self.changes))


class Beginning:
    """What the visits of an attempt are held against. Drift that was accepted is a new beginning."""

    def __init__(self, folder: RunFolder, attempt: int) -> None:
        self._folder = folder
        self._attempt = attempt
        self._since, self._prints = _beginning(folder)

    def judge(self, visit: Visit, deployment: int, ids: tuple[str, ...], prints: Prints, seal: Prints) -> Conditions:
        """The conditions of a visit in which the samples `ids` are taken; `seal` is empty until they are there."""
        found: dict[tuple[str, str], Changed] = {}
        for change in self._changes(visit, deployment, prints, seal):
            found.setdefault((change.node, change.path), change)
        return Conditions(
            schema="labctl.visit/1",
            setup=visit.setup,
            round=visit.round,
            deployment=deployment,
            attempt=self._attempt,
            sealed=bool(seal),
            changes=tuple(found.values()),
            samples=ids,
            void=ids if found else (),
        )

    def _changes(self, visit: Visit, deployment: int, prints: Prints, seal: Prints) -> Iterator[Changed]:
        yield from compared(Span.RUN, f"attempts/{self._since}.json", self._prints, prints)
        first = self._first(visit, deployment)
        if first is not None:
            reference = first / FINGERPRINT
            name = str(reference.relative_to(self._folder.path))
            yield from compared(Span.SETUP, name, _prints(read_json(reference)), prints)
        own = self._folder.visit(visit.setup, visit.round, deployment) / FINGERPRINT
        yield from compared(Span.VISIT, str(own.relative_to(self._folder.path)), prints, seal)

    def _first(self, visit: Visit, deployment: int) -> Path | None:
        """The folder of the first other visit of the same setup since the beginning whose samples count."""
        own = (visit.round, deployment)
        found = [
            (one.attempt, one.round, one.deployment)
            for one in visits(self._folder, visit.setup)
            if one.attempt >= self._since and (one.round, one.deployment) != own and one.samples and not one.changes
        ]
        folders = (self._folder.visit(visit.setup, number, which) for _, number, which in sorted(found))
        return next((folder for folder in folders if (folder / FINGERPRINT).is_file()), None)


def compared(span: Span, reference: str, before: Prints, now: Prints) -> Iterator[Changed]:
    """What differs on the nodes that are in both."""
    for node in sorted(before.keys() & now.keys()):
        first, second = (parse(each[node], f"{reference}: {node}") for each in (before, now))
        for one in differences(first, second, span):
            yield Changed(span, reference, node, one.path, one.first, one.second)


def visits(folder: RunFolder, setup: str | None = None) -> Iterator[Conditions]:
    """The conditions of a setup's visits so far, or of all. One that cannot be read is told by the run's history."""
    for path in folder.of_visits(VISIT, setup):
        with suppress(LabctlError):
            yield read_record(Conditions, path)


def void(folder: RunFolder) -> dict[tuple[str, int], tuple[str, ...]]:
    """Why samples do not count because of the conditions of their visit, by sample and deployment of its setup."""
    return {(sample, one.deployment): one.reasons for one in visits(folder) for sample in one.void}


def _beginning(folder: RunFolder) -> tuple[int, Prints]:
    """The last attempt that began anew, the first of a run or one that accepted drift, and its fingerprints."""
    since, prints = 1, _prints({})
    for path in folder.attempts():
        with suppress(LabctlError):  # the history names it
            attempt = read_record(Attempt, path)
            if attempt.drift or not prints:
                since, prints = attempt.number, _prints(attempt.fingerprints)
    return since, prints


def _prints(documents: object) -> dict[str, Mapping[str, Any]]:
    """The documents of nodes in a file."""
    whole = documents if isinstance(documents, Mapping) else {}
    return {node: document for node, document in whole.items() if isinstance(document, Mapping)}


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
