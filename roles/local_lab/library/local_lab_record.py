#!/usr/bin/python
"""The keys and the ownership record of a local lab."""

from __future__ import annotations

DOCUMENTATION = r"""
module: local_lab_record
short_description: The keys and the ownership record of a local lab
description:
  - Present, makes the SSH keys of the lab (client and hosts, so that strict host key checking can stay on),
    records the host-global kernel settings and writes lab.json, before anything that it names exists.
  - Absent, removes the lab's directory.
options:
  state: {type: str, choices: [present, absent], default: present, description: Whether the lab is recorded.}
  state_dir: {type: path, required: true, description: Directory of the records.}
  name: {type: str, required: true, description: Name of the lab.}
  index: {type: int, description: Number of the lab.}
  nodes: {type: list, elements: str, description: Names of the nodes, the client first.}
  inventory: {type: str, description: The inventory the lab is created from.}
  owner: {type: int, description: User id that logs in to the nodes.}
  tree: {type: str, description: Directory of the nodes' tree.}
  release: {type: str, description: Code name of the nodes' release.}
  uplink: {type: str, description: Interface of the default route.}
  host_state_ignore: {type: list, elements: str, default: [], description: See host_state.}
author: labctl
"""

import datetime
import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.local_lab_host_state import record as record_host_state
from ansible.module_utils.local_lab_plan import Plan, plan
from ansible.module_utils.local_lab_record import (
    Files,
    Record,
    boot_id,
    locked,
    read,
    remove_files,
    write,
)
from ansible.module_utils.local_lab_system import Failed, run


def make_key(path: str, comment: str) -> None:
    """A key pair without a passphrase; a half-made one of a crash is made anew."""
    for part in (path, f"{path}.pub"):
        if os.path.exists(part):
            os.unlink(part)
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path])


def make_keys(lab: Plan, files: Files, owner: int) -> None:
    make_key(files.key, f"labctl {lab.name}")
    for path in (files.key, f"{files.key}.pub"):
        os.chown(path, owner, -1)
    known = []
    for node in lab.nodes:
        directory = os.path.join(files.seed(node.name), "etc", "ssh")
        os.makedirs(directory, exist_ok=True)
        path = os.path.join(directory, "ssh_host_ed25519_key")
        make_key(path, f"labctl {lab.name} {node.name}")
        with open(f"{path}.pub", encoding="utf-8") as file:
            kind, key = file.read().split()[:2]
        known.append(f"{node.address} {kind} {key}\n")
    with open(files.known_hosts, "w", encoding="utf-8") as file:
        file.writelines(known)


def present(params: dict[str, Any]) -> dict[str, Any]:
    lab = plan(params["name"], params["index"], params["nodes"])
    state_dir = params["state_dir"]
    files = Files(state_dir, lab.name)
    old = read(state_dir, lab.name)
    if old is not None and old.boot_id == boot_id() and old.plan == lab:
        if old.tree != params["tree"]:
            raise Failed(
                {
                    "what": f"The lab {lab.name} exists with another node tree than the one asked for.",
                    "where": files.record,
                    "seen": f"{old.tree}, asked for {params['tree']}",
                    "hint": "Destroy the lab and create it again: `labctl lab destroy`, `labctl lab create`.",
                }
            )
        return {"changed": False}
    remove_files(state_dir, lab.name)  # of an earlier boot, or of a crash before anything was created
    os.makedirs(os.path.dirname(files.seed("")), mode=0o755)
    os.chmod(os.path.dirname(files.seed("")), 0o700)
    make_keys(lab, files, params["owner"])
    record = Record(
        plan=lab,
        inventory=params["inventory"],
        boot_id=boot_id(),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        tree=params["tree"],
        release=params["release"],
        uplink=params["uplink"] or None,
    )
    record_host_state(files.host_state, params["host_state_ignore"])
    write(state_dir, record)
    return {"changed": True}


def absent(params: dict[str, Any]) -> dict[str, Any]:
    return {"changed": remove_files(params["state_dir"], params["name"])}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "state_dir": {"type": "path", "required": True},
            "name": {"type": "str", "required": True},
            "index": {"type": "int"},
            "nodes": {"type": "list", "elements": "str"},
            "inventory": {"type": "str"},
            "owner": {"type": "int"},
            "tree": {"type": "str"},
            "release": {"type": "str"},
            "uplink": {"type": "str"},
            "host_state_ignore": {"type": "list", "elements": "str", "default": []},
        },
        required_if=[("state", "present", ("index", "nodes", "inventory", "owner", "tree", "release"))],
    )
    try:
        with locked(module.params["state_dir"]):
            result = present(module.params) if module.params["state"] == "present" else absent(module.params)
        module.exit_json(**result)
    except Failed as failed:
        module.fail_json(**failed.result())


if __name__ == "__main__":
    main()
