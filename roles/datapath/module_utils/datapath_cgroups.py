"""BPF programs on control groups, which every socket of a process in such a group passes.

A CNI in place of kube-proxy has them, for connect(2) and its like. Where no link holds them that is pinned, they stay
when the CNI has gone.
"""

from __future__ import annotations

import json
from typing import Any, Dict, List, Optional

from ansible.module_utils.labctl_node.files import read_text
from ansible.module_utils.labctl_node.run import run, run_json

# Last part of the types of programs: those for devices come and go with units and containers, those for packets systemd
# has on units of its own, for that unit alone.
DEVICES, PACKETS = "device", ("ingress", "egress")
UNITS = (".service", ".scope", ".socket", ".mount", ".swap")
NETSERVER = "labctl-netserver.service"
SYSTEMD = "sd_"
CGROUPS = "/sys/fs/cgroup"


def hierarchy(mounts: str) -> Optional[str]:
    """Return where /proc/mounts (its text) has the hierarchy of version 2; None where nobody mounted it."""
    lines = [line.split() for line in mounts.splitlines()]
    points = [point for _, point, kind, *_ in lines if kind == "cgroup2"]
    return min(points, key=lambda point: not point.startswith(CGROUPS), default=None)


def socket_programs(printed: str) -> List[Dict[str, Any]]:
    """Return the programs that sockets pass, in what bpftool prints: `group` (a path), `type`, `name`, `id`."""
    return [
        {"group": entry["cgroup"], "type": program["attach_type"], "name": program["name"], "id": program["id"]}
        for entry in json.loads(printed or "[]")
        for program in entry["programs"]
        if _counts(entry["cgroup"], program["attach_type"], program["name"])
    ]


def _counts(group: str, kind: str, name: str) -> bool:
    if kind.endswith(PACKETS):
        return group.endswith(NETSERVER) or not group.endswith(UNITS)
    return not kind.endswith(DEVICES) and not name.startswith(SYSTEMD)


def attached() -> List[Dict[str, Any]]:
    """Return the programs that sockets of this node pass, as `socket_programs` tells them."""
    top = hierarchy(read_text("/proc/mounts") or "")
    return socket_programs(run(["bpftool", "--json", "cgroup", "tree", top])) if top else []


def inherited() -> List[Dict[str, Any]]:
    """Return the programs on groups above the node's own, as a container's machine may have them."""
    top = hierarchy(read_text("/proc/mounts") or "")
    if not top:
        return []
    effective = run_json(["bpftool", "--json", "cgroup", "show", top, "effective"])
    own = {program["id"] for program in run_json(["bpftool", "--json", "cgroup", "show", top])} if effective else set()
    above = [program for program in effective if program["id"] not in own]
    return socket_programs(json.dumps([{"cgroup": "above the node", "programs": above}]))


def words(program: Dict[str, Any]) -> str:
    """Return a program in words that are the same after it was loaded again."""
    return f"{program['group']} {program['type']} {program['name']}".rstrip()
