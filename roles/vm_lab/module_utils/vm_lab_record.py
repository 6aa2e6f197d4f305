"""The record of a vm lab: the part of lab.json that this kind of lab adds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible.module_utils import lab_host_record as shared
from ansible.module_utils.vm_lab_plan import HOST, Plan, plan

OWN = ("image", "accelerator", "cpu", "owner")  # the fields that only records of this kind have, as they are


@dataclass(frozen=True)
class Record(shared.Origin):
    """One lab as it was created. `accelerator` is kvm or tcg, `cpu` the model that QEMU shows, `image` the base image,
    `owner` the user id that runs QEMU."""

    plan: Plan
    image: str
    accelerator: str
    cpu: str
    owner: int


class GuestFiles(shared.Files):
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


def write(state_dir: str, record: Record) -> None:
    """Put the record on the disk, in the lab's directory, which exists."""
    lab = record.plan
    files = GuestFiles(state_dir, lab.name)
    own = {
        "vcpus": lab.vcpus,
        "memory_mib": lab.memory_mib,
        **{name: getattr(record, name) for name in OWN},
        "disk": {guest.name: files.disk(guest.name) for guest in lab.guests},
        "monitor": {guest.name: files.monitor(guest.name) for guest in lab.guests},
    }
    nodes = [shared.Node(guest.name, HOST, guest.port, guest.cable_address) for guest in lab.guests]
    shared.write_record(files, "vm", lab.name, nodes, record, own)


def _from_json(data: Mapping[str, Any]) -> Record:
    own = data["vm"]
    of_nodes = ([node[word] for node in data["nodes"]] for word in ("name", "port", "cable_address"))
    lab = plan(data["name"], own["vcpus"], own["memory_mib"], *of_nodes)
    return Record(plan=lab, **{name: own[name] for name in OWN}, **shared.origin_of(data))


def read(state_dir: str, lab: str) -> Record | None:
    """The record of a lab of this boot, or None when there is none. Raises Refused for one that is not understood."""
    files = shared.Files(state_dir, lab)
    return shared.read_record(files, "vm", _from_json, f"End the QEMU processes that run in {files.directory}")


def others(state_dir: str, lab: str) -> list[Record]:
    """The records of all other vm labs that exist in this boot."""
    return shared.other_records(state_dir, lab, "vm", read)
