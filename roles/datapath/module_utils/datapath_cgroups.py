"""BPF programs on control groups, which every socket of a process in such a group passes.

A CNI in place of kube-proxy has them, for connect(2) and its like. Where no link holds them that is pinned, they stay
when the CNI has gone.
"""

from __future__ import annotations

import json
from typing import Any, Dict, List, Optional

from ansible.module_utils.labctl_node.files import read_text
from ansible.module_utils.labctl_node.run import run

# Last part of the type of programs that come and go with units of systemd and with containers.
OF_UNITS = ("device", "ingress", "egress")
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
        if not program["attach_type"].endswith(OF_UNITS) and not program["name"].startswith(SYSTEMD)
    ]


def attached() -> List[Dict[str, Any]]:
    """Return the programs that sockets of this node pass, as `socket_programs` tells them."""
    top = hierarchy(read_text("/proc/mounts") or "")
    return socket_programs(run(["bpftool", "--json", "cgroup", "tree", top])) if top else []


def words(program: Dict[str, Any]) -> str:
    """Return a program in words that are the same after it was loaded again."""
    return f"{program['group']} {program['type']} {program['name']}".rstrip()
