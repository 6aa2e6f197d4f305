"""netperf: the command line of one process, and its output as a Reading. Pure functions, no I/O."""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from labctl.core.records import decode
from labctl.tools.netperf_output import LATENCIES, Output, Selector, Test, parse
from labctl.tools.reading import Latency, RateUnit, Reading, Setting, Socket
from labctl.tools.tool import Server

CONTROL_PORT = 12865
# netperf's own control connection takes the same way. Measured per process with 2.7.0: 20 or 21 packets, 3.3 KB.
CONTROL_PACKETS, CONTROL_BYTES = 20, 3300
# nettest_omni.c, pick_next_port_number(): 5000 to 65534 without the server's port, from a random one on, and round.
LOCAL_PORTS = 60534
_BULK = (Test.TCP_STREAM, Test.TCP_MAERTS)
_CONGESTION = (Selector.LOCAL_CONG_CONTROL, Selector.REMOTE_CONG_CONTROL)
_REQUEST = (Selector.REQUEST_SIZE, Selector.RESPONSE_SIZE)
# The size of what the sender writes and of what the receiver reads at a time.
_SIZES: Mapping[Test, tuple[Selector, Selector]] = {
    Test.TCP_STREAM: (Selector.LOCAL_SEND_SIZE, Selector.REMOTE_RECV_SIZE),
    Test.TCP_MAERTS: (Selector.REMOTE_SEND_SIZE, Selector.LOCAL_RECV_SIZE),
    Test.TCP_RR: _REQUEST,
    Test.TCP_CRR: _REQUEST,
}
# Test-level options and the fields that say what became of them: (first value, second value).
_CONFIRMED_BY: Mapping[Test, Mapping[str, tuple[Selector | None, Selector | None]]] = {
    Test.TCP_STREAM: {"-m": (Selector.LOCAL_SEND_SIZE, None), "-M": (None, Selector.REMOTE_RECV_SIZE)},
    Test.TCP_MAERTS: {"-m": (None, Selector.REMOTE_SEND_SIZE), "-M": (Selector.LOCAL_RECV_SIZE, None)},
    Test.TCP_RR: {"-r": _REQUEST},
    Test.TCP_CRR: {"-r": _REQUEST},
}


@dataclass(frozen=True)
class _Run:
    """What the command needs of a planned sample besides the settings of its workload."""

    duration_s: float
    warmup_s: float
    interval_s: float
    data_port: int


