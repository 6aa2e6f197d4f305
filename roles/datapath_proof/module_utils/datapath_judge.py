"""What the nodes showed, held against what a setup is expected to be."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable, List, Mapping, Tuple

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
ENCRYPTIONS = ("none", "wireguard", "ipsec")

Evidence = Mapping[str, Any]


@dataclass(frozen=True)
class Setup:
    """What the setup claims, and how the probe was made.

    Sizes in bytes; `endpoint_mtu` is the largest packet between the endpoints, `mtu` that of the cable.
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


def _forwarded(setup: Setup, seen: Evidence) -> bool:
    # Each transaction crosses the node at least once in each direction; strays are fewer than that.
    return int(seen["grew"]["forwarded"]) >= setup.transactions


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
    "socket_programs": False,
}
READERS: Mapping[str, Callable[[Setup, Evidence], object]] = {
    "netfilter_tables": _tables,
    "forwarded_by_stack": _forwarded,
    "programs": _programs,
}


def read(word: str, setup: Setup, seen: Evidence) -> object:
    """What a node shows of a word. Where it is enough that there are some, how many depends on versions."""
    if word in READERS:
        return READERS[word](setup, seen)
    return SOME if setup.expected[word] == SOME and seen[word] else seen[word]


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
        if traffic or not takes_traffic
    ]
    found.append(Assertion("cable_mtu", node, setup.mtu, seen["cable_mtu"]))
    found.append(Assertion("endpoint_mtu", node, setup.interface_mtu, seen["endpoint_mtu"]))
    words = dict_of(setup.expected.get(CNI, {}))
    found += [Assertion(f"cni_{word}", node, wanted, setup.cni[node].get(word)) for word, wanted in words.items()]
    if traffic:
        payload = 2 * setup.transactions * setup.size
        found.append(Assertion("cable_carried", node, True, int(seen["grew"]["cable_bytes"]) >= payload))
        if setup.expected["programs"] != CNI:
            wanted = sorted(str(name) for name in dict_of(setup.expected["programs"]).values())
            hit = sorted(name for name, count in seen["grew"]["hits"].items() if count >= setup.transactions)
            found.append(Assertion("programs_hit", node, wanted, hit))
        if setup.encrypted:
            found += _encrypted(setup, node, seen)
    return found


def _encrypted(setup: Setup, node: str, seen: Evidence) -> List[Assertion]:
    """What a node sent while the probe ran, and what its tunnel counted."""
    tap, grew = seen["tap"], seen["grew"]
    payload = setup.transactions * setup.size
    carried = min(int(grew["tunnel_received"]), int(grew["tunnel_sent"])) >= payload
    return [
        # Each transaction leaves either node in at least one packet.
        Assertion("encrypted_on_cable", node, True, tap["tunnel"] >= setup.transactions),
        Assertion("stray_on_cable", node, {}, tap["stray"]),
        Assertion("text_on_cable", node, 0, tap["text"]),
        Assertion("tunnel_carried", node, True, carried),
        Assertion("tunnel_errors", node, 0, grew["tunnel_errors"]),
    ]


def assertions_of_path(setup: Setup, probe: Evidence, nodes: Mapping[str, Evidence]) -> List[Assertion]:
    """Return what is asserted of the path between the endpoints, as the client saw it."""
    client = setup.client
    listener = setup.listener if nodes[setup.server]["listening"] else "nothing"
    found = [
        Assertion("netserver_listening", setup.server, setup.listener, listener),
        Assertion("endpoint_answers", client, True, probe["endpoint_answers"]),
        Assertion("test_traffic", client, "all transactions", probe["error"] or "all transactions"),
    ]
    if probe["endpoint_answers"]:
        found.append(Assertion("largest_packet", client, setup.endpoint_mtu, max(probe["passes"], default=None)))
    if probe["error"] is not None:
        return found
    stamped = all(seen["timestamps"] for seen in nodes.values())
    mss = setup.endpoint_mtu - IP_AND_TCP_BYTES - (TIMESTAMP_BYTES if stamped else 0)
    found.append(Assertion("mss", client, mss, probe["mss"]))
    if not setup.encrypted:
        readable = probe["tap"]["clear"] >= 2 * setup.transactions and probe["tap"]["text"] > 0
        found.append(Assertion("clear_on_cable", client, True, readable))
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


def prove(setup: Setup, probe: Evidence, nodes: Mapping[str, Evidence]) -> Tuple[Assertion, ...]:
    """Return every assertion that can be judged. Without test traffic, what it would show is left out."""
    refuse_unknown(setup)
    traffic = probe["error"] is None
    found = assertions_of_path(setup, probe, nodes)
    for node, seen in nodes.items():
        found += assertions_of_node(setup, node, seen, traffic)
    return tuple(found)
