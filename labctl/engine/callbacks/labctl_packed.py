"""Callback plugin: what Ansible packed of a module serves all playbooks of one labctl.

To run a module, Ansible packs it with everything that it imports, which takes 0.15 to 0.3 s, and keeps that for the
same playbook only. A run starts a playbook for every visit, each of which would pack the same modules again.
"""

from __future__ import annotations

import os
from pathlib import Path

from ansible import constants as C  # noqa: N812  (Ansible's own name for it)
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
    name: labctl_packed
    type: aggregate
    short_description: keeps packed modules for the next playbook of the same labctl
    description: Lets Ansible keep the modules that it packed in the directory that LABCTL_PACKED names.
"""


class CallbackModule(CallbackBase):
    """Takes effect by being loaded."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "labctl_packed"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        # Ansible looks for them here, and removes no more than the link at its end.
        (Path(C.DEFAULT_LOCAL_TMP) / "ansiballz_cache").symlink_to(os.environ["LABCTL_PACKED"])
