"""What every kind of lab asks of its inventory and of the machine that carries it, as problems."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence

from ansible.module_utils.labctl_node.machine import os_release
from ansible.module_utils.labctl_node.refused import Problem

NAME = re.compile(r"[a-z][a-z0-9-]{0,19}")


def wrong_names(name: str, node_names: Sequence[str]) -> Iterator[Problem]:
    """What is wrong with the names of a lab and of its nodes."""
    yield from wrong_lab_name(name)
    yield from wrong_node_names(node_names)


def wrong_lab_name(name: str) -> Iterator[Problem]:
    """Why a lab cannot be called so: its name is that of a directory, too, which is removed with it."""
    if not NAME.fullmatch(name):
        yield {
            "what": "The lab's name cannot name interfaces and namespaces.",
            "where": "lab_name",
            "seen": name or "nothing: it is empty",
            "hint": "Use up to 20 of a-z, 0-9 and '-', beginning with a letter.",
        }


def wrong_node_names(node_names: Sequence[str]) -> Iterator[Problem]:
    """Why the nodes of a lab cannot be called so."""
    if len(node_names) != 2 or len(set(node_names)) != 2 or not all(map(NAME.fullmatch, node_names)):
        yield {
            "what": "A lab on this machine has exactly two nodes, one client and one server, named like a lab.",
            "where": "groups client and server",
            "seen": ", ".join(node_names) or "none",
            "hint": "Put one host into each of the two groups of the inventory.",
        }


def machine_problems(kind: str) -> Iterator[Problem]:
    """Why this machine or its user cannot carry a lab of a kind at all."""
    release = os_release()
    if os.geteuid() != 0:
        yield {
            "what": f"The {kind} lab needs root.",
            "seen": f"user id {os.geteuid()}",
            "hint": "Run as root, or as a user with sudo (--ask-become-pass if it asks for a password).",
        }
    elif not {"debian", "ubuntu"} & {release.get("ID"), *release.get("ID_LIKE", "").split()}:
        yield {
            "what": f"The {kind} lab runs on Debian and Ubuntu only.",
            "where": "/etc/os-release",
            "seen": release.get("PRETTY_NAME", "unknown"),
            "hint": "Use such a host, or another kind of lab.",
        }


def lacking_packages(commands: Mapping[str, str]) -> list[str]:
    """The packages of those commands (or absolute paths) that this machine does not have."""
    return sorted({p for c, p in commands.items() if not (os.path.exists(c) if c.startswith("/") else shutil.which(c))})
