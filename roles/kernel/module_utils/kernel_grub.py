"""GRUB's choices: the default, and the one that holds for the next boot only."""

from __future__ import annotations

import os

from ansible.module_utils import kernel_facts as facts
from ansible.module_utils import kernel_record as records
from ansible.module_utils.labctl_node.files import read_text, write_text
from ansible.module_utils.labctl_node.refused import Refused
from ansible.module_utils.labctl_node.run import run


def choice_of(release: str) -> str:
    """How GRUB is told to boot a release. Raises Refused where its menu lacks it."""
    text = read_text(facts.GRUB_CFG) or ""
    choice = facts.entry_of(text, release)
    if choice is None:
        known = ", ".join(dict.fromkeys(entry.release for entry in facts.grub_entries(text)))
        what = f"GRUB's menu has no entry for the kernel {release}."
        raise Refused(what, where=facts.GRUB_CFG, seen=f"it has {known}", hint="On the node: update-grub")
    return choice


def set_default(release: str, cmdline: list[str], update: bool = True) -> bool:
    """Make a release the default, with these words on its command line; whether that changed anything.

    `update` writes GRUB's menu anew; leave it to a package's own script where one is installed right after.
    """
    wanted = records.grub_defaults(choice_of(release), cmdline)
    if read_text(records.GRUB) == wanted:
        return False
    os.makedirs(os.path.dirname(records.GRUB), exist_ok=True)
    write_text(records.GRUB, f"{wanted}\n")
    if update:
        run(["update-grub"])
        # An entry that had only a title has an id now.
        again = records.grub_defaults(choice_of(release), cmdline)
        if again != wanted:
            return set_default(release, cmdline, update)
    return True


def boot_once(release: str) -> None:
    """Let the next boot, and only that one, take a release."""
    choice = choice_of(release)
    run(["grub-reboot", choice])
    if f"next_entry={choice}" not in run(["grub-editenv", "list"]).splitlines():
        what = "GRUB cannot keep a choice for one boot: its environment block is not written."
        raise Refused(what, where="/boot/grub/grubenv", hint="Is /boot on LVM, RAID or btrfs? Boot by hand.")
