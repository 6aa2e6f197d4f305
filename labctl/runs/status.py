"""How far a run got: status.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from labctl.engine.outcome import Ending, Failure


class RunState(StrEnum):
    """What labctl last said of a run. `failed`: a visit did not go as planned, or a sample does not count."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class VisitRecord:
    """How one visit went. `seconds` by play name (and `total`), wall time.

    `deployment` counts the deployments of this setup in this round, `attempt` the starts of labctl on this run.
    """

    setup: str
    round: int
    deployment: int
    attempt: int
    status: Ending
    seconds: Mapping[str, float]
    failures: tuple[Failure, ...]


@dataclass(frozen=True)
class Status:
    """status.json. `host` and `pid` say where labctl runs, or ran; times of day are ISO 8601 in UTC."""

    schema: Literal["labctl.status/1"]
    state: RunState
    host: str
    pid: int
    started: str
    updated: str
    samples_planned: int
    samples_taken: int
    visits: tuple[VisitRecord, ...]
