"""What the nodes showed, held against what a setup is expected to be.

What a part of the probe's packets could do as well is judged by its share of them: the ones that went the claimed way
are nearly all, or nearly none. Packets are counted where the endpoint's own stack counts them, so a packet that is
split or joined on its way is one packet to both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Callable, Dict, Iterable, List, Mapping, Sequence, Tuple

from ansible.module_utils.labctl_node.proof import Assertion
from ansible.module_utils.labctl_node.refused import Refused

ETHERNET_BYTES = 14
IP_AND_TCP_BYTES = 40
TIMESTAMP_BYTES = 12
KUBE_PROXY = "kube-proxy"
KUBE_PROXY_TABLES = {f"{family} {table}" for family in ("ip", "ip6") for table in ("filter", "mangle", "nat")}
SOME = "some"
IPTABLES = "iptables"
# A CNI may load the modules of the legacy tables, whichever iptables it uses.
IPTABLES_TABLES = {
    f"{family} {table}{flavour}"
    for family in ("ip", "ip6")
    for table in ("filter", "mangle", "nat", "raw", "security")
    for flavour in ("", " (legacy)")
}
CNI = "cni"
# What nearly all packets are, and nearly none.
ALL, NONE = 0.95, 0.05
OUTGOING = "outgoing"
# The word of a CNI for the directions in which its programs forward.
FORWARDS = "forwards"
# netperf has one more connection, by which it controls the test.
OF_NETPERF = 2
# Nobody's packets are larger than this unless somebody asked for it (GSO_LEGACY_MAX_SIZE, GRO_LEGACY_MAX_SIZE).
LARGEST_JOINED = 65536
SIZES = ("gso_max_size", "gro_max_size", "gso_ipv4_max_size", "gro_ipv4_max_size")
NO_METRICS = "tcp_no_metrics_save"
# What no interface does in a setup that labctl knows: the work would be missing from what is measured.
NEVER = ("rx-lro", "hw-tc-offload", "esp-hw-offload", "esp-tx-csum-hw-offload", "macsec-hw-offload")
ENCRYPTIONS = ("none", "wireguard", "ipsec")

Evidence = Mapping[str, Any]


@dataclass(frozen=True)
class Setup:
    """What the setup claims, and how the probe was made.

    Sizes in bytes; `endpoint_mtu` is the largest packet between the endpoints, `mtu` that of the cable. `offloads` are
    the features that a place's interface has on or off, `allowed` by assertion patterns of what this lab has beside.
    """

    name: str
    expected: Mapping[str, object]
    encryption: str
    mtu: int
    endpoint_mtu: int
    endpoint_is_node: bool
    tap_sees_wire: bool
    transactions: int
    size: int
    connections: int
    offloads: Mapping[str, Mapping[str, bool]]
    allowed: Mapping[str, Sequence[str]]
    client: str
    server: str
    listener: str
    cni: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def encrypted(self) -> bool:
        """Whether the setup claims that nothing of the traffic can be read on the cable."""
        return self.encryption != "none"

    @property
    def interface_mtu(self) -> int:
        """The MTU of the interface that holds the endpoint's address.

        The inner address of a node with ESP is on the cable: there XFRM lowers the MTU of the route, not of a link. So
        does a CNI for its pods.
        """
        of_route = CNI in self.expected or (self.encryption == "ipsec" and self.endpoint_is_node)
        return self.mtu if of_route else self.endpoint_mtu


def part_of(part: int, whole: int) -> str:
    """Return a share in words."""
    return f"{part} of {whole}"


def most(part: int, whole: int) -> bool:
    """Whether a part is nearly all; of nothing there is no part."""
    return whole > 0 and part >= ALL * whole


def few(part: int, whole: int) -> bool:
    """Whether a part is nearly none; of nothing there is no part."""
    return whole > 0 and part <= NONE * whole


def share(name: str, node: str, part: int, whole: int) -> Assertion:
    """Return that nearly all is so."""
    wanted = f"at least {ALL:.0%}"
    return Assertion(name, node, wanted, wanted if most(part, whole) else part_of(part, whole))


def _forwarded(_setup: Setup, seen: Evidence) -> object:
    """Whether the stack forwarded what the endpoint received and sent; OUTGOING: what it sent and nothing else."""
    grew = seen["grew"]
    forwarded, received, sent = (int(grew[name]) for name in ("forwarded", "endpoint_received", "endpoint_sent"))
    if most(forwarded, received + sent):
        return True
    if few(forwarded, received + sent):
        return False
    if most(forwarded, sent) and few(forwarded - sent, received):
        return OUTGOING
    return f"{part_of(forwarded, received + sent)} packets"


def _tracked(setup: Setup, seen: Evidence) -> object:
    """Whether the probe's connections are tracked."""
    connections = (setup.connections + OF_NETPERF) * int(seen["attempts"])
    tracked = int(seen["tracked"])
    if most(tracked, connections):
        return True
    return False if few(tracked, connections) else f"{part_of(tracked, connections)} connections"


