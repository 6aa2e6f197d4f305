"""What a cluster leaves on a node, read from the node: recorded before there is one, compared after it is gone."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Dict, List

from ansible.module_utils import datapath_cgroups as cgroups
from ansible.module_utils.labctl_node.files import read_json, read_text, write_setting
from ansible.module_utils.labctl_node.refused import Problem
from ansible.module_utils.labctl_node.run import run, run_json

DIRECTORY = "/var/lib/labctl/kubernetes"
BEFORE = f"{DIRECTORY}/before.json"  # how the node was
NETWORK_BEFORE = f"{DIRECTORY}/network.json"  # how the member was before it had a network
RECORD = f"{DIRECTORY}/cluster.json"  # that it is a member, and of what
CNI_DIRECTORIES = ("/etc/cni", "/opt/cni", "/var/lib/cni")
DIRECTORIES = "directories"  # those beside them in which the network keeps files, in its record
BPF_FS = "/sys/fs/bpf"
NETNS = "/run/netns"
# Sessions of users and credentials of units come and go by themselves.
VOLATILE_MOUNTS = ("/run/user/", "/run/credentials/")
# What the runtime names its directories after.
CONTAINER_ID = re.compile(r"[0-9a-f]{64}")
# Said by nft of an object without being part of it.
NFT_VOLATILE = ("handle", "index", "packets", "bytes")
# Of the node's own network namespace; kube-proxy and CNIs set them.
SETTINGS = (
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/forwarding",
    "net/ipv4/conf/all/route_localnet",
    "net/ipv4/conf/all/rp_filter",
    "net/ipv6/conf/all/forwarding",
)
# Of the machine; agents that may write them do. Where nodes share the machine they may not, and nor may labctl.
MACHINE_SETTINGS = ("kernel/timer_migration", "net/core/bpf_jit_enable", "net/core/bpf_jit_harden")
Traces = Dict[str, List[str]]


def files_below(*directories: str) -> Iterator[str]:
    """Every file and link below some directories, and the directories that are there."""
    for top in directories:
        for directory, below, names in os.walk(top):
            yield directory
            yield from (os.path.join(directory, name) for name in names)
            # A link to a directory is not walked into: /sys/fs/bpf/xdp -> tc, which iproute2 makes.
            yield from filter(os.path.islink, (os.path.join(directory, name) for name in below))


def plain(value: Any) -> Any:
    """An object of nft without what changes while the rules stay the same."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if key not in NFT_VOLATILE}
    return [plain(item) for item in value] if isinstance(value, list) else value


def netfilter() -> Iterator[str]:
    """Tables, chains and rules, those of iptables through nf_tables included; and the tables of the old iptables."""
    for item in run_json(["nft", "--json", "list", "ruleset"])["nftables"]:
        ((kind, content),) = item.items()
        if kind != "metainfo":
            yield f"{kind} {json.dumps(plain(content), sort_keys=True)}"
    for family in ("ip", "ip6"):
        names = (read_text(f"/proc/net/{family}_tables_names") or "").split()
        yield from (f"legacy {family} table {name}" for name in names)


def ipvs() -> Iterator[str]:
    """Services and servers of IPVS."""
    for line in (read_text("/proc/net/ip_vs") or "").splitlines()[3:]:
        yield " ".join(line.split()[:3])


def hooks() -> Iterator[str]:
    """Interfaces on which tc programs can hang."""
    for entry in run_json(["tc", "-json", "qdisc", "show"]):
        if entry["kind"] == "clsact":
            yield str(entry["dev"])


