"""What earlier connections left behind: counted as the kernel counts it."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
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
import pytest
from labctl_agent import hygiene
print(hygiene.Flush(["192.0.2.1", "192.0.2.2"]).end())
"""
    fresh = ["unshare", "--user", "--map-root-user", "--net", sys.executable, "-c", script]
    done = subprocess.run(fresh, capture_output=True, text=True, check=True)
    assert done.stdout == ("0\n" if count.exists() else "None\n")


@pytest.mark.parametrize(
    ("conntrack", "deleted"),
    [
        ("echo 'conntrack v1.4.7 (conntrack-tools): 37158 flow entries have been deleted.' >&2", 37158),
        ("echo 'conntrack v1.4.7 (conntrack-tools): Operation failed' >&2; exit 1", None),
        ("exec sleep 60", None),
        (None, None),
    ],
)
def test_what_conntrack_says_is_told_and_what_it_cannot_say_is_unknown(
    conntrack: str | None, deleted: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hygiene, "read", lambda _: "37158")  # this machine may track nothing
    monkeypatch.setattr(hygiene, "LIMIT_S", 0.5)
    if conntrack is not None:
        (tmp_path / "conntrack").write_text(f"#!/bin/sh\n{conntrack}\n")
        (tmp_path / "conntrack").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin" if conntrack else str(tmp_path))
    assert hygiene.Flush(["192.0.2.1", "192.0.2.2"]).end() == deleted
