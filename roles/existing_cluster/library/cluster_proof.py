#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_proof
short_description: Prove of a cluster as it is what its API and a probe can show
description:
  - Whoever has no more than a kubeconfig sees no rules and no programs of the nodes, so the network is what the cluster
    says it is. Proven is what a number stands on - that the ends are in the pods' network, or in their nodes', and that
    the client's pod reaches netserver in the server's.
  - Runs where kubectl does. Its result is as that of module datapath_proof.
options:
  name: {type: str, required: true, description: "The setup, for messages."}
  host_network: {type: bool, required: true, description: Whether the ends are to be in their nodes' own network.}
  client:
    type: dict
    required: true
    description: The client's end.
    suboptions:
      node: {type: str, required: true, description: Name of its node.}
      address: {type: str, required: true, description: Its address.}
  server:
    type: dict
    required: true
    description: The server's end.
    suboptions:
      node: {type: str, required: true, description: Name of its node.}
      address: {type: str, required: true, description: Its address.}
  node_addresses: {type: list, elements: str, required: true, description: All addresses of the nodes themselves.}
  probe: {type: list, elements: str, required: true, description: What runs a command in the client's pod.}
  control_port: {type: int, default: 12865, description: Port that netserver listens on.}
  transactions: {type: int, required: true, description: Transactions of the probe.}
  size: {type: int, required: true, description: Bytes of each request and each response.}
author: labctl
"""

RETURN = r"""
holds: {description: Whether all assertions hold., type: bool, returned: always}
assertions: {description: "Each with name, node, wanted, seen and holds.", type: list, returned: always}
evidence: {description: What the probe and the nodes showed., type: dict, returned: always}
"""

import ipaddress
from typing import Any, Dict, List, Sequence

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.labctl_node.proof import Assertion, conclude
from ansible.module_utils.labctl_node.run import CommandFailed, run

PROBE_PORT = 12866
PATIENCE_S = 60
ALL = "all transactions"


def probe(wanted: Dict[str, Any]) -> Dict[str, Any]:
    """Run some transactions between the pods. `error` is None when all went through, `mss` in bytes."""
    family = "-6" if ":" in wanted["server"]["address"] else "-4"
    argv = [*wanted["probe"], "netperf", family, "-H", wanted["server"]["address"], "-L", wanted["client"]["address"]]
    argv += ["-p", str(wanted["control_port"]), "-t", "TCP_RR", "-l", f"-{wanted['transactions']}", "-P", "0", "--"]
    argv += ["-r", f"{wanted['size']},{wanted['size']}", "-P", f",{PROBE_PORT}", "-k", "TRANSACTION_RATE,TRANSPORT_MSS"]
    try:
        printed = run(argv, timeout_s=PATIENCE_S)
    except CommandFailed as failure:
        late = f"not done within {PATIENCE_S} s: does a network policy keep the pods apart?"
        return {"error": failure.output.strip() or late, "mss": None}
    fields = dict(line.split("=", 1) for line in printed.splitlines() if "=" in line)
    if "TRANSPORT_MSS" not in fields:
        return {"error": f"netperf printed no TRANSPORT_MSS: {printed.strip()}", "mss": None}
    return {"error": None, "mss": int(fields["TRANSPORT_MSS"])}


def network_of(end: Dict[str, Any], node_addresses: Sequence[str]) -> str:
    """Return which network an end is in, in words."""
    own = {ipaddress.ip_address(one) for one in node_addresses}
    return "the node's own" if ipaddress.ip_address(end["address"]) in own else "the pods'"


def main() -> None:
    text, number, strings = ({"type": kind, "required": True} for kind in ("str", "int", "list"))
    end = {"type": "dict", "required": True, "options": {"node": text, "address": text}}
    module = AnsibleModule(
        argument_spec={
            "name": text,
            "host_network": {"type": "bool", "required": True},
            "client": end,
            "server": end,
            "node_addresses": {**strings, "elements": "str"},
            "probe": {**strings, "elements": "str"},
            "control_port": {"type": "int", "default": 12865},
            "transactions": number,
            "size": number,
        },
    )
    wanted = module.params
    network = "the node's own" if wanted["host_network"] else "the pods'"
    ends: List[Dict[str, Any]] = [wanted["client"], wanted["server"]]
    assertions = [Assertion("network", one["node"], network, network_of(one, wanted["node_addresses"])) for one in ends]
    seen = probe(wanted)
    assertions.append(Assertion("test_traffic", ends[0]["node"], ALL, seen["error"] or ALL))
    evidence = {"probe": seen, "nodes": {one["node"]: {"address": one["address"]} for one in ends}}
    conclude(module, wanted["name"], assertions, evidence)


if __name__ == "__main__":
    main()