def _tables(setup: Setup, seen: Evidence) -> object:
    """Which tables there are depends on versions, so those of kube-proxy or iptables may be expected unnamed."""
    tables, wanted = seen["netfilter_tables"], setup.expected["netfilter_tables"]
    if wanted == KUBE_PROXY and "ip nat" in tables and set(tables) <= KUBE_PROXY_TABLES:
        return KUBE_PROXY
    return IPTABLES if wanted == IPTABLES and set(tables) <= IPTABLES_TABLES else tables


def _programs(setup: Setup, seen: Evidence) -> object:
    """Programs of a CNI are judged by what it says of itself, and with their names by `cni`."""
    return CNI if setup.expected["programs"] == CNI else seen["programs"]


# What `expected` of a variant names, and whether looking at it takes test traffic.
VOCABULARY = {
    "conntrack_hooked": False,
    "tracked": True,
    "netfilter_tables": False,
    "kube_services": False,
    "forwarded_by_stack": True,
    "programs": False,
    "hooks": False,
    "rules": False,
    "socket_programs": False,
}
READERS: Mapping[str, Callable[[Setup, Evidence], object]] = {
    "netfilter_tables": _tables,
    "forwarded_by_stack": _forwarded,
    "tracked": _tracked,
    "programs": _programs,
}


def read(word: str, setup: Setup, seen: Evidence) -> object:
    """What a node shows of a word. Where it is enough that there are some, how many depends on versions."""
    if word in READERS:
        return READERS[word](setup, seen)
    return SOME if setup.expected[word] == SOME and seen[word] else seen[word]


def _beside(setup: Setup, name: str, found: Iterable[str], patterns: Sequence[str] = ()) -> List[str]:
    """Return what neither the setup's own patterns nor the lab's admit."""
    admitted = [*patterns, *setup.allowed.get(name, ())]
    return [word for word in found if not any(fnmatchcase(word, pattern) for pattern in admitted)]


def _hooks(setup: Setup, seen: Evidence) -> List[str]:
    """What takes packets beside the programs on the path's own interfaces, which `programs` looks at."""
    patterns = [str(pattern) for pattern in list_of(setup.expected["hooks"])]
    if setup.expected["programs"] != CNI:
        # What programs hang on is there where programs are.
        patterns += [f"{seen['places'].get(place)} clsact" for place in dict_of(setup.expected["programs"])]
    inside = [f"endpoint: {word}" for word in seen.get("endpoint_hooks", ())]
    return _beside(setup, "hooks", seen["hooks"], patterns) + _beside(setup, "hooks", inside)


def _offloads(setup: Setup, seen: Evidence) -> List[str]:
    """What the interfaces of the path do with packets that they should not do, or leave that they should do."""
    links = {**seen["links"], **({"endpoint": seen["endpoint_link"]} if seen.get("endpoint_link") else {})}
    found = []
    for place, link in sorted(links.items()):
        features = link["features"] or {}
        wanted: Dict[str, bool] = {**dict.fromkeys(NEVER, False), **setup.offloads.get(place, {})}
        for name, on in wanted.items():
            if name in features and features[name] != on:
                found.append(f"{place} {name} {'on' if features[name] else 'off'}")
        sizes = link["sizes"]
        for name in SIZES:
            if name in sizes and sizes[name] not in (LARGEST_JOINED, sizes.get("tso_max_size")):
                found.append(f"{place} {name} {sizes[name]}")
    return _beside(setup, "offloads", found)


def _along(setup: Setup, name: str, seen: Evidence) -> List[str]:
    """What is true of the node's part of the path and of the endpoint's."""
    return _beside(setup, name, [*seen[name], *(f"endpoint: {word}" for word in seen.get(f"endpoint_{name}", ()))])


def unalike(setup: Setup, nodes: Mapping[str, Evidence]) -> Dict[str, str]:
    """Return what the ends have that should be the same at both and is not: how TCP speaks, and how cards are set."""
    judged = {NO_METRICS, *(f"cable {name}" for name in (*NEVER, *setup.offloads.get("cable", ())))}
    told = {node: _settings(seen) for node, seen in nodes.items()}
    found = {}
    for name in sorted({name for settings in told.values() for name in settings} - judged):
        values = [settings.get(name) for settings in told.values()]
        if None not in values and len(set(map(str, values))) > 1:
            found[name] = ", ".join(f"{node} {settings[name]}" for node, settings in told.items())
    return found


