"""The ownership record of a lab, lab.json: written before anything is created, read by whatever removes.

A lab owns what its record names, and nothing else. A record of another boot owns only its files: interfaces,
namespaces and processes did not survive.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.local_lab_files import write_json
from ansible.module_utils.local_lab_plan import Plan, plan
from ansible.module_utils.local_lab_system import Failed, Process

SCHEMA = "labctl.lab/1"


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


class Files:
    """Where the files of one lab lie."""

    def __init__(self, state_dir: str, lab: str) -> None:
        self.state_dir = state_dir
        self.directory = os.path.join(state_dir, "labs", lab)
        self.record = os.path.join(self.directory, "lab.json")
        self.key = os.path.join(self.directory, "id_ed25519")
        self.known_hosts = os.path.join(self.directory, "known_hosts")
        self.host_state = os.path.join(self.directory, "host_state.json")

    def pidfile(self, node: str) -> str:
        return os.path.join(self.directory, f"{node}.pid")

    def log(self, node: str) -> str:
        return os.path.join(self.directory, f"{node}.log")

    def start_script(self, node: str) -> str:
        return os.path.join(self.directory, f"{node}.start")

    def seed(self, node: str) -> str:
        """What a node has of its own on top of the common tree; holds its host key, so only root reads it."""
        return os.path.join(self.directory, "seeds", node)

    def process(self, node: str) -> Process | None:
        """The supervisor (systemd-nspawn) of a node as its pidfile names it, whether or not it still runs."""
        try:
            with open(self.pidfile(node), encoding="utf-8") as file:
                return Process(**json.load(file))
        except FileNotFoundError:
            return None


def boot_id() -> str:
    """The identity of this boot."""
    with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:
        return file.read().strip()


def as_json(record: Record, files: Files) -> dict[str, Any]:
    """The record in the shape of schema labctl.lab/1."""
    return {
        "schema": SCHEMA,
        "name": record.plan.name,
        "kind": "local",
        "index": record.plan.index,
        "inventory": record.inventory,
        "boot_id": record.boot_id,
        "created": record.created,
        "tree": record.tree,
        "release": record.release,
        "uplink": record.uplink,
        "table": record.plan.table,
        "ssh": {"key": files.key, "known_hosts": files.known_hosts},
        "nodes": [
            {
                "name": node.name,
                "address": node.address,
                "cable_address": node.cable_address,
                "port": 22,
                "user": "root",
                "netns": node.netns,
                "host_interface": node.host_interface,
                "pidfile": files.pidfile(node.name),
                "log": files.log(node.name),
            }
            for node in record.plan.nodes
        ],
    }


def read(state_dir: str, lab: str) -> Record | None:
    """The record of a lab, or None when there is none. Raises Failed for one that cannot be understood."""
    path = Files(state_dir, lab).record
    try:
        with open(path, encoding="utf-8") as file:
            data: Mapping[str, Any] = json.load(file)
        return Record(
            plan=plan(data["name"], data["index"], [node["name"] for node in data["nodes"]]),
            inventory=data["inventory"],
            boot_id=data["boot_id"],
            created=data["created"],
            tree=data["tree"],
            release=data["release"],
            uplink=data["uplink"],
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise Failed(
            {
                "what": "The record of a lab cannot be read, so what it owns is not known.",
                "where": path,
                "seen": f"{type(error).__name__}: {error}",
                "hint": "Remove the lab's interfaces and namespaces by hand (ip link, ip netns), then this directory.",
            }
        ) from error


def others(state_dir: str, lab: str) -> list[Record]:
    """The records of all other labs that exist in this boot."""
    try:
        names = sorted(os.listdir(os.path.join(state_dir, "labs")))
    except FileNotFoundError:
        return []
    found = [read(state_dir, name) for name in names if name != lab]
    return [record for record in found if record is not None and record.boot_id == boot_id()]


def write(state_dir: str, record: Record) -> None:
    """Put the record on the disk, in the lab's directory, which exists."""
    files = Files(state_dir, record.plan.name)
    write_json(files.record, as_json(record, files))


def required(state_dir: str, lab: str) -> Record:
    """The record of a lab of this boot. Raises Failed without one: nothing may be created unrecorded."""
    record = read(state_dir, lab)
    if record is None or record.boot_id != boot_id():
        raise Failed({"what": f"The lab {lab} has no record of this boot.", "where": state_dir})
    return record


def remove_files(state_dir: str, lab: str) -> bool:
    """Remove the directory of a lab. Returns whether there was one."""
    files = Files(state_dir, lab)
    if not os.path.isdir(files.directory):
        return False
    shutil.rmtree(files.directory)
    return True
