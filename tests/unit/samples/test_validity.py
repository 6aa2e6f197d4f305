"""Checks that need another test than the samples of test_sample.py have."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from labctl import catalog
from labctl.catalog import Workload
from labctl.samples import validity as checks
from labctl.samples.raw import End
from labctl.tools import netperf
from labctl.tools.netperf import NetperfResult, Selector, Test

CAPTURES = Path(__file__).parents[2] / "fixtures" / "netperf"
MAERTS_OPTIONS = ("-m", ",16384", "-M", "131072,", "-K", "cubic")
_SIZES = {
    Selector.LOCAL_SEND_SIZE: Selector.LOCAL_RECV_SIZE,
    Selector.REMOTE_RECV_SIZE: Selector.REMOTE_SEND_SIZE,
}


def maerts() -> NetperfResult:
    selectors = [_SIZES.get(name, name) for name in catalog.load().workloads["tcp_stream"].selectors]
    return netperf.parse((CAPTURES / "2.7.0_tcp_maerts.txt").read_text(), selectors, Test.TCP_MAERTS)


def workload() -> Workload:
    stream = catalog.load().workloads["tcp_stream"]
    return Workload(**{**vars(stream), "name": "tcp_maerts", "test": Test.TCP_MAERTS, "options": MAERTS_OPTIONS})


def end(octets: int, packets: int) -> End:
    """A client whose cable received and sent half of this each."""
    names = ("cable.rx_bytes", "cable.tx_bytes", "cable.rx_packets", "cable.tx_packets")
    after = (octets // 2, octets - octets // 2, packets // 2, packets - packets // 2)
    zero = dict.fromkeys(names, 0)
    return End("client.json", "node1", 2, 100, zero, dict(zip(names, after, strict=True)), ())


@pytest.mark.parametrize(("share", "complaints"), [(0.5, 1), (1.0, 0), (3.0, 0)])
def test_a_cable_shared_with_others_bounds_the_bytes_from_below_only(share: float, complaints: int) -> None:
    received = maerts().number(Selector.LOCAL_BYTES_RECVD)
    assert isinstance(received, int)
    packets = received // 1448
    carried = end(int(share * (received + 66 * packets)), int(share * packets))
    wire, reasons = checks.wire(carried, [maerts()], workload(), cable="shared")
    assert len(reasons) == complaints
    assert wire is not None


def test_of_a_cable_that_nobody_could_look_at_nothing_is_asked() -> None:
    assert checks.wire(end(0, 0), [maerts()], workload(), cable="unknown") == (None, ())


def test_settings_of_the_reverse_direction_are_confirmed_by_the_other_ends_fields() -> None:
    assert checks.settings([maerts()], MAERTS_OPTIONS, Test.TCP_MAERTS) == ()
    assert checks.settings([maerts()], ("-m", ",4096", "-M", "4096,"), Test.TCP_MAERTS) == (
        "-m ,4096 was asked for, netperf returned REMOTE_SEND_SIZE=16384",
        "-M 4096, was asked for, netperf returned LOCAL_RECV_SIZE=131072",
    )


@pytest.mark.parametrize("options", [(), ("-D",), ("-m", "1,"), ("-K", ",")])
def test_options_without_a_value_for_this_test_ask_for_nothing(options: tuple[str, ...]) -> None:
    assert checks.settings([maerts()], options, Test.TCP_MAERTS) == ()


def test_what_the_client_received_is_the_payload_of_the_reverse_direction() -> None:
    received = maerts().number(Selector.LOCAL_BYTES_RECVD)
    assert isinstance(received, int)
    packets = received // 1448
    wire, reasons = checks.wire(end(received + 66 * packets, packets), [maerts()], workload())
    assert reasons == ()
    assert wire is not None
    assert wire.ratio == pytest.approx(1, abs=0.001)
    assert wire.bytes_per_packet == pytest.approx(1514, abs=1)


def test_a_silent_cable_has_no_bytes_per_packet() -> None:
    wire, reasons = checks.wire(end(0, 0), [maerts()], workload())
    assert wire is not None
    assert (wire.bytes, wire.bytes_per_packet, wire.ratio) == (0, None, 0)
    assert reasons[0].startswith("the cable of node1 carried 0 bytes; netperf's totals make")


@pytest.mark.parametrize(
    ("per_connection", "fits"), [(7.0, False), (8.4, False), (9.0, True), (10.0, True), (11.0, True), (12.0, False)]
)
def test_packets_per_connection_have_bounds(per_connection: float, fits: bool) -> None:
    crr = catalog.load().workloads["tcp_crr"]
    result = netperf.parse((CAPTURES / "2.7.0_tcp_crr.txt").read_text(), crr.selectors, crr.test)
    connections = result.number(Selector.LOCAL_BYTES_RECVD)
    assert connections is not None
    packets = round(connections * per_connection)
    octets = packets * 66 + round(connections) * 18 + 3300
    _, reasons = checks.wire(end(octets, packets + 20), [result], crr)
    assert (reasons == ()) == fits
    assert fits or f"{per_connection:.2f} packets per unit" in reasons[0]


@pytest.mark.parametrize(("name", "packets_each", "bytes_each"), [("tcp_rr", 2, 134), ("tcp_crr", 10, 678)])
def test_netperfs_own_talk_does_not_count_against_a_slow_test(name: str, packets_each: int, bytes_each: int) -> None:
    """Twenty transactions make less traffic than the control connection: 20 packets and 3.3 KB a process."""
    slow = catalog.load().workloads[name]
    text = (
        "THROUGHPUT=10.0\nTHROUGHPUT_UNITS=Trans/s\nELAPSED_TIME=2.00\n"
        "LOCAL_BYTES_SENT=20\nLOCAL_BYTES_RECVD=20\nRESPONSE_SIZE=1\n"
    )
    wanted = netperf.selectors(line.partition("=")[0] for line in text.splitlines())
    results = [netperf.parse(text, wanted, slow.test)] * 2
    octets, packets = 2 * (20 * bytes_each + 3300), 2 * (20 * packets_each + 20)
    wire, reasons = checks.wire(end(octets, packets), results, slow)
    assert reasons == ()
    assert wire is not None
    assert wire.ratio == pytest.approx(1)


def test_no_transaction_at_all_is_no_division_by_zero() -> None:
    rr = catalog.load().workloads["tcp_rr"]
    text = (
        "THROUGHPUT=0.0\nTHROUGHPUT_UNITS=Trans/s\nELAPSED_TIME=2.00\n"
        "LOCAL_BYTES_SENT=0\nLOCAL_BYTES_RECVD=0\nRESPONSE_SIZE=1\n"
    )
    wanted = netperf.selectors(line.partition("=")[0] for line in text.splitlines())
    result = netperf.parse(text, wanted, rr.test)
    assert checks.wire(end(3300, 20), [result], rr)[1] == ()
    assert checks.wire(end(99_000, 900), [result], rr)[1][0].startswith("the cable of node1 carried 99000 bytes; ")


@pytest.mark.parametrize("step", [0.051, -3600.0])
def test_a_clock_that_is_set_voids_the_sample(step: float) -> None:
    still = replace(end(0, 0), clock_offsets_s=(1e9, 1e9 + 0.0001, 1e9 + 0.0002))
    stepped = replace(still, node="node2", clock_offsets_s=(1e9, 1e9 + 0.0001, 1e9 + step, 1e9 + step))
    (reason,) = checks.clock_steps((still, stepped))
    assert reason.startswith("the clock of node2 was stepped by ")
    assert f"{step:+.2f}"[:-1] in reason


def test_a_clock_that_is_slewed_is_none_that_is_set() -> None:
    slewed = replace(end(0, 0), clock_offsets_s=tuple(1e9 + 0.0005 * second for second in range(300)))
    assert checks.clock_steps((slewed,)) == ()


def test_a_cable_that_was_down_voids_the_sample() -> None:
    before = end(0, 0)
    counters = {**before.before, "cable.carrier_changes": 2}
    flapped = replace(before, before=counters, after={**before.after, "cable.carrier_changes": 4})
    still = replace(before, before=counters, after={**before.after, "cable.carrier_changes": 2})
    reason = "the cable of node1 was down during the sample: its carrier changed 2 times"
    assert checks.carrier((still, flapped, before)) == (reason,)
