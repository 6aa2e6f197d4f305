"""The record of the role that deploys on this node, kept by role deployment's action plugin.

It is sent to the node's Python on standard input: record.py STATE [ROLE] [--check]. Prints its result as JSON.
"""

from __future__ import annotations

import argparse
import glob
import json
import os
import shutil
import stat
from typing import Any, Iterator

RECORD = "/var/lib/labctl/deployment.json"  # outlives a reboot, as a network of a cluster does
# Where Ansible unpacks what it runs on a node, and labctl puts packages: what was killed leaves it there.
LEFTOVERS = ("/tmp/ansible_*_payload_*", "~/.ansible/tmp/ansible-tmp-*", "/var/tmp/labctl-*")  # noqa: S108
STARTS_S = 60.0  # within this a process that unpacks something has done so


def recorded() -> str | None:
    """Return the role that is recorded; None for none."""
    try:
        with open(RECORD, encoding="utf-8") as file:
            return str(json.load(file)["role"])
    except FileNotFoundError:
        return None


def write(role: str) -> None:
    """Write the record so that after a crash it is there whole or not at all."""
    directory = os.path.dirname(RECORD)
    os.makedirs(directory, exist_ok=True)
    with open(RECORD + ".tmp", "w", encoding="utf-8") as file:
        json.dump({"schema": "labctl.deployment/1", "role": role}, file)
        file.flush()
        os.fsync(file.fileno())
    os.rename(RECORD + ".tmp", RECORD)
    handle = os.open(directory, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def begin(role: str, check_mode: bool) -> dict[str, Any]:
    """Record a role, unless one is recorded."""
    before = recorded()
    if before is None and not check_mode:
        write(role)
    return {"changed": before is None, "role": before or role, "other": before not in (None, role)}


def end(check_mode: bool) -> dict[str, Any]:
    """Forget the role that is recorded, if any is."""
    there = os.path.exists(RECORD)
    if there and not check_mode:
        os.unlink(RECORD)
    if not check_mode:
        sweep()
    return {"changed": there, "role": None}


def sweep() -> None:
    """Remove what killed processes of this user unpacked here. What a living one may use stays for the next time."""
    starts = list(living())
    for path in (path for pattern in LEFTOVERS for path in glob.glob(os.path.expanduser(pattern))):
        try:
            seen = os.lstat(path)
        except FileNotFoundError:
            continue
        used = any(start <= seen.st_ctime + 1 and seen.st_ctime - start <= STARTS_S for start in starts)
        if seen.st_uid != os.geteuid() or used:
            continue
        if stat.S_ISDIR(seen.st_mode):
            shutil.rmtree(path, ignore_errors=True)
        elif stat.S_ISREG(seen.st_mode):
            os.unlink(path)


def living() -> Iterator[float]:
    """When the other Pythons of this user began that live, in seconds since the epoch."""
    with open("/proc/stat", encoding="utf-8") as file:
        boot = next(float(line.split()[1]) for line in file if line.startswith("btime "))
    for directory in glob.glob("/proc/[0-9]*"):
        try:
            own = os.stat(directory).st_uid == os.geteuid() and directory != f"/proc/{os.getpid()}"
            with open(f"{directory}/stat", encoding="utf-8", errors="replace") as file:
                name, _, rest = file.read().partition("(")[2].rpartition(")")
        except OSError:  # it ended meanwhile
            continue
        if own and name.startswith("python"):
            yield boot + int(rest.split()[19]) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Do what the arguments say and print the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("state", choices=["begun", "read", "ended"])
    parser.add_argument("role", nargs="?")
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    if given.state == "begun":
        result = begin(given.role, given.check)
    elif given.state == "ended":
        result = end(given.check)
    else:
        result = {"changed": False, "role": recorded()}
    print(json.dumps(result))  # noqa: T201  (what the action plugin reads)


if __name__ == "__main__":
    main()
