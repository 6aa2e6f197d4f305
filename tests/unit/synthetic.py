"""Synthetic plans and samples: typed records with chosen numbers, for what is computed from samples."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from labctl.catalog import Catalog, Unit
from labctl.catalog.lab import LabFacts
from labctl.plan.options import RawOptions, parse_options
from labctl.plan.plan import Plan, build
from labctl.plan.visit import PlannedSample, all_samples
from labctl.samples.conditions import Idle, Load, Placement
from labctl.samples.cpu import CpuUse
from labctl.samples.quantities import Cpu, CpuCost, Latency, Range, Rate
from labctl.samples.sample import EndCounters, Flag, Sample, Status

LAB = LabFacts("local", "local", "node1", "node2", 2)
LEVELS = {"tcp_stream": 7.0, "tcp_rr": 25000.0, "tcp_crr": 8000.0}
FACTORS = {"base": 1.0, "base#2": 1.0, "base-clean": 1.1, "pods": 0.75}


def plan_of(catalog: Catalog, **raw: object) -> Plan:
    options = parse_options(RawOptions.of(**{"seed": "1", **raw}), catalog)
    return build(options, catalog, LAB, datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC))


def busy(pct: float) -> CpuUse:
    return CpuUse(2, pct, 1.0, 0.0, pct - 3, 0.0, 2.0, 0.0, 100 - pct, 2 * pct / 10, (2.0, 2.0), 100.0)


def sample_of(planned: PlannedSample, rate: float, unit: Unit) -> Sample:
    us = 1e6 / rate if unit is not Unit.GBIT else None
    single = us and Latency(us / 2, us, us, us * 1.2, us * 2, us * 9, us / 5)
    both = us and {name: Range(us * low, us * 2 * low) for name, low in (("p50", 1.0), ("p90", 1.2), ("p99", 2.0))}
    several = both and Latency(min=None, mean=None, max=None, stddev=None, **both)
    cost = CpuCost(3.0, "core-s/GB") if unit is Unit.GBIT else CpuCost(1000 / rate, "core-s/1k")
    return Sample(
        schema="labctl.sample/1",
        id=planned.id,
        setup=planned.setup,
        cell=planned.cell,
        workload=planned.workload,
        processes=planned.processes,
        processes_label=planned.processes_label,
        round=planned.round,
        n=planned.n,
        status=Status.VALID,
        reasons=(),
        flags=(Flag.INDICATIVE,),
        rate=Rate(rate, unit),
        per_process=(rate / planned.processes,) * planned.processes,
        latency_us=(single if planned.processes == 1 else several) or None,
        cpu=Cpu(machine=busy(55.0)),
        cpu_cost=cost,
        mss=1448,
        congestion_control="cubic",
        send_size=1,
        recv_size=1,
        counters=EndCounters({}, {}),
        clock_offset_s=0.0,
        shared_kernel=True,
        idle=Idle("awake", 0, True, "haltpoll", None, 0.0, 0.1, 0.01, 1.0, 1.0),
        placement=Placement({"0": 1.0}, {"1": 1.0}, {}, {}, (0,), (1,), 0.0, "ends on CPUs of their own"),
        load=(Load("machine", "controller", 0.4, 0.0, ()),),
    )


def placed(sample: Sample, mode: str | None) -> Sample:
    """The sample in a placement of this name; None where it is not known."""
    known = sample.placement or Placement({"0": 1.0}, {"1": 1.0}, {}, {}, None, None, 0.0, "")
    return replace(sample, placement=None if mode is None else replace(known, mode=mode))


def asleep(sample: Sample, why: str = "no right to /dev/cpu_dma_latency") -> Sample:
    """The sample without a latency request."""
    return replace(sample, idle=Idle("awake", None, False, "haltpoll", why, 1.9, 70.0, 1.0, 2.0, 2.0))


def awake(sample: Sample, latency_us: int = 0) -> Sample:
    """The sample with a latency request held."""
    return replace(sample, idle=Idle("awake", latency_us, True, "haltpoll", None, 0.0, 0.1, 0.01, 1.0, 1.0))


def loaded(sample: Sample, foreign_pct: float | None, steal_pct: float | None, *top: str) -> Sample:
    """The sample with something beside it."""
    return replace(sample, load=(Load("machine", "controller", foreign_pct, steal_pct, top),))


def times(sample: Sample, factor: float) -> Sample:
    """The sample at another rate."""
    assert sample.rate is not None
    return replace(sample, rate=replace(sample.rate, value=sample.rate.value * factor))


def samples_of(plan: Plan, noise: float = 0.02, seed: int = 7) -> list[Sample]:
    """A valid sample for everything planned: a level per workload, a factor per setup, a drift per round, noise."""
    generator = random.Random(seed)
    units = {workload.name: workload.unit for workload in plan.workloads}
    drift = {number: math.exp(0.1 * math.sin(number)) for number in range(1, plan.rounds + 1)}
    return [
        sample_of(
            planned,
            LEVELS[planned.workload]
            * FACTORS[planned.setup]
            * drift[planned.round]
            * generator.lognormvariate(0, noise),
            units[planned.workload],
        )
        for planned in all_samples(plan)
    ]


def write_catalog(directory: Path, variants: Mapping[str, str], workloads: str, editions: str) -> None:
    """Write the files of a catalog; `variants` by role."""
    files = {f"variants/{role}.yml": content for role, content in variants.items()}
    for name, content in {**files, "workloads/netperf.yml": workloads, "editions/kubernetes.yml": editions}.items():
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
