#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_nodes
short_description: Tell everything that stands in the way of measuring between two nodes of a cluster
description:
  - Asks the cluster for the rights that measuring takes, and looks at the two nodes. Changes nothing.
  - Names every missing right, and everything about the nodes that rules them out, at once; an image that a node would
    have to have and has not, and a secret to pull it with that is not there.
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
  image: {type: str, required: true, description: Image of the pods.}
  pull_secret: {type: str, default: "", description: "Secret to pull it with, as NAMESPACE/NAME; empty for none."}
author: labctl
"""

RETURN = r"""
problems: {description: "What is in the way: what, where, seen and hint of each.", type: list, returned: always}
"""

import re
from typing import Any, Dict, Iterator, List, Tuple

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.labctl_node.kubectl import Kubectl
from ansible.module_utils.labctl_node.pods import is_ready, readiness
from ansible.module_utils.labctl_node.refused import Problem, Refused, finish, refuse
from ansible.module_utils.labctl_node.run import CommandFailed
from ansible.module_utils.netperf_pods_manifest import PULL_SECRET_TYPES

# Everything that is asked of the cluster: verb, resource, and the part of it.
RIGHTS: Tuple[Tuple[str, str, str], ...] = (
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
# With a secret to pull the image with: it is copied into the namespace of the pods.
OF_A_SECRET = (("create", "secrets", ""),)
REGISTRY_OF_NOBODY = "localhost/"  # an image of such a name is imported on a node, and never pulled
MOST_IMAGES = 50  # a kubelet tells no more of those that it has (nodeStatusMaxImages)
REACHED = ("InternalIP", "ExternalIP")
LOGGED = re.compile(r"[IWEF][0-9]{4} ")
NO_CNI = "a cluster that labctl provisioned has a CNI only while one is measured: measure it as its lab, with -i LAB"
GRANT = "ask whoever runs the cluster for it, or use a kubeconfig that has it"


def review(verb: str, resource: str, part: str) -> Dict[str, Any]:
    """A question to the cluster: may I do this, in whatever namespace?"""
    attributes = {"verb": verb, "resource": resource, "subresource": part}
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }


def missing_rights(kubectl: Kubectl, rights: Tuple[Tuple[str, str, str], ...]) -> Iterator[Problem]:
    """The rights that the kubeconfig's user lacks."""
    answers = kubectl.create(*(review(*right) for right in rights))
    for (verb, resource, part), answer in zip(rights, answers):
        if not answer["status"].get("allowed"):
            right = f"{verb} {resource}{'/' + part if part else ''}"
            seen = answer["status"].get("reason") or "not allowed"
            yield {"what": f"the kubeconfig lacks a right: {right}", "seen": seen, "hint": GRANT}


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
            hint = f"kubectl describe node {name} says more; {NO_CNI}"
            seen = readiness(nodes[name])
            yield {"what": f"the node of the {end} is not Ready", "where": f"node {name}", "seen": seen, "hint": hint}
    kinds = {name: nodes[name]["status"]["nodeInfo"]["architecture"] for name in ends.values() if name in nodes}
    if len(set(kinds.values())) > 1:
        seen = ", ".join(f"{name}: {kind}" for name, kind in kinds.items())
        hint = "name two nodes of one architecture: one image, and one kind of processor, at both ends"
        yield {"what": "the two nodes are of different architectures", "seen": seen, "hint": hint}
    if all(name in nodes for name in ends.values()):
        yield from address_problems({name: families(nodes[name]) for name in ends.values()})


def families(node: Dict[str, Any]) -> "set[str]":
    """The families of the addresses by which a node is reached."""
    told = node["status"].get("addresses") or []
    return {"IPv6" if ":" in one["address"] else "IPv4" for one in told if one["type"] in REACHED}


