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

import http.client
import json
import socket
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.cilium_status import forwarded, ipsec_keys, said
from ansible.module_utils.datapath_links import link_of
from ansible.module_utils.datapath_programs import observe_programs
from ansible.module_utils.labctl_node.refused import Refused, finish
from ansible.module_utils.labctl_node.run import run, run_json

ANSWER_S = 10
# Cilium's own end of the pods' network on a node.
HOST = "cilium_host"


class _Agent(http.client.HTTPConnection):
    """HTTP over the agent's socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=ANSWER_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(ANSWER_S)
        self.sock.connect(self._path)


def ask(path: str, what: str) -> Any:
    """Return the agent's answer. Raises Refused where it gives none."""
    agent = _Agent(path)
    try:
        agent.request("GET", f"/v1/{what}")
        answer = agent.getresponse()
        body = answer.read()
    except OSError as error:
        raise Refused(
            "The Cilium agent does not answer.", where=path, seen=str(error), hint="Does its pod run on this node?"
        ) from error
    finally:
        agent.close()
    if answer.status != http.client.OK:
        raise Refused(f"The Cilium agent answers {what} with {answer.status}.", where=path, seen=f"{body[:300]!r}")
    return json.loads(body)


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
