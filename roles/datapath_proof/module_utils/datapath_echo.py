"""Pings of exact size, without a process for each: what is refused at its source need not be waited for."""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from typing import Dict, List, Sequence, Set

# Not in Python's socket module: include/uapi/linux/in.h.
IP_MTU_DISCOVER, IP_PMTUDISC_DO = 10, 2
REPLY, REQUEST = 0, 8
IP_BYTES = 20
HEADER = struct.Struct("!BBHHH")
SMALL = IP_BYTES + HEADER.size + 56
LARGEST = 65535


def request(identifier: int, number: int, size: int) -> bytes:
    """Return an echo request that makes an IPv4 packet of so many bytes."""
    rest = bytes(size - IP_BYTES - HEADER.size)
    blank = HEADER.pack(REQUEST, 0, 0, identifier, number) + rest
    return HEADER.pack(REQUEST, 0, checksum(blank), identifier, number) + rest


def checksum(octets: bytes) -> int:
    """Return the Internet checksum."""
    words = sum(struct.unpack(f"!{len(octets) // 2}H", octets[: len(octets) & ~1]))
    words += octets[-1] << 8 if len(octets) % 2 else 0
    while words >> 16:
        words = (words & 0xFFFF) + (words >> 16)
    return int(~words & 0xFFFF)


def answered(address: str, sizes: Sequence[int], wait: float) -> List[int]:
    """Return those of the packet sizes, in bytes, that reach an address whole and are answered within `wait` s."""
    identifier = os.getpid() & 0xFFFF
    sent: Dict[int, int] = {}
    heard: Set[int] = set()
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as asked:
        asked.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
        for number, size in enumerate(sizes):
            try:
                asked.sendto(request(identifier, number, size), (address, 0))
            except OSError:  # too large, or no way: this packet gets nowhere
                continue
            sent[number] = size
        deadline = time.monotonic() + wait
        while heard < set(sent):
            readable, _, _ = select.select([asked], [], [], max(deadline - time.monotonic(), 0))
            if not readable:
                break
            packet = asked.recv(LARGEST)
            kind, _, _, whose, number = HEADER.unpack_from(packet, (packet[0] & 0x0F) * 4)
            if kind == REPLY and whose == identifier:
                heard.add(number)
    return [sent[number] for number in sorted(heard & set(sent))]
