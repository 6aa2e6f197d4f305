"""What netperf prints, as typed fields in netperf's own words. Pure functions, no I/O.

Read from captures and from netperf's source (2.7.0 and the 2021 revision that Debian 13 ships; src/netlib.c,
src/nettest_omni.c), not from its manual; tests/fixtures/netperf/ORIGIN.md has the captures.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TypeVar

from labctl.core.documents import LARGE, shortened
from labctl.core.errors import Problem
from labctl.tools.reading import Interim
from labctl.tools.tool import ToolError

_INTERIM = ("NETPERF_INTERIM_RESULT", "NETPERF_UNITS", "NETPERF_INTERVAL", "NETPERF_ENDING")
Value = float | int | str | None
_NUMBER = re.compile(r"[+-]?[0-9]*[.]?[0-9]+(e[+-]?[0-9]+)?|[+-]?(inf|nan)", re.IGNORECASE)  # C's, not Python's
LONGEST = 40  # characters of a field that is named for what it holds
T = TypeVar("T", float, int, str)


class Test(StrEnum):
    """netperf's tests that labctl knows. TCP_MAERTS is TCP_STREAM from the server to the client."""

    __test__ = False  # not a test case, whatever pytest thinks of its name

    TCP_STREAM = "TCP_STREAM"
    TCP_MAERTS = "TCP_MAERTS"
    TCP_RR = "TCP_RR"
    TCP_CRR = "TCP_CRR"

    @property
    def unit(self) -> str:
        """The unit of its rates, final and interim, in netperf's own spelling, as long as no `-f` is given."""
        return "10^6bits/s" if self in (Test.TCP_STREAM, Test.TCP_MAERTS) else "Trans/s"


class Selector(StrEnum):
    """The output fields that labctl asks for (`-k`). netperf drops a name it does not know without a word."""

    THROUGHPUT = "THROUGHPUT"
    THROUGHPUT_UNITS = "THROUGHPUT_UNITS"
    ELAPSED_TIME = "ELAPSED_TIME"
    TRANSPORT_MSS = "TRANSPORT_MSS"
    LOCAL_CONG_CONTROL = "LOCAL_CONG_CONTROL"
    REMOTE_CONG_CONTROL = "REMOTE_CONG_CONTROL"
    LOCAL_TRANSPORT_RETRANS = "LOCAL_TRANSPORT_RETRANS"
    REMOTE_TRANSPORT_RETRANS = "REMOTE_TRANSPORT_RETRANS"
    LSS_SIZE_END = "LSS_SIZE_END"
    LSR_SIZE_END = "LSR_SIZE_END"
    RSS_SIZE_END = "RSS_SIZE_END"
    RSR_SIZE_END = "RSR_SIZE_END"
    LOCAL_SEND_SIZE = "LOCAL_SEND_SIZE"
    LOCAL_RECV_SIZE = "LOCAL_RECV_SIZE"
    REMOTE_SEND_SIZE = "REMOTE_SEND_SIZE"
    REMOTE_RECV_SIZE = "REMOTE_RECV_SIZE"
    REQUEST_SIZE = "REQUEST_SIZE"
    RESPONSE_SIZE = "RESPONSE_SIZE"
    LOCAL_BYTES_SENT = "LOCAL_BYTES_SENT"
    LOCAL_BYTES_RECVD = "LOCAL_BYTES_RECVD"
    REMOTE_BYTES_SENT = "REMOTE_BYTES_SENT"
    REMOTE_BYTES_RECVD = "REMOTE_BYTES_RECVD"
    MIN_LATENCY = "MIN_LATENCY"
    MEAN_LATENCY = "MEAN_LATENCY"
    P50_LATENCY = "P50_LATENCY"
    P90_LATENCY = "P90_LATENCY"
    P99_LATENCY = "P99_LATENCY"
    MAX_LATENCY = "MAX_LATENCY"
    STDDEV_LATENCY = "STDDEV_LATENCY"


_TEXT = (Selector.THROUGHPUT_UNITS, Selector.LOCAL_CONG_CONTROL, Selector.REMOTE_CONG_CONTROL)
LATENCIES = tuple(selector for selector in Selector if selector.endswith("_LATENCY"))
_FLOAT = (Selector.THROUGHPUT, Selector.ELAPSED_TIME, *LATENCIES)
_ALWAYS = (Selector.THROUGHPUT, Selector.THROUGHPUT_UNITS, Selector.ELAPSED_TIME)
# What netperf prints where it has no value: a size that was not set, the retransmits of a closed connection, a
# latency of a test without any; the congestion control of a connection that is closed by then (TCP_CRR).
_ABSENT_NUMBER = -1
_ABSENT_TEXTS = ("", "UNKNOWN", "Unavailable", "Deprecated", "TCP Only")


@dataclass(frozen=True)
class Output:
    """The output of one netperf process.

    `throughput` is in the unit of the test and covers the whole of its `elapsed_s` seconds, as all `fields` do (sizes
    and totals in bytes, latencies in microseconds; None is "netperf has no value"). `interim` are the rates over time
    by the client's clock, in order; empty when the process ran without `-D`. `unread` are the fields, as name=value, in
    which netperf printed what cannot be one: nothing that the rate is made of, and None among the `fields`.
    """

    throughput: float
    elapsed_s: float
    fields: Mapping[Selector, Value]
    interim: tuple[Interim, ...]
    unread: tuple[str, ...] = ()

    def value(self, selector: Selector, kind: type[T]) -> T | None:
        """A field of this kind; None where it was not asked for or netperf has no value."""
        value = self.fields.get(selector)
        return value if isinstance(value, kind) else None


