#!/usr/bin/python

from __future__ import annotations

DOCUMENTATION = r"""
module: kubernetes_idle
short_description: CPU of the cluster's own processes while nothing is asked of it
description:
  - Adds up the CPU time of control plane, kubelet and container runtime over some seconds. On nodes that share a
    kernel it is still this node's, for processes are counted and not the machine. Changes nothing.
options:
  seconds: {type: float, default: 5, description: How long to look.}
author: labctl
"""

RETURN = r"""
percent: {type: dict, description: Percent of one CPU by program; programs that do not run here are left out.}
total: {type: float, description: Their sum.}
"""

import os
import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.labctl_node.processes import of_processes, stat

PROGRAMS = (
    "containerd",
    "containerd-shim",
    "etcd",
    "kube-apiserver",
    "kube-controller",
    "kube-scheduler",
    "kubelet",
)
SHOWN = 15  # bytes of a process's name that the kernel keeps
USER, SYSTEM = 11, 12  # utime and stime, after the name in /proc/PID/stat


def ticks() -> dict[tuple[int, str], int]:
    """Return the CPU ticks that each process of the cluster has used, by its number and program."""
    found = {}
    for pid, (name, fields) in of_processes(stat).items():
        program = next((one for one in sorted(PROGRAMS, key=len, reverse=True) if name.startswith(one[:SHOWN])), None)
        if program is not None:
            found[pid, program] = int(fields[USER]) + int(fields[SYSTEM])
    return found


def main() -> None:
    module = AnsibleModule(argument_spec={"seconds": {"type": "float", "default": 5}}, supports_check_mode=True)
    before, started = ticks(), time.monotonic()
    time.sleep(module.params["seconds"])
    after, seconds = ticks(), time.monotonic() - started
    used: dict[str, int] = {}
    for key, count in after.items():
        used[key[1]] = used.get(key[1], 0) + count - before.get(key, count)
    full = os.sysconf("SC_CLK_TCK") * seconds
    percent = {program: round(100 * count / full, 1) for program, count in sorted(used.items())}
    module.exit_json(changed=False, percent=percent, total=round(100 * sum(used.values()) / full, 1))


if __name__ == "__main__":
    main()
