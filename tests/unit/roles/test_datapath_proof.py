"""The proof: what is asserted, what it says, and what of the cable it can read."""

from __future__ import annotations

import copy
import socket
import struct
import threading
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import datapath_barrier as barrier
from ansible.module_utils import datapath_judge as proof
from ansible.module_utils import datapath_tap as tap
from ansible.module_utils.labctl_node.proof import broken as refusal
from ansible.module_utils.labctl_node.refused import Refused

from labctl import catalog

REPOSITORY = Path(__file__).resolve().parent.parent.parent.parent

# What a node of a local lab showed under veth-ebpf.
NODE: dict[str, Any] = {
    "cable_kind": "veth",
    "cable_mtu": 1500,
    "conntrack_hooked": False,
    "endpoint_mtu": 1500,
    "grew": {
        "cable_bytes": 707925,
        "forwarded": 0,
        "hits": {"cable_ingress": 361, "pod_ingress": 140},
        "received_bytes": 353765,
        "received_packets": 363,
    },
    "iptables_backend": None,
    "kube_services": 0,
    "listening": True,
    "netfilter_tables": [],
    "programs": {"cable": "cable_ingress", "pod": "pod_ingress"},
    "socket_programs": [],
    "timestamps": True,
    "tracked": False,
}
PROBE: dict[str, Any] = {
    "endpoint_answers": True,
    "error": None,
    "mss": 1448,
    "passes": [1500],
    "tap": {"bytes": 704484, "clear": 702, "frames": 714, "longest": 1514, "lost": 0, "text": 363},
}


def setup_of(**changes: object) -> Any:
    values: dict[str, Any] = {
        "name": "veth-ebpf",
        "expected": catalog.load().variants["veth-ebpf"].expected,
        "encryption": "none",
        "mtu": 1500,
        "endpoint_mtu": 1500,
        "endpoint_is_node": False,
        "tap_sees_wire": True,
        "transactions": 20,
        "size": 16384,
        "client": "node1",
        "server": "node2",
        "listener": "198.19.0.130:12865 in labctl-pod",
    }
    return proof.Setup(**{**values, **changes})


def evidence() -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    return copy.deepcopy(PROBE), {"node1": copy.deepcopy(NODE), "node2": copy.deepcopy(NODE)}


def broken(assertions: Any) -> set[tuple[str, str]]:
    return {(one.name, one.node) for one in assertions if not one.holds}


def test_a_setup_that_shows_what_it_claims_is_proven() -> None:
    assertions = proof.prove(setup_of(), *evidence())
    assert not broken(assertions)
    assert len(assertions) == 29
    assert {one.name for one in assertions} > set(proof.VOCABULARY)


@pytest.mark.parametrize("name", [name for name in proof.VOCABULARY if name != "forwarded_by_stack"])
def test_each_word_of_the_vocabulary_is_held_against_its_node(name: str) -> None:
    probe, nodes = evidence()
    nodes["node2"][name] = "something else"
    assert broken(proof.prove(setup_of(), probe, nodes)) == {(name, "node2")}


def test_packets_that_the_stack_forwarded_break_a_redirect() -> None:
    probe, nodes = evidence()
    nodes["node1"]["grew"]["forwarded"] = 19
    assert not broken(proof.prove(setup_of(), probe, nodes))
    nodes["node1"]["grew"]["forwarded"] = 20
    assert broken(proof.prove(setup_of(), probe, nodes)) == {("forwarded_by_stack", "node1")}


@pytest.mark.parametrize(
    ("field", "value", "names"),
    [
        ("mss", 1460, {"mss"}),
        ("passes", [1500, 1501], {"largest_packet"}),
        ("passes", [], {"largest_packet"}),
        ("tap", {"longest": 1515, "clear": 702, "text": 363}, {"frame_bytes"}),
        ("tap", {"longest": 1514, "clear": 39, "text": 39}, {"clear_on_cable"}),
        ("tap", {"longest": 1514, "clear": 702, "text": 0}, {"clear_on_cable"}),
    ],
)
def test_each_sight_of_the_client_is_held_against_the_claim(field: str, value: object, names: set[str]) -> None:
    probe, nodes = evidence()
    assert broken(proof.prove(setup_of(), {**probe, field: value}, nodes)) == {(name, "node1") for name in names}


def test_without_timestamps_there_is_room_for_12_bytes_more() -> None:
    probe, nodes = evidence()
    nodes["node2"]["timestamps"] = False
    assert not broken(proof.prove(setup_of(), {**probe, "mss": 1460}, nodes))


