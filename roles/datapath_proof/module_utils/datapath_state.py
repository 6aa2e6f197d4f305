"""What may bend the path of test traffic, or cost it time, without showing in where its packets went.

All of it is of the network namespace that the process is in (`inside`): what another node of the same kernel has is
not seen here.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
from fnmatch import fnmatchcase
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence

from ansible.module_utils.datapath_card import coalescing, features
from ansible.module_utils.datapath_namespace import interfaces_in_sysfs
from ansible.module_utils.labctl_node.files import read_text

# What a packet socket may ask for (include/uapi/linux/if_ether.h) that test traffic is.
PROTOCOLS = {0x0003: "all", 0x0800: "IPv4"}
# How TCP at an endpoint speaks. Switches of a network namespace, all of them.
TCP = "/proc/sys/net/ipv4/tcp_{}"
SPEECH = (
    "congestion_control", "no_metrics_save", "timestamps", "sack", "window_scaling", "ecn", "autocorking",
    "slow_start_after_idle", "min_tso_segs", "tso_win_divisor", "limit_output_bytes",
)  # fmt: skip
# Features by which an interface splits, joins, encrypts or forwards packets itself.
FEATURES = (
    "tx-tcp-segmentation", "tx-generic-segmentation", "rx-gro", "rx-gro-hw", "rx-gro-list", "rx-udp-gro-forwarding",
    "rx-lro", "tx-esp-segmentation", "esp-hw-offload", "esp-tx-csum-hw-offload", "hw-tc-offload", "macsec-hw-offload",
)  # fmt: skip
SIZES = ("gso_max_size", "gro_max_size", "gso_ipv4_max_size", "gro_ipv4_max_size", "tso_max_size")
# Lines of nftables that begin something inside a table.
BLOCK = re.compile(r"^\t(chain|flowtable|set|map|counter|quota|limit|ct \w+|synproxy) (\S+) \{")
TABLE = re.compile(r"^table (\S+) (\S+) \{")
# Two forms of what sends a packet on to another chain: of nft, and of iptables-save.
HOOK = re.compile(r"^type \S+ hook [^;]+;( policy accept;)?$")
BUILT_IN = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
ONWARD = re.compile(r"(?:\b(?:jump|goto)|\s-[jg]) (\S+)")


def tcp_speech() -> Dict[str, str]:
    """Return how TCP of this namespace speaks, by the switches that the kernel has."""
    seen = {name: read_text(TCP.format(name)) for name in SPEECH}
    return {f"tcp_{name}": value for name, value in seen.items() if value is not None}


def link_settings(link: Mapping[str, Any]) -> Dict[str, Any]:
    """Return what an interface, as `ip -json -details` shows it, is set to."""
    shown = features(str(link["ifname"]))
    return {
        "sizes": {name: link[name] for name in SIZES if name in link},
        "features": {name: shown[name] for name in FEATURES if name in shown} if shown is not None else None,
        "coalescing": coalescing(str(link["ifname"])),
    }


def steering(interfaces: Iterable[str]) -> List[str]:
    """Return how the kernel moves packets between CPUs: every queue of interfaces that RPS, RFS or XPS has a say in.

    A card's driver lays its queues for sending out over the CPUs by itself, so XPS counts for devices of software.
    """
    found = []
    with interfaces_in_sysfs() as top:
        for interface in interfaces:
            names = ["rps_cpus", "rps_flow_cnt"]
            if not os.path.exists(f"{top}/{interface}/device"):
                names += ["xps_cpus", "xps_rxqs"]
            for path in sorted(glob.glob(f"{top}/{interface}/queues/*/*")):
                queue, name = path.rsplit("/", 2)[1:]
                if name in names:
                    value = _queue_setting(path)
                    if value.strip("0,"):
                        found.append(f"{interface} {queue} {name} {value}")
    return found


def _queue_setting(path: str) -> str:
    try:
        return read_text(path) or ""
    except OSError:  # a device with one queue has no XPS, and says so by an error
        return ""


def packet_sockets(table: str, indexes: Mapping[int, str]) -> Dict[int, str]:
    """Return who reads along, in the text of /proc/net/packet: what and where by the socket's inode.

    Only sockets for all protocols or IPv4 count, on the interfaces with these indexes or on all of them.
    """
    found = {}
    for line in table.splitlines():
        words = line.split()
        if len(words) < 9 or not words[8].isdigit():
            continue
        protocol, index = PROTOCOLS.get(int(words[3], 16)), int(words[4])
        if protocol and (not index or index in indexes):
            where = indexes.get(index, "all interfaces")
            found[int(words[8])] = f"{protocol} on {where}"
    return found


def owners(sockets: Mapping[int, str]) -> List[str]:
    """Return sockets with the names of the processes that hold them, as far as this node sees those."""
    holders: Dict[int, str] = {}
    wanted = {f"socket:[{inode}]": inode for inode in sockets}
    for path in glob.glob("/proc/[0-9]*/fd/*") if sockets else ():
        try:
            inode = wanted.get(os.readlink(path))
        except OSError:  # closed meanwhile
            continue
        if inode is not None:
            holders[inode] = read_text("/".join(path.split("/")[:3]) + "/comm") or "?"
    return sorted(f"{what} by {holders.get(inode, 'a process of another node')}" for inode, what in sockets.items())


def sections(ruleset: str) -> Dict[str, List[str]]:
    """Return the lines of `nft list ruleset` by what they are in, as in `ip filter chain INPUT`."""
    found: Dict[str, List[str]] = {}
    table = block = ""
    for line in ruleset.splitlines():
        begun, inner = TABLE.match(line), BLOCK.match(line)
        if begun:
            table, block = " ".join(begun.groups()), ""
        elif inner:
            block = f"{table} {' '.join(inner.groups())}"
            found[block] = []
        elif line.startswith("\t\t") and block:
            found[block].append(line.strip())
    return found


def legacy_sections(saved: str, family: str) -> Dict[str, List[str]]:
    """Return the lines of `iptables-legacy-save` in the same way."""
    found: Dict[str, List[str]] = {}
    table = ""
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":"):
            found[f"{family} {table} chain {line[1:].split()[0]}"] = []
        elif line.startswith("-A "):
            found[f"{family} {table} chain {line.split()[1]}"].append(line)
    return found


def tables_of(ruleset: str) -> List[str]:
    """Return the tables of `nft list ruleset`, as in `ip filter`."""
    return sorted(" ".join(found.groups()) for found in map(TABLE.match, ruleset.splitlines()) if found)


def sums(found: Mapping[str, Sequence[str]]) -> Dict[str, str]:
    """Return a hash of each table's rules, so that two looks at them can be compared."""
    texts: Dict[str, str] = {}
    for name, lines in found.items():
        table = " ".join(name.split()[:-2])
        texts[table] = texts.get(table, "") + "\n".join((name, *lines, ""))
    return {table: hashlib.sha256(text.encode()).hexdigest()[:16] for table, text in texts.items()}


