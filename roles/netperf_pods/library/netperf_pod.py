#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: netperf_pod
short_description: Tell the network namespace and the host end of a pod on this node
description:
  - Finds the container by the pod's uid in the environment of its first process, whatever runtime made it.
  - Returns once netserver listens in it. Changes nothing.
options:
  uid: {type: str, required: true, description: The pod's uid.}
  address: {type: str, required: true, description: The pod's address.}
  port: {type: int, default: 12865, description: Control port of netserver.}
  timeout: {type: float, default: 30, description: Seconds that it may take until netserver listens.}
author: labctl
"""

RETURN = r"""
ansible_facts:
  description: >-
    endpoint_pod (the uid), endpoint_address, endpoint_netns (name of the pod's network namespace, empty for the node's
    own) and endpoint_interface (the node's interface that leads to the pod, empty for none).
  type: dict
  returned: always
"""

import os
import re
from typing import Dict

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.labctl_node.files import read_text
from ansible.module_utils.labctl_node.processes import processes_that
from ansible.module_utils.labctl_node.refused import Refused, finish
from ansible.module_utils.labctl_node.run import run_json
from ansible.module_utils.labctl_node.sockets import listens
from ansible.module_utils.labctl_node.wait import wait_until
from ansible.module_utils.netperf_pods_manifest import MARK

NAMED = "/run/netns"


def first_process(uid: str) -> int:
    """Return the first process of the pod's netserver container, 0 when there is none."""

    def is_first(directory: str) -> bool:
        with open(f"{directory}/environ", "rb") as stream:
            marked = f"{MARK}={uid}".encode() in stream.read().split(b"\0")
        return marked and re.search(r"(?m)^NSpid:.*\t1$", read_text(f"{directory}/status") or "") is not None

    return next(iter(processes_that(is_first)), 0)


def listening(uid: str, address: str, port: int, timeout: float) -> int:
    """Return the pod's netserver once it listens."""

    def listener() -> int:
        pid = first_process(uid)
        return pid if pid and listens(pid, address, port) else 0

    found = wait_until(listener, timeout)
    if not found:
        pid = first_process(uid)
        seen = (
            f"process {pid} does not listen on {address}:{port}" if pid else "no process on this node is marked with it"
        )
        hint = "`labctl matrix` deploys the pods again."
        raise Refused(f"netserver of the pod with uid {uid} is not there after {timeout:g} s.", seen=seen, hint=hint)
    return found


def name_of(pid: int) -> str:
    """Return the name of a process's network namespace on this node, empty for the node's own."""
    wanted, own = os.stat(f"/proc/{pid}/ns/net"), os.stat("/proc/1/ns/net")
    if os.path.samestat(wanted, own):
        return ""
    for name in os.listdir(NAMED) if os.path.isdir(NAMED) else ():
        if os.path.samestat(os.stat(f"{NAMED}/{name}"), wanted):
            return name
    hint = "Is the runtime containerd or CRI-O?"
    raise Refused(f"The network namespace of process {pid} has no name.", where=NAMED, hint=hint)


def host_end(netns: str, address: str) -> str:
    """Return the node's interface whose peer in the pod holds the address; empty where it is no veth."""
    inside = run_json(["ip", "-netns", netns, "-json", "-details", "address", "show"])
    for link in inside:
        if any(entry.get("local") == address for entry in link.get("addr_info", [])):
            outside = run_json(["ip", "-json", "link", "show"])
            return next((str(one["ifname"]) for one in outside if one["ifindex"] == link.get("link_index")), "")
    raise Refused("No interface has the pod's address.", where=netns, seen=address)


def find(wanted: Dict[str, object]) -> Dict[str, object]:
    """Return the task's result."""
    uid, address = str(wanted["uid"]), str(wanted["address"])
    netns = name_of(listening(uid, address, int(str(wanted["port"])), float(str(wanted["timeout"]))))
    facts = {
        "endpoint_pod": uid,
        "endpoint_address": address,
        "endpoint_netns": netns,
        "endpoint_interface": host_end(netns, address) if netns else "",
    }
    return {"changed": False, "ansible_facts": facts}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "uid": {"type": "str", "required": True},
            "address": {"type": "str", "required": True},
            "port": {"type": "int", "default": 12865},
            "timeout": {"type": "float", "default": 30.0},
        },
        supports_check_mode=True,
    )
    finish(module, lambda: find(module.params))


if __name__ == "__main__":
    main()
