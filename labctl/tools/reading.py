"""What a program that measures says of one of its processes, in words that belong to no program.

Everything covers the whole test, warm-up included; `interim` alone tells how it went over time. None is "the program
does not say" or "does not apply", never 0. A **unit** is one request or one connection, whatever the workload counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class RateUnit(StrEnum):
    """What a rate counts a second."""

    MEGABIT = "Mbit/s"
    UNIT = "units/s"


@dataclass(frozen=True)
class Interim:
    """A mean rate from `start` to `end`, epoch seconds by the client's clock."""

    start: float
    end: float
    rate: float


@dataclass(frozen=True)
class Latency:
    """How long the units took, in microseconds.

    `percentiles` by their number (50, 99.9), those that the program was asked for. `histogram` are upper bounds with
    the number of units up to each, of a program that keeps all of them: only these can be merged over processes.
    """

    min: float | None = None
    mean: float | None = None
    max: float | None = None
    stddev: float | None = None
    percentiles: Mapping[float, float | None] = field(default_factory=dict)
    histogram: Mapping[float, int] | None = None


@dataclass(frozen=True)
class Setting:
    """A value that was asked for as `asked` (an option), and what the program's `field` says was used."""

    asked: str
    field: str
    wanted: str
    used: str | None


@dataclass(frozen=True)
class Socket:
    """What the program says of its socket at one end."""

    congestion_control: str | None = None
    retransmits: int | None = None


@dataclass(frozen=True)
class Reading:
    """One process. `rate` and the interim rates are in `unit`; `interim` is in order, empty where there is none.

    `sent_bytes` and `received_bytes` are payload as the client sends and receives it. `connections` were opened to
    carry the units, beyond those that were there from the start: 0 where one carries all. `errors` are units that
    failed. The program's own talk with its server puts `control_packets` and `control_bytes` (headers included, both
    directions) on the cable. `send_size` and `recv_size` are bytes per message, request and response where there are
    such. `settings` can be compared between processes: all list the same, in the same order. `unread` names fields of
    which the program printed what no value can be; nothing that the rate is made of is among them.
    """

    tool: str
    unit: RateUnit
    rate: float
    elapsed_s: float
    interim: tuple[Interim, ...] = ()
    latency: Latency = Latency()
    sent_bytes: int | None = None
    received_bytes: int | None = None
    units: float | None = None
    connections: float | None = None
    errors: int | None = None
    control_packets: int = 0
    control_bytes: int = 0
    send_size: int | None = None
    recv_size: int | None = None
    mss: int | None = None
    client: Socket = Socket()
    server: Socket = Socket()
    settings: tuple[Setting, ...] = ()
    unread: tuple[str, ...] = ()
