#!/usr/bin/python
"""The namespaces, links, addresses, forwarding and address translation of a local lab."""

from __future__ import annotations

DOCUMENTATION = r"""
module: local_lab_network
short_description: The network of a local lab
description:
  - Present, creates what is missing of the namespaces, the management links, the cable and the table that
    translates the nodes' addresses. A node that does not run gets a fresh namespace. Absent, removes all of it, as far
    as the lab's record names it, and gives the uplink its forwarding back once no lab needs it.
options:
  state: {type: str, choices: [present, absent], default: present, description: Whether the network exists.}
  state_dir: {type: path, required: true, description: Directory of the records.}
  name: {type: str, required: true, description: Name of the lab.}
author: labctl
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.local_lab_forwarding import release_uplink, set_forwarding, use_uplink
from ansible.module_utils.local_lab_links import (
    create_cable,
    create_management_link,
    create_namespace,
    delete_link,
    delete_namespace,
    has_cable,
    has_management_link,
    has_table,
    load_table,
    netns_path,
    remove_table,
)
from ansible.module_utils.local_lab_record import Files, Record, boot_id, locked, read, required
from ansible.module_utils.local_lab_system import Failed, kill, processes_in_namespace


def present(state_dir: str, name: str) -> dict[str, Any]:
    record = required(state_dir, name)
    lab, files = record.plan, Files(state_dir, name)
    made: list[str] = []
    for node in lab.nodes:
        running = files.process(node.name)
        if os.path.exists(netns_path(node)) and not (running and running.alive):
            # What the dead node had set up in its namespace would greet its successor.
            kill(processes_in_namespace(netns_path(node)))
            delete_link(node.host_interface)
            delete_namespace(node)
        if not os.path.exists(netns_path(node)):
            create_namespace(node)
            made.append(f"namespace {node.netns}")
        if not has_management_link(lab, node):
            delete_link(node.host_interface)
            create_management_link(lab, node)
            made.append(f"link {node.host_interface}")
        if set_forwarding(node.host_interface, "1"):
            made.append(f"forwarding of {node.host_interface}")
    if not has_cable(lab):
        create_cable(lab)
        made.append("cable")
    if record.uplink and use_uplink(state_dir, record.uplink, name):
        made.append(f"forwarding of {record.uplink}")
    if not has_table(lab):
        load_table(lab, record.uplink)
        made.append(f"table {lab.table}")
    return {"changed": bool(made), "made": made}


def absent(state_dir: str, name: str) -> dict[str, Any]:
    record = read(state_dir, name)
    if record is None or record.boot_id != boot_id():
        return {"changed": False, "removed": []}
    removed = [*remove_resources(record)]
    if release_uplink(state_dir, name):
        removed.append(f"forwarding of {record.uplink}")
    return {"changed": bool(removed), "removed": removed}


def remove_resources(record: Record) -> list[str]:
    """Remove what the record names; what is gone already is no error."""
    removed = []
    lab = record.plan
    if has_table(lab):
        remove_table(lab)
        removed.append(f"table {lab.table}")
    for node in lab.nodes:
        if delete_link(node.host_interface):
            removed.append(f"link {node.host_interface}")
        if os.path.exists(netns_path(node)):
            kill(processes_in_namespace(netns_path(node)))
            delete_namespace(node)
            removed.append(f"namespace {node.netns}")
    return removed


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "state_dir": {"type": "path", "required": True},
            "name": {"type": "str", "required": True},
        },
    )
    action = present if module.params["state"] == "present" else absent
    try:
        with locked(module.params["state_dir"]):
            result = action(module.params["state_dir"], module.params["name"])
        module.exit_json(**result)
    except Failed as failed:
        module.fail_json(**failed.result())


if __name__ == "__main__":
    main()