def test_a_real_nic_s_frames_are_judged_by_its_own_counters() -> None:
    probe, nodes = evidence()
    probe["tap"]["longest"] = 65226
    nodes["node2"]["grew"]["received_packets"] = 10
    assert broken(proof.prove(setup_of(tap_sees_wire=False), probe, nodes)) == {("frame_bytes", "node2")}


def test_without_test_traffic_only_what_needs_none_is_judged() -> None:
    _, nodes = evidence()
    silent = {"endpoint_answers": True, "error": "no route", "mss": None, "passes": [1500], "tap": None}
    nodes["node2"]["listening"] = False
    assertions = proof.prove(setup_of(), silent, nodes)
    assert broken(assertions) == {("netserver_listening", "node2"), ("test_traffic", "node1")}
    assert not {"tracked", "programs_hit", "cable_carried", "mss"} & {one.name for one in assertions}
    assert str(refusal("veth-ebpf", assertions, "look")) == (
        "veth-ebpf is not what it claims to be: 2 of 18 assertions do not hold.\n"
        "  seen:  netserver_listening on node2: wanted 198.19.0.130:12865 in labctl-pod, seen nothing\n"
        "         test_traffic on node1: wanted all transactions, seen no route\n"
        "  next:  look"
    )


def test_programs_of_sockets_are_expected_without_their_names_or_not_at_all() -> None:
    probe, nodes = evidence()
    nodes["node2"]["socket_programs"] = ["/sys/fs/cgroup connect4 sock4_connect"]
    assert broken(proof.prove(setup_of(), probe, nodes)) == {("socket_programs", "node2")}
    replaced = setup_of(expected={**setup_of().expected, "socket_programs": "some"})
    assert broken(proof.prove(replaced, probe, nodes)) == {("socket_programs", "node1")}


def test_a_word_that_nothing_looks_at_is_refused() -> None:
    expected = dict(catalog.load().variants["veth-ebpf"].expected)
    expected["conntrack_hoked"] = expected.pop("conntrack_hooked")
    with pytest.raises(Refused, match="unknown: conntrack_hoked; missing: conntrack_hooked"):
        proof.prove(setup_of(expected=expected), *evidence())


@pytest.mark.parametrize(
    ("said", "names"),
    [
        ({}, set()),
        ({"host_routing": "legacy"}, {"cni_host_routing"}),
        ({"forwards": ["ingress"]}, {"cni_forwards"}),
        (
            {"failing_controllers": ["sync"], "masquerading": "iptables"},
            {"cni_failing_controllers", "cni_masquerading"},
        ),
    ],
)
def test_what_a_cni_says_of_itself_is_held_against_the_claim(said: dict[str, Any], names: set[str]) -> None:
    expected = catalog.load().variants["cilium-ebpf"].expected
    words: Any = expected["cni"]
    probe, nodes = evidence()
    for seen in nodes.values():
        seen.update(netfilter_tables=["ip filter", "ip6 raw"], programs={"cable": "cil_from_netdev"})
        seen["socket_programs"] = ["/sys/fs/cgroup connect4 sock4_connect"]
    cni = {"node1": {**words, "status": {}}, "node2": {**words, **said}}
    assert broken(proof.prove(setup_of(expected=expected, cni=cni), probe, nodes)) == {
        (name, "node2") for name in names
    }


def test_tables_that_are_not_those_of_iptables_are_not_the_cni_s() -> None:
    expected = catalog.load().variants["cilium-ebpf"].expected
    words: Any = expected["cni"]
    probe, nodes = evidence()
    nodes["node1"]["netfilter_tables"] = ["inet filter"]
    cni = {node: dict(words) for node in nodes}
    assert ("netfilter_tables", "node1") in broken(proof.prove(setup_of(expected=expected, cni=cni), probe, nodes))


# What node2 of a local lab sent and its tunnel counted under veth-ebpf+wireguard-go.
ENCRYPTED: dict[str, Any] = {
    "tap": {
        "frames": 689,
        "bytes": 749179,
        "longest": 1514,
        "clear": 0,
        "tunnel": 320,
        "stray": {},
        "text": 0,
        "lost": 0,
    },
    "grew": {"tunnel_received": 361956, "tunnel_sent": 358236, "tunnel_errors": 0},
}


