#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_lab_preflight
short_description: Whether a vm lab can exist on this host
description:
  - Checks the inventory, the host (root, distribution, processor, memory, QEMU's version where there is one) and that
    nothing uses the ports of the lab, unless the lab exists already.
  - Changes nothing, and fails with all problems at once.
options:
  name: {type: str, required: true, description: Name of the lab.}
  nodes: {type: list, elements: str, required: true, description: "Names of the guests, the client first."}
  addresses: {type: list, elements: str, required: true, description: Where the inventory says they are.}
  ports: {type: list, elements: int, required: true, description: Ports of the loopback that lead to them.}
  cable_addresses: {type: list, elements: str, required: true, description: Their addresses on the cable.}
  vcpus: {type: int, required: true, description: Processors of each guest.}
  memory_mib: {type: int, required: true, description: Memory of each guest.}
  state_dir: {type: path, required: true, description: Directory of the records.}
  commands: {type: dict, required: true, description: Command or file to the package that brings it.}
author: labctl
"""

RETURN = r"""
packages: {type: list, description: Packages that the host lacks.}
"""

import platform
import re
import shutil
import socket
from collections.abc import Iterator
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.lab_host_checks import lacking_packages, machine_problems
from ansible.module_utils.labctl_node.files import read_text
from ansible.module_utils.labctl_node.refused import Problem, finish, refuse
from ansible.module_utils.vm_lab_plan import HOST, wrong_arguments
from ansible.module_utils.vm_lab_qemu import QEMU, too_old, version
from ansible.module_utils.vm_lab_record import others, read


def host_problems(params: dict[str, Any]) -> Iterator[Problem]:
    """What this host cannot do."""
    yield from machine_problems("vm")
    if platform.machine() != "x86_64":
        yield {
            "what": "The vm lab is for x86-64 machines: its image boots through a PC's firmware.",
            "seen": platform.machine(),
            "hint": "Use the local or metal lab.",
        }
    found = re.search(r"MemAvailable:\s+(\d+) kB", read_text("/proc/meminfo") or "")
    available = int(found[1]) >> 10 if found else None
    wanted = params["memory_mib"] * len(params["nodes"])
    if available is not None and available < wanted:
        yield {
            "what": "This machine has too little free memory for the guests.",
            "where": "vm_lab_memory_mib",
            "seen": f"{available} MiB free, {wanted} wanted",
            "hint": "End what uses it, or make the guests smaller.",
        }


def taken_ports(params: dict[str, Any]) -> Iterator[Problem]:
    """Ports that another lab, or anything else, uses."""
    owners = {g.port: o for o in others(params["state_dir"], params["name"]) for g in o.plan.guests}
    for port in params["ports"]:
        if port in owners:
            seen = f"lab {owners[port].plan.name} (inventory {owners[port].inventory})"
        elif listened_to(port):
            seen = "something listens there"
        else:
            continue
        yield {
            "what": f"Port {port} of {HOST} is taken.",
            "where": "ansible_port of the nodes",
            "seen": seen,
            "hint": "Choose another vm_lab_port in this lab's group_vars/all.yml.",
        }


def listened_to(port: int) -> bool:
    """Whether the port cannot be listened to, as QEMU will."""
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((HOST, port))
        except OSError:
            return True
    return False


def obstacles(params: dict[str, Any]) -> Iterator[Problem]:
    """Everything that is in the way of the lab, which may exist already."""
    if read(params["state_dir"], params["name"]) is None:
        yield from host_problems(params)
        yield from taken_ports(params)
    if shutil.which(QEMU):
        yield from too_old(version())


def check(params: dict[str, Any]) -> dict[str, Any]:
    arguments = ("name", "nodes", "addresses", "ports", "cable_addresses")
    refuse(wrong_arguments(*(params[word] for word in arguments)))
    refuse(obstacles(params))
    return {"changed": False, "packages": lacking_packages(params["commands"])}


def main() -> None:
    strings = {"type": "list", "elements": "str", "required": True}
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "nodes": strings,
            "addresses": strings,
            "ports": {"type": "list", "elements": "int", "required": True},
            "cable_addresses": strings,
            "vcpus": {"type": "int", "required": True},
            "memory_mib": {"type": "int", "required": True},
            "state_dir": {"type": "path", "required": True},
            "commands": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    finish(module, lambda: check(module.params))


if __name__ == "__main__":
    main()
