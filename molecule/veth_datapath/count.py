"""Ping the other pod; print by how much the programs' counters grew, and what the node's stack has forwarded itself.

python3 count.py PACKETS ADDRESS
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def asked(*words: str) -> Any:
    """What a tool prints as JSON."""
    return json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def redirected() -> int:
    """Packets that both programs have redirected: entries 0 and 2 of their counters, a value for each CPU."""
    filters = asked("tc", "-json", "filter", "show", "dev", "cable0", "ingress")
    [program] = [one["options"]["prog"]["id"] for one in filters if "prog" in one.get("options", {})]
    maps = asked("bpftool", "--json", "prog", "show", "id", str(program))["map_ids"]
    shown = [asked("bpftool", "--json", "map", "show", "id", str(number)) for number in maps]
    [counters] = [one["id"] for one in shown if one["name"] == "veth_counters"]
    total = 0
    for key in ("0", "2"):
        found = asked("bpftool", "--json", "map", "lookup", "id", str(counters), "key", key, "0", "0", "0")
        for cpu in found["values"]:
            total += int.from_bytes(bytes(int(octet, 16) for octet in cpu["value"]), sys.byteorder)
    return total


def forwarded() -> int:
    """IPv4 packets that the stack has forwarded."""
    names, values = (line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Ip:"))
    return int(values[names.index("ForwDatagrams")])


packets, address = sys.argv[1:]
before = redirected(), forwarded()
ping = ["ip", "netns", "exec", "labctl-pod", "ping", "-n", "-q", "-c", packets, "-i", "0.02", "-W", "1", address]
subprocess.run(ping, check=True, capture_output=True)
sys.stdout.write(json.dumps({"redirected": redirected() - before[0], "forwarded": forwarded() - before[1]}))
