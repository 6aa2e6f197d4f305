"""Reading the raw folder of one sample: measurement.json, client.json, server.json, what the processes printed.

Keys that a reader does not use are passed over, so the measuring plugin can record more than labctl derives from
(docs/run-folder.md). What a rate is made of has to be there and of its type; whatever else is not, is not known, and
named.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

from labctl import tools
from labctl.catalog.lab import STEAL_LIMIT_PCT, SYSTEM
from labctl.catalog.tunnel import Tunnel
from labctl.core.documents import parse_json, read_text, shortened
from labctl.core.errors import LabctlError, Problem, advised
from labctl.core.records import decode
from labctl.samples.cpu import Tick

T = TypeVar("T")
Number = TypeVar("Number", int, float)
Counters = Mapping[str, int | None]
CableUse = Literal["own", "shared", "unknown"]
CPU = re.compile("[0-9]{1,6}")
ROW = re.compile("cpu([0-9]{1,6})?")
AGAIN = "restore the file from a copy of the run, or let the sample be taken again: labctl matrix --resume RUN"


@dataclass(frozen=True)
class Item:
    """What is to be measured. `id` is `<cell>/<round>-<n>`, its folder below samples/; times in seconds.

    `tunnel` is what encrypts it, `mtu` the link's, in bytes: what the cable carries follows from both. `forwarded` is
    the share of its packets that each node's stack forwards, `tracked` whether its connections are tracked there; None
    where the setup does not say. `idle` is awake, awake:N (microseconds) or system. It is void when the hypervisor took
    more than `steal_limit_pct` of the CPUs.
    """

    id: str
    cell: str
    setup: str
    workload: str
    processes: int
    processes_label: str
    round: int
    n: int
    duration_s: float
    warmup_s: float
    tool: str
    settings: Mapping[str, object]
    tunnel: Tunnel | None = None
    mtu: int = 1500
    forwarded: float | None = None
    tracked: bool | None = None
    idle: str = SYSTEM
    steal_limit_pct: float = STEAL_LIMIT_PCT


@dataclass(frozen=True)
class Process:
    """One process of the tool on the client, as it ended."""

    index: int
    exit: int | None
    signal: int | None
    stderr: str
    stdout_file: str


# The many numbers, counters and CPU times, are `object` here and checked by hand below: decoding them one by one
# would take most of the time that deriving a sample takes.
@dataclass(frozen=True)
class _CounterPair:
    before: object
    after: object


@dataclass(frozen=True)
class _Tick:
    t: float
    mono: float
    stat: object
    raw: float | None = None
    net_rx: tuple[int, ...] = ()


@dataclass(frozen=True)
class _End:
    """client.json or server.json as it stands in the file."""

    schema: Literal["labctl.end/1"]
    node: str
    threads: int
    hz: int
    counters: _CounterPair


def total(values: Iterable[Number | None]) -> Number | None:
    """The sum of values that are all known, else None."""
    each = list(values)
    known = [value for value in each if value is not None]
    return sum(known) if len(known) == len(each) else None


def common(values: Iterable[T]) -> T | None:
    """The value that all have; None where they differ."""
    different = set(values)
    return different.pop() if len(different) == 1 else None


@dataclass(frozen=True)
class Slept:
    """What the CPUs' sleep counted so far: by CPU and idle state its entries and microseconds; interrupts by kind.

    None is what the kernel does not tell.
    """

    cpus: Mapping[str, Mapping[str, tuple[int, int]]] | None = None
    rescheduling: int | None = None
    calls: int | None = None


@dataclass(frozen=True)
class IdleReading:
    """How a kernel was kept from sleeping, and how it slept, before the sample and after it."""

    policy: str
    latency_us: int | None
    held: bool
    before: Slept
    after: Slept
    why: str | None = None
    driver: str | None = None


@dataclass(frozen=True)
class Taker:
    """A process that took CPU time from the sample."""

    name: str
    pid: int
    cpu_s: float


@dataclass(frozen=True)
class LoadReading:
    """CPU seconds of what ran on a kernel for so many `seconds`: the test's ends, labctl, a cluster, others."""

    seconds: float
    cpu_s: float | None = None
    endpoint_s: float | None = None
    own_s: float | None = None
    cluster_s: float | None = None
    foreign_s: float | None = None
    top: tuple[Taker, ...] = ()