def encrypted() -> tuple[Any, dict[str, Any], dict[str, dict[str, Any]]]:
    """A setup with WireGuard that shows what it claims."""
    probe, nodes = evidence()
    for seen in nodes.values():
        seen["endpoint_mtu"] = 1440
        seen["programs"] = {"tunnel": "tunnel_ingress", "pod": "pod_ingress"}
        seen["tap"] = dict(ENCRYPTED["tap"])
        seen["grew"] |= ENCRYPTED["grew"] | {"hits": {"tunnel_ingress": 361, "pod_ingress": 140}}
    variant = catalog.load().variants["veth-ebpf"]
    expected = variant.expected_with([variant.encrypted[catalog.Encryption.WIREGUARD]])
    setup = setup_of(encryption="wireguard", endpoint_mtu=1440, expected=expected)
    return setup, {**probe, "mss": 1388, "passes": [1440], "tap": ENCRYPTED["tap"]}, nodes


def test_an_encrypted_setup_that_shows_what_it_claims_is_proven() -> None:
    setup, probe, nodes = encrypted()
    assertions = proof.prove(setup, probe, nodes)
    assert not broken(assertions)
    assert "clear_on_cable" not in {one.name for one in assertions}


@pytest.mark.parametrize(
    ("part", "name", "value", "assertion"),
    [
        ("tap", "tunnel", 19, "encrypted_on_cable"),
        ("tap", "stray", {"protocol 1, 198.18.0.139 to 198.18.0.140": 1}, "stray_on_cable"),
        ("tap", "text", 1, "text_on_cable"),
        ("grew", "tunnel_sent", 327679, "tunnel_carried"),
        ("grew", "tunnel_received", 0, "tunnel_carried"),
        ("grew", "tunnel_errors", 1, "tunnel_errors"),
    ],
)
def test_each_sight_of_a_tunnel_is_held_against_the_claim(part: str, name: str, value: object, assertion: str) -> None:
    setup, probe, nodes = encrypted()
    nodes["node2"][part][name] = value
    assert broken(proof.prove(setup, probe, nodes)) == {(assertion, "node2")}


def test_the_inner_address_of_a_node_with_esp_is_on_the_cable() -> None:
    assert setup_of(encryption="ipsec", endpoint_mtu=1446, endpoint_is_node=True).interface_mtu == 1500
    assert setup_of(encryption="ipsec", endpoint_mtu=1446).interface_mtu == 1446
    assert setup_of(encryption="wireguard", endpoint_mtu=1440, endpoint_is_node=True).interface_mtu == 1440
    of_cni = {"expected": {"cni": {}}, "endpoint_mtu": 1420}
    assert setup_of(encryption="wireguard", **of_cni).interface_mtu == 1500


def test_an_encryption_that_cannot_be_proven_is_refused() -> None:
    with pytest.raises(Refused, match="encryption macsec of veth-ebpf cannot be proven yet"):
        proof.prove(setup_of(encryption="macsec"), *evidence())


def frame(
    source: str, target: str, ports: tuple[int, int], protocol: int = socket.IPPROTO_TCP, words: int = 5
) -> bytes:
    addresses = socket.inet_aton(source) + socket.inet_aton(target)
    header = struct.pack("!BBHHHBBH", 0x40 | words, 0, 1500, 0, 0, 64, protocol, 0) + addresses
    return bytes(12) + b"\x08\x00" + header + bytes((words - 5) * 4) + struct.pack("!HH", *ports) + bytes(8)


def test_a_frame_of_the_probe_is_told_from_others() -> None:
    ends = frozenset({socket.inet_aton("198.19.0.2"), socket.inet_aton("198.19.0.130")})

    def is_probe(data: bytes) -> bool:
        return bool(tap.is_probe(data, ends, 12866))

    assert is_probe(frame("198.19.0.2", "198.19.0.130", (33000, 12866)))
    assert is_probe(frame("198.19.0.130", "198.19.0.2", (12866, 33000), words=6))
    assert not is_probe(frame("198.19.0.2", "198.19.0.130", (33000, 12865)))
    assert not is_probe(frame("198.19.0.2", "198.19.0.130", (33000, 12866), protocol=17))
    assert not is_probe(frame("198.19.0.2", "198.19.0.131", (33000, 12866)))
    assert not is_probe(frame("198.19.0.2", "198.19.0.130", (33000, 12866)).replace(b"\x08\x00", b"\x86\xdd", 1))
    assert not is_probe(b"\xff" * 20)


