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
  near: {type: str, default: "", description: "Address of the node's endpoint, empty for none: says the family."}
author: labctl
"""

RETURN = r"""
fingerprint: {description: The document., type: dict, returned: always}
ansible_facts:
  description: cable_address, the address of the node itself, and node_addresses, all that its cluster knows it by.
  type: dict
  returned: always
"""

import hashlib
import json
import re
from typing import Any, Dict, List, Optional, Tuple

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
# What those sections hold of which the API tells a part: the rest of it is null as well (roles/fingerprint/README.md).
KEYS: Dict[str, Tuple[str, ...]] = {
    "inventory": ("address", "interface"),
    "machine": ("architecture", "bios_date", "bios_version", "container", "product", "vendor", "vm"),
    "kernel": (
        "build", "clocksource", "clocksources", "cmdline", "config", "config_source", "release", "version",
    ),
    "cpu": (
        "cores", "flags", "frequency", "idle", "isolated", "l3_groups", "microcode", "mitigations", "model",
        "nohz_full", "online", "smt_active", "smt_control", "sockets", "threads", "vendor",
    ),
}  # fmt: skip
IDENTITY = ("machine", "kernel", "cpu", "cluster")
# Kinds of addresses by which a node is reached inside the cluster, the best first.
REACHED = ("InternalIP", "ExternalIP")


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


def section(name: str, **known: Any) -> Dict[str, Any]:
    """A section of the document with what is known of it."""
    return {**dict.fromkeys(KEYS[name]), **known}


def addresses(node: Dict[str, Any]) -> List[str]:
    """The addresses of a node itself, its primary one first: with two families it has several of one kind."""
    told = node["status"].get("addresses") or []
    return [one["address"] for kind in REACHED for one in told if one["type"] == kind]


def of_family(own: List[str], near: str) -> Optional[str]:
    """The first of a node's addresses that is of the family of the endpoint `near`; without one the primary."""
    alike = (one for one in own if not near or (":" in one) == (":" in near))
    return next(alike, None) or next(iter(own), None)


def hooks(kubectl: Kubectl) -> Optional[Dict[str, List[str]]]:
    """The webhooks that change or refuse pods when they are created; None where this user may not see them."""
    found = {}
    for kind in ("mutating", "validating"):
        seen = listed(kubectl, f"{kind}webhookconfigurations.admissionregistration.k8s.io")
        if seen is None:
            return None
        found[kind] = [one["metadata"]["name"] for one in seen if any(map(sees_pods, one.get("webhooks") or []))]
    return found


def sees_pods(hook: Dict[str, Any]) -> bool:
    """Whether a webhook is called when a pod is created."""
    return any(
        {"pods", "*", "*/*"} & set(rule.get("resources") or []) and {"CREATE", "*"} & set(rule.get("operations") or [])
        for rule in hook.get("rules") or []
    )


def state(node: Dict[str, Any]) -> Dict[str, Any]:
    """What of a node changes by itself, or by whoever runs the cluster, and sets nothing that is measured."""
    spec, conditions = node["spec"], node["status"].get("conditions") or []
    taints = [
        f"{one['key']}{'=' if one.get('value') else ''}{one.get('value') or ''}:{one['effect']}"
        for one in spec.get("taints") or []
    ]
    wrong = {one["type"]: one.get("message") or one.get("reason") or "" for one in conditions if is_wrong(one)}
    return {"cordoned": bool(spec.get("unschedulable")), "taints": taints, "conditions": wrong}


def is_wrong(condition: Dict[str, Any]) -> bool:
    """Whether a condition is not what it is on a node that is well: Ready, and under no pressure."""
    return bool(condition["status"] != ("True" if condition["type"] == "Ready" else "False"))


def take(kubectl: Kubectl, node: str) -> Dict[str, Any]:
    """The document of one node."""
    seen = kubectl.get("node", node)
    info = seen["status"]["nodeInfo"]
    server = json.loads(kubectl.run("get", "--raw", "/version"))
    own = addresses(seen)
    document: Dict[str, Any] = dict.fromkeys(SECTIONS)
    document["schema"] = SCHEMA
    document["inventory"] = section("inventory", address=next(iter(own), None))
    document["machine"] = section("machine", architecture=info["architecture"])
    document["kernel"] = section("kernel", release=info["kernelVersion"])
    document["cpu"] = section("cpu", threads=quantity(seen["status"]["capacity"].get("cpu")))
    document["state"] = dict(state(seen), admission=hooks(kubectl))
    document["cluster"] = {
        "version": server["gitVersion"],
        "kubelet": info["kubeletVersion"],
        "runtime": info["containerRuntimeVersion"],
        "system": info["osImage"],
        "addresses": own,
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
            "near": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    wanted = module.params

    def act() -> Dict[str, Any]:
        document = take(Kubectl(wanted["kubectl"], wanted["kubeconfig"], wanted["context"]), wanted["node"])
        own = document["cluster"]["addresses"]
        facts = {"cable_address": of_family(own, wanted["near"]), "node_addresses": own}
        return {"changed": False, "fingerprint": document, "ansible_facts": facts}

    finish(module, act)


if __name__ == "__main__":
    main()
