"""What an execution has done so far: counted in one place, and written to status.json as it grows."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
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


class Record:
    """How far an attempt at a plan got. Only its methods change it.

    `attempt` counts the starts of labctl on this run; `kept` are the ids of samples that an earlier one left and that
    count, `visits` what it recorded.
    """

    def __init__(
        self,
        plan: Plan,
        folder: RunFolder,
        attempt: int = 1,
        kept: frozenset[str] = frozenset(),
        visits: Iterable[VisitRecord] = (),
    ) -> None:
        self.attempt = attempt
        self.kept = kept
        self._plan = plan
        self._folder = folder
        self._visits = list(visits)
        self._started = datetime.now(UTC).isoformat()
        self._taken = len(kept)
        self._unusable = 0
        self._failed_visits = 0
        self._broken: LabctlError | None = None
        # Seconds that the last good visit of a setup took besides its samples.
        self._besides: dict[str, float] = {}

    @property
    def broken(self) -> LabctlError | None:
        """What ended the attempt early, None while nothing did."""
        return self._broken

    @property
    def taken(self) -> int:
        """Samples that are there, those kept included."""
        return self._taken

    @property
    def failed(self) -> bool:
        """Whether a visit of this attempt did not go as planned, or a sample does not count."""
        return self._broken is not None or self._unusable > 0 or self._failed_visits > 0

    @property
    def complete(self) -> bool:
        """Whether every sample of the plan is there and counts, and nothing failed on the way."""
        return not self.failed and self._taken == self._plan.samples

    def lacking(self) -> tuple[Visit, ...]:
        """The visits that had samples still to be taken when the attempt began, in the plan's order."""
        return tuple(
            visit
            for visit in self._plan.visits
            if any(sample.id not in self.kept for sample in samples_for(self._plan, visit))
        )

    def break_off(self, error: LabctlError) -> None:
        """Note why the attempt cannot go on; the first reason stays."""
        self._broken = self._broken or error

    def add_sample(self, sample: Sample) -> None:
        """A sample was taken."""
        self._taken += 1
        self._unusable += sample.status is not samples.Status.VALID

    def add_visit(self, visit: VisitRecord, taken: int) -> None:
        """A visit came to its end, with so many samples."""
        self._visits.append(visit)
        self._failed_visits += visit.status != "ok"
        if visit.status == "ok":
            self._besides[visit.setup] = max(visit.seconds["total"] - taken * planning.sample_s(self._plan), 0.0)

    def left_s(self, todo: Sequence[Visit]) -> float:
        """Seconds that the visits to do take, by what visits took so far and the catalog's estimate of others."""
        return planning.time_left(self._plan, self._plan.samples - self._taken, todo, self._besides)

    def save(self, state: RunState) -> None:
        """Write status.json; a folder that cannot be written breaks the attempt off."""
        try:
            write_json(self._folder.status, self.status(state))
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
            samples_planned=self._plan.samples,
            samples_taken=self._taken,
            visits=tuple(self._visits),
        )
