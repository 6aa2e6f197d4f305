"""Summaries: what counts, what is counted, and that nothing missing becomes a number."""

from __future__ import annotations

import json
import statistics
from dataclasses import replace

import pytest

from labctl.catalog import Catalog, Unit
from labctl.catalog.tunnel import Tunnel
from labctl.core.errors import Problem, UsageError
from labctl.core.records import encode
from labctl.plan.plan import Plan
from labctl.plan.visit import all_samples
from labctl.results.summary import Busy, Row, Summary, Unusable, sizes_of, summarise
from labctl.samples.quantities import Cpu, Latency, Range
from labctl.samples.sample import Flag, Sample, Status
from labctl.samples.validity import Wire
from tests.unit.synthetic import busy, plan_of, sample_of, samples_of


@pytest.fixture
def plan(small_catalog: Catalog) -> Plan:
    return plan_of(small_catalog, variant="base", workload="tcp_rr", rounds="3", repeat="2")


def row(summary: Summary, cell: str) -> Row:
    return next(row for row in summary.rows if row.cell == cell)


def test_a_row_is_the_valid_samples_of_its_cell(plan: Plan) -> None:
    samples = samples_of(plan)
    rates = [sample.rate.value for sample in samples if sample.cell == "base.tcp_rr.1" and sample.rate]
    one = row(summarise(plan, samples), "base.tcp_rr.1")
    assert (one.planned, one.taken, one.valid, one.invalid, one.failed) == (6, 6, 6, 0, 0)
    assert one.rate is not None
    assert (one.rate.n, one.rate.min, one.rate.max) == (6, min(rates), max(rates))
    assert one.rate.median == statistics.median(rates)
    assert one.rate.mean == pytest.approx(statistics.fmean(rates))
    assert one.unit == "requests/s"


def test_rows_come_in_the_order_of_the_plan_whatever_the_order_of_samples(plan: Plan) -> None:
    samples = samples_of(plan)
    assert summarise(plan, samples[::-1]) == summarise(plan, samples)
    assert [one.cell for one in summarise(plan, samples).rows] == [cell.id for cell in plan.cells]


def test_invalid_and_failed_samples_are_counted_listed_and_not_used(plan: Plan) -> None:
    samples = [sample for sample in samples_of(plan) if sample.cell == "base.tcp_rr.1"]
    samples[0] = replace(samples[0], status=Status.INVALID, reasons=("the bytes went another way",))
    samples[1] = replace(samples[1], status=Status.FAILED, rate=None, reasons=("netperf exited 1", "no route"))
    summary = summarise(plan, samples[:5])
    one = row(summary, "base.tcp_rr.1")
    assert (one.planned, one.taken, one.valid, one.invalid, one.failed) == (6, 5, 3, 1, 1)
    assert one.rate is not None
    assert one.rate.n == 3
    assert summary.unusable == (
        Unusable("base.tcp_rr.1/1-1", Status.INVALID, ("the bytes went another way",)),
        Unusable("base.tcp_rr.1/1-2", Status.FAILED, ("netperf exited 1", "no route")),
    )


def test_a_damaged_sample_counts_as_failed(plan: Plan) -> None:
    samples = samples_of(plan)
    damaged = {samples[0].id: ("a raw file is not valid JSON (client.json)",)}
    summary = summarise(plan, samples[1:], damaged=damaged)
    one = row(summary, samples[0].cell)
    assert (one.taken, one.valid, one.failed) == (6, 5, 1)
    assert summary.unusable == (Unusable(samples[0].id, Status.FAILED, damaged[samples[0].id]),)


def test_a_cell_without_samples_has_nulls_not_zeros(plan: Plan) -> None:
    one = row(summarise(plan, []), "base.tcp_rr.max")
    assert (one.taken, one.valid) == (0, 0)
    assert (one.rate, one.latency_us, one.cpu_cost, one.comparison) == (None, None, None, None)
    assert one.cpu_busy_pct == Busy(None, None, None)
    assert "0" not in json.dumps(encode(summarise(plan, []))["rows"][0]["cpu_busy_pct"])


def test_latency_of_one_process_is_the_median_between_the_extremes(plan: Plan) -> None:
    latencies = [
        Latency(5, 10, 9, 12, 20, 90, 1),
        Latency(4, 12, 11, 14, 22, 80, 3),
        Latency(6, 11, 10, None, 21, 99, 2),
    ]
    samples = [sample for sample in samples_of(plan) if sample.cell == "base.tcp_rr.1"][:3]
    samples = [replace(sample, latency_us=one) for sample, one in zip(samples, latencies, strict=True)]
    assert row(summarise(plan, samples), "base.tcp_rr.1").latency_us == Latency(4, 11, 10, 13, 21, 99, 2)


def test_latency_of_several_processes_is_the_range_over_all(plan: Plan) -> None:
    blank = Latency(None, None, None, None, None, None, None)
    ranges = [replace(blank, p50=Range(10, 12)), replace(blank, p50=Range(9, 11), p99=Range(20, 30)), blank]
    samples = [sample for sample in samples_of(plan) if sample.cell == "base.tcp_rr.max"][:3]
    samples = [replace(sample, latency_us=one) for sample, one in zip(samples, ranges, strict=True)]
    assert row(summarise(plan, samples), "base.tcp_rr.max").latency_us == replace(
        blank, p50=Range(9, 12), p99=Range(20, 30)
    )


