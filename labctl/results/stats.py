"""Statistics of repeated measurements. Pure functions on plain numbers; every method names its source.

Ratios are compared as logarithms: a/b and b/a are then equally far from 1, and a noise of so many percent is
the same number at any rate (Fleming and Wallace 1986, "How not to lie with statistics: the correct way to
summarize benchmark results").
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MIN_ROUNDS = 6  # fewer pairs give no interval: five signs alike happen by chance in 1 of 16 cases
CONFIDENCE = 0.95
MIN_FACTOR = 1.05  # medians of two groups that are closer than this are no two groups to anybody
# By the number of independent values: what `separate` exceeds by chance in one of a hundred normal samples (400,000
# simulated each). Between two numbers the smaller one holds, which is too strict rather than too lax.
_CHANCE = dict(
    zip(
        (6, 7, 8, 9, 10, 12, 15, 20, 30, 50, 100, 200),
        (30.1, 19.8, 14.6, 11.7, 9.95, 7.79, 6.20, 4.91, 3.86, 3.14, 2.59, 2.30),
        strict=True,
    )
)


@dataclass(frozen=True)
class Spread:
    """Position and spread of a list of values, in their unit; `cv_pct` is None below two values or at mean 0.

    `median`, `mean` and `cv_pct` are None where the values are of several modes, for which none of them stands.
    """

    n: int
    median: float | None
    mean: float | None
    cv_pct: float | None
    min: float
    max: float


@dataclass(frozen=True)
class PairedRatio:
    """a/b paired by round.

    `ratio` is the geometric mean of the rounds' ratios, `hodges_lehmann` the robust estimate beside it. `low`,
    `high` (the 95 % interval) and `p_value` (two-sided, of "the ratio is 1") are None below MIN_ROUNDS rounds.
    """

    rounds: int
    ratio: float
    hodges_lehmann: float
    low: float | None
    high: float | None
    p_value: float | None


def spread(values: Sequence[float]) -> Spread | None:
    """Median, mean, coefficient of variation (sample standard deviation, n - 1), minimum, maximum; None of none."""
    if not values:
        return None
    mean = statistics.fmean(values)
    variable = len(values) > 1 and mean != 0
    return Spread(
        n=len(values),
        median=statistics.median(values),
        mean=mean,
        cv_pct=100 * statistics.stdev(values) / abs(mean) if variable else None,
        min=min(values),
        max=max(values),
    )


def paired_log_ratios(a: Mapping[int, Sequence[float]], b: Mapping[int, Sequence[float]]) -> tuple[float, ...]:
    """log(median of a / median of b) for every round in which both were measured, in the order of the rounds.

    `a` and `b` map a round to its repeats. The median over repeats keeps one disturbed repeat from moving its
    round; the round is the unit that was deployed afresh, so it is the unit that counts. Raises ValueError at a
    value that is not positive.
    """
    if any(value <= 0 for values in (*a.values(), *b.values()) for value in values):
        raise ValueError("a ratio needs positive values")
    rounds = sorted(number for number in a.keys() & b.keys() if a[number] and b[number])
    return tuple(math.log(statistics.median(a[number]) / statistics.median(b[number])) for number in rounds)


def paired_ratio(a: Mapping[int, Sequence[float]], b: Mapping[int, Sequence[float]]) -> PairedRatio | None:
    """The ratio a/b paired by round; None without a common round.

    The interval is Student's t interval of the mean log-ratio (Student 1908; Jain, "The Art of Computer Systems
    Performance Analysis", 13.4.1, paired observations), turned back by exp.
    """
    logs = paired_log_ratios(a, b)
    if not logs:
        return None
    mean = statistics.fmean(logs)
    half, p_value = _t_interval(logs, mean) if len(logs) >= MIN_ROUNDS else (None, None)
    return PairedRatio(
        rounds=len(logs),
        ratio=math.exp(mean),
        hodges_lehmann=math.exp(hodges_lehmann(logs)),
        low=None if half is None else math.exp(mean - half),
        high=None if half is None else math.exp(mean + half),
        p_value=p_value,
    )


def hodges_lehmann(values: Sequence[float]) -> float:
    """The median of all pairwise means, a value with itself included (Hodges and Lehmann 1963).

    It is nearly as sharp as the mean where the noise is normal, and one wild round does not carry it away.
    """
    walsh = [(one + other) / 2 for index, one in enumerate(values) for other in values[index:]]
    return statistics.median(walsh)


def noise_floor(same_over_same: PairedRatio | None) -> float | None:
    """How far a ratio can lie from 1 with no cause at all, as a factor >= 1, from an A/A pair.

    It is the end of the A/A interval that is further from 1: so a floor is claimed no lower than the pair could
    show. None without an interval.
    """
    if same_over_same is None or same_over_same.low is None or same_over_same.high is None:
        return None
    return max(same_over_same.high, 1 / same_over_same.low, 1.0)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """The p-values adjusted for their number, in their own order (Holm 1979, step down).

    Of all verdicts taken at an adjusted p below 0.05 the chance that even one is false stays below 5 %.
    """
    ranked = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(ranked):
        highest = max(highest, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = highest
    return tuple(adjusted)


def separate(values: Sequence[float], rounds: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """The indices of values (log rates) in groups that lie apart, the lowest first; one group where none do.

    Of all cuts of the sorted values the best one makes the sum of squares between both sides largest against that
    within them; it counts where that quotient is beyond chance (Engelman and Hartigan 1969, "Percentage points of a
    test for clusters") and the sides' medians differ by MIN_FACTOR. Each side is then tried again. Values of one round
    may be alike, so it is the `rounds` (one per value) that are counted: MIN_ROUNDS at least, two on either side, which
    keeps a single wild round from being a group.
    """
    order = sorted(range(len(values)), key=values.__getitem__)
    return tuple(tuple(group) for group in _cut(order, values, rounds))


def _cut(order: list[int], values: Sequence[float], rounds: Sequence[int]) -> list[list[int]]:
    independent = len({rounds[index] for index in order})
    if independent < MIN_ROUNDS:
        return [order]
    middle = statistics.fmean(values[index] for index in order)
    centred = [values[index] - middle for index in order]  # so that the sums of squares lose no digits
    total = math.fsum(value * value for value in centred)
    of = [rounds[index] for index in order]
    least = next(at for at, number in enumerate(of) if number != of[0]) + 1
    most = next(at for at in range(len(of) - 1, 0, -1) if of[at] != of[-1])
    best, within, below = 0, math.inf, math.fsum(centred[: least - 1])
    for at in range(least, most + 1):
        below += centred[at - 1]
        left = total - below * below * (1 / at + 1 / (len(order) - at))
        if left < within:
            best, within = at, left
    if not best or total - within <= within * _by_chance(independent):
        return [order]
    low, high = order[:best], order[best:]
    apart = statistics.median(values[index] for index in high) - statistics.median(values[index] for index in low)
    if apart < math.log(MIN_FACTOR):
        return [order]
    return [*_cut(low, values, rounds), *_cut(high, values, rounds)]


def _by_chance(count: int) -> float:
    return _CHANCE[max(known for known in _CHANCE if known <= count)]


def _t_interval(values: Sequence[float], mean: float) -> tuple[float, float]:
    """Half the width of the t interval of the mean, and the two-sided p-value of "the mean is 0"."""
    # scipy takes longer to import than most commands take: only who needs a quantile pays.
    from scipy.special import stdtr, stdtrit

    freedom = len(values) - 1
    error = statistics.stdev(values, mean) / math.sqrt(len(values))
    half = float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * error
    if error == 0:
        return half, 1.0 if mean == 0 else 0.0
    return half, 2 * float(stdtr(freedom, -abs(mean) / error))
