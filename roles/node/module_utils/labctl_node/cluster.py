"""What runs on a cluster, as its API shows it: pods with what they were made of, and the settings of its network."""

from __future__ import annotations

import hashlib
import re
from typing import Any, Dict, Iterable, List, Mapping, Optional

# The namespace of the pods that labctl makes has a name that is drawn for each.
DRAWN = re.compile(r"^labctl-[0-9a-z]{5}$")
LONGEST = 400  # characters of a setting that is kept as it is; of a longer one its hash

Object = Mapping[str, Any]


def settings(maps: Optional[Iterable[Object]]) -> Optional[Dict[str, Dict[str, str]]]:
    """Settings by namespace and name of their config map; None for none that can be seen."""
    if maps is None:
        return None
    return {
        f"{one['metadata']['namespace']}/{one['metadata']['name']}": {
            name: value if len(value) <= LONGEST else f"sha256 {hashlib.sha256(value.encode()).hexdigest()}"
            for name, value in (one.get("data") or {}).items()
        }
        for one in maps
    }


def images(pods: Optional[Iterable[Object]]) -> Optional[Dict[str, List[str]]]:
    """What pods run: the digests of their images by the pod's role and node; None for none that can be seen."""
    if pods is None:
        return None
    found: Dict[str, List[str]] = {}
    for pod in pods:
        running = {f"{one['name']} {one.get('imageID') or one.get('image')}" for one in containers(pod)}
        found[role(pod)] = sorted(running.union(found.get(role(pod), ())))
    return found


def instances(pods: Optional[Iterable[Object]]) -> Optional[Dict[str, List[str]]]:
    """Who runs: uid, container and restarts of agents and measured pods by role and node; None for none to be seen.

    These are others in every deployment; within one they stay, unless somebody restarts them. Left out is what only
    tells agents what to do, as operators.
    """
    if pods is None:
        return None
    found: Dict[str, List[str]] = {}
    for pod in pods:
        if not (made_by(pod).get("kind") == "DaemonSet" or DRAWN.match(pod["metadata"]["namespace"])):
            continue
        for one in containers(pod):
            words = (
                f"pod {pod['metadata']['uid']}, {one['name']} {one.get('containerID')}, {one['restartCount']} restarts"
            )
            found.setdefault(role(pod), []).append(words)
    return {name: sorted(each) for name, each in found.items()}


def containers(pod: Object) -> List[Dict[str, Any]]:
    """What the cluster says of a pod's containers."""
    return list(pod.get("status", {}).get("containerStatuses") or ())


def role(pod: Object) -> str:
    """A pod by what it is and its node: `kube-system/kube-proxy on node1`. What made it names it, if anything did."""
    metadata, node = pod["metadata"], pod["spec"].get("nodeName")
    space = "labctl" if DRAWN.match(metadata["namespace"]) else metadata["namespace"]
    return f"{space}/{made_by(pod).get('name') or metadata['name']} on {node}"


def made_by(pod: Object) -> Mapping[str, Any]:
    """What made a pod; empty for one that was made alone, or by its node's kubelet."""
    owners = pod["metadata"].get("ownerReferences") or ()
    return next((one for one in owners if one["kind"] != "Node"), {})