def address_problems(known: Dict[str, "set[str]"]) -> Iterator[Problem]:
    """Why the two nodes cannot reach each other by addresses of their own."""
    hint = "kubectl get nodes -o wide shows their addresses; the kubelets set them (--node-ip)"
    for name in (name for name, found in known.items() if not found):
        yield {"what": "the node has neither an InternalIP nor an ExternalIP", "where": f"node {name}", "hint": hint}
    if all(known.values()) and not set.intersection(*known.values()):
        seen = ", ".join(f"{name}: {' and '.join(sorted(found))}" for name, found in known.items())
        yield {"what": "the two nodes have no address family in common", "seen": seen, "hint": hint}


def image_problems(nodes: Dict[str, Dict[str, Any]], ends: Dict[str, str], image: str) -> Iterator[Problem]:
    """Nodes that would have to have the image, which nobody serves, and have not, as far as their kubelets tell."""
    if not image.startswith(REGISTRY_OF_NOBODY):
        return
    for name in ends.values():
        told = nodes.get(name, {}).get("status", {}).get("images") or []
        if told and len(told) < MOST_IMAGES and not any(has(one, image) for one in told):
            yield {
                "what": f"the node does not have the image {image}, which no registry serves",
                "where": f"images of node {name}",
                "seen": f"{len(told)} other images (a kubelet tells of a new one after a minute)",
                "hint": "make one for this cluster and name it with --image (--image-pull-secret for a private "
                "registry), or import the default one on both nodes: docs/cluster.md says how",
            }


def has(told: Dict[str, Any], image: str) -> bool:
    """Whether an image that a kubelet tells of is this one; without a tag it is the latest."""
    wanted = image if ":" in image.rpartition("/")[2] else f"{image}:latest"
    return wanted in (told.get("names") or [])


def secret_problems(kubectl: Kubectl, named: str) -> Iterator[Problem]:
    """Why an image cannot be pulled with this secret."""
    space, _, name = named.rpartition("/")
    where = f"secret {name} in namespace {space or 'default'}"
    try:
        found = kubectl.get("secret", name, "--namespace", space or "default")
    except CommandFailed as failure:
        hint = "name one that there is, and that this user may get: --image-pull-secret [NAMESPACE/]NAME"
        yield {
            "what": "the secret to pull the image with cannot be read",
            "where": where,
            "seen": failure.output.strip(),
            "hint": hint,
        }
        return
    if found.get("type") not in PULL_SECRET_TYPES:
        hint = "kubectl create secret docker-registry makes one to pull images with"
        yield {
            "what": "the secret is none to pull images with",
            "where": where,
            "seen": str(found.get("type")),
            "hint": hint,
        }


def check(wanted: Dict[str, Any]) -> Dict[str, object]:
    """Refuse everything that is in the way, at once."""
    kubectl = Kubectl(wanted["kubectl"], wanted["kubeconfig"], wanted["context"])
    where = f"{wanted['kubeconfig']} ({wanted['context'] or 'current context'})"
    try:
        secret = wanted["pull_secret"]
        problems: List[Problem] = list(missing_rights(kubectl, RIGHTS + (OF_A_SECRET if secret else ())))
        if not problems:
            nodes = {node["metadata"]["name"]: node for node in kubectl.items("nodes")}
            problems = list(node_problems(nodes, wanted["ends"]))
            problems += image_problems(nodes, wanted["ends"], wanted["image"])
            problems += secret_problems(kubectl, secret) if secret else []
    except Refused as refusal:
        # kubectl logs every attempt before it says what is wrong.
        said = [line for line in getattr(refusal, "output", "").splitlines() if not LOGGED.match(line)]
        seen = "\n".join(said).strip() or str(refusal)
        hint = f"does kubectl work with this kubeconfig? kubectl --kubeconfig={wanted['kubeconfig']} get nodes"
        raise Refused("the cluster cannot be asked", where=where, seen=seen, hint=hint) from refusal
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
            "image": text,
            "pull_secret": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    finish(module, lambda: check(module.params), of_cluster=True)


if __name__ == "__main__":
    main()
