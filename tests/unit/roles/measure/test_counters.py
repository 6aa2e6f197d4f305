"""Counters: those of the kernel under real traffic, and null where there is none to read."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

from labctl_agent import counters
from labctl_agent.instrument import Scene
from labctl_agent.namespaces import Inside
from labctl_agent.places import Node
from labctl_agent.watched import Watched

SNMP = "Ip: Forwarding InReceives\nIp: 1 20\nTcp: MaxConn RetransSegs\nTcp: -1 3\nUdp: NoPorts\nUdp: 7\n"


def scene(cable: str = "lo", watch: bool = True) -> Scene:
    return Scene({}, Inside(Node().enter_network), cable, watch, Watched(tuple))


def talk(size: int) -> None:
    """Send so many bytes over the loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        accepted, _ = server.accept()
        with accepted:
            client.sendall(b"x" * size)
            while size:
                size -= len(accepted.recv(size))


def test_counters_have_the_name_of_their_protocol(tmp_path: Path) -> None:
    (tmp_path / "snmp").write_text(SNMP)
    read = counters.protocol_counters(str(tmp_path / "snmp"), ("Tcp", "Ip"))
    assert read == {"ip.Forwarding": 1, "ip.InReceives": 20, "tcp.MaxConn": -1, "tcp.RetransSegs": 3}
    assert counters.protocol_counters(str(tmp_path / "none"), ("Tcp",)) == {}


def test_what_was_sent_is_what_the_counters_grew_by() -> None:
    instrument = counters.Counters(scene())
    instrument.begin()
    talk(30000)
    readings = instrument.end()["counters"]
    before, after = readings["before"], readings["after"]
    assert before.keys() == after.keys()
    assert after["cable.tx_bytes"] - before["cable.tx_bytes"] >= 30000
    assert after["cable.rx_bytes"] - before["cable.rx_bytes"] >= 30000
    assert after["tcp.ActiveOpens"] > before["tcp.ActiveOpens"]
    assert after["ip.InReceives"] > before["ip.InReceives"]
    assert isinstance(after["tcpext.DelayedACKs"], int)
    assert after["cable.carrier_changes"] == before["cable.carrier_changes"] == carrier_changes("lo")


def carrier_changes(interface: str) -> int:
    """Return what iproute2 says of an interface."""
    shown = subprocess.run(["ip", "-d", "-j", "link", "show", interface], capture_output=True, text=True, check=True)
    assert f'"ifname":"{interface}"' in shown.stdout
    return int(Path(f"/sys/class/net/{interface}/carrier_changes").read_text())


def test_an_interface_that_is_not_there_has_counters_of_null() -> None:
    read = counters.cable_counters("nowhere0")
    assert set(read) == set(counters.cable_counters("lo"))
    assert set(read.values()) == {None}


def test_where_the_node_cannot_be_seen_only_the_endpoint_counts() -> None:
    instrument = counters.Counters(scene(watch=False))
    instrument.begin()
    read = instrument.end()["counters"]["after"]
    assert isinstance(read["tcp.ActiveOpens"], int)
    assert {value for name, value in read.items() if name.startswith(("cable.", "ip.", "conntrack."))} == {None}
