"""IPv4 forwarding, per interface and counted: several labs may need the same uplink, and the last one restores it."""

from __future__ import annotations

import glob
import os
from typing import Any

from ansible.module_utils.labctl_node.files import read_json, read_text, remove_file, write_json, write_setting
from ansible.module_utils.labctl_node.machine import boot_id

OWN = "labctl"  # how the names of the labs' interfaces on the host begin


def _path(interface: str) -> str:
    return f"/proc/sys/net/ipv4/conf/{interface}/forwarding"


def set_forwarding(interface: str, value: str) -> bool:
    """Write an interface's forwarding; returns whether it was another."""
    if read_text(_path(interface)) == value:
        return False
    write_setting(_path(interface), value)
    return True


def _ledger_path(state_dir: str) -> str:
    return os.path.join(state_dir, "forwarding.json")


def _ledger(state_dir: str) -> dict[str, Any]:
    """Who uses which uplink, and what its forwarding was before: {"boot_id", "uplinks": {eth0: {"before", "labs"}}}."""
    ledger: dict[str, Any] | None = read_json(_ledger_path(state_dir))
    return ledger if ledger and ledger["boot_id"] == boot_id() else {"boot_id": boot_id(), "uplinks": {}}


def claim_uplink(state_dir: str, uplink: str, lab: str) -> bool:
    """Note that a lab uses an uplink, and what its forwarding was before; whether it forwarded for others then.

    Written before anything changes: `open_uplink` does so, once the lab's table keeps everybody else out.
    """
    ledger = _ledger(state_dir)
    entry = ledger["uplinks"].setdefault(uplink, {"before": read_text(_path(uplink)), "labs": []})
    if lab not in entry["labs"]:
        entry["labs"].append(lab)
        write_json(_ledger_path(state_dir), ledger)
    return bool(entry["before"] == "1")


def open_uplink(uplink: str) -> bool:
    """Let packets in from the uplink be forwarded; returns whether they were not."""
    return set_forwarding(uplink, "1")


def without_labs(state_dir: str) -> dict[str, str]:
    """The forwarding of every interface that is no lab's own, by its name: as it is, or was before labs used it."""
    uplinks = _ledger(state_dir)["uplinks"]
    found = {}
    for path in glob.glob(_path("*")):
        interface = path.split("/")[-2]
        value = read_text(path)
        if value is not None and not interface.startswith(OWN):
            found[interface] = uplinks.get(interface, {}).get("before", value)
    return found


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
            if read_text(_path(uplink)) == "1":
                changed = set_forwarding(uplink, entry["before"])
            del ledger["uplinks"][uplink]
    if ledger["uplinks"]:
        write_json(_ledger_path(state_dir), ledger)
    else:
        remove_file(_ledger_path(state_dir))
    return changed
