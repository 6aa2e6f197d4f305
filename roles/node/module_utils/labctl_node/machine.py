"""What any machine says of itself."""

from __future__ import annotations

import re
from typing import Dict

from ansible.module_utils.labctl_node.files import read_text


def boot_id() -> str:
    """The identity of this boot."""
    return read_text("/proc/sys/kernel/random/boot_id") or ""


def os_release() -> Dict[str, str]:
    """The fields of /etc/os-release; none where there is no such file."""
    return release_fields(read_text("/etc/os-release") or "")


def release_fields(text: str) -> Dict[str, str]:
    """The fields in a text of the form of /etc/os-release, their quotes taken off."""
    return dict(re.findall(r"""(?m)^(\w+)=["']?([^"'\n]*)["']?$""", text))
