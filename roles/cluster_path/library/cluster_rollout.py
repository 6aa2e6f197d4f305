#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_rollout
short_description: Wait until the daemons of a network run on a cluster
description:
  - Runs on the control plane of a cluster that labctl made. Returns once every pod of the named workloads is Ready.
  - Ends at once where that cannot come about - a container that loops or cannot start, pods that are not made because
    of a quota or of admission, a node that is gone - with the cluster's own words. Changes nothing.
options:
  workloads:
    type: list
    elements: str
    required: true
    description: Daemon sets and deployments, as KIND/NAME.
  namespace: {type: str, default: kube-system, description: Their namespace.}
  timeout_s: {type: int, required: true, description: Seconds that it may take.}
author: labctl
"""

RETURN = r"""
pods: {description: The pods that run., type: list, elements: str, returned: success}
"""

import time
from typing import Any, Dict, Iterator, List

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.labctl_node import pods as cluster_pods
from ansible.module_utils.labctl_node.kubectl import CONTROL_PLANE, Kubectl
from ansible.module_utils.labctl_node.pods import Patience, Trouble
from ansible.module_utils.labctl_node.refused import Refused, finish, refuse
from ansible.module_utils.labctl_node.run import CommandFailed

ANSWER_S = 10
POLL_S = 1.0
SILENCE_S = 45.0  # of an API server, which may be starting again on a machine that is busy
SERVER = (
    "On the control plane: crictl ps -a, and journalctl -u kubelet; `labctl reset` and `labctl provision` make it anew."
)
IMAGES = "The images of a network are those of the bundle: `labctl bundle verify`, then `labctl provision --bundle`."
RESUME = "then `labctl matrix --resume` goes on."
LOGS = f"Mend what its last words name (all that the containers said is kept with the run); {RESUME}"
CLUSTER = f"Give the cluster what its words ask for (kubectl --namespace=kube-system describe shows all); {RESUME}"

Object = Dict[str, Any]


class Seen:
    """The workloads at one look, with their pods, what makes those, and what the cluster warns of."""

    def __init__(self, kubectl: Kubectl, names: List[str], namespace: str) -> None:
        everything = kubectl.items("daemonsets.apps,deployments.apps,replicasets.apps,pods", f"--namespace={namespace}")
        self.workloads = [one for one in everything if f"{one['kind'].lower()}/{one['metadata']['name']}" in names]
        self.missing = [name for name in names if name not in {_called(one) for one in self.workloads}]
        uids = {one["metadata"]["uid"] for one in self.workloads}
        self.makers = [one for one in everything if one["kind"] == "ReplicaSet" and _owners(one) & uids]
        uids |= {one["metadata"]["uid"] for one in self.makers}
        self.pods = [one for one in everything if one["kind"] == "Pod" and _owners(one) & uids]
        self.nodes = kubectl.items("nodes")
        self.events = kubectl.items("events", f"--namespace={namespace}", "--field-selector=type=Warning")

    @property
    def lacking(self) -> List[str]:
        """The workloads that do not run yet, with how far they are."""
        return [*(f"{name} is not there" for name in self.missing), *filter(None, map(_lacks, self.workloads))]

    def troubles(self) -> Iterator[Trouble]:
        """What keeps them from it."""
        left = [one for one in self.pods if not one["metadata"].get("deletionTimestamp")]
        waiting = [one for one in left if not cluster_pods.is_ready(one)]
        for one in waiting:
            # What ended, its maker replaces.
            again_s = cluster_pods.LASTING_S if one["status"].get("phase") in cluster_pods.ENDED else 0.0
            yield from (each._replace(after_s=max(each.after_s, again_s)) for each in cluster_pods.troubles(one))
        makers = [one["metadata"]["name"] for one in (*self.workloads, *self.makers) if _lacks(one)]
        yield from cluster_pods.lasting(self.events, [*makers, *map(cluster_pods.name_of, waiting)])
        for node in self.nodes:
            name, ready = node["metadata"]["name"], cluster_pods.readiness(node)
            if not cluster_pods.is_ready(node) and "Unknown" in ready:
                yield Trouble(f"node {name}", f"node {name} is gone: {ready}", cluster_pods.LASTING_S)


def _called(one: Object) -> str:
    return f"{one['kind'].lower()}/{one['metadata']['name']}"


def _owners(one: Object) -> "set[str]":
    return {owner["uid"] for owner in one["metadata"].get("ownerReferences") or ()}


def _lacks(one: Object) -> str:
    """How many pods of a workload run of how many; empty once all do, of its present version."""
    status, spec = one.get("status") or {}, one["spec"]
    if one["kind"] == "DaemonSet":
        wanted, updated = status.get("desiredNumberScheduled", 0), status.get("updatedNumberScheduled", 0)
        ready = status.get("numberAvailable", 0)
    else:
        wanted, ready = spec.get("replicas", 1), status.get("availableReplicas", 0)
        updated = status.get("updatedReplicas", ready)
    known = status.get("observedGeneration", 0) >= one["metadata"].get("generation", 0)
    if known and wanted and min(ready, updated) >= wanted:
        return ""
    return f"{_called(one)}: {ready} of {wanted} pods are available"


def _hint(trouble: Trouble) -> str:
    """What to do about a trouble."""
    return IMAGES if trouble.image else LOGS if trouble.container else CLUSTER


def silent(failure: CommandFailed, since: float) -> Refused:
    """What is told of an API server that does not answer."""
    seen = f"for {time.monotonic() - since:.0f} s: {failure.output.strip()}"
    return Refused("The API server does not answer.", seen=seen, hint=SERVER)


def wait(kubectl: Kubectl, wanted: Dict[str, Any]) -> Dict[str, Any]:
    """Wait until all workloads run. Raise Refused with what keeps them from it."""
    deadline, patience, answered = time.monotonic() + wanted["timeout_s"], Patience(), time.monotonic()
    while True:
        try:
            seen = Seen(kubectl, wanted["workloads"], wanted["namespace"])
        except CommandFailed as failure:
            if time.monotonic() - answered > min(SILENCE_S, wanted["timeout_s"]):
                raise silent(failure, answered) from failure
            time.sleep(POLL_S)
            continue
        answered = time.monotonic()
        if not seen.lacking:
            return {"changed": False, "pods": sorted(map(cluster_pods.name_of, seen.pods))}
        space = wanted["namespace"]
        refuse(
            cluster_pods.problem(kubectl, space, trouble, _hint(trouble)) for trouble in patience.over(seen.troubles())
        )
        if time.monotonic() > deadline:
            warned = f"the cluster warns of: {cluster_pods.warnings(seen.events)}"
            what = f"Not Ready within {wanted['timeout_s']} s: {'; '.join(seen.lacking)}"
            hint = "Look at what the containers said; a slow machine wants a longer time (cni_cilium_timeout_s)."
            raise Refused(what, seen=warned, hint=hint)
        time.sleep(POLL_S)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "workloads": {"type": "list", "elements": "str", "required": True},
            "namespace": {"type": "str", "default": "kube-system"},
            "timeout_s": {"type": "int", "required": True},
        },
        supports_check_mode=True,
    )
    finish(module, lambda: wait(Kubectl(*CONTROL_PLANE, timeout=ANSWER_S), module.params), of_cluster=True)


if __name__ == "__main__":
    main()
