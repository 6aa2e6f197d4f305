"""What a node is, asked of this one."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from labctl_agent import facts, procfs


def test_the_facts_are_those_of_this_machine() -> None:
    found = facts.facts(watch=True)
    assert (found["threads"], found["hz"]) == (os.sysconf("SC_NPROCESSORS_ONLN"), os.sysconf("SC_CLK_TCK"))
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert found["boot"] == f"{boot_id} {procfs.start_time(1)}"
    assert facts.boot(node=False) == f"{boot_id} "


def test_counters_of_one_kernel_do_not_fall() -> None:
    first, second = facts.kernel_counters(), facts.kernel_counters()
    assert set(first) == {"intr", "ctxt", "processes", "softirq"}
    assert all(first[name] <= second[name] for name in first)


def test_the_loopback_leads_to_itself_and_nothing_leads_nowhere() -> None:
    assert facts.interface_towards("127.0.0.1") == "lo"
    assert facts.interface_towards("") == ""
    assert facts.interface_with(socket.inet_pton(socket.AF_INET6, "::1")) in ("lo", "")  # a host without IPv6 has none
    assert facts.interface_with(socket.inet_pton(socket.AF_INET6, "2001:db8::9")) == ""
