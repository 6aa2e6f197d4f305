"""What may bend a path: taken out of what real kernels and tools say."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils import datapath_card as card
from ansible.module_utils import datapath_echo as echo
from ansible.module_utils import datapath_hooks as hooks
from ansible.module_utils import datapath_namespace as namespace
from ansible.module_utils import datapath_netlink as netlink
from ansible.module_utils import datapath_observe as observe
from ansible.module_utils import datapath_state as state
from ansible.module_utils.labctl_node.refused import Refused

FIXTURES = Path(__file__).resolve().parent.parent.parent / "fixtures" / "datapath"
NODE: dict[str, Any] = json.loads((FIXTURES / "node.json").read_text())
# The rules of a kube-proxy, in nftables.
KUBE_PROXY = (FIXTURES / "kube-proxy.nft").read_text()
NAMES = {index: name for name, index in NODE["interfaces"].items()}


def entries(what: str) -> list[Any]:
    return [entry for octets in NODE[what] for entry in netlink.entries_of(bytes.fromhex(octets))]


def test_queueing_disciplines_that_somebody_set_are_told_from_the_kernel_s_own() -> None:
    assert {entry.kind for entry in entries("qdiscs")} == {"noqueue", "tbf", "clsact"}
    assert sorted(map(str, hooks.qdiscs(entries("qdiscs"), NAMES))) == ["cable0 clsact", "cable0 root tbf"]
    assert hooks.qdiscs(entries("qdiscs"), {1: "lo"}) == []


def test_a_filter_is_told_once_with_its_actions() -> None:
    found = hooks.filters("cable0", "egress", entries("filters"))
    assert list(map(str, found)) == ["cable0 egress u32 mirred"]


def test_a_refusal_of_the_kernel_is_an_error() -> None:
    refusal = netlink.HEADER.pack(36, netlink.ERROR, 0, 1, 0) + (-19).to_bytes(4, "little", signed=True) + bytes(16)
    with pytest.raises(OSError, match="No such device"):
        list(netlink.entries_of(refusal))


def test_the_last_datagram_of_a_dump_is_known() -> None:
    assert [netlink.is_last(bytes.fromhex(octets)) for octets in NODE["qdiscs"]][-1]
    assert not netlink.is_last(b"")


def test_this_machine_has_interfaces_that_nobody_shapes() -> None:
    """Asked of the kernel itself, as on a node."""
    assert {entry.kind for entry in netlink.dump(netlink.GET_QDISC) if entry.index == 1} <= {"noqueue"}


def test_features_of_an_interface_are_told_by_the_kernel_s_names() -> None:
    found = card.features_of(bytes.fromhex(NODE["names"]), bytes.fromhex(NODE["blocks"]))
    assert {name: found[name] for name in ("tx-generic-segmentation", "tx-tcp-segmentation", "rx-gro", "rx-lro")} == {
        "tx-generic-segmentation": False,
        "tx-tcp-segmentation": False,
        "rx-gro": False,
        "rx-lro": False,
    }
    assert found["tx-scatter-gather"]
    assert set(state.FEATURES) - set(found) <= {"macsec-hw-offload", "esp-tx-csum-hw-offload"}


def test_loopback_has_features_and_gathers_no_interrupts() -> None:
    assert (card.features("lo") or {})["loopback"] is True
    assert card.coalescing("lo") is None


def test_a_card_s_coalescing_is_read_by_the_names_of_ethtool() -> None:
    octets = bytes.fromhex("0e000000" + "32000000" + "00000000" * 3 + "08000000" + "00000000" * 4 + "01000000" * 2)
    found = card.coalescing_of(octets + bytes(card.COALESCE_BYTES - len(octets)))
    assert (found["rx-usecs"], found["tx-usecs"], found["adaptive-rx"], found["adaptive-tx"]) == (50, 8, 1, 1)


def test_who_reads_along_is_found_by_protocol_and_interface() -> None:
    assert list(state.packet_sockets(NODE["packet"], {3: "cable0"}).values()) == ["all on cable0"]
    assert state.packet_sockets(NODE["packet"], {2: "mgmt0"}) == {}  # LLDP is nobody's traffic
    everywhere = NODE["packet"].replace("0003   3 ", "0800   0 ")
    assert list(state.packet_sockets(everywhere, {2: "mgmt0"}).values()) == ["IPv4 on all interfaces"]


def test_a_socket_is_told_with_its_process() -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader), os.fdopen(writer, "w"):
        assert state.owners({1: "all on cable0"}) == ["all on cable0 by a process of another node"]
    assert state.owners({}) == []


LOADED = state.sections(KUBE_PROXY)


def changed(*changes: tuple[str, str]) -> list[str]:
    text = KUBE_PROXY
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    found: list[str] = state.changed(state.sections(text), LOADED)
    return found


ONE_RULE = "\t\tct state new  counter jump KUBE-SERVICES\n"


def test_rules_as_they_were_loaded_are_not_changed() -> None:
    assert state.tables_of(KUBE_PROXY) == ["ip filter", "ip mangle", "ip nat"]
    assert changed() == []
    assert set(state.sums(LOADED)) == {"ip filter", "ip mangle", "ip nat"}


@pytest.mark.parametrize(
    ("old", "new", "seen"),
    [
        (ONE_RULE, "", ["- ip filter chain FORWARD: ct state new  counter jump KUBE-SERVICES"]),
        (ONE_RULE, f"{ONE_RULE}\t\tcounter\n", ["+ ip filter chain FORWARD: counter"]),
        (ONE_RULE, f"{ONE_RULE}{ONE_RULE}", ["+ ip filter chain FORWARD: ct state new  counter jump KUBE-SERVICES"]),
        (
            "\tchain KUBE-FORWARD {\n",
            "\tflowtable f {\n\t\thook ingress priority 0\n\t}\n\tchain KUBE-FORWARD {\n",
            ["+ ip filter flowtable f", "+ ip filter flowtable f: hook ingress priority 0"],
        ),
        ("policy accept", "policy drop", None),
    ],
)
def test_a_rule_that_came_or_went_is_named(old: str, new: str, seen: list[str] | None) -> None:
    told = changed((old, new))
    assert told == seen if seen is not None else len(told) == 2
    assert state.sums(state.sections(KUBE_PROXY.replace(old, new, 1))) != state.sums(LOADED)


def test_rules_in_another_order_are_not_what_was_loaded() -> None:
    first, second = "ct state new  counter jump KUBE-SERVICES", "ct state new  counter jump KUBE-EXTERNAL-SERVICES"
    swapped = ((f"\t\t{first}\n\t\t{second}\n", f"\t\t{second}\n\t\t{first}\n"),)
    assert changed(*swapped) == ["the rules stand in another order"]


def test_without_a_record_nothing_is_as_it_was_loaded() -> None:
    assert state.changed(LOADED, None) == ["nothing is on record"]


def test_rules_of_kube_proxy_are_known_by_their_chains() -> None:
    assert state.foreign(LOADED, ["KUBE-*"]) == []
    assert len(state.foreign(LOADED, ["CILIUM_*"])) > 10


@pytest.mark.parametrize(
    ("old", "new", "seen"),
    [
        (ONE_RULE, f"{ONE_RULE}\t\tct state invalid drop\n", ["ip filter chain FORWARD: ct state invalid drop"]),
        (ONE_RULE, f"{ONE_RULE}\t\tcounter jump OTHER\n", ["ip filter chain FORWARD: counter jump OTHER"]),
        ("chain KUBE-FORWARD {", "chain OTHER {", None),
        ("table ip filter {\n", "table ip filter {\n\tflowtable f {\n\t}\n", ["ip filter flowtable f"]),
        (
            "priority mangle; policy accept",
            "priority mangle; policy drop",
            ["ip mangle chain PREROUTING: type filter hook prerouting priority mangle; policy drop;"],
        ),
    ],
)
def test_a_rule_in_an_allowed_table_that_is_not_its_owner_s_is_named(
    old: str, new: str, seen: list[str] | None
) -> None:
    assert old in KUBE_PROXY
    told = state.foreign(state.sections(KUBE_PROXY.replace(old, new, 1)), ["KUBE-*"])
    assert told == seen if seen is not None else "ip filter chain OTHER" in told


def test_legacy_tables_are_read_the_same_way() -> None:
    # synthetic, in the form of iptables-legacy-save.
    saved = """*filter
