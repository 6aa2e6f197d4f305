"""What the role did to a node: `/var/lib/labctl/kernel.json`, so that it can be undone, and finished after a crash."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass

from ansible.module_utils.labctl_node.files import read_json, write_json

PATH = "/var/lib/labctl/kernel.json"
GRUB = "/etc/default/grub.d/labctl.cfg"
SOURCE = "/etc/apt/sources.list.d/labctl-kernel.list"
PREFERENCES = "/etc/apt/preferences.d/labctl-kernel"


@dataclass(frozen=True)
class Record:
    """`previous` is the distribution's kernel that ran before; the others are what was installed since."""

    previous: str
    releases: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()


def load() -> Record | None:
    """The record of this node; None where the role has installed nothing."""
    data = read_json(PATH)
    return data and Record(data["previous"], tuple(data["releases"]), tuple(data["packages"]))


def save(record: Record) -> None:
    """Write the record."""
    os.makedirs(os.path.dirname(PATH), exist_ok=True)
    write_json(PATH, asdict(record))


def add(previous: str, release: str, package: str) -> None:
    """Note a package before it is installed."""
    record = load() or Record(previous)
    releases = dict.fromkeys((*record.releases, release))
    packages = dict.fromkeys((*record.packages, package))
    save(Record(record.previous, tuple(releases), tuple(packages)))


def grub_defaults(choice: str, words: list[str]) -> str:
    """What /etc/default/grub is followed by: which entry is booted, and with which words beside those there already."""
    lines = ["# Written by labctl (role kernel); `kernel_line: distribution` removes it.", f'GRUB_DEFAULT="{choice}"']
    if words:
        lines.append(f'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX {" ".join(words)}"')
    return "\n".join(lines)
