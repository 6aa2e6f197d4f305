"""Comparisons of cells: pairing, the noise floor, verdicts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from labctl.catalog import Catalog
from labctl.plan.plan import Plan
from labctl.results.modes import strata
from labctl.results.ratios import Comparison, Verdict, compare
from labctl.samples.quantities import Rate
from labctl.samples.sample import Sample, Status
from tests.unit.synthetic import asleep, awake, placed, plan_of, samples_of, times


def by_cell(plan: Plan, samples: Iterable[Sample]) -> dict[str, list[Sample]]:
    cells: dict[str, list[Sample]] = {cell.id: [] for cell in plan.cells}
    for sample in samples:
        cells[sample.cell].append(sample)
    return cells


def compared(plan: Plan, samples: Iterable[Sample], reference: str | None = None) -> dict[str, Comparison]:
    """Comparisons of cells as a whole; those of modes by `<cell>: <mode>`."""
    parts = {cell: strata(found) for cell, found in by_cell(plan, samples).items()}
    return {
        ": ".join(filter(None, (cell, label))): one for (cell, label), one in compare(plan, parts, reference).items()
    }


@pytest.fixture
def plan(small_catalog: Catalog) -> Plan:
    return plan_of(small_catalog, variant="pods", workload="tcp_rr", processes="1", rounds="8")


def test_a_ratio_is_paired_by_round(plan: Plan) -> None:
    """The drift is 10 % and the noise 0.1 %: only paired do they leave the ratio this sharp."""
    one = compared(plan, samples_of(plan, noise=0.001))["pods.tcp_rr.1"]
    assert (one.reference, one.rounds, one.verdict) == ("base", 8, Verdict.LOWER)
    assert one.low is not None
    assert one.high is not None
    assert one.low < 0.75 < one.high
    assert one.high - one.low < 0.005
    assert one.hodges_lehmann == pytest.approx(0.75, abs=0.002)


def test_the_reference_itself_has_no_ratio(plan: Plan) -> None:
    assert set(compared(plan, samples_of(plan))) == {"pods.tcp_rr.1"}


def test_a_round_without_a_valid_sample_of_both_is_left_out(plan: Plan) -> None:
    samples = [
        replace(sample, status=Status.INVALID) if (sample.setup, sample.round) == ("base", 3) else sample
        for sample in samples_of(plan)
    ]
    assert compared(plan, samples)["pods.tcp_rr.1"].rounds == 7


def test_below_six_rounds_there_is_no_verdict(small_catalog: Catalog) -> None:
    plan = plan_of(small_catalog, variant="pods", workload="tcp_rr", processes="1", rounds="5")
    one = compared(plan, samples_of(plan))["pods.tcp_rr.1"]
    assert (one.low, one.high, one.p_value, one.verdict) == (None, None, None, None)
    assert one.ratio == pytest.approx(0.75, abs=0.05)


def test_an_interval_around_1_is_not_distinguishable(small_catalog: Catalog) -> None:
    plan = plan_of(small_catalog, variant="base,base-clean", workload="tcp_rr", processes="1", rounds="6")
    one = compared(plan, samples_of(plan, noise=0.3))["base-clean.tcp_rr.1"]
    assert one.low is not None
    assert one.high is not None
    assert one.low < 1 < one.high
    assert one.verdict is Verdict.UNCLEAR


def test_inside_the_noise_floor_is_not_distinguishable(small_catalog: Catalog) -> None:
    """A difference of 10 %, clear by itself, means nothing where the same setup differed from itself by 30 %."""
    options = {"variant": "base,base-clean,pods", "workload": "tcp_rr", "processes": "1", "rounds": "8"}
    plan = plan_of(small_catalog, noise_floor=True, **options)
    samples = samples_of(plan, noise=0.001)
    alone = compared(plan, samples)
    assert alone["base-clean.tcp_rr.1"].verdict is Verdict.HIGHER
    disturbed = [
        replace(sample, rate=Rate(sample.rate.value * 1.3, sample.rate.unit))
        if sample.setup == "base#2" and sample.rate
        else sample
        for sample in samples
    ]
    found = compared(plan, disturbed)
    assert found["base-clean.tcp_rr.1"].noise_floor == pytest.approx(1.3, abs=0.01)
    assert found["base-clean.tcp_rr.1"].verdict is Verdict.UNCLEAR
    # 0.75 lies outside 1/1.3 = 0.77 .. 1.3.
    assert found["pods.tcp_rr.1"].verdict is Verdict.LOWER


def test_the_pair_that_gives_the_floor_has_no_verdict(small_catalog: Catalog) -> None:
    plan = plan_of(small_catalog, variant="pods", workload="tcp_rr", processes="1", rounds="6", noise_floor=True)
    pair = compared(plan, samples_of(plan))["base#2.tcp_rr.1"]
    assert (pair.is_noise_floor, pair.verdict, pair.reference, pair.p_adjusted) == (True, None, "base", None)


def test_a_floor_holds_for_its_own_workload_and_processes(small_catalog: Catalog) -> None:
    plan = plan_of(small_catalog, variant="pods", workload="tcp_rr,tcp_crr", rounds="6", noise_floor=True)
    samples = [
        replace(sample, rate=Rate(sample.rate.value * 2, sample.rate.unit))
        if sample.cell == "base#2.tcp_crr.max" and sample.rate
        else sample
        for sample in samples_of(plan, noise=0.001)
    ]
    floors = {cell: one.noise_floor for cell, one in compared(plan, samples).items() if cell.startswith("pods")}
    assert floors["pods.tcp_crr.max"] == pytest.approx(2, abs=0.02)
    assert all(floor is not None and floor < 1.01 for cell, floor in floors.items() if cell != "pods.tcp_crr.max")


def test_verdicts_are_corrected_for_their_number(small_catalog: Catalog) -> None:
    plan = plan_of(small_catalog, variant="base,base-clean,pods", processes="1", rounds="6")
    found = compared(plan, samples_of(plan, noise=0.06))
    assert len(found) == 6
    smallest = min(found.values(), key=lambda one: one.p_value or 1)
    assert smallest.p_value is not None
    assert smallest.p_adjusted == pytest.approx(6 * smallest.p_value)
    # Clear by itself, not among six.
    unclear = [one for one in found.values() if one.p_value and one.p_value < 0.05 and one.verdict is Verdict.UNCLEAR]
    assert all(one.p_adjusted is not None and one.p_adjusted >= 0.05 for one in unclear)


def test_another_reference_can_be_named(small_catalog: Catalog) -> None:
    plan = plan_of(
        small_catalog, variant="base,base-clean,pods", workload="tcp_rr", processes="1", noise_floor=True, rounds="6"
    )
    found = compared(plan, samples_of(plan), reference="pods")
    assert {cell: one.reference for cell, one in found.items()} == {
        "base.tcp_rr.1": "pods",
        "base-clean.tcp_rr.1": "pods",
        "base#2.tcp_rr.1": "base",
    }


def test_a_stall_gives_no_ratio(plan: Plan) -> None:
    samples = samples_of(plan)
    assert samples[0].rate is not None
    samples[0] = replace(samples[0], rate=Rate(0.0, samples[0].rate.unit))
    assert compared(plan, samples) == {}


# Modes: a ratio is of one of them


TOGETHER, APART = "ends on the same CPUs", "ends on CPUs of their own"


def test_ends_that_ran_elsewhere_are_not_compared(plan: Plan) -> None:
    samples = [placed(one, APART if one.setup == "base" else TOGETHER) for one in samples_of(plan)]
    (one,) = compared(plan, samples).values()
    assert one == Comparison("base", 0, verdict=Verdict.MODES)
    unknown = [placed(one, None) if one.setup == "base" else one for one in samples]
    assert compared(plan, unknown)["pods.tcp_rr.1"].verdict is Verdict.LOWER


def test_no_ratio_mixes_policies(plan: Plan) -> None:
    samples = [awake(one) if one.setup == "base" else asleep(one) for one in samples_of(plan)]
    (one,) = compared(plan, samples).values()
    assert (one.verdict, one.ratio, one.rounds) == (Verdict.IDLE, None, 0)
    other_request = [awake(one, 2 if one.setup == "base" else 0) for one in samples]
    assert compared(plan, other_request)["pods.tcp_rr.1"].verdict is Verdict.IDLE
    alike = [awake(one) for one in samples]
    assert compared(plan, alike)["pods.tcp_rr.1"].verdict is Verdict.LOWER


def test_a_cell_of_two_placements_is_compared_placement_by_placement(small_catalog: Catalog) -> None:
    """Together everything is five times as fast: what is compared is what ran alike, in the same round."""
    plan = plan_of(small_catalog, variant="pods", workload="tcp_rr", processes="1", rounds="16")
    together = {"base": (1, 2), "pods": (1, 2, 3, 4, 5, 6, 7)}
    samples = [
        times(placed(one, TOGETHER), 5) if one.round in together[one.setup] else placed(one, APART)
        for one in samples_of(plan, noise=0.001)
    ]
    found = compared(plan, samples)
    assert found["pods.tcp_rr.1"] == Comparison("base", 0, verdict=Verdict.MODES)
    apart, alike = found[f"pods.tcp_rr.1: {APART}"], found[f"pods.tcp_rr.1: {TOGETHER}"]
    assert (apart.rounds, apart.verdict) == (9, Verdict.LOWER)
    assert apart.ratio == pytest.approx(0.75, abs=0.002)
    assert (alike.rounds, alike.low, alike.verdict) == (2, None, Verdict.MODES)
    assert alike.ratio == pytest.approx(0.75, abs=0.002)


def test_too_few_rounds_of_one_mode_are_no_silent_loss(small_catalog: Catalog) -> None:
    plan = plan_of(small_catalog, variant="pods", workload="tcp_rr", processes="1", rounds="8")
    samples = [
        placed(one, TOGETHER if one.setup == "base" and one.round < 4 else APART)
        for one in samples_of(plan, noise=0.001)
    ]
    one = compared(plan, samples)["pods.tcp_rr.1"]
    assert (one.rounds, one.low, one.verdict) == (5, None, Verdict.MODES)
    assert one.ratio == pytest.approx(0.75, abs=0.002)


def test_modes_that_never_met_in_a_round_are_not_compared(plan: Plan) -> None:
    samples = [placed(one, TOGETHER if (one.round < 5) == (one.setup == "base") else APART) for one in samples_of(plan)]
    assert {one.verdict for one in compared(plan, samples).values()} == {Verdict.MODES}


def test_a_placement_not_known_is_not_compared_with_two(plan: Plan) -> None:
    samples = [
        placed(one, None if one.setup == "pods" else TOGETHER if one.round < 5 else APART) for one in samples_of(plan)
    ]
    assert [one.verdict for one in compared(plan, samples).values()] == [Verdict.MODES]


@pytest.mark.parametrize("fast", [("pods",), ("base",)])
def test_rates_in_groups_are_not_compared_where_the_ratio_moves_with_them(plan: Plan, fast: tuple[str, ...]) -> None:
    samples = [times(one, 2) if one.setup in fast and one.round in (2, 3, 7) else one for one in samples_of(plan)]
    assert compared(plan, samples)["pods.tcp_rr.1"] == Comparison("base", 0, verdict=Verdict.MODES)


def test_rates_of_both_in_groups_at_other_times_are_not_compared(plan: Plan) -> None:
    rounds = {"pods": (2, 3, 7), "base": (3, 4, 8)}
    samples = [times(one, 2) if one.round in rounds[one.setup] else one for one in samples_of(plan)]
    assert compared(plan, samples)["pods.tcp_rr.1"].verdict is Verdict.MODES


def test_a_machine_that_got_faster_leaves_the_ratio_as_it_is(plan: Plan) -> None:
    samples = [times(one, 2) if one.round > 4 else one for one in samples_of(plan, noise=0.001)]
    one = compared(plan, samples)["pods.tcp_rr.1"]
    assert (one.rounds, one.verdict) == (8, Verdict.LOWER)
    assert one.ratio == pytest.approx(0.75, abs=0.002)


def test_an_aa_pair_of_different_modes_gives_no_floor(small_catalog: Catalog) -> None:
    plan = plan_of(small_catalog, variant="pods", workload="tcp_rr", processes="1", rounds="6", noise_floor=True)
    samples = [placed(one, TOGETHER if one.setup == "base#2" else APART) for one in samples_of(plan)]
    pair = compared(plan, samples)["base#2.tcp_rr.1"]
    assert (pair.is_noise_floor, pair.noise_floor, pair.verdict) == (True, None, Verdict.MODES)
