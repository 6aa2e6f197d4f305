"""Links, addresses and routes of a datapath: the cable's MTU, and the pod behind a veth pair.

The pod is wired as the plain `ptp` CNI plugin does it: host end and pod hold one address each out of the node's pod
network, both as /32, and the pod's default route leads to the host end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ansible.module_utils.labctl_node.files import read_text, write_setting
from ansible.module_utils.labctl_node.refused import Refused
from ansible.module_utils.labctl_node.run import run, run_json

NAMESPACE = "labctl-pod"
HOST_END = "labctl-pod0"
POD_END = "eth0"


@dataclass(frozen=True)
class Cable:
    """The interface towards the other node. `mtu` in bytes."""

    interface: str
    mtu: int


@dataclass(frozen=True)
class Pod:
    """A pod behind this node, and how the other node's pods are reached: "" where a tunnel brings the way itself.

    `mtu` in bytes.
    """

    address: str
    gateway: str
    peer_network: str
    peer_address: str
    mtu: int


def link_of(interface: str) -> dict[str, Any] | None:
    """Return what ip tells about an interface (`mtu`, `ifindex`, ...), None when there is none.

    Not from /sys/class/net: a container's /sys may show another network namespace than its own.
    """
    links: list[dict[str, Any]] = run_json(["ip", "-json", "-details", "link", "show"])
    return next((link for link in links if link["ifname"] == interface), None)


def mtu_of(interface: str) -> int:
    """Return an interface's MTU in bytes."""
    return int(_present(interface)["mtu"])


def index_of(interface: str) -> int:
    """Return the number by which the kernel knows an interface."""
    return int(_present(interface)["ifindex"])


def _present(interface: str) -> dict[str, Any]:
    link = link_of(interface)
    if link is None:
        hint = "If it is the cable, mend cable_interface in the lab's inventory."
        raise Refused(f"There is no interface {interface} on this node.", hint=hint)
    return link


def set_mtu(interface: str, mtu: int) -> None:
    """Set an interface's MTU if it has another one. Refused beyond what the interface can do."""
    if mtu_of(interface) != mtu:
        largest = (link_of(interface) or {}).get("max_mtu")
        if largest and mtu > largest:
            what = f"{interface} takes an MTU of at most {largest} bytes, not {mtu}."
            raise Refused(what, hint="Give --mtu another value.")
        run(["ip", "link", "set", "dev", interface, "mtu", str(mtu)])


def forwarding(interface: str) -> str:
    """Return the path of the switch that lets IPv4 packets from this interface be forwarded."""
    return f"/proc/sys/net/ipv4/conf/{interface}/forwarding"


def namespace_exists() -> bool:
    """Whether the pod's namespace has a name on this node."""
    return any(entry["name"] == NAMESPACE for entry in run_json(["ip", "-json", "netns", "list"]))


def host_end_exists() -> bool:
    """Whether the pod's host end is on this node."""
    return link_of(HOST_END) is not None


def build_pod(cable: Cable, pod: Pod) -> None:
    """Make the namespace, the pair and the routes. IPv6 stays off the pair: nothing but test traffic crosses it."""
    node = [
        f"netns add {NAMESPACE}",
        f"link add {HOST_END} mtu {pod.mtu} type veth peer name {POD_END} mtu {pod.mtu} netns {NAMESPACE}",
        f"link set {HOST_END} addrgenmode none",
        f"addr add {pod.gateway}/32 dev {HOST_END}",
        f"link set {HOST_END} up",
        f"route add {pod.address}/32 dev {HOST_END}",
    ]
    if pod.peer_network:
        node.append(f"route add {pod.peer_network} via {pod.peer_address} dev {cable.interface}")
    inside = [
        "link set lo up",
        f"link set {POD_END} addrgenmode none",
        f"link set {POD_END} up",
        f"addr add {pod.address}/32 dev {POD_END}",
        f"route add {pod.gateway}/32 dev {POD_END} scope link",
        f"route add default via {pod.gateway} dev {POD_END}",
    ]
    run(["ip", "-batch", "-"], "\n".join(node) + "\n")
    run(["ip", "-netns", NAMESPACE, "-batch", "-"], "\n".join(inside) + "\n")
    write_setting(forwarding(HOST_END), "1")


def remove_pod(cable: Cable, pod: Pod) -> None:
    """Remove what of the pod is there; half of it may be gone already."""
    if host_end_exists():
        run(["ip", "link", "delete", "dev", HOST_END])
    if namespace_exists():
        run(["ip", "netns", "delete", NAMESPACE])
    if not pod.peer_network:
        return
    route = [pod.peer_network, "via", pod.peer_address, "dev", cable.interface]
    if run_json(["ip", "-json", "route", "show", *route]):
        run(["ip", "route", "delete", *route])


def observe_links(cable: Cable, with_pod: bool) -> dict[str, Any]:
    """Return the links, addresses and routes as they are, in a form that only a change changes."""
    seen: dict[str, Any] = {"cable_mtu": mtu_of(cable.interface), "forwarding": read_text(forwarding(cable.interface))}
    if not with_pod:
        return seen
    seen["host_end"] = host_end_exists()
    seen["namespace"] = namespace_exists()
    seen["routes"] = run_json(["ip", "-json", "route", "show"])
    if seen["host_end"]:
        seen["host_forwarding"] = read_text(forwarding(HOST_END))
        seen["host_links"] = run(["ip", "-oneline", "link", "show", "dev", HOST_END])
    if seen["namespace"]:
        seen["pod_links"] = run(["ip", "-netns", NAMESPACE, "-oneline", "link", "show"])
        seen["pod_addresses"] = run(["ip", "-netns", NAMESPACE, "-oneline", "-4", "address", "show"])
        seen["pod_routes"] = run_json(["ip", "-netns", NAMESPACE, "-json", "route", "show"])
    return seen
