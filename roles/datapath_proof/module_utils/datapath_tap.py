"""What crosses the cable while the probe runs: a packet socket on the interface."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

ETHERTYPE_ALL = 0x0003
ETHERTYPE_IPV4 = 0x0800
ETHERNET_BYTES = 14
# Not in Python's socket module: include/uapi/asm-generic/socket.h, include/uapi/linux/if_packet.h.
SO_RCVBUFFORCE = 33
SOL_PACKET = 263
PACKET_STATISTICS = 6
BUFFER_BYTES = 32 * 1024 * 1024
HEADER_BYTES = 64


@dataclass
class Seen:
    """What the tap saw. `clear` counts frames with the probe's TCP in clear; bytes include the Ethernet header."""

    frames: int = 0
    bytes: int = 0
    longest: int = 0
    clear: int = 0
    lost: int = 0


class Tap:
    """Every frame on one interface, from construction until `read`."""

    def __init__(self, interface: str, ends: tuple[str, str], port: int) -> None:
        self.ends = {socket.inet_aton(end) for end in ends}
        self.port = port
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE_ALL))
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        self.socket.bind((interface, ETHERTYPE_ALL))
        self.socket.setblocking(False)

    def read(self) -> Seen:
        """Return what has come since, and close the tap."""
        seen = Seen()
        header = bytearray(HEADER_BYTES)
        with self.socket:
            while True:
                try:
                    length = self.socket.recv_into(header, 0, socket.MSG_TRUNC)
                except BlockingIOError:
                    break
                if is_probe(bytes(header), self.ends, self.port):
                    seen.clear += 1
                seen.frames += 1
                seen.bytes += length
                seen.longest = max(seen.longest, length)
            statistics = self.socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
            seen.lost = struct.unpack("II", statistics)[1]
        return seen


def is_probe(frame: bytes, ends: set[bytes], port: int) -> bool:
    """Whether the first bytes of a frame are the probe's TCP over IPv4, readable as such."""
    if len(frame) < ETHERNET_BYTES + 20 or struct.unpack_from("!H", frame, 12)[0] != ETHERTYPE_IPV4:
        return False
    packet = frame[ETHERNET_BYTES:]
    words = (packet[0] & 0x0F) * 4
    if packet[9] != socket.IPPROTO_TCP or {packet[12:16], packet[16:20]} != ends or len(packet) < words + 4:
        return False
    return port in struct.unpack_from("!HH", packet, words)
