"""IPv4 forwarding, per interface and counted: several labs may need the same uplink, and the last one restores it."""

from __future__ import annotations

import json
import os
from typing import Any

from ansible.module_utils.labctl_node.files import write_json
from ansible.module_utils.labctl_node.machine import boot_id


def _path(interface: str) -> str:
    return f"/proc/sys/net/ipv4/conf/{interface}/forwarding"


def _read(interface: str) -> str | None:
    try:
        with open(_path(interface), encoding="utf-8") as file:
            return file.read().strip()
    except FileNotFoundError:
        return None


def set_forwarding(interface: str, value: str) -> bool:
    """Write an interface's forwarding; returns whether it was another."""
    if _read(interface) == value:
        return False
    with open(_path(interface), "w", encoding="utf-8") as file:
        file.write(value)
    return True


def _ledger_path(state_dir: str) -> str:
    return os.path.join(state_dir, "forwarding.json")


def _ledger(state_dir: str) -> dict[str, Any]:
    """Who uses which uplink, and what its forwarding was before: {"boot_id", "uplinks": {eth0: {"before", "labs"}}}."""
    empty: dict[str, Any] = {"boot_id": boot_id(), "uplinks": {}}
    try:
        with open(_ledger_path(state_dir), encoding="utf-8") as file:
            ledger: dict[str, Any] = json.load(file)
    except FileNotFoundError:
        return empty
    return ledger if ledger["boot_id"] == boot_id() else empty


def use_uplink(state_dir: str, uplink: str, lab: str) -> bool:
    """Let packets in from the uplink be forwarded, for a lab; what it was is on the disk before it changes."""
    ledger = _ledger(state_dir)
    entry = ledger["uplinks"].setdefault(uplink, {"before": _read(uplink), "labs": []})
    if lab not in entry["labs"]:
        entry["labs"].append(lab)
        write_json(_ledger_path(state_dir), ledger)
    return set_forwarding(uplink, "1")


def release_uplink(state_dir: str, lab: str) -> bool:
    """A lab no longer needs its uplink: the last one writes back what was. Returns whether that changed it."""
    ledger = _ledger(state_dir)
    changed = False
    for uplink, entry in list(ledger["uplinks"].items()):
        if lab not in entry["labs"]:
            continue
        entry["labs"].remove(lab)
        if not entry["labs"]:
            # Somebody else's later word, or an interface that is gone, stays as it is.
            if _read(uplink) == "1":
                changed = set_forwarding(uplink, entry["before"])
            del ledger["uplinks"][uplink]
    if ledger["uplinks"]:
        write_json(_ledger_path(state_dir), ledger)
    elif os.path.exists(_ledger_path(state_dir)):
        os.unlink(_ledger_path(state_dir))
    return changed


def used_uplinks(state_dir: str) -> list[str]:
    """The uplinks whose forwarding is ours for now."""
    return sorted(_ledger(state_dir)["uplinks"])
