"""What follows from readings, a window and CPU readings: units, latencies, CPU, and what work costs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from labctl.catalog import Unit
from labctl.samples import quantities, raw
from labctl.samples.cpu import CpuUse
from labctl.samples.quantities import Cpu, CpuCost, Latency, Range, Rate
from labctl.samples.raw import RawSample
from labctl.samples.window import Window
from labctl.tools import reading
from labctl.tools.reading import RateUnit, Reading
from tests.unit.samples.captures import CRR, FIXTURES

USE = CpuUse(2, 50.0, 10.0, 0.0, 30.0, 0.0, 10.0, 0.0, 50.0, 2.0, (10.0, 10.0), 100.0)
WINDOW = Window(100.0, 104.0, 4.0, 0.0)


def slept(p50: float | None, p99: float | None = None, **others: Any) -> Reading:
    """The reading of a process that says these latencies."""
    seen = reading.Latency(percentiles={50: p50, 99: p99}, **others)
    return Reading("prog", RateUnit.UNIT, 1.0, 1.0, latency=seen)


def test_megabits_become_gigabits_and_units_stay() -> None:
    assert quantities.in_workloads_unit(6294.5, RateUnit.MEGABIT) == 6.2945
    assert quantities.in_workloads_unit(6294.5, RateUnit.UNIT) == 6294.5


def test_one_process_has_what_its_program_says() -> None:
    found = quantities.latency([slept(70.0, 400.0, min=20.0, mean=80.0, max=9000.0, stddev=5.0)])
    assert found == Latency(min=20.0, mean=80.0, p50=70.0, p90=None, p99=400.0, max=9000.0, stddev=5.0)


def test_several_processes_have_the_range_of_what_all_say() -> None:
    found = quantities.latency([slept(70.0, 400.0, min=20.0), slept(60.0, min=25.0), slept(65.0, 300.0, min=5.0)])
    assert found == Latency(
        min=Range(5.0, 25.0), mean=None, p50=Range(60.0, 70.0), p90=None, p99=None, max=None, stddev=None
    )


def test_a_latency_of_zero_is_one() -> None:
    found = quantities.latency([slept(0.0), slept(3.0)])
    assert found.p50 == Range(0.0, 3.0)


@pytest.fixture
def captured() -> tuple[RawSample, Window]:
    """A captured sample and a window of two seconds within its test."""
    sample = raw.read(FIXTURES / CRR)
    assert sample.client is not None
    start = sample.client.ticks[3].t
    return sample, Window(start, start + 2, 2.0, 0.0)


def test_a_shared_kernel_is_one_machine(captured: tuple[RawSample, Window]) -> None:
    sample, window = captured
    used = quantities.cpu_use(sample, window)
    assert used.machine is not None
    assert used == Cpu(machine=used.machine)
    assert used.known == (used.machine,)
    assert used.machine.busy_core_s == pytest.approx(2 * window.seconds, rel=0.02), "both CPUs were busy"


def test_nodes_apart_have_each_their_own(captured: tuple[RawSample, Window]) -> None:
    sample, window = captured
    used = quantities.cpu_use(replace(sample, shared_kernel=False), window)
    assert used.machine is None
    assert used.client is not None
    assert used.server is not None
    assert used.known == (used.client, used.server)


def test_a_clock_offset_that_is_not_known_hides_the_server(captured: tuple[RawSample, Window]) -> None:
    sample, window = captured
    used = quantities.cpu_use(replace(sample, shared_kernel=False, clock_offset_s=None), window)
    assert (used.client is None, used.server) == (False, None)
    assert quantities.cost(used, Rate(1.0, Unit.GBIT), window) is None, "half of the cost is no cost"


def test_an_end_that_was_not_recorded_leaves_the_cpu_unknown(captured: tuple[RawSample, Window]) -> None:
    sample, window = captured
    assert quantities.cpu_use(replace(sample, server=None), window) == Cpu()


@pytest.mark.parametrize(
    ("rate", "cost"),
    [
        (Rate(4.0, Unit.GBIT), CpuCost(2.0 / 2, "core-s/GB")),  # 4 Gbit/s for 4 s: 2 GB
        (Rate(500.0, Unit.REQUESTS), CpuCost(2.0 / 2, "core-s/1k")),
        (Rate(250.0, Unit.CONNECTIONS), CpuCost(2.0, "core-s/1k")),
        (Rate(0.0, Unit.REQUESTS), None),
    ],
)
def test_cost_is_core_seconds_for_the_work_of_the_window(rate: Rate, cost: CpuCost | None) -> None:
    assert quantities.cost(Cpu(machine=USE), rate, WINDOW) == cost


def test_the_cost_of_both_ends_is_their_sum() -> None:
    both = Cpu(client=USE, server=replace(USE, busy_core_s=1.0))
    assert quantities.cost(both, Rate(250.0, Unit.REQUESTS), WINDOW) == CpuCost(3.0, "core-s/1k")
    assert quantities.cost(Cpu(client=USE), Rate(250.0, Unit.REQUESTS), WINDOW) is None
