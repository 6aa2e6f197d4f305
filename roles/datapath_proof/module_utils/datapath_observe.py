"""What a node counts, tracks and has attached on the path that test traffic takes on it."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from typing import Any

from ansible.module_utils import datapath_esp as esp
from ansible.module_utils import datapath_wireguard as wireguard
from ansible.module_utils.datapath_echo import SMALL, answered
from ansible.module_utils.datapath_hooks import Hook
from ansible.module_utils.datapath_netfilter import legacy_tables, observe_rules
from ansible.module_utils.datapath_programs import ours, read_counters
from ansible.module_utils.datapath_state import legacy_sections, sections
from ansible.module_utils.labctl_node.files import read_text
from ansible.module_utils.labctl_node.refused import Refused
from ansible.module_utils.labctl_node.run import CommandFailed, run, run_json
from ansible.module_utils.labctl_node.sockets import listening_in

CONNTRACK = "/proc/sys/net/netfilter/nf_conntrack_count"
# Addresses on loopback that nobody else pings, a new one each time: an entry for it means that tracking is hooked here.
HOOK_PROBES = "127.198.{}.{}"
HOOK_S = 2.0
# What prints the rules of legacy tables that are there.
LEGACY_SAVE = {"ip": "iptables-legacy-save", "ip6": "ip6tables-legacy-save"}


def ip_counters() -> dict[str, int]:
    """Return what this namespace's IPv4 has counted in packets: received, sent by itself, and forwarded."""
    table = str(read_text("/proc/net/snmp")).splitlines()
    names, values = (line.split() for line in table if line.startswith("Ip:"))
    counted = {name: int(value) for name, value in zip(names[1:], values[1:])}
    return {"received": counted["InReceives"], "sent": counted["OutRequests"], "forwarded": counted["ForwDatagrams"]}


def links() -> dict[str, dict[str, Any]]:
    """Return this namespace's interfaces by name, with their addresses and counters."""
    return {link["ifname"]: link for link in run_json(["ip", "-json", "-details", "-stats", "address", "show"])}


def holder(present: Mapping[str, dict[str, Any]], address: str) -> dict[str, Any] | None:
    """Return the interface that holds an address, None when none does."""
    held = (one for one in present.values() if any(a.get("local") == address for a in one.get("addr_info", [])))
    return next(held, None)


def programs_at(
    places: Mapping[str, str], found: list[Hook], present: Mapping[str, dict[str, Any]]
) -> dict[str, list[Hook]]:
    """Return the programs by the place of their interface, as {"cable": [...]}; empty places left out."""
    programs = [hook for hook in found if hook.number is not None] + with_xdp(present)
    told = {place: [hook for hook in programs if hook.device == at] for place, at in places.items()}
    return {place: on for place, on in told.items() if on}


def with_xdp(present: Mapping[str, dict[str, Any]]) -> list[Hook]:
    """Return the programs that take packets before all else."""
    return [Hook(name, "", "", "xdp") for name, link in present.items() if "xdp" in link]


def words_of(found: list[Hook], present: Mapping[str, dict[str, Any]]) -> list[str]:
    """Return everything that takes packets, in words."""
    return sorted(map(str, [*found, *with_xdp(present)]))


def program_hits(found: list[Hook]) -> dict[str, int]:
    """Return how many packets each of our programs has redirected; {} when none of ours is attached."""
    own = {name: hook.maps for hook in found for name in [ours(hook.name)] if name and hook.number is not None}
    counted = {maps: read_counters(maps) for maps in set(own.values())}
    return {name: counted[maps][name]["hits"] for name, maps in own.items()}


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


def tracked_of(listing: str, ports: Collection[int]) -> int:
    """Return how many connections to these ports there are in what `conntrack -L` prints."""
    found = (re.search(r" dport=(\d+) ", line) for line in listing.splitlines())
    return sum(1 for match in found if match and int(match.group(1)) in ports)


def conntrack_is_hooked() -> bool:
    """Whether a packet of this namespace meets connection tracking: one to itself is sent and looked for."""
    to = HOOK_PROBES.format(*os.urandom(2))
    if not answered(to, (SMALL,), HOOK_S):
        raise Refused("This node's loopback does not answer, so connection tracking cannot be looked for.", where=to)
    return f"dst={to} " in conntrack("-L", "-p", "icmp", "--orig-dst", to)


def rules() -> tuple[str, dict[str, list[str]]]:
    """Return the ruleset of nftables as text, and all rules by what they are in, those of legacy tables too."""
    text = observe_rules()
    found = sections(text)
    for family, save in LEGACY_SAVE.items():
        if any(table.startswith(f"{family} ") for table in legacy_tables()):
            found.update(legacy_sections(run([save]), f"{family} (legacy)"))
    return text, found


def listens_at(address: str, port: int) -> bool:
    """Whether something in this namespace listens on this address and port."""
    return listening_in(str(read_text("/proc/self/net/tcp")), address, port)


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