:INPUT ACCEPT [0:0]
:KUBE-FIREWALL - [0:0]
-A INPUT -j KUBE-FIREWALL
-A INPUT -p tcp -j REJECT
-A KUBE-FIREWALL -j DROP
COMMIT
"""
    found = state.legacy_sections(saved, "ip (legacy)")
    assert state.foreign(found, ["KUBE-*"]) == ["ip (legacy) filter chain INPUT: -A INPUT -p tcp -j REJECT"]
    assert list(state.sums(found)) == ["ip (legacy) filter"]


def test_connections_are_counted_by_the_port_that_was_asked_for() -> None:
    # conntrack 1.4.7 on node1 of a local lab, under veth-iptables.
    listing = (
        "tcp      6 93 TIME_WAIT src=198.19.132.2 dst=198.19.132.130 sport=35775 dport=12865 "
        "src=198.19.132.130 dst=198.19.132.2 sport=12865 dport=35775 [ASSURED] mark=0 use=1\n"
        "tcp      6 93 TIME_WAIT src=198.19.132.2 dst=198.19.132.130 sport=50105 dport=6443 "
        "src=198.19.132.130 dst=198.19.132.2 sport=6443 dport=12865 [ASSURED] mark=0 use=1\n"
    )
    assert observe.tracked_of(listing, (12865, 12866)) == 1


def test_a_namespace_that_is_gone_is_named() -> None:
    with namespace.inside(""):
        pass
    with pytest.raises(Refused, match="namespace of the endpoint is not there"), namespace.inside("labctl-nowhere"):
        pass


def test_a_ping_is_a_packet_of_exactly_the_size_that_was_asked_for() -> None:
    for size in (echo.SMALL, 1500, 1501):
        octets = echo.request(0x1234, 7, size)
        assert len(octets) + echo.IP_BYTES == size
        assert echo.checksum(octets) == 0  # as its receiver reckons
        assert echo.HEADER.unpack_from(octets)[3:] == (0x1234, 7)


@pytest.mark.skipif(os.geteuid() != 0, reason="raw sockets take root")
def test_a_ping_that_is_too_large_is_refused_at_its_source_and_not_waited_for() -> None:
    started = time.monotonic()
    assert echo.answered("127.0.0.1", (echo.SMALL, 65535 + 1), 5) == [echo.SMALL]
    assert time.monotonic() - started < 2
