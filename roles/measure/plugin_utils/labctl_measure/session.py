"""The agents, ready for samples, and what they are told to run: command lines and the server of the sample's tool."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from labctl_agent.parties import identity

from labctl import tools
from labctl.catalog.tunnel import Tunnel
from labctl_measure.channel import ANSWER_S, Channel
from labctl_measure.ends import Ends
from labctl_measure.kernels import Kernels
from labctl_measure.placement import Placement, place
from labctl_measure.rest import rest

CLOCK_PROBES, CLOCK_SURE_S = 5, 0.001


def server_of(sample: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a planned sample's server is where it is no pod's own."""
    found = tools.of(sample).server
    return {"name": found.name, "port": found.port, "unit": found.unit}


def clients_of(sample: Mapping[str, Any], ends: Ends, placed: Placement) -> dict[str, Any]:
    """Return the command lines of a planned sample's client processes, the CPU of each if it is to have one, and when.

    That is the earliest time at which they can be done, where the server has to hear of it.
    """
    tool, count = tools.of(sample), sample["processes"]
    client, server = (end * count if end else [None] * count for end in (placed.client, placed.server))
    addresses = ends.client.address, ends.server.address
    length_s = tool.length_s(sample["duration_s"], sample["warmup_s"])
    return {
        "argvs": [tool.argv(sample, *addresses, process=index, server_cpu=server[index]) for index in range(count)],
        "cpus": client[:count],
        "over_after": length_s if tool.ends_server else None,
    }


def carriers_of(sample: Mapping[str, Any]) -> list[str]:
    """Return how the names of the processes begin that encrypt a planned sample's packets, beside the softirqs."""
    tunnel = sample.get("tunnel")
    return list(Tunnel(tunnel).carriers) if tunnel else []


def ports_of(sample: Mapping[str, Any], counters: Mapping[str, Mapping[str, int | None]]) -> dict[str, int | None]:
    """Return how many connections of a sample were from a local port that was new to it, and from one used before.

    By the connections that the client's network opened, of which each process has one for control, alike for all.
    """
    ports, count = tools.of(sample).local_ports, sample["processes"]
    before, after = (counters[when].get("tcp.ActiveOpens") for when in ("before", "after"))
    if ports is None or before is None or after is None:
        return {"fresh": None, "reused": None}
    opened = max(0, after - before - count)
    fresh = min(opened, ports * count)
    return {"fresh": fresh, "reused": opened - fresh}


class Session:
    """A channel to each end, and one to this controller where `host` makes it: where the nodes share its kernel.

    `again` is true where an earlier session may have left the server busy.
    """

    def __init__(self, client: Channel, server: Channel, ends: Ends, again: bool, host: Callable[[], Channel]) -> None:
        self.client, self.server, self.ends = client, server, ends
        for channel, end in ((client, ends.client), (server, ends.server)):
            where = {name: getattr(end, name) for name in ("netns", "pod", "cable", "peer", "watch")}
            channel.send("hello", **where, again=again)
        self.facts = {
            "client": {"node": client.node, **client.receive(), "pod": ends.client.hindered},
            "server": {"node": server.node, **server.receive(), "pod": ends.server.hindered},
        }
        self.agents = {end: facts.pop("agent") for end, facts in self.facts.items()}
        self.nodes = [facts.pop("first") for facts in self.facts.values()]
        self.labctl = identity(int(os.environ.get("LABCTL_PID", os.getppid())))  # else ansible-playbook, run by hand
        self.boots = {facts["node"]: facts.pop("boot") for facts in self.facts.values()}
        self.kernels = Kernels.of({"client": client, "server": server}, ends, host)

    def close(self) -> None:
        for channel in {self.client, self.server, *self.kernels.owners.values()}:
            channel.close()

    def parties(self, carriers: list[str], server: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the processes by which an agent that sees a whole machine tells ours from others' (`parties.py`)."""
        own = [*self.agents.values(), self.labctl]
        told = {"starter": self.agents["client"], "server": server, "own": own, "carriers": carriers}
        return {**told, "nodes": self.nodes}

    def rest(self, limit_s: float, stopped: Callable[[], bool]) -> None:
        """Wait until the machines are at rest; not at all for a limit of 0. Raises NoRest, and Unwanted."""
        if limit_s:
            rest(self.kernels.owners.values(), self.parties([]), limit_s, stopped)

    def clock_offset(self) -> tuple[float, float]:
        """Return the server's clock minus the client's in seconds, and how sure that is.

        By the best of a few probes, or the first that is sure enough: over a wire that is mostly the first of all.
        """
        readings = []
        for channel in (self.client, self.server):
            best = (float("inf"), 0.0)
            for _ in range(CLOCK_PROBES):
                sent = time.time()
                remote = channel.ask("stat")["t"]
                received = time.time()
                best = min(best, ((received - sent) / 2, remote - (sent + received) / 2))
                if best[0] <= CLOCK_SURE_S:
                    break
            readings.append(best)
        (client_error, client_offset), (server_error, server_offset) = readings
        return server_offset - client_offset, client_error + server_error

    def measure(self, sample: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Take one sample: both ends clean up, the server's begins to look, the client's runs the processes."""
        addresses = (self.ends.client.address, self.ends.server.address)
        offset, uncertainty = self.clock_offset()
        self.server.send("begin", sample=sample, addresses=addresses, server=server_of(sample))
        self.client.send("begin", sample=sample, addresses=addresses)
        server, client = self.server.receive(), self.client.receive()
        placed = place(sample["pin"], client["cpus"], server["cpus"], sample["processes"], self.kernels.shared)
        client["cpus"]["planned"], server["cpus"]["planned"] = placed.client, placed.server
        if placed.server:
            self.server.ask("place_server", cpus=placed.server)
        self.kernels.begin(sample, self.parties(carriers_of(sample), server.pop("server")))
        client |= self.run(sample, placed)
        failed = client["reason"] is not None or any(process["exit"] != 0 for process in client["processes"])
        self.kernels.end()
        self.server.send("end", failed=failed)
        kernels = self.kernels.seen(sample)
        server |= self.server.receive()
        reasons = ((self.client.node, client.pop("reason")), (self.server.node, server.pop("reason")))
        return {
            "measurement": {
                "clock_offset_s": offset,
                "clock_uncertainty_s": uncertainty,
                "shared_kernel": self.kernels.shared,
                "cable": self.ends.cable,
                "endpoint": self.ends.endpoint,
                "reason": "; ".join(f"{node}: {reason}" for node, reason in reasons if reason) or None,
                **kernels.get("measurement", {}),
            },
            "client": self.facts["client"]
            | client
            | {"local_ports": ports_of(sample, client["counters"])}
            | kernels.get("client", {}),
            "server": self.facts["server"] | server | kernels.get("server", {}),
        }

    def run(self, sample: dict[str, Any], placed: Placement) -> dict[str, Any]:
        """Let the client run its processes, and the server know when their time is over, if it has to."""
        self.client.send("run", **clients_of(sample, self.ends, placed))
        answer = self.client.receive(sample["time_limit_s"] + ANSWER_S)
        while "over" in answer:
            self.server.ask("time_over", signal=tools.of(sample).ends_server)
            answer = self.client.receive(sample["time_limit_s"] + ANSWER_S)
        return answer
