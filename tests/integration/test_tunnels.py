"""Encrypted setups on the real lab: proven, broken and seen to fail, their keys nowhere, removed without a trace."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from pathlib import Path

import pytest

from labctl.catalog import Encryption, load
from labctl.catalog.lab import TunnelFacts
from labctl.engine.events import TaskResult
from labctl.nodes import encryption
from labctl.nodes.fingerprint import parse
from tests.commands import matrix_command
from tests.integration.conftest import ProvisionedLab, wait_until
from tests.integration.test_datapaths import (
    CLIENT,
    NODES,
    SERVER,
    Bench,
    bench,
    broken,
    in_pod,
    on_both,
    removed,
)

pytestmark = pytest.mark.lab
__all__ = ["bench"]  # a fixture

PORT = 51877


@pytest.fixture(scope="module")
def facts(lab: ProvisionedLab) -> TunnelFacts:
    """What the lab's nodes can encrypt with."""
    return facts_of(lab)


def facts_of(lab: ProvisionedLab) -> TunnelFacts:
    """What the nodes of a lab can encrypt with."""
    found: list[TaskResult] = []

    def collect(event: object) -> None:
        if isinstance(event, TaskResult) and event.action == "fingerprint":
            found.append(event)

    outcome = lab.session.run_playbook("check.yml", [lab.inventory.path], listener=collect)
    assert outcome.ok, outcome.failures
    return encryption.facts([parse(result.data["fingerprint"], result.node) for result in found])


def encrypted(variant: str, facts: TunnelFacts, encryption: Encryption, mtu: int = 1500) -> dict[str, object]:
    """What a setup's own variables say beyond those of the unencrypted one."""
    tunnel = facts.of(encryption)
    assert tunnel is not None
    planned = load().variants[variant]
    peer = encryption in planned.redirect_peer and facts.redirect_peer is True
    differences = (planned.encrypted.get(encryption, {}), planned.redirect_peer[encryption] if peer else {})
    return {
        "setup_encryption": encryption.value,
        "setup_tunnel": tunnel.value,
        "setup_mtu": mtu,
        "setup_endpoint_mtu": tunnel.inner_mtu(mtu),
        "setup_redirect_peer": peer,
        "setup_expected": dict(planned.expected_with(differences)),
    }


def secrets_of(bench: Bench) -> list[str]:
    """The private keys as they could stand in a file: in base64, and in hexadecimal."""
    texts = [bench.shell(node, "cat /run/labctl/tunnel.key").strip() for node in NODES]
    return [form for text in texts for form in (text, base64.b64decode(text).hex())]


def test_wireguard_hides_what_nodes_say(bench: Bench, facts: TunnelFacts) -> None:
    changes = encrypted("baseline", facts, Encryption.WIREGUARD)
    with removed(bench, "baseline"):
        outcome, results = bench.play("deploy.yml", "baseline", **changes)
        assert outcome.ok, outcome.failures
        for secret in secrets_of(bench):
            assert secret not in json.dumps([result.data for result in results])
        again, _ = bench.play("deploy.yml", "baseline", **changes)
        assert (again.ok, again.changed) == (True, 0)
        # Somebody speaks on the cable beside the tunnel. The probe of 20 transactions may be over between two words.
        peer = json.loads(bench.shell(SERVER, "ip -json -4 address show dev cable0"))[0]["addr_info"][0]["local"]
        stray = f"setsid ping -q -i 0.002 {peer} > /dev/null 2>&1 < /dev/null & echo $! > /run/stray"
        with broken(bench, (CLIENT, stray, "kill $(cat /run/stray); rm /run/stray")):
            longer = {"datapath_proof_transactions": 500}
            bench.assert_broken(on_both("stray_on_cable"), "baseline", **changes, **longer)
        # The tunnel's port is not the one that the setup claims: what crosses the cable is not the tunnel.
        wrong = {"datapath_proof_tunnel_port": PORT + 1}
        bench.assert_broken(on_both("encrypted_on_cable", "stray_on_cable"), "baseline", **changes, **wrong)


def test_a_packet_as_long_as_the_tunnel_takes_passes_the_stack_by(bench: Bench, facts: TunnelFacts) -> None:
    """One alone, as TCP sends where little may be under way: others come as one that is cut later."""
    changes = encrypted("veth-ebpf", facts, Encryption.WIREGUARD)
    with removed(bench, "veth-ebpf"):
        outcome, _ = bench.play("deploy.yml", "veth-ebpf", **changes)
        assert outcome.ok, outcome.failures
        peer = json.loads(bench.shell(SERVER, in_pod("ip -json -4 address show dev eth0")))[0]["addr_info"][0]["local"]
        forwarded = "awk '/^Ip: [0-9]/ { print $7 }' /proc/net/snmp"
        before = [int(bench.shell(node, forwarded)) for node in NODES]
        size = int(str(changes["setup_endpoint_mtu"])) - 28  # IPv4's header and ICMP's
        bench.shell(CLIENT, in_pod(f"ping -q -M do -c 20 -i 0.01 -s {size} {peer}"))
        assert [int(bench.shell(node, forwarded)) for node in NODES] == before


