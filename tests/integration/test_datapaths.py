"""Each variant on the real lab: deployed and proven, broken and seen to fail, removed without a trace."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from labctl.engine.events import Event, TaskResult
from labctl.engine.outcome import Outcome
from tests.integration.conftest import ProvisionedLab

pytestmark = pytest.mark.lab

SETUPS = Path(__file__).resolve().parent.parent / "fixtures" / "setups"
CLIENT, SERVER = "node1", "node2"
NODES = (CLIENT, SERVER)
# Everything that a datapath may leave behind, asked of the node itself.
TRACES = """
exec 2>&1; set +e
ip -json link show; ip -oneline address show; ip route show table all; ip rule show; ip netns list
nft list ruleset; cat /proc/net/ip_tables_names; tc qdisc show; tc filter show dev cable0 ingress
systemctl list-units --all --no-legend --plain 'labctl*'; ls /run/systemd/system; ls -A /run/labctl /sys/fs/bpf
pgrep -a netserver
sysctl -a --pattern '^net.ipv4.(conf|ip_forward|tcp_no_metrics)'; true
"""

# Makes the installed programs call a helper that no kernel has, where they call bpf_redirect_peer (155); and back.
OTHER_HELPER = (
    """python3 - <<'END'
import glob, hashlib, pathlib
path = pathlib.Path(glob.glob("/var/lib/labctl/bpf/*.o")[0])
whole = path.read_bytes()
pathlib.Path("/root/programs").write_bytes(whole)
call = bytes([0x85, 0, 0, 0])
assert whole.count(call + (155).to_bytes(4, "little")) == 2
other = whole.replace(call + (155).to_bytes(4, "little"), call + (32767).to_bytes(4, "little"))
path.write_bytes(other)
pathlib.Path(f"{path}.sha256").write_text(hashlib.sha256(other).hexdigest())
END
""",
    """object=$(ls /var/lib/labctl/bpf/*.o); cp /root/programs $object; rm /root/programs
sha256sum < $object | cut -d' ' -f1 > $object.sha256""",
)

# A program on a control group for what sockets of a new group do, and what takes it away again.
GROUP = "$(awk '$3 == \"cgroup2\" {print $2; exit}' /proc/mounts)/stranger"
SOCKET_PROGRAM = Path(__file__).with_name("socket_program.py").read_text()
CONNECTING, RECEIVING = (
    (f"python3 - {GROUP} {kind} <<'END'\n{SOCKET_PROGRAM}\nEND", f"rmdir {GROUP}") for kind in ("connect", "receive")
)

# Half of what arrives on the cable goes to the stack: the program hangs behind a filter for packets with an odd number.
PAST_THE_PROGRAM = """
exec > /dev/null
bpftool prog pin id $(tc filter show dev cable0 ingress | grep -o ' id [0-9]*' | cut -d' ' -f3) /sys/fs/bpf/held
tc filter delete dev cable0 ingress
tc filter add dev cable0 ingress protocol ip pref 10 bpf direct-action object-pinned /sys/fs/bpf/held
tc filter add dev cable0 ingress protocol ip pref 5 u32 match u16 1 1 at 4 flowid 1:1
rm /sys/fs/bpf/held
"""

Broken = set[tuple[str, str]]


@dataclass(frozen=True)
class Bench:
    """The lab, and what the tests do with it."""

    lab: ProvisionedLab
    directory: Path
    setups: Path = SETUPS

    def play(self, playbook: str, variant: str, **changes: object) -> tuple[Outcome, list[TaskResult]]:
        """Run a playbook for a variant, with variables changed on both nodes."""
        more = self.directory / "changes.yml"
        more.write_text(yaml.safe_dump({"all": {"hosts": dict.fromkeys(NODES, changes)}}))
        results: list[TaskResult] = []

        def collect(event: Event) -> None:
            if isinstance(event, TaskResult):
                results.append(event)

        sources = [self.lab.inventory.path, self.setups / f"{variant}.yml", more]
        outcome = self.lab.session.run_playbook(playbook, sources, listener=collect)
        return outcome, results

    def shell(self, node: str, script: str) -> str:
        """Run a script on a node."""
        command = self.lab.command(node, "sh", "-eu")
        done = subprocess.run(command, input=script, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout

    def traces(self) -> dict[str, str]:
        """Return what a datapath could leave behind, per node."""
        return {node: self.shell(node, TRACES) for node in NODES}

    def prove(self, variant: str, **changes: object) -> tuple[Mapping[str, Any], str]:
        """Return the proof's data and the message with which it failed."""
        outcome, results = self.play("prove.yml", variant, **changes)
        proofs = [result for result in results if result.action == "datapath_proof"]
        assert proofs, outcome.failures
        return proofs[-1].data, "".join(failure.message for failure in outcome.failures)

    def assert_broken(self, wanted: Broken, variant: str, **changes: object) -> str:
        """See the proof fail in exactly these assertions, each named with its node in the message; return that."""
        proof, message = self.prove(variant, **changes)
        failed = {(entry["name"], entry["node"]) for entry in proof["assertions"] if not entry["holds"]}
        assert failed == wanted, message
        assert not proof["holds"]
        lines = message.splitlines()
        for name, node in wanted:
            assert any(f" {name} on {node}: wanted " in line for line in lines), message
        assert f"{variant} is not what it claims to be: {len(wanted)} of" in message
        return message


@pytest.fixture(scope="module")
def bench(lab: ProvisionedLab, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(lab, tmp_path_factory.mktemp("setups"))


@contextmanager
def removed(bench: Bench, variant: str) -> Iterator[None]:
    """Take the variant down in the end, and see that nothing of it is left."""
    before = bench.traces()
    try:
        yield
    finally:
        outcome, _ = bench.play("undeploy.yml", variant)
    assert outcome.ok, outcome.failures
    for node, seen in bench.traces().items():
        assert seen == before[node], f"{variant} left something on {node}"


@contextmanager
def deployed(bench: Bench, variant: str) -> Iterator[None]:
    """Have a variant deployed and proven, and see that it leaves nothing."""
    with removed(bench, variant):
        outcome, _ = bench.play("deploy.yml", variant)
        assert outcome.ok, outcome.failures
        yield


@contextmanager
def broken(bench: Bench, *acts: tuple[str, str, str]) -> Iterator[None]:
    """Break things for a while: (node, script that breaks, script that mends)."""
    done: list[tuple[str, str]] = []
    try:
        for node, act, mend in acts:
            bench.shell(node, act)
            done.append((node, mend))
        yield
    finally:
        for node, mend in reversed(done):
            bench.shell(node, mend)


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until it is so, 10 seconds at most."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def in_pod(command: str) -> str:
    return f"ip netns exec labctl-pod {command}"


def on_both(*names: str) -> Broken:
    return {(name, node) for name in names for node in NODES}


def test_baseline(bench: Bench) -> None:
    with deployed(bench, "baseline"):
        act = "nft list table ip labctl > /root/saved; nft delete table ip labctl"
        without_rule = (CLIENT, act, "nft -f /root/saved; rm /root/saved")
        stranger = (SERVER, "nft add table ip6 stranger", "nft delete table ip6 stranger")
        with broken(bench, without_rule, stranger, (SERVER, *CONNECTING)), second_cable(bench):
            gone = {(name, CLIENT) for name in ("conntrack_hooked", "tracked", "rules")} | {("socket_programs", SERVER)}
            elsewhere = {("clear_on_cable", CLIENT), *on_both("cable_carried")}
            bench.assert_broken(gone | elsewhere | on_both("netfilter_tables"), "baseline")
        with broken(bench, (SERVER, "systemctl stop labctl-netserver", "systemctl start labctl-netserver")):
            bench.assert_broken({("netserver_listening", SERVER), ("test_traffic", CLIENT)}, "baseline")


def test_what_bends_a_path_without_showing_in_its_packets(bench: Bench) -> None:
    reads_along = "import socket, time; s = socket.socket(17, 3, socket.htons(3)); time.sleep(60)"
    listener = f'setsid python3 -c "{reads_along}" > /dev/null 2>&1 < /dev/null & echo $! > /run/listener'
    there = "until grep -q ' 0003 ' /proc/net/packet; do sleep 0.05; done"
    last = "$(nft --handle list chain ip labctl input | grep -o 'handle [0-9]*$' | cut -d' ' -f2 | tail -n 1)"
    root = "dev cable0 root"
    no_metrics = "sysctl -q -w net.ipv4.tcp_no_metrics_save="
    with (
        deployed(bench, "baseline"),
        broken(
            bench,
            (CLIENT, f"tc qdisc add {root} tbf rate 10gbit burst 1mb latency 50ms", f"tc qdisc delete {root}"),
            (CLIENT, "ip link set cable0 gso_max_size 30000", "ip link set cable0 gso_max_size 65536"),
            (CLIENT, *RECEIVING),
            (CLIENT, f"{no_metrics}0", f"{no_metrics}1"),
            (SERVER, "nft add rule ip labctl input counter", f"nft delete rule ip labctl input handle {last}"),
            (SERVER, f"{listener}\n{there}", "kill $(cat /run/listener); rm /run/listener"),
            (SERVER, "ethtool -K cable0 gro on", "ethtool -K cable0 gro off"),
            (SERVER, "sysctl -q -w net.ipv4.tcp_sack=0", "sysctl -q -w net.ipv4.tcp_sack=1"),
        ),
        steered(bench, CLIENT),
    ):
        on_client = {(name, CLIENT) for name in ("hooks", "offloads", "socket_programs", "tcp_metrics", "steering")}
        on_server = {(name, SERVER) for name in ("rules", "packet_sockets", "offloads", "ends_alike")}
        told = bench.assert_broken(on_client | on_server, "baseline")
        for seen in (
            "hooks on node1: wanted [], seen ['cable0 root tbf']",
            "offloads on node1: wanted [], seen ['cable gso_max_size 30000']",
            "/stranger cgroup_inet_ingress stranger']",
            "tcp_metrics on node1: wanted not saved, seen tcp_no_metrics_save is 0",
            "steering on node1: wanted [], seen ['cable0 rx-0 rps_cpus 1']",
            "rules on node2: wanted [], seen ['+ ip labctl chain input: counter']",
            "packet_sockets on node2: wanted [], seen ['all on all interfaces by python3']",
            "offloads on node2: wanted [], seen ['cable rx-gro on']",
            "ends_alike on node2: wanted {}, seen {'tcp_sack': 'node1 1, node2 0'}",
        ):
            assert seen in told


@contextmanager
def steered(bench: Bench, node: str) -> Iterator[None]:
    """Let one CPU handle all that a node's cable receives; its own /sys cannot be written to."""
    root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    assert bench.lab.record.local is not None
    space = bench.lab.record.local["netns"][node]

    def steer(cpus: str) -> None:
        act = f"echo {cpus} > /mnt/class/net/cable0/queues/rx-0/rps_cpus"
        act = f"mount -t sysfs none /mnt && mount -o remount,rw /mnt && {act}"
        there = ["nsenter", f"--net=/run/netns/{space}", "unshare", "--mount"]
        subprocess.run([*root, *there, "sh", "-euc", act], check=True)

    steer("1")
    try:
        yield
    finally:
        steer("0")


@contextmanager
def second_cable(bench: Bench) -> Iterator[None]:
    """Lay another link between the nodes and send the test traffic over it."""
    root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    assert bench.lab.record.local is not None
    spaces = bench.lab.record.local["netns"]
    link = ["ip", "link", "add", "other0", "netns", spaces[CLIENT], "type", "veth"]
    subprocess.run([*root, *link, "peer", "name", "other0", "netns", spaces[SERVER]], check=True)
    addresses = {node: json.loads(bench.shell(node, "ip -json -4 address show dev cable0")) for node in NODES}
    ends = {node: found[0]["addr_info"][0]["local"] for node, found in addresses.items()}
    try:
        for node, peer in ((CLIENT, SERVER), (SERVER, CLIENT)):
            bench.shell(node, "ip link set other0 up")
            bench.shell(node, f"ip route add {ends[peer]}/32 dev other0 src {ends[node]}")
        yield
    finally:
        bench.shell(CLIENT, "ip link delete other0")


def test_baseline_notrack(bench: Bench) -> None:
    chain = "chain ip labctl"
    with deployed(bench, "baseline-notrack"):
        saved = "nft --stateless list table ip labctl > /root/saved"
        mended = "nft delete table ip labctl; nft -f /root/saved; rm /root/saved"
        with broken(bench, (SERVER, f"{saved}; nft flush {chain} arriving; nft flush {chain} leaving", mended)):
            bench.assert_broken({("tracked", SERVER), ("rules", SERVER)}, "baseline-notrack")
        # A test that still runs when the setup is taken down: its netserver must not stay.
        address = json.loads(bench.shell(SERVER, "ip -json -4 address show dev cable0"))[0]["addr_info"][0]["local"]
        bench.shell(CLIENT, f"setsid netperf -H {address} -l 60 -t TCP_RR > /dev/null 2>&1 < /dev/null &")
        wait_for(lambda: bench.shell(SERVER, "pgrep -c netserver").strip() == "2")


def test_baseline_clean_and_its_refusal_beside_rules_of_others(bench: Bench) -> None:
    rules = "nft add table ip stranger; nft add chain ip stranger c '{ type filter hook input priority 0; }'"
    rule = (SERVER, f"{rules}; nft add rule ip stranger c ct state new", "nft delete table ip stranger")
    with removed(bench, "baseline-clean"):
        with broken(bench, rule):
            refused, _ = bench.play("deploy.yml", "baseline-clean")
        assert [failure.node for failure in refused.failures] == [SERVER]
        assert "which labctl did not make.\n  seen:  ip stranger\n" in refused.failures[0].message
        outcome, _ = bench.play("deploy.yml", "baseline-clean")
        assert outcome.ok, outcome.failures
        with broken(bench, rule):
            names = ("conntrack_hooked", "tracked", "netfilter_tables", "rules")
            bench.assert_broken({(name, SERVER) for name in names}, "baseline-clean")


def test_veth_iptables(bench: Bench) -> None:
    with deployed(bench, "veth-iptables"):
        again, _ = bench.play("deploy.yml", "veth-iptables")
        assert (again.ok, again.changed) == (True, 0)
        raw = "nft add table ip stranger; nft add chain ip stranger c '{ type filter hook prerouting priority raw; }'"
        # About half of the connections, by the client's port.
        ways = ("tcp dport 12865-12866 tcp sport", "tcp sport 12865-12866 tcp dport")
        half = "; ".join(f"nft add rule ip stranger c {way} and 2 == 2 notrack" for way in ways)
        with broken(
            bench,
            (CLIENT, "iptables-nft -t nat -N KUBE-SVC-STRANGER", "iptables-nft -t nat -X KUBE-SVC-STRANGER"),
            (CLIENT, "ethtool -K cable0 tso on gso on", "ethtool -K cable0 tso off gso off"),
            (SERVER, f"{raw}; {half}", "nft delete table ip stranger"),
            (SERVER, "ip link set cable0 mtu 9000", "ip link set cable0 mtu 1500"),
        ):
            on_client = {(name, CLIENT) for name in ("kube_services", "rules", "frame_bytes", "offloads")}
            on_server = {(name, SERVER) for name in ("tracked", "netfilter_tables", "rules", "cable_mtu")}
            told = bench.assert_broken(on_client | on_server, "veth-iptables")
            assert re.search(r"tracked on node2: wanted True, seen \d+ of 22 connections", told), told
        # More than the tap can hold: sent again, and lost again.
        bench.assert_broken(on_both("frames_lost"), "veth-iptables", datapath_proof_transactions=3000)


def test_veth_ebpf_and_another_variant_over_what_is_left_of_it(bench: Bench) -> None:
    with deployed(bench, "veth-ebpf"):
        again, _ = bench.play("deploy.yml", "veth-ebpf")
        assert (again.ok, again.changed) == (True, 0)
        no_way_back = in_pod("ip route add prohibit 198.18.0.0/15"), in_pod("ip route delete prohibit 198.18.0.0/15")
        with broken(bench, (SERVER, *no_way_back)):
            silent = {("endpoint_answers", CLIENT), ("test_traffic", CLIENT)}
            bench.assert_broken(silent, "veth-ebpf", datapath_proof_wait=1)
        filtered = "tc filter add dev labctl-pod0 egress protocol ip u32 match ip dst 203.0.113.9/32"
        with broken(
            bench,
            (SERVER, in_pod("tc qdisc add dev eth0 clsact"), in_pod("tc qdisc delete dev eth0 clsact")),
            (CLIENT, f"{filtered} action mirred egress redirect dev lo", "tc filter delete dev labctl-pod0 egress"),
            (CLIENT, in_pod("ethtool -K eth0 tso off"), in_pod("ethtool -K eth0 tso on")),
            (SERVER, PAST_THE_PROGRAM, "tc filter delete dev cable0 ingress pref 5"),
        ):
            part = {(name, SERVER) for name in ("programs_hit", "forwarded_by_stack", "hooks")}
            told = bench.assert_broken(part | {("hooks", CLIENT), ("offloads", CLIENT)}, "veth-ebpf")
            assert "hooks on node1: wanted [], seen ['labctl-pod0 egress u32 mirred']" in told
            assert "seen ['cable0 ingress u32', 'endpoint: eth0 clsact']" in told
            assert "offloads on node1: wanted [], seen ['endpoint tx-tcp-segmentation off']" in told
            assert re.search(r"programs_hit on node2: wanted \[.*\], seen \['cable_ingress: \d+ of \d+'", told), told
            assert re.search(r"forwarded_by_stack on node2: wanted False, seen \d+ of \d+ packets", told), told
        bench.shell(CLIENT, in_pod("ip link set eth0 mtu 1400"))
        bench.shell(SERVER, "tc filter delete dev cable0 ingress")
        small = {(name, CLIENT) for name in ("endpoint_mtu", "largest_packet", "mss")}
        gone = {(name, SERVER) for name in ("programs", "programs_hit", "forwarded_by_stack")}
        bench.assert_broken(small | gone, "veth-ebpf")
        bench.shell(SERVER, "ip netns delete labctl-pod")
        with broken(bench, (CLIENT, *OTHER_HELPER)):
            refused, _ = bench.play("deploy.yml", "veth-ebpf", setup_mtu=1400)
        assert [failure.node for failure in refused.failures] == [CLIENT]
        release = bench.shell(CLIENT, "uname -r").strip()
        assert f"Kernel {release} lacks BPF helper 32767" in refused.failures[0].message
        over, _ = bench.play("deploy.yml", "veth-iptables", setup_mtu=9000)
        assert over.ok, over.failures
        everything = on_both("cable_mtu", "endpoint_mtu")
        everything |= {(name, CLIENT) for name in ("largest_packet", "mss", "frame_bytes")}
        bench.assert_broken(everything, "veth-iptables")
