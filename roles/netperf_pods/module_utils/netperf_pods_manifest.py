"""What is made in a cluster: a namespace, and in it a pod with netserver on each of two nodes; and what pods say."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

MANAGER = "app.kubernetes.io/managed-by"
OWNER = "labctl/owner"
END = "labctl/end"
# The variable by which labctl's helper finds the container on its node (roles/measure/files/labctl_agent/places.py).
MARK = "LABCTL_POD_UID"
CONTROL_PORT = 12865
GRACE_S = 1  # netserver is process 1, to which SIGTERM means nothing

# What it takes to see a node's processes and to start netperf in one of its pods: not all that `privileged` gives.
CAPABILITIES = ("SYS_ADMIN", "SYS_PTRACE", "SYS_CHROOT", "NET_ADMIN")

# Reasons of a container that waits, after which it will not start by itself.
HOPELESS = (
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ImageInspectError",
    "CreateContainerConfigError",
    "CrashLoopBackOff",
    "RunContainerError",
)

Object = Dict[str, Any]


def selector(owner: str) -> str:
    """What selects everything that one lab of one controller has made."""
    return f"{MANAGER}=labctl,{OWNER}={owner}"


def namespace(owner: str) -> Object:
    """A namespace with a name of its own. Its label asks pod security admission to let the agents in."""
    labels = {MANAGER: "labctl", OWNER: owner, "pod-security.kubernetes.io/enforce": "privileged"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": "labctl-", "labels": labels}}


def field(path: str) -> Object:
    """A value of the pod itself, as a source of a variable."""
    return {"fieldRef": {"fieldPath": path}}


def pod(
    end: str, node: str, space: str, image: str, pull: str, host_network: bool, cpu: str, admin: bool = True
) -> Object:
    """The pod of one end. Both run netserver: the client's, which nobody calls, is there to be entered.

    `cpu` is what they request of it, as Kubernetes writes it; empty for nothing, which gives them the least weight.
    `admin` lets netserver set a congestion control that its node does not allow to everybody, as the samples want it.
    """
    listen = ["-D", "-N", "-4", "-L", "$(POD_IP)", "-p", str(CONTROL_PORT)]
    container = {
        "name": "netserver",
        "image": image,
        "imagePullPolicy": pull,
        "command": ["netserver", *listen],
        "env": [
            {"name": "POD_IP", "valueFrom": field("status.podIP")},
            {"name": MARK, "valueFrom": field("metadata.uid")},
        ],
        **({"resources": {"requests": {"cpu": cpu}}} if cpu else {}),
        "securityContext": {"capabilities": {"add": ["NET_ADMIN"]}} if admin else {},
    }
    return _pod(f"netperf-{end}", end, node, space, container, hostNetwork=host_network)


def agent(end: str, node: str, space: str, image: str, pull: str) -> Object:
    """The pod from which one node is watched: it sees the node's processes, interfaces and counters."""
    container = {
        "name": "agent",
        "image": image,
        "imagePullPolicy": pull,
        "command": ["python3", "-IS", "-c", "import signal; signal.pause()"],
        "securityContext": {"capabilities": {"add": list(CAPABILITIES)}},
    }
    made = _pod(f"agent-{end}", end, node, space, container, hostNetwork=True, hostPID=True)
    made["metadata"]["annotations"] = {"container.apparmor.security.beta.kubernetes.io/agent": "unconfined"}
    return made


def _pod(name: str, end: str, node: str, space: str, container: Object, **spec: Any) -> Object:
    """A pod that is bound to its node without a scheduler, and needs nothing else of the cluster."""
    labels = {MANAGER: "labctl", "app.kubernetes.io/name": name.partition("-")[0], END: end}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": space, "labels": labels},
        "spec": {
            "nodeName": node,
            "tolerations": [{"operator": "Exists"}],
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": GRACE_S,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "dnsPolicy": "Default",
            "containers": [container],
            **spec,
        },
    }


def is_ready(seen: Object) -> bool:
    """Whether a pod is Ready."""
    conditions: List[Object] = seen["status"].get("conditions") or []
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def trouble(seen: Object) -> Optional[str]:
    """What keeps a pod from running, or took it down, in the cluster's own words; None where nothing does."""
    name, node, status = seen["metadata"]["name"], seen["spec"].get("nodeName"), seen["status"]
    if status.get("phase") in ("Failed", "Succeeded"):
        why = ": ".join(filter(None, (status.get("reason"), status.get("message"))))
        return f"pod {name} on {node} has ended ({why or status['phase']})"
    if seen["metadata"].get("deletionTimestamp"):
        return f"pod {name} on {node} is being deleted by somebody else"
    for container in status.get("containerStatuses") or []:
        waiting = container.get("state", {}).get("waiting") or {}
        if waiting.get("reason") in HOPELESS:
            last = (container.get("lastState", {}).get("terminated") or {}).get("message", "")
            words = ": ".join(filter(None, (waiting["reason"], waiting.get("message"), last)))
            return f"pod {name} on {node} does not start ({words})"
    return None
