#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: cilium_agent
short_description: Ask the node's Cilium agent what its datapath is
description:
  - Asks the agent over its socket, and the kernel for the programs on the cable and on the pod's host end.
  - With counters of an earlier call, says how many packets the agent's programs forwarded since, by direction. Changes
    nothing.
options:
  cable: {type: str, required: true, description: Interface towards the other node.}
  pod_interface: {type: str, default: "", description: The node's end of the link to the endpoint's pod.}
  socket: {type: path, default: /var/run/cilium/cilium.sock, description: Where the agent answers.}
  metrics:
    type: path
    default: /sys/fs/bpf/tc/globals/cilium_metrics
    description: Where the agent pins the map in which its programs count.
  since: {type: dict, default: {}, description: The counters of an earlier call.}
author: labctl
"""

RETURN = r"""
said: {type: dict, description: The datapath in the words of the role's README., returned: always}
counters: {type: dict, description: Packets forwarded by direction., returned: always}
address: {type: str, description: Address that Cilium gave itself on this node (CiliumInternalIP)., returned: always}
status: {type: dict, description: The agent's own status as it was., returned: always}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.cilium_api import ask
from ansible.module_utils.cilium_status import forwarded, ipsec_keys, said
from ansible.module_utils.datapath_links import link_of
from ansible.module_utils.datapath_programs import observe_programs
from ansible.module_utils.labctl_node.refused import Refused, finish
from ansible.module_utils.labctl_node.run import run, run_json

# Cilium's own end of the pods' network on a node.
HOST = "cilium_host"


def programs_on(interface: str) -> list[str]:
    """Names of the programs on an interface, those on its ingress first; none where there is no such interface."""
    return [program["name"] for program in observe_programs(interface)] if link_of(interface) else []


def own_address() -> str:
    """Return the CiliumInternalIP of this node. Raises Refused without its interface, or its one address."""
    shown = run_json(["ip", "-json", "-4", "address", "show", "dev", HOST])
    addresses = [str(one["local"]) for link in shown for one in link.get("addr_info", [])]
    if len(addresses) != 1:
        raise Refused(f"{HOST} has {len(addresses)} IPv4 addresses, and one is wanted.", seen=", ".join(addresses))
    return addresses[0]


def look(params: dict[str, Any]) -> dict[str, Any]:
    status = ask(params["socket"], "healthz")
    counters = forwarded(run_json(["bpftool", "--json", "map", "dump", "pinned", params["metrics"]]))
    datapath = said(status, ipsec_keys(run(["ip", "xfrm", "state", "list", "nokeys"])))
    datapath["cable_programs"] = programs_on(params["cable"])
    if params["pod_interface"]:
        datapath["pod_programs"] = programs_on(params["pod_interface"])
    if params["since"]:
        datapath["forwarded"] = {way: count - int(params["since"].get(way, 0)) for way, count in counters.items()}
    return {"said": datapath, "counters": counters, "address": own_address(), "status": status}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "cable": {"type": "str", "required": True},
            "pod_interface": {"type": "str", "default": ""},
            "socket": {"type": "path", "default": "/var/run/cilium/cilium.sock"},
            "metrics": {"type": "path", "default": "/sys/fs/bpf/tc/globals/cilium_metrics"},
            "since": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    finish(module, lambda: {"changed": False, **look(module.params)})


if __name__ == "__main__":
    main()