def changed(found: Mapping[str, Sequence[str]], loaded: Optional[Mapping[str, Sequence[str]]]) -> List[str]:
    """Return what is not as it was loaded: each rule that came or went, with where it is."""
    if loaded is None:
        return ["nothing is on record"]
    seen = []
    for name in sorted({*found, *loaded}):
        now, then = found.get(name), loaded.get(name)
        if now is None or then is None:
            seen.append(f"{'-' if now is None else '+'} {name}")
        seen += [f"+ {name}: {line}" for line in _beyond(now or (), then or ())]
        seen += [f"- {name}: {line}" for line in _beyond(then or (), now or ())]
    if not seen and list(map(list, found.values())) != [list(loaded[name]) for name in found]:
        seen.append("the rules stand in another order")
    return seen


def _beyond(lines: Sequence[str], others: Sequence[str]) -> List[str]:
    left = list(others)
    more = []
    for line in lines:
        if line in left:
            left.remove(line)
        else:
            more.append(line)
    return more


def foreign(found: Mapping[str, Sequence[str]], chains: Sequence[str]) -> List[str]:
    """Return what is not in the chains, by patterns of their names, of those whose rules may be there.

    In the kernel's own chains may stand what sends packets on to such a chain, and nothing else.
    """
    seen = []
    for name, lines in found.items():
        kind, called = name.split()[-2:]
        if kind == "chain" and _is_one_of(called, chains):
            continue
        hooked = called in BUILT_IN or any(line.startswith("type ") for line in lines)
        if not hooked:
            seen.append(name)
        for line in lines:
            onward = ONWARD.search(line)
            if not HOOK.match(line) and not (onward and _is_one_of(onward.group(1), chains)):
                seen.append(f"{name}: {line}")
    return sorted(seen)


def _is_one_of(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
