"""What the inventory and the deployed setup say of the two ends of a measurement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class SetupGone(Exception):
    """What was deployed and proven on a node is not there, or not any more, though the node answers."""


@dataclass(frozen=True)
class End:
    """One end: the node, the endpoint on it, and its cable.

    `netns` is empty for the node's own network namespace, `pod` for no pod. The cable is an interface by name, else the
    one by which the other node is reached at `peer`. Without SSH the agent lives in a pod, which sees its node only
    where the cluster let it: `watch`. `beside` is what others put into the endpoint's pod,
    `cpu_limit` what throttles it.
    """

    node: str
    address: str
    netns: str
    pod: str
    cable: str
    peer: str
    watch: bool
    beside: tuple[str, ...] = ()
    cpu_limit: str = ""

    @property
    def hindered(self) -> dict[str, Any]:
        """What a cluster put into the way of the endpoint, for the raw file of the end."""
        return {"beside": list(self.beside), "cpu_limit": self.cpu_limit or None}

    @classmethod
    def of(cls, node: str, peer: str, hostvars: Mapping[str, Mapping[str, Any]]) -> End:
        """Return the end on a node. Raises SetupGone where no endpoint is deployed there."""
        variables = hostvars[node]
        for name in ("endpoint_address", "endpoint_netns"):
            if name not in variables:
                raise SetupGone(f"{node} has no deployed endpoint ({name}): run deploy.yml first")
        return cls(
            node=node,
            address=str(variables["endpoint_address"]),
            netns=str(variables["endpoint_netns"]),
            pod=str(variables.get("endpoint_pod", "")),
            cable=str(variables.get("cable_interface", "")),
            peer=str(hostvars[peer].get("cable_address", "")),
            watch=bool(variables.get("endpoint_agent_watches", True)),
            beside=tuple(map(str, variables.get("endpoint_beside", ()))),
            cpu_limit=str(variables.get("endpoint_cpu_limit", "")),
        )


@dataclass(frozen=True)
class Ends:
    """Both ends."""

    client: End
    server: End

    @property
    def endpoint(self) -> dict[str, str]:
        """The endpoints as measurement.json tells them."""
        both = {"client": self.client, "server": self.server}
        return {f"{end}_{name}": getattr(both[end], name) for end in both for name in ("address", "netns", "pod")}

    @property
    def cable(self) -> str:
        """Whose the bytes on the cable are: `own` test traffic alone, `shared` with others', or `unknown`."""
        if not (self.client.watch and self.server.watch):
            return "unknown"
        return "own" if self.client.cable and self.server.cable else "shared"
