"""The SSH keys of a lab, made before its nodes boot: the host keys are known in advance."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator, Mapping

from ansible.module_utils.lab_host_record import Files
from ansible.module_utils.labctl_node.files import read_text, remove_file, write_text
from ansible.module_utils.labctl_node.refused import Problem
from ansible.module_utils.labctl_node.run import run

HOST_KEY = "etc/ssh/ssh_host_ed25519_key"


def make_key(path: str, comment: str) -> None:
    """A key pair without a passphrase; a half-made one of a crash is made anew."""
    for part in (path, f"{path}.pub"):
        remove_file(part)
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path])


def make_keys(lab: str, files: Files, hosts: Mapping[str, str], owner: int) -> None:
    """The client's key, and a host key in every node's seed. `hosts` maps a node to what known_hosts calls it."""
    make_key(files.key, f"labctl {lab}")
    for path in (files.key, f"{files.key}.pub"):
        os.chown(path, owner, -1)
    known = []
    for node, host in hosts.items():
        path = os.path.join(files.seed(node), HOST_KEY)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        make_key(path, f"labctl {lab} {node}")
        kind, key = str(read_text(f"{path}.pub")).split()[:2]
        known.append(f"{host} {kind} {key}\n")
    write_text(files.known_hosts, "".join(known))


def greets(address: str, port: int, patience_s: float = 2) -> bool:
    """Whether an SSH server greets there. QEMU takes a connection in any case, as soon as it runs."""
    try:
        with socket.create_connection((address, port), timeout=2) as connection:
            connection.settimeout(patience_s)
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def ask(files: Files, address: str, port: int, script: str) -> subprocess.Popen[str]:
    """Run a shell script on a node over SSH, host key checked strictly; the process is under way."""
    options = {
        "BatchMode": "yes",
        "ConnectTimeout": "10",
        "GlobalKnownHostsFile": "/dev/null",
        "IdentitiesOnly": "yes",
        "LogLevel": "ERROR",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": files.known_hosts,
    }
    argv = ["ssh", "-F", "none", "-i", files.key, "-p", str(port)]
    for name, value in options.items():
        argv += ["-o", f"{name}={value}"]
    argv += [f"root@{address}", script]
    pipe = subprocess.PIPE
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True)


def answers(
    node: str, address: str, asked: subprocess.Popen[str], wanted: Mapping[str, str], timeout_s: float
) -> Iterator[Problem]:
    """What a node answered otherwise than wanted: its script prints NAME=VALUE lines."""
    where = f"root@{address}"
    stdout, stderr = asked.communicate(timeout=timeout_s)
    if asked.returncode != 0:
        yield {
            "what": f"SSH to {node} does not work.",
            "where": where,
            "seen": stderr.strip() or f"exit code {asked.returncode}",
            "hint": "Destroy the lab and create it again.",
        }
        return
    seen = dict(line.split("=", 1) for line in stdout.splitlines() if "=" in line)
    for name, value in wanted.items():
        if seen.get(name) != value:
            yield {
                "what": f"{node} is not what a node should be: {name}.",
                "where": where,
                "seen": f"{seen.get(name, 'nothing')}, wanted {value}",
            }
