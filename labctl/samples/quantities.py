"""The quantities of a sample and how they follow from its processes, its window and its CPU readings.

Pure functions. null (None) is "not known" or "does not apply", never 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

from labctl.catalog import Unit
from labctl.samples import cpu
from labctl.samples.cpu import CpuUse
from labctl.samples.raw import End, RawSample
from labctl.samples.window import Window
from labctl.tools.reading import RateUnit, Reading

CostUnit = Literal["core-s/GB", "core-s/1k"]


@dataclass(frozen=True)
class Rate:
    """The sum over the processes, each within the window."""

    value: float
    unit: Unit


@dataclass(frozen=True)
class Range:
    """The lowest and the highest value of any process."""

    low: float
    high: float


@dataclass(frozen=True)
class Latency:
    """What the tool says, in microseconds. Unlike rates it covers the whole test, warm-up included.

    Of several processes the range over them: percentiles cannot be merged without histograms.
    """

    min: float | Range | None
    mean: float | Range | None
    p50: float | Range | None
    p90: float | Range | None
    p99: float | Range | None
    max: float | Range | None
    stddev: float | Range | None


LATENCIES = tuple(field.name for field in fields(Latency))


@dataclass(frozen=True)
class Cpu:
    """CPU use within the window: of the machine where both nodes share a kernel, else of each end."""

    machine: CpuUse | None = None
    client: CpuUse | None = None
    server: CpuUse | None = None

    @property
    def known(self) -> tuple[CpuUse, ...]:
        """Those that are not None."""
        return tuple(use for use in (self.machine, self.client, self.server) if use is not None)


@dataclass(frozen=True)
class CpuCost:
    """CPU seconds of the machine, or of both ends together, per GB (10^9 bytes of payload) or 1000 transactions."""

    value: float
    unit: CostUnit


def in_workloads_unit(rate: float, unit: RateUnit) -> float:
    """A rate in a tool's unit as one in the workload's: Gbit/s, or requests or connections a second."""
    return rate / 1000 if unit is RateUnit.MEGABIT else rate


def latency(readings: Sequence[Reading]) -> Latency:
    """Of one process its own latencies; of several the range over the processes, None where one has none."""
    each = [one.latency for one in readings]
    percentiles = {f"p{n}": _over([one.percentiles.get(n) for one in each]) for n in (50, 90, 99)}
    others = {name: _over([getattr(one, name) for one in each]) for name in ("min", "mean", "max", "stddev")}
    return Latency(**percentiles, **others)


def _over(values: Sequence[float | None]) -> float | Range | None:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    return Range(min(known), max(known)) if len(known) > 1 else known[0]


def cpu_use(sample: RawSample, window: Window) -> Cpu:
    """CPU use of the machine or of both ends within the window, which is moved into the server's clock for it.

    The two nodes of a shared kernel read the same /proc/stat: what each of them uses is not known, and stays
    None. Raises CpuError.
    """
    client, server, offset = sample.client, sample.server, sample.clock_offset_s
    if client is None or server is None:
        return Cpu()
    if sample.shared_kernel:
        return Cpu(machine=_use(client, window, 0.0))
    if offset is None:
        return Cpu(client=_use(client, window, 0.0))
    return Cpu(client=_use(client, window, 0.0), server=_use(server, window, offset))


def _use(end: End, window: Window, offset_s: float) -> CpuUse:
    return cpu.use(end.ticks, window.start + offset_s, window.end + offset_s, end.hz, end.threads, end.source)


def cost(used: Cpu, rate: Rate, window: Window, others_s: float = 0.0) -> CpuCost | None:
    """CPU seconds per unit of work done in the window; None unless both ends are known, or nothing was done.

    `others_s` are seconds of them that were not spent for the test.
    """
    whole = used.machine is not None or (used.client is not None and used.server is not None)
    work = rate.value * window.seconds
    if not whole or work <= 0:
        return None
    busy_s = max(0.0, math.fsum(use.busy_core_s for use in used.known) - others_s)
    if rate.unit is Unit.GBIT:
        return CpuCost(busy_s / (work / 8), "core-s/GB")
    return CpuCost(busy_s / (work / 1000), "core-s/1k")
