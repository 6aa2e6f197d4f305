"""The vm lab on this machine: real guests, real crashes, a real measurement. Runs in the order it is written in."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from labctl.core import paths
from labctl.core.errors import LabctlError
from labctl.engine.events import Event, TaskResult
from labctl.engine.session import Session
from labctl.labs import embedded as labs
from labctl.plan.tables import EMULATED
from tests.acceptance.conftest import VM_NAME, VM_PORT, ansible, copy_vm_inventory, labctl, left_behind, molecule
from tests.commands import ANY_STEAL
from tests.integration.conftest import ProvisionedLab, load

pytestmark = [pytest.mark.lab, pytest.mark.acceptance]

SECOND = f"{VM_NAME}-2"


def boots(lab: ProvisionedLab) -> list[str]:
    return lab.on_nodes("cat /proc/sys/kernel/random/boot_id")


def vm_of(lab: ProvisionedLab) -> Mapping[str, Any]:
    assert lab.record.vm is not None
    return lab.record.vm


def kill_guest(lab: labs.Lab, number: int) -> None:
    """Kill a guest's QEMU."""
    handle = os.pidfd_open(json.loads(Path(lab.nodes[number].pidfile).read_text())["pid"])
    signal.pidfd_send_signal(handle, signal.SIGKILL)
    os.close(handle)


def test_guests_say_how_they_run(vm_lab: ProvisionedLab) -> None:
    wanted = {"tcg": "qemu", "kvm": "kvm"}[vm_of(vm_lab)["accelerator"]]
    assert vm_lab.on_nodes("systemd-detect-virt") == [wanted, wanted]
    assert len(set(vm_lab.on_nodes("cat /etc/machine-id"))) == 2


def test_the_clocks_of_the_guests_run_as_fast_as_that_of_the_host(vm_lab: ProvisionedLab) -> None:
    """One that is emulated, and finds its counter's frequency by itself on a busy host, may be eight times too fast."""

    def uptimes() -> list[float]:
        return [float(line.split()[0]) for line in vm_lab.on_nodes("cat /proc/uptime")]

    started, first = time.monotonic(), uptimes()
    vm_lab.on_node("node1", "sleep 5")
    second, ended = uptimes(), time.monotonic()
    for before, after in zip(first, second, strict=True):
        assert 4.5 < after - before < (ended - started) * 1.1
    if vm_of(vm_lab)["accelerator"] == "tcg":
        assert vm_lab.on_nodes("grep -o 'tsc_early_khz=[0-9]*' /proc/cmdline | cut -d= -f1") == ["tsc_early_khz"] * 2


def test_a_user_lists_the_lab_and_logs_in(vm_lab: ProvisionedLab) -> None:
    listed = labctl("lab", "list").stdout
    assert f"node1=127.0.0.1:{VM_PORT} node2=127.0.0.1:{VM_PORT + 1}" in listed
    assert labctl("lab", "shell", "-i", VM_NAME, "node2", "--", "hostname").stdout == "node2\n"


def test_a_guest_with_another_host_key_is_not_trusted(vm_lab: ProvisionedLab, tmp_path: Path) -> None:
    ssh = vm_lab.record.ssh
    first, second = (line.split() for line in Path(ssh.known_hosts).read_text().splitlines())
    swapped = tmp_path / "known_hosts"
    swapped.write_text(f"{first[0]} {second[1]} {second[2]}\n")
    command = [word.replace(ssh.known_hosts, str(swapped)) for word in vm_lab.command("node1", "true")]
    refused = subprocess.run(command, capture_output=True, text=True, check=False, timeout=vm_lab.answer_s)
    assert refused.returncode == 255
    assert "Host key verification failed" in refused.stderr


def test_the_scenario_of_the_role_passes_on_this_lab(vm_lab: ProvisionedLab) -> None:
    molecule("vm_lab")


def test_tables_of_the_old_iptables_go_with_the_network_that_filled_them(vm_lab: ProvisionedLab) -> None:
    """Cilium 1.9 loads them. Only here may a test remove modules of a kernel."""
    ansible("-i", str(vm_lab.inventory.path), str(Path(__file__).with_name("legacy_tables.yml")))


