#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_lab
short_description: A vm lab exists, or is gone
description:
  - Present, makes the SSH keys (client and hosts, so that strict host key checking can stay on) and writes lab.json
    before anything that it names exists. Then it starts the guests that do not run, and waits until both answer.
  - Absent, ends the guests, whatever became of their pidfiles, and removes the lab's directory.
options:
  state: {type: str, choices: [present, absent], default: present, description: What the lab shall be.}
  state_dir: {type: path, required: true, description: Directory of the records.}
  name: {type: str, required: true, description: Name of the lab.}
  nodes: {type: list, elements: str, description: "Names of the guests, the client first."}
  ports: {type: list, elements: int, description: Ports of the loopback that lead to their SSH servers.}
  cable_addresses: {type: list, elements: str, description: Their addresses on the cable.}
  vcpus: {type: int, description: Processors of each guest.}
  memory_mib: {type: int, description: Memory of each guest.}
  inventory: {type: str, description: The inventory the lab is created from.}
  owner: {type: int, description: "User id that logs in to the guests, and runs QEMU."}
  release: {type: str, description: Code name of the guests' release.}
  image: {type: path, description: The image that both disks start from.}
  accelerator: {type: str, choices: [kvm, tcg], description: How guests run.}
  cpu: {type: str, description: Model of the processor for QEMU.}
  timeout_s: {type: int, default: 600, description: How long a boot may take.}
author: labctl
"""

RETURN = r"""
name: {type: str, description: Name of the lab.}
done: {type: list, description: What was created or removed.}
seconds: {type: float, description: How long the guests took to answer.}
"""

import os
import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.lab_host_keys import make_keys
from ansible.module_utils.lab_host_record import origin_now
from ansible.module_utils.labctl_node.files import locked
from ansible.module_utils.labctl_node.refused import Refused, finish, refuse
from ansible.module_utils.vm_lab_guests import bring_up, guests_on_disk, left_of, take_down
from ansible.module_utils.vm_lab_plan import HOST, Plan, plan
from ansible.module_utils.vm_lab_record import OWN, GuestFiles, Record, others, read, write


def record(params: dict[str, Any], files: GuestFiles) -> tuple[Record, bool]:
    """The lab's record, written with the keys unless there is one of this boot. Says whether it was."""
    words = ("name", "vcpus", "memory_mib", "nodes", "ports", "cable_addresses")
    lab, state_dir = plan(*(params[word] for word in words)), params["state_dir"]
    old = read(state_dir, lab.name)
    if old is not None:
        refuse_another(old, lab, params["image"], files)
        return old, False
    taken = {guest.port: other.plan.name for other in others(state_dir, lab.name) for guest in other.plan.guests}
    clash = [guest.port for guest in lab.guests if guest.port in taken]
    if clash:  # created since the preflight looked
        raise Refused(f"Port {clash[0]} belongs to another lab.", seen=f"lab {taken[clash[0]]}")
    take_down(files, guests_on_disk(files))  # of a crash before anything was recorded: nothing can run, but who knows
    files.begin()
    os.makedirs(files.guest(""))
    make_keys(lab.name, files, {g.name: f"[{HOST}]:{g.port}" for g in lab.guests}, params["owner"])
    new = Record(plan=lab, **{name: params[name] for name in OWN}, **origin_now(params))
    write(state_dir, new)
    return new, True


def refuse_another(old: Record, lab: Plan, image: str, files: GuestFiles) -> None:
    """Refuse where the lab that exists is another than the one asked for: its disks would not fit."""
    wanted = {"guests": str(lab), "image": image}
    seen = {"guests": str(old.plan), "image": old.image}
    how = {"guests": "other guests than asked for", "image": "another image than the one asked for"}
    refuse(
        {
            "what": f"The lab {lab.name} exists with {how[name]}.",
            "where": files.record,
            "seen": f"{seen[name]}, asked for {wanted[name]}",
            "hint": "Destroy the lab and create it again: `labctl lab destroy`, `labctl lab create`.",
        }
        for name in wanted
        if wanted[name] != seen[name]
    )


def present(params: dict[str, Any], files: GuestFiles) -> dict[str, Any]:
    """Make what is missing of the lab."""
    recorded, new = record(params, files)
    began = time.monotonic()
    started = bring_up(recorded, files, params["timeout_s"])
    return {"done": [*(["record"] if new else []), *started], "seconds": round(time.monotonic() - began, 1)}


def absent(params: dict[str, Any], files: GuestFiles) -> dict[str, Any]:
    """Remove everything. Processes are found by the lab's directory, so a lost record is no hindrance.

    Raises Refused where guests run under the lab's name elsewhere: its directory was moved away.
    """
    read(params["state_dir"], params["name"])  # a lab of another kind is not ours to remove
    done = take_down(files, guests_on_disk(files))
    refuse(left_of(params["name"], files.record))
    return {"done": [*done, "files"] if files.remove() else done}


def main() -> None:
    os.umask(0o022)  # whoever calls labctl reads the records and the logs
    arguments = ("nodes", "ports", "cable_addresses", "vcpus", "memory_mib", "inventory", "owner", "release", "image")
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "state_dir": {"type": "path", "required": True},
            "name": {"type": "str", "required": True},
            "nodes": {"type": "list", "elements": "str"},
            "ports": {"type": "list", "elements": "int"},
            "cable_addresses": {"type": "list", "elements": "str"},
            "vcpus": {"type": "int"},
            "memory_mib": {"type": "int"},
            "inventory": {"type": "str"},
            "owner": {"type": "int"},
            "release": {"type": "str"},
            "image": {"type": "path"},
            "accelerator": {"type": "str", "choices": ["kvm", "tcg"]},
            "cpu": {"type": "str"},
            "timeout_s": {"type": "int", "default": 600},
        },
        required_if=[("state", "present", (*arguments, "accelerator", "cpu"))],
    )

    def act() -> dict[str, Any]:
        files = GuestFiles(module.params["state_dir"], module.params["name"])
        # One at a time on a machine: labs share the ports of its loopback.
        with locked(files.state_dir):
            result = (present if module.params["state"] == "present" else absent)(module.params, files)
        return {"changed": bool(result["done"]), "name": module.params["name"], **result}

    finish(module, act)


if __name__ == "__main__":
    main()
