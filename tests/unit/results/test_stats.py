"""Statistics against published tables, scipy, and simulation."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats as reference

from labctl.results.stats import (
    MIN_ROUNDS,
    PairedRatio,
    Spread,
    hodges_lehmann,
    holm,
    noise_floor,
    paired_log_ratios,
    paired_ratio,
    spread,
)

# Student's own example (1908; Cushny and Peebles' sleep data): extra hours of sleep with two drugs, ten patients.
DEXTRO = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
LAEVO = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


def rounds(values: Sequence[float]) -> dict[int, list[float]]:
    return {number: [value] for number, value in enumerate(values, start=1)}


def test_spread_of_known_values() -> None:
    # The population deviation of these is 2; of a sample it is sqrt(32 / 7).
    found = spread([2, 4, 4, 4, 5, 5, 7, 9])
    assert found is not None
    assert (found.n, found.median, found.mean, found.min, found.max) == (8, 4.5, 5.0, 2, 9)
    assert found.cv_pct == pytest.approx(100 * math.sqrt(32 / 7) / 5)


def test_one_value_has_no_variation_and_none_has_nothing() -> None:
    assert spread([3.0]) == Spread(1, 3.0, 3.0, None, 3.0, 3.0)
    assert spread([]) is None
    assert spread([-1.0, 1.0]) == Spread(2, 0.0, 0.0, None, -1.0, 1.0)


def test_the_interval_is_students() -> None:
    # Published for this pair: mean difference 1.58, t = 4.0621 with 9 degrees of freedom, p = 0.00283,
    # 95 % interval 0.7001 to 2.4599 (the example of R's t.test).
    ratio = paired_ratio(rounds([math.exp(value) for value in LAEVO]), rounds([math.exp(value) for value in DEXTRO]))
    assert ratio is not None
    assert math.log(ratio.ratio) == pytest.approx(1.58)
    assert ratio.low is not None
    assert ratio.high is not None
    assert math.log(ratio.low) == pytest.approx(0.7001142, abs=1e-6)
    assert math.log(ratio.high) == pytest.approx(2.4598858, abs=1e-6)
    assert ratio.p_value == pytest.approx(0.002832890, abs=1e-8)


@pytest.mark.parametrize("count", [6, 7, 12, 30])
def test_the_interval_agrees_with_scipy(count: int) -> None:
    generator = random.Random(count)
    a = [generator.lognormvariate(3, 0.1) for _ in range(count)]
    b = [generator.lognormvariate(3.05, 0.1) for _ in range(count)]
    ratio = paired_ratio(rounds(a), rounds(b))
    theirs = reference.ttest_rel(np.log(a), np.log(b))
    interval = theirs.confidence_interval(0.95)
    assert ratio is not None
    assert (ratio.low, ratio.high) == pytest.approx((math.exp(interval.low), math.exp(interval.high)))
    assert ratio.p_value == pytest.approx(theirs.pvalue)


def test_hodges_lehmann_of_known_values() -> None:
    # Walsh averages of 1, 2, 6: 1, 1.5, 3.5, 2, 4, 6; their median is 2.75.
    assert hodges_lehmann([1, 2, 6]) == 2.75
    assert hodges_lehmann([5.0]) == 5.0


def test_one_wild_round_does_not_carry_hodges_lehmann_away() -> None:
    ratio = paired_ratio(rounds([1.1] * 9 + [11.0]), rounds([1.0] * 10))
    assert ratio is not None
    assert ratio.hodges_lehmann == pytest.approx(1.1)
    assert ratio.ratio > 1.3


def test_rounds_are_paired_and_repeats_reduced_to_their_median() -> None:
    a = {1: [10.0, 20.0, 90.0], 2: [30.0], 4: [1.0]}
    b = {1: [10.0], 2: [10.0, 20.0], 3: [1.0]}
    assert paired_log_ratios(a, b) == pytest.approx((math.log(2), math.log(2)))


def test_below_six_rounds_there_is_no_interval() -> None:
    five = paired_ratio(rounds([1.1, 1.2, 1.1, 1.3, 1.2]), rounds([1.0] * 5))
    assert five is not None
    assert (five.rounds, five.low, five.high, five.p_value) == (5, None, None, None)
    assert five.ratio == pytest.approx((1.1 * 1.2 * 1.1 * 1.3 * 1.2) ** 0.2)
    six = paired_ratio(rounds([1.1, 1.2, 1.1, 1.3, 1.2, 1.1]), rounds([1.0] * 6))
    assert six is not None
    assert six.low is not None
    assert MIN_ROUNDS == 6


def test_without_a_common_round_there_is_no_ratio() -> None:
    assert paired_ratio({1: [1.0]}, {2: [1.0]}) is None
    assert paired_ratio({1: []}, {1: [1.0]}) is None


def test_equal_rounds_have_an_interval_of_no_width() -> None:
    twice = paired_ratio(rounds([2.0] * 6), rounds([1.0] * 6))
    assert twice is not None
    assert (twice.ratio, twice.hodges_lehmann, twice.low, twice.high) == pytest.approx((2, 2, 2, 2))
    assert twice.p_value == 0.0
    same = paired_ratio(rounds([2.0] * 6), rounds([2.0] * 6))
    assert same is not None
    assert same.p_value == 1.0


def test_a_rate_that_is_not_positive_is_an_error() -> None:
    with pytest.raises(ValueError, match="a ratio needs positive values"):
        paired_ratio({1: [0.0]}, {1: [1.0]})


def test_the_noise_floor_is_the_further_end() -> None:
    assert noise_floor(PairedRatio(6, 1.01, 1.01, 0.95, 1.04, 0.5)) == pytest.approx(1 / 0.95)
    assert noise_floor(PairedRatio(6, 1.01, 1.01, 0.99, 1.04, 0.5)) == pytest.approx(1.04)
    assert noise_floor(PairedRatio(5, 1.01, 1.01, None, None, None)) is None
    assert noise_floor(None) is None


def test_holm_of_known_values() -> None:
    # By hand: 5 x 0.01, 4 x 0.02, 3 x 0.03, then never below the one before.
    assert holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx((0.05, 0.08, 0.09, 0.09, 0.09))
    assert holm([0.04, 0.01, 0.03]) == pytest.approx((0.06, 0.03, 0.06))
    assert holm([0.9, 0.8]) == (1.0, 1.0)
    assert holm([]) == ()


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Six rounds, noise of 10 %, a drift over the rounds that both share: 95 % of intervals hold the true ratio."""
    generator = random.Random(20210511)
    truth, trials, hits = 1.25, 1500, 0
    for _ in range(trials):
        drift = [generator.uniform(0.5, 2.0) for _ in range(MIN_ROUNDS)]
        a = rounds([truth * level * generator.lognormvariate(0, 0.1) for level in drift])
        b = rounds([level * generator.lognormvariate(0, 0.1) for level in drift])
        ratio = paired_ratio(a, b)
        assert ratio is not None
        assert ratio.low is not None
        assert ratio.high is not None
        hits += ratio.low <= truth <= ratio.high
    # Three standard errors of a share of 0.95 in 1500 trials are 0.017.
    assert abs(hits / trials - 0.95) < 0.017


def test_scipy_is_imported_only_for_an_interval() -> None:
    code = "import sys, labctl.results.stats; sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
