"""The record of a vm lab: the part of lab.json that this kind of lab adds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.lab_host_record import Files, Node, as_json, other_labs, read_record
from ansible.module_utils.labctl_node.files import write_json
from ansible.module_utils.labctl_node.machine import boot_id
from ansible.module_utils.vm_lab_plan import HOST, Plan, plan


@dataclass(frozen=True)
class Record:
    """One lab as it was created. `accelerator` is kvm or tcg, `cpu` the model that QEMU shows, `image` the base image,
    `owner` the user id that runs QEMU."""

    plan: Plan
    inventory: str
    boot_id: str
    created: str
    release: str
    image: str
    accelerator: str
    cpu: str
    owner: int


class GuestFiles(Files):
    """Where the files of one vm lab lie. QEMU runs in a guest's directory, so the paths it gets are short."""

    def guest(self, node: str) -> str:
        return os.path.join(self.directory, "guests", node)

    def log(self, node: str) -> str:
        """What the guest says on its serial console."""
        return os.path.join(self.guest(node), "serial.log")

    def qemu_log(self, node: str) -> str:
        return os.path.join(self.guest(node), "qemu.log")

    def start_script(self, node: str) -> str:
        """QEMU's command line, for a person to read and run."""
        return os.path.join(self.guest(node), "start.sh")

    def disk(self, node: str) -> str:
        return os.path.join(self.guest(node), "disk.qcow2")

    def seed_image(self, node: str) -> str:
        return os.path.join(self.guest(node), "seed.img")

    def monitor(self, node: str) -> str:
        """QEMU's monitor (QMP): a person, or a test, resets a guest through it."""
        return os.path.join(self.guest(node), "qmp.sock")


def _as_json(record: Record, files: GuestFiles) -> dict[str, object]:
    guests = record.plan.guests
    vm = {
        "vcpus": record.plan.vcpus,
        "memory_mib": record.plan.memory_mib,
        "accelerator": record.accelerator,
        "cpu": record.cpu,
        "image": record.image,
        "owner": record.owner,
        "disk": {guest.name: files.disk(guest.name) for guest in guests},
        "monitor": {guest.name: files.monitor(guest.name) for guest in guests},
    }
    nodes = [Node(guest.name, HOST, guest.port, guest.cable_address) for guest in guests]
    return {
        **as_json(files, "vm", record.plan.name, nodes),
        "inventory": record.inventory,
        "boot_id": record.boot_id,
        "created": record.created,
        "release": record.release,
        "vm": vm,
    }


def _from_json(data: Mapping[str, Any]) -> Record:
    own, nodes = data["vm"], data["nodes"]
    return Record(
        plan=plan(
            data["name"],
            own["vcpus"],
            own["memory_mib"],
            [node["name"] for node in nodes],
            [node["port"] for node in nodes],
            [node["cable_address"] for node in nodes],
        ),
        inventory=data["inventory"],
        boot_id=data["boot_id"],
        created=data["created"],
        release=data["release"],
        image=own["image"],
        accelerator=own["accelerator"],
        cpu=own["cpu"],
        owner=own["owner"],
    )


def read(state_dir: str, lab: str) -> Record | None:
    """The record of a lab of this boot, or None when there is none. Raises Refused for one that is not understood."""
    files = Files(state_dir, lab)
    found = read_record(files, "vm", _from_json, f"End the QEMU processes that run in {files.directory}")
    return found if found is not None and found.boot_id == boot_id() else None


def others(state_dir: str, lab: str) -> list[Record]:
    """The records of all other vm labs that exist in this boot."""
    found = [read(state_dir, name) for name in other_labs(state_dir, lab, "vm")]
    return [record for record in found if record is not None]


def write(state_dir: str, record: Record) -> None:
    """Put the record on the disk, in the lab's directory, which exists."""
    files = GuestFiles(state_dir, record.plan.name)
    write_json(files.record, _as_json(record, files))
