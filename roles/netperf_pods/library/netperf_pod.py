#!/usr/bin/python
"""Ansible module: where a pod of this node is, in the node's own words."""

from __future__ import annotations

DOCUMENTATION = r"""
---
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

import json
import os
import re
import subprocess
import time
from typing import Dict

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.datapath_sockets import listens
from ansible.module_utils.netperf_pods_manifest import MARK

NAMED = "/run/netns"
POLL_S = 0.02


class Refused(Exception):
    """The pod is not here as it should be; the text says what was seen."""


def first_process(uid: str) -> int:
    """Return the first process of the pod's netserver container, 0 when there is none."""
    mark = f"{MARK}={uid}".encode()
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/environ", "rb") as stream:
                marked = mark in stream.read().split(b"\0")
            with open(f"/proc/{entry}/status", encoding="utf-8", errors="replace") as stream:
                numbers = re.search(r"^NSpid:.*\t(\d+)$", stream.read(), re.MULTILINE)
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
        if marked and numbers and numbers.group(1) == "1":
            return int(entry)
    return 0


def listening(uid: str, address: str, port: int, timeout: float) -> int:
    """Return the pod's netserver once it listens."""
    deadline = time.monotonic() + timeout
    while True:
        pid = first_process(uid)
        if pid and listens(pid, address, port):
            return pid
        if time.monotonic() > deadline:
            seen = (
                f"process {pid} does not listen on {address}:{port}"
                if pid
                else "no process on this node is marked with it"
            )
            raise Refused(f"netserver of the pod with uid {uid} is not there after {timeout:g} s: {seen}")
        time.sleep(POLL_S)


def name_of(pid: int) -> str:
    """Return the name of a process's network namespace on this node, empty for the node's own."""
    wanted, own = os.stat(f"/proc/{pid}/ns/net"), os.stat("/proc/1/ns/net")
    if os.path.samestat(wanted, own):
        return ""
    for name in os.listdir(NAMED) if os.path.isdir(NAMED) else ():
        if os.path.samestat(os.stat(f"{NAMED}/{name}"), wanted):
            return name
    raise Refused(
        f"the network namespace of process {pid} has no name below {NAMED}: is the runtime containerd or CRI-O?"
    )


def host_end(netns: str, address: str) -> str:
    """Return the node's interface whose peer in the pod holds the address; empty where it is no veth."""
    inside = json.loads(output(["ip", "-netns", netns, "-json", "-details", "address", "show"]))
    for link in inside:
        if any(entry.get("local") == address for entry in link.get("addr_info", [])):
            outside = json.loads(output(["ip", "-json", "link", "show"]))
            return next((str(one["ifname"]) for one in outside if one["ifindex"] == link.get("link_index")), "")
    raise Refused(f"no interface in {netns} has the pod's address {address}")


def output(argv: "list[str]") -> str:
    """Return what a tool prints."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    if done.returncode != 0:
        raise Refused(f"`{' '.join(argv)}` ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


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
    try:
        result = find(module.params)
    except Refused as problem:
        module.fail_json(msg=str(problem))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
