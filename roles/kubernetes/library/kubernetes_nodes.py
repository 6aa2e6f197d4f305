#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: kubernetes_nodes
short_description: Every node is registered in the cluster by its address
description:
  - Waits until the API server is ready and its nodes are those asked for, with their addresses and version. Whether
    they are Ready is the CNI's business. Changes nothing.
options:
  nodes: {type: dict, required: true, description: Address by name of node.}
  version: {type: str, required: true, description: Version of the kubelets.}
  ready: {type: bool, default: false, description: "Whether the nodes have to be Ready, too."}
  timeout_s: {type: int, default: 120, description: How long to wait.}
author: labctl
"""

RETURN = r"""
nodes: {type: dict, description: What the cluster says of every node.}
"""

from collections.abc import Iterator
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.labctl_node.kubectl import CONTROL_PLANE, Kubectl
from ansible.module_utils.labctl_node.refused import Problem, finish, refuse
from ansible.module_utils.labctl_node.run import CommandFailed
from ansible.module_utils.labctl_node.wait import wait_until

ANSWER_S = 5
SERVER = "On the control plane: crictl ps -a, and journalctl -u kubelet, say why it does not run."


def described(node: dict[str, Any]) -> dict[str, Any]:
    status = node["status"]
    addresses = {one["type"]: one["address"] for one in status.get("addresses", ())}
    conditions = {one["type"]: one["status"] for one in status.get("conditions", ())}
    return {
        "address": addresses.get("InternalIP"),
        "version": status["nodeInfo"]["kubeletVersion"].lstrip("v"),
        "pod_cidr": node["spec"].get("podCIDR"),
        "ready": conditions.get("Ready") == "True",
    }


def look() -> dict[str, Any]:
    """The nodes by name."""
    nodes = Kubectl(*CONTROL_PLANE, timeout=ANSWER_S).items("nodes")
    return {node["metadata"]["name"]: described(node) for node in nodes}


def problems(params: dict[str, Any], seen: dict[str, Any]) -> Iterator[Problem]:
    """What is not yet as it should be."""
    for name, address in params["nodes"].items():
        node = seen.get(name, {})
        wanted = {"address": address, "version": params["version"], **({"ready": True} if params["ready"] else {})}
        if any(node.get(key) != value for key, value in wanted.items()) or not node.get("pod_cidr"):
            yield {
                "what": f"The node {name} is not in the cluster as it should be.",
                "where": "kubectl get nodes",
                "seen": f"{node or 'not registered'}, wanted {wanted} and a pod_cidr",
                "hint": f"See `journalctl -u kubelet` on {name}.",
            }


def registered(params: dict[str, Any]) -> dict[str, Any]:
    """Wait until every node is as it should be, and return the task's result."""
    left: list[Problem] = []
    seen: dict[str, Any] = {}

    def fits() -> bool:
        nonlocal left, seen
        try:
            seen = look()
            left = list(problems(params, seen))
        except CommandFailed as failure:
            left = [
                {
                    "what": "The API server does not answer.",
                    "where": CONTROL_PLANE[1],
                    "seen": failure.output,
                    "hint": SERVER,
                }
            ]
        return not left

    wait_until(fits, params["timeout_s"], 0.5)
    refuse(left)
    return {"changed": False, "nodes": seen}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "nodes": {"type": "dict", "required": True},
            "version": {"type": "str", "required": True},
            "ready": {"type": "bool", "default": False},
            "timeout_s": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    finish(module, lambda: registered(module.params))


if __name__ == "__main__":
    main()
