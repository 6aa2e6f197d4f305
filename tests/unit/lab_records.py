"""Records of labs that run: their nodes are this process, since it runs as long as a test does."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from labctl.core.files import write_json
from labctl.core.records import encode
from labctl.labs.embedded import SCHEMA, Lab, LabNode, SshFiles

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def record(
    state: Path, name: str = "mine", kind: str = "local", inventory: str = "/labs/mine", kvm: bool = True
) -> Lab:
    """Record a lab of two nodes that run in the state directory `state`, as its role does."""
    directory = state / "labs" / name
    started = Path(f"/proc/{os.getpid()}/stat").read_text().rpartition(")")[2].split()[19]
    nodes = []
    for number, node in enumerate(("node1", "node2"), start=1):
        pidfile = directory / f"{node}.pid"
        write_json(pidfile, {"pid": os.getpid(), "started": int(started)})
        port = 22 if kind == "local" else 2200 + number
        nodes.append(LabNode(node, f"10.0.0.{number}", f"10.1.0.{number}", port, "root", str(pidfile), f"{node}.log"))
    lab = Lab(
        schema=SCHEMA,
        name=name,
        kind=kind,
        inventory=inventory,
        boot_id=BOOT_ID.read_text().strip(),
        created="2026-03-04T05:06:07+00:00",
        release="12",
        ssh=SshFiles(f"{directory}/id_ed25519", f"{directory}/known_hosts"),
        nodes=tuple(nodes),
        local={"index": 1, "tree": "/tree"} if kind == "local" else None,
        vm={"accelerator": "kvm" if kvm else "tcg", "vcpus": 2} if kind == "vm" else None,
    )
    write_json(directory / "lab.json", encode(lab))
    return lab


def let_become_root(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    """Let labctl find a sudo, which no scripted playbook uses."""
    directory.mkdir()
    sudo = directory / "sudo"
    sudo.write_text("#!/bin/false\n")
    sudo.chmod(0o755)
    monkeypatch.setenv("PATH", str(directory), prepend=os.pathsep)


def stop(lab: Lab, *nodes: str) -> None:
    """These nodes run no more."""
    for node in lab.nodes:
        if node.name in nodes:
            pidfile = json.loads(Path(node.pidfile).read_text())
            write_json(Path(node.pidfile), pidfile | {"started": pidfile["started"] + 1})  # the pid is another's now
