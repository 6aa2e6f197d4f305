"""Units of systemd that live below /run, where no boot survives."""

from __future__ import annotations

import os
from typing import Tuple

from ansible.module_utils.labctl_node.files import write_text
from ansible.module_utils.labctl_node.run import run

UNITS = "/run/systemd/system"


def unit_exists(unit: str) -> bool:
    """Whether a unit of ours of this name is written."""
    return os.path.exists(f"{UNITS}/{unit}")


def look(unit: str) -> Tuple[int, bool]:
    """Return the unit's main process (0 when it does not run), and whether systemd knows a unit of this name."""
    shown = run(["systemctl", "show", unit, "--property", "MainPID", "--property", "LoadState"])
    values = dict(line.split("=", 1) for line in shown.splitlines())
    return int(values.get("MainPID") or 0), values.get("LoadState") == "loaded"


def start_unit(unit: str, text: str) -> None:
    """Write the unit and start it."""
    _, known = look(unit)
    write_text(f"{UNITS}/{unit}", text)
    if known:
        run(["systemctl", "daemon-reload"])
    run(["systemctl", "start", unit])


def stop_unit(unit: str) -> None:
    """Stop the unit."""
    run(["systemctl", "stop", unit])
    if run(["systemctl", "show", unit, "--property", "ActiveState", "--value"]).strip() == "failed":
        run(["systemctl", "reset-failed", unit])


def remove_unit(unit: str) -> None:
    """Remove the file of a stopped unit.

    Not a transient unit of systemd-run: on a node whose cgroups are nested in another's, systemd may never see a
    stopped one's cgroup as empty, keeps it loaded, and refuses the next of that name. For such a node is the reload,
    and the reset: it would refuse the unit ("Device or resource busy") as long as it remembers that it failed.
    """
    os.remove(f"{UNITS}/{unit}")
    if look(unit)[1]:
        run(["systemctl", "daemon-reload"])


def last_words(unit: str) -> str:
    """Return what the unit logged last."""
    return run(["journalctl", "--unit", unit, "--lines", "5", "--output", "cat"]).strip()
