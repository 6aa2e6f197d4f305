#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_logs
short_description: Read what the daemons of a network said
description:
  - Runs on the control plane of a cluster that labctl made. Asks for every container by itself, those that run before
    the others and those that ended before included - of one that has not started there is no log, and of the rest there
    is. Changes nothing, and does not fail where the cluster does not answer - it says so instead.
options:
  selectors: {type: list, elements: str, required: true, description: Labels by which the pods are known.}
  namespace: {type: str, default: kube-system, description: Their namespace.}
  lines: {type: int, default: 200, description: "Lines of each container, the last."}
author: labctl
"""

RETURN = r"""
text: {description: "What the cluster says of the pods, and what their containers said.", type: str, returned: always}
summary: {description: "Every pod in a line: its name, node, and state of its containers.", type: str, returned: always}
"""

from typing import Any, Dict, Iterator, List, Mapping

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.labctl_node import pods as cluster_pods
from ansible.module_utils.labctl_node.kubectl import CONTROL_PLANE, Kubectl
from ansible.module_utils.labctl_node.refused import finish
from ansible.module_utils.labctl_node.run import CommandFailed

ANSWER_S = 15

Object = Mapping[str, Any]


def tried(kubectl: Kubectl, *arguments: str) -> str:
    """What kubectl says, or why it does not."""
    try:
        return kubectl.run(*arguments).strip()
    except CommandFailed as failure:
        return f"({failure.output.strip() or failure.problems[0]['what']})"


def state(container: Object) -> str:
    """A container in a few words."""
    kind, told = next(iter((container.get("state") or {}).items()), ("unknown", {}))
    reason = told.get("reason") if isinstance(told, dict) else None
    again = f", {container['restartCount']} restarts" if container.get("restartCount") else ""
    return f"{container['name']} {kind}{f' ({reason})' if reason else ''}{again}"


def summary(pod: Object) -> str:
    """A pod in a line."""
    told = ", ".join(state(one) for _, one in cluster_pods.containers(pod)) or "no container yet"
    return f"{cluster_pods.called(pod)}: {told}"


def logs(kubectl: Kubectl, pod: Object, space: str, lines: int) -> Iterator[str]:
    """What each container of a pod said, before its last start as well."""
    name = cluster_pods.name_of(pod)
    for _, container in cluster_pods.containers(pod):
        which = ("logs", name, f"--namespace={space}", f"--container={container['name']}", f"--tail={lines}")
        if container.get("restartCount"):
            yield f"== {name}, {container['name']}, before its last start\n{tried(kubectl, *which, '--previous')}"
        yield f"== {name}, {container['name']}\n{tried(kubectl, *which)}"


def read(kubectl: Kubectl, wanted: Dict[str, Any]) -> Dict[str, Any]:
    """Read all of it."""
    space, found = wanted["namespace"], {}
    try:
        for labels in wanted["selectors"]:
            found.update(
                {
                    one["metadata"]["uid"]: one
                    for one in kubectl.items("pods", f"--namespace={space}", f"--selector={labels}")
                }
            )
    except CommandFailed as failure:
        words = f"the API server does not answer: {failure.output.strip()}"
        return {"changed": False, "text": words, "summary": words}
    pods: List[Object] = list(found.values())
    told = "; ".join(map(summary, pods)) or "none"
    parts = ["\n".join(map(summary, pods)) or "There are no pods."]
    parts += [
        f"== kubectl describe {one['metadata']['name']}\n"
        + tried(kubectl, "describe", "pod", one["metadata"]["name"], f"--namespace={space}")
        for one in pods
    ]
    parts += [text for one in pods for text in logs(kubectl, one, space, wanted["lines"])]
    parts.append("== events\n" + tried(kubectl, "get", "events", f"--namespace={space}", "--sort-by=.lastTimestamp"))
    return {"changed": False, "text": "\n\n".join(parts) + "\n", "summary": told}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "selectors": {"type": "list", "elements": "str", "required": True},
            "namespace": {"type": "str", "default": "kube-system"},
            "lines": {"type": "int", "default": 200},
        },
        supports_check_mode=True,
    )
    finish(module, lambda: read(Kubectl(*CONTROL_PLANE, timeout=ANSWER_S), module.params))


if __name__ == "__main__":
    main()
