"""Under which conditions a sample was taken: were the CPUs awake, where did both ends run, what else ran.

Pure functions. Null is "not known" or "does not apply", never 0 (docs/run-folder.md).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from labctl.catalog.lab import AWAKE
from labctl.samples.cpu import CpuUse
from labctl.samples.quantities import Cpu
from labctl.samples.raw import End, IdleReading, Kernel, LoadReading, RawSample, common, total
from labctl.samples.window import Window

POLLING = "POLL"  # the state of cpuidle that is no sleep (drivers/cpuidle/poll_state.c)
NO_DRIVER = "none"
UNPLACED = "not known"  # the mode of a sample whose placement does not tell
DEEP_ENTRIES_PER_UNIT = 0.05  # more under the policy awake: the CPUs slept all the same
MOVED_SHARE = 0.05  # of the looks at an end's processes that may be elsewhere than planned: a process has to get there
SAME, APART = 0.75, 0.25  # shares of the time from which, and up to which, two things are called together, or apart


class Limit(NamedTuple):
    """Above `flagged` a sample is flagged, above `void` it is void."""

    flagged: float
    void: float

    def flags(self, value: float | None) -> bool:
        """Whether a value is to be told; not one that is not known."""
        return value is not None and value > self.flagged

    def voids(self, value: float | None) -> bool:
        """Whether the sample does not count for it."""
        return value is not None and value > self.void


FOREIGN_PCT = Limit(2.0, 10.0)
STEAL_PCT = 1.0  # more is flagged; what is void is the plan's to say


@dataclass(frozen=True)
class Idle:
    """How the CPUs of the kernels slept. Per unit is per transaction of the sample's rate, per GB of a stream.

    `policy` is the one asked for, `latency_us` the request that was `held`, and `why` says why none was. `driver` is
    the cpuidle driver. `deep_entries_per_unit`: entries into states that are no polling; `deep_pct`: time in them, of
    all CPUs. `rescheduling_per_unit`: interrupts by which one CPU wakes another. Switches are those of the processes
    of each end.
    """

    policy: str
    latency_us: int | None
    held: bool
    driver: str | None
    why: str | None
    deep_entries_per_unit: float | None
    deep_pct: float | None
    rescheduling_per_unit: float | None
    client_switches_per_unit: float | None
    server_switches_per_unit: float | None


@dataclass(frozen=True)
class Placement:
    """On which CPUs both ends ran, and their softirqs: CPU number to share of the window (0 to 1).

    `planned_client` and `planned_server` are the CPUs that the sample pinned them to, null where it did not pin.
    `together` is the share of the time that both ends were on one CPU. `mode` says it in a few words, by which
    samples of a cell are grouped.
    """

    client: Mapping[str, float]
    server: Mapping[str, float]
    client_softirq: Mapping[str, float]
    server_softirq: Mapping[str, float]
    planned_client: tuple[int, ...] | None
    planned_server: tuple[int, ...] | None
    together: float | None
    mode: str


@dataclass(frozen=True)
class Load:
    """What else ran on the kernel of `where`, which `node` names.

    `foreign_pct` is in percent of one CPU thread, `steal_pct` of all. `top` are the processes that took most of it.
    """

    where: Literal["machine", "client", "server"]
    node: str
    foreign_pct: float | None
    steal_pct: float | None
    top: tuple[str, ...]


def idle(sample: RawSample, units: float | None) -> Idle | None:
    """How the CPUs slept while so many units were transferred; None where nobody owned the kernel."""
    readings = [kernel.idle for kernel in kernels(sample) if kernel.idle is not None]
    if not readings:
        return None
    first = readings[0]
    return Idle(
        policy=first.policy,
        latency_us=first.latency_us,
        held=all(reading.held for reading in readings),
        driver=common(reading.driver for reading in readings),
        why="; ".join(dict.fromkeys(reading.why for reading in readings if reading.why)) or None,
        deep_entries_per_unit=_per(units, total(_deep(reading)[0] for reading in readings)),
        deep_pct=_deep_pct(sample, readings),
        rescheduling_per_unit=_per(units, total(_grown(reading, "rescheduling") for reading in readings)),
        client_switches_per_unit=_per(units, sample.client.switches.both if sample.client else None),
        server_switches_per_unit=_per(units, sample.server.switches.both if sample.server else None),
    )


def slept(sample: RawSample, seen: Idle | None) -> bool | None:
    """Whether CPUs slept that were to stay awake; None where that is not known."""
    if not sample.item.idle.startswith(AWAKE):
        return False
    if seen is None:
        return None
    if seen.deep_entries_per_unit is not None:
        return seen.deep_entries_per_unit > DEEP_ENTRIES_PER_UNIT
    return True if seen.driver == NO_DRIVER else None


def placement(sample: RawSample, window: Window) -> Placement | None:
    """Where both ends and their softirqs ran; None where no process was seen on any CPU."""
    client, server = sample.client, sample.server
    if client is None or server is None:
        return None
    ran = {end.source: _shares(one.looks for one in end.seen) for end in (client, server)}
    if not any(ran.values()):
        return None
    irqs = {
        end.source: _softirqs(end, window, offset)
        for end, offset in ((client, 0.0), (server, sample.clock_offset_s or 0.0))
    }
    together = None
    if sample.shared_kernel and all(ran.values()):
        together = _overlap(ran[client.source], ran[server.source])
    return Placement(
        client=ran[client.source],
        server=ran[server.source],
        client_softirq=irqs[client.source],
        server_softirq=irqs[server.source],
        planned_client=_planned(client),
        planned_server=_planned(server),
        together=together,
        mode=_mode(together, ran, irqs),
    )


def moved(end: End) -> bool:
    """Whether its processes ran elsewhere than they were planned to."""
    looks = [(one.planned, int(cpu), n) for one in end.seen if one.planned is not None for cpu, n in one.looks.items()]
    elsewhere = sum(n for planned, cpu, n in looks if cpu != planned)
    return elsewhere > MOVED_SHARE * sum(n for _, _, n in looks)


def loads(sample: RawSample, used: Cpu) -> tuple[Load, ...]:
    """What else ran on the machine that both nodes share, or on that of each end."""
    client, server = sample.client, sample.server
    if client is None or server is None:
        return ()
    if sample.shared_kernel:
        return (_load("machine", client.node, sample.kernel, used.machine),)
    return (
        _load("client", client.node, client.kernel, used.client),
        _load("server", server.node, server.kernel, used.server),
    )


def not_the_tests_s(sample: RawSample, window: Window) -> float:
    """CPU seconds within the window that labctl, a cluster's own services and others took, as far as is known."""
    readings = [kernel.load for kernel in kernels(sample) if kernel.load is not None and kernel.load.seconds > 0]
    shares = (sum(filter(None, (one.own_s, one.cluster_s, one.foreign_s))) / one.seconds for one in readings)
    return window.seconds * math.fsum(shares)


