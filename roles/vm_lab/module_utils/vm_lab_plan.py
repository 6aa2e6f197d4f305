"""What a vm lab consists of: two guests, told apart by a port of the host and by the addresses of their cards."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ansible.module_utils.lab_host_checks import wrong_names
from ansible.module_utils.labctl_node.refused import Problem

HOST = "127.0.0.1"
MANAGEMENT = "mgmt0"
CABLE = "cable0"
CABLE_PREFIX = 25
# What the cable carries at most; a setup chooses the MTU that is in force, and 1500 is where it begins.
CABLE_MAX_MTU = 9000
CABLE_MTU = 1500


@dataclass(frozen=True)
class Guest:
    """One guest: `number` counts from 1, `port` of the host's loopback leads to its SSH server."""

    name: str
    number: int
    port: int
    cable_address: str

    @property
    def management_mac(self) -> str:
        """Known to the image, which names the interface mgmt0 by it."""
        return f"52:54:00:6c:6d:{self.number:02x}"

    @property
    def cable_mac(self) -> str:
        """Known to the image, which names the interface cable0 by it."""
        return f"52:54:00:6c:63:{self.number:02x}"


@dataclass(frozen=True)
class Plan:
    """One lab, with the size of each of its guests."""

    name: str
    vcpus: int
    memory_mib: int
    guests: tuple[Guest, ...]


def plan(
    name: str, vcpus: int, memory_mib: int, nodes: Sequence[str], ports: Sequence[int], cable_addresses: Sequence[str]
) -> Plan:
    """The plan of a lab. The arguments are taken as checked (see `wrong_arguments`)."""
    rows = zip(nodes, ports, cable_addresses, strict=True)
    guests = tuple(Guest(node, number, port, cable) for number, (node, port, cable) in enumerate(rows, start=1))
    return Plan(name, vcpus, memory_mib, guests)


def wrong_arguments(
    name: str, nodes: Sequence[str], addresses: Sequence[str], ports: Sequence[int], cable_addresses: Sequence[str]
) -> Iterator[Problem]:
    """What is wrong with the values of the inventory."""
    yield from wrong_names(name, nodes)
    if set(addresses) != {HOST}:
        yield {
            "what": f"The guests are reached through {HOST} only.",
            "where": "ansible_host of the nodes",
            "seen": ", ".join(addresses) or "none",
            "hint": f"Set ansible_host to {HOST} for both.",
        }
    if len(set(ports)) != len(nodes) or not all(1024 <= port <= 65535 for port in ports):
        yield {
            "what": "Every guest needs a port of its own on the host, from 1024 to 65535.",
            "where": "ansible_port of the nodes",
            "seen": ", ".join(map(str, ports)) or "none",
            "hint": "vm_lab_port in this lab's group_vars/all.yml decides both.",
        }
    if not _on_one_cable(cable_addresses):
        yield {
            "what": f"The guests need two IPv4 addresses of one /{CABLE_PREFIX} network on their cable.",
            "where": "cable_address of the nodes",
            "seen": ", ".join(cable_addresses) or "none",
        }


def _on_one_cable(addresses: Sequence[str]) -> bool:
    try:
        networks = {ipaddress.ip_interface(f"{address}/{CABLE_PREFIX}").network for address in addresses}
    except ValueError:
        return False
    return len(networks) == 1 and len(set(addresses)) == len(addresses)