def test_cpu_is_the_median_of_what_is_known(plan: Plan) -> None:
    samples = [sample for sample in samples_of(plan) if sample.cell == "base.tcp_rr.1"][:3]
    cpus = [Cpu(client=busy(40), server=busy(50)), Cpu(), Cpu(client=busy(44))]
    samples = [replace(sample, cpu=cpu) for sample, cpu in zip(samples, cpus, strict=True)]
    assert row(summarise(plan, samples), "base.tcp_rr.1").cpu_busy_pct == Busy(None, 42, 50)


def test_flags_of_valid_samples_are_counted(plan: Plan) -> None:
    samples = samples_of(plan)
    samples[0] = replace(samples[0], flags=(Flag.STEAL, Flag.INDICATIVE))
    samples[1] = replace(samples[1], status=Status.FAILED, flags=(Flag.CPU_UNKNOWN,))
    flags = row(summarise(plan, samples), samples[0].cell).flags
    assert list(flags.items()) == [(Flag.INDICATIVE, 5 if samples[0].cell == samples[1].cell else 6), (Flag.STEAL, 1)]


def test_a_shared_kernel_is_said(plan: Plan) -> None:
    samples = samples_of(plan)
    assert summarise(plan, samples).shared_kernel is True
    apart: list[Sample] = [replace(sample, shared_kernel=False) for sample in samples]
    assert summarise(plan, apart).shared_kernel is False
    assert summarise(plan, []).shared_kernel is None


def test_an_unknown_reference_is_refused(plan: Plan) -> None:
    with pytest.raises(UsageError) as raised:
        summarise(plan, [], reference="bas")
    assert raised.value.problems == (
        Problem("the run has no such setup", "--reference", "'bas'", "did you mean base? known: base"),
    )


def test_the_summary_is_plain_json(plan: Plan) -> None:
    summary = summarise(plan, samples_of(plan))
    data = json.loads(json.dumps(encode(summary)))
    assert (data["schema"], data["run"], data["lab"]) == ("labctl.summary/1", plan.id, "local")
    assert data["rows"][0]["rate"]["n"] == 6


# What fits into a packet


@pytest.fixture
def tunnelled(small_catalog: Catalog) -> Plan:
    """A setup in the clear and one in a tunnel, three rounds."""
    cells = {"workload": "tcp_stream", "processes": "1", "rounds": "3"}
    return plan_of(small_catalog, variant="base", encryption="none,wireguard", **cells)


@pytest.fixture
def clear(tunnelled: Plan) -> list[Sample]:
    return [sample_of(planned, 7.0, Unit.GBIT) for planned in all_samples(tunnelled) if planned.setup == "base"]


def wired(sample: Sample, bytes_per_packet: float | None) -> Sample:
    return replace(sample, wire=Wire(1000, 1, bytes_per_packet, 1000.0, 1.0))


def test_a_tunnel_takes_of_the_links_mtu_and_a_setup_without_samples_saw_nothing(tunnelled: Plan) -> None:
    clear, inside = sizes_of(tunnelled, [])
    assert (clear.setup, clear.tunnel, clear.link_mtu, clear.overhead, clear.endpoint_mtu) == (
        *("base", None, 1500, 0, 1500),
    )
    assert (inside.tunnel, inside.link_mtu, inside.overhead, inside.endpoint_mtu) == (Tunnel.KERNEL, 1500, 60, 1440)
    for sizes in (clear, inside):
        assert (sizes.mss, sizes.bytes_per_packet, sizes.hottest_softirq_pct) == (None, {}, None)


def test_what_samples_saw_is_the_median_of_those_that_count_and_tell(tunnelled: Plan, clear: list[Sample]) -> None:
    first, second, third = clear
    void = replace(wired(third, 9000.0), id="void", status=Status.INVALID, mss=9)
    sizes = sizes_of(tunnelled, [wired(first, 700.0), wired(second, 900.0), wired(third, None), third, void])[0]
    assert sizes.bytes_per_packet == {"tcp_stream": 800.0}
    assert sizes.mss == 1448


def test_segments_of_several_sizes_have_no_one_size(tunnelled: Plan, clear: list[Sample]) -> None:
    assert sizes_of(tunnelled, clear)[0].mss == 1448
    assert sizes_of(tunnelled, [clear[0], replace(clear[1], mss=1400)])[0].mss is None


def test_the_hottest_cpu_of_either_end_is_told(tunnelled: Plan, clear: list[Sample]) -> None:
    ends = [
        Cpu(
            client=replace(busy(50.0), softirq_by_cpu=(1.0, hot)),
            server=replace(busy(50.0), softirq_by_cpu=(20.0, 3.0)),
        )
        for hot in (90.0, 80.0, 5.0)
    ]
    samples = [replace(sample, cpu=cpu) for sample, cpu in zip(clear, ends, strict=True)]
    assert sizes_of(tunnelled, samples)[0].hottest_softirq_pct == 80.0
    assert sizes_of(tunnelled, [replace(samples[0], cpu=Cpu())])[0].hottest_softirq_pct is None
