#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: local_lab_preflight
short_description: Whether a local lab can exist on this host
description:
  - Checks the host (root, distribution, overlayfs, namespaces, control groups) and that nothing on it already carries
    the names and addresses of the lab, unless the lab's own record of this boot names it.
  - Changes nothing, and fails with all problems at once.
options:
  name: {type: str, required: true, description: Name of the lab.}
  index: {type: int, required: true, description: Number of the lab.}
  nodes: {type: list, elements: str, required: true, description: "Names of the nodes, the client first."}
  addresses: {type: list, elements: str, required: true, description: What the inventory says the nodes' addresses are.}
  state_dir: {type: path, required: true, description: Directory of the records.}
  commands: {type: dict, required: true, description: Command or file to the package that brings it.}
  binds: {type: list, elements: str, default: [], description: Paths of the host shown in the nodes.}
author: labctl
"""

RETURN = r"""
packages: {type: list, description: Packages that the host lacks.}
uplink: {type: str, description: Interface of the default route; null without one.}
"""

import ipaddress
import os
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.lab_host_checks import lacking_packages, machine_problems
from ansible.module_utils.labctl_node.refused import Problem, finish, refuse
from ansible.module_utils.labctl_node.run import run_json
from ansible.module_utils.local_lab_boot import members
from ansible.module_utils.local_lab_nodes import inotify_problems
from ansible.module_utils.local_lab_plan import Plan, plan, wrong_arguments
from ansible.module_utils.local_lab_record import others, read

NETNS_DIRECTORY = "/run/netns"
# In namespaces of their own, so that the host sees neither the mounts nor the interfaces.
PROBES = {
    "network and mount namespaces": "true",
    "overlayfs": (
        "mount -t tmpfs tmpfs /tmp && mkdir /tmp/l /tmp/u /tmp/w /tmp/m"
        " && mount -t overlay -o lowerdir=/tmp/l,upperdir=/tmp/u,workdir=/tmp/w overlay /tmp/m"
    ),
}


def host_problems() -> Iterator[Problem]:
    """What this host cannot do."""
    yield from machine_problems("local")
    if os.geteuid() != 0:
        return
    for what, script in PROBES.items():
        done = subprocess.run(
            ["unshare", "--mount", "--net", "--propagation", "private", "sh", "-c", script],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            yield {
                "what": f"This host refuses {what}.",
                "seen": done.stderr.strip(),
                "hint": "In a container, give it CAP_SYS_ADMIN and CAP_NET_ADMIN (privileged); "
                "on a host, its kernel must have them.",
            }
            break
    if not any(map(os.path.exists, ("/sys/fs/cgroup/cgroup.controllers", "/sys/fs/cgroup/systemd"))):
        yield {
            "what": "There is no control group hierarchy that systemd-nspawn could use.",
            "where": "/sys/fs/cgroup",
            "hint": "Mount cgroup2 there: `mount -t cgroup2 cgroup2 /sys/fs/cgroup`.",
        }


def foreign(what: str, name: str, remove: str) -> Problem:
    return {
        "what": f"A {what} that no record of this lab names already carries its name; it stays untouched.",
        "where": f"this host, {what} {name}",
        "hint": f"See whose it is. Give this lab another name and index, or remove it: `{remove}`.",
    }


def taken_names(lab: Plan) -> Iterator[Problem]:
    """What exists on the host under the lab's names, for a lab that has no record of this boot."""
    for node in lab.nodes:
        if os.path.exists(os.path.join(NETNS_DIRECTORY, node.netns)):
            yield foreign("network namespace", node.netns, f"ip netns delete {node.netns}")
        if os.path.exists(f"/sys/class/net/{node.host_interface}"):
            yield foreign("network interface", node.host_interface, f"ip link delete {node.host_interface}")
        if members(lab, node):
            yield foreign("control group with processes", lab.control_group(node), f"kill {members(lab, node)[0]}")
    if shutil.which("nft"):
        for item in run_json(["nft", "--json", "list", "tables"])["nftables"]:
            table = item.get("table", {})
            if table.get("name") == lab.table:
                name = f"{table['family']} {lab.table}"
                yield foreign("nftables table", name, f"nft delete table {name}")


def taken_addresses(lab: Plan, state_dir: str) -> Iterator[Problem]:
    """Other labs, else routes of the host, that use the lab's addresses."""
    same = [other for other in others(state_dir, lab.name) if other.plan.index == lab.index]
    for other in same:
        yield {
            "what": f"The index {lab.index} belongs to another lab.",
            "where": "local_lab_index",
            "seen": f"lab {other.plan.name} (inventory {other.inventory})",
            "hint": "Choose another local_lab_index in this lab's group_vars/all.yml.",
        }
    if same or not shutil.which("ip"):
        return
    own = [ipaddress.ip_network(network) for network in lab.networks]
    for route in run_json(["ip", "-4", "-json", "route", "show", "table", "all"]):
        destination = "0.0.0.0/0" if route["dst"] == "default" else route["dst"]
        network = ipaddress.ip_network(destination, strict=False)
        device = route.get("dev", "")
        ours = device in {node.host_interface for node in lab.nodes}
        if network.prefixlen >= 8 and not ours and any(network.overlaps(one) for one in own):
            yield {
                "what": "The host already has a route into this lab's addresses.",
                "where": f"this host, route {route['dst']} dev {device}",
                "seen": f"the lab would use {' and '.join(lab.networks)}",
                "hint": "Choose another local_lab_index in this lab's group_vars/all.yml.",
            }


def inventory_problems(lab: Plan, addresses: list[str], binds: list[str]) -> Iterator[Problem]:
    """Where the inventory contradicts the plan."""
    wanted = [node.address for node in lab.nodes]
    if addresses != wanted:
        yield {
            "what": "The inventory's addresses do not follow from its index.",
            "where": "ansible_host of the nodes",
            "seen": ", ".join(addresses),
            "hint": f"With local_lab_index {lab.index} they are {', '.join(wanted)}.",
        }
    for bind in binds:
        source = bind.split(":", 1)[0]
        if source == "/tmp" or source.startswith("/tmp/") or not os.path.exists(source):  # noqa: S108
            yield {
                "what": "A path to show in the nodes does not exist, or lies in /tmp, which nodes do not share.",
                "where": "local_lab_binds",
                "seen": bind,
                "hint": "Use an existing path elsewhere.",
            }


def uplink() -> str | None:
    if not shutil.which("ip"):
        return None
    routes = run_json(["ip", "-4", "-json", "route", "show", "default"])
    return next((route["dev"] for route in routes if "dev" in route), None)


def obstacles(lab: Plan, params: dict[str, Any]) -> Iterator[Problem]:
    """Everything that is in the way of the lab, which may exist already."""
    record = read(params["state_dir"], lab.name)
    if record is not None and record.plan != lab:
        yield {
            "what": f"A lab named {lab.name} exists with another index or other nodes.",
            "where": record.inventory,
            "seen": f"index {record.plan.index}, nodes {', '.join(node.name for node in record.plan.nodes)}",
            "hint": f"Destroy it first (`labctl lab destroy`), or choose another lab_name than {lab.name}.",
        }
    yield from inventory_problems(lab, params["addresses"], params["binds"])
    if record is not None:
        return
    yield from host_problems()
    if os.geteuid() == 0:
        yield from inotify_problems(len(lab.nodes))
        yield from taken_names(lab)
        yield from taken_addresses(lab, params["state_dir"])


def check(params: dict[str, Any]) -> dict[str, Any]:
    arguments = params["name"], params["index"], params["nodes"]
    refuse(wrong_arguments(*arguments))
    refuse(obstacles(plan(*arguments), params))
    return {"changed": False, "packages": lacking_packages(params["commands"]), "uplink": uplink()}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "index": {"type": "int", "required": True},
            "nodes": {"type": "list", "elements": "str", "required": True},
            "addresses": {"type": "list", "elements": "str", "required": True},
            "state_dir": {"type": "path", "required": True},
            "commands": {"type": "dict", "required": True},
            "binds": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    finish(module, lambda: check(module.params))


if __name__ == "__main__":
    main()
