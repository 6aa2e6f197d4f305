"""What is a node's own: files over the tree or image that all nodes share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping

from ansible.module_utils.lab_host_apt import acquire_file
from ansible.module_utils.lab_host_record import Files
from ansible.module_utils.labctl_node.files import read_text, write_text

ACQUIRE = "etc/apt/apt.conf.d/80labctl-host"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


def write_seed(files: Files, node: str, own: Mapping[str, str]) -> str:
    """Write a node's own files, by path below its root; its SSH host key lies there already. Returns the directory.

    `own` comes on top of what every node gets: its name, who may log in, and the host's own way to the archive.
    """
    seed = files.seed(node)
    contents = {
        "etc/hostname": f"{node}\n",
        ACQUIRE: acquire_file(),
        "root/.ssh/authorized_keys": f"{read_text(f'{files.key}.pub')}\n",
        **own,
    }
    for path, text in contents.items():
        target = os.path.join(seed, path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if path == ACQUIRE:  # a proxy may want a password
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT, 0o600))
            os.chmod(target, 0o600)
        write_text(target, text)
    for private in ("root", "root/.ssh"):
        os.chmod(os.path.join(seed, private), 0o700)
    if os.path.exists(CERTIFICATES):  # an archive behind a certificate of the site's own
        target = os.path.join(seed, CERTIFICATES.lstrip("/"))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copyfile(CERTIFICATES, target)
    return seed
