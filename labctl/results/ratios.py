"""How cells compare: ratios of rates paired by round, the noise floor, and verdicts. Pure functions.

Only samples of one mode are compared (labctl.results.modes): a ratio never mixes two.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from labctl.plan.plan import Cell, Plan, cell_id
from labctl.results import stats
from labctl.results.modes import Stratum
from labctl.results.stats import PairedRatio
from labctl.samples.sample import Sample

SIGNIFICANCE = 1 - stats.CONFIDENCE


class Verdict(StrEnum):
    """How a cell compares with its reference; the last two, why it cannot be compared."""

    HIGHER = "higher"
    LOWER = "lower"
    UNCLEAR = "not distinguishable"
    MODES = "modes differ"
    IDLE = "idle differs"


@dataclass(frozen=True)
class Comparison:
    """A cell's rate over the rate of the same cell of `reference`, paired by round.

    `low` and `high` are the 95 % interval; `p_adjusted` is Holm's, over all comparisons of the run;
    `noise_floor` is the factor within which an A/A pair of the same workload and processes differed. `verdict`
    is None without an interval and for the A/A pair itself, which has `is_noise_floor` set. Where the samples are of
    different modes there is no number, or no interval where too many of them are, and `verdict` says so.
    """

    reference: str
    rounds: int
    ratio: float | None = None
    hodges_lehmann: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    p_adjusted: float | None = None
    noise_floor: float | None = None
    is_noise_floor: bool = False
    verdict: Verdict | None = None


Key = tuple[str, str]  # a cell's id and the label of its stratum, empty for the cell as a whole


def compare(plan: Plan, cells: Mapping[str, Sequence[Stratum]], reference: str | None = None) -> dict[Key, Comparison]:
    """Comparisons by cell and stratum, for every one with a reference and a round in which both were measured.

    `cells` maps every cell of the plan to its strata. A cell of several is not compared as a whole; each of them is,
    with what its reference has of the same. `reference` is a setup to compare all others with; without it each setup
    has its own. The second copy of an A/A pair is always compared with the first.
    """
    found: dict[Key, Comparison] = {}
    for cell in plan.cells:
        setup = plan.setup(cell.setup)
        aa = setup.copy > 1
        other = setup.reference if aa or reference is None else reference
        if other is None or other == setup.id:
            continue
        ours, theirs = cells[cell.id], cells[cell_id(other, cell.workload, cell.processes_label)]
        for part in ours:
            ratio, withheld = _compared(part, theirs)
            if ratio or withheld:
                numbers = vars(ratio) if ratio else {"rounds": 0}
                floor = stats.noise_floor(ratio) if aa else None
                one = Comparison(other, **numbers, noise_floor=floor, is_noise_floor=aa, verdict=withheld)
                found[cell.id, part.label] = one
        if len(ours) > 1 and theirs:
            why = _withheld([part.policy for part in ours])
            found[cell.id, ""] = Comparison(other, 0, is_noise_floor=aa, verdict=why)
    return _judged(found, _floors(plan.cells, found))


def _compared(ours: Stratum, theirs: Sequence[Stratum]) -> tuple[PairedRatio | None, Verdict | None]:
    """The ratio to what the reference has of the same mode, and why there is none, or no interval for it."""
    alike = ours.counterpart(theirs)
    a, b = _rates(ours.samples), _rates(alike.samples if alike else ())
    met = len(a.keys() & _rates(sample for part in theirs for sample in part.samples).keys())
    apart = _withheld([ours.policy, *(part.policy for part in theirs)])
    if alike is None or not a.keys() & b.keys():
        return None, apart if met else None
    # A rate of 0 (a stall that was measured) has no logarithm: without a ratio it stays visible as the minimum.
    if any(0 in rates for rates in (*a.values(), *b.values())):
        return None, None
    if _mixed(ours, alike):
        return None, Verdict.MODES
    too_few = len(a.keys() & b.keys()) < stats.MIN_ROUNDS <= met
    return stats.paired_ratio(a, b), apart if too_few else None


def _mixed(ours: Stratum, theirs: Stratum) -> bool:
    """Whether the ratio is another one in another group of either's rates: then it is of two modes.

    Rates that change their group together, because the whole machine got slower, leave the ratio as it is. Half the
    distance of the groups tells one from the other.
    """
    a, b = _rates(ours.samples), _rates(theirs.samples)
    logs = dict(zip(sorted(a.keys() & b.keys()), stats.paired_log_ratios(a, b), strict=True))
    for low, high in itertools.chain(itertools.pairwise(ours.groups), itertools.pairwise(theirs.groups)):
        below, above = ([logs[one.round] for one in group if one.round in logs] for group in (low, high))
        apart = _middle(high) - _middle(low)
        if below and above and abs(statistics.median(above) - statistics.median(below)) > apart / 2:
            return True
    return False


def _middle(samples: Iterable[Sample]) -> float:
    """The median of log rates."""
    return statistics.median(math.log(sample.rate.value) for sample in samples if sample.rate is not None)


def _withheld(policies: Iterable[str]) -> Verdict:
    """Why samples are not compared: whether the CPUs could sleep differs, or where the ends ran."""
    return Verdict.IDLE if len(set(policies)) > 1 else Verdict.MODES


def _rates(samples: Iterable[Sample]) -> dict[int, list[float]]:
    """Rates by round."""
    rates: dict[int, list[float]] = {}
    for sample in samples:
        if sample.rate is not None:
            rates.setdefault(sample.round, []).append(sample.rate.value)
    return rates


def _floors(cells: Iterable[Cell], found: Mapping[Key, Comparison]) -> dict[str, float]:
    """Cell id to the noise floor of its workload and processes: the highest of all A/A pairs."""
    keys = {cell.id: (cell.workload, cell.count) for cell in cells}
    highest: dict[tuple[str, int], float] = {}
    for (cell, _), one in found.items():
        if one.is_noise_floor and one.noise_floor is not None:
            highest[keys[cell]] = max(one.noise_floor, highest.get(keys[cell], 1.0))
    return {cell: highest[key] for cell, key in keys.items() if key in highest}


def _judged(found: Mapping[Key, Comparison], floors: Mapping[str, float]) -> dict[Key, Comparison]:
    """The comparisons with their floors, and verdicts corrected for the number of them."""
    p_values = {key: one.p_value for key, one in found.items() if one.p_value is not None and not one.is_noise_floor}
    adjusted = dict(zip(p_values, stats.holm(list(p_values.values())), strict=True))
    judged: dict[Key, Comparison] = {}
    for key, one in found.items():
        floored = replace(one, noise_floor=floors.get(key[0]), p_adjusted=adjusted.get(key))
        judged[key] = replace(floored, verdict=one.verdict or _verdict(floored))
    return judged


def _verdict(one: Comparison) -> Verdict | None:
    """None without an interval; else a direction only where chance and the noise floor both leave no doubt."""
    if one.p_adjusted is None or one.ratio is None or one.low is None or one.high is None:
        return None
    floor = one.noise_floor or 1.0
    by_chance = one.low <= 1 <= one.high or one.p_adjusted >= SIGNIFICANCE
    if by_chance or 1 / floor <= one.ratio <= floor:
        return Verdict.UNCLEAR
    return Verdict.HIGHER if one.ratio > 1 else Verdict.LOWER
