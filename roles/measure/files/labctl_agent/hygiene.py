"""What earlier samples left behind: removed, or counted."""

from __future__ import annotations

import re
import subprocess
from typing import List, Optional

from labctl_agent.procfs import read

LIMIT_S = 30.0


def time_wait() -> Optional[int]:
    """Sockets in TIME_WAIT in the network namespace of this thread."""
    found = re.search(r"^TCP:.* tw (\d+)", read("/proc/thread-self/net/sockstat") or "", re.MULTILINE)
    return int(found.group(1)) if found else None


class Flush:
    """Deletes the tracked connections between two addresses, beside what is done meanwhile.

    The kernel looks through its whole table for them, however few there are: 16 ms for 262,144 entries that are empty.
    """

    def __init__(self, addresses: List[str]) -> None:
        self.process: Optional[subprocess.Popen[str]] = None
        count = read("/proc/sys/net/netfilter/nf_conntrack_count")
        self.deleted = None if count is None else 0
        if count is None or int(count) == 0:
            return
        command = ["conntrack", "--delete", "--orig-src", addresses[0], "--orig-dst", addresses[1]]
        try:
            self.process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, universal_newlines=True
            )
        except OSError:
            self.deleted = None  # there is no such program

    def end(self) -> Optional[int]:
        """How many there were, None where that is unknown."""
        if self.process:
            try:
                words = self.process.communicate(timeout=LIMIT_S)[1]
            except subprocess.TimeoutExpired:
                self.process.kill()
                words = self.process.communicate()[1]
            found = re.search(r"(\d+) flow entries have been deleted", words)
            self.deleted = int(found.group(1)) if found else None
        return self.deleted