def test_a_way_past_the_tunnel_is_found(bench: Bench, facts: TunnelFacts) -> None:
    changes = encrypted("veth-iptables", facts, Encryption.WIREGUARD)
    with removed(bench, "veth-iptables"):
        outcome, _ = bench.play("deploy.yml", "veth-iptables", **changes)
        assert outcome.ok, outcome.failures
        ends = {node: json.loads(bench.shell(node, "ip -json -4 address show dev cable0")) for node in NODES}
        cable = {node: found[0]["addr_info"][0]["local"] for node, found in ends.items()}
        route = "ip -json route show dev labctl-wg0"
        network = {node: json.loads(bench.shell(node, route))[0]["dst"] for node in NODES}
        past = [
            (
                node,
                f"ip route replace {network[node]} via {cable[peer]} dev cable0",
                f"ip route replace {network[node]} dev labctl-wg0",
            )
            for node, peer in ((CLIENT, SERVER), (SERVER, CLIENT))
        ]
        with broken(bench, *past):
            names = ("encrypted_on_cable", "stray_on_cable", "text_on_cable", "tunnel_carried")
            bench.assert_broken(on_both(*names), "veth-iptables", **changes)
        over, _ = bench.play("deploy.yml", "veth-ebpf", **encrypted("veth-ebpf", facts, Encryption.WIREGUARD, 9000))
        assert over.ok, over.failures


def test_a_tunnel_half_gone_is_noticed_and_replaced(bench: Bench, facts: TunnelFacts) -> None:
    changes = encrypted("baseline-clean", facts, Encryption.WIREGUARD)
    with removed(bench, "baseline-clean"):
        outcome, _ = bench.play("deploy.yml", "baseline-clean", **changes)
        assert outcome.ok, outcome.failures
        bench.shell(SERVER, "systemctl stop labctl-wireguard || ip link delete labctl-wg0")
        proof, _ = bench.prove("baseline-clean", **changes, datapath_proof_wait=1)
        failed = {entry["name"] for entry in proof["assertions"] if not entry["holds"]}
        assert {"endpoint_answers", "test_traffic"} <= failed
        again, _ = bench.play("deploy.yml", "baseline-clean", **changes)
        assert again.ok, again.failures
        # Without encryption over what is there: no key stays behind.
        plain, _ = bench.play("deploy.yml", "baseline-clean")
        assert plain.ok, plain.failures
        for node in NODES:
            assert bench.shell(node, "ls /run/labctl").split() == ["datapath.json"]


def test_what_is_in_the_way_of_a_tunnel_is_refused(bench: Bench, facts: TunnelFacts) -> None:
    changes = encrypted("baseline-clean", facts, Encryption.WIREGUARD)
    holder = f"import socket, time; s = socket.socket(2, 2); s.bind(('0.0.0.0', {PORT})); time.sleep(60)"
    taken = f'setsid python3 -c "{holder}" > /dev/null 2>&1 < /dev/null & echo $! > /run/holder'
    bound = f"until ss -uln | grep -q :{PORT}; do sleep 0.05; done"
    with removed(bench, "baseline-clean"):
        with broken(bench, (SERVER, f"{taken}\n{bound}", "kill $(cat /run/holder); rm /run/holder")):
            refused, _ = bench.play("deploy.yml", "baseline-clean", **changes)
        assert [failure.node for failure in refused.failures] == [SERVER]
        assert f"UDP port {PORT} of this node is taken" in refused.failures[0].message
        bad_key = "install -D -m 600 /dev/stdin /run/labctl/tunnel.key <<< bm90IGEga2V5"
        with broken(bench, (CLIENT, f"bash -c '{bad_key}'", "rm -f /run/labctl/tunnel.key")):
            refused, _ = bench.play("deploy.yml", "baseline-clean", **changes)
        assert [failure.node for failure in refused.failures] == [CLIENT]
        assert "seen:  9 bytes" in refused.failures[0].message
        assert "bm90IGEga2V5" not in refused.failures[0].message
        too_large, _ = bench.play("deploy.yml", "baseline-clean", **changes | {"setup_mtu": 70000})
        assert "cable0 takes an MTU of at most 65535 bytes, not 70000" in too_large.failures[0].message


def test_esp_is_refused_by_a_kernel_that_has_none(bench: Bench, facts: TunnelFacts) -> None:
    if Encryption.IPSEC not in facts.lacking:
        pytest.skip("the machine's kernel has ESP: tests/acceptance/test_tunnel.py")
    assert re.fullmatch(
        r"kernel \S+ takes no ESP with AES-GCM: it lacks CONFIG_\w+(, CONFIG_\w+)*", facts.lacking[Encryption.IPSEC]
    )
    with removed(bench, "baseline-clean"):
        refused, _ = bench.play("deploy.yml", "baseline-clean", **encrypted("baseline-clean", facts, Encryption.IPSEC))
    assert {failure.node for failure in refused.failures} == set(NODES)
    assert "takes no ESP state with rfc4106(gcm(aes))." in refused.failures[0].message


def test_a_finished_run_holds_no_key(lab: ProvisionedLab, bench: Bench, tmp_path: Path) -> None:
    what = ("--variant", "baseline-clean", "--encryption", "wireguard", "--no-reference", "--workload", "tcp_rr")
    window = ("--processes", "1", "--rounds", "1", "--duration", "1", "--warmup", "0")
    argv = matrix_command("-i", str(lab.inventory.path), *what, *window)
    process = subprocess.Popen(argv, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    there = "test -s /run/labctl/tunnel.key && echo yes || echo no"
    wait_until(lambda: lab.on_nodes(there) == ["yes", "yes"], 300, process)
    secrets = secrets_of(bench)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err
    assert lab.on_nodes(there) == ["no", "no"]
    found = [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert len(found) > 10
    for text in (out, err, *(path.read_text() for path in found)):
        assert not any(secret in text for secret in secrets)
