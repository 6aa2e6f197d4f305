"""Checks that need another test than the samples of test_sample.py have."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from labctl import catalog
from labctl.catalog import Workload
from labctl.catalog.tunnel import Tunnel
from labctl.samples import validity as checks
from labctl.samples.raw import CableUse, End, Item, Ports, RawSample
from labctl.samples.validity import Link
from labctl.tools.reading import Interim, RateUnit, Reading, Setting

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
    wire, reasons = checks.wire(carried, end(0, 0), [reverse()], workload("tcp_stream"), cable="shared")
    assert len(reasons) == complaints
    assert wire is not None


def test_of_a_cable_that_nobody_could_look_at_nothing_is_asked() -> None:
    assert checks.wire(end(0, 0), end(0, 0), [reverse()], workload("tcp_stream"), cable="unknown") == (None, ())


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
    assert checks.wire(end(13400, 200), end(0, 0), [known, reading], workload("tcp_rr")) == (
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
    wire, reasons = checks.wire(end(RECEIVED + 66 * packets, packets), end(0, 0), [reverse()], workload("tcp_stream"))
    assert reasons == ()
    assert wire is not None
    assert wire.ratio == pytest.approx(1, abs=0.001)
    assert wire.bytes_per_packet == pytest.approx(1514, abs=1)


def test_a_silent_cable_has_no_bytes_per_packet() -> None:
    wire, reasons = checks.wire(end(0, 0), end(0, 0), [reverse()], workload("tcp_stream"))
    assert wire is not None
    assert (wire.bytes, wire.bytes_per_packet, wire.ratio) == (0, None, 0)
    assert reasons[0].startswith("the cable of node1 carried 0 bytes; prog's totals make")


@pytest.mark.parametrize(
    ("per_connection", "fits"), [(7.0, False), (8.4, False), (9.0, True), (10.0, True), (11.0, True), (12.0, False)]
)
def test_packets_per_connection_have_bounds(per_connection: float, fits: bool) -> None:
    octets, packets = round(1000 * (66 * per_connection + 18)) + 3300, round(1000 * per_connection)
    _, reasons = checks.wire(end(octets, packets + 20), end(0, 0), [requests(1000.0, 1000.0)], workload("tcp_crr"))
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
    wire, reasons = checks.wire(end(octets, packets), end(0, 0), [requests(20.0, connections)] * 2, workload(name))
    assert reasons == ()
    assert wire is not None
    assert wire.ratio == pytest.approx(1)


def test_no_transaction_at_all_is_no_division_by_zero() -> None:
    assert checks.wire(end(3300, 20), end(0, 0), [requests(0.0)], workload("tcp_rr"))[1] == ()
    (reason,) = checks.wire(end(99_000, 900), end(0, 0), [requests(0.0)], workload("tcp_rr"))[1]
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


def grown(octets: int, packets: int, **counters: int) -> End:
    """The same end, with what further counters grew by: `ip_ForwDatagrams` for ip.ForwDatagrams."""
    plain = end(octets, packets)
    named = {name.replace("_", ".", 1): value for name, value in counters.items()}
    return replace(plain, before={**plain.before, **dict.fromkeys(named, 0)}, after={**plain.after, **named})


@pytest.mark.parametrize(("per_packet", "fits", "counted"), [(0, True, False), (4, True, True), (6, False, False)])
def test_a_card_may_count_the_frame_check_sequence(per_packet: int, fits: bool, counted: bool) -> None:
    """Ratio 1.06 at one byte a request: recognised by its 4 bytes; others' traffic of that size is not."""
    packets = 200_020
    octets = 100_000 * 134 + 3300 + per_packet * packets
    wire, reasons = checks.wire(end(octets, packets), end(0, 0), [requests(100_000.0)], workload("tcp_rr"))
    assert wire is not None
    assert (reasons == (), wire.counts_fcs) == (fits, counted)


@pytest.mark.parametrize(("known", "fits"), [(True, True), (False, False)])
def test_segments_that_were_sent_again_are_no_others_traffic(known: bool, fits: bool) -> None:
    """6 % of the segments, which the kernel counts: valid, and flagged."""
    segments = RECEIVED // 1448
    packets = round(1.06 * segments)
    octets = packets * (1448 + 66)
    again = {"tcp_RetransSegs": packets - segments} if known else {}
    quiet = grown(0, 0, tcp_RetransSegs=0)
    wire, reasons = checks.wire(grown(octets, packets, **again), quiet, [reverse()], workload("tcp_stream"))
    assert (reasons == ()) is fits
    assert checks.resent(wire) is known
    assert wire is not None
    assert wire.retransmits == (packets - segments if known else None)


def test_few_segments_that_were_sent_again_are_nothing_to_say() -> None:
    segments = RECEIVED // 1448
    carried = grown((segments + 9) * 1514, segments + 9, tcp_RetransSegs=9)
    wire, reasons = checks.wire(carried, grown(0, 0, tcp_RetransSegs=0), [reverse()], workload("tcp_stream"))
    assert reasons == ()
    assert not checks.resent(wire)


