#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: deployment
short_description: Keep the record of the role that deploys on the node
description:
  - Begun, writes down that a role deploys, unless another one is recorded - that one has to undo its own first.
  - Read, tells which role is recorded. Ended, removes the record. Both do with a node that has none.
options:
  state: {type: str, choices: [begun, read, ended], required: true, description: What is asked for.}
  role: {type: str, description: The role that is about to deploy. Required when begun.}
author: labctl
"""

RETURN = r"""
role: {type: str, description: The role that is recorded now; null for none., returned: always}
other: {type: bool, description: Whether that is another one than the given., returned: when begun}
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.labctl_node.files import read_json, write_json

RECORD = "/var/lib/labctl/deployment.json"  # outlives a reboot, as a network of a cluster does


def recorded() -> str | None:
    """The role that is recorded; None for none."""
    record = read_json(RECORD)
    return None if record is None else str(record["role"])


def begin(role: str, check_mode: bool) -> dict[str, Any]:
    before = recorded()
    if before is None and not check_mode:
        os.makedirs(os.path.dirname(RECORD), exist_ok=True)
        write_json(RECORD, {"schema": "labctl.deployment/1", "role": role})
    return {"changed": before is None, "role": before or role, "other": before not in (None, role)}


def end(check_mode: bool) -> dict[str, Any]:
    there = os.path.exists(RECORD)
    if there and not check_mode:
        os.unlink(RECORD)
    return {"changed": there, "role": None}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["begun", "read", "ended"], "required": True},
            "role": {"type": "str"},
        },
        required_if=[("state", "begun", ("role",))],
        supports_check_mode=True,
    )
    if module.params["state"] == "begun":
        module.exit_json(**begin(module.params["role"], module.check_mode))
    if module.params["state"] == "ended":
        module.exit_json(**end(module.check_mode))
    module.exit_json(changed=False, role=recorded())


if __name__ == "__main__":
    main()
