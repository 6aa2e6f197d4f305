#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: netperf_pods
short_description: Make, examine or remove the pods between which is measured
description:
  - Runs where kubectl and a kubeconfig are, on a node of the control plane or on the controller.
  - Makes a namespace of a generated name and in it a pod for each end, on its node. Returns once they are Ready.
  - Everything that this owner made earlier is removed first; so a run that was killed leaves nothing for the next.
  - Pods that are gone, or do not run, are a failure that says in the cluster's own words what became of them.
  - Removing returns once kubelet has taken the pods down, with their links and addresses.
options:
  state:
    type: str
    choices: [present, found, absent]
    default: present
    description: Whether the pods are there; C(found) changes nothing and wants them to be.
  kubectl: {type: str, default: kubectl, description: The program.}
  kubeconfig: {type: path, required: true, description: The kubeconfig.}
  context: {type: str, default: "", description: Context of the kubeconfig; empty for its current one.}
  owner: {type: str, required: true, description: Label by which what was made is known again.}
  ends:
    type: dict
    description: Nodes of the ends. Required when present.
    suboptions:
      client: {type: str, required: true, description: Node of the client.}
      server: {type: str, required: true, description: Node of the server.}
  image: {type: str, description: "Image with netperf, netserver and python3. Required when present."}
  pull_secret:
    type: str
    default: ""
    description: NAMESPACE/NAME of a secret of the cluster to pull the image with; empty for none.
  pull: {type: str, choices: [Never, IfNotPresent, Always], default: Never, description: As imagePullPolicy.}
  host_network: {type: bool, default: false, description: Whether the pods live in their node's own network.}
  cpu: {type: str, default: "", description: "CPUs that each pod requests, as Kubernetes writes them; empty for none."}
  agents: {type: bool, default: false, description: Whether a privileged pod beside each of them watches its node.}
  force: {type: bool, default: false, description: Whether removing leaves waiting for kubelet to somebody else.}
  timeout: {type: float, default: 120, description: "Seconds that it may take until the pods are Ready, or gone."}
author: labctl
"""

RETURN = r"""
namespace: {description: The namespace., type: str, returned: unless absent}
pods:
  description: >-
    By node: end, name, uid, address and image_id of its pod; beside, the containers that somebody else put into it, and
    cpu_limit, null where nothing throttles it.
  type: dict
  returned: unless absent
agents: {description: "By node: the pod that watches it, null for none.", type: dict, returned: unless absent}
refusal: {description: Why the cluster did not admit those; null where it did., type: str, returned: when present}
"""

import os
import time
from typing import Any, Dict, Iterable, List, Optional

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.labctl_node import pods as cluster_pods
from ansible.module_utils.labctl_node.api import Answered, Api
from ansible.module_utils.labctl_node.kubectl import TIMEOUT_S, Kubectl
from ansible.module_utils.labctl_node.refused import Problem, Refused, finish, refuse
from ansible.module_utils.labctl_node.run import CommandFailed
from ansible.module_utils.labctl_node.wait import wait_until
from ansible.module_utils.netperf_pods_limits import quantity, resources
from ansible.module_utils.netperf_pods_manifest import (
    AGENT,
    END,
    PRIVILEGES,
    PULL_SECRET_TYPES,
    SERVER,
    Image,
    agent,
    beside,
    cpu_limit,
    namespace,
    pod,
    pull_secret,
    selector,
)

POLL_S = 0.2
WATCH_S = 2  # after so long it is looked at what keeps a pod from being Ready
ENDS = ("client", "server")
IMAGES = "docs/cluster.md says how an image is made"
CONTENT = f"look at its node, and at the image: it has to have netperf, netserver and python3. {IMAGES}"
NAME_IMAGE = f"name one that both nodes have or can pull, with --image (and --image-pull-secret): {IMAGES}"
DENIED = (
    "its own words say what it wants of a pod: ask whoever runs the cluster to let those of labctl in (docs/cluster.md)"
)

Object = Dict[str, Any]


def service_account(kubectl: Kubectl, space: str, deadline: float) -> None:
    """Return once the namespace can have pods: the cluster makes an account for them a moment after the namespace."""
    left = deadline - time.monotonic()
    if not wait_until(lambda: kubectl.items("serviceaccounts", "--namespace", space), left, POLL_S):
        hint = "Does kube-controller-manager run?"
        raise Refused(f"The namespace {space} has no service account yet.", hint=hint)


def create_namespace(api: Api, owner: str) -> str:
    """Create the namespace, and return its name. Without its label, where the cluster's admission refuses that."""
    try:
        made = api.create("/api/v1/namespaces", namespace(owner))
    except Answered as refusal:
        if not refusal.denied:
            raise
        try:
            made = api.create("/api/v1/namespaces", namespace(owner, enforced=False))
        except Answered:
            refusal.problems[0]["hint"] = DENIED
            raise refusal from None
    return str(made["metadata"]["name"])


def demanded(kubectl: Kubectl, space: str, wanted: Dict[str, Any], pods: int) -> Dict[str, Dict[str, Object]]:
    """The resources of the pods of each end, and of its agent: with what the namespace's ranges and quotas demand."""
    ranges, quotas = (visible(kubectl, kind, space) for kind in ("limitranges", "resourcequotas"))
    found = {}
    for end in ENDS:
        cpus: Optional[int] = None
        if ranges or quotas:
            cpus = int(quantity(kubectl.get("node", wanted["ends"][end])["status"]["capacity"]["cpu"]))
        asked = {SERVER: wanted["cpu"], AGENT: ""}
        found[end] = {name: resources(ranges, quotas, cpus, cpu, pods) for name, cpu in asked.items()}
    return found


def visible(kubectl: Kubectl, kind: str, space: str) -> List[Object]:
    """Objects of the namespace; none where this user may not see them: what they demand the API says all the same."""
    try:
        return kubectl.items(kind, "--namespace", space)
    except CommandFailed as failure:
        if "(Forbidden)" not in failure.output:
            raise
        return []


def create_pods(kubectl: Kubectl, api: Api, space: str, found: List[Object]) -> None:
    """Create pods, all or none: one that was made before another is refused is deleted again."""
    for done, one in enumerate(found):
        try:
            api.create(f"/api/v1/namespaces/{space}/pods", one)
        except Answered:
            names = [other["metadata"]["name"] for other in found[:done]]
            if names:
                kubectl.run("delete", "pods", *names, "--namespace", space, "--wait=true")
            raise


def create_agents(
    kubectl: Kubectl, api: Api, space: str, wanted: Dict[str, Any], image: Image, asked: Dict[str, Any]
) -> Optional[str]:
    """Create the pods that watch the nodes. Return why the cluster's admission refuses them, None where it does not."""
    made = [agent(end, wanted["ends"][end], space, image, asked[end][AGENT]) for end in ENDS]
    try:
        create_pods(kubectl, api, space, made)
    except Answered as refusal:
        if not refusal.denied:
            raise
        return refusal.message
    return None


def create_ends(
    kubectl: Kubectl, api: Api, space: str, wanted: Dict[str, Any], image: Image, asked: Dict[str, Any]
) -> None:
    """Create the pods between which is measured, with as many rights as the cluster's admission lets them have."""
    refusals = []
    for privilege in PRIVILEGES:
        spec = (space, image, wanted["host_network"])
        made = [pod(end, wanted["ends"][end], *spec, asked[end][SERVER], privilege) for end in ENDS]
        try:
            return create_pods(kubectl, api, space, made)
        except Answered as refusal:
            refusal.problems[0]["hint"] = DENIED
            if not refusal.denied:
                raise
            refusals.append(refusal)
    raise refusals[-1] if wanted["host_network"] else refusals[0]


def ready(kubectl: Kubectl, space: str, deadline: float, expected: Iterable[str]) -> List[Object]:
    """Return the pods once all are Ready. Raise Refused with what keeps them from it."""
    names, patience = list(expected), cluster_pods.Patience()
    while True:
        seen = kubectl.items("pods", "--namespace", space)
        waiting = [one for one in seen if not cluster_pods.is_ready(one)]
        gone = sorted(set(names) - {cluster_pods.name_of(one) for one in seen})
        refuse({"what": f"pod {name} is gone: somebody deleted it, or its node", "hint": AGAIN} for name in gone)
        if not waiting:
            return seen
        events = kubectl.items("events", "--namespace", space, "--field-selector=type=Warning")
        found = [trouble for one in waiting for trouble in cluster_pods.troubles(one)]
        found += cluster_pods.lasting(events, [cluster_pods.name_of(one) for one in waiting])
        refuse(problem(kubectl, space, trouble) for trouble in patience.over(found))
        if time.monotonic() > deadline:
            raise late(kubectl, space, waiting, events)
        watch(kubectl, space)


AGAIN = "Look at the node and at what the cluster does to pods; the next `labctl matrix` begins anew."


def problem(kubectl: Kubectl, space: str, trouble: cluster_pods.Trouble) -> Problem:
    """What keeps a pod from running, with what to do about it."""
    found = cluster_pods.problem(kubectl, space, trouble, NAME_IMAGE if trouble.image else CONTENT)
    if trouble.image:
        found["where"] = f"image {trouble.image}"
    return found


def late(kubectl: Kubectl, space: str, waiting: List[Object], events: List[Object]) -> Refused:
    """What is told of pods that are not Ready in time: the cluster's warnings, and nodes that are not Ready."""
    names = ", ".join(map(cluster_pods.called, waiting))
    of_pods = {str(one["spec"].get("nodeName")) for one in waiting}
    nodes = [
        one["metadata"]["name"]
        for one in kubectl.items("nodes")
        if one["metadata"]["name"] in of_pods and not cluster_pods.is_ready(one)
    ]
    said = f"the cluster warns of: {cluster_pods.warnings(events)}"
    said += f"; not Ready is the node {', '.join(nodes)}" if nodes else ""
    hint = f"kubectl describe node {nodes[0]} says why" if nodes else "give it longer with netperf_pods_timeout"
    return Refused(f"not Ready in time: {names}", where=f"namespace {space}", seen=said, hint=hint)


def watch(kubectl: Kubectl, space: str) -> None:
    """Return when the pods are Ready, else after a while.

    One kubectl that watches: to ask again and again takes CPU from what starts the pods, seconds of it on a slow node.
    """
    condition = ("--for=condition=Ready", f"--timeout={WATCH_S}s")
    try:
        kubectl.run("wait", "pods", "--all", "--namespace", space, *condition)
    except CommandFailed:  # not yet, or without the right to watch: whoever called looks for the reason
        time.sleep(POLL_S)


def remove(kubectl: Kubectl, owner: str, force: bool) -> bool:
    """Remove every namespace of this owner; whether there was one.

    Its pods are waited for, an empty one is not. By force they are forgotten by the cluster at once, and somebody else
    has to see that kubelet has taken them down: it takes a second or two, and ten more to say so.
    """
    how = ["--grace-period=0", "--force"] if force else []
    spaces = [one["metadata"]["name"] for one in kubectl.items("namespaces", f"--selector={selector(owner)}")]
    for space in spaces:
        kubectl.run("delete", "pods", "--all", "--namespace", space, "--wait=true", *how)
        kubectl.run("delete", "namespace", space, "--wait=false", "--ignore-not-found=true")
    return bool(spaces)


def secret_of(api: Api, named: str, space: str) -> Object:
    """The secret to pull the image with, NAMESPACE/NAME, as a copy for the namespace of the pods."""
    home, _, name = named.rpartition("/")
    where = f"secret {name} in namespace {home or 'default'}"
    try:
        found = api.get(f"/api/v1/namespaces/{home or 'default'}/secrets/{name}")
    except Answered as refusal:
        hint = "name one with --image-pull-secret NAMESPACE/NAME that this user may get: kubectl get secrets"
        what = "The secret to pull the image with cannot be read."
        raise Refused(what, where=where, seen=refusal.message, hint=hint) from None
    if found.get("type") not in PULL_SECRET_TYPES:
        hint = "make one with: kubectl create secret docker-registry"
        raise Refused("The secret is none to pull images with.", where=where, seen=str(found.get("type")), hint=hint)
    return pull_secret(found, space)


def make(kubectl: Kubectl, wanted: Dict[str, Any]) -> Dict[str, Any]:
    """Make the pods and return what is to be known of them."""
    deadline = time.monotonic() + wanted["timeout"]
    remove(kubectl, wanted["owner"], wanted["force"])
    image = Image(wanted["image"], wanted["pull"], bool(wanted["pull_secret"]))
    with Api(kubectl) as api:
        secret = secret_of(api, wanted["pull_secret"], "") if image.secret else None
        space = create_namespace(api, wanted["owner"])
        service_account(kubectl, space, deadline)
        if secret is not None:
            secret["metadata"]["namespace"] = space
            api.create(f"/api/v1/namespaces/{space}/secrets", secret)
        asked = demanded(kubectl, space, wanted, len(ENDS) * (2 if wanted["agents"] else 1))
        refusal = create_agents(kubectl, api, space, wanted, image, asked) if wanted["agents"] else None
        create_ends(kubectl, api, space, wanted, image, asked)
    agents = [f"agent-{end}" for end in ENDS] if wanted["agents"] and refusal is None else []
    made = ready(kubectl, space, deadline, [*(f"netperf-{end}" for end in ENDS), *agents])
    return dict(told(kubectl, space, {one["metadata"]["name"]: one for one in made}), refusal=refusal)


def told(kubectl: Kubectl, space: str, found: Dict[str, Object]) -> Dict[str, Any]:
    """Return what is to be known of pods that run; they are given by name."""
    pods = {seen["spec"]["nodeName"]: facts(seen) for name, seen in found.items() if name.startswith("netperf-")}
    agents = dict.fromkeys(pods)
    agents.update({seen["spec"]["nodeName"]: name for name, seen in found.items() if name.startswith("agent-")})
    for node, one in pods.items():
        one["cpu_limit"] = hindering(kubectl, node, one["cpu_limit"])
    return {"namespace": space, "pods": pods, "agents": agents}


def hindering(kubectl: Kubectl, node: str, limit: Optional[str]) -> Optional[str]:
    """The CPU limit of a pod, None where it is none or as large as its node: then nothing is throttled."""
    if limit is None:
        return None
    whole = kubectl.get("node", node)["status"]["capacity"]["cpu"]
    return limit if quantity(limit) < quantity(whole) else None


def facts(seen: Object) -> Dict[str, Any]:
    """Return what is to be known of one pod."""
    statuses = {one["name"]: one for one in seen["status"]["containerStatuses"]}
    return {
        "name": seen["metadata"]["name"],
        "uid": seen["metadata"]["uid"],
        "end": seen["metadata"]["labels"][END],
        "address": seen["status"]["podIP"],
        "image_id": statuses[SERVER].get("imageID"),
        "beside": beside(seen),
        "cpu_limit": cpu_limit(seen),
    }


def find(kubectl: Kubectl, owner: str) -> Dict[str, Any]:
    """Return what is to be known of the pods. Raise Refused with what became of them, where they do not run."""
    spaces = [one["metadata"]["name"] for one in kubectl.items("namespaces", f"--selector={selector(owner)}")]
    if not spaces:
        raise Refused(
            "There is no namespace with pods of this lab.", hint="Run deploy.yml first, unless somebody deleted it."
        )
    found = {one["metadata"]["name"]: one for one in kubectl.items("pods", "--namespace", spaces[0])}
    broken = [trouble.words for one in found.values() for trouble in cluster_pods.troubles(one)]
    broken += [f"pod netperf-{end} is gone: somebody deleted it" for end in ENDS if f"netperf-{end}" not in found]
    refuse({"what": words, "hint": AGAIN} for words in broken)
    return told(kubectl, spaces[0], found)


def act(module: AnsibleModule) -> Dict[str, Any]:
    """Do what the arguments say and return the task's result."""
    wanted = module.params
    # A node that has no CPU to spare while a CNI compiles its programs may take as long for an answer as for the pods.
    kubectl = Kubectl(
        wanted["kubectl"], wanted["kubeconfig"], wanted["context"], timeout=max(TIMEOUT_S, wanted["timeout"])
    )
    if wanted["state"] == "found":
        return dict(find(kubectl, wanted["owner"]), changed=False)
    if wanted["state"] == "absent":
        if not os.path.exists(wanted["kubeconfig"]):
            return {"changed": False}  # there is no cluster (any more) in which something could be left
        return {"changed": remove(kubectl, wanted["owner"], wanted["force"])}
    return dict(make(kubectl, wanted), changed=True)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "found", "absent"], "default": "present"},
            "kubectl": {"type": "str", "default": "kubectl"},
            "kubeconfig": {"type": "path", "required": True},
            "context": {"type": "str", "default": ""},
            "owner": {"type": "str", "required": True},
            "ends": {"type": "dict", "options": {end: {"type": "str", "required": True} for end in ENDS}},
            "image": {"type": "str"},
            "pull_secret": {"type": "str", "default": ""},
            "pull": {"type": "str", "choices": ["Never", "IfNotPresent", "Always"], "default": "Never"},
            "host_network": {"type": "bool", "default": False},
            "cpu": {"type": "str", "default": ""},
            "agents": {"type": "bool", "default": False},
            "force": {"type": "bool", "default": False},
            "timeout": {"type": "float", "default": 120.0},
        },
        required_if=[("state", "present", ("ends", "image"))],
    )
    finish(module, lambda: act(module), of_cluster=True)


if __name__ == "__main__":
    main()
