#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: tc_programs
short_description: Try to load compiled tc programs, and record their sum
description:
  - Loads the object into the kernel and lets go of it; nothing is attached.
  - Writes the object's sha256 beside it, which every later deploy holds it against.
  - A kernel that refuses the object is no failure here, for the node can still run other variants. It is a warning,
    and deploying the variant fails with the same text.
options:
  object: {type: path, required: true, description: The object on the node.}
author: labctl
"""

RETURN = r"""
usable: {description: Whether the kernel takes the programs., type: bool, returned: always}
refusal: {description: Why not., type: str, returned: always}
sha256: {description: Sum of the object., type: str, returned: always}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.datapath_programs import load, sum_file, sum_of
from ansible.module_utils.labctl_node.files import read_text, write_text
from ansible.module_utils.labctl_node.refused import Refused, finish


def act(module: AnsibleModule) -> dict[str, object]:
    """Record the sum, try the object, and return the task's result."""
    path = module.params["object"]
    seen, refusal = sum_of(path), None
    changed = read_text(sum_file(path)) != seen
    if changed and not module.check_mode:
        write_text(sum_file(path), f"{seen}\n")
    try:
        load(path)
    except Refused as problem:
        refusal = str(problem)
        module.warn(refusal)
    return {"changed": changed, "sha256": seen, "usable": refusal is None, "refusal": refusal}


def main() -> None:
    module = AnsibleModule(argument_spec={"object": {"type": "path", "required": True}}, supports_check_mode=True)
    finish(module, lambda: act(module))


if __name__ == "__main__":
    main()
