"""The cable of a node and its network card, and what hooks into the node's network.

ethtool is parsed from its text: `--json` exists for some of the options of some of its versions, the text for all.
sysfs belongs to the namespace that mounted it, which in a container is often the machine's: it is believed only
where it shows the very same interface that netlink shows.
"""

from __future__ import annotations

import json
import re
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ansible.module_utils import datapath_cgroups as cgroups
from ansible.module_utils.fingerprint_probe import Files, Outputs, integer

NET = "/sys/class/net"
NETFILTER = "/proc/sys/net/netfilter"
ETHTOOL = {"driver": "-i", "features": "-k", "rings": "-g", "coalesce": "-c", "pause": "-a", "channels": "-l"}


def commands(interface: str) -> Dict[str, Tuple[str, ...]]:
    """The commands whose output `link`, `nic` and `network` read."""
    return {
        "link": ("ip", "-json", "-details", "link", "show", "dev", interface),
        "address": ("ip", "-json", "address", "show", "dev", interface),
        "qdisc": ("tc", "-json", "qdisc", "show"),
        "bpf": ("bpftool", "-j", "net", "show"),
        "cgroup_bpf": ("bpftool", "-j", "cgroup", "tree"),
        "ethtool": ("ethtool", interface),
        **{name: ("ethtool", option, interface) for name, option in ETHTOOL.items()},
    }


def parse_json(text: Optional[str]) -> List[Dict[str, Any]]:
    """The objects of a JSON array as iproute2 and bpftool print it; none where there was no output."""
    # iproute2 prints an empty object for what it filtered out.
    return [item for item in json.loads(text or "[]") if item]


def link(outputs: Outputs) -> Optional[Dict[str, object]]:
    """The cable interface as it is set at the moment; None where the node has none of that name."""
    found = parse_json(outputs.output("link"))
    if not found:
        return None
    item = found[0]
    flags = item.get("flags", [])
    addresses = [entry for record in parse_json(outputs.output("address")) for entry in record.get("addr_info", [])]
    return {
        "interface": item.get("ifname"),
        "kind": item.get("linkinfo", {}).get("info_kind"),
        "up": "UP" in flags,
        "carrier": "LOWER_UP" in flags,
        "mtu": item.get("mtu"),
        "max_mtu": item.get("max_mtu"),
        "qdisc": item.get("qdisc"),
        "tx_queue_length": item.get("txqlen"),
        "gso_max_size": item.get("gso_max_size"),
        "gro_max_size": item.get("gro_max_size"),
        "addresses": sorted(f"{entry['local']}/{entry['prefixlen']}" for entry in addresses),
    }


def nic(files: Files, outputs: Outputs, interface: str) -> Optional[Dict[str, Any]]:
    """The card behind the cable. `hardware` is False for a device of software alone, which has no speed of its own."""
    found = parse_json(outputs.output("link"))
    if not found:
        return None
    driver = fields(outputs.output("driver"))
    settings = fields(outputs.output("ethtool"))
    hardware = bool(driver.get("bus-info"))
    speed = re.match(r"(\d+)Mb/s", settings.get("Speed", ""))
    path = sysfs_path(files, found[0], interface)
    return {
        "hardware": hardware if driver else None,
        "driver": driver.get("driver"),
        "driver_version": driver.get("version"),
        "firmware": driver.get("firmware-version"),
        "bus": driver.get("bus-info"),
        # A veth prints 10000 Mb/s, a figure that its driver made up.
        "speed_mbps": int(speed.group(1)) if speed and hardware else None,
        "duplex": settings.get("Duplex") if hardware else None,
        "features": parse_features(outputs.output("features")),
        "rings": current(outputs.output("rings")),
        "channels": current(outputs.output("channels")),
        "coalesce": parse_coalesce(outputs.output("coalesce")),
        "pause": {key: value == "on" for key, value in fields(outputs.output("pause")).items()} or None,
        "numa_node": files.integer(f"{path}/device/numa_node") if path else None,
        "pcie_speed": files.text(f"{path}/device/current_link_speed") if path else None,
        "pcie_width": files.integer(f"{path}/device/current_link_width") if path else None,
        "queues": queues(files, path) if path else None,
        "interrupts": interrupts(files, path) if path else None,
    }


def sysfs_path(files: Files, item: Mapping[str, object], interface: str) -> Optional[str]:
    """The folder of the interface in sysfs; None where sysfs shows another namespace's interface, or none."""
    path = f"{NET}/{interface}"
    shown = (files.integer(f"{path}/ifindex"), files.text(f"{path}/address"))
    return path if shown == (item["ifindex"], item.get("address")) else None


def fields(text: Optional[str]) -> Dict[str, str]:
    """`Key: value` lines of ethtool that have a value; `n/a` is none."""
    pairs = re.findall(r"^\s*([^:\n]+):[ \t]+(\S.*?)\s*$", text or "", re.MULTILINE)
    return {key: value for key, value in pairs if value not in ("n/a", "N/A")}


def parse_features(text: Optional[str]) -> Optional[Dict[str, bool]]:
    """`ethtool -k` as feature -> on; None where it was not readable."""
    return {key: value.split()[0] == "on" for key, value in fields(text).items()} or None


def current(text: Optional[str]) -> Optional[Dict[str, int]]:
    """The numbers under "Current hardware settings" of `ethtool -g` and `-l`; None where there are none."""
    _, _, now = (text or "").partition("Current hardware settings:")
    numbers = {_snake(key): integer(value) for key, value in fields(now).items()}
    return {key: value for key, value in numbers.items() if value is not None} or None


