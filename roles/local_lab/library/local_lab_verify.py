#!/usr/bin/python
"""Whether the nodes of a local lab are what the lab promises, asked of the nodes themselves over SSH."""

from __future__ import annotations

DOCUMENTATION = r"""
module: local_lab_verify
short_description: The nodes of a local lab keep the lab's promises
description:
  - Logs in to every node with strict host key checking, and reads back its name, its offloads, and that it
    can write the settings of its own network but no others of the kernel it shares.
options:
  state_dir: {type: path, required: true, description: Directory of the records.}
  name: {type: str, required: true, description: Name of the lab.}
author: labctl
"""

import subprocess
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.local_lab_links import CABLE, offloads_on
from ansible.module_utils.local_lab_plan import Node
from ansible.module_utils.local_lab_record import Files, required
from ansible.module_utils.local_lab_system import Failed

# Each line writes back what it has read, so that nothing changes where it should not have been possible.
QUESTIONS = f"""
set -u
writable() {{ value=$(cat "$1") && echo "$value" 2>/dev/null > "$1" && echo yes || echo no; }}
echo "hostname=$(cat /proc/sys/kernel/hostname)"
echo "ip_forward=$(writable /proc/sys/net/ipv4/ip_forward)"
echo "panic=$(writable /proc/sys/kernel/panic 2>/dev/null)"
echo "swappiness=$(writable /proc/sys/vm/swappiness 2>/dev/null)"
echo "bpffs=$(stat --file-system --format=%T /sys/fs/bpf)"
echo "cable=$(cat /sys/class/net/{CABLE}/operstate)"
"""


def ask(files: Files, node: Node) -> subprocess.Popen[str]:
    options = {
        "BatchMode": "yes",
        "ConnectTimeout": "10",
        "GlobalKnownHostsFile": "/dev/null",
        "IdentitiesOnly": "yes",
        "LogLevel": "ERROR",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": files.known_hosts,
    }
    argv = ["ssh", "-F", "none", "-i", files.key]
    for name, value in options.items():
        argv += ["-o", f"{name}={value}"]
    pipe = subprocess.PIPE
    asked = subprocess.Popen([*argv, f"root@{node.address}", "sh"], stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    assert asked.stdin is not None  # noqa: S101 - it is a pipe
    asked.stdin.write(QUESTIONS)
    asked.stdin.close()
    asked.stdin = None
    return asked


def wanted(node: Node) -> dict[str, str]:
    return {
        "hostname": node.name,
        "ip_forward": "yes",
        "panic": "no",
        "swappiness": "no",
        "bpffs": "bpf_fs",
        "cable": "up",
    }


def problems(node: Node, asked: subprocess.Popen[str]) -> list[dict[str, str]]:
    """What a node answered otherwise than it should."""
    stdout, stderr = asked.communicate(timeout=20)
    if asked.returncode != 0:
        return [
            {
                "what": f"SSH to {node.name} does not work.",
                "where": f"root@{node.address}",
                "seen": stderr.strip() or f"exit code {asked.returncode}",
                "hint": "Destroy the lab and create it again.",
            }
        ]
    seen = dict(line.split("=", 1) for line in stdout.splitlines() if "=" in line)
    wrong = [
        {
            "what": f"{node.name} is not what a node should be: {name}.",
            "where": f"root@{node.address}",
            "seen": f"{seen.get(name, 'nothing')}, wanted {value}",
        }
        for name, value in wanted(node).items()
        if seen.get(name) != value
    ]
    on = offloads_on(node)
    if on:
        wrong.append({"what": f"Offloads of the cable are on at {node.name}.", "seen": ", ".join(on)})
    return wrong


def verify(params: dict[str, Any]) -> None:
    record = required(params["state_dir"], params["name"])
    files = Files(params["state_dir"], params["name"])
    asked = [(node, ask(files, node)) for node in record.plan.nodes]
    found = [problem for node, process in asked for problem in problems(node, process)]
    if found:
        raise Failed(*found)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state_dir": {"type": "path", "required": True},
            "name": {"type": "str", "required": True},
        },
    )
    try:
        verify(module.params)
        module.exit_json(changed=False)
    except Failed as failed:
        module.fail_json(**failed.result())


if __name__ == "__main__":
    main()
