"""What the role did to a node: `/var/lib/labctl/kernel.json`, so that it can be undone, and finished after a crash."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable
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


def unfit(words: Iterable[str]) -> list[str]:
    """The words that cannot reach a kernel as they are: GRUB puts a backslash before quotes and backslashes."""
    return [word for word in words if not re.fullmatch(r"[!#-&(-\[\]-~]+", word)]


def grub_word(word: str) -> str:
    """A word of a `linux` command as GRUB's own shell reads it."""
    return word if re.fullmatch(r"[\w@%+=:,./-]+", word, re.ASCII) else f"'{word}'"


def grub_defaults(choice: str, words: list[str]) -> str:
    """What /etc/default/grub is followed by: which entry is booted, and with which words beside those there already.

    A shell reads the file, and update-grub copies the values into grub.cfg, which GRUB's own shell reads: the entry
    between double quotes, the words as they stand. So each is quoted for GRUB first, and then for the shell.
    """
    entry = re.sub(r'(["$\\])', r"\\\1", choice)
    lines = [
        "# Written by labctl (role kernel); `kernel_line: distribution` removes it.",
        f"GRUB_DEFAULT={shlex.quote(entry)}",
    ]
    if words:
        quoted = shlex.quote(" ".join(map(grub_word, words)))
        lines.append(f'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX "{quoted}')
    return "\n".join(lines)
