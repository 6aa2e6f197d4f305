#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: vm_lab_verify
short_description: The guests of a vm lab keep the lab's promises
description:
  - Logs in to every guest with strict host key checking, and reads back its name, how it runs, its disk and its cable.
options:
  state_dir: {type: path, required: true, description: Directory of the records.}
  name: {type: str, required: true, description: Name of the lab.}
author: labctl
"""

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.lab_host_keys import answers, ask
from ansible.module_utils.labctl_node.refused import Refused, finish, refuse
from ansible.module_utils.vm_lab_plan import CABLE, CABLE_MAX_MTU, CABLE_PREFIX, HOST, Guest
from ansible.module_utils.vm_lab_record import GuestFiles, Record, read

QUESTIONS = f"""
set -u
echo "hostname=$(cat /proc/sys/kernel/hostname)"
echo "root=$(findmnt --noheadings --output SOURCE /)"
echo "accelerator=$(systemd-detect-virt)"
echo "bpffs=$(stat --file-system --format=%T /sys/fs/bpf)"
echo "cable=$(cat /sys/class/net/{CABLE}/operstate)"
echo "cable_address=$(ip -4 -oneline address show dev {CABLE} | sed -E 's/.* inet ([^ ]+) .*/\\1/')"
echo "cable_largest_mtu=$(ip -details link show dev {CABLE} | sed -nE 's/.* maxmtu ([0-9]+).*/\\1/p')"
"""
# An emulated guest takes its time.
ANSWER_S = 60
DETECTED = {"tcg": "qemu", "kvm": "kvm"}


def wanted(record: Record, guest: Guest) -> dict[str, str]:
    return {
        "hostname": guest.name,
        "root": "/dev/vda1",
        "accelerator": DETECTED[record.accelerator],
        "bpffs": "bpf_fs",
        "cable": "up",
        "cable_address": f"{guest.cable_address}/{CABLE_PREFIX}",
        "cable_largest_mtu": str(CABLE_MAX_MTU),
    }


def verify(state_dir: str, name: str) -> dict[str, object]:
    record, files = read(state_dir, name), GuestFiles(state_dir, name)
    if record is None:
        raise Refused(f"The lab {name} has no record of this boot.", where=state_dir)
    asked = [(guest, ask(files, HOST, guest.port, QUESTIONS)) for guest in record.plan.guests]
    refuse(
        problem
        for guest, process in asked
        for problem in answers(guest.name, f"{HOST}:{guest.port}", process, wanted(record, guest), ANSWER_S)
    )
    return {"changed": False}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state_dir": {"type": "path", "required": True},
            "name": {"type": "str", "required": True},
        },
    )
    finish(module, lambda: verify(**module.params))


if __name__ == "__main__":
    main()
