#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: host_state
short_description: The host-global kernel settings, recorded and compared
description:
  - Recorded, writes /proc/sys, some settings of /sys and the list of modules to a file, unless it exists. Compared,
    reads them again and fails with every setting that changed, appeared without its module or vanished.
  - Volatile values, per-interface settings and the forwarding that labs share are left out; see VOLATILE.
options:
  state: {type: str, choices: [recorded, compared], required: true, description: Which of the two.}
  path: {type: path, required: true, description: The file of the record.}
  state_dir: {type: path, required: true, description: Directory of the labs' records.}
  ignore: {type: list, elements: str, default: [], description: Further keys that change by themselves on this host.}
author: labctl
"""

RETURN = r"""
keys: {type: int, description: Number of settings read.}
modules: {type: list, description: "Modules the kernel loaded since, by itself; reported, not a failure."}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.labctl_node.refused import finish
from ansible.module_utils.local_lab_host_state import compare, record


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["recorded", "compared"], "required": True},
            "path": {"type": "path", "required": True},
            "state_dir": {"type": "path", "required": True},
            "ignore": {"type": "list", "elements": "str", "default": []},
        },
    )
    action = record if module.params["state"] == "recorded" else compare
    finish(module, lambda: action(module.params["path"], module.params["ignore"], module.params["state_dir"]))


if __name__ == "__main__":
    main()