def _settings(seen: Evidence) -> Dict[str, object]:
    settings: Dict[str, object] = dict(seen["tcp"])
    cable = seen["links"]["cable"]
    gathers = dict(cable["coalescing"] or {})
    for way in ("rx", "tx"):
        if gathers.get(f"adaptive-{way}"):  # the card sets the rest itself, all the time
            gathers = {name: value for name, value in gathers.items() if not name.startswith(f"{way}-")}
    settings.update((f"cable {name}", value) for name, value in {**(cable["features"] or {}), **gathers}.items())
    return settings


def refuse_unknown(setup: Setup) -> None:
    """Refuse words that nothing would look at: a misspelt expectation must not pass as met."""
    unknown = sorted(set(setup.expected) - {*VOCABULARY, CNI})
    missing = sorted(set(VOCABULARY) - set(setup.expected))
    if unknown or missing:
        raise Refused(
            f"The expected datapath of {setup.name} does not name exactly what a proof looks at.",
            where="the catalog of variants",
            seen=f"unknown: {', '.join(unknown) or 'none'}; missing: {', '.join(missing) or 'none'}",
            hint=f"Name {', '.join(VOCABULARY)}.",
        )
    if setup.encryption not in ENCRYPTIONS:
        hint = f"Known: {', '.join(ENCRYPTIONS)}."
        raise Refused(f"The encryption {setup.encryption} of {setup.name} cannot be proven yet.", hint=hint)


def assertions_of_node(setup: Setup, node: str, seen: Evidence, traffic: bool) -> List[Assertion]:
    """Return what is asserted of either node."""
    found = [
        Assertion(name, node, setup.expected[name], read(name, setup, seen))
        for name, takes_traffic in VOCABULARY.items()
        if name not in ("hooks", "rules") and (traffic or not takes_traffic)
    ]
    found.append(Assertion("hooks", node, [], _hooks(setup, seen)))
    found.append(Assertion("rules", node, [], _beside(setup, "rules", seen["rules"]["foreign"])))
    found.append(Assertion("packet_sockets", node, [], _along(setup, "packet_sockets", seen)))
    found.append(Assertion("steering", node, [], _along(setup, "steering", seen)))
    found.append(Assertion("offloads", node, [], _offloads(setup, seen)))
    found.append(Assertion("tcp_metrics", node, "not saved", _metrics(seen)))
    found.append(Assertion("cable_mtu", node, setup.mtu, seen["cable_mtu"]))
    found.append(Assertion("endpoint_mtu", node, setup.interface_mtu, seen["endpoint_mtu"]))
    words = dict_of(setup.expected.get(CNI, {}))
    found += [
        Assertion(f"cni_{word}", node, wanted, _said(setup, node, word, seen))
        for word, wanted in words.items()
        if traffic or word != FORWARDS
    ]
    if traffic:
        found.append(Assertion("frames_lost", node, 0, int(seen["tap"]["lost"])))
        payload = 2 * setup.transactions * setup.size * int(seen["attempts"])
        found.append(share("cable_carried", node, int(seen["grew"]["cable_bytes"]), payload))
        if setup.expected["programs"] != CNI:
            wanted = sorted(str(name) for name in dict_of(setup.expected["programs"]).values())
            found.append(Assertion("programs_hit", node, wanted, _hit(setup, seen)))
        if setup.encrypted:
            found += _encrypted(setup, node, seen)
    return found


def _metrics(seen: Evidence) -> str:
    """Whether TCP keeps what it learns of a peer: a node would then know more than a pod, which is new."""
    switch = seen["tcp"].get(NO_METRICS)
    return "not saved" if switch == "1" else f"{NO_METRICS} is {switch}"


def _hit(setup: Setup, seen: Evidence) -> List[str]:
    """The programs that redirected nearly all packets of their direction; the others with what they redirected."""
    grew = seen["grew"]
    found = []
    for place, name in dict_of(setup.expected["programs"]).items():
        whole = int(grew["endpoint_sent" if place == "pod" else "endpoint_received"])
        hits = int(grew["hits"].get(name, 0))
        found.append(str(name) if most(hits, whole) else f"{name}: {part_of(hits, whole)}")
    return sorted(found)