def load_words(seen: Load, steal_limit_pct: float) -> tuple[str, ...]:
    """What voids a sample in what else ran, in words."""
    where = "the machine of both nodes" if seen.where == "machine" else f"{seen.node} ({seen.where})"
    who = f": {', '.join(seen.top)}" if seen.top else ""
    reasons = []
    if FOREIGN_PCT.voids(seen.foreign_pct):
        took = f"took {seen.foreign_pct:.0f} % of a CPU thread, more than {FOREIGN_PCT.void:g} %"
        reasons.append(f"foreign load on {where} {took}{who}")
    if seen.steal_pct is not None and seen.steal_pct > steal_limit_pct:
        reasons.append(
            f"the hypervisor took {seen.steal_pct:.1f} % of the CPUs of {where}, more than {steal_limit_pct:g} %"
        )
    return tuple(reasons)


def kernels(sample: RawSample) -> tuple[Kernel, ...]:
    """What the owners of the kernels saw: one of a kernel that both nodes share, else up to two."""
    ends = (
        () if sample.shared_kernel else (sample.client and sample.client.kernel, sample.server and sample.server.kernel)
    )
    return tuple(kernel for kernel in (sample.kernel, *ends) if kernel)


def _load(where: Literal["machine", "client", "server"], node: str, kernel: Kernel | None, use: CpuUse | None) -> Load:
    seen = kernel.load if kernel else None
    steal_pct = use.steal_pct if use else None
    if seen is None or seen.foreign_s is None or seen.seconds <= 0:
        return Load(where, node, None, steal_pct, ())
    return Load(where, node, 100 * seen.foreign_s / seen.seconds, steal_pct, _names(seen))


