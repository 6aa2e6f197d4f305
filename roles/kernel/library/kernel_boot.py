#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: kernel_boot
short_description: Which kernel a node boots
options:
  state:
    type: str
    required: true
    choices: [once, kept, restored]
    description: >-
      once: the next boot takes the release, and the one after it what runs now. kept: what runs is the default and held
      against upgrades. restored: nothing of the role is left, and the distribution's kernel is the default.
  release: {type: str, required: true, description: As uname -r says it.}
  cmdline: {type: list, elements: str, default: [], description: Words for the kernel command line.}
author: labctl
"""

import os
from typing import Any

from ansible.module_utils import kernel_record as records
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.kernel_grub import boot_once, set_default
from ansible.module_utils.labctl_node.refused import finish
from ansible.module_utils.labctl_node.run import run

PURGE = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=1800", "purge"]


def once(params: dict[str, Any]) -> bool:
    set_default(os.uname().release, params["cmdline"])
    boot_once(params["release"])
    return True


def kept(params: dict[str, Any]) -> bool:
    release = params["release"]
    if records.load() is None:
        records.save(records.Record(release))
    changed = set_default(release, params["cmdline"])
    package = f"linux-image-{release}"
    if package not in run(["apt-mark", "showhold"]).split():
        run(["apt-mark", "hold", package])
        changed = True
    return changed


def restored(_: dict[str, Any]) -> bool:
    record = records.load()
    held = run(["apt-mark", "showhold"]).split()
    ours = [name for name in held if record and name in {f"linux-image-{record.previous}", *record.packages}]
    if ours:
        run(["apt-mark", "unhold", *ours])
    left = [path for path in (records.GRUB, records.SOURCE, records.PREFERENCES) if os.path.exists(path)]
    for path in left:
        os.unlink(path)
    present = run(["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Abbrev}\n"]).splitlines()
    there = {line.split()[0] for line in present if line.split()[1:] != ["un"]}
    installed = [name for name in (record.packages if record else ()) if name in there]
    if installed:
        run([*PURGE, *installed])
    elif left:
        run(["update-grub"])
    if record:
        os.unlink(records.PATH)
    return bool(record or left)


ACTIONS = {"once": once, "kept": kept, "restored": restored}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "required": True, "choices": list(ACTIONS)},
            "release": {"type": "str", "required": True},
            "cmdline": {"type": "list", "elements": "str", "default": []},
        },
    )
    finish(module, lambda: {"changed": ACTIONS[module.params["state"]](module.params)})


if __name__ == "__main__":
    main()
