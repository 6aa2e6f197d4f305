"""What crosses the cable while the probe runs: a packet socket on the interface."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, field

ETHERTYPE_ALL = 0x0003
ETHERTYPE_IPV4 = 0x0800
ETHERNET_BYTES = 14
# Not in Python's socket module: include/uapi/asm-generic/socket.h, include/uapi/linux/if_packet.h.
SO_RCVBUFFORCE = 33
SOL_PACKET = 263
PACKET_STATISTICS = 6
BUFFER_BYTES = 32 * 1024 * 1024
FRAME_BYTES = 65536
# netperf fills what it sends with its own name: so test traffic can be read on a cable that does not hide it.
CLEAR_TEXT = b"netperf\0netperf"
ESP, UDP = 50, 17
FIRST_MULTICAST = 224
# Guests of the vm lab keep their clocks together over the cable, as servers back to back may.
NTP = 123


@dataclass
class Seen:
    """What the tap saw. Frames with their Ethernet header; payload in bytes.

    `payload` is what the probe's TCP carried in clear, `readable` that of frames in which the text of netperf can be
    read. Of what this node sent: `tunnel` counts the bytes of frames of the tunnel, `stray` other unicast IPv4 frames
    by protocol and addresses, `text` frames in which what netperf sends can be read. What it received is not judged by
    content: a packet that XFRM decrypted comes by the interface once more. The datagrams by which the ends wait for
    each other, NTP between the nodes, and TCP between those of a cluster do not count. `lost` are the frames that
    came and did not fit into the socket's buffer: then all else is too little.
    """

    frames: int = 0
    bytes: int = 0
    longest: int = 0
    payload: int = 0
    readable: int = 0
    tunnel: int = 0
    stray: dict[str, int] = field(default_factory=dict)
    text: int = 0
    lost: int = 0


@dataclass(frozen=True)
class Watched:
    """What the tap tells apart: the probe by its ends and port, the tunnel by the nodes, its protocol and port.

    `tunnel_ends` are the outer addresses of what is encrypted; protocol and port are 0 where nothing is. On
    `barrier_port` the nodes wait for each other by UDP. The nodes of a `cluster` talk to each other by TCP, by
    addresses of their own that no pod has.
    """

    ends: frozenset[bytes]
    port: int
    nodes: frozenset[bytes]
    tunnel_ends: frozenset[bytes]
    tunnel: tuple[int, int]
    barrier_port: int
    cluster: bool = False


class Tap:
    """Every frame on one interface, from construction until `read`; use it in a with statement."""

    def __init__(self, interface: str, watched: Watched) -> None:
        self.watched = watched
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE_ALL))
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        self.socket.bind((interface, ETHERTYPE_ALL))
        self.socket.setblocking(False)

    def __enter__(self) -> Tap:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def read(self) -> Seen:
        """Return what has come since."""
        seen = Seen()
        buffer = bytearray(FRAME_BYTES)
        while True:
            try:
                length, address = self.socket.recvfrom_into(buffer, 0, socket.MSG_TRUNC)
            except BlockingIOError:
                break
            sent = address[2] == socket.PACKET_OUTGOING
            note(seen, bytes(buffer[: min(length, FRAME_BYTES)]), length, sent, self.watched)
        # How many came, and how many of them found no room.
        statistics = self.socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
        seen.lost = struct.unpack("II", statistics)[1]
        return seen


def watched(
    ends: tuple[str, str],
    port: int,
    nodes: tuple[str, str],
    tunnel_ends: tuple[str, str],
    tunnel: tuple[int, int],
    barrier: int,
    cluster: bool = False,
) -> Watched:
    """Return what to tell apart, addresses as they stand in packets."""
    probe, hosts, outer = (frozenset(socket.inet_aton(one) for one in pair) for pair in (ends, nodes, tunnel_ends))
    return Watched(probe, port, hosts, outer, tunnel, barrier, cluster)


def note(seen: Seen, frame: bytes, length: int, sent: bool, what: Watched) -> None:
    """Count a frame of so many bytes, of which `frame` are the first."""
    seen.frames += 1
    seen.bytes += length
    seen.longest = max(seen.longest, length)
    readable = CLEAR_TEXT in frame
    if is_probe(frame, what.ends, what.port):
        payload = payload_of(frame, length)
        seen.payload += payload
        seen.readable += payload if readable else 0
    if not sent:
        return
    seen.text += readable
    if is_between(frame, what.tunnel_ends, *what.tunnel):
        seen.tunnel += length
    elif is_unicast(frame) and not is_of_nodes(frame, what):
        name = named(frame)
        seen.stray[name] = seen.stray.get(name, 0) + 1


def is_of_nodes(frame: bytes, what: Watched) -> bool:
    """Whether a frame is what nodes have to say to each other."""
    if what.cluster and is_between(frame, what.nodes, socket.IPPROTO_TCP, 0):
        return True
    return any(is_between(frame, what.nodes, UDP, port) for port in (what.barrier_port, NTP))


def is_ipv4(frame: bytes) -> bool:
    """Whether a frame carries IPv4."""
    long_enough = len(frame) >= ETHERNET_BYTES + 20
    return long_enough and bool(struct.unpack_from("!H", frame, 12)[0] == ETHERTYPE_IPV4)


def is_unicast(frame: bytes) -> bool:
    """Whether a frame carries IPv4 to one host: what a link says to all who listen is no traffic of ours."""
    return is_ipv4(frame) and frame[ETHERNET_BYTES + 16] < FIRST_MULTICAST


def named(frame: bytes) -> str:
    """Return an IPv4 frame's protocol and addresses, as in `protocol 17, 198.18.0.139 to 198.18.0.140`."""
    packet = frame[ETHERNET_BYTES:]
    source, target = (socket.inet_ntoa(packet[at : at + 4]) for at in (12, 16))
    return f"protocol {packet[9]}, {source} to {target}"


def is_between(frame: bytes, ends: frozenset[bytes], protocol: int, port: int) -> bool:
    """Whether a frame goes from one of two addresses to the other by a protocol, with a port unless that is 0."""
    if not protocol or not is_ipv4(frame):
        return False
    packet = frame[ETHERNET_BYTES:]
    words = (packet[0] & 0x0F) * 4
    if packet[9] != protocol or {packet[12:16], packet[16:20]} != ends or len(packet) < words + 4:
        return False
    return not port or port in struct.unpack_from("!HH", packet, words)


def is_probe(frame: bytes, ends: frozenset[bytes], port: int) -> bool:
    """Whether the first bytes of a frame are the probe's TCP over IPv4, readable as such."""
    return is_between(frame, ends, socket.IPPROTO_TCP, port)


def payload_of(frame: bytes, length: int) -> int:
    """Return the bytes that a frame of TCP over IPv4 carries; a packet beyond 64 KB says nothing of its length."""
    packet = frame[ETHERNET_BYTES:]
    words = (packet[0] & 0x0F) * 4
    header = words + (packet[words + 12] >> 4) * 4 if len(packet) > words + 12 else words
    return max((struct.unpack_from("!H", packet, 2)[0] or length - ETHERNET_BYTES) - header, 0)
