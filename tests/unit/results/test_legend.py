"""How to read the tables: what occurs in them is explained, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from labctl.catalog import Catalog
from labctl.core.tables import render
from labctl.plan.plan import Plan
from labctl.results.legend import FLAG_TEXTS, WITHHELD, legend
from labctl.results.ratios import Verdict
from labctl.results.summary import summarise
from labctl.results.tables import document
from labctl.samples.sample import Flag
from tests.unit.synthetic import asleep, awake, placed, plan_of, samples_of


@pytest.fixture
def plan(small_catalog: Catalog) -> Plan:
    return plan_of(small_catalog, variant="pods", workload="tcp_rr", processes="1", rounds="6")


def test_every_flag_is_explained_where_it_occurs(plan: Plan) -> None:
    assert set(FLAG_TEXTS) == set(Flag)
    first, *others = (replace(sample, flags=()) for sample in samples_of(plan))
    for flag, text in FLAG_TEXTS.items():
        lines = legend(summarise(plan, [replace(first, flags=(flag,)), *others])).splitlines()
        assert f"{flag.replace('_', ' ')}: {text}." in lines
    assert not any(text in legend(summarise(plan, [first, *others])) for text in FLAG_TEXTS.values())


def test_what_every_sample_of_a_run_has_is_said_once_if_it_says_nothing_of_a_row(plan: Plan) -> None:
    samples = [replace(sample, flags=(Flag.INDICATIVE, Flag.FOREIGN_LOAD)) for sample in samples_of(plan)]
    text = render(document(summarise(plan, samples)))
    assert "indicative (every sample): measured over less than 30 s." in text.splitlines()
    assert "indicative 6/6" not in " ".join(text.split())
    assert " ".join(text.split()).count("foreign load 6/6") == 2
    without = [replace(samples[0], flags=()), *samples[1:]]
    text = " ".join(render(document(summarise(plan, without))).split())
    assert ("indicative 5/6" in text, "indicative 6/6" in text, "(every sample)" in text) == (True, True, False)


def test_percentiles_are_said_to_be_whole_microseconds_of_the_whole_test(plan: Plan) -> None:
    samples = samples_of(plan)
    assert "over the whole test" in legend(summarise(plan, samples))
    assert "whole microseconds" in legend(summarise(plan, samples))
    assert "microseconds" not in legend(summarise(plan, [replace(one, latency_us=None) for one in samples]))


def test_why_cells_are_not_compared_is_said_and_no_interval_is_explained(plan: Plan) -> None:
    pods = [placed(one, "ends on CPUs of their own" if one.setup == "base" else "one CPU") for one in samples_of(plan)]
    lines = legend(summarise(plan, pods)).splitlines()
    assert WITHHELD[Verdict.MODES] in lines
    assert not any(line.startswith("ratio:") for line in lines)
    apart = [awake(one) if one.setup == "base" else asleep(one) for one in samples_of(plan)]
    assert WITHHELD[Verdict.IDLE] in legend(summarise(plan, apart)).splitlines()
    assert not any(text in legend(summarise(plan, samples_of(plan))) for text in WITHHELD.values())