def parse_coalesce(text: Optional[str]) -> Optional[Dict[str, object]]:
    """`ethtool -c`: adaptive_rx and adaptive_tx as booleans, the rest as numbers; None where not supported."""
    adaptive = re.search(r"^Adaptive RX: (\S+)\s+TX: (\S+)", text or "", re.MULTILINE)
    numbers = {_snake(key): integer(value) for key, value in fields(text).items()}
    known: Dict[str, object] = {key: value for key, value in numbers.items() if value is not None}
    if adaptive:
        states = {"on": True, "off": False}
        known["adaptive_rx"], known["adaptive_tx"] = (states.get(word) for word in adaptive.groups())
    return known or None


def queues(files: Files, path: str) -> Dict[str, object]:
    """CPU masks of receive packet steering and transmit packet steering by queue."""
    names = {"rx": "rps_cpus", "tx": "xps_cpus"}
    found = files.names(path + "/queues")
    return {queue: files.text(f"{path}/queues/{queue}/{names[queue[:2]]}") for queue in found if queue[:2] in names}


def interrupts(files: Files, path: str) -> Optional[Dict[str, object]]:
    """The card's vectors in order, by name where the kernel shows one, with the CPUs allowed and those in effect."""
    # A virtio device hangs below the PCI device that owns the vectors.
    numbers = files.names(path + "/device/msi_irqs") or files.names(path + "/device/../msi_irqs")
    names = dict(re.findall(r"^\s*(\d+):.*?(\S+)$", files.text("/proc/interrupts") or "", re.MULTILINE))
    return {
        names.get(number, f"irq-{number}"): {
            "allowed": files.text(f"/proc/irq/{number}/smp_affinity_list"),
            "effective": files.text(f"/proc/irq/{number}/effective_affinity_list"),
        }
        for number in sorted(numbers, key=int)
    } or None


def hooked_devices(outputs: Outputs) -> List[str]:
    """The devices that have a qdisc on which tc filters can hang at ingress or egress."""
    found = parse_json(outputs.output("qdisc"))
    return sorted({str(item.get("dev")) for item in found if item.get("kind") in ("clsact", "ingress")})


def filter_batch(devices: Sequence[str]) -> str:
    """Input for `tc -json -batch -` that lists the filters of devices."""
    return "".join(f"filter show dev {device} {side}\n" for device in devices for side in ("ingress", "egress"))


def network(files: Files, outputs: Outputs) -> Dict[str, Any]:
    """What hooks into the node's network. A setup changes this, so it is no part of a node's identity.

    `filters` counts tc filters, `bpf` names the programs attached to devices, by tc, tcx, netkit or XDP,
    `socket_programs` those on control groups.
    """
    qdiscs: Dict[str, List[str]] = {}
    for item in parse_json(outputs.output("qdisc")):
        qdiscs.setdefault(str(item.get("dev")), []).append(str(item.get("kind")))
    listed = outputs.output("qdisc") is not None
    return {
        "qdiscs": {device: sorted(kinds) for device, kinds in qdiscs.items()} if listed else None,
        "tc_filters": _filters(outputs) if listed else None,
        "bpf": parse_bpf(outputs.output("bpf")),
        "socket_programs": parse_socket_programs(outputs.output("cgroup_bpf")),
        "netfilter": parse_rules(outputs.output("nft")),
        "netfilter_legacy": (files.text("/proc/net/ip_tables_names") or "").split(),
        "conntrack": {
            name: files.integer(f"{NETFILTER}/{name}")
            for name in files.names(NETFILTER)
            if name.startswith("nf_conntrack_") and name != "nf_conntrack_count"
        }
        or None,
    }


def _filters(outputs: Outputs) -> int:
    """How many tc filters hang on the devices; each prints a head without options before itself."""
    text = outputs.output("filters") or ""
    decoder, position, count = json.JSONDecoder(), 0, 0
    while position < len(text.rstrip()):
        found, position = decoder.raw_decode(text, position + len(text[position:]) - len(text[position:].lstrip()))
        count += sum(1 for item in found if "options" in item)
    return count


def parse_bpf(text: Optional[str]) -> Optional[List[str]]:
    """`bpftool net show` as sorted "device kind program"; None where not readable."""
    if text is None:
        return None
    return sorted(
        f"{item.get('devname')} {item.get('kind', group)} {item.get('name', item.get('mode', ''))}".strip()
        for record in parse_json(text)
        for group, items in record.items()
        for item in items
    )


def parse_socket_programs(text: Optional[str]) -> Optional[List[str]]:
    """Programs that sockets pass, as sorted "group type program"; None where not readable."""
    return None if text is None else sorted(map(cgroups.words, cgroups.socket_programs(text)))


def parse_rules(text: Optional[str]) -> Optional[Dict[str, int]]:
    """Rules per nftables table, as "family name" -> count; None where nftables was not asked or not readable."""
    if text is None:
        return None
    rules: Dict[str, int] = {}
    for item in json.loads(text or "{}").get("nftables", []):
        if "table" in item:
            rules.setdefault("{family} {name}".format(**item["table"]), 0)
        elif "rule" in item:
            rules["{family} {table}".format(**item["rule"])] += 1
    return rules


def _snake(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
