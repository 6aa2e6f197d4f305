#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: datapath_proof
short_description: Hold what the nodes showed against what the setup is expected to be
description:
  - Looks at nothing but its arguments, which the tasks before it gathered, so it can run anywhere.
  - Its result is the proof. It fails unless all assertions hold.
options:
  name: {type: str, required: true, description: "The setup, for messages."}
  expected: {type: dict, required: true, description: "The datapath that it claims, in the words of the role's README."}
  encryption: {type: str, required: true, description: How traffic is encrypted between the nodes.}
  mtu: {type: int, required: true, description: MTU in bytes of the cable.}
  endpoint_mtu: {type: int, required: true, description: Largest packet in bytes between the endpoints.}
  endpoint_is_node: {type: bool, required: true, description: Whether the endpoints are the nodes themselves.}
  tap_sees_wire: {type: bool, required: true, description: Whether a packet socket sees what is on the wire.}
  transactions: {type: int, required: true, description: Transactions of the probe.}
  size: {type: int, required: true, description: Bytes of each request and each response.}
  connections: {type: int, required: true, description: Connections that the probe only opened and closed.}
  offloads: {type: dict, required: true, description: "Features by place, and whether they are on."}
  allowed: {type: dict, required: true, description: "What the lab has on purpose: patterns by assertion."}
  client: {type: str, required: true, description: Name of the client's node.}
  server: {type: str, required: true, description: Name of the server's node.}
  listener: {type: str, required: true, description: "Where netserver has to listen, in words."}
  probe: {type: dict, required: true, description: What the client saw of the test traffic.}
  nodes: {type: dict, required: true, description: "What each node showed, by its name."}
  cni: {type: dict, default: {}, description: "What the CNI of each node says of itself, by the node's name."}
author: labctl
"""

RETURN = r"""
holds: {description: Whether all assertions hold., type: bool, returned: always}
assertions: {description: "Each with name, node, wanted, seen and holds.", type: list, returned: always}
evidence: {description: "What was judged, as it was: probe, nodes and cni.", type: dict, returned: always}
"""

from typing import Any, NoReturn

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.datapath_judge import CNI, Setup, prove
from ansible.module_utils.labctl_node.proof import conclude
from ansible.module_utils.labctl_node.refused import Refused, fail

SILENT = "What only test traffic shows could not be judged: see why there was none."


def judge(module: AnsibleModule, probe: dict[str, Any], nodes: dict[str, Any], setup: Setup) -> NoReturn:
    """End the module with the proof."""
    try:
        assertions = prove(setup, probe, nodes)
    except Refused as refused:
        fail(module, refused)
    evidence = {"probe": probe, "nodes": nodes, **({"cni": setup.cni} if setup.expected.get(CNI) else {})}
    conclude(module, setup.name, assertions, evidence, SILENT if probe["error"] else "")


def main() -> None:
    text, number = {"type": "str", "required": True}, {"type": "int", "required": True}
    switch, data = {"type": "bool", "required": True}, {"type": "dict", "required": True}
    module = AnsibleModule(
        argument_spec={
            **dict.fromkeys(("name", "encryption", "client", "server", "listener"), text),
            **dict.fromkeys(("mtu", "endpoint_mtu", "transactions", "size", "connections"), number),
            **dict.fromkeys(("endpoint_is_node", "tap_sees_wire"), switch),
            **dict.fromkeys(("expected", "probe", "nodes", "offloads", "allowed"), data),
            "cni": {"type": "dict", "default": {}},
        },
    )
    arguments = dict(module.params)
    judge(module, arguments.pop("probe"), arguments.pop("nodes"), Setup(**arguments))


if __name__ == "__main__":
    main()
