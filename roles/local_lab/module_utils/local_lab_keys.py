"""The SSH keys of a lab, made before its nodes boot: the host keys are known in advance."""

from __future__ import annotations

import os

from ansible.module_utils.local_lab_plan import Plan
from ansible.module_utils.local_lab_record import Files
from ansible.module_utils.local_lab_system import run


def make_key(path: str, comment: str) -> None:
    """A key pair without a passphrase; a half-made one of a crash is made anew."""
    for part in (path, f"{path}.pub"):
        if os.path.exists(part):
            os.unlink(part)
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path])


def make_keys(lab: Plan, files: Files, owner: int) -> None:
    make_key(files.key, f"labctl {lab.name}")
    for path in (files.key, f"{files.key}.pub"):
        os.chown(path, owner, -1)
    known = []
    for node in lab.nodes:
        directory = os.path.join(files.seed(node.name), "etc", "ssh")
        os.makedirs(directory, exist_ok=True)
        path = os.path.join(directory, "ssh_host_ed25519_key")
        make_key(path, f"labctl {lab.name} {node.name}")
        with open(f"{path}.pub", encoding="utf-8") as file:
            kind, key = file.read().split()[:2]
        known.append(f"{node.address} {kind} {key}\n")
    with open(files.known_hosts, "w", encoding="utf-8") as file:
        file.writelines(known)
