"""Modes of a cell: samples that were not taken alike, or whose rates fall into separate groups. Pure functions.

Where a CPU slept, or on which CPUs both ends ran, moves a rate by more than any network does. So only samples of one
mode have a mean, and only samples of one mode are compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from labctl.catalog.lab import SYSTEM
from labctl.results import stats
from labctl.samples.conditions import UNPLACED
from labctl.samples.sample import Sample, Status


@dataclass(frozen=True)
class Group:
    """Samples of one mode; `label` is what tells it from the cell's other modes, empty where there are none."""

    label: str
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class Stratum:
    """The samples of a cell that were taken alike: under one idle policy, in one placement (None: not known)."""

    policy: str
    placement: str | None
    samples: tuple[Sample, ...]
    label: str = ""

    def counterpart(self, others: Iterable[Stratum]) -> Stratum | None:
        """The one of another cell that was taken like this. A placement that is not known cannot be said to differ."""
        same = [one for one in others if one.policy == self.policy]
        alike = [one for one in same if one.placement == self.placement]
        unknown = len(same) == 1 and None in (self.placement, same[0].placement)
        return next(iter(alike or same), None) if alike or unknown else None

    @cached_property
    def groups(self) -> tuple[tuple[Sample, ...], ...]:
        """The samples in groups of separate rates, the slowest first; one group where they are none."""
        rates = [sample.rate.value for sample in self.samples if sample.rate is not None]
        if any(rate <= 0 for rate in rates):  # a stall is no mode
            return (self.samples,)
        found = stats.separate([math.log(rate) for rate in rates], [sample.round for sample in self.samples])
        return tuple(tuple(self.samples[index] for index in group) for group in found)


def policy(sample: Sample) -> str:
    """How the CPUs were kept from sleeping: what was held for the sample, not what was asked for."""
    if sample.idle is None or not sample.idle.held:
        return SYSTEM
    return f"awake ({sample.idle.latency_us} us)"


def strata(samples: Iterable[Sample]) -> tuple[Stratum, ...]:
    """The valid samples of a cell, apart where they were taken differently; the largest part first."""
    valid = [sample for sample in samples if sample.status is Status.VALID and sample.rate is not None]
    known = {placement for sample in valid if (placement := _placement(sample)) is not None}
    only = next(iter(known)) if len(known) == 1 else None
    apart: dict[tuple[str, str | None], list[Sample]] = {}
    for sample in valid:
        apart.setdefault((policy(sample), _placement(sample) or only), []).append(sample)
    policies = {of for of, _ in apart}
    return tuple(
        Stratum(of, placement, tuple(members), _label(of, placement, len(policies) > 1, len(known) > 1))
        for (of, placement), members in sorted(apart.items(), key=lambda item: -len(item[1]))
    )


def modes(parts: Iterable[Stratum]) -> tuple[Group, ...]:
    """The modes of a cell by its strata; a single one, without a label, where all its samples are of one kind."""
    found: list[Group] = []
    for part in parts:
        groups = part.groups
        names = [""] if len(groups) == 1 else _ranks(len(groups))
        for name, members in zip(names, groups, strict=True):
            found.append(Group(", ".join(filter(None, (part.label, name))), members))
    return tuple(found)


def _placement(sample: Sample) -> str | None:
    mode = sample.placement.mode if sample.placement is not None else UNPLACED
    return None if mode == UNPLACED else mode


def _label(of: str, placement: str | None, by_policy: bool, by_placement: bool) -> str:
    parts = ([of] if by_policy else []) + ([placement or f"placement {UNPLACED}"] if by_placement else [])
    return ", ".join(parts)


def _ranks(count: int) -> list[str]:
    """Names of groups of rates, the slowest first."""
    return ["low rates", "high rates"] if count == 2 else [f"rates {rank} of {count}" for rank in range(1, count + 1)]