@dataclass(frozen=True)
class Kernel:
    """What the owner of a kernel saw of it; None where it could not look."""

    idle: IdleReading | None = None
    load: LoadReading | None = None


@dataclass(frozen=True)
class Seen:
    """One process of an end: how often it was seen on which CPU, and the one it was planned for."""

    looks: Mapping[str, int] = field(default_factory=dict)
    planned: int | None = None


@dataclass(frozen=True)
class Switches:
    """Context switches of an end's processes."""

    voluntary: int | None = None
    involuntary: int | None = None

    @property
    def both(self) -> int | None:
        """Their sum."""
        return total((self.voluntary, self.involuntary))


@dataclass(frozen=True)
class Ports:
    """Client ports that a sample used for the first time, and those that it used again."""

    fresh: int | None = None
    reused: int | None = None


@dataclass(frozen=True)
class InPod:
    """What a cluster put into the way of an end in a pod: containers beside it, proxies perhaps, and a CPU limit."""

    beside: tuple[str, ...] = ()
    cpu_limit: str | None = None


@dataclass(frozen=True)
class End:
    """What one end recorded. Counters are cumulative, None where one could not be read.

    `clock_offsets_s` are the time of day minus the monotonic clock at every tick: they jump where somebody sets the
    clock; `clock_drifts_s` minus the raw one, which nobody slews. `net_rx` are softirqs by CPU at every tick. `kernel`
    is there where this end owns one. `unread` names what stands in the file and is none of what it has to be.
    """

    source: str
    node: str
    threads: int
    hz: int
    before: Counters
    after: Counters
    ticks: tuple[Tick, ...]
    clock_offsets_s: tuple[float, ...] = ()
    clock_drifts_s: tuple[float, ...] = ()
    net_rx: tuple[tuple[int, ...], ...] = ()
    seen: tuple[Seen, ...] = ()
    switches: Switches = Switches()
    ports: Ports = Ports()
    kernel: Kernel | None = None
    unread: tuple[str, ...] = ()
    pod: InPod = InPod()

    def delta(self, name: str) -> int | None:
        """How much a counter grew over the sample; None unless it was read before and after."""
        before, after = self.before.get(name), self.after.get(name)
        return None if before is None or after is None else after - before

    def deltas(self) -> dict[str, int | None]:
        """The growth of every counter."""
        return {name: self.delta(name) for name in {**self.before, **self.after}}


@dataclass(frozen=True)
class _Measurement:
    """measurement.json; only a sample that got as far as the nodes has the facts after `reason`."""

    schema: Literal["labctl.measurement/1"]
    sample: Mapping[str, object]
    status: Literal["ok", "failed"]
    reason: str | None
    clock_offset_s: float | None = None
    clock_uncertainty_s: float | None = None
    shared_kernel: bool | None = None
    cable: CableUse = "own"
    kernel: object = None


@dataclass(frozen=True)
class RawSample:
    """A raw folder. An end is None when it was not recorded, which only a failed measurement may leave.

    `cable` says whose traffic the cable's counters count: `own` the test's alone, `shared` others' as well, as on a
    cluster in use; `unknown` where nobody could look at it.
    """

    folder: Path
    item: Item
    failed: bool
    reason: str | None
    clock_offset_s: float | None
    clock_uncertainty_s: float | None
    shared_kernel: bool | None
    client: End | None
    server: End | None
    processes: tuple[Process, ...]
    cable: CableUse = "own"
    kernel: Kernel | None = None
    unread: tuple[str, ...] = ()

    def text(self, process: Process) -> str:
        """What a process printed, which is a file of this folder. Raises LabctlError."""
        name = process.stdout_file
        if name != Path(name).name:
            what = "a raw file names one outside its folder"
            raise LabctlError(Problem(what, f"{self.folder}/client.json:processes", repr(name), AGAIN))
        with advised(AGAIN):
            return read_text(self.folder / name, follow=False)


