"""What one visit's playbooks report: put where it belongs in the run folder, and timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from labctl.core.errors import LabctlError, Problem
from labctl.core.files import write_json
from labctl.engine.events import FINGERPRINT, PROVERS, SAMPLERS, Event, TaskResult, TaskStart
from labctl.plan.plan import Visit
from labctl.runs.conditions import FINGERPRINT as FINGERPRINT_FILE
from labctl.runs.conditions import SEAL
from labctl.runs.folder import RunFolder


@dataclass
class VisitLog:
    """Listens to the playbooks of one visit, whose files are in `folder` of the run's.

    `on_step` is told each task that begins, and each one that failed with its node; `on_sample` the raw folder of each
    sample; `on_error` what went wrong in here, which must not pass through runner: it would leave Ansible running.
    `prints` are the nodes' fingerprints from before the first sample, `seal` what was read of them after the last.
    """

    run: RunFolder
    visit: Visit
    folder: Path
    on_step: Callable[[str, str], None]
    on_sample: Callable[[Path], None]
    on_error: Callable[[LabctlError], None]
    prints: dict[str, dict[str, Any]] = field(default_factory=dict)
    seal: dict[str, dict[str, Any]] = field(default_factory=dict)
    _started: float = field(default_factory=time.monotonic)
    _marks: list[tuple[str, float]] = field(default_factory=list)
    _sampled: bool = False

    def __call__(self, event: Event) -> None:
        """Take one event."""
        try:
            if isinstance(event, TaskStart):
                self._begin(event)
            elif isinstance(event, TaskResult):
                self._end(event)
        except LabctlError as error:
            self.on_error(error)

    def seconds(self) -> dict[str, float]:
        """Wall time of each play, start-up counted to the first."""
        now = time.monotonic()
        plays = [play for play, _ in self._marks]
        spent = dict.fromkeys(plays, 0.0)
        bounds = [self._started, *(mark for _, mark in self._marks[1:]), now]
        for play, (start, end) in zip(plays, pairwise(bounds), strict=False):  # no play at all where nothing began
            spent[play] += end - start
        return {name: round(seconds, 3) for name, seconds in {**spent, "total": now - self._started}.items()}

    def _print(self, node: str, sections: Mapping[str, Any]) -> None:
        """Keep a fingerprint, or sections that belong to it."""
        prints, name = (self.seal, SEAL) if self._sampled else (self.prints, FINGERPRINT_FILE)
        prints[node] = {**prints.get(node, {}), **sections}
        write_json(self.folder / name, prints)

    def _begin(self, event: TaskStart) -> None:
        if not self._marks or self._marks[-1][0] != event.play:
            self._marks.append((event.play, time.monotonic()))
        self.on_step(event.task, "")

    def _end(self, event: TaskResult) -> None:
        self._sampled |= event.action in SAMPLERS
        if FINGERPRINT in event.data and event.ok:
            self._print(event.node, event.data[FINGERPRINT])
        elif event.action in PROVERS and "assertions" in event.data:
            write_json(self.folder / "proof.json", proof_of(self.visit, event.data))
        elif event.action in SAMPLERS and event.data.get("status") in ("ok", "failed"):
            self.on_sample(Path(event.data["folder"]))
        elif event.action in SAMPLERS and event.data.get("status") == "unwritten":
            hint = f"make room, then: labctl matrix --resume {self.run.path.name}"
            raise LabctlError(Problem("the run folder cannot be written", str(self.run.path), event.data["msg"], hint))
        elif not event.ok:
            self.on_step(event.title, event.node)


def proof_of(visit: Visit, data: Any) -> dict[str, object]:
    """The content of proof.json from what the proof's task returned."""
    kept = {name: data[name] for name in ("holds", "assertions", "evidence") if name in data}
    return {"schema": "labctl.proof/1", "setup": visit.setup, "round": visit.round, **kept}
