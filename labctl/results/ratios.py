"""How cells compare: ratios of rates paired by round, the noise floor, and verdicts. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from labctl.plan.plan import Cell, Plan, cell_id
from labctl.results import stats
from labctl.samples.sample import Sample, Status

SIGNIFICANCE = 1 - stats.CONFIDENCE


class Verdict(StrEnum):
    """How a cell compares with its reference."""

    HIGHER = "higher"
    LOWER = "lower"
    UNCLEAR = "not distinguishable"


@dataclass(frozen=True)
class Comparison:
    """A cell's rate over the rate of the same cell of `reference`, paired by round.

    `low` and `high` are the 95 % interval; `p_adjusted` is Holm's, over all comparisons of the run;
    `noise_floor` is the factor within which an A/A pair of the same workload and processes differed. `verdict`
    is None without an interval and for the A/A pair itself, which has `is_noise_floor` set.
    """

    reference: str
    rounds: int
    ratio: float
    hodges_lehmann: float
    low: float | None
    high: float | None
    p_value: float | None
    p_adjusted: float | None = None
    noise_floor: float | None = None
    is_noise_floor: bool = False
    verdict: Verdict | None = None


def compare(plan: Plan, samples: Mapping[str, Sequence[Sample]], reference: str | None = None) -> dict[str, Comparison]:
    """Cell id to comparison, for every cell with a reference and a round in which both were measured.

    `samples` maps every cell of the plan to its samples. `reference` is a setup to compare all others with;
    without it each setup has its own. The second copy of an A/A pair is always compared with the first.
    """
    found: dict[str, Comparison] = {}
    for cell in plan.cells:
        setup = plan.setup(cell.setup)
        aa = setup.copy > 1
        other = setup.reference if aa or reference is None else reference
        if other is None or other == setup.id:
            continue
        theirs = samples[cell_id(other, cell.workload, cell.processes_label)]
        a, b = _rates(samples[cell.id]), _rates(theirs)
        # A rate of 0 (a stall that was measured) has no logarithm: without a ratio it stays visible as the minimum.
        stalled = any(0 in rates for rates in (*a.values(), *b.values()))
        ratio = None if stalled else stats.paired_ratio(a, b)
        if ratio is not None:
            floor = stats.noise_floor(ratio) if aa else None
            found[cell.id] = Comparison(other, **vars(ratio), noise_floor=floor, is_noise_floor=aa)
    return _judged(found, _floors(plan.cells, found))


def _rates(samples: Iterable[Sample]) -> dict[int, list[float]]:
    """The rates of the valid samples by round."""
    rates: dict[int, list[float]] = {}
    for sample in samples:
        if sample.status is Status.VALID and sample.rate is not None:
            rates.setdefault(sample.round, []).append(sample.rate.value)
    return rates


def _floors(cells: Iterable[Cell], found: Mapping[str, Comparison]) -> dict[str, float]:
    """Cell id to the noise floor of its workload and processes: the highest of all A/A pairs."""
    highest: dict[tuple[str, int], float] = {}
    cells = tuple(cells)
    for cell in cells:
        one = found.get(cell.id)
        if one is not None and one.is_noise_floor and one.noise_floor is not None:
            key = (cell.workload, cell.count)
            highest[key] = max(one.noise_floor, highest.get(key, 1.0))
    keys = {cell.id: (cell.workload, cell.count) for cell in cells}
    return {cell: highest[key] for cell, key in keys.items() if key in highest}


def _judged(found: Mapping[str, Comparison], floors: Mapping[str, float]) -> dict[str, Comparison]:
    """The comparisons with their floors, and verdicts corrected for the number of them."""
    p_values = {cell: one.p_value for cell, one in found.items() if one.p_value is not None and not one.is_noise_floor}
    adjusted = dict(zip(p_values, stats.holm(list(p_values.values())), strict=True))
    judged: dict[str, Comparison] = {}
    for cell, one in found.items():
        floored = replace(one, noise_floor=floors.get(cell), p_adjusted=adjusted.get(cell))
        judged[cell] = replace(floored, verdict=_verdict(floored))
    return judged


def _verdict(one: Comparison) -> Verdict | None:
    """None without an interval; else a direction only where chance and the noise floor both leave no doubt."""
    if one.p_adjusted is None or one.low is None or one.high is None:
        return None
    floor = one.noise_floor or 1.0
    by_chance = one.low <= 1 <= one.high or one.p_adjusted >= SIGNIFICANCE
    if by_chance or 1 / floor <= one.ratio <= floor:
        return Verdict.UNCLEAR
    return Verdict.HIGHER if one.ratio > 1 else Verdict.LOWER
