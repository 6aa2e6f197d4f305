#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_lab_accelerator
short_description: KVM where it truly works, else TCG
description:
  - Boots a kernel under KVM and waits for its first words; a device that opens, and even firmware that speaks, is no
    proof. The answer is kept in the cache until the machine boots again or another QEMU or kernel is asked about.
  - Warns when guests have to be emulated.
options:
  wanted: {type: str, choices: [auto, kvm, tcg], default: auto, description: "Whether to look, or to insist."}
  kernel: {type: path, required: true, description: A kernel to try with.}
  cache_dir: {type: path, required: true, description: Where the answer is kept.}
author: labctl
"""

RETURN = r"""
accelerator: {type: str, description: kvm or tcg.}
cpu: {type: str, description: Model of the processor for QEMU.}
reason: {type: str, description: Why it is not kvm; empty where it is.}
"""

import os
from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.labctl_node.files import close_directory, read_json, write_json
from ansible.module_utils.labctl_node.machine import boot_id
from ansible.module_utils.labctl_node.refused import Refused, finish
from ansible.module_utils.vm_lab_qemu import TCG_CPU, Accelerator, probe, version


def known(path: str, question: dict[str, Any]) -> Accelerator | None:
    """The answer kept in the cache, if it is one to this question."""
    try:
        kept = read_json(path)
        return Accelerator(**kept["answer"]) if kept["question"] == question else None
    except (ValueError, KeyError, TypeError):
        return None


def find(wanted: str, kernel: str, cache_dir: str) -> Accelerator:
    if wanted == "tcg":
        return Accelerator("tcg", TCG_CPU, "vm_lab_accelerator is tcg")
    path = os.path.join(cache_dir, "accelerator.json")
    question = {"boot_id": boot_id(), "qemu": list(version()), "kernel": kernel}
    found = known(path, question)
    if found is None:
        found = probe(kernel)
        close_directory(cache_dir)
        write_json(path, {"question": question, "answer": asdict(found)})
    if wanted == "kvm" and found.name != "kvm":
        raise Refused(
            "KVM does not work on this machine.",
            where="vm_lab_accelerator",
            seen=found.reason,
            hint="Enable virtualisation (nested, in a virtual machine), or set vm_lab_accelerator to auto.",
        )
    return found


def main() -> None:
    os.umask(0o022)
    module = AnsibleModule(
        argument_spec={
            "wanted": {"type": "str", "choices": ["auto", "kvm", "tcg"], "default": "auto"},
            "kernel": {"type": "path", "required": True},
            "cache_dir": {"type": "path", "required": True},
        },
    )

    def act() -> dict[str, object]:
        found = find(**module.params)
        if found.name == "tcg":
            module.warn(f"Guests are emulated (TCG): slow, and nothing measured on them is a result. {found.reason}.")
        return {"changed": False, "accelerator": found.name, "cpu": found.cpu, "reason": found.reason}

    finish(module, act)


if __name__ == "__main__":
    main()
