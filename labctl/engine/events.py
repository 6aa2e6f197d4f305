"""What a playbook reports while it runs, in labctl's own words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

FINGERPRINTERS = ("fingerprint", "cluster_fingerprint")  # the modules that return a fingerprint
PROVERS = ("datapath_proof", "cluster_proof")  # those that return a proof
SAMPLERS = ("netperf_sample",)  # and those that take a sample


@dataclass(frozen=True)
class TaskStart:
    """A task begins."""

    play: str
    task: str


@dataclass(frozen=True)
class TaskResult:
    """One node's result of one task, or of one item of its loop. `action` is the module's short name."""

    action: str
    task: str
    node: str
    ok: bool
    changed: bool
    data: Mapping[str, Any]
    item: object | None = None


Event = TaskStart | TaskResult
Listener = Callable[[Event], None]
