"""What an execution has done so far: counted in one place, and written to status.json as it grows."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from labctl.core.errors import LabctlError
from labctl.core.files import write_json
from labctl.plan import plan as planning
from labctl.plan.plan import Plan, Visit
from labctl.plan.visit import samples_for
from labctl.runs.folder import RunFolder
from labctl.runs.status import RunState, Status, VisitRecord
from labctl.samples import sample as samples
from labctl.samples.sample import Sample


@dataclass
class Record:
    """How far an attempt at a plan got. Only its methods change it.

    `attempt` counts the starts of labctl on this run; `kept` are the ids of samples that an earlier one left and that
    count, `visits` what it recorded, and what this one adds. `taken` are the samples that are there, those kept
    included; `broken` is what ended the attempt early, None while nothing did.
    """

    plan: Plan
    folder: RunFolder
    attempt: int = 1
    kept: frozenset[str] = frozenset()
    visits: tuple[VisitRecord, ...] = ()
    taken: int = field(init=False)
    broken: LabctlError | None = field(default=None, init=False)
    _failed: bool = field(default=False, init=False)
    _started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(), init=False)
    # Seconds that the last good visit of a setup took besides its samples.
    _besides: dict[str, float] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.taken = len(self.kept)

    @property
    def failed(self) -> bool:
        """Whether a visit of this attempt did not go as planned, or a sample does not count."""
        return self.broken is not None or self._failed

    @property
    def complete(self) -> bool:
        """Whether every sample of the plan is there and counts, and nothing failed on the way."""
        return not self.failed and self.taken == self.plan.samples

    def lacking(self) -> tuple[Visit, ...]:
        """The visits that had samples still to be taken when the attempt began, in the plan's order."""
        return tuple(
            visit
            for visit in self.plan.visits
            if any(sample.id not in self.kept for sample in samples_for(self.plan, visit))
        )

    def break_off(self, error: LabctlError) -> None:
        """Note why the attempt cannot go on; the first reason stays."""
        self.broken = self.broken or error

    def add_sample(self, sample: Sample) -> None:
        """A sample was taken."""
        self.taken += 1
        self._failed |= sample.status is not samples.Status.VALID

    def void(self) -> None:
        """Samples that were taken do not count after all."""
        self._failed = True

    def add_visit(self, visit: VisitRecord, taken: int) -> None:
        """A visit came to its end, with so many samples."""
        self.visits += (visit,)
        self._failed |= visit.status != "ok"
        if visit.status == "ok":
            self._besides[visit.setup] = max(visit.seconds["total"] - taken * planning.sample_s(self.plan), 0.0)

    def left_s(self, todo: Sequence[Visit]) -> float:
        """Seconds that the visits to do take, by what visits took so far and the catalog's estimate of others."""
        return planning.time_left(self.plan, self.plan.samples - self.taken, todo, self._besides)

    def save(self, state: RunState) -> None:
        """Write status.json; a folder that cannot be written breaks the attempt off."""
        try:
            write_json(self.folder.status, self.status(state))
        except LabctlError as error:
            self.break_off(error)

    def status(self, state: RunState) -> Status:
        """The content of status.json."""
        return Status(
            schema="labctl.status/1",
            state=state,
            host=platform.node(),
            pid=os.getpid(),
            started=self._started,
            updated=datetime.now(UTC).isoformat(),
            samples_planned=self.plan.samples,
            samples_taken=self.taken,
            visits=self.visits,
        )
