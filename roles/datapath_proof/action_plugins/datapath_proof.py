"""Action plugin: hold what the nodes showed against what the setup is expected to be.

Runs on the controller alone, on what the tasks before it gathered. Its result is the proof: whether it holds, every
assertion with what was wanted and seen, and the evidence as it was. It fails the task unless all assertions hold.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

ETHERNET_BYTES = 14
IP_AND_TCP_BYTES = 40
TIMESTAMP_BYTES = 12
KUBE_PROXY = "kube-proxy"
KUBE_PROXY_TABLES = {f"{family} {table}" for family in ("ip", "ip6") for table in ("filter", "mangle", "nat")}
SOME = "some"
IPTABLES = "iptables"
# Cilium 1.9 loads the modules of the legacy tables, whichever iptables it uses.
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
class Assertion:
    """One thing that must be so on one node."""

    name: str
    node: str
    wanted: object
    seen: object

    @property
    def holds(self) -> bool:
        """Whether what was seen is what was wanted."""
        return self.wanted == self.seen

    def __str__(self) -> str:
        return f"{self.name} on {self.node}: wanted {_short(self.wanted)}, seen {_short(self.seen)}"


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


def _tracked(_setup: Setup, seen: Evidence) -> object:
    return seen["tracked"]


def _tables(setup: Setup, seen: Evidence) -> object:
    """Which tables there are depends on versions, so those of kube-proxy or iptables may be expected unnamed."""
    tables, wanted = seen["netfilter_tables"], setup.expected["netfilter_tables"]
    if wanted == KUBE_PROXY and "ip nat" in tables and set(tables) <= KUBE_PROXY_TABLES:
        return KUBE_PROXY
    return IPTABLES if wanted == IPTABLES and set(tables) <= IPTABLES_TABLES else tables


def _programs(setup: Setup, seen: Evidence) -> object:
    """Programs of a CNI are judged by what it says of itself, and with their names by `cni`."""
    return CNI if setup.expected["programs"] == CNI else seen["programs"]


def _or_some(word: str) -> Callable[[Setup, Evidence], object]:
    """How a word is read of which any that are may be expected: how many there are depends on versions."""

    def read(setup: Setup, seen: Evidence) -> object:
        return SOME if setup.expected[word] == SOME and seen[word] else seen[word]

    return read


# What `expected` of a variant names: how it is read from a node's evidence, and whether that takes test traffic.
VOCABULARY: Mapping[str, tuple[Callable[[Setup, Evidence], object], bool]] = {
    "conntrack_hooked": (lambda _setup, seen: seen["conntrack_hooked"], False),
    "tracked": (_tracked, True),
    "netfilter_tables": (_tables, False),
    "kube_services": (_or_some("kube_services"), False),
    "forwarded_by_stack": (_forwarded, True),
    "programs": (_programs, False),
    "socket_programs": (_or_some("socket_programs"), False),
}


def refuse_unknown(setup: Setup) -> None:
    """Refuse words that nothing would look at: a misspelt expectation must not pass as met."""
    unknown = sorted(set(setup.expected) - {*VOCABULARY, CNI})
    missing = sorted(set(VOCABULARY) - set(setup.expected))
    if unknown or missing:
        raise AnsibleActionFail(
            f"{setup.name}: the expected datapath must name exactly {', '.join(VOCABULARY)}. "
            f"Unknown: {', '.join(unknown) or 'none'}. Missing: {', '.join(missing) or 'none'}. "
            "Mend labctl/catalog/variants/"
        )
    if setup.encryption not in ENCRYPTIONS:
        raise AnsibleActionFail(
            f"{setup.name}: encryption {setup.encryption} cannot be proven yet, only {', '.join(ENCRYPTIONS)}"
        )


def assertions_of_node(setup: Setup, node: str, seen: Evidence, traffic: bool) -> list[Assertion]:
    """Return what is asserted of either node."""
    found = [
        Assertion(name, node, setup.expected[name], read(setup, seen))
        for name, (read, takes_traffic) in VOCABULARY.items()
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


def _encrypted(setup: Setup, node: str, seen: Evidence) -> list[Assertion]:
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


def assertions_of_path(setup: Setup, probe: Evidence, nodes: Mapping[str, Evidence]) -> list[Assertion]:
    """Return what is asserted of the path between the endpoints, as the client saw it."""
    client = setup.client
    found = [
        Assertion("netserver_listening", setup.server, setup.listener, _listener(setup, nodes[setup.server])),
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


def _listener(setup: Setup, seen: Evidence) -> str:
    return setup.listener if seen["listening"] else "nothing"


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
        raise AnsibleActionFail(f"{value!r} is expected, and a mapping is wanted, as of cable and pod to programs")
    return value


def prove(setup: Setup, probe: Evidence, nodes: Mapping[str, Evidence]) -> tuple[Assertion, ...]:
    """Return every assertion that can be judged. Without test traffic, what it would show is left out."""
    refuse_unknown(setup)
    traffic = probe["error"] is None
    found = assertions_of_path(setup, probe, nodes)
    for node, seen in nodes.items():
        found += assertions_of_node(setup, node, seen, traffic)
    return tuple(found)


def message(setup: Setup, assertions: tuple[Assertion, ...]) -> str:
    """Return what a person has to know about a proof that does not hold."""
    broken = [assertion for assertion in assertions if not assertion.holds]
    text = f"{setup.name} is not what it claims to be: {len(broken)} of {len(assertions)} assertions do not hold.\n"
    text += "\n".join(f"  {assertion}" for assertion in broken)
    if any(assertion.name == "test_traffic" for assertion in broken):
        text += "\n  What only test traffic shows could not be judged."
    return text


def _short(value: object) -> str:
    shorter = reprlib.Repr()
    shorter.maxstring = shorter.maxother = 300
    return shorter.repr(value) if not isinstance(value, str) else value


class ActionModule(ActionBase):
    """What Ansible looks for in an action plugin."""

    _supports_check_mode = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        probe, nodes = arguments.pop("probe"), arguments.pop("nodes")
        setup = Setup(**arguments)
        assertions = prove(setup, probe, nodes)
        holds = all(assertion.holds for assertion in assertions)
        result.update(
            changed=False,
            holds=holds,
            assertions=[dict(asdict(assertion), holds=assertion.holds) for assertion in assertions],
            evidence={"probe": probe, "nodes": nodes, **({"cni": setup.cni} if setup.expected.get(CNI) else {})},
        )
        if not holds:
            result.update(failed=True, msg=message(setup, assertions))
        return result
