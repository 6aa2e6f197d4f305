"""Modes: what tells samples of one cell apart, how often by mistake, and how often they are missed."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from labctl.catalog import Catalog
from labctl.plan.plan import Plan
from labctl.results.modes import modes, policy, strata
from labctl.samples.quantities import Rate
from labctl.samples.sample import Sample, Status
from tests.unit.synthetic import asleep, awake, placed, plan_of, samples_of, times

TOGETHER, APART = "ends on the same CPUs", "ends on CPUs of their own"


@pytest.fixture
def plan(small_catalog: Catalog) -> Plan:
    return plan_of(small_catalog, variant="base", workload="tcp_rr", processes="1", rounds="10")


@pytest.fixture
def samples(plan: Plan) -> list[Sample]:
    """Ten rounds of one cell, alike."""
    return [placed(awake(sample), APART) for sample in samples_of(plan)]


def found(samples: list[Sample]) -> list[tuple[str, list[int]]]:
    """The modes with their rounds."""
    return [(group.label, sorted(sample.round for sample in group.samples)) for group in modes(strata(samples))]


def test_samples_that_are_alike_are_no_modes(samples: list[Sample]) -> None:
    assert found(samples) == [("", list(range(1, 11)))]
    assert modes(strata([])) == ()


def test_samples_that_do_not_count_make_no_mode(samples: list[Sample]) -> None:
    samples[3] = placed(replace(samples[3], status=Status.INVALID), TOGETHER)
    assert found(samples) == [("", [1, 2, 3, 5, 6, 7, 8, 9, 10])]


def test_one_sample_in_another_placement_is_a_mode_though_its_rate_is_like_the_others(samples: list[Sample]) -> None:
    samples[3] = placed(samples[3], TOGETHER)
    assert found(samples) == [(APART, [1, 2, 3, 5, 6, 7, 8, 9, 10]), (TOGETHER, [4])]


def test_below_six_rounds_placement_alone_tells_modes(samples: list[Sample]) -> None:
    few = [times(samples[0], 5), *samples[1:3]]
    assert found(few) == [("", [1, 2, 3])]
    assert found([placed(few[0], TOGETHER), *few[1:]]) == [(APART, [2, 3]), (TOGETHER, [1])]


def test_a_placement_that_is_not_known_differs_from_nothing_but_is_no_part_of_two(samples: list[Sample]) -> None:
    samples[0] = placed(samples[0], None)
    assert found(samples) == found([placed(samples[0], "not known"), *samples[1:]]) == [("", list(range(1, 11)))]
    samples[1] = placed(samples[1], TOGETHER)
    assert found(samples) == [(APART, list(range(3, 11))), ("placement not known", [1]), (TOGETHER, [2])]


def test_what_was_held_tells_policies_apart_not_what_was_asked_for(samples: list[Sample]) -> None:
    assert policy(replace(samples[0], idle=None)) == policy(asleep(samples[0])) == "system"
    samples[:2] = [asleep(samples[0]), awake(samples[1], 50)]
    assert found(samples) == [("awake (0 us)", list(range(3, 11))), ("system", [1]), ("awake (50 us)", [2])]


def test_rates_in_separate_groups_are_modes_the_slowest_first(samples: list[Sample]) -> None:
    fast = [times(sample, 1.9) if sample.round in (2, 5, 6) else sample for sample in samples]
    assert found(fast) == [("low rates", [1, 3, 4, 7, 8, 9, 10]), ("high rates", [2, 5, 6])]


def test_more_than_two_groups_have_a_rank(small_catalog: Catalog) -> None:
    plan = plan_of(small_catalog, variant="base", workload="tcp_rr", processes="1", rounds="24")
    three = [
        replace(sample, rate=Rate((1, 1.5, 20)[sample.round % 3] * (9000 + sample.round), sample.rate.unit))
        for sample in samples_of(plan)
        if sample.rate
    ]
    assert [label for label, _ in found(three)] == ["rates 1 of 3", "rates 2 of 3", "rates 3 of 3"]


def test_one_wild_round_and_a_stall_are_no_modes(samples: list[Sample]) -> None:
    assert len(found([times(samples[0], 9), *samples[1:]])) == 1
    stalled = [times(samples[0], 0), times(samples[1], 3), times(samples[2], 3), *samples[3:]]
    assert len(found(stalled)) == 1


def test_repeats_of_a_round_are_no_evidence_of_their_own(small_catalog: Catalog) -> None:
    """Rounds that differ by chance, measured ten times each, fall into tight heaps: that is no mode."""
    plan = plan_of(small_catalog, variant="base", workload="tcp_rr", processes="1", rounds="6", repeat="10")
    for seed in range(30):
        level = random.Random(seed)
        by_round = [level.gauss(1, 0.1) for _ in range(7)]
        heaps = [times(sample, by_round[sample.round]) for sample in samples_of(plan, noise=0.001, seed=seed)]
        assert len(found(heaps)) == 1, seed


def drawn(generator: random.Random, sample: Sample, rounds: int, cv: float, normal: bool, fast: float) -> list[Sample]:
    """A cell whose rates vary by `cv`, each 1.5 times as high with the probability `fast`."""
    values = [generator.gauss(1, cv) if normal else generator.lognormvariate(0, cv) for _ in range(rounds)]
    values = [value * (1.5 if generator.random() < fast else 1) for value in values]
    assert sample.rate is not None
    unit = sample.rate.unit
    return [replace(sample, round=at, rate=Rate(1e4 * value, unit)) for at, value in enumerate(values, 1)]


def named(generator: random.Random, sample: Sample, count: int, *, rounds: int, cv: float, **how: float) -> float:
    """The share of cells that are said to have modes."""
    normal, fast = bool(how.get("normal")), how.get("fast", 0.0)
    cells = (drawn(generator, sample, rounds, cv, normal, fast) for _ in range(count))
    return sum(len(modes(strata(cell))) > 1 for cell in cells) / count


@pytest.mark.parametrize("rounds", [6, 10, 20])
def test_at_most_two_of_a_hundred_cells_without_modes_are_said_to_have_some(samples: list[Sample], rounds: int) -> None:
    """The rule is made for one in a hundred."""
    generator = random.Random(rounds)
    for normal in (True, False):
        for cv in (0.02, 0.1):
            share = named(generator, samples[0], 1000, rounds=rounds, cv=cv, normal=normal)
            assert share <= 0.02, (normal, cv)
            assert share > 0 or cv < 0.1  # the test is not one that never speaks


def test_two_modes_of_70_to_30_are_named_by_their_rates_at_20_rounds(samples: list[Sample]) -> None:
    generator = random.Random(1)
    for cv in (0.02, 0.05):
        assert named(generator, samples[0], 400, rounds=20, cv=cv, fast=0.3) >= 0.95, cv


def test_two_placements_of_70_to_30_are_named_at_6_rounds_wherever_both_occur(samples: list[Sample]) -> None:
    generator = random.Random(2)
    for _ in range(100):
        cell = [placed(one, TOGETHER if generator.random() < 0.3 else APART) for one in samples[:6]]
        both = len({one.placement.mode for one in cell if one.placement}) == 2
        assert (len(modes(strata(cell))) == 2) is both
