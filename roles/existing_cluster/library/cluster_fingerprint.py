#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_fingerprint
short_description: Read through the API of a cluster what can change a number measured on a node
description:
  - Returns a document of the schema that role fingerprint has. What only the node itself could tell is null.
  - The section C(cluster) holds what the cluster adds - versions, the network it has, and that network's settings.
options:
  kubectl: {type: str, default: kubectl, description: The program.}
  kubeconfig: {type: path, required: true, description: The kubeconfig.}
  context: {type: str, default: "", description: Context of the kubeconfig; empty for its current one.}
  node: {type: str, required: true, description: Name of the node.}
author: labctl
"""

RETURN = r"""
fingerprint: {description: The document., type: dict, returned: always}
ansible_facts: {description: "cable_address, the address of the node itself.", type: dict, returned: always}
"""

import hashlib
import json
import re
from typing import Any, Dict, List, Optional

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.labctl_node import cluster
from ansible.module_utils.labctl_node.kubectl import Kubectl
from ansible.module_utils.labctl_node.refused import finish
from ansible.module_utils.labctl_node.run import CommandFailed

SCHEMA = "labctl.fingerprint/1"
# Names of what brings a network, or takes part in it: plugins and their agents, and kube-proxy.
NETWORKS = re.compile(
    r"cilium|calico|canal|flannel|weave|antrea|ovn|kube-?router|kindnet|aws-node|azure-cni|azure-npm|netd|multus|tigera|kube-proxy|cni"
)
SECTIONS = (
    "inventory", "kernel", "boot", "cpu", "memory", "sysctl", "congestion_control", "state", "machine", "link", "nic",
    "network", "versions", "services", "tunnels", "endpoint", "deployed",
)  # fmt: skip
IDENTITY = ("machine", "kernel", "cpu", "cluster")


def quantity(text: Optional[str]) -> Optional[int]:
    """A number of CPUs as Kubernetes writes it; None where it is none."""
    return int(text) if text and text.isdigit() else None


def listed(kubectl: Kubectl, *arguments: str) -> Optional[List[Dict[str, Any]]]:
    """Objects, None where this user may not see them."""
    try:
        return kubectl.items(*arguments)
    except CommandFailed as failure:
        if "forbidden" not in str(failure).lower():
            raise
        return None


def daemons(found: Optional[List[Dict[str, Any]]]) -> Optional[Dict[str, List[str]]]:
    """The daemons of the network by namespace and name, with the images they run."""
    if found is None:
        return None
    chosen = {}
    for one in found:
        if NETWORKS.search(one["metadata"]["name"]):
            containers = one["spec"]["template"]["spec"]["containers"]
            chosen[f"{one['metadata']['namespace']}/{one['metadata']['name']}"] = [each["image"] for each in containers]
    return chosen


def of_networks(found: Optional[List[Dict[str, Any]]], ours: bool = False) -> Optional[List[Dict[str, Any]]]:
    """The objects that belong to the network, and those in labctl's own namespaces if asked; None for none to be seen.

    Every namespace has a config map of Kubernetes: those of ours come and go with it, and set nothing.
    """
    if found is None:
        return None
    told = ((one, one["metadata"]) for one in found)
    return [one for one, of in told if NETWORKS.search(of["name"]) or (ours and cluster.DRAWN.match(of["namespace"]))]


def take(kubectl: Kubectl, node: str) -> Dict[str, Any]:
    """The document of one node."""
    seen = kubectl.get("node", node)
    info = seen["status"]["nodeInfo"]
    server = json.loads(kubectl.run("get", "--raw", "/version"))
    addresses = {one["type"]: one["address"] for one in seen["status"].get("addresses", [])}
    document: Dict[str, Any] = dict.fromkeys(SECTIONS)
    document["schema"] = SCHEMA
    document["inventory"] = {"interface": None, "address": addresses.get("InternalIP")}
    document["machine"] = {"architecture": info["architecture"], "vm": None}
    document["kernel"] = {"release": info["kernelVersion"]}
    document["cpu"] = {"threads": quantity(seen["status"]["capacity"].get("cpu"))}
    document["cluster"] = {
        "version": server["gitVersion"],
        "kubelet": info["kubeletVersion"],
        "runtime": info["containerRuntimeVersion"],
        "system": info["osImage"],
        "pod_networks": seen["spec"].get("podCIDRs"),
        "network": daemons(listed(kubectl, "daemonsets", "--all-namespaces")),
        "settings": cluster.settings(of_networks(listed(kubectl, "configmaps", "--all-namespaces"))),
    }
    here = listed(kubectl, "pods", "--all-namespaces", f"--field-selector=spec.nodeName={node}")
    pods = of_networks(here, ours=True)
    document["deployed"] = {
        "settings": None,  # those of a cluster as it is stay from setup to setup: they stand in `cluster`
        "images": cluster.images(pods),
        "instances": cluster.instances(pods),
    }
    text = json.dumps({name: document[name] for name in IDENTITY}, sort_keys=True, separators=(",", ":"))
    document["identity"] = hashlib.sha256(text.encode()).hexdigest()
    return document


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "kubectl": {"type": "str", "default": "kubectl"},
            "kubeconfig": {"type": "path", "required": True},
            "context": {"type": "str", "default": ""},
            "node": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    wanted = module.params

    def act() -> Dict[str, Any]:
        document = take(Kubectl(wanted["kubectl"], wanted["kubeconfig"], wanted["context"]), wanted["node"])
        facts = {"cable_address": document["inventory"]["address"]}
        return {"changed": False, "fingerprint": document, "ansible_facts": facts}

    finish(module, act)


if __name__ == "__main__":
    main()
