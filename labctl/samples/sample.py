"""One sample as a typed record, derived from its raw folder. Derived: it can be deleted and made again.

`valid` samples carry numbers that count. `invalid` ones were measured, and something voids them; their numbers
are kept for a person to look at. `failed` ones have no numbers. Both say why in `reasons`. Times are seconds,
epochs by the client's clock; null is "not known" or "does not apply", never 0 (docs/run-folder.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Literal

from labctl import catalog, tools
from labctl.catalog import Workload
from labctl.core.errors import LabctlError, Problem
from labctl.core.records import suggestion
from labctl.samples import conditions, quantities, raw, window
from labctl.samples import validity as checks
from labctl.samples.conditions import Idle, Load, Placement
from labctl.samples.cpu import CpuError
from labctl.samples.quantities import Cpu, CpuCost, Latency, Rate
from labctl.samples.raw import Process, RawSample, common
from labctl.samples.validity import Link, Wire
from labctl.samples.window import Window, WindowError
from labctl.tools.reading import Reading
from labctl.tools.tool import Tool, ToolError

INDICATIVE_BELOW_S = 30.0
SKEW_GRACE_S = 0.5  # a window planned at 30 s loses the start skew of its processes
PROBLEMS_PER_FILE = 3  # a file cut short lacks every field: three of them tell as much


class Status(StrEnum):
    """Whether a sample's numbers count."""

    VALID = "valid"
    INVALID = "invalid"
    FAILED = "failed"


class Flag(StrEnum):
    """What a reader of a valid sample has to know.

    `indicative`: the window is shorter than 30 s. `steal`: somebody else had the CPUs for more than 1 %.
    `cpu_unknown`: no CPU use, its readings do not cover the window. `cpu_accounting`: /proc/stat accounts for
    another amount of time than passed. `counters_unread`: a counter that would void the sample was not readable.
    `idle_exits`: under the policy `awake` a CPU slept all the same. `foreign_load`: something else used the CPUs.
    `moved`: an end left its planned CPUs. `retransmits`: segments were sent again. `mixed_ports`: fresh and reused
    client ports. `sidecar`: others put containers into an end's pod, or its packets through a proxy of the node.
    `cpu_limited`: the cluster limits the CPU of an end's pod. `load_unknown`, `idle_unknown`: whether anything else
    ran, or a CPU slept, could not be read.
    `unread`: something beside the rate was recorded as what it cannot be, and is not known (`Sample.unread`).
    """

    INDICATIVE = "indicative"
    STEAL = "steal"
    CPU_UNKNOWN = "cpu_unknown"
    CPU_ACCOUNTING = "cpu_accounting"
    COUNTERS_UNREAD = "counters_unread"
    IDLE_EXITS = "idle_exits"
    FOREIGN_LOAD = "foreign_load"
    MOVED = "moved"
    RETRANSMITS = "retransmits"
    MIXED_PORTS = "mixed_ports"
    SIDECAR = "sidecar"
    CPU_LIMITED = "cpu_limited"
    LOAD_UNKNOWN = "load_unknown"
    IDLE_UNKNOWN = "idle_unknown"
    UNREAD = "unread"


@dataclass(frozen=True)
class EndCounters:
    """How much every counter grew over the sample (gauges may fall); null where it could not be read."""

    client: Mapping[str, int | None] | None = None
    server: Mapping[str, int | None] | None = None


@dataclass(frozen=True)
class Sample:
    """sample.json. `per_process` are rates in the rate's unit, in the order of the processes.

    `send_size` and `recv_size` are bytes per message as the tool confirms them, request and response where there
    are such; `mss` and `congestion_control` those of all processes, null where they differ or are not known. `unread`
    names what was recorded as what it cannot be, by file and field: it is null here, and the rate needs nothing of it.
    """

    schema: Literal["labctl.sample/1"]
    id: str
    setup: str
    cell: str
    workload: str
    processes: int
    processes_label: str
    round: int
    n: int
    status: Status
    reasons: tuple[str, ...]
    flags: tuple[Flag, ...]
    rate: Rate | None = None
    per_process: tuple[float, ...] = ()
    window: Window | None = None
    latency_us: Latency | None = None
    cpu: Cpu = field(default_factory=Cpu)
    cpu_cost: CpuCost | None = None
    wire: Wire | None = None
    mss: int | None = None
    congestion_control: str | None = None
    send_size: int | None = None
    recv_size: int | None = None
    counters: EndCounters = field(default_factory=EndCounters)
    clock_offset_s: float | None = None
    shared_kernel: bool | None = None
    idle: Idle | None = None
    placement: Placement | None = None
    load: tuple[Load, ...] = ()
    unread: tuple[str, ...] = ()


