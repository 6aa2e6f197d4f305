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


@dataclass(frozen=True)
class Spread:
    """Position and spread of a list of values, in their unit; `cv_pct` is None below two values or at mean 0."""

    n: int
    median: float
    mean: float
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
