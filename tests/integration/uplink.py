"""The network of a local lab between a neighbour and a far network, in namespaces that stand for all of them.

Run by test_uplink.py inside a namespace that stands for the host, with a state directory and a 1 for each of the host's
interfaces, uplink first, by which it routes for others anyway. Prints as JSON who reached whom, before, with and after
a lab.
"""

from __future__ import annotations

import ctypes
import json
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from ansible.module_utils.labctl_node.machine import boot_id
from ansible.module_utils.local_lab_host_state import compare, record
from ansible.module_utils.local_lab_network import build, remove
from ansible.module_utils.local_lab_plan import plan
from ansible.module_utils.local_lab_record import LocalFiles, Record

# The host's interface, its address, and the neighbour's behind it.
UPLINK = ("up0", "10.9.1.1", "10.9.1.2")
FAR = ("down0", "10.9.2.1", "10.9.2.2")
INDEX = 253
CLONE_NEWNET = 0x40000000
ECHO_REPLY = 0
ECHO_REQUEST = bytes([8, 0, 0xF7, 0xFE, 0, 1, 0, 0])  # type, code, checksum, identifier, number
NODE = f"198.18.{INDEX}.11"


def ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True)


def forwarding(interface: str) -> Path:
    return Path(f"/proc/sys/net/ipv4/conf/{interface}/forwarding")


def make_network(routes: str) -> None:
    """A host with two interfaces, and somebody behind each who routes by it."""
    for name, (interface, own, other), route in (("lan", UPLINK, routes[0]), ("far", FAR, routes[1])):
        ip(f"netns add {name}")
        ip(f"link add {interface} type veth peer name eth0 netns {name}")
        ip(f"address add {own}/24 dev {interface}")
        ip(f"link set {interface} up")
        ip(f"-netns {name} address add {other}/24 dev eth0")
        ip(f"-netns {name} link set eth0 up")
        ip(f"-netns {name} route add default via {own}")
        forwarding(interface).write_text(route)
    ip(f"route add default via {UPLINK[2]}")


def socket_in(namespace: str) -> socket.socket:
    """A socket for ICMP in a namespace; it stays there when this thread has gone back."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/thread-self/ns/net").open() as own, Path(f"/run/netns/{namespace}").open() as other:
        assert libc.setns(other.fileno(), CLONE_NEWNET) == 0
        try:
            return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        finally:
            assert libc.setns(own.fileno(), CLONE_NEWNET) == 0


def reaches(source: str, address: str, own: str = "") -> bool:
    """Whether an echo request gets an answer; this machine may have no ping."""
    with socket_in(source) as probe:
        probe.settimeout(0.3)
        if own:
            probe.bind((own, 0))
        probe.sendto(ECHO_REQUEST, (address, 0))
        with suppress(TimeoutError):
            while True:
                packet, (sender, _) = probe.recvfrom(1500)
                if sender == address and packet[20] == ECHO_REPLY:
                    return True
    return False


def seen() -> dict[str, object]:
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    return {
        "neighbour to far": reaches("lan", FAR[2]),
        "far to neighbour": reaches("far", UPLINK[2]),
        "neighbour to node": reaches("lan", NODE),
        "far to node": reaches("far", NODE),
        "forwarding": [forwarding(interface).read_text().strip() for interface, *_ in (UPLINK, FAR)],
        "table": "labctl" in tables,
    }


def main(state: str, routes: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run/netns"], check=True)  # names of this test's own
    make_network(routes)
    files = LocalFiles(state, "up")
    Path(files.directory).mkdir(parents=True)
    origin = {"inventory": "/inventory", "boot_id": boot_id(), "created": "2026-01-01", "release": "bookworm"}
    lab = Record(plan=plan("up", INDEX, ["node1", "node2"]), tree="/tree", uplink=UPLINK[0], **origin)
    record(files.host_state, [], state)
    told: dict[str, object] = {"before": seen()}
    build(lab, files)
    node = lab.plan.nodes[0].netns
    ip(f"-netns {node} address add 10.7.7.7/32 dev lo")
    ip(f"-netns lan route add 10.7.7.7 via {UPLINK[1]}")
    told["with"] = {
        **seen(),
        "node to neighbour": reaches(node, UPLINK[2]),
        "node to node": reaches(node, lab.plan.nodes[1].address),
        "foreign source": reaches(node, UPLINK[2], "10.7.7.7"),
    }
    remove(lab, files)
    told["after"] = seen()
    compare(files.host_state, [], state)
    forwarding(UPLINK[0]).write_text(str(1 - int(routes[0])))
    try:
        compare(files.host_state, [], state)
    except Exception as refused:  # noqa: BLE001  (said, and looked at, by the test)
        told["changed"] = str(refused)
    print(json.dumps(told))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
