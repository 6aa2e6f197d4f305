"""What a lab consists of: every name and address that follows from its name and its index.

One integer per lab, so that labs side by side cannot overlap: management 198.18.<i>.0/25, cable
198.18.<i>.128/25, both out of 198.18.0.0/15 (RFC 2544, benchmarking), as are the pods' 198.19.<i>.0/24.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ansible.module_utils.lab_host_checks import wrong_names
from ansible.module_utils.labctl_node.refused import Problem

LAST_INDEX = 254


@dataclass(frozen=True)
class Node:
    """One node: `number` counts from 1; addresses are dotted quads without a prefix length."""

    name: str
    number: int
    address: str
    cable_address: str
    netns: str
    host_interface: str


@dataclass(frozen=True)
class Plan:
    """One lab: what it owns on the host is named here and nowhere else."""

    name: str
    index: int
    host_address: str
    nodes: tuple[Node, ...]

    @property
    def table(self) -> str:
        """The nftables table."""
        return table_of(self.name)

    @property
    def networks(self) -> tuple[str, str]:
        """The IPv4 networks that belong to this lab alone."""
        return (f"198.18.{self.index}.0/24", f"198.19.{self.index}.0/24")

    def control_group(self, node: Node) -> str:
        """The control group of a node, and the name of its unit where systemd runs the host."""
        return control_group_of(self.name, node.name)


def table_of(lab: str) -> str:
    """The nftables table of a lab; '-' is no letter of an nft name, and a lab's name has no '_' to collide with."""
    return "labctl_" + lab.replace("-", "_")


def control_group_of(lab: str, node: str) -> str:
    """What a node of a lab is called on the host: its control group, unit, machine and network namespace."""
    return f"labctl-{lab}-{node}"


def plan(name: str, index: int, node_names: Sequence[str]) -> Plan:
    """The plan of a lab. The arguments are taken as checked (see `wrong_arguments`)."""
    nodes = tuple(
        Node(
            name=node,
            number=number,
            address=f"198.18.{index}.{10 + number}",
            cable_address=f"198.18.{index}.{138 + number}",
            netns=control_group_of(name, node),
            host_interface=f"labctl{index}n{number}",
        )
        for number, node in enumerate(node_names, start=1)
    )
    return Plan(name, index, f"198.18.{index}.1", nodes)


def wrong_arguments(name: str, index: int, node_names: Sequence[str]) -> Iterator[Problem]:
    """What is wrong with the values a plan is made of."""
    yield from wrong_names(name, node_names)
    if not 0 <= index <= LAST_INDEX:
        yield {
            "what": "The lab's index is outside of its range.",
            "where": "local_lab_index",
            "seen": str(index),
            "hint": f"Choose a number from 0 to {LAST_INDEX} that no other lab on this machine has.",
        }