def _ip(*argv: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = run_json(["ip", "-json", *argv])
    return found


def rules() -> Iterator[str]:
    """Routing rules of both families."""
    for family in ("-4", "-6"):
        for rule in _ip(family, "rule", "show"):
            yield f"{family} {json.dumps(rule, sort_keys=True)}"


def routes() -> Iterator[str]:
    """Routes that somebody set, in any table. A CNI may say that the kernel did, which sets none through a gateway."""
    for route in _ip("-4", "route", "show", "table", "all"):
        if route.get("protocol") != "kernel" or "gateway" in route:
            kept = {key: route.get(key) for key in ("dst", "gateway", "dev", "table", "protocol", "type")}
            yield json.dumps({key: value for key, value in kept.items() if value is not None}, sort_keys=True)


def xfrm() -> Iterator[str]:
    """Security associations, without their keys, and policies."""
    for kind, argv in (("state", ("state", "list", "nokeys")), ("policy", ("policy", "list"))):
        lines = run(["ip", "xfrm", *argv]).splitlines()
        heads = [number for number, line in enumerate(lines) if line and not line[0].isspace()]
        for number in heads:
            yield f"{kind} " + " ".join(" ".join(lines[number : number + 2]).split())


def mounts() -> Iterator[str]:
    """Mount points with their file systems."""
    for line in (read_text("/proc/self/mountinfo") or "").splitlines():
        left, _, right = line.partition(" - ")
        point = left.split()[4]
        if not point.startswith(VOLATILE_MOUNTS):
            yield f"{point} {right.split()[0]}"


def settings() -> Iterator[str]:
    """Settings of the network namespace, and of a machine that is the node's own, as KEY VALUE."""
    for key in (*SETTINGS, *(key for key in MACHINE_SETTINGS if os.access(f"/proc/sys/{key}", os.W_OK))):
        value = read_text(f"/proc/sys/{key}")
        if value is not None:
            yield f"{key} {value}"


def restore_settings(before: Traces) -> list[str]:
    """Write back the settings that are not what they were; returns those."""
    differing = sorted(set(before["settings"]) - set(settings()))
    for entry in differing:
        key, _, value = entry.partition(" ")
        write_setting(f"/proc/sys/{key}", value)
    return [f"setting {entry}" for entry in differing]


def network_directories() -> list[str]:
    """Where the node's network keeps files beside the places of all CNIs, by its record; nowhere without one."""
    record = read_json(NETWORK_BEFORE) or {}
    return list(record.get(DIRECTORIES, []))


def read(directories: list[str] | None = None) -> Traces:
    """All traces by kind, sorted; files also of these directories, else of those that the node's network has."""
    own = network_directories() if directories is None else directories
    found = {
        "netfilter": netfilter(),
        "IPVS": ipvs(),
        "CNI files": files_below(*CNI_DIRECTORIES, *own),
        "BPF pins": (path for path in files_below(BPF_FS) if path != BPF_FS),
        "hooks": hooks(),
        "socket programs": map(cgroups.words, cgroups.attached()),
        "links": (link["ifname"] for link in _ip("link", "show")),
        "network namespaces": (path for path in files_below(NETNS) if path != NETNS),
        "XFRM": xfrm(),
        "rules": rules(),
        "routes": routes(),
        "mounts": mounts(),
        "settings": settings(),
    }
    return {kind: sorted(values) for kind, values in found.items()}


def differences(before: Traces, after: Traces) -> Iterator[Problem]:
    """What is there that was not, and what was there and is not.

    A container that was started again has another id, and the same mounts.
    """
    for kind in (one for one in before if one != DIRECTORIES):
        old, new = (Counter(CONTAINER_ID.sub("*", each) for each in traces.get(kind, [])) for traces in (before, after))
        for word, counted in (("left behind", new - old), ("missing now", old - new)):
            entries = list(counted.elements())
            if entries:
                yield {
                    "what": f"The cluster is not taken away without a trace: {kind} {word}.",
                    "where": kind,
                    "seen": "\n".join(entries[:12]) + (f"\n... {len(entries)} in all" if len(entries) > 12 else ""),
                    "hint": "Reboot the node, then `labctl reset` again; a local lab can be destroyed and created.",
                }
