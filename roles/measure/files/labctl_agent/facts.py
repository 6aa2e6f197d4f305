"""What a node is: its boot, the interface towards another one, what shows that two share a kernel."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from typing import Any, Dict

from labctl_agent.procfs import read, start_time

SIOCGIFADDR = 0x8915  # linux/sockios.h


def facts(watch: bool) -> Dict[str, Any]:
    """Online CPU threads, jiffies per second, and which boot this is."""
    numbers = {"threads": os.sysconf("SC_NPROCESSORS_ONLN"), "hz": os.sysconf("SC_CLK_TCK")}
    return dict(numbers, boot=boot(watch))


def boot(node: bool) -> str:
    """What tells one boot of this node from the next; a container that is a node may show its host's boot id.

    In a container of a pod process 1 is no node's: it may be started again without harm.
    """
    return "%s %s" % ((read("/proc/sys/kernel/random/boot_id") or "").strip(), start_time(1) if node else "")


def kernel_counters() -> Dict[str, int]:
    """Monotonic machine-wide counters, by which the caller sees whether two nodes share one kernel."""
    lines = (line.split() for line in (read("/proc/stat") or "").splitlines())
    return {line[0]: int(line[1]) for line in lines if line[0] in ("intr", "ctxt", "processes", "softirq")}


def interface_towards(address: str) -> str:
    """The interface by which this namespace reaches an address of either family; empty when that cannot be told."""
    if not address:
        return ""  # to the kernel it would be the loopback
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, 9))  # nothing is sent
        except OSError:
            return ""
        own = socket.inet_pton(family, probe.getsockname()[0].partition("%")[0])
        return interface_with(own) if family == socket.AF_INET6 else _interface_with_ipv4(own, probe)


def interface_with(own: bytes) -> str:
    """The interface that has an IPv6 address; empty for none."""
    rows = (line.split() for line in (read("/proc/thread-self/net/if_inet6") or "").splitlines())
    return next((row[5] for row in rows if bytes.fromhex(row[0]) == own), "")


def _interface_with_ipv4(own: bytes, probe: socket.socket) -> str:
    for _, name in socket.if_nameindex():
        request = struct.pack("16s240x", name.encode())
        try:
            if fcntl.ioctl(probe, SIOCGIFADDR, request)[20:24] == own:
                return name
        except OSError:
            continue  # it has no IPv4 address
    return ""
