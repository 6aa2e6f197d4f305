"""What an interface is set to, asked by ethtool's own call: its features, and how it gathers interrupts."""

from __future__ import annotations

import array
import errno
import fcntl
import socket
import struct
from typing import Dict, Optional

# include/uapi/linux/sockios.h and ethtool.h.
SIOCETHTOOL = 0x8946
GET_COALESCE, GET_STRINGS, GET_COUNTS, GET_FEATURES = 0x0E, 0x1B, 0x37, 0x3A
OF_FEATURES = 4
NAME_BYTES = 32
# The fields of struct ethtool_coalesce that cards of ours have: those that are not about rates.
COALESCE = (
    "rx-usecs", "rx-frames", "rx-usecs-irq", "rx-frames-irq", "tx-usecs", "tx-frames", "tx-usecs-irq", "tx-frames-irq",
    "stats-block-usecs", "adaptive-rx", "adaptive-tx",
)  # fmt: skip
COALESCE_BYTES = 23 * 4
# How a kernel says that a device has no such thing.
WITHOUT = (errno.EOPNOTSUPP, errno.ENODEV)


def _ask(interface: str, request: bytes) -> Optional[bytes]:
    """Return the kernel's answer in the form of the request, None where the device has nothing to say."""
    held = array.array("B", request)
    address, _ = held.buffer_info()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            fcntl.ioctl(asked, SIOCETHTOOL, struct.pack("16sP", interface.encode(), address))
        except OSError as refusal:
            if refusal.errno in WITHOUT:
                return None
            raise
    return held.tobytes()


def features(interface: str) -> Optional[Dict[str, bool]]:
    """Return the kernel's features of an interface by the kernel's names, and whether they are on."""
    counted = _ask(interface, struct.pack("=IIQI", GET_COUNTS, 0, 1 << OF_FEATURES, 0))
    count = struct.unpack_from("=I", counted, 16)[0] if counted else 0
    listed = _ask(interface, struct.pack("=III", GET_STRINGS, OF_FEATURES, count) + bytes(count * NAME_BYTES))
    blocks = (count + 31) // 32
    shown = _ask(interface, struct.pack("=II", GET_FEATURES, blocks) + bytes(blocks * 16))
    return features_of(listed[12:], shown[8:]) if listed and shown else None


def features_of(names: bytes, blocks: bytes) -> Dict[str, bool]:
    """Return the features in the kernel's table of names and its blocks: available, wanted, active, fixed."""
    active = [word for _, _, word, _ in struct.iter_unpack("=4I", blocks)]
    found = {}
    for number in range(len(names) // NAME_BYTES):
        name = names[number * NAME_BYTES : (number + 1) * NAME_BYTES].split(b"\0", 1)[0].decode()
        if name:
            found[name] = bool(active[number // 32] >> (number % 32) & 1)
    return found


def coalescing(interface: str) -> Optional[Dict[str, int]]:
    """Return how a card gathers interrupts, None for a device that has none."""
    shown = _ask(interface, struct.pack("=I", GET_COALESCE) + bytes(COALESCE_BYTES - 4))
    return coalescing_of(shown) if shown else None


def coalescing_of(octets: bytes) -> Dict[str, int]:
    """Return the fields of a struct ethtool_coalesce."""
    return dict(zip(COALESCE, struct.unpack_from(f"={len(COALESCE)}I", octets, 4)))
