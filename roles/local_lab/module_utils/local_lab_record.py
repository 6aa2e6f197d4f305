"""The record of a local lab: the part of lab.json that this kind of lab adds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.lab_host_record import Files, Node, as_json, other_labs, read_record
from ansible.module_utils.labctl_node.files import write_json
from ansible.module_utils.labctl_node.machine import boot_id
from ansible.module_utils.labctl_node.refused import Refused
from ansible.module_utils.local_lab_plan import Plan, plan


@dataclass(frozen=True)
class Record:
    """One lab as it was created. `tree` is the directory of the nodes' tree, `uplink` the interface to the outside."""

    plan: Plan
    inventory: str
    boot_id: str
    created: str
    tree: str
    release: str
    uplink: str | None


class LocalFiles(Files):
    """Where the files of one local lab lie."""

    def __init__(self, state_dir: str, lab: str) -> None:
        super().__init__(state_dir, lab)
        self.host_state = os.path.join(self.directory, "host_state.json")

    def start_script(self, node: str) -> str:
        return os.path.join(self.directory, f"{node}.start")


def _as_json(record: Record, files: Files) -> dict[str, object]:
    lab = record.plan
    local = {
        "index": lab.index,
        "tree": record.tree,
        "uplink": record.uplink,
        "table": lab.table,
        "netns": {node.name: node.netns for node in lab.nodes},
        "host_interface": {node.name: node.host_interface for node in lab.nodes},
    }
    nodes = [Node(node.name, node.address, 22, node.cable_address) for node in lab.nodes]
    return {
        **as_json(files, "local", lab.name, nodes),
        "inventory": record.inventory,
        "boot_id": record.boot_id,
        "created": record.created,
        "release": record.release,
        "local": local,
    }


def _from_json(data: Mapping[str, Any]) -> Record:
    own = data["local"]
    return Record(
        plan=plan(data["name"], own["index"], [node["name"] for node in data["nodes"]]),
        inventory=data["inventory"],
        boot_id=data["boot_id"],
        created=data["created"],
        tree=own["tree"],
        release=data["release"],
        uplink=own["uplink"],
    )


def read(state_dir: str, lab: str) -> Record | None:
    """The record of a lab, or None when there is none. Raises Refused for one that cannot be understood."""
    by_hand = "Remove the lab's interfaces and namespaces by hand (ip link, ip netns)"
    return read_record(Files(state_dir, lab), "local", _from_json, by_hand)


def others(state_dir: str, lab: str) -> list[Record]:
    """The records of all other local labs that exist in this boot."""
    found = [read(state_dir, name) for name in other_labs(state_dir, lab, "local")]
    return [record for record in found if record is not None and record.boot_id == boot_id()]


def write(state_dir: str, record: Record) -> None:
    """Put the record on the disk, in the lab's directory, which exists."""
    files = Files(state_dir, record.plan.name)
    write_json(files.record, _as_json(record, files))


def required(state_dir: str, lab: str) -> Record:
    """The record of a lab of this boot. Raises Refused without one: nothing may be created unrecorded."""
    record = read(state_dir, lab)
    if record is None or record.boot_id != boot_id():
        raise Refused(f"The lab {lab} has no record of this boot.", where=state_dir)
    return record
