"""The record of a local lab: the part of lab.json that this kind of lab adds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible.module_utils import lab_host_record as shared
from ansible.module_utils.local_lab_plan import Plan, plan


@dataclass(frozen=True)
class Record(shared.Origin):
    """One lab as it was created. `tree` is the directory of the nodes' tree, `uplink` the interface to the outside."""

    plan: Plan
    tree: str
    uplink: str | None


class LocalFiles(shared.Files):
    """Where the files of one local lab lie."""

    def __init__(self, state_dir: str, lab: str) -> None:
        super().__init__(state_dir, lab)
        self.host_state = os.path.join(self.directory, "host_state.json")

    def start_script(self, node: str) -> str:
        return os.path.join(self.directory, f"{node}.start")


def write(state_dir: str, record: Record) -> None:
    """Put the record on the disk, in the lab's directory, which exists."""
    lab = record.plan
    own = {
        "index": lab.index,
        "tree": record.tree,
        "uplink": record.uplink,
        "table": lab.table,
        "netns": {node.name: node.netns for node in lab.nodes},
        "host_interface": {node.name: node.host_interface for node in lab.nodes},
    }
    nodes = [shared.Node(node.name, node.address, 22, node.cable_address) for node in lab.nodes]
    shared.write_record(shared.Files(state_dir, lab.name), "local", lab.name, nodes, record, own)


def _from_json(data: Mapping[str, Any]) -> Record:
    own = data["local"]
    lab = plan(data["name"], own["index"], [node["name"] for node in data["nodes"]])
    return Record(plan=lab, tree=own["tree"], uplink=own["uplink"], **shared.origin_of(data))


def read(state_dir: str, lab: str) -> Record | None:
    """The record of a lab of this boot, or None when there is none. Raises Refused for one that is not understood."""
    by_hand = "Remove the lab's interfaces and namespaces by hand (ip link, ip netns)"
    return shared.read_record(shared.Files(state_dir, lab), "local", _from_json, by_hand)


def others(state_dir: str, lab: str) -> list[Record]:
    """The records of all other local labs that exist in this boot."""
    return shared.other_records(state_dir, lab, "local", read)