def _names(seen: LoadReading) -> tuple[str, ...]:
    """The processes that took most, each with its share of one CPU thread."""
    return tuple(f"{one.name} ({one.pid}) {100 * one.cpu_s / seen.seconds:.1f} %" for one in seen.top)


def _deep(reading: IdleReading) -> tuple[int | None, int | None]:
    """Entries into states that are no polling, over all CPUs, and the microseconds in them."""
    before, after = reading.before.cpus, reading.after.cpus
    if before is None or after is None or before.keys() != after.keys():
        return None, None
    grown = [
        (state[0] - before[cpu][name][0], state[1] - before[cpu][name][1])
        for cpu, states in after.items()
        for name, state in states.items()
        if name != POLLING and name in before[cpu]
    ]
    return sum(one[0] for one in grown), sum(one[1] for one in grown)


def _deep_pct(sample: RawSample, readings: Iterable[IdleReading]) -> float | None:
    """Of the time of all CPUs between the first tick of an end and its last."""
    times = [_deep(reading)[1] for reading in readings]
    ends = [end for end in (sample.client, sample.server) if end is not None and end.ticks]
    ends = ends[: len(times)]  # one kernel: the client's
    us, whole = total(times), math.fsum(1e6 * end.threads * (end.ticks[-1].t - end.ticks[0].t) for end in ends)
    return None if us is None or whole <= 0 else min(100.0, 100 * us / whole)


def _grown(reading: IdleReading, name: Literal["rescheduling", "calls"]) -> int | None:
    before, after = (getattr(one, name) for one in (reading.before, reading.after))
    return None if before is None or after is None else after - before


def _per(units: float | None, count: float | None) -> float | None:
    return count / units if units and count is not None else None


def _planned(end: End) -> tuple[int, ...] | None:
    planned = {one.planned for one in end.seen if one.planned is not None}
    return tuple(sorted(planned)) if planned else None


def _shares(counts: Iterable[Mapping[str, int]]) -> dict[str, float]:
    """The share of every CPU in counts by CPU, in the order of their numbers."""
    whole = Counter[str]()
    for one in counts:
        whole.update(one)
    looks = whole.total()
    return {cpu: whole[cpu] / looks for cpu in sorted(whole, key=int) if whole[cpu]} if looks else {}


def _softirqs(end: End, window: Window, offset_s: float) -> dict[str, float]:
    """The share of every CPU in the softirqs by which an end received, within the window."""
    inside = [
        counts
        for tick, counts in zip(end.ticks, end.net_rx, strict=True)
        if counts and window.start <= tick.t - offset_s <= window.end
    ]
    if len(inside) < 2 or len(inside[0]) != len(inside[-1]):
        return {}
    return _shares([{str(cpu): max(0, b - a) for cpu, (a, b) in enumerate(zip(inside[0], inside[-1], strict=True))}])


def _overlap(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """How much two shares by CPU have in common, 0 to 1."""
    return math.fsum(min(share, other.get(cpu, 0.0)) for cpu, share in one.items())


def _mode(together: float | None, ran: Mapping[str, dict[str, float]], irqs: Mapping[str, dict[str, float]]) -> str:
    """Placement in a few words: how the ends share CPUs, or how each end and its softirqs do."""
    if together is not None:
        return f"ends {_degree(together, 'on the same CPUs', 'on CPUs of their own', 'changing CPUs')}"
    words = []
    for end in ran:
        if ran[end] and irqs[end]:
            degree = _degree(_overlap(ran[end], irqs[end]), "beside", "apart from", "partly beside")
            words.append(f"{end.removesuffix('.json')} {degree} its softirqs")
    return ", ".join(words) or UNPLACED


def _degree(share: float, same: str, apart: str, between: str) -> str:
    return same if share >= SAME else apart if share <= APART else between
