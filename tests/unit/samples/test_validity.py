"""Checks that need another test than the samples of test_sample.py have."""

from __future__ import annotations

from dataclasses import replace

import pytest

from labctl import catalog
from labctl.catalog import Workload
from labctl.catalog.tunnel import Tunnel
from labctl.samples import validity as checks
from labctl.samples.raw import End
from labctl.samples.validity import Link
from labctl.tools.reading import RateUnit, Reading, Setting

RECEIVED = 1_000_000_000


def workload(name: str) -> Workload:
    return catalog.load().workloads[name]


def reverse() -> Reading:
    """What a program says that received bulk data."""
    return Reading(
        "prog", RateUnit.MEGABIT, 4000.0, 2.0, sent_bytes=0, received_bytes=RECEIVED, connections=0, mss=1448
    )


def requests(units: float | None, connections: float | None = 0) -> Reading:
    """What a program says that sent a byte and received one for each unit, and talked with its server besides."""
    count = None if units is None else int(units)
    return Reading(
        tool="prog",
        unit=RateUnit.UNIT,
        rate=10.0,
        elapsed_s=2.0,
        sent_bytes=count,
        received_bytes=count,
        units=units,
        connections=connections,
        control_packets=20,
        control_bytes=3300,
    )


def end(octets: int, packets: int) -> End:
    """A client whose cable received and sent half of this each."""
    names = ("cable.rx_bytes", "cable.tx_bytes", "cable.rx_packets", "cable.tx_packets")
    after = (octets // 2, octets - octets // 2, packets // 2, packets - packets // 2)
    zero = dict.fromkeys(names, 0)
    return End("client.json", "node1", 2, 100, zero, dict(zip(names, after, strict=True)), ())


@pytest.mark.parametrize(("share", "complaints"), [(0.5, 1), (1.0, 0), (3.0, 0)])
def test_a_cable_shared_with_others_bounds_the_bytes_from_below_only(share: float, complaints: int) -> None:
    packets = RECEIVED // 1448
    carried = end(int(share * (RECEIVED + 66 * packets)), int(share * packets))
    wire, reasons = checks.wire(carried, [reverse()], workload("tcp_stream"), cable="shared")
    assert len(reasons) == complaints
    assert wire is not None


def test_of_a_cable_that_nobody_could_look_at_nothing_is_asked() -> None:
    assert checks.wire(end(0, 0), [reverse()], workload("tcp_stream"), cable="unknown") == (None, ())


def test_a_setting_that_did_not_come_back_is_named_once_for_all_processes() -> None:
    held = Setting("-K cubic", "SERVER_CONTROL", "cubic", "cubic")
    one = replace(reverse(), settings=(Setting("-m 16384", "SEND_SIZE", "16384", "4096"), held))
    other = replace(reverse(), settings=(replace(one.settings[0], used=None), held))
    assert checks.settings([one, one, other]) == (
        "-m 16384 was asked for, prog returned SEND_SIZE=4096",
        "-m 16384 was asked for, prog returned SEND_SIZE=nothing",
    )


def test_units_that_failed_void_the_sample() -> None:
    assert checks.errors([reverse(), replace(reverse(), errors=0)]) == ()
    assert checks.errors([replace(reverse(), errors=2), replace(reverse(), errors=1)]) == ("prog counted 3 errors",)


@pytest.mark.parametrize("lacking", ["units", "connections", "sent_bytes", "received_bytes"])
def test_totals_that_a_program_does_not_return_leave_the_way_unknown(lacking: str) -> None:
    known = requests(100.0)
    reading = replace(known, **{lacking: None})  # type: ignore[arg-type]
    assert checks.wire(end(13400, 200), [known, reading], workload("tcp_rr")) == (
        None,
        ("whether the traffic took the cable is unknown: prog did not return its totals",),
    )


@pytest.mark.parametrize(("connections", "names"), [(0, 0), (7, 2), (None, 2)])
def test_connection_tracking_matters_where_connections_are_or_may_have_been_opened(
    connections: float | None, names: int
) -> None:
    blind = end(0, 0)
    assert len(checks.unread(blind, [requests(1.0, connections)])) == 1 + names


def test_what_the_client_received_is_the_payload_of_the_reverse_direction() -> None:
    packets = RECEIVED // 1448
    wire, reasons = checks.wire(end(RECEIVED + 66 * packets, packets), [reverse()], workload("tcp_stream"))
    assert reasons == ()
    assert wire is not None
    assert wire.ratio == pytest.approx(1, abs=0.001)
    assert wire.bytes_per_packet == pytest.approx(1514, abs=1)


def test_a_silent_cable_has_no_bytes_per_packet() -> None:
    wire, reasons = checks.wire(end(0, 0), [reverse()], workload("tcp_stream"))
    assert wire is not None
    assert (wire.bytes, wire.bytes_per_packet, wire.ratio) == (0, None, 0)
    assert reasons[0].startswith("the cable of node1 carried 0 bytes; prog's totals make")


@pytest.mark.parametrize(
    ("per_connection", "fits"), [(7.0, False), (8.4, False), (9.0, True), (10.0, True), (11.0, True), (12.0, False)]
)
def test_packets_per_connection_have_bounds(per_connection: float, fits: bool) -> None:
    octets, packets = round(1000 * (66 * per_connection + 18)) + 3300, round(1000 * per_connection)
    _, reasons = checks.wire(end(octets, packets + 20), [requests(1000.0, 1000.0)], workload("tcp_crr"))
    assert (reasons == ()) == fits
    assert fits or f"{per_connection:.2f} packets per unit" in reasons[0]


@pytest.mark.parametrize(
    ("name", "connections", "packets_each", "bytes_each"), [("tcp_rr", 0, 2, 134), ("tcp_crr", 20, 10, 678)]
)
def test_a_programs_own_talk_does_not_count_against_a_slow_test(
    name: str, connections: float, packets_each: int, bytes_each: int
) -> None:
    """Twenty transactions make less traffic than netperf's control connection: 20 packets and 3.3 KB a process."""
    octets, packets = 2 * (20 * bytes_each + 3300), 2 * (20 * packets_each + 20)
    wire, reasons = checks.wire(end(octets, packets), [requests(20.0, connections)] * 2, workload(name))
    assert reasons == ()
    assert wire is not None
    assert wire.ratio == pytest.approx(1)


def test_no_transaction_at_all_is_no_division_by_zero() -> None:
    assert checks.wire(end(3300, 20), [requests(0.0)], workload("tcp_rr"))[1] == ()
    (reason,) = checks.wire(end(99_000, 900), [requests(0.0)], workload("tcp_rr"))[1]
    assert reason.startswith("the cable of node1 carried 99000 bytes; ")


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


def test_a_tunnel_adds_to_every_packet_by_its_size() -> None:
    bulk = checks._Totals(payload=1388 * 100.0, units=None)
    assert checks.tunnel_bytes(150, bulk, Link(Tunnel.KERNEL, 1500), 1388) == 100 * 60 + 50 * (60 + 12)
    requests = checks._Totals(payload=200.0, units=100.0)
    assert checks.tunnel_bytes(200, requests, Link(Tunnel.KERNEL, 1500), 1388) == 200 * (60 + 12)
    assert checks.tunnel_bytes(200, requests, Link(), 1448) == 0
