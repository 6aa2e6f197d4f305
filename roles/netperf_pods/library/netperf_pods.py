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
pods: {description: "By node: end, name, uid, address and image_id of its pod.", type: dict, returned: unless absent}
agents: {description: "By node: the pod that watches it, null for none.", type: dict, returned: unless absent}
refusal: {description: Why the cluster did not admit those; null where it did., type: str, returned: when present}
"""

import os
import time
from typing import Any, Dict, List, Optional

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.labctl_node.kubectl import TIMEOUT_S, Kubectl
from ansible.module_utils.labctl_node.refused import Refused, finish, refuse
from ansible.module_utils.labctl_node.run import CommandFailed
from ansible.module_utils.labctl_node.wait import wait_until
from ansible.module_utils.netperf_pods_manifest import END, agent, is_ready, namespace, pod, selector, trouble

POLL_S = 0.2
WATCH_S = 2  # after so long it is looked at what keeps a pod from being Ready
ENDS = ("client", "server")


def service_account(kubectl: Kubectl, space: str, deadline: float) -> None:
    """Return once the namespace can have pods: the cluster makes an account for them a moment after the namespace."""
    left = deadline - time.monotonic()
    if not wait_until(lambda: kubectl.items("serviceaccounts", "--namespace", space), left, POLL_S):
        hint = "Does kube-controller-manager run?"
        raise Refused(f"The namespace {space} has no service account yet.", hint=hint)


def create_agents(kubectl: Kubectl, space: str, wanted: Dict[str, Any]) -> Optional[str]:
    """Create the pods that watch the nodes. Return why the cluster's admission refuses them, None where it does not."""
    objects = [agent(end, wanted["ends"][end], space, wanted["image"], wanted["pull"]) for end in ENDS]
    try:
        kubectl.create(*objects)
    except CommandFailed as refusal:
        if "forbidden" not in str(refusal).lower():
            raise
        return str(refusal)
    return None


def ready(kubectl: Kubectl, space: str, deadline: float) -> List[Dict[str, Any]]:
    """Return the pods once all are Ready. Raise Refused with what keeps them from it."""
    while True:
        seen = kubectl.items("pods", "--namespace", space)
        refuse({"what": words} for words in map(trouble, seen) if words)
        if all(map(is_ready, seen)):
            return seen
        if time.monotonic() > deadline:
            waiting = ", ".join(
                f"{one['metadata']['name']} on {one['spec']['nodeName']}" for one in seen if not is_ready(one)
            )
            said = f"the cluster warns of: {warnings(kubectl, space)}"
            raise Refused(f"not Ready in time: {waiting}", where=f"namespace {space}", seen=said)
        watch(kubectl, space)


def watch(kubectl: Kubectl, space: str) -> None:
    """Return when the pods are Ready, else after a while.

    One kubectl that watches: to ask again and again takes CPU from what starts the pods, seconds of it on a slow node.
    """
    condition = ("--for=condition=Ready", f"--timeout={WATCH_S}s")
    try:
        kubectl.run("wait", "pods", "--all", "--namespace", space, *condition)
    except CommandFailed:  # not yet, or without the right to watch: whoever called looks for the reason
        time.sleep(POLL_S)


def warnings(kubectl: Kubectl, space: str) -> str:
    """Return what the cluster warned of in a namespace, the last of it."""
    events = kubectl.items("events", "--namespace", space, "--field-selector=type=Warning")
    said = [f"{event['involvedObject'].get('name')}: {event.get('message')}" for event in events]
    return "; ".join(said[-3:]) or "nothing"


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


def make(kubectl: Kubectl, wanted: Dict[str, Any]) -> Dict[str, Any]:
    """Make the pods and return what is to be known of them."""
    deadline = time.monotonic() + wanted["timeout"]
    remove(kubectl, wanted["owner"], wanted["force"])
    space = kubectl.create(namespace(wanted["owner"]))[0]["metadata"]["name"]
    service_account(kubectl, space, deadline)
    refusal = create_agents(kubectl, space, wanted) if wanted["agents"] else None
    # A cluster that refuses the one pod would refuse the other's capability, too.
    spec = (space, wanted["image"], wanted["pull"], wanted["host_network"], wanted["cpu"], refusal is None)
    kubectl.create(*(pod(end, wanted["ends"][end], *spec) for end in ENDS))
    found = {one["metadata"]["name"]: one for one in ready(kubectl, space, deadline)}
    return dict(told(space, found), refusal=refusal)


def told(space: str, found: Dict[str, Dict[str, Any]]) -> Dict[str, Any]:
    """Return what is to be known of pods that run; they are given by name."""
    pods = {seen["spec"]["nodeName"]: facts(seen) for name, seen in found.items() if name.startswith("netperf-")}
    agents = dict.fromkeys(pods)
    agents.update({seen["spec"]["nodeName"]: name for name, seen in found.items() if name.startswith("agent-")})
    return {"namespace": space, "pods": pods, "agents": agents}


def facts(seen: Dict[str, Any]) -> Dict[str, Any]:
    """Return what is to be known of one pod."""
    return {
        "name": seen["metadata"]["name"],
        "uid": seen["metadata"]["uid"],
        "end": seen["metadata"]["labels"][END],
        "address": seen["status"]["podIP"],
        "image_id": seen["status"]["containerStatuses"][0].get("imageID"),
    }


def find(kubectl: Kubectl, owner: str) -> Dict[str, Any]:
    """Return what is to be known of the pods. Raise Refused with what became of them, where they do not run."""
    spaces = [one["metadata"]["name"] for one in kubectl.items("namespaces", f"--selector={selector(owner)}")]
    if not spaces:
        raise Refused(
            "There is no namespace with pods of this lab.", hint="Run deploy.yml first, unless somebody deleted it."
        )
    found = {one["metadata"]["name"]: one for one in kubectl.items("pods", "--namespace", spaces[0])}
    broken = [words for words in map(trouble, found.values()) if words]
    broken += [f"pod netperf-{end} is gone: somebody deleted it" for end in ENDS if f"netperf-{end}" not in found]
    refuse({"what": words} for words in broken)
    return told(spaces[0], found)


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
            "pull": {"type": "str", "choices": ["Never", "IfNotPresent", "Always"], "default": "Never"},
            "host_network": {"type": "bool", "default": False},
            "cpu": {"type": "str", "default": ""},
            "agents": {"type": "bool", "default": False},
            "force": {"type": "bool", "default": False},
            "timeout": {"type": "float", "default": 120.0},
        },
        required_if=[("state", "present", ("ends", "image"))],
    )
    finish(module, lambda: act(module))


if __name__ == "__main__":
    main()
