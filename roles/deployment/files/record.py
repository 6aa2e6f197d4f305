"""The record of the role that deploys on this node, kept by role deployment's action plugin.

It is sent to the node's Python on standard input: record.py STATE [ROLE] [--check]. Prints its result as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

RECORD = "/var/lib/labctl/deployment.json"  # outlives a reboot, as a network of a cluster does


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
    return {"changed": there, "role": None}


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