def read(folder: Path) -> RawSample:
    """Read a sample's raw folder. Raises LabctlError naming file and key."""
    with advised(AGAIN):
        return _read(folder)


def _read(folder: Path) -> RawSample:
    path = folder / "measurement.json"
    measurement = _known(_Measurement, _document(path), path.name)
    client_data, client = _end(folder / "client.json")
    _, server = _end(folder / "server.json")
    failed = measurement.status == "failed"
    for name, end in (("client.json", client), ("server.json", server)):
        if end is None and not failed:
            raise LabctlError(Problem("a measured sample lacks a raw file", str(folder / name)))
    processes = _many(Process, client_data.get("processes") if client else [], "client.json:processes")
    item = _known(Item, tools.nested(measurement.sample, path.name, "sample"), f"{path.name}:sample")
    _require_sound(item, f"{path.name}:sample")
    beside = _Beside(path.name)
    return RawSample(
        folder=folder,
        item=item,
        failed=failed,
        reason=measurement.reason,
        clock_offset_s=measurement.clock_offset_s,
        clock_uncertainty_s=measurement.clock_uncertainty_s,
        shared_kernel=measurement.shared_kernel,
        client=client,
        server=server,
        processes=processes,
        cable=measurement.cable,
        kernel=beside.read("kernel", None, lambda: _kernel(measurement.kernel, f"{path.name}:kernel")),
        unread=(*beside.unread, *(name for end in (client, server) if end for name in end.unread)),
    )


class _Beside:
    """Reads what no rate is made of: where it is junk it is not known, and `unread` names it by file and key."""

    def __init__(self, file: str) -> None:
        self._file = file
        self.unread: list[str] = []

    def read(self, key: str, unknown: T, read: Callable[[], T]) -> T:
        """What `read` gives, `unknown` where it refuses."""
        try:
            return read()
        except LabctlError:
            self.unread.append(f"{self._file}:{key}")
            return unknown

    def counters(self, key: str, data: object) -> dict[str, int | None]:
        """Counters by name, each known or not."""
        if not isinstance(data, Mapping):
            raise _wrong("the value is not a mapping", f"{self._file}:{key}", data)
        self.unread += [f"{self._file}:{key}.{name}" for name, value in data.items() if not _is_counter(value)]
        return {name: value if _is_counter(value) else None for name, value in data.items()}


def _is_counter(value: object) -> bool:
    return value is None or type(value) is int


def _require_sound(item: Item, where: str) -> None:
    """Raise LabctlError where a sample was asked for that nobody could take."""
    bounds = (
        ("processes", item.processes, 1, 5000),
        ("round", item.round, 1, 1_000_000),
        ("n", item.n, 1, 1_000_000),
        ("duration_s", item.duration_s, 0.001, 1e6),
        ("warmup_s", item.warmup_s, 0, 1e6),
        ("mtu", item.mtu, 68, 65536),
        ("forwarded", item.forwarded, 0, 1),
    )
    problems = [
        Problem(f"the number is not within {low:g} to {high:g}", f"{where}.{name}", str(value))
        for name, value, low, high in bounds
        if value is not None and not low <= value <= high
    ]
    if problems:
        raise LabctlError(*problems)


