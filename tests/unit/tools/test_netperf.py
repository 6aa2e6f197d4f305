"""netperf's command line, and what its output is as a Reading."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from labctl import catalog, tools
from labctl.core.errors import LabctlError
from labctl.tools.netperf import Netperf
from labctl.tools.netperf_output import Selector, Test
from labctl.tools.reading import RateUnit, Reading, Setting, Socket

FIXTURES = Path(__file__).parents[2] / "fixtures" / "netperf"
ITEM = {
    "test": "TCP_RR",
    "selectors": ["THROUGHPUT", "P50_LATENCY"],
    "options": ["-r", "1,1", "-K", "cubic"],
    "data_port": 20000,
    "duration_s": 2.0,
    "warmup_s": 1.0,
    "interval_s": 0.2,
}
MAERTS = {Selector.LOCAL_SEND_SIZE: Selector.LOCAL_RECV_SIZE, Selector.REMOTE_RECV_SIZE: Selector.REMOTE_SEND_SIZE}


def argv(item: dict[str, object], process: int = 0) -> tuple[str, ...]:
    return tools.of(item).argv(item, "198.18.0.139", "198.18.0.140", process)


def netperf(workload: str) -> Netperf:
    """The tool as the catalog sets it up."""
    program = catalog.load().workloads[workload].program
    assert isinstance(program, Netperf)
    return program


def maerts(*options: str) -> Netperf:
    """The stream of the catalog in the other direction."""
    selectors = tuple(MAERTS.get(name, name) for name in netperf("tcp_stream").selectors)
    return Netperf(Test.TCP_MAERTS, options, selectors)


def read(name: str, tool: Netperf) -> Reading:
    return tool.parse((FIXTURES / f"{name}.txt").read_text(), f"{name}.txt")


# The command


def test_the_command_of_a_process() -> None:
    assert " ".join(argv(ITEM, process=3)) == (
        "netperf -H 198.18.0.140 -L 198.18.0.139 -p 12865 -t TCP_RR -l 3 -D -0.2 -j -P 0 "
        "-- -r 1,1 -K cubic -P ,20003 -k THROUGHPUT,P50_LATENCY"
    )


def test_latencies_are_kept_only_where_one_is_asked_for() -> None:
    assert "-j" not in argv({**ITEM, "test": "TCP_STREAM", "selectors": ["THROUGHPUT"]})


@pytest.mark.parametrize(
    ("duration", "warmup", "length"), [(2.0, 1.0, "3"), (2.5, 1.0, "4"), (0.3, 0.3, "1"), (1, 0, "1")]
)
def test_the_length_is_rounded_up_because_netperf_would_cut_it_off(duration: float, warmup: float, length: str) -> None:
    command = argv({**ITEM, "duration_s": duration, "warmup_s": warmup})
    assert command[command.index("-l") + 1] == length


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("selectors", ["STDEV_LATENCY"], r"the value is not THROUGHPUT or .*\n  where: sample:selectors\[0\]\n"),
        ("test", "UDP_RR", r"the value is not TCP_STREAM or .*\n  where: sample:test\n  seen:  'UDP_RR'"),
        ("interval_s", "0.2", r"the value is not a number\n  where: sample:interval_s\n  seen:  '0.2'"),
        ("options", "-r 1,1", r"the value is not a list\n  where: sample:options\n  seen:  '-r 1,1'"),
    ],
)
def test_what_netperf_would_drop_or_misread_is_refused(key: str, value: object, message: str) -> None:
    with pytest.raises(LabctlError, match=message):
        argv({**ITEM, key: value})


def test_netserver_has_to_be_woken_after_tests_of_many_connections() -> None:
    tests = [netperf(name) for name in ("tcp_stream", "tcp_rr", "tcp_crr")]
    assert [test.ends_server for test in tests] == [None, None, signal.SIGALRM]
    assert [test.tail_s for test in tests] == [0.0, 0.0, 0.25]
    assert [test.local_ports for test in tests] == [None, None, 60_534]


# The reading


def test_bulk_data_is_what_arrived() -> None:
    reading = read("2.7.0_tcp_stream", netperf("tcp_stream"))
    assert (reading.tool, reading.unit) == ("netperf", RateUnit.MEGABIT)
    assert reading.sent_bytes == pytest.approx(reading.rate * 1e6 / 8 * reading.elapsed_s, rel=0.01)
    assert (reading.received_bytes, reading.units, reading.connections) == (0, None, 0)
    assert (reading.send_size, reading.recv_size, reading.mss) == (16384, 131072, 1448)
    assert reading.client.congestion_control == reading.server.congestion_control == "cubic"
    assert reading.client.retransmits is not None
    assert reading.latency.percentiles[50] is None


def test_the_reverse_direction_is_what_the_client_received() -> None:
    reading = read("2.7.0_tcp_maerts", maerts())
    assert reading.sent_bytes == 0
    assert reading.received_bytes == pytest.approx(reading.rate * 1e6 / 8 * reading.elapsed_s, rel=0.01)
    assert (reading.send_size, reading.recv_size) == (16384, 131072)


@pytest.mark.parametrize(("workload", "opens"), [("tcp_rr", False), ("tcp_crr", True)])
def test_transactions_follow_from_the_bytes_of_their_responses(workload: str, opens: bool) -> None:
    reading = read(f"2.7.0_{workload}", netperf(workload))
    assert (reading.unit, reading.send_size, reading.recv_size) == (RateUnit.UNIT, 1, 1)
    assert reading.units == reading.received_bytes
    assert reading.units == pytest.approx(reading.rate * reading.elapsed_s, rel=0.01)
    assert reading.connections == (reading.units if opens else 0)
    assert reading.latency.percentiles[99] is not None
    assert reading.latency.histogram is None


def test_a_longer_response_makes_fewer_transactions() -> None:
    text = (
        "THROUGHPUT=1.0\nTHROUGHPUT_UNITS=Trans/s\nELAPSED_TIME=1.00\n"
        "LOCAL_BYTES_SENT=30\nLOCAL_BYTES_RECVD=3000\nRESPONSE_SIZE=100\n"
    )
    selectors = tuple(Selector(line.partition("=")[0]) for line in text.splitlines())
    assert Netperf(Test.TCP_RR, (), selectors).parse(text).units == 30


def test_what_was_not_asked_for_is_not_known() -> None:
    small = replace(netperf("tcp_crr"), selectors=(*list(Selector)[:3],))
    reading = small.parse("THROUGHPUT=1.0\nTHROUGHPUT_UNITS=Trans/s\nELAPSED_TIME=1.00\n")
    assert (reading.sent_bytes, reading.received_bytes, reading.units, reading.connections) == (None, None, None, None)
    assert (reading.mss, reading.client, reading.latency.mean) == (None, Socket(), None)


def test_tcp_crr_has_no_connection_left_whose_congestion_control_it_could_ask() -> None:
    assert [one.field for one in read("2.7.0_tcp_crr", netperf("tcp_crr")).settings] == [
        "REQUEST_SIZE",
        "RESPONSE_SIZE",
    ]


def test_settings_of_the_reverse_direction_are_confirmed_by_the_other_ends_fields() -> None:
    assert read("2.7.0_tcp_maerts", maerts("-m", ",4096", "-M", "131072,", "-K", "cubic")).settings == (
        Setting("-m ,4096", "REMOTE_SEND_SIZE", "4096", "16384"),
        Setting("-M 131072,", "LOCAL_RECV_SIZE", "131072", "131072"),
        Setting("-K cubic", "LOCAL_CONG_CONTROL", "cubic", "cubic"),
        Setting("-K cubic", "REMOTE_CONG_CONTROL", "cubic", "cubic"),
    )


@pytest.mark.parametrize("options", [(), ("-D",), ("-m", "1,"), ("-K", ",")])
def test_options_without_a_value_for_this_test_ask_for_nothing(options: tuple[str, ...]) -> None:
    assert read("2.7.0_tcp_maerts", maerts(*options)).settings == ()
