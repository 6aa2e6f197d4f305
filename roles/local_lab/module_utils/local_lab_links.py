"""Namespaces, links and the address translation of a lab, by ip, ethtool and nft."""

from __future__ import annotations

import os
from typing import Any

from ansible.module_utils.labctl_node.files import read_text
from ansible.module_utils.labctl_node.refused import Refused
from ansible.module_utils.labctl_node.run import run, run_json
from ansible.module_utils.local_lab_forwarding import OWN
from ansible.module_utils.local_lab_plan import Node, Plan

MANAGEMENT = "mgmt0"
CABLE = "cable0"
# Without them the cable would carry 64 KB packets whole and an MTU would mean nothing.
OFFLOADS = {
    "tso": "tcp-segmentation-offload",
    "gso": "generic-segmentation-offload",
    "gro": "generic-receive-offload",
}
_FIXED_OFFLOADS = ("large-receive-offload",)


def netns_path(node: Node) -> str:
    """Where ip keeps the namespace of a node."""
    return f"/run/netns/{node.netns}"


def create_namespace(node: Node) -> None:
    run(["ip", "netns", "add", node.netns])
    run(["ip", "-netns", node.netns, "link", "set", "lo", "up"])


def delete_namespace(node: Node) -> None:
    run(["ip", "netns", "delete", node.netns])


def delete_link(interface: str) -> bool:
    """Remove an interface of the host; returns whether there was one."""
    if not os.path.exists(f"/sys/class/net/{interface}"):
        return False
    run(["ip", "link", "delete", interface])
    return True


def _batch(commands: list[str], netns: str | None = None) -> None:
    where = ["-netns", netns] if netns else []
    run(["ip", *where, "-batch", "-"], stdin="".join(f"{command}\n" for command in commands))


def _addresses(netns: str) -> dict[str, Any]:
    """The interfaces of a namespace by name, as `ip -json address` shows them."""
    return {link["ifname"]: link for link in run_json(["ip", "-netns", netns, "-json", "address"])}


def _has(link: Any, address: str) -> bool:
    up = bool(link) and "UP" in link["flags"] and "LOWER_UP" in link["flags"]
    return up and any(info.get("local") == address for info in link["addr_info"])


def create_management_link(lab: Plan, node: Node) -> None:
    """The link between the host and a node; the node's default route goes over it."""
    host, peer = node.host_interface, node.address
    _batch(
        [
            f"link add {host} type veth peer name {MANAGEMENT} netns {node.netns}",
            f"link set {host} addrgenmode none",
            f"address add {lab.host_address} peer {peer}/32 dev {host}",
            f"link set {host} up",
        ]
    )
    _batch(
        [
            f"link set {MANAGEMENT} addrgenmode none",
            f"address add {peer} peer {lab.host_address}/32 dev {MANAGEMENT}",
            f"link set {MANAGEMENT} up",
            f"route add default via {lab.host_address} dev {MANAGEMENT}",
        ],
        node.netns,
    )


def has_management_link(lab: Plan, node: Node) -> bool:
    if not os.path.exists(f"/sys/class/net/{node.host_interface}"):
        return False
    host = run_json(["ip", "-json", "address", "show", "dev", node.host_interface])[0]
    return _has(host, lab.host_address) and _has(_addresses(node.netns).get(MANAGEMENT), node.address)


def create_cable(lab: Plan) -> None:
    """One veth pair straight from node to node, offloads off at both ends and read back."""
    first, second = lab.nodes
    if CABLE in _addresses(first.netns):
        run(["ip", "-netns", first.netns, "link", "delete", CABLE])
    peer = ["type", "veth", "peer", "name", CABLE, "netns", second.netns]
    run(["ip", "link", "add", CABLE, "netns", first.netns, *peer])
    for node in lab.nodes:
        in_node = ["ip", "netns", "exec", node.netns]
        run([*in_node, "ethtool", "-K", CABLE, *(word for short in OFFLOADS for word in (short, "off"))])
        _batch([f"address add {node.cable_address}/25 dev {CABLE}", f"link set {CABLE} up"], node.netns)
    for node in lab.nodes:
        still_on = offloads_on(node)
        if still_on:
            raise Refused(
                "Offloads of the cable stay on, so its MTU would mean nothing.",
                where=f"{CABLE} in {node.netns}",
                seen=", ".join(still_on),
                hint="This kernel's veth does not let them be switched off: use another kernel or another lab.",
            )


def offloads_on(node: Node) -> list[str]:
    """The offloads of the cable that are on at a node's end, as ethtool names them."""
    shown = run(["ip", "netns", "exec", node.netns, "ethtool", "--show-features", CABLE])
    features = dict(line.strip().split(": ", 1) for line in shown.splitlines() if ": " in line)
    return [name for name in (*OFFLOADS.values(), *_FIXED_OFFLOADS) if features.get(name, "").startswith("on")]


def has_cable(lab: Plan) -> bool:
    return all(
        _has(_addresses(node.netns).get(CABLE), node.cable_address) and not offloads_on(node) for node in lab.nodes
    )


def has_table(lab: Plan) -> bool:
    tables = run_json(["nft", "--json", "list", "tables"])["nftables"]
    return any(t.get("table", {}).get("name") == lab.table and t["table"]["family"] == "ip" for t in tables)


def load_table(lab: Plan, closed_uplink: str | None) -> None:
    """Translate what leaves the lab, and forward for its own addresses alone.

    Its nodes may reach what the host reaches, by addresses that are translated; to them only answers come. Packets in
    from `closed_uplink`, which forwarded nothing before there were labs, go to labs or nowhere. What is accepted here
    other tables of the host may still drop.
    """
    hosts = "{ " + ", ".join(f'"{node.host_interface}"' for node in lab.nodes) + " }"
    own = "{ " + ", ".join(lab.networks) + " }"
    outward = f"198.18.{lab.index}.0/25"
    guard = f'{_routed_in(closed_uplink)} oifname != "{OWN}*" drop' if closed_uplink else ""
    rules = f"""
        table ip {lab.table} {{
            chain outward {{
                type nat hook postrouting priority srcnat; policy accept;
                ip saddr {outward} ip daddr != 198.18.0.0/15 masquerade
            }}
            chain through {{
                type filter hook forward priority filter; policy accept;
                {guard}
                iifname {hosts} oifname {hosts} ip saddr {own} ip daddr {own} accept
                iifname {hosts} ip saddr != {outward} drop
                oifname {hosts} ct state != {{ established, related }} drop
                oifname {hosts} ip daddr != {outward} drop
            }}
        }}
    """
    run(["nft", "-f", "-"], stdin=rules)


def _routed_in(interface: str) -> str:
    """What the host is to route from an interface; what a bridge only passes on may come by here, too."""
    address = read_text(f"/sys/class/net/{interface}/address")
    bridge = os.path.isdir(f"/sys/class/net/{interface}/bridge")
    return f'iifname "{interface}"' + (f" ether daddr {address}" if bridge else "")
