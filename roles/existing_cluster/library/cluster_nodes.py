#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_nodes
short_description: Tell everything that stands in the way of measuring between two nodes of a cluster
description:
  - Asks the cluster for the rights that measuring takes, and looks at the two nodes. Changes nothing.
  - Names every missing right, and everything about the nodes that rules them out, at once.
options:
  kubectl: {type: str, default: kubectl, description: The program.}
  kubeconfig: {type: path, required: true, description: The kubeconfig.}
  context: {type: str, default: "", description: Context of the kubeconfig; empty for its current one.}
  ends:
    type: dict
    required: true
    description: The nodes to measure between.
    suboptions:
      client: {type: str, required: true, description: Node of the client.}
      server: {type: str, required: true, description: Node of the server.}
author: labctl
"""

RETURN = r"""
problems: {description: "What is in the way: what, where, seen and hint of each.", type: list, returned: always}
"""

from typing import Any, Dict, Iterator

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.labctl_node.kubectl import Kubectl
from ansible.module_utils.labctl_node.refused import Problem, Refused, finish, refuse

# Everything that is asked of the cluster: verb, resource, and the part of it.
RIGHTS = (
    ("get", "nodes", ""),
    ("list", "nodes", ""),
    ("create", "namespaces", ""),
    ("list", "namespaces", ""),
    ("delete", "namespaces", ""),
    ("list", "serviceaccounts", ""),
    ("create", "pods", ""),
    ("get", "pods", ""),
    ("list", "pods", ""),
    ("watch", "pods", ""),
    ("delete", "pods", ""),
    ("create", "pods", "exec"),
    ("list", "events", ""),
)
GRANT = "ask whoever runs the cluster for it, or use a kubeconfig that has it"


def review(verb: str, resource: str, part: str) -> Dict[str, Any]:
    """A question to the cluster: may I do this, in whatever namespace?"""
    attributes = {"verb": verb, "resource": resource, "subresource": part}
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }


def missing_rights(kubectl: Kubectl) -> Iterator[Problem]:
    """The rights that the kubeconfig's user lacks."""
    answers = kubectl.create(*(review(*right) for right in RIGHTS))
    for (verb, resource, part), answer in zip(RIGHTS, answers):
        if not answer["status"].get("allowed"):
            right = f"{verb} {resource}{'/' + part if part else ''}"
            seen = answer["status"].get("reason") or "not allowed"
            yield {"what": f"the kubeconfig lacks a right: {right}", "seen": seen, "hint": GRANT}


def is_ready(node: Dict[str, Any]) -> bool:
    """Whether the cluster calls a node Ready."""
    return any(one["type"] == "Ready" and one["status"] == "True" for one in node["status"].get("conditions", []))


def node_problems(nodes: Dict[str, Dict[str, Any]], ends: Dict[str, str]) -> Iterator[Problem]:
    """What rules the two nodes out."""
    known = ", ".join(sorted(nodes))
    if len(nodes) < 2:
        what = "the cluster has one node: there is no path between nodes to measure"
        yield {"what": what, "seen": known, "hint": "measure on a cluster of two or more; labctl makes one on a lab"}
        return
    for end, name in ends.items():
        if name not in nodes:
            yield {"what": f"the cluster has no such node for the {end}", "seen": name, "hint": f"its nodes: {known}"}
        elif not is_ready(nodes[name]):
            hint = f"kubectl describe node {name} says why"
            yield {"what": f"the node of the {end} is not Ready", "where": name, "hint": hint}
    kinds = {name: nodes[name]["status"]["nodeInfo"]["architecture"] for name in ends.values() if name in nodes}
    if len(set(kinds.values())) > 1:
        seen = ", ".join(f"{name}: {kind}" for name, kind in kinds.items())
        hint = "name two nodes of one architecture: one image, and one kind of processor, at both ends"
        yield {"what": "the two nodes are of different architectures", "seen": seen, "hint": hint}


def check(wanted: Dict[str, Any]) -> Dict[str, object]:
    """Refuse everything that is in the way, at once."""
    kubectl = Kubectl(wanted["kubectl"], wanted["kubeconfig"], wanted["context"])
    where = f"{wanted['kubeconfig']} ({wanted['context'] or 'current context'})"
    try:
        problems = list(missing_rights(kubectl))
        if not problems:
            nodes = {node["metadata"]["name"]: node for node in kubectl.items("nodes")}
            problems = list(node_problems(nodes, wanted["ends"]))
    except Refused as refusal:
        hint = "does kubectl work with this kubeconfig?"
        raise Refused("the cluster cannot be asked", where=where, seen=str(refusal), hint=hint) from refusal
    for problem in problems:
        problem.setdefault("where", where)
    refuse(problems)
    return {"changed": False, "problems": []}


def main() -> None:
    text = {"type": "str", "required": True}
    module = AnsibleModule(
        argument_spec={
            "kubectl": {"type": "str", "default": "kubectl"},
            "kubeconfig": {"type": "path", "required": True},
            "context": {"type": "str", "default": ""},
            "ends": {"type": "dict", "required": True, "options": {"client": text, "server": text}},
        },
        supports_check_mode=True,
    )
    finish(module, lambda: check(module.params))


if __name__ == "__main__":
    main()