def derive(folder: Path, workload: Workload | None = None, void: Sequence[str] = ()) -> Sample:
    """The sample of a raw folder (RUN/samples/<cell>/<round>-<n>).

    `workload` is what the plan says the sample's workload is; the catalog's without one. `void` are reasons against the
    sample that its visit knows of. Whatever went wrong in
    the measurement becomes a failed or invalid sample; only raw files of ours that are missing, broken or from
    another labctl raise LabctlError.
    """
    sample = raw.read(folder)
    workload, tool = _checked(sample, workload)
    base = _blank(sample)
    reasons = _failures(sample, tool)
    if reasons:
        return replace(base, reasons=reasons)
    readings, reasons = _readings(sample, tool)
    if reasons:
        return replace(base, reasons=reasons)
    return _measured(base, sample, readings, workload, tuple(void))


def _checked(sample: RawSample, workload: Workload | None) -> tuple[Workload, Tool]:
    """The sample's workload, which has to be the test that was run, and the tool as it was set up for it."""
    where, name = str(sample.folder / "measurement.json"), sample.item.workload
    if workload is None:
        workloads = catalog.load().workloads
        if name not in workloads:
            raise LabctlError(Problem("unknown workload", where, repr(name), suggestion(name, workloads)))
        workload = workloads[name]
    tool, planned = tools.set_up(sample.item.tool, sample.item.settings, where, "sample"), workload.program
    if (name, tool.name, tool.test) != (workload.name, planned.name, planned.test):
        what = f"the sample is not of workload {workload.name} ({planned.test})"
        raise LabctlError(Problem(what, where, f"{name} ({tool.test})", raw.AGAIN))
    return workload, tool


def _blank(sample: RawSample) -> Sample:
    """A failed sample with what is known before any output is read."""
    own = Sample.__dataclass_fields__.keys() - {"idle"}  # what was asked for; how it was stands in the record
    item = {name: value for name, value in vars(sample.item).items() if name in own}
    return Sample(
        schema="labctl.sample/1",
        **item,
        status=Status.FAILED,
        reasons=(),
        flags=(),
        counters=EndCounters(
            sample.client.deltas() if sample.client else None, sample.server.deltas() if sample.server else None
        ),
        clock_offset_s=sample.clock_offset_s,
        shared_kernel=sample.shared_kernel,
    )


def _failures(sample: RawSample, tool: Tool) -> tuple[str, ...]:
    """What kept the tool from delivering."""
    reasons = []
    if sample.failed:
        reasons.append(sample.reason or "the measurement failed without a reason")
    for process in sample.processes:
        if process.exit != 0:
            how = f"was killed by signal {process.signal}" if process.exit is None else f"exited {process.exit}"
            reasons.append(f"{tool.name} process {process.index} {how}: {_last_words(sample, tool, process)}")
    if not sample.failed and len(sample.processes) != sample.item.processes:
        reasons.append(f"{len(sample.processes)} processes ran instead of {sample.item.processes}")
    return tuple(reasons)


def _last_words(sample: RawSample, tool: Tool, process: Process) -> str:
    """What a failed process said last: on stderr, or in its output."""
    words = process.stderr.strip() or tool.complaint(sample.text(process)).strip()
    return words.splitlines()[-1].strip() if words else "it said nothing"


def _readings(sample: RawSample, tool: Tool) -> tuple[tuple[Reading, ...], tuple[str, ...]]:
    """The parsed output of all processes, and what is wrong with it."""
    readings: list[Reading] = []
    reasons: list[str] = []
    for process in sample.processes:
        try:
            readings.append(tool.parse(sample.text(process), process.stdout_file))
        except ToolError as error:
            reasons.extend(_words(problem) for problem in error.problems[:PROBLEMS_PER_FILE])
            if more := len(error.problems[PROBLEMS_PER_FILE:]):
                reasons.append(f"{process.stdout_file}: {more} more problems")
    return tuple(readings), tuple(reasons)


def _measured(
    base: Sample, sample: RawSample, readings: Sequence[Reading], workload: Workload, void: tuple[str, ...]
) -> Sample:
    """The sample with its numbers, valid unless a check objects."""
    if sample.client is None or sample.server is None:  # raw.read lets only failed measurements lack an end
        raise LabctlError(Problem("a measured sample lacks an end", str(sample.folder)))
    ends = (sample.client, sample.server)
    link = Link(sample.item.tunnel, sample.item.mtu)
    wire, reasons = checks.wire(sample.client, sample.server, readings, workload, link, sample.cable)
    reasons += checks.path(sample, wire, readings) + checks.interims(readings)
    reasons += checks.settings(readings) + checks.errors(readings)
    reasons += checks.clocks(sample) + checks.clock_steps(ends) + checks.carrier(ends)
    reasons += checks.tracking(ends, readings)
    flags = {Flag.COUNTERS_UNREAD for end in ends if checks.unread(end, readings)}
    flags |= {Flag.RETRANSMITS} if checks.resent(wire) else set()
    flags |= {Flag.MIXED_PORTS} if checks.mixed_ports(sample.client) else set()
    flags |= {Flag.MOVED for end in ends if conditions.moved(end)}
    flags |= {Flag.SIDECAR for end in ends if end.pod.beside}
    flags |= {Flag.CPU_LIMITED for end in ends if end.pod.cpu_limit is not None}
    idle = conditions.idle(sample, _work(readings))
    flags |= _sleep_flags(sample, idle, readings)
    unread = (*sample.unread, *_unread(sample.processes, readings))
    flags |= {Flag.UNREAD} if unread else set()
    base = replace(
        base,
        unread=unread,
        wire=wire,
        idle=idle,
        latency_us=quantities.latency(readings) if workload.latency else None,
        mss=common(reading.mss for reading in readings),
        congestion_control=common(reading.client.congestion_control for reading in readings),
        send_size=common(reading.send_size for reading in readings),
        recv_size=common(reading.recv_size for reading in readings),
    )
    try:
        base, flags = _within_window(base, sample, readings, workload, flags)
    except WindowError as error:
        reasons += tuple(_words(problem) for problem in error.problems)
    reasons += (
        tuple(words for load in base.load for words in conditions.load_words(load, sample.item.steal_limit_pct)) + void
    )
    status = Status.INVALID if reasons else Status.VALID
    return replace(base, status=status, reasons=reasons, flags=tuple(flag for flag in Flag if flag in flags))