def _end(path: Path) -> tuple[Mapping[str, object], End | None]:
    if not path.exists():
        return {}, None
    data = _document(path)
    head = _known(_End, data, path.name)
    if head.threads < 1 or head.hz < 1:
        seen = f"threads {head.threads}, hz {head.hz}"
        raise LabctlError(Problem("a machine has at least one CPU and one tick a second", path.name, seen))
    beside = _Beside(path.name)
    none: tuple[_Tick, ...] = ()
    unknown: tuple[Tick, ...] = ()
    rows = beside.read("ticks", none, lambda: _many(_Tick, data.get("ticks"), f"{path.name}:ticks"))
    ticks = beside.read("ticks", unknown, lambda: _ticks(rows, f"{path.name}:ticks"))
    return data, End(
        source=path.name,
        node=head.node,
        threads=head.threads,
        hz=head.hz,
        before=beside.counters("counters.before", head.counters.before),
        after=beside.counters("counters.after", head.counters.after),
        ticks=ticks,
        clock_offsets_s=tuple(row.t - row.mono for row in rows),
        clock_drifts_s=tuple(row.t - row.raw for row in rows if row.raw is not None),
        net_rx=tuple(tuple(row.net_rx) for row in rows) if ticks else (),
        seen=beside.read("processes", (), lambda: _looks(data, f"{path.name}:processes")),
        switches=beside.read("switches", Switches(), lambda: _part(Switches, data, "switches", path.name)),
        ports=beside.read("local_ports", Ports(), lambda: _part(Ports, data, "local_ports", path.name)),
        kernel=beside.read("kernel", None, lambda: _kernel(data.get("kernel"), f"{path.name}:kernel")),
        pod=beside.read("pod", InPod(), lambda: _part(InPod, data, "pod", path.name)),
        unread=tuple(dict.fromkeys(beside.unread)),
    )


def _part(cls: type[T], data: Mapping[str, object], key: str, file: str) -> T:
    return _known(cls, data.get(key) or {}, f"{file}:{key}")


def _ticks(rows: Iterable[_Tick], where: str) -> tuple[Tick, ...]:
    return tuple(Tick(row.t, _stat(row.stat, where)) for row in rows)


def _looks(data: Mapping[str, object], where: str) -> tuple[Seen, ...]:
    """On which CPUs processes of either kind were seen: by number, and so many times."""
    lists = [data.get(name) for name in ("processes", "servers")]
    seen = _many(Seen, [one for each in lists if isinstance(each, list) for one in each], where)
    for one in seen:
        if not all(CPU.fullmatch(cpu) and count >= 0 for cpu, count in one.looks.items()):
            raise _wrong("looks at processes are not counts by CPU number", where, dict(one.looks))
    return seen


def _kernel(data: object, where: str) -> Kernel | None:
    """What the owner of a kernel saw, without the keys that nothing is derived from."""
    if data is None:
        return None
    parts = data if isinstance(data, Mapping) else {}
    idle, load = parts.get("idle"), parts.get("load")
    if isinstance(idle, Mapping):
        slept = {name: _without_others(Slept, idle.get(name)) for name in ("before", "after")}
        idle = _known(IdleReading, {**idle, **slept}, f"{where}.idle")
    if isinstance(load, Mapping):
        load = _known(LoadReading, load, f"{where}.load")
    return Kernel(idle, load)


def _stat(data: object, where: str) -> dict[str, tuple[int, ...]]:
    if not isinstance(data, dict):
        raise _wrong("the value is not a mapping", where, data)
    for name, row in data.items():
        if not ROW.fullmatch(name):
            raise _wrong("this is no row of CPU times", where, name)
        if not isinstance(row, list) or not all(type(value) is int for value in row):
            raise _wrong("a row of CPU times is not a list of whole numbers", f"{where}.{name}", row)
    return {name: tuple(row) for name, row in data.items()}


def _many(cls: type[T], items: object, where: str) -> tuple[T, ...]:
    if not isinstance(items, list):
        raise _wrong("a list is missing", where, items)
    return tuple(_known(cls, item, where) for item in items)


def _known(cls: type[T], data: object, where: str) -> T:
    """`data` as a `cls`, without the keys that `cls` does not have."""
    return decode(cls, _without_others(cls, data), where)


def _without_others(cls: type, data: object) -> object:
    names = {field.name for field in dataclasses.fields(cls)}
    return {key: value for key, value in data.items() if key in names} if isinstance(data, Mapping) else data


def _document(path: Path) -> Mapping[str, object]:
    data = parse_json(read_text(path), path)
    if not isinstance(data, dict):
        raise LabctlError(Problem("a raw file is not a JSON object", str(path)))
    return data


def _wrong(what: str, where: str, data: object) -> LabctlError:
    return LabctlError(Problem(what, where, shortened(repr(data))))
