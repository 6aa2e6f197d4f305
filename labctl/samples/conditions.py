"""Under which conditions a sample was taken: were the CPUs awake, where did both ends run, what else ran.

Records only. Null is "not known" or "does not apply", never 0 (docs/run-folder.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


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