def _unread(processes: Iterable[Process], readings: Iterable[Reading]) -> list[str]:
    """The fields of the tool's output that nobody can read, each with its file."""
    pairs = zip(processes, readings, strict=True)
    return [f"{process.stdout_file}:{field}" for process, reading in pairs for field in reading.unread]


def _within_window(
    base: Sample, sample: RawSample, readings: Sequence[Reading], workload: Workload, flags: set[Flag]
) -> tuple[Sample, set[Flag]]:
    """Rates and CPU cut to the common window, and the flags they give. Raises WindowError."""
    item = sample.item
    length_s = workload.program.length_s(item.duration_s, item.warmup_s)
    read = {process.stdout_file: one for process, one in zip(sample.processes, readings, strict=True)}
    timelines = {file: window.timeline(one, length_s, file) for file, one in read.items()}
    common = window.common(list(timelines.values()), item.warmup_s, item.duration_s)
    unit = readings[0].unit
    rates = [window.rate(intervals, common, file) for file, intervals in timelines.items()]
    per_process = tuple(quantities.in_workloads_unit(rate, unit) for rate in rates)
    rate = Rate(math.fsum(per_process), workload.unit)
    if common.seconds < INDICATIVE_BELOW_S - SKEW_GRACE_S:
        flags = flags | {Flag.INDICATIVE}
    try:
        used = quantities.cpu_use(sample, common)
    except CpuError:
        used, flags = Cpu(), flags | {Flag.CPU_UNKNOWN}
    load = conditions.loads(sample, used)
    flags = flags | _load_flags(load)
    if not all(use.is_sound for use in used.known):
        used, flags = Cpu(), flags | {Flag.CPU_ACCOUNTING}
    crowded = any(conditions.FOREIGN_PCT.voids(one.foreign_pct) for one in load)
    cost = None if crowded else quantities.cost(used, rate, common, conditions.not_the_tests_s(sample, common))
    return replace(
        base,
        rate=rate,
        per_process=per_process,
        window=common,
        cpu=used,
        cpu_cost=cost,
        placement=conditions.placement(sample, common),
        load=load,
    ), flags


def _work(readings: Iterable[Reading]) -> float | None:
    """The units of the whole test, or of bulk data its GB."""
    units = [reading.units for reading in readings]
    if any(one is None for one in units):
        moved = [(one.sent_bytes or 0) + (one.received_bytes or 0) for one in readings]
        return math.fsum(moved) / 1e9 or None
    return math.fsum(one for one in units if one is not None) or None


def _sleep_flags(sample: RawSample, idle: Idle | None, readings: Iterable[Reading]) -> set[Flag]:
    """Whether CPUs slept that were to stay awake. What bulk data waits for is no wake-up."""
    if any(one.units is None for one in readings):
        return set()
    slept = conditions.slept(sample, idle)
    return {Flag.IDLE_UNKNOWN} if slept is None else {Flag.IDLE_EXITS} if slept else set()


def _load_flags(load: Iterable[Load]) -> set[Flag]:
    """What else ran, as far as it was seen."""
    flags: set[Flag] = set()
    for one in load:
        flags |= {Flag.LOAD_UNKNOWN} if one.foreign_pct is None else set()
        flags |= {Flag.FOREIGN_LOAD} if conditions.FOREIGN_PCT.flags(one.foreign_pct) else set()
        flags |= {Flag.STEAL} if (one.steal_pct or 0) > conditions.STEAL_PCT else set()
    return flags


def _words(problem: Problem) -> str:
    """A problem as one line."""
    around = "; ".join(part for part in (problem.where, problem.seen and f"seen: {problem.seen}") if part)
    return f"{problem.what} ({around})" if around else problem.what
