"""What earlier samples left behind: removed, or counted."""

from __future__ import annotations

import re
import subprocess
from typing import List, Optional

from labctl_agent.procfs import read


def time_wait() -> Optional[int]:
    """Sockets in TIME_WAIT in the network namespace of this thread."""
    found = re.search(r"^TCP:.* tw (\d+)", read("/proc/thread-self/net/sockstat") or "", re.MULTILINE)
    return int(found.group(1)) if found else None


def flush_conntrack(addresses: List[str]) -> Optional[int]:
    """Delete the tracked connections between two addresses; how many there were, None where that is unknown."""
    count = read("/proc/sys/net/netfilter/nf_conntrack_count")
    if count is None:
        return None
    if int(count) == 0:
        return 0
    command = ["conntrack", "--delete", "--orig-src", addresses[0], "--orig-dst", addresses[1]]
    try:
        done = subprocess.run(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, universal_newlines=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    deleted = re.search(r"(\d+) flow entries have been deleted", done.stderr)
    return int(deleted.group(1)) if deleted else None
