"""Action plugin: prove of a cluster as it is what its API and a probe can show.

Whoever has no more than a kubeconfig sees no rules and no programs of the nodes: the network is what the cluster says
it is. Proven is what a number stands on: that the ends are in the pods' network, or in their nodes', and that the
client's pod reaches netserver in the server's. `assertions` and `evidence` are as role datapath_proof returns them.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ansible.plugins.action import ActionBase

from labctl.tools import netperf

PROBE_PORT = 12866
PATIENCE_S = 60


@dataclass(frozen=True)
class Assertion:
    """One thing that must be so on one node."""

    name: str
    node: str
    wanted: object
    seen: object

    @property
    def holds(self) -> bool:
        """Whether what was seen is what was wanted."""
        return self.wanted == self.seen

    def __str__(self) -> str:
        return f"{self.name} on {self.node}: wanted {self.wanted}, seen {self.seen}"


def probe(within: Sequence[str], client: str, server: str, transactions: int, size: int) -> dict[str, Any]:
    """Run some transactions between the pods. `error` is None when all went through, `mss` in bytes."""
    argv = [*within, "netperf", "-4", "-H", server, "-L", client, "-p", str(netperf.CONTROL_PORT), "-t", "TCP_RR"]
    argv += ["-l", f"-{transactions}", "-P", "0", "--", "-r", f"{size},{size}", "-P", f",{PROBE_PORT}"]
    argv += ["-k", "TRANSACTION_RATE,TRANSPORT_MSS"]
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, check=False, timeout=PATIENCE_S, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        return {"error": f"not done within {PATIENCE_S} s: does a network policy keep the pods apart?", "mss": None}
    fields = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    if done.returncode != 0 or "TRANSPORT_MSS" not in fields:
        return {"error": (done.stderr or done.stdout).strip() or f"exit code {done.returncode}", "mss": None}
    return {"error": None, "mss": int(fields["TRANSPORT_MSS"])}


class ActionModule(ActionBase):
    """What Ansible looks for in an action plugin."""

    _supports_check_mode = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        args = self._task.args
        ends = (args["client"], args["server"])
        network = "the node's own" if args["host_network"] else "the pods'"
        assertions = [
            Assertion(
                "network",
                end["node"],
                network,
                "the node's own" if end["address"] in args["node_addresses"] else "the pods'",
            )
            for end in ends
        ]
        client, server = (str(end["address"]) for end in ends)
        seen = probe(list(map(str, args["probe"])), client, server, int(args["transactions"]), int(args["size"]))
        wanted = "all transactions"
        assertions.append(Assertion("test_traffic", str(ends[0]["node"]), wanted, seen["error"] or wanted))
        broken = [assertion for assertion in assertions if not assertion.holds]
        result.update(
            changed=False,
            holds=not broken,
            assertions=[dict(asdict(assertion), holds=assertion.holds) for assertion in assertions],
            evidence={"probe": seen, "nodes": {end["node"]: {"address": end["address"]} for end in ends}},
        )
        if broken:
            head = f"{args['name']} is not what it claims to be: {len(broken)} of {len(assertions)} do not hold."
            result.update(failed=True, msg="\n  ".join([head, *map(str, broken)]))
        return result
