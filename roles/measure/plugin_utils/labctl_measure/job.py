"""What the agents are told to run: the one place here that knows netperf."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labctl.tools import netperf

# What netserver is where it is no pod's own (role netperf).
SERVER = {"name": "netserver", "port": netperf.CONTROL_PORT, "unit": "labctl-netserver.service"}


def clients(sample: Mapping[str, Any], client_address: str, server_address: str, threads: int) -> dict[str, Any]:
    """Return the command lines of a planned sample's client processes, and the CPU of each if it is to have one."""
    count = sample["processes"]
    return {
        "argvs": [netperf.argv(sample, client_address, server_address, process=index) for index in range(count)],
        "cpus": [index % threads if sample["pin"] == "cores" else None for index in range(count)],
    }
