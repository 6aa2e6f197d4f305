#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: local_lab
short_description: A local lab exists, or is gone
description:
  - Present, makes the SSH keys (client and hosts, so that strict host key checking can stay on), records the
    host-global kernel settings, and writes lab.json before anything that it names exists. Then it creates what is
    missing of the network, starts the nodes that do not run, waits until their systemd says that they are up, and
    asks the nodes themselves, over SSH, whether they are what the lab promises.
  - Down, ends every process of the nodes, whatever became of their supervisors, and removes the network, as far as the
    lab's record names it; the uplink gets its forwarding back once no lab needs it. It fails where something runs under
    the lab's name, as that of its nodes, that no record names.
  - Absent, removes the lab's directory too.
options:
  state: {type: str, choices: [present, down, absent], default: present, description: What the lab shall be.}
  state_dir: {type: path, required: true, description: Directory of the records.}
  name: {type: str, required: true, description: Name of the lab.}
  index: {type: int, description: Number of the lab.}
  nodes: {type: list, elements: str, description: "Names of the nodes, the client first."}
  inventory: {type: str, description: The inventory the lab is created from.}
  owner: {type: int, description: User id that logs in to the nodes.}
  tree: {type: str, description: Directory of the nodes' tree.}
  release: {type: str, description: Code name of the nodes' release.}
  uplink: {type: str, description: Interface of the default route.}
  host_state_ignore: {type: list, elements: str, default: [], description: See host_state.}
  capabilities: {type: list, elements: str, default: [], description: Capabilities beyond those of systemd-nspawn.}
  system_calls: {type: list, elements: str, default: [], description: System calls admitted beyond its own.}
  binds: {type: list, elements: str, default: [], description: Paths of the host shown in the nodes.}
  extra_options: {type: list, elements: str, default: [], description: Further options of systemd-nspawn.}
  kubernetes: {type: bool, default: false, description: Whether the nodes get what containers and a kubelet need.}
  timeout_s: {type: int, default: 60, description: How long a boot may take.}
author: labctl
"""

RETURN = r"""
name: {type: str, description: Name of the lab.}
done: {type: list, description: What was created or removed.}
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.lab_host_keys import make_keys
from ansible.module_utils.lab_host_record import origin_now
from ansible.module_utils.labctl_node.files import locked
from ansible.module_utils.labctl_node.refused import Refused, finish, refuse
from ansible.module_utils.local_lab_boot import Options
from ansible.module_utils.local_lab_host_state import record as record_host_state
from ansible.module_utils.local_lab_network import build, remove
from ansible.module_utils.local_lab_nodes import bring_up, take_down
from ansible.module_utils.local_lab_plan import plan
from ansible.module_utils.local_lab_record import LocalFiles, Record, others, read, write
from ansible.module_utils.local_lab_remains import left_of
from ansible.module_utils.local_lab_verify import verify


def record(params: dict[str, Any], files: LocalFiles) -> tuple[Record, bool]:
    """The lab's record, written with keys and host settings unless there is one of this boot. Says whether it was."""
    lab, state_dir = plan(params["name"], params["index"], params["nodes"]), params["state_dir"]
    old = read(state_dir, lab.name)
    if old is not None and old.plan == lab:
        if old.tree != params["tree"]:
            raise Refused(
                f"The lab {lab.name} exists with another node tree than the one asked for.",
                where=files.record,
                seen=f"{old.tree}, asked for {params['tree']}",
                hint="Destroy the lab and create it again: `labctl lab destroy`, `labctl lab create`.",
            )
        return old, False
    clash = next((other for other in others(state_dir, lab.name) if other.plan.index == lab.index), None)
    if clash is not None:  # created since the preflight looked
        raise Refused(f"The index {lab.index} belongs to another lab.", seen=f"lab {clash.plan.name}")
    files.begin()  # what is there is of an earlier boot, or of a crash before anything was created
    make_keys(lab.name, files, {node.name: node.address for node in lab.nodes}, params["owner"])
    new = Record(plan=lab, tree=params["tree"], uplink=params["uplink"] or None, **origin_now(params))
    record_host_state(files.host_state, params["host_state_ignore"], state_dir)
    write(state_dir, new)
    return new, True


def present(params: dict[str, Any], files: LocalFiles) -> list[str]:
    """Make what is missing of the lab."""
    recorded, new = record(params, files)
    done = ["record"] if new else []
    done += build(recorded, files)
    done += bring_up(recorded, files, Options.of(params), params["timeout_s"])
    verify(recorded, files)
    return done


def down(params: dict[str, Any], files: LocalFiles) -> list[str]:
    """Remove everything but the files of the lab.

    Without a record of this boot there is nothing that were its own. Raises Refused where something runs under its name
    all the same: the record was moved away, or is one of another boot.
    """
    recorded = read(files.state_dir, params["name"])
    done = [] if recorded is None else take_down(recorded, files) + remove(recorded, files)
    refuse(left_of(params["name"], files.record, params["nodes"] or []))
    return done


def absent(params: dict[str, Any], files: LocalFiles) -> list[str]:
    """Remove everything."""
    done = down(params, files)
    return [*done, "files"] if files.remove() else done


def main() -> None:
    os.umask(0o022)  # whoever calls labctl reads the records and the logs
    strings = {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "down", "absent"], "default": "present"},
            "state_dir": {"type": "path", "required": True},
            "name": {"type": "str", "required": True},
            "index": {"type": "int"},
            "nodes": {"type": "list", "elements": "str"},
            "inventory": {"type": "str"},
            "owner": {"type": "int"},
            "tree": {"type": "str"},
            "release": {"type": "str"},
            "uplink": {"type": "str"},
            "host_state_ignore": strings,
            "capabilities": strings,
            "system_calls": strings,
            "binds": strings,
            "extra_options": strings,
            "kubernetes": {"type": "bool", "default": False},
            "timeout_s": {"type": "int", "default": 60},
        },
        required_if=[("state", "present", ("index", "nodes", "inventory", "owner", "tree", "release"))],
    )
    action = {"present": present, "down": down, "absent": absent}[module.params["state"]]

    def act() -> dict[str, Any]:
        files = LocalFiles(module.params["state_dir"], module.params["name"])
        # One at a time on a machine: labs share the uplink, and whether an index is free.
        with locked(files.state_dir):
            done = action(module.params, files)
        return {"changed": bool(done), "name": module.params["name"], "done": done}

    finish(module, act)


if __name__ == "__main__":
    main()
