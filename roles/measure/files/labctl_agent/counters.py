"""An instrument: the counters of the kernel before and after a sample. None is a counter that cannot be read."""

from __future__ import annotations

import socket
import struct
from typing import Any, Dict, Optional, Tuple

from labctl_agent.hygiene import time_wait
from labctl_agent.instrument import Scene
from labctl_agent.procfs import number, read

NET = "/proc/thread-self/net/"
# Columns of an interface in /proc/net/dev.
CABLE_COLUMNS = {
    "rx_bytes": 0,
    "rx_packets": 1,
    "rx_errors": 2,
    "rx_dropped": 3,
    "tx_bytes": 8,
    "tx_packets": 9,
    "tx_errors": 10,
    "tx_dropped": 11,
}
CONNTRACK_FAILURES = ("insert_failed", "drop", "early_drop")
# linux/rtnetlink.h, linux/if_link.h
RTM_NEWLINK, RTM_GETLINK, NLM_F_REQUEST, IFLA_CARRIER_CHANGES = 16, 18, 1, 35
Readings = Dict[str, Optional[int]]


def protocol_counters(path: str, protocols: Tuple[str, ...]) -> Readings:
    """Counters of a /proc/net/snmp style file: pairs of lines, names above values."""
    found: Readings = {}
    lines = (read(path) or "").splitlines()
    for names, values in zip(lines[::2], lines[1::2]):
        protocol = names.split(":", 1)[0]
        if protocol in protocols:
            told = map(number, values.split()[1:])
            found.update(zip((protocol.lower() + "." + name for name in names.split()[1:]), told))
    return found


def endpoint_counters() -> Readings:
    """TCP's own counters, in the network namespace of this thread."""
    tcp, extended = protocol_counters(NET + "snmp", ("Tcp",)), protocol_counters(NET + "netstat", ("TcpExt",))
    return {"sockets.tcp_tw": time_wait(), **tcp, **extended}


def carrier_changes(interface: str) -> Optional[int]:
    """How often an interface lost or got its carrier, by rtnetlink(7): /sys may show another namespace."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as link:
        index = socket.if_nametoindex(interface)
        # struct nlmsghdr, then struct ifinfomsg: a request for one interface.
        link.send(struct.pack("=IHHIIBxHiII", 32, RTM_GETLINK, NLM_F_REQUEST, 1, 0, 0, 0, index, 0, 0))
        answer = link.recv(1 << 16)
    length, kind = struct.unpack_from("=IH", answer)
    at = 32
    while kind == RTM_NEWLINK and at + 4 <= length:
        size, name = struct.unpack_from("=HH", answer, at)
        if name == IFLA_CARRIER_CHANGES:
            return int(struct.unpack_from("=I", answer, at + 4)[0])
        at += max(4, (size + 3) & ~3)
    return None


def cable_counters(cable: str) -> Readings:
    """What passed an interface. Not from /sys/class/net, which may show another network namespace than this one."""
    counters: Readings = {"cable." + name: None for name in (*CABLE_COLUMNS, "carrier_changes")}
    for line in (read(NET + "dev") or "").splitlines():
        name, _, values = line.strip().partition(":")
        if name == cable:
            columns = values.split()
            counters.update(
                ("cable." + one, number("".join(columns[at : at + 1]))) for one, at in CABLE_COLUMNS.items()
            )
            counters["cable.carrier_changes"] = carrier_changes(cable)
    return counters


def conntrack_counters() -> Readings:
    """Connections tracked now, and what went wrong with tracking them, over all CPUs."""
    count = read("/proc/sys/net/netfilter/nf_conntrack_count")
    counters: Readings = {"conntrack.count": number(count)}
    counters.update({"conntrack." + name: None for name in CONNTRACK_FAILURES})
    names, *rows = [row.split() for row in (read(NET + "stat/nf_conntrack") or "").splitlines()] or [[]]
    for column, name in enumerate(names):
        if name in CONNTRACK_FAILURES and rows:
            told = [number("".join(row[column : column + 1]), 16) for row in rows]
            known = [value for value in told if value is not None]
            counters["conntrack." + name] = sum(known) if len(known) == len(told) else None
    return counters


def node_counters(cable: str) -> Readings:
    """What the node counts: its cable, forwarding, connection tracking, XFRM."""
    xfrm = [line.split() for line in (read(NET + "xfrm_stat") or "").splitlines()]
    return {
        **cable_counters(cable),
        **protocol_counters(NET + "snmp", ("Ip",)),
        **conntrack_counters(),
        **{"xfrm." + words[0]: number(words[1]) for words in xfrm if len(words) == 2},
    }


class Counters:
    """Reads all counters of an end at its beginning and at its end."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.before: Readings = {}

    def read(self) -> Readings:
        endpoint = self.scene.endpoint.call(endpoint_counters)
        node = node_counters(self.scene.cable)
        return dict(endpoint, **(node if self.scene.watch else dict.fromkeys(node)))

    def begin(self) -> None:
        self.before = self.read()

    def end(self) -> Dict[str, Any]:
        return {"counters": {"before": self.before, "after": self.read()}}
