"""The cable of a node and its network card, and what hooks into the node's network.

ethtool is parsed from its text: `--json` exists for some of the options of some of its versions, the text for all.
sysfs belongs to the namespace that mounted it, which in a container is often the machine's: it is believed only
where it shows the very same interface that netlink shows.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ansible.module_utils import datapath_cgroups as cgroups
from ansible.module_utils.fingerprint_probe import Files, Outputs, integer

NET = "/sys/class/net"
NETFILTER = "/proc/sys/net/netfilter"
ETHTOOL = {"driver": "-i", "features": "-k", "rings": "-g", "coalesce": "-c", "pause": "-a", "channels": "-l"}
SIDES = ("ingress", "egress")
# What of a device a setup, or somebody else, can set, and a packet notices.
LINK = (
    "mtu", "txqlen", "gso_max_size", "gso_max_segs", "gso_ipv4_max_size", "gro_max_size", "gro_ipv4_max_size",
    "promiscuity", "allmulti", "master",
)  # fmt: skip
# The kernel's and tc's own numbers of a qdisc or filter, and what they count.
NUMBERED = re.compile(
    r"^(handle|fh|id|index|ref|refcnt|bind|tag|jited|installed|last_used|first_used|expires)$|_stat$|qlen$"
)
# Ids of pods and containers, after which their control groups are named, are others in every deployment.
IDENTITY = re.compile(r"[0-9a-f]{64}|[0-9a-f]{8}([-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}")
# A CNI draws the name of a pod's link: that there is one, and how it is set, is what can be compared.
DRAWN = re.compile(r"^(lxc|veth|cali)[0-9a-f]{6,}$")


def commands(interface: str) -> Dict[str, Tuple[str, ...]]:
    """The commands whose output `link`, `nic` and `network` read."""
    return {
        "link": ("ip", "-json", "-details", "link", "show"),
        "address": ("ip", "-json", "address", "show", "dev", interface),
        "qdisc": ("tc", "-json", "qdisc", "show"),
        "bpf": ("bpftool", "-j", "net", "show"),
        "cgroup_bpf": ("bpftool", "-j", "cgroup", "tree"),
        "ethtool": ("ethtool", interface),
        **{name: ("ethtool", option, interface) for name, option in ETHTOOL.items()},
    }


def endpoint_commands(netns: str) -> Dict[str, Tuple[str, ...]]:
    """The commands whose output `endpoint` reads: what is set in the network namespace of a pod."""
    settings = "/proc/sys/net/core/* /proc/sys/net/ipv4/tcp_* /proc/sys/net/ipv4/udp_*"
    return {
        "endpoint_link": ("ip", "-netns", netns, "-json", "-details", "link", "show"),
        "endpoint_qdisc": ("tc", "-netns", netns, "-json", "qdisc", "show"),
        # grep ends with 2 where one of them cannot be read, and has printed the others.
        "endpoint_sysctl": ("ip", "netns", "exec", netns, "sh", "-c", f"grep -s '' {settings}; test $? -le 2"),
    }


def parse_json(text: Optional[str]) -> List[Dict[str, Any]]:
    """The objects of a JSON array as iproute2 and bpftool print it; none where there was no output, or another one."""
    try:
        found = json.loads(text or "[]")
    except (ValueError, RecursionError):
        return []
    # iproute2 prints an empty object for what it filtered out.
    return [item for item in found if item and isinstance(item, dict)] if isinstance(found, list) else []


def below(item: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A mapping in a mapping; an empty one where there is none."""
    found = item.get(name)
    return found if isinstance(found, dict) else {}


def several(item: Mapping[str, Any], name: str) -> List[Any]:
    """A list in a mapping; an empty one where there is none."""
    found = item.get(name)
    return found if isinstance(found, list) else []


def device(outputs: Outputs, interface: str) -> Optional[Dict[str, Any]]:
    """What `ip` shows of an interface; None where the node has none of that name."""
    return next((item for item in parse_json(outputs.output("link")) if item.get("ifname") == interface), None)


def called(name: object) -> str:
    """A device by its name, or by its kind where the name was drawn for a pod."""
    return DRAWN.sub(r"\1*", str(name))


def links(text: Optional[str]) -> Optional[Dict[str, object]]:
    """How every device is set, by its name; those of pods in order, for their names say nothing."""
    if text is None:
        return None
    found: Dict[str, List[Dict[str, object]]] = {}
    for item in parse_json(text):
        told: Dict[str, object] = {name: item.get(name) for name in LINK}
        told["up"] = "UP" in several(item, "flags")
        told["xdp"] = below(item, "xdp").get("mode")
        found.setdefault(called(item.get("ifname")), []).append(told)
    return {
        name if len(each) == 1 else f"{name}{number}": told
        for name, each in found.items()
        for number, told in enumerate(sorted(each, key=json.dumps), start=1)
    }


