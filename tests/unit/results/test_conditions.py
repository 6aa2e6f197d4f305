"""Conditions of a cell: medians of what is known, the most that others took, and what was held."""

from __future__ import annotations

from dataclasses import replace

import pytest

from labctl.catalog import Catalog
from labctl.results import conditions
from labctl.results.conditions import Awake
from labctl.samples.sample import Sample, Status
from tests.unit.synthetic import asleep, awake, loaded, placed, plan_of, samples_of


@pytest.fixture
def samples(small_catalog: Catalog) -> list[Sample]:
    return samples_of(plan_of(small_catalog, variant="base", workload="tcp_rr", processes="1", rounds="4"))


def test_what_nobody_recorded_is_not_known(samples: list[Sample]) -> None:
    old = [replace(sample, idle=None, placement=None, load=()) for sample in samples]
    how = conditions.of(old)
    assert (how.idle, how.placement, how.others) == (("system",), (), ())
    assert {value for value in vars(how).values() if not isinstance(value, tuple)} == {None}
    assert conditions.awake(old) == Awake(4, 0, (), ())


def test_medians_of_what_is_known_and_the_most_that_others_took(samples: list[Sample]) -> None:
    first, second, third, fourth = samples
    taken = [awake(placed(first, "apart")), asleep(placed(second, "together")), placed(awake(third), "apart"), fourth]
    taken[2] = loaded(taken[2], 3.5, 0.2, "stress-ng (71) 2.9 %", "cc1 (88) 0.6 %")
    taken[3] = loaded(replace(taken[3], idle=None, placement=None), 1.0, None, "stress-ng (72) 1.0 %")
    how = conditions.of(taken)
    assert (how.idle, how.placement) == (("awake (0 us)", "system"), ("apart", "together"))
    assert (how.deep_entries_per_unit, how.deep_pct, how.rescheduling_per_unit) == (0.0, 0.1, 0.01)
    assert (how.client_switches_per_unit, how.server_switches_per_unit, how.together) == (1.0, 1.0, 0.0)
    assert (how.foreign_pct, how.steal_pct, how.others) == (3.5, 0.2, ("stress-ng", "cc1"))


def test_what_was_held_is_counted_over_the_samples_that_count(samples: list[Sample]) -> None:
    first, second, third, fourth = samples
    taken = [awake(first), awake(second, 2), asleep(third, "no right"), replace(awake(fourth), status=Status.INVALID)]
    assert conditions.awake(taken) == Awake(3, 2, (0, 2), ("no right",))