@dataclass(frozen=True)
class Netperf:
    """netperf set up for a workload: `options` are test-level (after its `--`), `selectors` the fields it is asked for.

    netperf drops a field that it does not know without a word, so the selectors are a closed set.
    """

    name: ClassVar[str] = "netperf"
    server: ClassVar[Server] = Server("netperf", "netserver", "labctl-netserver.service", CONTROL_PORT)

    test: Test
    options: tuple[str, ...]
    selectors: tuple[Selector, ...]

    @property
    def unit(self) -> RateUnit:
        """Bits of bulk data, else transactions."""
        return RateUnit.MEGABIT if self.test in _BULK else RateUnit.UNIT

    @property
    def tail_s(self) -> float:
        """What it takes until it is seen that all processes wait for netserver, which then ends its own waiting."""
        return 0.25 if self.test is Test.TCP_CRR else 0.0

    @property
    def ends_server(self) -> int | None:
        """Its own alarm, which netserver awaits in accept() for four seconds more (PAD_TIME), and netperf with it."""
        return signal.SIGALRM if self.test is Test.TCP_CRR else None

    @property
    def local_ports(self) -> int | None:
        """Netperf binds every connection to the next port of a range of its own, whatever the kernel's is."""
        return LOCAL_PORTS if self.test is Test.TCP_CRR else None

    def length_s(self, duration_s: float, warmup_s: float) -> int:
        """Whole seconds, rounded up: netperf reads `-l` with atoi(), so 2.5 would silently mean 2."""
        return math.ceil(duration_s + warmup_s)

    def argv(
        self,
        sample: Mapping[str, object],
        client_address: str,
        server_address: str,
        process: int = 0,
        server_cpu: int | None = None,
    ) -> tuple[str, ...]:
        """The command of process number `process` of a planned sample (an item of `measure_samples`).

        The negative `-D` makes netperf look at the clock after every unit instead of guessing how many units an
        interval takes. `-j` (a clock reading around every unit) only where a latency is asked for. netserver's process
        puts itself on the CPU of `-T`, and says nothing where it is refused.
        """
        run = decode(_Run, {key: value for key, value in sample.items() if key in _Run.__annotations__}, "sample")
        length_s = self.length_s(run.duration_s, run.warmup_s)
        keep_latencies = ["-j"] if any(selector in LATENCIES for selector in self.selectors) else []
        return (
            *("netperf", "-H", server_address, "-L", client_address),
            *("-p", str(self.server.port), "-t", self.test.value),
            *("-l", str(length_s), "-D", f"-{run.interval_s:g}", *keep_latencies, "-P", "0"),
            *(() if server_cpu is None else ("-T", f",{server_cpu}")),
            *("--", *self.options, "-P", f",{run.data_port + process}", "-k", ",".join(self.selectors)),
        )

    def stdout_file(self, process: int) -> str:
        """One file a process."""
        return f"netperf-{process:02d}.txt"

    def complaint(self, stdout: str) -> str:
        """The lines that are no fields: netperf puts most of its complaints there rather than on stderr."""
        return "\n".join(line for line in stdout.splitlines() if "=" not in line)

    def parse(self, text: str, source: str = "netperf's output") -> Reading:
        """What a process printed. Raises ToolError with all that is wrong; `source` names the raw file."""
        output = parse(text, self.selectors, self.test, source)
        sent, received, units = self._totals(output)
        send_size, recv_size = _SIZES[self.test]
        return Reading(
            tool=self.name,
            unit=self.unit,
            rate=output.throughput,
            elapsed_s=output.elapsed_s,
            interim=output.interim,
            latency=_latency(output),
            sent_bytes=sent,
            received_bytes=received,
            units=units,
            connections=units if self.test is Test.TCP_CRR else 0.0,
            control_packets=CONTROL_PACKETS,
            control_bytes=CONTROL_BYTES,
            send_size=output.value(send_size, int),
            recv_size=output.value(recv_size, int),
            mss=output.value(Selector.TRANSPORT_MSS, int),
            client=_socket(output, "LOCAL"),
            server=_socket(output, "REMOTE"),
            settings=tuple(self._settings(output)),
            unread=output.unread,
        )

    def _totals(self, output: Output) -> tuple[int | None, int | None, float | None]:
        """Payload bytes that the client sent and received, and the transactions, for which netperf has no field.

        Bulk data counts where it arrives: what was sent last may be on its way when the test ends.
        """
        if self.test is Test.TCP_STREAM:
            return output.value(Selector.REMOTE_BYTES_RECVD, int), 0, None
        received = output.value(Selector.LOCAL_BYTES_RECVD, int)
        if self.test is Test.TCP_MAERTS:
            return 0, received, None
        size = output.value(Selector.RESPONSE_SIZE, int)
        units = received / size if received is not None and size else None
        return output.value(Selector.LOCAL_BYTES_SENT, int), received, units

    def _settings(self, output: Output) -> Iterator[Setting]:
        """The sizes and the congestion control that the options ask for, with what the fields say of them."""
        for option, value in pairwise(self.options):
            confirming = _CONGESTION if option == "-K" else _CONFIRMED_BY[self.test].get(option, ())
            for selector, wanted in zip(confirming, _pair(value), strict=False):
                # Not every test can tell: TCP_CRR has no connection left whose congestion control it could ask.
                if selector is not None and wanted and selector in output.fields:
                    used = output.fields[selector]
                    yield Setting(f"{option} {value}", selector, wanted, None if used is None else str(used))


def _pair(value: str) -> tuple[str, str]:
    """An option as its local and remote value: `a` is both, `,b` and `a,` are one."""
    first, comma, second = value.partition(",")
    return (first, second) if comma else (first, first)


def _latency(output: Output) -> Latency:
    def us(name: str) -> float | None:
        return output.value(Selector(f"{name}_LATENCY"), float)

    percentiles: Mapping[float, float | None] = {n: us(f"P{n}") for n in (50, 90, 99)}
    return Latency(us("MIN"), us("MEAN"), us("MAX"), us("STDDEV"), percentiles)


def _socket(output: Output, end: str) -> Socket:
    retransmits = output.value(Selector(f"{end}_TRANSPORT_RETRANS"), int)
    return Socket(output.value(Selector(f"{end}_CONG_CONTROL"), str), retransmits)
