"""What a deploy found on a node before it changed it, written down so that undeploy can put it back."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any

from ansible.module_utils.labctl_node.files import read_json, write_json
from ansible.module_utils.labctl_node.refused import Refused

RECORD = "/run/labctl/datapath.json"
SCHEMA = "labctl.datapath/2"


def digest(value: object) -> str:
    """Return a short stable fingerprint of plain data."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def load() -> dict[str, Any] | None:
    """Return what the last deploy wrote down, None when nothing is deployed."""
    record: dict[str, Any] | None = read_json(RECORD)
    if record is not None and record.get("schema") != SCHEMA:
        raise Refused(
            "The record of what is deployed was written by another labctl.",
            where=RECORD,
            seen=f"schema {record.get('schema')}, not {SCHEMA}",
            hint="Undeploy with that one.",
        )
    return record


def save(record: dict[str, Any]) -> None:
    """Write the record whole and on disk before the change that it describes is made."""
    os.makedirs(os.path.dirname(RECORD), exist_ok=True)
    write_json(RECORD, record)


def remove() -> None:
    """Forget the record: the very last step of an undeploy."""
    forget(RECORD)


def forget(path: str) -> None:
    """Remove a file, and the folder that it was in when nothing else is there."""
    os.remove(path)
    if not os.listdir(os.path.dirname(path)):
        os.rmdir(os.path.dirname(path))
