#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: kubernetes_traces
short_description: What a cluster could leave on the node, recorded and compared
description:
  - Reads netfilter and IPVS rules, CNI files, BPF pins and programs on control groups, links, network namespaces,
    XFRM state, routing rules, routes and mounts. Recorded, writes them to a file unless it exists. Compared, reads
    them again, fails with every difference, and removes the record when there is none. Without a record there is
    nothing to compare with.
options:
  state: {type: str, choices: [recorded, compared], required: true, description: Which of the two.}
  of:
    type: str
    choices: [cluster, network]
    default: cluster
    description: Before there was a cluster, or before a member of it had a network.
  directories:
    type: list
    elements: path
    default: []
    description: Where that network will keep files, beside the places of all CNIs. They are recorded with it.
author: labctl
"""

RETURN = r"""
counts: {type: dict, description: How many traces of each kind were read.}
"""

import os
import shutil
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.kubernetes_traces import BEFORE, DIRECTORIES, DIRECTORY, NETWORK_BEFORE, differences, read
from ansible.module_utils.labctl_node.files import read_json, write_json
from ansible.module_utils.labctl_node.refused import finish, refuse

RECORDS = {"cluster": BEFORE, "network": NETWORK_BEFORE}


def record(path: str, directories: list[str], check_mode: bool) -> dict[str, Any]:
    if os.path.exists(path):
        return {"changed": False}
    traces = {**read(directories), DIRECTORIES: directories}
    if not check_mode:
        os.makedirs(DIRECTORY, mode=0o755, exist_ok=True)
        write_json(path, traces)
    return {"changed": True, "counts": {kind: len(values) for kind, values in traces.items()}}


def compare(path: str, check_mode: bool) -> dict[str, Any]:
    before = read_json(path)
    if before is None:
        return {"changed": False, "counts": {}}
    after = read()
    refuse(differences(before, after))
    if not check_mode and path == BEFORE:
        shutil.rmtree(DIRECTORY)
    elif not check_mode:
        os.unlink(path)
    return {"changed": True, "counts": {kind: len(values) for kind, values in after.items()}}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["recorded", "compared"], "required": True},
            "of": {"type": "str", "choices": list(RECORDS), "default": "cluster"},
            "directories": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    path, directories = RECORDS[module.params["of"]], module.params["directories"]
    recorded = module.params["state"] == "recorded"
    finish(
        module, lambda: record(path, directories, module.check_mode) if recorded else compare(path, module.check_mode)
    )


if __name__ == "__main__":
    main()
