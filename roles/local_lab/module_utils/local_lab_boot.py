"""How a node boots: what is its own on top of the tree, its start script, its control groups."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from ansible.module_utils.labctl_node.files import read_text, write_text
from ansible.module_utils.local_lab_links import netns_path
from ansible.module_utils.local_lab_plan import Node, Plan
from ansible.module_utils.local_lab_record import LocalFiles, Record

# A mount namespace of the node's supervisor has a tmpfs here: the node's throwaway layer, and what systemd-nspawn
# leaves behind when it is killed, vanish with it.
SCRATCH = "/run/systemd/nspawn"
CGROUP = "/sys/fs/cgroup"
TUN = "/dev/net/tun"  # for tunnels whose program runs in user space
# What containers and a kubelet take beyond a plain node: every capability and what the containers' own system-call
# filters then narrow down, the kernel's log, and directories that can carry overlays and be watched as file systems of
# their own, which the node's overlay can not. They are in memory and end with the node.
KUBERNETES_CALLS = ("@keyring", "@mount", "bpf", "perf_event_open")
KUBERNETES_OPTIONS = (
    "--capability=all",
    "--bind=/dev/kmsg",
    "--tmpfs=/var/lib/containerd:mode=0711,size=50%",
    "--tmpfs=/var/lib/etcd:mode=0700,size=10%",
    "--tmpfs=/var/lib/kubelet:mode=0700,size=10%",
)


@dataclass(frozen=True)
class Options:
    """What may be different from lab to lab in how systemd-nspawn is called."""

    capabilities: Sequence[str]
    system_calls: Sequence[str]
    binds: Sequence[str]
    extra_options: Sequence[str]
    kubernetes: bool = False

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Options:
        """The options among the arguments of a module."""
        return cls(**{field.name: params[field.name] for field in fields(cls)})


def systemd_runs_host() -> bool:
    """Whether PID 1 is systemd (what sd_booted(3) looks at)."""
    return os.path.isdir("/run/systemd/system")


def unified() -> bool:
    """Whether control groups are version 2 only."""
    return os.path.exists(f"{CGROUP}/cgroup.controllers")


def control_groups(lab: Plan, node: Node, controllers: bool = True) -> list[str]:
    """The control groups of a node on a host without systemd: one per hierarchy that systemd-nspawn manages.

    Without one of its own a node would share /payload with all others, and the systemd of one would
    end the services of another. With `controllers`, those of the version 1 hierarchies of controllers too: only a node
    that runs Kubernetes has any, because the kubelets of two nodes would otherwise remove each other's pods.
    """
    roots = [CGROUP] if unified() else [f"{CGROUP}/systemd", f"{CGROUP}/unified"]
    if controllers and not unified():
        roots += sorted(entry.path for entry in os.scandir(CGROUP) if entry.is_dir(follow_symlinks=False))
    return [f"{root}/{lab.control_group(node)}" for root in dict.fromkeys(roots) if os.path.isdir(root)]


def make_control_group(group: str) -> None:
    """Create a control group that processes can join: one of cpuset takes none before it has CPUs and memory."""
    os.makedirs(group, exist_ok=True)
    for name in ("cpuset.cpus", "cpuset.mems"):
        path = os.path.join(group, name)
        if not unified() and os.path.exists(path):
            write_text(path, str(read_text(os.path.join(os.path.dirname(group), name))))


def resolv_conf() -> str:
    """The host's name servers that a node can reach: not a stub on the loopback, but what stands behind it."""
    for path in ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"):
        text = without_stubs(read_text(path) or "")
        if text is not None:
            return text
    return "# The host has no name server that a node could reach.\n"


def without_stubs(text: str) -> str | None:
    """A resolv.conf without the servers on the host's loopback, or None when no server is left."""
    stubs = ("nameserver 127.", "nameserver ::1")
    kept = [line for line in text.splitlines() if not line.startswith(stubs)]
    return "\n".join(kept) + "\n" if any(line.startswith("nameserver ") for line in kept) else None


