"""What is made in a cluster: a namespace, and in it a pod with netserver on each of two nodes; and what pods say."""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional

MANAGER = "app.kubernetes.io/managed-by"
OWNER = "labctl/owner"
END = "labctl/end"
# The variable by which labctl's helper finds the container on its node (roles/measure/files/labctl_agent/places.py).
MARK = "LABCTL_POD_UID"
CONTROL_PORT = 12865
GRACE_S = 1  # netserver is process 1, to which SIGTERM means nothing

# What it takes to see a node's processes and to start netperf in one of its pods: not all that `privileged` gives.
CAPABILITIES = ("SYS_ADMIN", "SYS_PTRACE", "SYS_CHROOT", "NET_ADMIN")

# What keeps meshes, and others that put containers into every pod, from doing so here: their own words for it. Labels
# where a webhook selects by them, annotations where it reads the pod.
NOT_INJECTED = {
    "sidecar.istio.io/inject": "false",
    "istio.io/dataplane-mode": "none",
    "kuma.io/sidecar-injection": "disabled",
    "admission.datadoghq.com/enabled": "false",
}
NOT_INJECTED_NOTES = {
    "sidecar.istio.io/inject": "false",
    "linkerd.io/inject": "disabled",
    "kuma.io/sidecar-injection": "disabled",
    "consul.hashicorp.com/connect-inject": "false",
    "consul.hashicorp.com/transparent-proxy": "false",
    "openservicemesh.io/sidecar-injection": "disabled",
    "injector.nsm.nginx.com/auto-inject": "false",
    "appmesh.k8s.aws/sidecarInjectorWebhook": "disabled",
    "oneagent.dynatrace.com/inject": "false",
    "data-ingest.dynatrace.com/inject": "false",
    "instrumentation.opentelemetry.io/inject-sdk": "false",
    "sidecar.opentelemetry.io/inject": "false",
    "vault.hashicorp.com/agent-inject": "false",
}
# What a mesh without sidecars writes on a pod whose packets it takes to the proxy of the node.
REDIRECTED = {"ambient.istio.io/redirection": "enabled"}

SERVER, AGENT = "netserver", "agent"
# What a pod with netserver may do: all that a sample wants; what is left without a right of its own; and as much as
# the strictest of the pod security standards allows. Users and capabilities of the image are not needed.
PRIVILEGES: Dict[str, Dict[str, Any]] = {
    "admin": {"capabilities": {"add": ["NET_ADMIN"]}},
    "plain": {},
    "restricted": {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "runAsUser": 65534,
        "seccompProfile": {"type": "RuntimeDefault"},
    },
}
PULL_SECRET = "labctl-pull"  # noqa: S105  (a name)
PULL_SECRET_TYPES = ("kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg")

Object = Dict[str, Any]


class Image(NamedTuple):
    """The image of the pods, when it is pulled, and whether with the copy of a secret in their namespace."""

    name: str
    pull: str
    secret: bool = False


def selector(owner: str) -> str:
    """What selects everything that one lab of one controller has made."""
    return f"{MANAGER}=labctl,{OWNER}={owner}"


def namespace(owner: str, enforced: bool = True) -> Object:
    """A namespace with a name of its own. Its label asks pod security admission to let the agents in.

    Not `enforced` where a cluster lets nobody set that label: what its pods may do is then the cluster's to say.
    """
    labels = {
        MANAGER: "labctl",
        OWNER: owner,
        **({"pod-security.kubernetes.io/enforce": "privileged"} if enforced else {}),
    }
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": "labctl-", "labels": labels}}


def field(path: str) -> Object:
    """A value of the pod itself, as a source of a variable."""
    return {"fieldRef": {"fieldPath": path}}


def pull_secret(found: Object, space: str) -> Object:
    """The copy of a secret with which images are pulled."""
    metadata = {"name": PULL_SECRET, "namespace": space, "labels": {MANAGER: "labctl"}}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": found["type"], "data": found["data"]}


def pod(
    end: str, node: str, space: str, image: Image, host_network: bool, resources: Object, privilege: str = "admin"
) -> Object:
    """The pod of one end. Both run netserver: the client's, which nobody calls, is there to be entered.

    `resources` are what it requests and is limited to, as Kubernetes writes them; without a request it has the least
    weight. The privilege `admin` lets netserver set a congestion control that its node does not allow to everybody.
    It listens on the pod's own address, of whatever family that is.
    """
    container = {
        "name": SERVER,
        "image": image.name,
        "imagePullPolicy": image.pull,
        "command": ["netserver", "-D", "-N", "-L", "$(POD_IP)", "-p", str(CONTROL_PORT)],
        "env": [
            {"name": "POD_IP", "valueFrom": field("status.podIP")},
            {"name": MARK, "valueFrom": field("metadata.uid")},
        ],
        **({"resources": resources} if resources else {}),
        "securityContext": PRIVILEGES[privilege],
    }
    return _pod(f"netperf-{end}", end, node, space, image, container, hostNetwork=host_network)


def agent(end: str, node: str, space: str, image: Image, resources: Optional[Object] = None) -> Object:
    """The pod from which one node is watched: it sees the node's processes, interfaces and counters."""
    container = {
        "name": AGENT,
        "image": image.name,
        "imagePullPolicy": image.pull,
        "command": ["python3", "-IS", "-c", "import signal; signal.pause()"],
        **({"resources": resources} if resources else {}),
        "securityContext": {"capabilities": {"add": list(CAPABILITIES)}},
    }
    made = _pod(f"agent-{end}", end, node, space, image, container, hostNetwork=True, hostPID=True)
    made["metadata"]["annotations"]["container.apparmor.security.beta.kubernetes.io/agent"] = "unconfined"
    return made


def _pod(name: str, end: str, node: str, space: str, image: Image, container: Object, **spec: Any) -> Object:
    """A pod that is bound to its node without a scheduler, and needs nothing else of the cluster."""
    labels = {MANAGER: "labctl", "app.kubernetes.io/name": name.partition("-")[0], END: end, **NOT_INJECTED}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": space, "labels": labels, "annotations": dict(NOT_INJECTED_NOTES)},
        "spec": {
            "nodeName": node,
            "tolerations": [{"operator": "Exists"}],
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": GRACE_S,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "dnsPolicy": "Default",
            "containers": [container],
            **({"imagePullSecrets": [{"name": PULL_SECRET}]} if image.secret else {}),
            **spec,
        },
    }


def beside(seen: Object) -> List[str]:
    """What somebody put beside netserver into its pod, or into the way of its packets: names with images.

    Whatever shares the pod's network may be a proxy in the path; which of them is, their names tell a person.
    """
    ours = {SERVER, AGENT}
    spec = seen["spec"]
    added = [
        f"{one['name']} ({one.get('image')})"
        for one in (*(spec.get("initContainers") or ()), *spec["containers"])
        if one["name"] not in ours
    ]
    notes = seen["metadata"].get("annotations") or {}
    return added + [f"{name}={value}" for name, value in REDIRECTED.items() if notes.get(name) == value]


def cpu_limit(seen: Object) -> Optional[str]:
    """The CPU that netserver's container is limited to, as Kubernetes writes it; None without a limit."""
    (own,) = [one for one in seen["spec"]["containers"] if one["name"] in (SERVER, AGENT)]
    limit = ((own.get("resources") or {}).get("limits") or {}).get("cpu")
    return None if limit is None else str(limit)