def sample(client: End, server: End, cable: CableUse = "own", **item: object) -> RawSample:
    """A measured sample of these ends, planned with what `item` says."""
    names = ("id", "cell", "setup", "workload", "processes_label", "tool")
    planned = Item(**dict.fromkeys(names, "x"), processes=1, round=1, n=1, duration_s=2.0, warmup_s=1.0, settings={})  # type: ignore[arg-type]
    return RawSample(
        folder=Path(),
        item=replace(planned, **item),  # type: ignore[arg-type]
        failed=False,
        reason=None,
        clock_offset_s=0.0,
        clock_uncertainty_s=0.0,
        shared_kernel=True,
        client=client,
        server=server,
        processes=(),
        cable=cable,
    )


def way(forwarded: int, wanted: float | None, name: str = "tcp_rr", cable: CableUse = "own") -> tuple[str, ...]:
    """What is said of a sample of 100,000 requests, or of 1 GB, of whose packets each node forwarded so many."""
    bulk = name == "tcp_stream"
    reading = reverse() if bulk else requests(100_000.0)
    packets = RECEIVED // 1448 if bulk else 200_020
    octets = RECEIVED + 66 * packets if bulk else 100_000 * 134 + 3300
    client, server = (grown(octets, packets, ip_ForwDatagrams=forwarded) for _ in range(2))
    seen, reasons = checks.wire(client, server, [reading], workload(name))
    assert reasons == ()
    return checks.path(sample(client, server, cable, forwarded=wanted), seen, [reading])


@pytest.mark.parametrize(
    ("forwarded", "wanted", "fits"),
    [
        (0, 0.0, True),
        (200_020, 1.0, True),
        (100_010, 0.5, True),
        (123_000, 0.0, False),  # as Cilium did whose configuration was changed in mid-sample: 836,311 of 1,360,226
        (20, 1.0, False),
        (180_000, 1.0, False),
        (0, 0.5, False),
        (77, None, True),
    ],
)
def test_every_sample_takes_the_way_that_was_proven(forwarded: int, wanted: float | None, fits: bool) -> None:
    reasons = way(forwarded, wanted)
    assert len(reasons) == (0 if fits else 2)
    if not fits:
        assert reasons[0].startswith(
            f"node1 forwarded {forwarded / 200_020:.3f} datagrams for each packet on the cable"
        )


@pytest.mark.parametrize(
    ("forwarded", "wanted", "fits"), [(0, 0.0, True), (1_600, 0.0, True), (16_000, 0.0, False), (16_000, 1.0, True)]
)
def test_of_bulk_data_the_stack_forwards_packets_that_the_cable_carries_in_pieces(
    forwarded: int, wanted: float, fits: bool
) -> None:
    assert (way(forwarded, wanted, "tcp_stream") == ()) is fits


def test_what_the_stack_forwards_for_others_is_theirs() -> None:
    assert way(300_000, 1.0, cable="shared") == ()
    assert way(300_000, 1.0) != ()


@pytest.mark.parametrize(
    ("entries", "tracked", "fits"),
    [(30_000, True, True), (40, True, False), (10, False, True), (9_000, False, False), (9_000, None, True)],
)
def test_connections_are_tracked_as_they_were_proven_to_be(entries: int, tracked: bool | None, fits: bool) -> None:
    reading = requests(30_000.0, 30_000.0)
    client, server = (grown(30_000 * 678 + 3300, 300_020, conntrack_count=entries) for _ in range(2))
    seen, _ = checks.wire(client, server, [reading], workload("tcp_crr"))
    reasons = checks.path(sample(client, server, tracked=tracked), seen, [reading])
    assert len(reasons) == (0 if fits else 2)


@pytest.mark.parametrize(("off", "fits"), [(0.0, True), (0.009, True), (0.02, False), (-0.02, False)])
def test_interim_results_add_up_to_the_rate_of_the_test(off: float, fits: bool) -> None:
    interim = tuple(Interim(100 + second, 101 + second, 10_000 * (1 + off)) for second in range(2))
    reading = replace(requests(20_000.0), rate=10_000.0, interim=interim)
    reasons = checks.interims([reading])
    assert (reasons == ()) is fits
    assert fits or f"{100 * off:+.1f} %" in reasons[0]


def test_a_clock_that_runs_away_voids_the_sample() -> None:
    """Slewed by 60 ms in steps that each are small: the raw clock shows it, which nobody slews."""
    slewed = replace(end(0, 0), clock_offsets_s=(1e9, 1e9, 1e9), clock_drifts_s=(1e9, 1e9 + 0.03, 1e9 + 0.06))
    assert checks.clock_steps([slewed]) == ("the clock of node1 drifted by +0.060 s during the sample",)


@pytest.mark.parametrize(
    ("fresh", "reused", "mixed"), [(9000, 0, False), (0, 9000, False), (9000, 9000, True), (None, None, False)]
)
def test_fresh_and_reused_ports_in_one_sample_are_seen(fresh: int | None, reused: int | None, mixed: bool) -> None:
    assert checks.mixed_ports(replace(end(0, 0), ports=Ports(fresh, reused))) is mixed
