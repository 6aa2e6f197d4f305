#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: ptp_network
short_description: Configure the ptp CNI plugin on a node and route the other node's pods
description:
  - Writes one CNI configuration - ptp with host-local addresses out of the node's own pod network - and one route.
  - All of it is known again by its name or its routing protocol. Switches forwarding on; whoever recorded how the node
    was puts that back.
  - Removing is refused while a pod still holds an address.
options:
  state: {type: str, choices: [present, absent], default: present, description: Whether it is there.}
  pod_network: {type: str, description: "Network of this node's pods, in CIDR form. Required when present."}
  peer_network: {type: str, description: Network of the other node's pods. Required when present.}
  peer_address: {type: str, description: Address through which they are reached. Required when present.}
  cable: {type: str, description: Interface towards the other node. Required when present.}
  mtu: {type: int, description: MTU in bytes of the pods' links. Required when present.}
author: labctl
"""

RETURN = r"""
path: {description: The CNI configuration., type: str, returned: always}
"""

import json
import os
import shutil
from typing import Any, Dict, List

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.labctl_node.files import read_text, remove_file, write_setting, write_text
from ansible.module_utils.labctl_node.refused import Refused, finish
from ansible.module_utils.labctl_node.run import run, run_json
from ansible.module_utils.labctl_node.wait import wait_until

NAME = "labctl-ptp"
DIRECTORY = "/etc/cni/net.d"
PATH = f"{DIRECTORY}/10-{NAME}.conflist"
ADDRESSES = f"/var/lib/cni/networks/{NAME}"
RESULTS = ("/var/lib/cni/cache/results", "/var/lib/cni/results")  # of plugins and runtimes from 2020 on, and before
# Marks our route: rtnetlink(7) leaves the numbers from 5 on to users.
PROTOCOL = "198"
FORWARDING = "/proc/sys/net/ipv4/ip_forward"
RELEASE_S = 20.0


def configuration(wanted: Dict[str, Any]) -> str:
    """Return the CNI configuration. Nothing is masqueraded: that rule would affect the measurement."""
    ipam = {
        "type": "host-local",
        "ranges": [[{"subnet": wanted["pod_network"]}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    plugin = {"type": "ptp", "mtu": wanted["mtu"], "ipMasq": False, "ipam": ipam}
    return json.dumps({"cniVersion": "0.3.1", "name": NAME, "plugins": [plugin]}, indent=2) + "\n"


def route_of(wanted: Dict[str, Any]) -> List[str]:
    """Return the route to the other node's pods in ip's words."""
    return [wanted["peer_network"], "via", wanted["peer_address"], "dev", wanted["cable"], "proto", PROTOCOL]


def routes() -> List[Dict[str, Any]]:
    """Return the routes of ours."""
    found: List[Dict[str, Any]] = run_json(["ip", "-json", "route", "show", "proto", PROTOCOL])
    return found


def present(wanted: Dict[str, Any], check_mode: bool) -> bool:
    """Bring the network about; whether that took a change."""
    text = configuration(wanted)
    if read_text(PATH) == text.strip() and run_json(["ip", "-json", "route", "show", *route_of(wanted)]):
        return False
    if check_mode:
        return True
    absent(check_mode)
    # As the plugin itself would; role kubernetes has the value from before on record, and puts it back.
    write_setting(FORWARDING, "1")
    run(["ip", "route", "add", *route_of(wanted)])
    os.makedirs(DIRECTORY, exist_ok=True)
    draft = f"{DIRECTORY}/.{NAME}"  # without an ending that the runtime looks for
    write_text(draft, text)
    os.replace(draft, PATH)
    return True


def held() -> List[str]:
    """Return the addresses that pods of this network hold."""
    names = os.listdir(ADDRESSES) if os.path.isdir(ADDRESSES) else []
    return sorted(name for name in names if name[0].isdigit())


def leftovers() -> List[str]:
    """Return what there is of the network on this node."""
    found = [path for path in (PATH, ADDRESSES, *results()) if os.path.exists(path)]
    return found + [f"route to {route['dst']}" for route in routes()]


def results() -> List[str]:
    """Return what the runtime remembers of pods of this network."""
    directories = [directory for directory in RESULTS if os.path.isdir(directory)]
    names = [os.path.join(directory, name) for directory in directories for name in os.listdir(directory)]
    return [name for name in names if os.path.basename(name).startswith(f"{NAME}-")]


def absent(check_mode: bool) -> bool:
    """Remove the network; whether there was one. Addresses that kubelet is about to release are waited for."""
    if not leftovers() or check_mode:
        return bool(leftovers())
    if not wait_until(lambda: not held(), RELEASE_S):
        raise Refused(
            "Pods of this node still hold addresses of its network.",
            where=ADDRESSES,
            seen=", ".join(held()),
            hint="Delete them first.",
        )
    for path in (PATH, *results()):
        remove_file(path)
    if os.path.isdir(ADDRESSES):
        shutil.rmtree(ADDRESSES)
    for route in routes():
        run(["ip", "route", "delete", route["dst"], "dev", route["dev"], "proto", PROTOCOL])
    return True


def act(module: AnsibleModule) -> bool:
    """Do what the arguments say; whether that took a change."""
    if module.params["state"] == "absent":
        return absent(module.check_mode)
    return present(module.params, module.check_mode)


def main() -> None:
    names = ("pod_network", "peer_network", "peer_address", "cable")
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            **{name: {"type": "str"} for name in names},
            "mtu": {"type": "int"},
        },
        required_if=[("state", "present", (*names, "mtu"))],
        supports_check_mode=True,
    )
    finish(module, lambda: {"changed": act(module), "path": PATH})


if __name__ == "__main__":
    main()
