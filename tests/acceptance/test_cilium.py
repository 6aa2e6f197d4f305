"""Cilium itself: every word that the proof takes from its agents is seen to be untrue once.

By hand, on a lab whose nodes form a cluster out of a bundle with Cilium: LABCTL_TEST_CILIUM_LAB names its inventory.
Distributions have no Cilium, so CI cannot make one.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from labctl.catalog import load
from labctl.catalog.lab import LabFacts
from labctl.engine.inventory import open_lab
from labctl.engine.session import Session
from labctl.labs import embedded as labs
from labctl.plan.options import RawOptions, parse_options
from labctl.plan.plan import build
from labctl.plan.visit import setup_inventory
from roles.cni_cilium.module_utils.cilium_status import said
from tests.acceptance.conftest import ANSWER_S
from tests.commands import matrix_command
from tests.integration.conftest import ProvisionedLab, wait_until
from tests.integration.test_datapaths import CLIENT, NODES, SERVER, Bench, broken, on_both

LAB = os.environ.get("LABCTL_TEST_CILIUM_LAB")
pytestmark = [
    pytest.mark.lab,
    pytest.mark.acceptance,
    pytest.mark.skipif(LAB is None, reason="no lab with Cilium: LABCTL_TEST_CILIUM_LAB"),
]

PROOF = "The setup is what it claims to be"
# The agent's pins of its links hold the programs of endpoints, devices and sockets; the pins are in its own mounts.
OFF = "nsenter --target $(pidof -s cilium-agent) --mount sh -c 'rm -r /sys/fs/bpf/cilium/{}/links'"
# Nodes have no curl.
HEALTH = """python3 -c '
import socket
agent = socket.socket(socket.AF_UNIX)
agent.connect("/run/cilium/cilium.sock")
agent.sendall(b"GET /v1/healthz HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n")
print(agent.makefile("rb").read().split(b"\\r\\n\\r\\n", 1)[1].decode())
'"""
NO_API = "-p tcp --dport 6443 -j REJECT --reject-with tcp-reset"

# The agent keeps this file as it wants it, with a controller of its own, which may write it again in between.
CNI_FILE = "/etc/cni/net.d/05-cilium.conflist"
NO_CNI_FILE = f"until rm -f {CNI_FILE} && mkdir -p {CNI_FILE}/in-the-way; do :; done"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """The lab, with a file for every setup of Cilium that exists, and none of them deployed."""
    top = tmp_path_factory.mktemp("cilium")
    names = "cilium-ebpf,cilium-legacy,cilium-legacy-kpr"
    with Session() as session:
        lab = open_lab(session, str(LAB))
        record = labs.read(str(lab.name))
        facts = LabFacts(lab.name, lab.kind, CLIENT, SERVER, 2, edition="current")
        raw = RawOptions.of(variant=names, edition="current", encryption="none,wireguard,ipsec", rounds="1")
        plan = build(parse_options(raw, load()), load(), facts, datetime.now(UTC))
        for visit in plan.visits:
            inventory = setup_inventory(plan, visit, NODES, top)
            (top / f"{visit.setup.removesuffix('.current')}.yml").write_text(json.dumps(inventory))
        yield Bench(ProvisionedLab(lab, record, session, ANSWER_S), top, top)


@contextmanager
def deployed(bench: Bench, setup: str, **changes: object) -> Iterator[None]:
    """Have a setup deployed, whether or not its proof holds, and gone afterwards."""
    try:
        outcome, _ = bench.play("deploy.yml", setup, **changes)
        assert {failure.task for failure in outcome.failures} <= {PROOF}, outcome.failures
        yield
    finally:
        gone, _ = bench.play("undeploy.yml", setup)
    assert gone.ok, gone.failures


def agent(bench: Bench) -> dict[str, Any]:
    """What the agent of the second node says of itself."""
    return said(json.loads(bench.shell(SERVER, HEALTH)))


def is_well(seen: dict[str, Any]) -> bool:
    """Whether an agent has nothing to complain of."""
    return seen["state"] == "Ok" and not seen["failing_controllers"]


def failed(bench: Bench, setup: str, **changes: object) -> set[tuple[str, str]]:
    """Which assertions of the proof do not hold."""
    proof, _ = bench.prove(setup, **changes)
    return {(one["name"], one["node"]) for one in proof["assertions"] if not one["holds"]}