def own_files(record: Record, node: Node) -> dict[str, str]:
    """What a node has of its own beyond what nodes of any lab have, by path."""
    names = "".join(f"{other.address} {other.name}\n" for other in record.plan.nodes)
    return {
        "etc/hosts": f"127.0.0.1 localhost\n{names}",
        "etc/machine-id": hashlib.md5(netns_path(node).encode(), usedforsecurity=False).hexdigest() + "\n",
        "etc/resolv.conf": resolv_conf(),
    }


def nspawn_command(lab: Plan, node: Node, options: Options) -> list[str]:
    argv = [
        "systemd-nspawn",
        "--quiet",
        "--boot",
        f"--directory={SCRATCH}/root",
        f"--machine={lab.control_group(node)}",
        f"--hostname={node.name}",
        f"--network-namespace-path={netns_path(node)}",
        "--register=no",
        "--keep-unit",
        "--notify-ready=yes",
        "--console=pipe",
        "--link-journal=no",
        "--resolv-conf=off",
        "--timezone=off",
        "--tmpfs=/sys/fs/bpf",
        f"--capability={','.join(options.capabilities)}",
        *([f"--bind={TUN}"] if os.path.exists(TUN) else []),
        f"--system-call-filter={' '.join((*options.system_calls, *(KUBERNETES_CALLS if options.kubernetes else ())))}",
        *(KUBERNETES_OPTIONS if options.kubernetes else ()),
        *(f"--bind={bind}" for bind in options.binds),
        *options.extra_options,
    ]
    # From version 256 on systemd refuses version 1 control groups unless told twice.
    legacy = "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"
    return argv if unified() else [*argv, f"--setenv={legacy}", legacy]


def start_script(record: Record, files: LocalFiles, node: Node, options: Options) -> str:
    """What starts a node, as a script that a person can read and run: in mount namespace of its own, it ends as
    systemd-nspawn."""
    lab = record.plan
    layers = f"lowerdir={files.seed(node.name)}:{record.tree},upperdir={SCRATCH}/upper,workdir={SCRATCH}/work"
    steps: list[list[str]] = [
        ["mkdir", "-p", SCRATCH],
        ["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", SCRATCH],
        ["mkdir", f"{SCRATCH}/root", f"{SCRATCH}/upper", f"{SCRATCH}/work"],
        ["mount", "-t", "overlay", "-o", layers, "overlay", f"{SCRATCH}/root"],
        ["mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", "/tmp"],  # noqa: S108 - its own /tmp
        # /proc/sys stays read-only, but for the settings of the node's own network namespace.
        ["export", "SYSTEMD_NSPAWN_API_VFS_WRITABLE=network"],
        ["exec", *nspawn_command(lab, node, options)],
    ]
    groups = [] if systemd_runs_host() else control_groups(lab, node, options.kubernetes)
    join = [f"echo $$ > {shlex.quote(f'{group}/cgroup.procs')}\n" for group in groups]
    lines = "".join(shlex.join(step) + "\n" for step in steps)
    return f"#!/bin/sh\n# Starts {node.name} of the lab {lab.name}; written by labctl.\nset -eu\n{''.join(join)}{lines}"


def remove_control_groups(lab: Plan, node: Node) -> bool:
    """Remove a node's empty control groups; returns whether there were any. Raises OSError while one is in use."""
    found = [group for group in control_groups(lab, node) if os.path.isdir(group)]
    for group in found:
        for directory, _, _ in os.walk(group, topdown=False):
            os.rmdir(directory)
    return bool(found)


def members(lab: Plan, node: Node) -> list[int]:
    """The processes in a node's control groups."""
    found: set[int] = set()
    for group in control_groups(lab, node):
        for directory, _, _ in os.walk(group):
            found.update(map(int, (read_text(os.path.join(directory, "cgroup.procs")) or "").split()))
    return sorted(found)
