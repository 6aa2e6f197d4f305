"""The environment that Ansible runs in: the user's own configuration, and what labctl pins."""

from __future__ import annotations

import configparser
import os
from pathlib import Path

from labctl.core import paths

CALLBACKS = Path(__file__).parent / "callbacks"


def _ansible_config() -> str | None:
    """The user's own ansible.cfg, which runner's working directory would hide."""
    if "ANSIBLE_CONFIG" in os.environ:
        return os.environ["ANSIBLE_CONFIG"]
    own = Path.cwd() / "ansible.cfg"
    return str(own) if own.is_file() else None


def _host_key_checking(config: str | None) -> str:
    """What the user's environment or ansible.cfg says of host keys, else true: runner alone would switch it off."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.read([config] if config else [])
    configured = parser.get("defaults", "host_key_checking", fallback="true")
    return os.environ.get("ANSIBLE_HOST_KEY_CHECKING", configured)


def environment(private: Path, sockets: Path) -> dict[str, str]:
    """The variables of one call of Ansible: `private` is its own directory, `sockets` that of SSH's connections."""
    root, config = paths.content_root(), _ansible_config()
    pinned = {
        "ANSIBLE_ROLES_PATH": str(root / "roles"),
        "ANSIBLE_CALLBACK_PLUGINS": str(CALLBACKS),
        "ANSIBLE_CALLBACKS_ENABLED": "labctl_lifeline,labctl_packed",
        "ANSIBLE_LOCAL_TEMP": str(private / "tmp"),
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(sockets),
        "ANSIBLE_HOST_KEY_CHECKING": _host_key_checking(config),
        "ANSIBLE_PIPELINING": "true",
        "ANSIBLE_RETRY_FILES_ENABLED": "false",
        "ANSIBLE_INVENTORY_UNPARSED_FAILED": "true",
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
        "ANSIBLE_FORCE_COLOR": "false",
        "ANSIBLE_NOCOLOR": "true",
        "ANSIBLE_DEPRECATION_WARNINGS": "false",
        "LC_ALL": "C.UTF-8",  # Ansible refuses to start in a locale that the machine lacks
        "LABCTL_PID": str(os.getpid()),
    }
    return pinned | ({"ANSIBLE_CONFIG": config} if config else {})
