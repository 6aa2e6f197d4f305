"""What the agents are told to run: the command lines and the server of the sample's tool."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labctl import tools


def server(sample: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a planned sample's server is where it is no pod's own."""
    found = tools.of(sample).server
    return {"name": found.name, "port": found.port, "unit": found.unit}


def clients(sample: Mapping[str, Any], client_address: str, server_address: str, threads: int) -> dict[str, Any]:
    """Return the command lines of a planned sample's client processes, and the CPU of each if it is to have one."""
    tool, count = tools.of(sample), sample["processes"]
    return {
        "argvs": [tool.argv(sample, client_address, server_address, process=index) for index in range(count)],
        "cpus": [index % threads if sample["pin"] == "cores" else None for index in range(count)],
    }


def stdout_file(sample: Mapping[str, Any], process: int) -> str:
    """Return the name of the raw file for what a client process printed."""
    return tools.of(sample).stdout_file(process)
