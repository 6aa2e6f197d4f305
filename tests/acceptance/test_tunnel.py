"""Both encryptions on kernels that have them: proven, measured, and an ESP that lost its state seen to fail."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from labctl.catalog import Encryption
from labctl.catalog.lab import TunnelFacts
from labctl.catalog.tunnel import Tunnel
from tests.acceptance.conftest import labctl
from tests.commands import ANY_STEAL
from tests.integration.conftest import ProvisionedLab, load
from tests.integration.test_datapaths import CLIENT, SERVER, Bench
from tests.integration.test_tunnels import encrypted, facts_of

pytestmark = [pytest.mark.lab, pytest.mark.acceptance]

# What a key of ESP looks like in a command, and one of WireGuard in a configuration.
KEY = re.compile(rb"0x[0-9a-f]{40}\b|PrivateKey")


@pytest.mark.parametrize(("variant", "mtu"), [("veth-ebpf", 1500), ("baseline", 9000)])
def test_both_encryptions_of_the_kernel_are_proven_and_measured(
    vm_lab: ProvisionedLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variant: str, mtu: int
) -> None:
    monkeypatch.chdir(tmp_path)
    what = ("--variant", variant, "--encryption", "wireguard,ipsec", "--mtu", str(mtu), "--no-reference")
    window = ("--workload", "tcp_stream", "--processes", "1", "--rounds", "1", "--duration", "3", "--warmup", "1")
    done = labctl("matrix", "-i", str(vm_lab.inventory.path), *what, *window, *ANY_STEAL)
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    summary = load(run / "summary.json")
    jumbo = "" if mtu == 1500 else f".mtu{mtu}"
    sizes = {one["setup"]: one for one in summary["sizes"]}
    survives = variant == "veth-ebpf" and load(run / "plan.json")["lab"]["tunnels"]["redirect_peer"]
    ipsec = "ipsec-peer" if survives else "ipsec"
    assert set(sizes) == {f"{variant}+wireguard{jumbo}", f"{variant}+{ipsec}{jumbo}"}
    for one in sizes.values():
        tunnel = Tunnel(one["tunnel"])
        assert tunnel is not Tunnel.WIREGUARD_GO
        assert one["endpoint_mtu"] == tunnel.inner_mtu(mtu)
        assert one["mss"] == one["endpoint_mtu"] - 52  # IP, TCP and its timestamps
        assert load(run / "setups" / one["setup"] / "1" / "proof.json")["holds"] is True
    assert all((row["valid"], row["planned"]) == (1, 1) for row in summary["rows"])
    for path in run.rglob("*"):
        assert not path.is_file() or not KEY.search(path.read_bytes()), path


def test_what_the_kernel_answers_of_decrypted_packets_is_so(vm_lab: ProvisionedLab, tmp_path: Path) -> None:
    answer = facts_of(vm_lab).redirect_peer
    assert answer is not None
    bench = Bench(vm_lab, tmp_path)
    # As on a kernel that lets them pass, whatever this one answered.
    changes = encrypted("veth-ebpf", TunnelFacts(redirect_peer=True), Encryption.IPSEC)
    outcome, _ = bench.play("deploy.yml", "veth-ebpf", **changes)
    try:
        assert outcome.ok, outcome.failures
        proof, message = bench.prove("veth-ebpf", **changes, datapath_proof_wait=2)
        assert proof["holds"] is answer, message
    finally:
        gone, _ = bench.play("undeploy.yml", "veth-ebpf", **changes)
    assert gone.ok, gone.failures


def test_esp_that_lost_its_state_is_found_and_replaced(vm_lab: ProvisionedLab, tmp_path: Path) -> None:
    bench = Bench(vm_lab, tmp_path)
    changes = encrypted("baseline", TunnelFacts(), Encryption.IPSEC)
    left = "ip xfrm state; ip xfrm policy list nosock; ls /run/labctl 2>/dev/null || true; ip -4 route show dev cable0"
    before = bench.shell(SERVER, left)
    outcome, _ = bench.play("deploy.yml", "baseline", **changes)
    try:
        assert outcome.ok, outcome.failures
        bench.shell(SERVER, "ip xfrm state deleteall reqid 18517")
        proof, _ = bench.prove("baseline", **changes, datapath_proof_wait=2)
        failed = {(entry["name"], entry["node"]) for entry in proof["assertions"] if not entry["holds"]}
        assert {("endpoint_answers", CLIENT), ("test_traffic", CLIENT)} <= failed
    finally:
        gone, _ = bench.play("undeploy.yml", "baseline", **changes)
    assert gone.ok, gone.failures
    assert bench.shell(SERVER, left) == before
