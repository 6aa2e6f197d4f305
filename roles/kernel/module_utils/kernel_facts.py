"""What is known of a kernel and of the boot loader, from their files and their own words; changes nothing."""

from __future__ import annotations

import glob
import gzip
import os
import re
from dataclasses import dataclass
from typing import NamedTuple

from ansible.module_utils.labctl_node.files import read_text

DISTRIBUTION = "distribution"
MODELS = {"CONFIG_PREEMPT_NONE": "none", "CONFIG_PREEMPT_VOLUNTARY": "voluntary", "CONFIG_PREEMPT": "full"}
GRUB_CFG = "/boot/grub/grub.cfg"
SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"


def parse_config(text: str) -> dict[str, str]:
    """Name to value of a kernel's .config; an option that is not set is n."""
    found = dict(re.findall(r"(?m)^(CONFIG_\w+)=(.*)$", text))
    found.update((name, "n") for name in re.findall(r"(?m)^# (CONFIG_\w+) is not set$", text))
    return found


def preemption(config: dict[str, str], cmdline: list[str]) -> str | None:
    """The preemption model a kernel runs with: as built, or as a PREEMPT_DYNAMIC one was booted."""
    if config.get("CONFIG_PREEMPT_DYNAMIC") == "y":
        chosen = [word.partition("=")[2] for word in cmdline if word.startswith("preempt=")]
        if chosen:
            return chosen[-1]
    return next((model for option, model in MODELS.items() if config.get(option) == "y"), None)


def is_of_line(release: str, line: str) -> bool:
    """Whether a release such as 5.10.0-32-amd64 is one of the line 5.10."""
    return re.match(re.escape(line) + r"(?!\d)", release) is not None


def newest(releases: list[str]) -> str | None:
    """The newest of some releases, by the numbers in them; what follows a ~ is from before the release."""
    return max(releases, key=_age, default=None)


def _age(release: str) -> list[int]:
    return [-1 if part == "~" else int(part) for part in re.findall(r"\d+|~", release)]


@dataclass(frozen=True)
class Entry:
    """A menu entry of GRUB: how it is chosen (ids or titles of the menus on the way, joined by >) and what it boots."""

    choice: str
    release: str
    recovery: bool = False


class _Menu(NamedTuple):
    name: str
    depth: int
    entry: bool
    recovery: bool


def grub_entries(text: str) -> list[Entry]:
    """The menu entries of a grub.cfg that boot a Linux kernel, in its order."""
    entries: list[Entry] = []
    menus: list[_Menu] = []  # those that are open, the innermost last
    depth = 0
    for line in re.sub(r"(?m)^\s*#.*$", "", text).splitlines():
        begins = re.match(r"\s*(menuentry|submenu)\s+(['\"])(.*?)\2(.*)\{\s*$", line)
        if begins:
            kind, _, title, rest = begins.groups()
            known = re.search(r"(?:\$menuentry_id_option|--id)\s+['\"]?([^'\"\s]+)", rest)
            menus.append(_Menu(known[1] if known else title, depth, kind == "menuentry", "recovery" in title))
        kernel = re.match(r"\s*linux(?:efi|16)?\s+\S*/vmlinuz-(\S+)", line)
        if kernel and menus and menus[-1].entry:
            entries.append(Entry(">".join(menu.name for menu in menus), kernel[1], menus[-1].recovery))
        depth += line.count("{") - line.count("}")
        if menus and depth <= menus[-1].depth:
            menus.pop()
    return entries


def entry_of(text: str, release: str) -> str | None:
    """How GRUB is told to boot a release; None where its menu does not have it.

    The entry in a submenu is taken where there is one: the menu's first entry changes its kernel with every update.
    """
    fitting = [entry.choice for entry in grub_entries(text) if entry.release == release and not entry.recovery]
    return max(fitting, key=lambda choice: choice.count(">"), default=None)


def config_of(release: str) -> dict[str, str]:
    """The configuration of a kernel: its file in /boot, or the running one's own word; empty where neither is."""
    text = read_text(f"/boot/config-{release}")
    if text is None and release == os.uname().release and os.path.exists("/proc/config.gz"):
        with gzip.open("/proc/config.gz", "rt", encoding="utf-8") as file:
            text = file.read()
    return parse_config(text or "")


def installed() -> list[str]:
    """The releases that have a kernel in /boot and modules."""
    found = [os.path.basename(path)[len("vmlinuz-") :] for path in glob.glob("/boot/vmlinuz-*")]
    return [release for release in sorted(found) if os.path.isdir(f"/lib/modules/{release}")]


def cmdline() -> list[str]:
    """The words that the running kernel was booted with."""
    return (read_text("/proc/cmdline") or "").split()


def secure_boot() -> bool:
    """Whether the firmware boots only what is signed."""
    try:
        with open(SECURE_BOOT, "rb") as file:
            return file.read()[-1:] == b"\x01"
    except FileNotFoundError:
        return False


def free_mib(directory: str) -> int:
    """Room for root's files below a directory, in MiB."""
    stat = os.statvfs(directory)
    return stat.f_bavail * stat.f_frsize >> 20
