"""What voids a sample: traffic that took another way, settings that did not come back, counters that grew.

Every check returns reasons in words; an empty tuple is a pass. Pure functions over the raw sample.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from labctl.catalog import Workload
from labctl.catalog.tunnel import Tunnel
from labctl.samples.raw import CableUse, End, RawSample, total
from labctl.tools.reading import Reading

CLOCK_LIMIT_S = 0.1
STEP_LIMIT_S = 0.05  # a clock that is slewed moves 0.5 ms a second; what a tool and the ticks are cut by jumps with it
TOLERANCE = 0.05
FCS_BYTES = 4  # some cards count the frame check sequence of every packet
FCS_TOLERANCE = 0.005  # what is not as exactly explained by it is somebody's traffic
RETRANSMIT_SHARE = 0.01  # of the packets of a sample; more is flagged
INTERIM_TOLERANCE = 0.01
# A packet of the stack can be that long, and is cut into many for the cable.
LONGEST_SEGMENT = 65536
UNTOLD_SHARE = 0.5  # of bulk data's datagrams: how long each was nobody counts
# Connections that are tracked leave an entry each: at least so many, since a reused port finds that of the one before.
TRACKED_SHARE, UNTRACKED_SHARE, ENTRIES = 0.3, 0.05, 20_000
OTHERS_ENTRIES = 50
# Ethernet 14, IPv4 20, TCP 20 and its timestamps 12, as the interface counts a packet (without FCS).
HEADER_BYTES = 66
ETHERNET_BYTES = 14
# What one connection adds beyond headers and payload: SYN and SYN+ACK carry 20 bytes of options instead of 12.
SYN_BYTES = 16
_CABLE = ("cable.rx_bytes", "cable.tx_bytes", "cable.rx_packets", "cable.tx_packets")
_TRACKING = ("conntrack.insert_failed", "conntrack.drop")
RELIED_ON = (*_CABLE, "tcp.RetransSegs")


@dataclass(frozen=True)
class Link:
    """What the packets of a sample cross: a cable with an MTU in bytes, and the tunnel over it, if there is one."""

    tunnel: Tunnel | None = None
    mtu: int = 1500


PLAIN = Link()


@dataclass(frozen=True)
class Wire:
    """What the client's cable carried over the whole test, both directions, and what the tool's bytes say it should.

    `expected_bytes` is payload and headers; `ratio` is bytes over expected bytes. `retransmits` are the segments that
    the ends sent again, which are expected as well; None where they could not be read. `counts_fcs`: the card counts
    the frame check sequence of every packet. `forwarded_per_packet` is the share of the packets that the stacks of both
    nodes forwarded, the client's first; None where that could not be read.
    """

    bytes: int
    packets: int
    bytes_per_packet: float | None
    expected_bytes: float
    ratio: float
    retransmits: int | None = None
    counts_fcs: bool = False
    forwarded_per_packet: tuple[float | None, float | None] = (None, None)


def wire(
    client: End,
    server: End,
    readings: Sequence[Reading],
    workload: Workload,
    link: Link = PLAIN,
    cable: CableUse = "own",
) -> tuple[Wire | None, tuple[str, ...]]:
    """The cable's own counters against the tool's totals, and the reasons against the sample.

    Both cover the whole test, control connections included, not the window. Bulk data: payload plus a header for
    every packet that was seen. Requests and connections: their number times the packets they take. A tunnel adds
    its own bytes to every packet, segments that were sent again cross the cable again, and a card may count the frame
    check sequence, which is recognised where it alone explains the bytes. On a cable shared with others' traffic no
    more than the lower bound can be asked for; where nobody could look at it, nothing.
    """
    if cable == "unknown":
        return None, ()
    deltas = {name: client.delta(name) for name in _CABLE}
    known = {name: delta for name, delta in deltas.items() if delta is not None}
    if len(known) < len(deltas):
        missing = ", ".join(name for name in deltas if name not in known)
        return None, (f"whether the traffic took the cable is unknown: {missing} of {client.node} could not be read",)
    if min(known.values()) < 0:
        return None, (f"the cable's counters of {client.node} went backwards: the interface was made anew",)
    totals, tool = _Totals.of(readings, workload), readings[0].tool
    if totals is None:
        return None, (f"whether the traffic took the cable is unknown: {tool} did not return its totals",)
    octets = known["cable.rx_bytes"] + known["cable.tx_bytes"]
    packets = known["cable.rx_packets"] + known["cable.tx_packets"]
    again = total(end.delta("tcp.RetransSegs") for end in (client, server))
    segments = max(0, again or 0)
    expected, per_unit = _expected(packets - sum(one.control_packets for one in readings), totals, workload, segments)
    expected += sum(one.control_bytes for one in readings)
    encrypted = "" if link.tunnel is None else f" and {link.tunnel.words}"
    expected += tunnel_bytes(packets, totals, link, readings[0].mss) + segments * _again_bytes(totals, readings[0].mss)
    with_fcs = expected + FCS_BYTES * packets
    fcs = abs(octets / expected - 1) > TOLERANCE and abs(octets / with_fcs - 1) <= FCS_TOLERANCE
    expected = with_fcs if fcs else expected
    forwarded = (_share(client.delta("ip.ForwDatagrams"), packets), _share(server.delta("ip.ForwDatagrams"), packets))
    seen = Wire(octets, packets, _share(octets, packets), expected, octets / expected, again, fcs, forwarded)
    if abs(seen.ratio - 1) <= TOLERANCE or (cable == "shared" and seen.ratio > 1):
        return seen, ()
    units = "" if per_unit is None else f", {per_unit:.2f} packets per unit"
    why = "traffic took another way" if seen.ratio < 1 else "others' traffic crossed it too, or a tunnel added to it"
    return seen, (
        f"the cable of {client.node} carried {octets} bytes{units}; {tool}'s totals make {expected:.0f} with headers "
        f"of {HEADER_BYTES} bytes{encrypted}: ratio {seen.ratio:.3f}, allowed 1 +- {TOLERANCE}: {why}",
    )


@dataclass(frozen=True)
class _Totals:
    """Over all processes and the whole test: payload bytes, units (None for bulk data), connections opened for them."""

    payload: float
    units: float | None
    connections: float = 0.0

    @classmethod
    def of(cls, readings: Sequence[Reading], workload: Workload) -> _Totals | None:
        """None where the tool did not return what it takes."""
        sent, received = total(one.sent_bytes for one in readings), total(one.received_bytes for one in readings)
        connections = total(one.connections for one in readings)
        bulk = workload.packets_per_unit is None
        units = None if bulk else total(one.units for one in readings)
        if sent is None or received is None or connections is None or (units is None and not bulk):
            return None
        return cls(sent + received, units, connections)


def tunnel_bytes(packets: int, totals: _Totals, link: Link, mss: float | None) -> float:
    """Bytes that a tunnel adds to so many packets.

    To those filled with payload what it adds to a full one, to the others what it adds to one with next to none.
    """
    if link.tunnel is None:
        return 0.0
    full = 0.0 if totals.units is not None or not mss else min(totals.payload / mss, packets)
    headers = HEADER_BYTES - ETHERNET_BYTES
    each = [link.tunnel.outer_bytes(size, link.mtu) - size for size in (headers + (mss or 0), headers)]
    return full * each[0] + (packets - full) * each[1]


def _share(part: int | None, whole: int) -> float | None:
    return part / whole if part is not None and whole else None


def _again_bytes(totals: _Totals, mss: float | None) -> float:
    """Payload of a segment that was sent again; its headers count with the packets."""
    return (mss or 0.0) if totals.units is None else totals.payload / totals.units / 2 if totals.units else 0.0


def _expected(packets: int, totals: _Totals, workload: Workload, again: int) -> tuple[float, float | None]:
    """Bytes that the workload puts on the cable, and packets per unit (None for bulk data).

    `again` segments are no units' own.
    """
    if workload.packets_per_unit is None or totals.units is None:
        return totals.payload + HEADER_BYTES * packets, None
    low, high = (bound * totals.units for bound in workload.packets_per_unit)
    syn = SYN_BYTES * totals.connections
    expected = totals.payload + syn + HEADER_BYTES * min(max(packets, low), high + again)
    return expected, packets / totals.units if totals.units else None


def path(sample: RawSample, seen: Wire | None, readings: Sequence[Reading]) -> tuple[str, ...]:
    """The way that the packets took against the one that was proven: forwarded by a stack or not, tracked or not.

    Of bulk data the stack forwards packets of up to 64 KiB, of which the cable carries the pieces.
    """
    if seen is None or sample.client is None or sample.server is None:
        return ()
    ends = (sample.client, sample.server)
    reasons = [
        words
        for end, share in zip(ends, seen.forwarded_per_packet, strict=True)
        if (words := _forwarded(sample, end, share, readings))
    ]
    return (*reasons, *(words for end in ends if (words := _tracked(sample, end, readings))))


def _forwarded(sample: RawSample, end: End, share: float | None, readings: Sequence[Reading]) -> str | None:
    wanted = sample.item.forwarded
    bulk = any(reading.units is None for reading in readings)
    if wanted is None or share is None or (bulk and 0 < wanted < 1):
        return None
    pieces = math.ceil(LONGEST_SEGMENT / (readings[0].mss or LONGEST_SEGMENT)) if bulk else 1
    none = UNTOLD_SHARE / pieces if bulk else TOLERANCE  # as good as no datagram
    low, high = wanted * (1 - TOLERANCE) / pieces, wanted * (1 + TOLERANCE) if wanted else none
    if low <= share and (share <= high or (wanted and sample.cable != "own")):
        return None
    other = "at least a part of them took the kernel's stack" if share > high else "a part of them passed it by"
    return (
        f"{end.node} forwarded {share:.3f} datagrams for each packet on the cable, where the setup that was proven "
        f"forwards {wanted:g}: {other}"
    )


def _tracked(sample: RawSample, end: End, readings: Sequence[Reading]) -> str | None:
    """Only connections that come and go leave entries enough to tell."""
    wanted, grown = sample.item.tracked, end.delta("conntrack.count")
    opened = total(reading.connections for reading in readings)
    if wanted is None or grown is None or not opened or opened < 20 * OTHERS_ENTRIES:
        return None
    if wanted and grown < TRACKED_SHARE * min(opened, ENTRIES):
        return f"{end.node} tracked {grown} of {opened:.0f} connections, where the setup that was proven tracks them"
    if not wanted and grown > UNTRACKED_SHARE * opened + OTHERS_ENTRIES and sample.cable == "own":
        return f"{end.node} tracked {grown} of {opened:.0f} connections, where the setup that was proven tracks none"
    return None


def interims(readings: Sequence[Reading]) -> tuple[str, ...]:
    """What the interim results add up to, against the rate of the whole test: the window is cut from the former."""
    reasons = []
    for number, reading in enumerate(readings):
        units = math.fsum(one.rate * (one.end - one.start) for one in reading.interim)
        whole = reading.rate * reading.elapsed_s
        # The last interval is not printed where nothing ended in it.
        rest = max((one.end - one.start for one in reading.interim), default=0.0) * reading.rate / 100
        if reading.interim and abs(units - whole) > INTERIM_TOLERANCE * whole + min(rest, 2.0):
            off = f"{100 * (units / whole - 1):+.1f} %" if whole else "all"
            reasons.append(
                f"the interim results of process {number} do not add up to its rate: {off}, allowed "
                f"{100 * INTERIM_TOLERANCE:g} %"
            )
    return tuple(reasons)


def resent(seen: Wire | None) -> bool:
    """Whether so many segments were sent again that a reader has to know."""
    return seen is not None and (seen.retransmits or 0) > RETRANSMIT_SHARE * seen.packets


def mixed_ports(client: End) -> bool:
    """Whether connections from fresh client ports and from reused ones are in one sample."""
    fresh, reused = client.ports.fresh or 0, client.ports.reused or 0
    return min(fresh, reused) > TOLERANCE * (fresh + reused)


def settings(readings: Sequence[Reading]) -> tuple[str, ...]:
    """Requested sizes and congestion control against what the tool says it used; the MSS of all processes alike."""
    reasons = {
        f"{one.asked} was asked for, {reading.tool} returned {one.field}={one.used or 'nothing'}": None
        for same in zip(*(reading.settings for reading in readings), strict=True)
        for reading, one in zip(readings, same, strict=True)
        if one.used != one.wanted
    }
    sizes = {reading.mss for reading in readings if reading.mss is not None}
    if len(sizes) > 1:
        reasons[f"the processes had different MSS: {', '.join(sorted(str(size) for size in sizes))}"] = None
    return tuple(reasons)


def errors(readings: Sequence[Reading]) -> tuple[str, ...]:
    """Units that failed: what they would have taken is in no rate and in no latency."""
    failed = sum(reading.errors or 0 for reading in readings)
    return (f"{readings[0].tool} counted {failed} errors",) if failed else ()


def clocks(sample: RawSample) -> tuple[str, ...]:
    """The offset between the clocks of both ends, known and within 100 ms."""
    offset, uncertainty = sample.clock_offset_s, sample.clock_uncertainty_s
    if offset is None or uncertainty is None:
        return ("the clock offset between the nodes was not measured",)
    if abs(offset) > CLOCK_LIMIT_S:
        return (f"the nodes' clocks are {1000 * abs(offset):.0f} ms apart, more than {1000 * CLOCK_LIMIT_S:.0f}",)
    if uncertainty > CLOCK_LIMIT_S:
        return (f"the clock offset between the nodes is known to {1000 * uncertainty:.0f} ms only",)
    return ()


def clock_steps(ends: Iterable[End]) -> tuple[str, ...]:
    """Clocks that were set or ran away while the sample was taken: times before and after do not belong together."""
    reasons = []
    for end in ends:
        drift = end.clock_drifts_s[-1] - end.clock_drifts_s[0] if end.clock_drifts_s else 0.0
        offsets = end.clock_offsets_s
        step = max((after - before for before, after in pairwise(offsets)), key=abs, default=0.0)
        if abs(step) > STEP_LIMIT_S:
            reasons.append(f"the clock of {end.node} was stepped by {step:+.3f} s during the sample")
        elif abs(drift) > STEP_LIMIT_S:
            reasons.append(f"the clock of {end.node} drifted by {drift:+.3f} s during the sample")
    return tuple(reasons)


def carrier(ends: Iterable[End]) -> tuple[str, ...]:
    """Cables that were down for a part of the sample."""
    return tuple(
        f"the cable of {end.node} was down during the sample: its carrier changed {changed} times"
        for end in ends
        if (changed := end.delta("cable.carrier_changes"))
    )


def tracking(ends: Iterable[End], readings: Iterable[Reading]) -> tuple[str, ...]:
    """Connections that connection tracking refused while the tool opened them."""
    if not _opened(readings):
        return ()
    return tuple(
        f"{name} of {end.node} grew by {grown} while connections were opened"
        for end in ends
        for name in _TRACKING
        if (grown := end.delta(name))
    )


def unread(end: End, readings: Iterable[Reading]) -> tuple[str, ...]:
    """The counters that a verdict on this sample relies on and that `end` could not read."""
    names = (*RELIED_ON, *_TRACKING) if _opened(readings) else RELIED_ON
    return tuple(name for name in names if end.delta(name) is None)


def _opened(readings: Iterable[Reading]) -> bool:
    """Whether connections were opened to carry the units, or may have been."""
    return any(reading.connections != 0 for reading in readings)