def link(outputs: Outputs, interface: str) -> Optional[Dict[str, object]]:
    """The cable interface as it is set at the moment; None where the node has none of that name."""
    item = device(outputs, interface)
    if item is None:
        return None
    flags = several(item, "flags")
    entries = [entry for record in parse_json(outputs.output("address")) for entry in several(record, "addr_info")]
    addresses = [entry for entry in entries if isinstance(entry, dict) and {"local", "prefixlen"} <= set(entry)]
    return {
        "interface": item.get("ifname"),
        "kind": below(item, "linkinfo").get("info_kind"),
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
    found = device(outputs, interface)
    if found is None:
        return None
    driver = fields(outputs.output("driver"))
    settings = fields(outputs.output("ethtool"))
    hardware = bool(driver.get("bus-info"))
    speed = re.match(r"(\d+)Mb/s", settings.get("Speed", ""))
    path = sysfs_path(files, found, interface)
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
    return path if shown == (item.get("ifindex"), item.get("address")) else None


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
    return "".join(f"filter show dev {device} {side}\n" for device in devices for side in SIDES)


def network(files: Files, outputs: Outputs) -> Dict[str, Any]:
    """What hooks into the node's network. A setup changes this, so it is no part of a node's identity.

    `links` and `qdiscs` say how every device is set, `filters` which tc filters hang where, `bpf` names the programs
    attached to devices, by tc, tcx, netkit or XDP, `socket_programs` those on control groups.
    """
    return {
        "links": links(outputs.output("link")),
        "qdiscs": qdiscs(outputs.output("qdisc")),
        "filters": filters(outputs),
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


def endpoint(outputs: Outputs, sysctls: Mapping[str, object]) -> Dict[str, object]:
    """What is set in the network namespace of the endpoint's pod; `sysctls` are those that it has for itself."""
    return {
        "links": links(outputs.output("endpoint_link")),
        "qdiscs": qdiscs(outputs.output("endpoint_qdisc")),
        "sysctl": dict(sysctls) or None,
    }


def qdiscs(text: Optional[str]) -> Optional[Dict[str, List[str]]]:
    """Queueing disciplines by device, each as its kind and, in JSON, what it was told; None where not readable."""
    if text is None:
        return None
    found: Dict[str, List[str]] = {}
    for item in parse_json(text):
        told = unnumbered(item.get("options") or {})
        words = f"{item.get('kind')} {json.dumps(told, sort_keys=True)}" if told else str(item.get("kind"))
        found.setdefault(called(item.get("dev")), []).append(words)
    return {name: sorted(each) for name, each in found.items()}


def filters(outputs: Outputs) -> Optional[Dict[str, List[str]]]:
    """The tc filters in words, by device and side, with their actions; None where the devices are not known."""
    if outputs.output("qdisc") is None:
        return None
    places = [f"{called(device)} {side}" for device in hooked_devices(outputs) for side in SIDES]
    text = outputs.output("filters")
    if text is None:
        return {} if not places else None
    found: Dict[str, List[str]] = {}
    decoder, position = json.JSONDecoder(), 0
    for place in places:
        position += len(text[position:]) - len(text[position:].lstrip())
        try:
            items, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):  # older versions of tc print words among the JSON of some actions
            lines = (re.sub(r"\b(id|index|tag|installed|used|expires) \S+", "", line) for line in text.splitlines())
            return {"all devices": [" ".join(line.split()) for line in lines]}
        # Each filter prints a head without options before itself.
        told = [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
        words = [json.dumps(unnumbered(item), sort_keys=True) for item in told if "options" in item]
        if words:
            found.setdefault(place, []).extend(words)
    return found


def unnumbered(value: Any) -> Any:
    """What tc prints without the numbers that kernel and tc draw, and without counters."""
    if isinstance(value, dict):
        return {key: unnumbered(below) for key, below in value.items() if not NUMBERED.search(key)}
    return [unnumbered(below) for below in value] if isinstance(value, list) else value


def parse_bpf(text: Optional[str]) -> Optional[List[str]]:
    """`bpftool net show` as sorted "device kind program"; None where not readable."""
    if text is None:
        return None
    return sorted(
        f"{called(item.get('devname'))} {item.get('kind', group)} {item.get('name', item.get('mode', ''))}".strip()
        for record in parse_json(text)
        for group in record
        for item in several(record, group)
        if isinstance(item, dict)
    )


def parse_socket_programs(text: Optional[str]) -> Optional[List[str]]:
    """Programs that sockets pass, as sorted "group type program"; None where not readable."""
    if text is None:
        return None
    try:
        return sorted(IDENTITY.sub("*", cgroups.words(program)) for program in cgroups.socket_programs(text))
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):  # another form than bpftool's
        return None


def parse_rules(text: Optional[str]) -> Optional[Dict[str, Dict[str, object]]]:
    """What `nft --stateless list ruleset` prints, by table ("family name"): its number of rules, and a hash of it all.

    None where nftables was not asked or not readable. Elements of sets that packets fill are no part of the hash.
    """
    if text is None:
        return None
    tables: Dict[str, Dict[str, object]] = {}
    for name, body in re.findall(r"^table (\S+ \S+) \{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL):
        body = re.sub(
            r"(?s)(flags [^\n]*(?:dynamic|timeout)[^\n]*\n(?:(?!\t\}).)*?)\t\telements = \{.*?\}\n", r"\1", body
        )
        chains = re.findall(r"^\tchain \S+ \{\n(.*?)^\t\}", body, re.MULTILINE | re.DOTALL)
        heads = ("type ", "policy ", "comment ")
        rules = [line for chain in chains for line in chain.splitlines() if not line.strip().startswith(heads)]
        tables[name] = {"rules": len(rules), "sha256": hashlib.sha256(body.encode()).hexdigest()[:16]}
    return tables


def _snake(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