def test_what_the_agent_and_the_node_say(bench: Bench) -> None:
    with deployed(bench, "cilium-ebpf"):
        assert failed(bench, "cilium-ebpf") == set()
        tracking = "OUTPUT -m conntrack --ctstate INVALID"
        with broken(
            bench,
            (CLIENT, "iptables -t nat -N KUBE-SVC-STRANGER", "iptables -t nat -X KUBE-SVC-STRANGER"),
            (CLIENT, "nft add table ip6 stranger", "nft delete table ip6 stranger"),
            (SERVER, f"iptables -A {tracking}", f"iptables -D {tracking}"),
            (SERVER, "ip link set cable0 mtu 1600", "ip link set cable0 mtu 1500"),
        ):
            on_client = {("kube_services", CLIENT), ("netfilter_tables", CLIENT)}
            on_server = {(name, SERVER) for name in ("conntrack_hooked", "rules", "cable_mtu")}
            assert failed(bench, "cilium-ebpf") == on_client | on_server
        with broken(bench, (SERVER, f"iptables -I OUTPUT {NO_API}", f"iptables -D OUTPUT {NO_API}")):
            wait_until(lambda: agent(bench)["state"] != "Ok", 180)
            assert failed(bench, "cilium-ebpf") == {("cni_state", SERVER), ("rules", SERVER)}
        wait_until(lambda: agent(bench)["state"] == "Ok", 180)
        with broken(bench, (SERVER, NO_CNI_FILE, f"rm -r {CNI_FILE}")):
            wait_until(lambda: agent(bench)["failing_controllers"], 180)
            assert failed(bench, "cilium-ebpf") == {("cni_state", SERVER), ("cni_failing_controllers", SERVER)}
        wait_until(lambda: is_well(agent(bench)), 180)
        bench.shell(SERVER, OFF.format("socketlb"))
        assert failed(bench, "cilium-ebpf") == {("socket_programs", SERVER)}
        bench.shell(CLIENT, OFF.format("endpoints/*"))
        assert failed(bench, "cilium-ebpf") == {("socket_programs", SERVER), ("forwarded_by_stack", CLIENT)}
        bench.shell(CLIENT, OFF.format("devices/*"))
        # Kernels and agents differ in what then becomes of a packet: nothing, or the stack's.
        assert {("cni_forwards", CLIENT), ("test_traffic", CLIENT)} & failed(bench, "cilium-ebpf")


def test_a_fallback_to_legacy_routing(bench: Bench) -> None:
    with deployed(bench, "cilium-ebpf", cni_cilium_values={"bpf": {"masquerade": False}}):
        silent = on_both("cni_host_routing", "cni_masquerading", "forwarded_by_stack")
        assert silent <= failed(bench, "cilium-ebpf")


def test_kube_proxy_that_is_not_replaced(bench: Bench) -> None:
    # An agent that is to leave traffic untracked without replacing kube-proxy does not start at all.
    changed = {"kubeProxyReplacement": False, "installNoConntrackIptablesRules": False}
    with deployed(bench, "cilium-legacy-kpr", cni_cilium_values=changed):
        assert on_both("cni_kube_proxy_replacement") <= failed(bench, "cilium-legacy-kpr")


def test_kube_proxy_that_is_replaced_all_the_same(bench: Bench) -> None:
    with deployed(bench, "cilium-legacy", cni_cilium_values={"kubeProxyReplacement": True}):
        assert on_both("cni_kube_proxy_replacement") <= failed(bench, "cilium-legacy")


@pytest.mark.parametrize("encryption", ["wireguard", "ipsec"])
def test_encryption_that_is_none(bench: Bench, encryption: str) -> None:
    """Nothing of it is deployed, so that a kernel without it will do."""
    if encryption == "ipsec" and not bench.shell(SERVER, "ls /proc/net/xfrm_stat 2>/dev/null || true"):
        pytest.skip("this kernel counts nothing of XFRM, which the proof of IPsec takes")
    with deployed(bench, "cilium-legacy"):
        seen = failed(bench, f"cilium-legacy+{encryption}")
        assert on_both("cni_encryption", "encrypted_on_cable", "text_on_cable", "tunnel_carried") <= seen


def test_an_agent_that_falls_back_to_legacy_routing_while_it_is_measured(bench: Bench, tmp_path: Path) -> None:
    """Valid, and labelled cilium-ebpf, though most of its packets went through the stack: so it was once."""
    words = ["--variant", "cilium-ebpf", "--no-reference", "--edition", "current", "--workload", "tcp_rr"]
    words += ["--processes", "1", "--rounds", "1", "--duration", "60", "--warmup", "1"]
    command = matrix_command("-i", str(LAB), *words)
    kubectl = "kubectl --kubeconfig /etc/kubernetes/admin.conf --namespace kube-system"
    patch = json.dumps({"data": {"enable-host-legacy-routing": "true"}})
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_until(bench.lab.measuring, 300, process)
        bench.shell(CLIENT, f"{kubectl} patch configmap cilium-config --type=merge --patch='{patch}'")
        bench.shell(CLIENT, f"{kubectl} delete pods --selector=k8s-app=cilium --wait=false")
        out, err = process.communicate(timeout=300)
    assert process.returncode == 1, err
    (run,) = (tmp_path / "runs").iterdir()
    (sample,) = [json.loads(path.read_text()) for path in run.glob("samples/*/1-1/sample.json")]
    assert sample["status"] == "invalid", out + err
    (conditions,) = [json.loads(path.read_text()) for path in run.glob("setups/*/1/visit.json")]
    assert conditions["void"] == [sample["id"]]
    changed = {(one["node"], one["path"]) for one in conditions["changes"] if one["span"] == "visit"}
    setting = "deployed.settings.kube-system/cilium-config.enable-host-legacy-routing"
    assert (CLIENT, setting) in changed
    for node in NODES:
        assert (CLIENT, f"deployed.instances.kube-system/cilium on {node}") in changed
        assert {(node, "cni.says.host_routing"), (node, "cni")} & changed  # "cni" where it was not back yet
    assert f"{CLIENT}: {setting} changed during this visit" in " ".join(err.split())
