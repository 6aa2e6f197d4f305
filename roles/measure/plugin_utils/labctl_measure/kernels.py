"""Who owns the kernels of a lab: the agents that look at a whole machine, and may set something on it for a sample.

Where both nodes share this controller's kernel (a local lab) that is an agent on the controller; where they share
another one, the client's; else each node's own. An agent that sees no more than its pod owns nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from labctl_agent.facts import kernel_counters

from labctl_measure.channel import Channel, ChannelDied
from labctl_measure.ends import Ends

Look = Callable[[], Mapping[str, int]]


def counters(channel: Channel) -> Mapping[str, int]:
    """What an agent's kernel counts."""
    seen: Mapping[str, int] = channel.ask("stat")["kernel"]
    return seen


def on_one_kernel(one: Look, other: Look) -> bool:
    """Whether two places run on one kernel: their machine-wide counters interleave exactly."""
    first, middle, last = one(), other(), one()
    return all(first[name] <= middle[name] <= last[name] for name in first)


@dataclass(frozen=True)
class Kernels:
    """By raw file (`measurement` for a kernel that both nodes share, else `client` and `server`) who owns its kernel.

    `why_not` says why a kernel has no owner.
    """

    shared: bool
    owners: Mapping[str, Channel]
    why_not: Mapping[str, str]

    @classmethod
    def of(cls, channels: Mapping[str, Channel], ends: Ends, host: Callable[[], Channel]) -> Kernels:
        """Find the owners. `host` opens a channel to this controller, where it is needed."""
        client, server = (partial(counters, channel) for channel in channels.values())
        shared = on_one_kernel(client, server)
        if shared and on_one_kernel(client, kernel_counters):
            try:
                owner = host()
                owner.ask("stat")
            except ChannelDied as error:
                return cls(shared, {}, {"measurement": f"no look at this controller's kernel as root: {error}"})
            return cls(shared, {"measurement": owner}, {})
        watching = {"client": ends.client.watch, "server": ends.server.watch}
        places = {"measurement": "client"} if shared else {"client": "client", "server": "server"}
        blind = "the agent sees no more than its pod"
        return cls(
            shared,
            {place: channels[end] for place, end in places.items() if watching[end]},
            {place: blind for place, end in places.items() if not watching[end]},
        )

    def begin(self, sample: Mapping[str, Any], parties: Mapping[str, Any]) -> None:
        """Let every owner begin to look. `parties` are the processes whose work is not others'."""
        for owner in self.owners.values():
            owner.send("kernel_begin", sample=sample, parties=parties)
        for owner in self.owners.values():
            owner.receive()

    def end(self) -> None:
        """Let every owner end its look. What it saw is `seen`, before anything else that its channel is asked."""
        for owner in self.owners.values():
            owner.send("kernel_end")

    def seen(self, sample: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """What was seen of each kernel, by raw file; why nothing was."""
        seen = {place: {"kernel": owner.receive()["kernel"]} for place, owner in self.owners.items()}
        return seen | {place: {"kernel": unseen(sample, words)} for place, words in self.why_not.items()}


def unseen(sample: Mapping[str, Any], why: str) -> dict[str, Any]:
    """What is said of a kernel without an owner."""
    return {"idle": {"policy": sample.get("idle", "system"), "held": False, "why": why}}
