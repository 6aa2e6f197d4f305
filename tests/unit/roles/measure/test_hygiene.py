"""What earlier connections left behind: counted as the kernel counts it."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

from labctl_agent import hygiene

from tests.unit.roles.measure.conftest import AGENT, until


def test_a_closed_connection_waits() -> None:
    before = hygiene.time_wait()
    assert before is not None
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        for _ in range(200):
            with socket.create_connection(address):
                accepted, _ = server.accept()
            accepted.close()
    until(lambda: (hygiene.time_wait() or 0) > before)


def test_where_nothing_is_tracked_nothing_is_flushed() -> None:
    count = Path("/proc/sys/net/netfilter/nf_conntrack_count")
    script = f"""
import sys
sys.path.insert(0, {str(AGENT.parent)!r})
from labctl_agent import hygiene
print(hygiene.flush_conntrack(["192.0.2.1", "192.0.2.2"]))
"""
    fresh = ["unshare", "--user", "--map-root-user", "--net", sys.executable, "-c", script]
    done = subprocess.run(fresh, capture_output=True, text=True, check=True)
    assert done.stdout == ("0\n" if count.exists() else "None\n")
