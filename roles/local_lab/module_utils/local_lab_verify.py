"""Whether the nodes of a local lab are what the lab promises, asked of the nodes themselves over SSH."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

from ansible.module_utils.lab_host_keys import answers, ask
from ansible.module_utils.lab_host_record import Files
from ansible.module_utils.labctl_node.refused import Problem, refuse
from ansible.module_utils.local_lab_links import CABLE, offloads_on
from ansible.module_utils.local_lab_plan import Node
from ansible.module_utils.local_lab_record import Record

# The kernel takes up to a second to call a link up whose other end has just come.
# Each setting is written back as it was read, so that nothing changes where it should not have been possible.
QUESTIONS = f"""
set -u
writable() {{ value=$(cat "$1") && echo "$value" 2>/dev/null > "$1" && echo yes || echo no; }}
for _ in $(seq 50); do [ "$(cat /sys/class/net/{CABLE}/operstate)" = up ] && break; sleep 0.1; done
echo "hostname=$(cat /proc/sys/kernel/hostname)"
echo "ip_forward=$(writable /proc/sys/net/ipv4/ip_forward)"
echo "panic=$(writable /proc/sys/kernel/panic 2>/dev/null)"
echo "swappiness=$(writable /proc/sys/vm/swappiness 2>/dev/null)"
echo "bpffs=$(stat --file-system --format=%T /sys/fs/bpf)"
echo "cable=$(cat /sys/class/net/{CABLE}/operstate)"
"""


def wanted(node: Node) -> dict[str, str]:
    return {
        "hostname": node.name,
        "ip_forward": "yes",
        "panic": "no",
        "swappiness": "no",
        "bpffs": "bpf_fs",
        "cable": "up",
    }


def problems(node: Node, asked: subprocess.Popen[str]) -> Iterator[Problem]:
    """What a node answered otherwise than it should."""
    yield from answers(node.name, node.address, asked, wanted(node), timeout_s=20)
    on = offloads_on(node) if asked.returncode == 0 else []
    if on:
        yield {"what": f"Offloads of the cable are on at {node.name}.", "seen": ", ".join(on)}


def verify(record: Record, files: Files) -> None:
    """Log in to every node with strict host key checking and read back its name, its offloads, and that it can write
    the settings of its own network but no others of the kernel it shares. Raises Refused with all that is otherwise."""
    asked = [(node, ask(files, node.address, 22, QUESTIONS)) for node in record.plan.nodes]
    refuse(problem for node, process in asked for problem in problems(node, process))
