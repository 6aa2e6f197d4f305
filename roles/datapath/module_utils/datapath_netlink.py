"""Queueing disciplines and filters of this network namespace, asked of the kernel itself.

tc prints the same, but its JSON is broken for some classifiers in versions that distributions still have, and every
question is a process.
"""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass
from typing import Dict, Iterator, Mapping

# include/uapi/linux/rtnetlink.h, netlink.h and pkt_sched.h.
GET_QDISC, GET_FILTER = 38, 46
REQUEST_DUMP = 0x301
ERROR, DONE = 2, 3
KIND, OPTIONS = 1, 2
HEADER = struct.Struct("=IHHII")
TC = struct.Struct("=BxHiIII")
ATTRIBUTE = struct.Struct("=HH")
TYPE_MASK = 0x3FFF  # without the flags for nested and for network byte order
BUFFER_BYTES = 1 << 20


@dataclass(frozen=True)
class Entry:
    """A queueing discipline or a filter: numbers as the kernel has them, and its attributes."""

    index: int
    handle: int
    parent: int
    attributes: Mapping[int, bytes]

    @property
    def kind(self) -> str:
        """What it is called, as in `netem`."""
        return text_of(self.attributes.get(KIND, b""))

    @property
    def options(self) -> Dict[int, bytes]:
        """Its own attributes."""
        return attributes_of(self.attributes.get(OPTIONS, b""))


def text_of(octets: bytes) -> str:
    """Return a string attribute."""
    return octets.split(b"\0", 1)[0].decode(errors="replace")


def attributes_of(octets: bytes) -> Dict[int, bytes]:
    """Return attributes by their type; what stands in a list has its number there as its type."""
    found, at = {}, 0
    while at + ATTRIBUTE.size <= len(octets):
        length, kind = ATTRIBUTE.unpack_from(octets, at)
        if length < ATTRIBUTE.size:
            break
        found[kind & TYPE_MASK] = octets[at + ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
    return found


def entries_of(octets: bytes) -> Iterator[Entry]:
    """Return the entries in a datagram of the kernel's. Raise OSError where it refused."""
    at = 0
    while at + HEADER.size <= len(octets):
        length, kind = HEADER.unpack_from(octets, at)[:2]
        if kind == ERROR:
            code = -struct.unpack_from("=i", octets, at + HEADER.size)[0]
            raise OSError(code, os.strerror(code))
        if kind == DONE:
            return
        _, _, index, handle, parent, _ = TC.unpack_from(octets, at + HEADER.size)
        yield Entry(index, handle, parent, attributes_of(octets[at + HEADER.size + TC.size : at + length]))
        at += (length + 3) & ~3


def dump(what: int, index: int = 0, parent: int = 0) -> Iterator[Entry]:
    """Return all entries of a kind: GET_QDISC of all interfaces, GET_FILTER of one interface and parent."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as asked:
        asked.bind((0, 0))
        request = TC.pack(socket.AF_UNSPEC, 0, index, 0, parent, 0)
        asked.send(HEADER.pack(HEADER.size + len(request), what, REQUEST_DUMP, 1, 0) + request)
        while True:
            said = asked.recv(BUFFER_BYTES)
            yield from entries_of(said)
            if is_last(said):
                return


def is_last(octets: bytes) -> bool:
    """Whether the kernel has said all; that stands at a datagram's end."""
    at = 0
    while at + HEADER.size <= len(octets):
        length, kind = HEADER.unpack_from(octets, at)[:2]
        if kind == DONE:
            return True
        at += (length + 3) & ~3
    return False
