"""Under which conditions samples were taken: were the CPUs kept awake, where did both ends run, what else ran."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from labctl.results.modes import policy
from labctl.samples.sample import Sample, Status

OTHERS = 5  # processes that are named of those that took CPU
PER_UNIT = (
    *("deep_entries_per_unit", "deep_pct", "rescheduling_per_unit"),
    *("client_switches_per_unit", "server_switches_per_unit"),
)


@dataclass(frozen=True)
class Conditions:
    """How the valid samples of a cell were taken.

    `idle` and `placement` are those that occur. Numbers of idle states and switches are per unit of the rate (per GB of
    a stream), medians; `foreign_pct` of a CPU thread and `steal_pct` of all are the largest, `others` the processes
    that were seen to take CPU.
    """

    idle: tuple[str, ...]
    placement: tuple[str, ...]
    deep_entries_per_unit: float | None
    deep_pct: float | None
    rescheduling_per_unit: float | None
    client_switches_per_unit: float | None
    server_switches_per_unit: float | None
    together: float | None
    foreign_pct: float | None
    steal_pct: float | None
    others: tuple[str, ...]


@dataclass(frozen=True)
class Awake:
    """What was held to keep CPUs from sleeping: for `held` of the `samples` that count, and `why` not for others.

    `latency_us` are the requests that were held, of every kind one.
    """

    samples: int
    held: int
    latency_us: tuple[int, ...]
    why: tuple[str, ...]


def awake(samples: Iterable[Sample]) -> Awake:
    """What was held for the samples that count."""
    valid = [sample for sample in samples if sample.status is Status.VALID]
    told = [sample.idle for sample in valid if sample.idle is not None]
    held = [idle for idle in told if idle.held]
    return Awake(
        samples=len(valid),
        held=len(held),
        latency_us=tuple(sorted({idle.latency_us for idle in held if idle.latency_us is not None})),
        why=tuple(dict.fromkeys(idle.why for idle in told if not idle.held and idle.why is not None)),
    )


def of(valid: Sequence[Sample]) -> Conditions:
    """The conditions of a cell's valid samples."""
    idle = [sample.idle for sample in valid if sample.idle is not None]
    placed = [sample.placement for sample in valid if sample.placement is not None]
    load = [one for sample in valid for one in sample.load]
    others = Counter(name.partition(" (")[0] for one in load for name in one.top)
    return Conditions(
        idle=tuple(sorted({policy(sample) for sample in valid})),
        placement=tuple(sorted({one.mode for one in placed})),
        **{name: median(getattr(one, name) for one in idle) for name in PER_UNIT},
        together=median(one.together for one in placed),
        foreign_pct=max((one.foreign_pct for one in load if one.foreign_pct is not None), default=None),
        steal_pct=max((one.steal_pct for one in load if one.steal_pct is not None), default=None),
        others=tuple(name for name, _ in others.most_common(OTHERS)),
    )


def median(values: Iterable[float | None]) -> float | None:
    """The median of what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