def test_frames_that_a_node_sent_are_sorted() -> None:
    inside, outside = ("198.19.0.2", "198.19.0.130"), ("198.18.0.139", "198.18.0.140")
    seen, what = tap.Seen(), tap.watched(inside, 12866, outside, outside, (tap.UDP, 51877), 12867)
    tunnel = frame(*outside, (51877, 51877), protocol=17)
    for data, sent in (
        (tunnel, True),
        (tunnel, False),  # received: not judged by content
        (frame(*outside, (12867, 12867), protocol=17), True),  # the ends waiting for each other
        (frame(*outside, (123, 123), protocol=17), True),  # clocks
        (frame(*outside, (53, 53), protocol=17), True),
        (frame(*inside, (33000, 12866)) + tap.CLEAR_TEXT, True),
        (frame(*inside, (33000, 12866)), False),
        (bytes(12) + b"\x08\x06" + bytes(46), True),  # ARP
        (frame(outside[0], "224.0.0.22", (0, 0), protocol=2), True),  # IGMP
    ):
        tap.note(seen, data, len(data), sent, what)
    assert (seen.frames, seen.tunnel, seen.text, seen.clear) == (9, 1, 1, 2)
    assert seen.stray == {
        "protocol 17, 198.18.0.139 to 198.18.0.140": 1,
        "protocol 6, 198.19.0.2 to 198.19.0.130": 1,
    }
    cluster = tap.watched(inside, 12866, outside, outside, (tap.UDP, 51871), 12867, cluster=True)
    for member, strays in ((what, 1), (cluster, 0)):  # the API server and a kubelet
        seen = tap.Seen()
        tap.note(seen, frame(*outside, (6443, 40000)), 60, True, member)
        assert len(seen.stray) == strays
    tap.note(seen, frame(*inside, (6443, 40000)), 60, True, cluster)  # of pods, in clear
    assert list(seen.stray) == ["protocol 6, 198.19.0.2 to 198.19.0.130"]
    # Cilium puts ESP between addresses of its own: those of the nodes are strays then, and the other way about.
    own, none = ("10.217.0.210", "10.217.1.21"), tap.watched(inside, 12866, outside, outside, (0, 0), 12867)
    assert not tap.is_between(tunnel, none.tunnel_ends, *none.tunnel)
    for outer, other in ((own, outside), (outside, own)):
        esp = tap.watched(inside, 12866, outside, outer, (tap.ESP, 0), 12867, cluster=True)
        seen = tap.Seen()
        for ends in (outer, other):
            tap.note(seen, frame(*ends, (1, 1), protocol=50), 60, True, esp)
        assert (seen.tunnel, seen.stray) == (1, {f"protocol 50, {other[0]} to {other[1]}": 1})


def test_the_ends_of_a_proof_wait_for_each_other() -> None:
    order: list[str] = []

    def serve() -> None:
        with barrier.Barrier("127.0.0.2", "127.0.0.3", 12867) as end:
            order.append("server ready")
            assert end.attend(5)
            order.append("server done")

    server = threading.Thread(target=serve)
    with barrier.Barrier("127.0.0.3", "127.0.0.2", 12867) as end:
        assert not end.join(0.05)
        server.start()
        assert end.join(5)
        order.append("traffic")
        assert end.leave()
    server.join(5)
    assert order == ["server ready", "traffic", "server done"]


def test_a_server_whose_client_does_not_come_gives_up() -> None:
    with barrier.Barrier("127.0.0.2", "127.0.0.3", 12867) as end:
        assert not end.attend(0.05)


def kube_proxy(**expected: object) -> Any:
    wanted = {**catalog.load().variants["k8s-ptp"].expected, "conntrack_hooked": False, "tracked": False}
    return setup_of(expected={**wanted, "programs": NODE["programs"], "forwarded_by_stack": False, **expected})


@pytest.mark.parametrize(
    ("tables", "services", "broken_words"),
    [
        (["ip filter", "ip mangle", "ip nat"], 4, set()),
        (["ip filter", "ip nat", "ip6 filter", "ip6 nat"], 1, set()),
        (["ip filter", "ip mangle"], 4, {"netfilter_tables"}),
        (["ip filter", "ip nat", "inet filter"], 4, {"netfilter_tables"}),
        (["ip filter", "ip nat"], 0, {"kube_services"}),
    ],
)
def test_tables_and_services_of_kube_proxy_are_expected_without_their_number(
    tables: list[str], services: int, broken_words: set[str]
) -> None:
    probe, nodes = evidence()
    for node in nodes.values():
        node["netfilter_tables"], node["kube_services"] = tables, services
    seen = broken(proof.prove(kube_proxy(), probe, nodes))
    assert seen == {(word, node) for word in broken_words for node in ("node1", "node2")}
