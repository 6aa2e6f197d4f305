"""The encrypted tunnel between the nodes: what every kind of it has in common, and which kind it is.

Both pod networks are behind it: what goes from one to the other is encrypted on the cable. Where the nodes themselves
are the endpoints, each holds one more address of its own pod network for that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ansible.module_utils import datapath_esp as esp
from ansible.module_utils import datapath_wireguard as wireguard
from ansible.module_utils.datapath_links import link_of
from ansible.module_utils.labctl_node.refused import Refused
from ansible.module_utils.labctl_node.run import run

KINDS = ("kernel", "wireguard-go", "esp")


@dataclass(frozen=True)
class Tunnel:
    """A tunnel as one node sees it. `kind`: WireGuard of the kernel, WireGuard in user space, or ESP.

    `mtu` in bytes of the largest packet inside; `address` of the node inside, "" where pods are the endpoints. The keys
    are the public halves.
    """

    kind: str
    cable: str
    own_address: str
    peer_address: str
    own_network: str
    peer_network: str
    address: str
    port: int
    mtu: int
    own_key: str
    peer_key: str


def device_of(tunnel: Tunnel) -> str:
    """Return the interface by which packets enter and leave the tunnel; for ESP that is the cable."""
    return tunnel.cable if tunnel.kind == "esp" else wireguard.DEVICE


def refuse_foreign(tunnel: Tunnel) -> None:
    """Refuse tunnels that labctl did not make where ours has to be."""
    if tunnel.kind == "esp":
        esp.refuse_foreign()
    else:
        wireguard.refuse_foreign(tunnel.port)


def build(tunnel: Tunnel) -> None:
    """Bring the tunnel up, with the way into it for the other node's pod network."""
    device = device_of(tunnel)
    if tunnel.kind == "esp":
        esp.build(tunnel.own_address, tunnel.peer_address, tunnel.own_network, tunnel.peer_network, tunnel.peer_key)
        way = f"{tunnel.peer_network} via {tunnel.peer_address} dev {device}"
    else:
        wireguard.build(tunnel.kind, tunnel.port, tunnel.peer_address, tunnel.peer_network, tunnel.peer_key, tunnel.mtu)
        way = f"{tunnel.peer_network} dev {device}"
    commands = [f"address add {tunnel.address}/32 dev {device}"] if tunnel.address else []
    commands.append(f"route add {way}" + (f" src {tunnel.address}" if tunnel.address else ""))
    run(["ip", "-batch", "-"], "\n".join(commands) + "\n")


def remove(record: dict[str, Any]) -> None:
    """Remove what of the tunnel is there; half of it may be gone already."""
    tunnel = Tunnel(**record)
    if tunnel.kind == "esp":
        run(["ip", "route", "flush", "exact", tunnel.peer_network, "via", tunnel.peer_address, "dev", tunnel.cable])
        if tunnel.address:
            run(["ip", "address", "flush", "dev", tunnel.cable, "to", f"{tunnel.address}/32"])
        esp.remove(tunnel.own_address, tunnel.peer_address, tunnel.own_network, tunnel.peer_network)
    else:
        wireguard.remove()


def observe(tunnel: Tunnel) -> dict[str, Any]:
    """Return the tunnel as it is, in a form that only a change changes. Holds secrets: for a digest only."""
    device = device_of(tunnel)
    seen: dict[str, Any] = {"there": link_of(device) is not None}
    if seen["there"]:
        seen["addresses"] = run(["ip", "-oneline", "-4", "address", "show", "dev", device])
        seen["routes"] = run(["ip", "route", "show", "dev", device])
        seen["inside"] = esp.observe() if tunnel.kind == "esp" else wireguard.observe()
        seen["mtu"] = None if tunnel.kind == "esp" else (link_of(device) or {}).get("mtu")
    return seen


def tunnel_of(parameters: dict[str, Any], cable: str) -> Tunnel:
    """Return the arguments as typed data."""
    if parameters["kind"] not in KINDS:
        raise Refused(f"There is no tunnel of the kind {parameters['kind']}.", hint=f"Known: {', '.join(KINDS)}.")
    return Tunnel(cable=cable, **parameters)
