"""What the samples of a run say, cell by cell. Derived: it can be deleted and made again at any time.

Only valid samples carry numbers; invalid and failed ones are counted and listed with their reasons. Where the samples
of a cell are of several modes (labctl.results.modes) each mode has its numbers, and the cell has none. Cells are
compared by their rates, paired by round (labctl.results.ratios).
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from labctl.catalog import Unit
from labctl.catalog.tunnel import Tunnel
from labctl.core.errors import LabctlError, Problem, UsageError
from labctl.core.records import suggestion
from labctl.plan.options import Pin
from labctl.plan.plan import Cell, Plan
from labctl.plan.setups import Setup
from labctl.results import conditions, stats
from labctl.results.conditions import Awake, Conditions, awake, median
from labctl.results.modes import Group, modes, strata
from labctl.results.ratios import Comparison, Key, compare
from labctl.results.stats import Spread
from labctl.runs.history import History
from labctl.samples.cpu import CpuUse
from labctl.samples.quantities import LATENCIES, CpuCost, Latency, Range
from labctl.samples.sample import Flag, Sample, Status


@dataclass(frozen=True)
class Busy:
    """CPU in percent of all threads, median over the samples: of the machine where the nodes share a kernel."""

    machine: float | None
    client: float | None
    server: float | None


@dataclass(frozen=True)
class Mode(Spread):
    """A mode of a cell: the spread of its rates, the rest as in Row, and how it compares with the same mode."""

    label: str
    latency_us: Latency | None
    cpu_busy_pct: Busy
    cpu_cost: CpuCost | None
    comparison: Comparison | None


@dataclass(frozen=True)
class Row:
    """One cell. Of `planned` samples `taken` are valid, invalid or failed; null is "not known", never 0.

    `rate` is over the valid samples, in `unit`. `latency_us` is one process's minimum, maximum and medians over
    the samples, or of several processes the lowest and highest of any process in any sample. `cpu_cost` is the
    median. Where there are `modes`, they have these numbers, and nothing that stands for all samples is known here.
    `flags` are how many of the valid samples have each, `unread` the fields that made one of them so.
    """

    cell: str
    setup: str
    workload: str
    processes: int
    processes_label: str
    unit: Unit
    planned: int
    taken: int
    valid: int
    invalid: int
    failed: int
    rate: Spread | None
    latency_us: Latency | None
    cpu_busy_pct: Busy
    cpu_cost: CpuCost | None
    comparison: Comparison | None
    modes: tuple[Mode, ...]
    conditions: Conditions
    flags: Mapping[Flag, int]
    unread: tuple[str, ...] = ()

    @property
    def parts(self) -> tuple[Row | Mode, ...]:
        """The cell as a whole, and below it its modes."""
        return (self, *self.modes)


@dataclass(frozen=True)
class Sizes:
    """What fits into a packet of a setup, in bytes. `overhead` is what a tunnel takes of the link's MTU, 0 without one.

    Measured by its valid samples: `mss`, None where they differ or none tells; `bytes_per_packet`, the mean on the
    cable, both directions and all headers, by workload; `hottest_softirq_pct`, the median over the samples of the
    busiest CPU's time in softirq, on either end: a tunnel has one flow, and may keep one CPU busy while others idle.
    """

    setup: str
    tunnel: Tunnel | None
    link_mtu: int
    overhead: int
    endpoint_mtu: int
    mss: int | None
    bytes_per_packet: dict[str, float]
    hottest_softirq_pct: float | None


@dataclass(frozen=True)
class Unusable:
    """A sample that carries no number that counts, and why."""

    sample: str
    status: Status
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Summary:
    """A run as rows, in the plan's order. `reference` is the setup all were compared with, where one was named.

    `emulated`, `idle`, `steal_limit_pct` and `pin` as in the plan. `shared_kernel` says whether the nodes are one
    machine; null where no sample could tell.
    """

    schema: Literal["labctl.summary/1"]
    run: str
    lab: str
    quick: bool
    emulated: bool
    rounds: int
    repeat: int
    duration_s: float
    idle: str
    steal_limit_pct: float
    awake: Awake
    pin: Pin
    shared_kernel: bool | None
    reference: str | None
    rows: tuple[Row, ...]
    sizes: tuple[Sizes, ...]
    unusable: tuple[Unusable, ...]
    history: History


def summarise(
    plan: Plan,
    samples: Iterable[Sample],
    reference: str | None = None,
    damaged: Mapping[str, tuple[str, ...]] | None = None,
    history: History | None = None,
) -> Summary:
    """The summary of those samples of a plan that are there.

    `reference` compares every setup with this one instead of its own reference. `damaged` says why a sample of
    this id cannot be read: it counts as failed. `history` is what else happened to the run. Raises UsageError where
    the plan has no such setup.
    """
    setups = [setup.id for setup in plan.setups]
    if reference is not None and reference not in setups:
        hint = suggestion(reference, setups)
        raise UsageError(Problem("the run has no such setup", "--reference", repr(reference), hint))
    by_cell: dict[str, list[Sample]] = {cell.id: [] for cell in plan.cells}
    for sample in sorted(samples, key=lambda sample: (sample.round, sample.n)):
        by_cell[sample.cell].append(sample)
    lost: dict[str, list[Unusable]] = {cell.id: [] for cell in plan.cells}
    for sample_id, reasons in (damaged or {}).items():
        lost[sample_id.rpartition("/")[0]].append(Unusable(sample_id, Status.FAILED, reasons))
    everything = [sample for ordered in by_cell.values() for sample in ordered]
    kernels = {sample.shared_kernel for sample in everything}
    parts = {cell: strata(ordered) for cell, ordered in by_cell.items()}
    comparisons = compare(plan, parts, reference)
    return Summary(
        schema="labctl.summary/1",
        run=plan.id,
        lab=plan.lab.name,
        quick=plan.quick,
        emulated=plan.lab.emulated,
        rounds=plan.rounds,
        repeat=plan.repeat,
        duration_s=plan.duration_s,
        idle=plan.idle,
        steal_limit_pct=plan.steal_limit_pct,
        awake=awake(everything),
        pin=plan.pin,
        shared_kernel=next(iter(kernels - {None}), None),
        reference=reference,
        rows=tuple(
            _row(plan, cell, by_cell[cell.id], lost[cell.id], modes(parts[cell.id]), comparisons) for cell in plan.cells
        ),
        sizes=sizes_of(plan, everything),
        unusable=tuple(one for cell in plan.cells for one in (*_unusable(by_cell[cell.id]), *lost[cell.id])),
        history=history or History(),
    )


def _unusable(samples: Iterable[Sample]) -> list[Unusable]:
    return [Unusable(one.id, one.status, one.reasons) for one in samples if one.status is not Status.VALID]


def _row(
    plan: Plan,
    cell: Cell,
    samples: Sequence[Sample],
    lost: Sequence[Unusable],
    groups: Sequence[Group],
    comparisons: Mapping[Key, Comparison],
) -> Row:
    valid = [sample for sample in samples if sample.status is Status.VALID]
    counts = Counter(flag for sample in valid for flag in sample.flags)
    several = tuple(_mode(group, comparisons.get((cell.id, group.label))) for group in groups if len(groups) > 1)
    of_all = _numbers(() if several else valid)
    rate = _spread(valid)
    return Row(
        cell=cell.id,
        setup=cell.setup,
        workload=cell.workload,
        processes=cell.count,
        processes_label=cell.processes_label,
        unit=next(workload.unit for workload in plan.workloads if workload.name == cell.workload),
        planned=plan.rounds * plan.repeat,
        taken=len(samples) + len(lost),
        valid=len(valid),
        invalid=sum(sample.status is Status.INVALID for sample in samples),
        failed=sum(sample.status is Status.FAILED for sample in samples) + len(lost),
        rate=replace(rate, median=None, mean=None, cv_pct=None) if rate and several else rate,
        latency_us=of_all.latency_us,
        cpu_busy_pct=of_all.cpu_busy_pct,
        cpu_cost=of_all.cpu_cost,
        comparison=comparisons.get((cell.id, "")),
        modes=several,
        conditions=conditions.of(valid),
        flags={flag: counts[flag] for flag in Flag if flag in counts},
        unread=tuple(sorted({_field(name) for sample in valid for name in sample.unread})),
    )


def _field(name: str) -> str:
    """What was not read, whichever file and value it had."""
    return name.partition(":")[2].partition("=")[0]


def _mode(group: Group, comparison: Comparison | None) -> Mode:
    rate, numbers = _spread(group.samples), _numbers(group.samples)
    if rate is None:
        raise LabctlError(Problem("a mode without a rate", group.label))
    return Mode(**vars(rate), label=group.label, **vars(numbers), comparison=comparison)


@dataclass(frozen=True)
class _Numbers:
    """What a row or a mode has besides its rates."""

    latency_us: Latency | None
    cpu_busy_pct: Busy
    cpu_cost: CpuCost | None


def _numbers(valid: Sequence[Sample]) -> _Numbers:
    costs = [sample.cpu_cost for sample in valid if sample.cpu_cost is not None]
    cpus = [sample.cpu for sample in valid]
    return _Numbers(
        latency_us=_latency(valid),
        cpu_busy_pct=Busy(**{name: _busy(getattr(cpu, name) for cpu in cpus) for name in Busy.__annotations__}),
        cpu_cost=CpuCost(statistics.median(cost.value for cost in costs), costs[0].unit) if costs else None,
    )


def _spread(samples: Iterable[Sample]) -> Spread | None:
    return stats.spread([sample.rate.value for sample in samples if sample.rate is not None])


def _latency(samples: Iterable[Sample]) -> Latency | None:
    """The latency of a cell: of one process, or the range over several."""
    found = [sample.latency_us for sample in samples if sample.latency_us is not None]
    over = {name: _merged(name, [getattr(one, name) for one in found]) for name in LATENCIES}
    return Latency(**over) if found else None


def _merged(name: str, values: Iterable[float | Range | None]) -> float | Range | None:
    """A latency over the samples: from the lowest to the highest where processes have a range, else as `Row` says.

    Percentiles of processes or samples can be neither averaged nor merged.
    """
    known = [value for value in values if value is not None]
    ranges = [value for value in known if isinstance(value, Range)]
    if ranges:
        return Range(min(one.low for one in ranges), max(one.high for one in ranges))
    single = [value for value in known if not isinstance(value, Range)]
    choose = {"min": min, "max": max}.get(name, statistics.median)
    return choose(single) if single else None


def _busy(uses: Iterable[CpuUse | None]) -> float | None:
    return median(use.busy_pct for use in uses if use is not None)


def sizes_of(plan: Plan, samples: Iterable[Sample]) -> tuple[Sizes, ...]:
    """The sizes of every setup, in the plan's order."""
    valid = [sample for sample in samples if sample.status is Status.VALID]
    return tuple(_sizes(setup, [one for one in valid if one.setup == setup.id]) for setup in plan.setups)


def _sizes(setup: Setup, samples: list[Sample]) -> Sizes:
    endpoint = setup.endpoint_mtu or setup.mtu
    seen = {sample.mss for sample in samples}
    on_cable: dict[str, list[float]] = {}
    for sample in samples:
        if sample.wire is not None and sample.wire.bytes_per_packet is not None:
            on_cable.setdefault(sample.workload, []).append(sample.wire.bytes_per_packet)
    hottest = [max(max(use.softirq_by_cpu) for use in sample.cpu.known) for sample in samples if sample.cpu.known]
    return Sizes(
        setup=setup.id,
        tunnel=setup.tunnel,
        link_mtu=setup.mtu,
        overhead=setup.mtu - endpoint,
        endpoint_mtu=endpoint,
        mss=seen.pop() if len(seen) == 1 else None,
        bytes_per_packet={workload: statistics.median(values) for workload, values in on_cable.items()},
        hottest_softirq_pct=statistics.median(hottest) if hottest else None,
    )
