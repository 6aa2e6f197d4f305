#!/usr/bin/python
"""Waits on the control plane until the API answers and every node of the inventory is registered as it should be."""

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
  ready: {type: bool, default: false, description: Whether the nodes have to be Ready, too.}
  timeout_s: {type: int, default: 120, description: How long to wait.}
author: labctl
"""

RETURN = r"""
nodes: {type: dict, description: What the cluster says of every node.}
"""

import json
import subprocess
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.lab_host_system import wait_until

KUBECTL = ("/usr/local/bin/kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", "--request-timeout=5s")


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


def look() -> tuple[dict[str, Any], str]:
    """The nodes by name, and what kubectl complained of."""
    done = subprocess.run([*KUBECTL, "get", "nodes", "--output=json"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return {}, done.stderr.strip()
    return {node["metadata"]["name"]: described(node) for node in json.loads(done.stdout)["items"]}, ""


def problems(params: dict[str, Any], seen: dict[str, Any], said: str) -> list[dict[str, str]]:
    """What is not yet as it should be."""
    if said:
        return [{"what": "The API server does not answer.", "where": KUBECTL[1], "seen": said}]
    found = []
    for name, address in params["nodes"].items():
        node = seen.get(name, {})
        wanted = {"address": address, "version": params["version"]}
        wanted |= {"ready": True} if params["ready"] else {}
        if any(node.get(key) != value for key, value in wanted.items()) or not node.get("pod_cidr"):
            found.append(
                {
                    "what": f"The node {name} is not in the cluster as it should be.",
                    "where": "kubectl get nodes",
                    "seen": f"{node or 'not registered'}, wanted {wanted} and a pod_cidr",
                    "hint": f"See `journalctl -u kubelet` on {name}.",
                }
            )
    return found


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
    state: dict[str, Any] = {}

    def fits() -> bool:
        state["seen"], state["said"] = look()
        return not problems(module.params, state["seen"], state["said"])

    if not wait_until(fits, module.params["timeout_s"], 0.5):
        found = problems(module.params, state["seen"], state["said"])
        module.fail_json(msg="\n".join(f"{one['what']} {one['seen']}" for one in found), problems=found)
    module.exit_json(changed=False, nodes=state["seen"])


if __name__ == "__main__":
    main()
