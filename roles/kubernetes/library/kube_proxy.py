#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: kube_proxy
short_description: kube-proxy runs on every node, or is gone with its rules
description:
  - Present and absent are for the control plane. Present deploys the addon as kubeadm would, from the description
    that the cluster was made with, and waits until a kube-proxy is ready on every node. Absent removes it and waits
    until its pods are gone.
  - No_rules is for every node, and removes the chains of kube-proxy and the tables that hold nothing else, and puts
    back the settings of the network that it changes.
options:
  state: {type: str, choices: [present, absent, no_rules], required: true, description: What is asked for.}
  nodes: {type: int, default: 0, description: How many nodes have to run one.}
  timeout_s: {type: int, default: 120, description: How long to wait.}
author: labctl
"""

RETURN = r"""
done: {type: list, description: What was done.}
"""

import json
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.kubernetes_traces import BEFORE, restore_settings
from ansible.module_utils.labctl_node.files import read_json
from ansible.module_utils.labctl_node.kubectl import CONTROL_PLANE, Kubectl
from ansible.module_utils.labctl_node.refused import Refused, finish
from ansible.module_utils.labctl_node.run import run, run_json
from ansible.module_utils.labctl_node.wait import wait_until

SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # kubeadm starts the kubelet's tools by name
DESCRIPTION = "/var/lib/labctl/kubernetes/kubeadm.yml"
PODS = ("get", "pods", "--selector=k8s-app=kube-proxy", "--output=json")
OWN = "KUBE-"


def kubectl(*argv: str) -> str:
    return Kubectl(*CONTROL_PLANE).run("--namespace=kube-system", *argv)


def daemon_set() -> dict[str, Any] | None:
    done = kubectl("get", "daemonset", "kube-proxy", "--ignore-not-found", "--output=json")
    return json.loads(done) if done else None


def ready(nodes: int) -> bool:
    found = daemon_set()
    return found is not None and found["status"].get("numberReady") == nodes


def present(params: dict[str, Any]) -> list[str]:
    if ready(params["nodes"]):
        return []
    done = []
    if daemon_set() is None:
        options = [f"--kubeconfig={CONTROL_PLANE[1]}", f"--config={DESCRIPTION}"]
        run(["env", f"PATH={SEARCH}", "kubeadm", "init", "phase", "addon", "kube-proxy", *options])
        done.append("deployed")
    if not wait_until(lambda: ready(params["nodes"]), params["timeout_s"], 0.5):
        raise Refused(
            "kube-proxy does not run on every node.",
            where="kubectl -n kube-system get pods -l k8s-app=kube-proxy",
            seen=kubectl("get", "pods", "--selector=k8s-app=kube-proxy", "--output=wide"),
            hint="`kubectl -n kube-system describe pods -l k8s-app=kube-proxy` says why.",
        )
    return [*done, "ready"]


def absent(params: dict[str, Any]) -> list[str]:
    if daemon_set() is None and not json.loads(kubectl(*PODS))["items"]:
        return []
    kubectl("delete", "daemonset,configmap,serviceaccount", "kube-proxy", "--ignore-not-found", "--wait=true")
    if not wait_until(lambda: not json.loads(kubectl(*PODS))["items"], params["timeout_s"], 0.5):
        raise Refused("Pods of kube-proxy do not end.", seen=kubectl(*PODS[:3]))
    return ["removed"]


def ruleset() -> list[tuple[str, dict[str, Any]]]:
    listed = run_json(["nft", "--json", "list", "ruleset"])["nftables"]
    return [next(iter(item.items())) for item in listed]


def no_rules() -> list[str]:
    """Remove kube-proxy's chains, the rules that lead to them, and tables in which nothing but base chains is left."""
    items = ruleset()
    commands: list[str] = []
    for kind, item in items:
        if kind == "rule" and not item["chain"].startswith(OWN) and f'"{OWN}' in json.dumps(item["expr"]):
            place = f"{item['family']} {item['table']} {item['chain']}"
            commands.append(f"delete rule {place} handle {item['handle']}")
    own = [item for kind, item in items if kind == "chain" and item["name"].startswith(OWN)]
    commands += [f"flush chain {item['family']} {item['table']} {item['name']}" for item in own]
    commands += [f"delete chain {item['family']} {item['table']} {item['name']}" for item in own]
    if not commands:
        return []
    run(["nft", "--file", "-"], stdin="\n".join(commands))
    tables = {(item["family"], item["table"]) for item in own}
    left = ruleset()
    held = {(item["family"], item["table"]) for kind, item in left if kind == "rule"}
    held |= {(i["family"], i["table"]) for kind, i in left if kind == "chain" and "hook" not in i}
    for family, table in sorted(tables - held):
        run(["nft", "delete", "table", family, table])
    return [f"{len(own)} chains", *restore_settings(read_json(BEFORE))]


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent", "no_rules"], "required": True},
            "nodes": {"type": "int", "default": 0},
            "timeout_s": {"type": "int", "default": 120},
        },
    )

    def act() -> dict[str, Any]:
        state = module.params["state"]
        done = no_rules() if state == "no_rules" else {"present": present, "absent": absent}[state](module.params)
        return {"changed": bool(done), "done": done}

    finish(module, act)


if __name__ == "__main__":
    main()