def _said(setup: Setup, node: str, word: str, seen: Evidence) -> object:
    """What the CNI says of itself. What its programs forwarded is held against what the endpoint received and sent."""
    said = setup.cni[node]
    if word != FORWARDS:
        return said.get(word)
    found = []
    for way, name in (("egress", "endpoint_sent"), ("ingress", "endpoint_received")):
        counted, whole = int(said["forwarded"].get(way, 0)), int(seen["grew"][name])
        found.append(way if most(counted, whole) else f"{way}: {part_of(counted, whole)}")
    return found


def _encrypted(setup: Setup, node: str, seen: Evidence) -> List[Assertion]:
    """What a node sent while the probe ran, and what its tunnel counted. A tap that lost frames says nothing."""
    tap, grew = seen["tap"], seen["grew"]
    payload = setup.transactions * setup.size
    carried = min(int(grew["tunnel_received"]), int(grew["tunnel_sent"]))
    found = [
        share("tunnel_carried", node, carried, payload * int(seen["attempts"])),
        Assertion("tunnel_errors", node, 0, grew["tunnel_errors"]),
    ]
    if not tap["lost"]:
        found += [
            share("encrypted_on_cable", node, int(tap["tunnel"]), payload),
            Assertion("stray_on_cable", node, {}, tap["stray"]),
            Assertion("text_on_cable", node, 0, tap["text"]),
        ]
    return found


def assertions_of_path(setup: Setup, probe: Evidence, nodes: Mapping[str, Evidence]) -> List[Assertion]:
    """Return what is asserted of the path between the endpoints, as the client saw it."""
    client = setup.client
    listener = setup.listener if nodes[setup.server]["listening"] else "nothing"
    found = [
        Assertion("netserver_listening", setup.server, setup.listener, listener),
        Assertion("endpoint_answers", client, True, probe["endpoint_answers"]),
        Assertion("test_traffic", client, "all transactions", probe["error"] or "all transactions"),
    ]
    found.append(Assertion("ends_alike", setup.server, {}, unalike(setup, nodes)))
    if probe["endpoint_answers"]:
        found.append(Assertion("largest_packet", client, setup.endpoint_mtu, max(probe["passes"], default=None)))
    if probe["error"] is not None:
        return found
    stamped = all(seen["tcp"]["tcp_timestamps"] != "0" for seen in nodes.values())
    mss = setup.endpoint_mtu - IP_AND_TCP_BYTES - (TIMESTAMP_BYTES if stamped else 0)
    found.append(Assertion("mss", client, mss, probe["mss"]))
    if not setup.encrypted and not probe["tap"]["lost"]:
        payload = 2 * setup.transactions * setup.size
        found.append(share("clear_on_cable", client, int(probe["tap"]["readable"]), payload))
    for node in nodes if not setup.tap_sees_wire else (client,):
        found.append(_frames(setup, node, probe, nodes[node]))
    return found


def _frames(setup: Setup, node: str, probe: Evidence, seen: Evidence) -> Assertion:
    """Frames larger than the MTU mean segmentation offload on the cable, which makes the MTU meaningless.

    A packet socket sees frames before a real NIC segments them; there the NIC's own counters say what was on the wire.
    """
    limit = setup.mtu + ETHERNET_BYTES
    if setup.tap_sees_wire:
        largest = int(probe["tap"]["longest"])
    else:
        packets = int(seen["grew"]["received_packets"])
        largest = int(seen["grew"]["received_bytes"]) // packets if packets else 0
    return Assertion("frame_bytes", node, f"at most {limit}", f"at most {limit}" if largest <= limit else f"{largest}")


def dict_of(value: object) -> Mapping[str, object]:
    """Return a mapping as one; anything else is a mistake in the catalog."""
    if not isinstance(value, Mapping):
        hint = "Mend the catalog of variants."
        raise Refused("A mapping is wanted, as of cable and pod to programs.", seen=repr(value), hint=hint)
    return value


def list_of(value: object) -> Sequence[object]:
    """Return a list as one; anything else is a mistake in the catalog."""
    if not isinstance(value, (list, tuple)):
        raise Refused("A list is wanted, as of patterns.", seen=repr(value), hint="Mend the catalog of variants.")
    return value


def prove(setup: Setup, probe: Evidence, nodes: Mapping[str, Evidence]) -> Tuple[Assertion, ...]:
    """Return every assertion that can be judged. Without test traffic, what it would show is left out."""
    refuse_unknown(setup)
    traffic = probe["error"] is None
    found = assertions_of_path(setup, probe, nodes)
    for node, seen in nodes.items():
        found += assertions_of_node(setup, node, seen, traffic)
    return tuple(found)