def test_a_killed_guest_is_started_again_and_the_other_stays(vm_lab: ProvisionedLab) -> None:
    before = boots(vm_lab)
    vm_lab.on_node("node1", "echo kept > /root/kept && sync")
    kill_guest(vm_lab.record, 0)
    changed: list[list[str]] = []

    def watch(event: Event) -> None:
        if isinstance(event, TaskResult) and event.changed:
            changed.append(event.data["done"])

    again = labs.create(vm_lab.session, str(vm_lab.inventory.path), listener=watch)
    assert again == vm_lab.record
    assert changed == [["node1"]], "nothing else was changed"
    after = boots(vm_lab)
    assert (after[0] != before[0], after[1] == before[1]) == (True, True)
    assert vm_lab.on_node("node1", "cat /root/kept") == "kept\n", "its disk is the same"


def test_a_guest_that_does_not_come_up_is_told_and_nothing_of_it_is_left(tmp_path: Path) -> None:
    inventory = copy_vm_inventory(tmp_path / SECOND, SECOND, VM_PORT + 2, vm_lab_boot_timeout_s=2)
    with Session() as session:
        try:
            with pytest.raises(LabctlError) as late:
                labs.create(session, str(inventory))
            log = paths.state_dir() / "labs" / SECOND / "guests" / "node1" / "serial.log"
            assert "does not answer within 2 s" in str(late.value)
            assert str(log) in str(late.value)
            # A guest whose pidfile a crash ate is found by where it works.
            record = labs.read(SECOND)
            Path(record.nodes[0].pidfile).unlink()
            assert len([line for line in left_behind(SECOND) if "qemu" in line]) == 2
        finally:
            labs.destroy(session, str(inventory))
        assert left_behind(SECOND) == []


def test_a_taken_port_is_named(vm_lab: ProvisionedLab, tmp_path: Path) -> None:
    inventory = copy_vm_inventory(tmp_path / SECOND, SECOND, VM_PORT + 1)
    with Session() as session, pytest.raises(LabctlError) as refused:
        labs.create(session, str(inventory))
    assert f"Port {VM_PORT + 1} of 127.0.0.1 is taken." in str(refused.value)
    assert f"lab {VM_NAME}" in str(refused.value)
    assert left_behind(SECOND) == []


@pytest.fixture
def without_cpu_1(vm_lab: ProvisionedLab) -> Iterator[None]:
    """CPUs 0 and 2 alone are online in both guests."""
    vm_lab.on_nodes("echo 0 > /sys/devices/system/cpu/cpu1/online")
    yield
    vm_lab.on_nodes("echo 1 > /sys/devices/system/cpu/cpu1/online")


@pytest.mark.usefixtures("without_cpu_1")
def test_a_short_matrix_reports_each_end_on_the_cpus_that_are_there(
    vm_lab: ProvisionedLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = (
        "--variant",
        "veth-ebpf",
        "--workload",
        "tcp_rr",
        "--processes",
        "max",
        "--rounds",
        "1",
        "--pin",
        "cores",
    )
    done = labctl("matrix", "-i", str(vm_lab.inventory.path), *options, "--duration", "3", "--warmup", "1", *ANY_STEAL)
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    summary = load(run / "summary.json")
    assert {row["setup"] for row in summary["rows"]} == {"baseline", "veth-ebpf"}
    assert {row["processes"] for row in summary["rows"]} == {2}
    for path in run.glob("samples/*/*/sample.json"):
        sample = load(path)
        cpu = sample["cpu"]
        assert cpu["machine"] is None, "there is no CPU of both ends together"
        known = cpu["client"] is not None and cpu["server"] is not None
        assert known is ("cpu_accounting" not in sample["flags"])
        assert not known or 0 < cpu["client"]["busy_pct"] != cpu["server"]["busy_pct"] > 0
        placement = sample["placement"]
        assert placement["planned_client"] == placement["planned_server"] == [0, 2]
        assert set(placement["client"]) == set(placement["server"]) == {"0", "2"}
        assert sample["idle"]["policy"] == load(run / "plan.json")["idle"], (
            "awake, or why not is among the notes of the plan"
        )
    emulated = vm_of(vm_lab)["accelerator"] == "tcg"
    assert summary["emulated"] is emulated
    assert load(run / "plan.json")["lab"]["emulated"] is emulated
    assert (EMULATED in done.stdout) is emulated
    fingerprints = load(run / "setups" / "baseline" / "1" / "fingerprint.json")
    assert {node["machine"]["vm"] for node in fingerprints.values()} == {"qemu" if emulated else "kvm"}
