"""The environment that Ansible runs in: a closed list of the user's variables, and what labctl decides itself."""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Mapping
from pathlib import Path

from labctl.core import paths
from labctl.engine.settings import NO_CONFIG, Settings

# What programs that Ansible starts go by: where things are, who one is, ways through a network, and to a cluster.
# LABCTL_PASS_ENV names further ones, for an inventory or a password program that looks something up in the environment.
PASSED = frozenset(
    {
        *("HOME", "SHELL", "TZ", "TMPDIR", "LANG"),
        *("SSH_AUTH_SOCK", "SSH_AGENT_PID", "KRB5CCNAME", "KRB5_CONFIG", "GNUPGHOME", "PASSWORD_STORE_DIR"),
        *("VAULT_ADDR", "VAULT_TOKEN", "VAULT_NAMESPACE", "VAULT_CACERT"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        *("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy"),
        *("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY"),
        *("KUBECONFIG", "USE_GKE_GCLOUD_AUTH_PLUGIN", "DOCKER_CONFIG", "REGISTRY_AUTH_FILE"),
    }
)
# Whole families: of Ansible, whose settings hold unless they are pinned; of labctl; of what kubeconfigs log in with.
FAMILIES = ("ANSIBLE_", "LABCTL_", "XDG_", "LC_", "AWS_", "AZURE_", "ARM_", "GOOGLE_", "CLOUDSDK_", "AAD_")


def passed(variables: Mapping[str, str]) -> dict[str, str]:
    """The part of an environment that Ansible gets to see."""
    further = variables.get("LABCTL_PASS_ENV", "").replace(",", " ").split()
    return {
        name: value
        for name, value in variables.items()
        if (name in PASSED or name.startswith(FAMILIES) or name in further) and _is_text(value)
    }


def search_path(variables: Mapping[str, str]) -> str:
    """Where programs are looked for: first beside this Python, in an environment that need not be activated (pipx)."""
    own = str(Path(sys.executable).parent)
    others = variables.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join([own, *(other for other in others if other != own)])


def environment(settings: Settings, private: Path, sockets: Path) -> dict[str, str]:
    """All variables of one call of Ansible: `private` is its own directory, `sockets` that of SSH's connections.

    Whether host keys are checked is the user's own setting, and is not among them.
    """
    own = {
        "PATH": search_path(os.environ),
        "ANSIBLE_CONFIG": str(settings.config or NO_CONFIG),
        "ANSIBLE_ROLES_PATH": str(paths.content_root() / "roles"),
        "ANSIBLE_LOCAL_TEMP": str(private / "tmp"),
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(sockets),
        "LC_ALL": "C.UTF-8",  # Ansible refuses to start in a locale that the machine lacks
        "LABCTL_PID": str(os.getpid()),
    }
    return {**passed(os.environ), **settings.pinned, **who(), **own}


def who() -> dict[str, str]:
    """Who runs this, as the system says: whether Ansible becomes another user hangs on it."""
    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return {}
    return {"USER": name, "LOGNAME": name}


def _is_text(value: str) -> bool:
    """Whether a value is UTF-8: Ansible and its runner cannot take any other."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
