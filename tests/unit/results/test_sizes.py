"""What fits into a packet of each setup, and what its valid samples saw of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from labctl.catalog import Catalog, Unit
from labctl.catalog.tunnel import Tunnel
from labctl.plan.plan import Plan
from labctl.plan.visit import all_samples
from labctl.results.sizes import sizes_of
from labctl.samples.quantities import Cpu
from labctl.samples.sample import Sample, Status
from labctl.samples.validity import Wire
from tests.unit.synthetic import busy, plan_of, sample_of


@pytest.fixture
def plan(small_catalog: Catalog) -> Plan:
    """A setup in the clear and one in a tunnel, three rounds."""
    cells = {"workload": "tcp_stream", "processes": "1", "rounds": "3"}
    return plan_of(small_catalog, variant="base", encryption="none,wireguard", **cells)


@pytest.fixture
def clear(plan: Plan) -> list[Sample]:
    return [sample_of(planned, 7.0, Unit.GBIT) for planned in all_samples(plan) if planned.setup == "base"]


def wired(sample: Sample, bytes_per_packet: float | None) -> Sample:
    return replace(sample, wire=Wire(1000, 1, bytes_per_packet, 1000.0, 1.0))


def test_a_tunnel_takes_of_the_links_mtu_and_a_setup_without_samples_saw_nothing(plan: Plan) -> None:
    clear, inside = sizes_of(plan, [])
    assert (clear.setup, clear.tunnel, clear.link_mtu, clear.overhead, clear.endpoint_mtu) == (
        *("base", None, 1500, 0, 1500),
    )
    assert (inside.tunnel, inside.link_mtu, inside.overhead, inside.endpoint_mtu) == (Tunnel.KERNEL, 1500, 60, 1440)
    for sizes in (clear, inside):
        assert (sizes.mss, sizes.bytes_per_packet, sizes.hottest_softirq_pct) == (None, {}, None)


def test_what_samples_saw_is_the_median_of_those_that_count_and_tell(plan: Plan, clear: list[Sample]) -> None:
    first, second, third = clear
    void = replace(wired(third, 9000.0), id="void", status=Status.INVALID, mss=9)
    sizes = sizes_of(plan, [wired(first, 700.0), wired(second, 900.0), wired(third, None), third, void])[0]
    assert sizes.bytes_per_packet == {"tcp_stream": 800.0}
    assert sizes.mss == 1448


def test_segments_of_several_sizes_have_no_one_size(plan: Plan, clear: list[Sample]) -> None:
    assert sizes_of(plan, clear)[0].mss == 1448
    assert sizes_of(plan, [clear[0], replace(clear[1], mss=1400)])[0].mss is None


def test_the_hottest_cpu_of_either_end_is_told(plan: Plan, clear: list[Sample]) -> None:
    ends = [
        Cpu(
            client=replace(busy(50.0), softirq_by_cpu=(1.0, hot)),
            server=replace(busy(50.0), softirq_by_cpu=(20.0, 3.0)),
        )
        for hot in (90.0, 80.0, 5.0)
    ]
    samples = [replace(sample, cpu=cpu) for sample, cpu in zip(clear, ends, strict=True)]
    assert sizes_of(plan, samples)[0].hottest_softirq_pct == 80.0
    assert sizes_of(plan, [replace(samples[0], cpu=Cpu())])[0].hottest_softirq_pct is None
