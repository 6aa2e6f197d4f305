#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: kubernetes_preflight
short_description: Whether a node can be a member of the wanted cluster
description:
  - Compares kernel, control groups and architecture with what the edition accepts, and refuses a host that runs a
    cluster that labctl did not make, or made of another edition. Changes nothing.
options:
  edition: {type: str, required: true, description: Name of the edition.}
  version: {type: str, required: true, description: Version of Kubernetes.}
  architecture: {type: str, required: true, description: Architecture of the bundle in Debian's words.}
  kernel_low: {type: str, required: true, description: "Oldest kernel, as major.minor."}
  kernel_below: {type: str, description: Kernel from which on the edition no longer runs.}
  cgroups: {type: list, elements: int, required: true, description: Accepted versions of control groups.}
  address: {type: str, required: true, description: Address by which the node is known in the cluster.}
author: labctl
"""

RETURN = r"""
member:
  type: str
  description: C(no), C(yes), or C(broken) for an earlier attempt of labctl that did not come to its end.
cgroup: {type: int, description: Version of the control groups that kubelets use here.}
container: {type: bool, description: Whether the node is itself a container and shares its kernel.}
"""

import os
import platform
import re
import shutil
from collections.abc import Iterator
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.kubernetes_traces import BEFORE, RECORD
from ansible.module_utils.labctl_node.files import read_json, read_text
from ansible.module_utils.labctl_node.processes import of_processes
from ansible.module_utils.labctl_node.refused import Problem, finish, refuse
from ansible.module_utils.labctl_node.run import run

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
# What is left by kubeadm and others on a host that is a member of a cluster, and the programs that run on one.
MARKS = ("/etc/kubernetes/kubelet.conf", "/etc/kubernetes/admin.conf", "/etc/rancher/k3s", "/var/lib/k0s")
RUNNING = ("kubelet", "k3s", "k3s-server", "k0s", "kube-apiserver", "microk8s")
NEEDED = ("bpftool", "conntrack", "iptables", "mount", "nft", "nsenter")
# Where the kernel has AppArmor, containerd 1.4 starts nothing without it; in a container it leaves that to the host.
PARSER = ("apparmor_parser",)


def kernel_problems(release: str, low: str, below: str | None) -> Iterator[Problem]:
    """Whether the running kernel is older or newer than the edition accepts."""
    seen = tuple(map(int, re.findall(r"\d+", release)[:2]))
    fits = seen >= tuple(map(int, low.split("."))) and (below is None or seen < tuple(map(int, below.split("."))))
    if not fits:
        accepted = f"{low} or newer" + (f", older than {below}" if below else "")
        yield {
            "what": "The kernel does not fit this edition.",
            "where": "uname -r",
            "seen": f"{release}, accepted: {accepted}",
            "hint": "Choose another edition with --edition, or install a kernel that fits.",
        }


def cgroup_version() -> int:
    """2 where the unified hierarchy is the only one, else 1 (hybrid included: kubelets use its version 1 part)."""
    return 2 if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else 1


def apparmor() -> bool:
    """Whether the kernel confines programs by AppArmor."""
    return read_text("/sys/module/apparmor/parameters/enabled") == "Y"


def running() -> list[str]:
    """Programs of a cluster that run on this host."""
    names = of_processes(lambda directory: read_text(f"{directory}/comm"))
    return sorted(set(RUNNING).intersection(names.values()))


def foreign_cluster() -> Iterator[Problem]:
    found = [path for path in MARKS if os.path.exists(path)] + [f"process {name}" for name in running()]
    if found:
        yield {
            "what": "This host already runs a cluster that labctl did not make; it stays untouched.",
            "where": "this host",
            "seen": ", ".join(found),
            "hint": "Use another host, or take the cluster away with the tool that made it.",
        }


def membership() -> str:
    """Whether the node is a member of a cluster of ours, or of one that did not come to its end."""
    return "yes" if os.path.exists(RECORD) else "broken" if os.path.exists(BEFORE) else "no"


def other_cluster(params: dict[str, Any]) -> Iterator[Problem]:
    """Where the cluster of ours is another than the one asked for."""
    record = read_json(RECORD)
    wanted = {name: params[name] for name in ("edition", "version", "address")}
    seen = {name: record[name] for name in wanted}
    if seen != wanted:
        yield {
            "what": "The node is a member of another cluster of labctl's.",
            "where": RECORD,
            "seen": f"{seen}, asked for {wanted}",
            "hint": "Take that one away first: `labctl reset`.",
        }


def container_problems() -> Iterator[Problem]:
    """What a node that is itself a container was not given."""
    if not os.path.ismount("/var/lib/containerd") or not os.path.exists("/dev/kmsg"):
        yield {
            "what": "The node is a container that cannot carry Kubernetes.",
            "where": "local_lab_kubernetes in the lab's group_vars/all.yml",
            "seen": "/var/lib/containerd is no file system of its own, or /dev/kmsg is not there",
            "hint": "Set it to true, then `labctl lab destroy` and `labctl lab create`.",
        }


def machine_problems(params: dict[str, Any], cgroup: int) -> Iterator[Problem]:
    """What of the machine does not fit the edition, the bundle or the inventory."""
    machine = ARCHITECTURES.get(platform.machine(), platform.machine())
    yield from kernel_problems(os.uname().release, params["kernel_low"], params["kernel_below"])
    if cgroup not in params["cgroups"]:
        yield {
            "what": f"Kubernetes {params['version']} does not fit the control groups of this node.",
            "where": "/sys/fs/cgroup",
            "seen": f"version {cgroup}, accepted: {', '.join(map(str, params['cgroups']))}",
            "hint": "Boot with systemd.unified_cgroup_hierarchy=1, choose another edition, or set "
            "kubernetes_cgroups: [1, 2] in the lab's group_vars/all.yml (docs/bundle.md says what that means).",
        }
    if machine != params["architecture"]:
        yield {
            "what": "The bundle is for another architecture.",
            "where": "uname -m",
            "seen": f"{machine}, the bundle is for {params['architecture']}",
            "hint": f"Make one for it: labctl bundle create --architecture {machine}.",
        }
    if params["address"] not in run(["ip", "-brief", "-4", "address"]).replace("/", " ").split():
        yield {
            "what": "The address of the node in the cluster is not on any of its interfaces.",
            "where": "cable_address in the inventory",
            "seen": params["address"],
            "hint": "Correct the inventory, or set the address on the node.",
        }


def obstacles(params: dict[str, Any], member: str, cgroup: int, container: bool) -> Iterator[Problem]:
    """Everything that is in the way of the wanted cluster."""
    if member == "yes":
        yield from other_cluster(params)
    elif member == "no":
        yield from foreign_cluster()
    yield from machine_problems(params, cgroup)
    for name in NEEDED if container or not apparmor() else NEEDED + PARSER:
        if shutil.which(name) is None:
            yield {"what": f"The command {name} is not on the node.", "hint": "Install it."}
    if container:
        yield from container_problems()


def check(params: dict[str, Any]) -> dict[str, Any]:
    member, cgroup, container = membership(), cgroup_version(), os.path.exists("/run/systemd/container")
    refuse(obstacles(params, member, cgroup, container))
    return {"changed": False, "member": member, "cgroup": cgroup, "container": container}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "edition": {"type": "str", "required": True},
            "version": {"type": "str", "required": True},
            "architecture": {"type": "str", "required": True},
            "kernel_low": {"type": "str", "required": True},
            "kernel_below": {"type": "str"},
            "cgroups": {"type": "list", "elements": "int", "required": True},
            "address": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    finish(module, lambda: check(module.params))


if __name__ == "__main__":
    main()