def parse(text: str, wanted: Sequence[Selector], test: Test, source: str = "netperf's output") -> Output:
    """The output of one process that ran with `-P 0 -k` and the fields `wanted`.

    What the rate is made of has to be there once, be a number and in the unit of `test`; any other field that is not
    what it has to be costs itself alone. Raises ToolError with all that is wrong; `source` names the raw file in its
    messages.
    """
    problems: list[Problem] = []
    unread: list[str] = []
    raw = _key_values(text, source, problems)
    interim = _interims(raw, test, source, problems)
    fields: dict[Selector, Value] = {}
    for name in dict.fromkeys(wanted):
        value = raw.pop(name, None)
        fields[name], wrong = _field(name, value, source)
        if wrong and name in _ALWAYS:
            problems.append(wrong)
        elif wrong:
            unread.append(f"{name}={shortened(value, LONGEST)}" if value else name.value)
    unread += [f"{shortened(name, LONGEST)}={shortened(value, LONGEST)}" for name, value in raw.items()]
    _require(fields, test, source, problems)
    throughput, elapsed = fields.get(Selector.THROUGHPUT), fields.get(Selector.ELAPSED_TIME)
    if problems or not isinstance(throughput, float) or not isinstance(elapsed, float):
        raise ToolError(*problems)
    return Output(throughput, elapsed, MappingProxyType(fields), interim, tuple(dict.fromkeys(unread)))


def _require(fields: Mapping[Selector, Value], test: Test, source: str, problems: list[Problem]) -> None:
    """The fields without which there is no rate: asked for, not absent, in the unit of the test."""
    reported = {problem.where for problem in problems}
    for name in _ALWAYS:
        where = f"{source}:{name}"
        if name not in fields:
            problems.append(Problem(f"{name} has to be among the fields asked for", source))
        elif fields[name] is None and where not in reported:
            problems.append(Problem(f"netperf reported no {name}", where))
    unit = fields.get(Selector.THROUGHPUT_UNITS)
    if isinstance(unit, str) and unit != test.unit:
        where = f"{source}:{Selector.THROUGHPUT_UNITS}"
        problems.append(Problem(f"the rate of {test} is not in {test.unit}", where, unit))


def _key_values(text: str, source: str, problems: list[Problem]) -> dict[str, str]:
    """The `KEY=VALUE` lines; a line that is none is netperf saying that something is wrong.

    Of a field that comes twice nobody knows which one is meant.
    """
    raw: dict[str, str] = {}
    if not text.strip():
        problems.append(Problem("netperf printed nothing", source))
    for number, line in enumerate(text.splitlines(), start=1):
        key, equals, value = line.partition("=")
        if not equals or not key.isascii() or " " in key:
            if line.strip():
                seen = shortened(line)
                problems.append(Problem("netperf printed a line that is no field", f"{source}:{number}", seen))
        elif key not in raw:
            raw[key] = value.strip()
        elif key in _ALWAYS or key.startswith(_INTERIM):
            what = f"netperf returned {shortened(key)} twice"
            problems.append(Problem(what, f"{source}:{number}", shortened(line)))
        else:
            raw[key] = f"{raw[key]} and {value.strip()}"
    return raw


def _interims(raw: dict[str, str], test: Test, source: str, problems: list[Problem]) -> tuple[Interim, ...]:
    """Take the interim results out of `raw`.

    An interval of 0.000 s is the rest that netperf prints when the test ends right after an interval: it is no
    time, and its rate is one transaction or so over microseconds.
    """
    interim: list[Interim] = []
    index = 0
    while any(f"{name}[{index}]" in raw for name in _INTERIM):
        keys = [f"{name}[{index}]" for name in _INTERIM]
        values = [raw.pop(key, None) for key in keys]
        rate, interval, ending = (
            _numeric(keys[i], values[i], source, problems, zero_width=values[2] == "0.000") for i in (0, 2, 3)
        )
        if values[1] != test.unit:
            what = f"the interim rate of {test} is not in {test.unit}"
            problems.append(Problem(what, f"{source}:{keys[1]}", shortened(values[1] or "nothing")))
        elif rate is not None and ending is not None and interval:
            interim.append(Interim(ending - interval, ending, rate))
        index += 1
    return tuple(interim)


def _numeric(key: str, value: str | None, source: str, problems: list[Problem], *, zero_width: bool) -> float | None:
    """A number of an interim result, which is never absent and never negative."""
    number = _parsed(value, float)
    if number is not None and 0 <= number <= LARGE:
        return number
    if not (zero_width and number is not None):
        problems.append(Problem(f"{key} is no rate or time", f"{source}:{key}", shortened(value or "nothing")))
    return None


def _field(name: Selector, value: str | None, source: str) -> tuple[Value, Problem | None]:
    """One wanted field as its type, None where netperf has no value, and what is wrong with it."""
    where = f"{source}:{name}"
    if value is None:
        hint = "this netperf may not know the field, or it ended early: look at its raw output"
        return None, Problem(f"netperf did not return {name}", where, hint=hint)
    if name in _TEXT:
        return None if value in _ABSENT_TEXTS or value.endswith(" errno") else value, None
    number = _parsed(value, float if name in _FLOAT else int)
    if number == _ABSENT_NUMBER:
        return None, None
    if number is None or not 0 <= number <= LARGE:  # nor is NaN
        seen = shortened(value) or "nothing"
        return None, Problem(f"{name} is not a number that netperf can mean", where, seen)
    return number, None


def _parsed(value: str | None, kind: type[float] | type[int]) -> float | int | None:
    try:
        return None if value is None or not _NUMBER.fullmatch(value) else kind(value)
    except ValueError:  # a fraction that is to be whole, more digits than Python reads
        return None
