"""What runs on this machine under the name of a lab, whether or not a record names it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence

from ansible.module_utils.lab_host_removal import remains
from ansible.module_utils.labctl_node.processes import of_processes
from ansible.module_utils.labctl_node.refused import Problem
from ansible.module_utils.labctl_node.run import run_json
from ansible.module_utils.local_lab_plan import control_group_of, table_of

NETNS_DIRECTORY = "/run/netns"
NSPAWN = "systemd-nspawn"


def left_of(lab: str, record: str, nodes: Sequence[str]) -> Iterator[Problem]:
    """What is there of a lab that should be gone; `nodes` are those that are known, others show by their processes."""
    running = supervisors(lab)
    for node in sorted({*nodes, *running}):
        name = control_group_of(lab, node)
        pids = running.get(node, [])
        seen = [f"process {pid} ({NSPAWN})" for pid in pids]
        by_hand = [f"kill -9 {pid}" for pid in pids]
        if os.path.exists(os.path.join(NETNS_DIRECTORY, name)):
            seen.append(f"network namespace {name}")
            by_hand.append(f"ip netns delete {name}")
        if seen:
            yield remains(lab, record, f"node {node}", seen, by_hand)
    if shutil.which("nft"):
        found = [item.get("table", {}) for item in run_json(["nft", "--json", "list", "tables"])["nftables"]]
        for family, table in [(one["family"], table_of(lab)) for one in found if one.get("name") == table_of(lab)]:
            yield remains(lab, record, "this host", [f"nftables table {table}"], [f"nft delete table {family} {table}"])


def supervisors(lab: str) -> dict[str, list[int]]:
    """The processes of root's that carry nodes of a lab, by node: a name tells which, whatever became of the files."""

    def node_of(directory: str) -> str | None:
        with open(f"{directory}/cmdline", encoding="utf-8", errors="replace") as file:
            argv = file.read().split("\0")
        options = dict(word[2:].split("=", 1) for word in argv if word.startswith("--") and "=" in word)
        node = options.get("hostname", "")
        ours = os.path.basename(argv[0]) == NSPAWN and os.stat(directory).st_uid == os.geteuid()
        return node if ours and options.get("machine") == control_group_of(lab, node) else None

    found: dict[str, list[int]] = {}
    for pid, node in sorted(of_processes(node_of).items()):
        if node is not None:
            found.setdefault(node, []).append(pid)
    return found
