#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: datapath_tools
short_description: Name the packages that bring the tools which the datapaths need and the node lacks
description: Looks and changes nothing.
author: labctl
"""

RETURN = r"""
missing: {description: Packages of the node's distribution to install., type: list, returned: always}
"""

import os
import platform
import shutil

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.datapath_wireguard import kernel_has_wireguard
from ansible.module_utils.labctl_node.machine import os_release

# An SSH session may come without the directories of system tools.
SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PACKAGES = {
    "bpftool": "bpftool",
    "conntrack": "conntrack",
    "ethtool": "ethtool",
    "ip": "iproute2",
    "iptables-nft-restore": "iptables",
    "nft": "nftables",
    "openssl": "openssl",
    "ping": "iputils-ping",
    "tc": "iproute2",
    "wg": "wireguard-tools",
    "wireguard-go": "wireguard-go",
}


def package_of(tool: str, distribution: str) -> str:
    """Return the package that brings a tool. Ubuntu ships bpftool with each of its kernels."""
    if tool == "bpftool" and distribution == "ubuntu":
        return f"linux-tools-{platform.release()}"
    return PACKAGES[tool]


def is_missing(tool: str, distribution: str) -> bool:
    """Whether the tool cannot be used, and is wanted.

    Ubuntu's bpftool may be a wrapper that only says what to install. wireguard-go stands in for a kernel without
    WireGuard.
    """
    if tool == "bpftool" and distribution == "ubuntu":
        return not os.path.exists(f"/usr/lib/linux-tools/{platform.release()}/bpftool")
    if tool == "wireguard-go" and kernel_has_wireguard():
        return False
    return shutil.which(tool, path=SEARCH) is None


def main() -> None:
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    distribution = os_release().get("ID", "")
    missing = {package_of(tool, distribution) for tool in PACKAGES if is_missing(tool, distribution)}
    module.exit_json(changed=False, missing=sorted(missing))


if __name__ == "__main__":
    main()
