"""What a node shows of the path that test traffic takes on it."""

from __future__ import annotations

import os
from typing import Any

from ansible.module_utils import datapath_esp as esp
from ansible.module_utils import datapath_wireguard as wireguard
from ansible.module_utils.datapath_programs import COUNTERS, observe_programs, read_counters
from ansible.module_utils.labctl_node.files import read_text
from ansible.module_utils.labctl_node.refused import Refused
from ansible.module_utils.labctl_node.run import CommandFailed, run, run_json
from ansible.module_utils.labctl_node.sockets import listening_in

CONNTRACK = "/proc/sys/net/netfilter/nf_conntrack_count"
# An address on loopback that nobody else pings: an entry for it means that connection tracking is hooked here.
HOOK_PROBE = "127.198.18.1"


def within(netns: str) -> list[str]:
    """Return the words that run a command in a named network namespace, none for the node's own."""
    return ["ip", "netns", "exec", netns] if netns else []


def forwarded_packets() -> int:
    """Return how many IPv4 packets this namespace's stack has forwarded (ForwDatagrams of /proc/net/snmp)."""
    table = str(read_text("/proc/net/snmp")).splitlines()
    names, values = (line.split() for line in table if line.startswith("Ip:"))
    return int(values[names.index("ForwDatagrams")])


def links() -> dict[str, dict[str, Any]]:
    """Return the node's interfaces by name, with their counters."""
    return {link["ifname"]: link for link in run_json(["ip", "-json", "-details", "-stats", "link", "show"])}


def programs_on(cable: str, pod: str, present: dict[str, dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the programs by the place they are attached to; empty places left out.

    Places are `cable`, `pod` (its host end) and `tunnel` (WireGuard's device).
    """
    found = {}
    for place, interface in (("cable", cable), ("pod", pod), ("tunnel", wireguard.DEVICE)):
        if interface not in present:
            continue
        programs = observe_programs(interface)
        if "xdp" in present[interface]:
            programs.append({"name": "xdp", "maps": []})
        if programs:
            found[place] = programs
    return found


def program_hits(attached: dict[str, list[dict[str, Any]]]) -> dict[str, int]:
    """Return how many packets each of our programs has redirected; {} when none of ours is attached."""
    ours = [program for on in attached.values() for program in on if program["name"] in COUNTERS]
    counted: dict[tuple[int, ...], dict[str, dict[str, int]]] = {}
    for maps in {tuple(program["maps"]) for program in ours}:
        counted[maps] = read_counters(list(maps))
    return {program["name"]: counted[tuple(program["maps"])][program["name"]]["hits"] for program in ours}


def conntrack(action: str, *criteria: str) -> str:
    """Run conntrack if this kernel has connection tracking loaded; asking must not be what loads it."""
    if not os.path.exists(CONNTRACK):
        return ""
    try:
        return run(["conntrack", action, *criteria])
    except CommandFailed as failure:
        # Deleting what is not there is an exit code of 1.
        if action == "-D" and "0 flow entries" in failure.output:
            return ""
        raise


def forget_tracked(flow: list[str]) -> None:
    """Drop entries of earlier probes, so that what is found later is this one's."""
    conntrack("-D", *flow)
    conntrack("-D", "-p", "icmp", "--orig-dst", HOOK_PROBE)


def conntrack_is_hooked() -> bool:
    """Whether a packet of this namespace meets connection tracking: one to itself is sent and looked for."""
    run(["ping", "-n", "-q", "-c", "1", "-W", "2", HOOK_PROBE])
    return HOOK_PROBE in conntrack("-L", "-p", "icmp", "--orig-dst", HOOK_PROBE)


def chains() -> list[str]:
    """Return the names of all nftables chains of this namespace."""
    listed = run_json(["nft", "--json", "list", "chains"])["nftables"]
    return [entry["chain"]["name"] for entry in listed if "chain" in entry]


def mtu_at(netns: str, address: str) -> int | None:
    """Return the MTU of the interface that holds an address in a namespace, None when none does."""
    inside = ["-netns", netns] if netns else []
    for link in run_json(["ip", *inside, "-json", "address", "show"]):
        if any(entry.get("local") == address for entry in link.get("addr_info", [])):
            return int(link["mtu"])
    return None


def listens_in(netns: str, address: str, port: int) -> bool:
    """Whether something in the namespace listens on this address and port."""
    return listening_in(run([*within(netns), "cat", "/proc/net/tcp"]), address, port)


def timestamps_in(netns: str) -> bool:
    """Whether TCP in the namespace offers timestamps: with them 12 bytes less of each packet are payload."""
    return run([*within(netns), "cat", "/proc/sys/net/ipv4/tcp_timestamps"]).strip() != "0"


def tunnel_counters(
    kind: str, own_address: str, present: dict[str, dict[str, Any]], device: str = wireguard.DEVICE
) -> dict[str, int]:
    """Return what a tunnel counted: bytes received and sent, and errors. A tunnel that is not there counts nothing.

    Errors are those of XFRM in this namespace (/proc/net/xfrm_stat), or of WireGuard's `device`.
    """
    if kind == "esp":
        listed = read_text("/proc/net/xfrm_stat")
        if listed is None:
            raise Refused(
                "The kernel counts no errors of XFRM, so ESP cannot be proven on it.",
                where="/proc/net/xfrm_stat",
                hint="Use a kernel with CONFIG_XFRM_STATISTICS.",
            )
        errors = sum(int(line.split()[1]) for line in listed.splitlines())
        return {**esp.carried(own_address), "errors": errors}
    if device not in present:
        return {"received": 0, "sent": 0, "errors": 0}
    stats = present[device]["stats64"]
    errors = sum(stats[way][name] for way in ("rx", "tx") for name in ("errors", "dropped"))
    return {**wireguard.carried(device), "errors": errors}
