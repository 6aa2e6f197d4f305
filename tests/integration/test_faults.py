"""What a run does when its surroundings fail: SSH, the cable, the clock, a node that reboots. On the real local lab."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.commands import matrix_command
from tests.integration.conftest import IMPATIENT_S, ProvisionedLab, load, wait_until

pytestmark = pytest.mark.lab

RUN = (
    "--workload",
    "tcp_rr",
    "--processes",
    "1",
    "--rounds",
    "1",
    "--duration",
    "3",
    "--warmup",
    "0",
    "--no-reference",
)
SHIM = Path(__file__).with_name("clock.c")
CLOCK_GETTIME = {"x86_64": 228, "aarch64": 113}  # the number of the system call
SSHD = "/etc/ssh/sshd_config.d/clock.conf"


@contextmanager
def matrix(directory: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A run in the background."""
    command = matrix_command(*arguments)
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=directory, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


@contextmanager
def ssh_cut(lab: ProvisionedLab, index: int) -> Iterator[None]:
    """Drop everything between this machine and a node's SSH, in a table of our own."""
    table = f"labctl_cut_{lab.record.name}"
    address = lab.record.nodes[index].address
    rules = f"""table ip {table} {{
        chain output {{ type filter hook output priority 0; ip daddr {address} drop; }}
        chain input {{ type filter hook input priority 0; ip saddr {address} drop; }}
    }}"""
    subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
    try:
        yield
    finally:
        subprocess.run(["nft", "delete", "table", "ip", table], check=True)


@contextmanager
def settable_clock(lab: ProvisionedLab, node: str) -> Iterator[None]:
    """A node's clock can be stepped forward through /run/clock_offset_ms: every SSH session gets a shim for it."""
    install = "apt-get -qq update && apt-get -qq install --no-install-recommends tcc >/dev/null 2>&1"
    build = f"tcc -nostdlib -shared -DNUMBER={CLOCK_GETTIME[os.uname().machine]} -o /run/clock.so -"
    tell = f"echo 'SetEnv LD_PRELOAD=/run/clock.so' > {SSHD} && systemctl restart ssh && echo ready"
    done = subprocess.run(
        lab.command(node, f"{install} && {build} && {tell}"), input=SHIM.read_text(), capture_output=True, text=True
    )
    assert done.stdout == "ready\n", done.stderr
    try:
        yield
    finally:
        lab.on_node(node, f"rm {SSHD}; systemctl restart ssh; apt-get -qq purge tcc >/dev/null; rm -f /run/clock*")


def samples_of(directory: Path) -> dict[str, Any]:
    """The samples of the only run, by their folder's name in their cell."""
    found = sorted(directory.glob("runs/*/samples/*/?-*/sample.json"))
    return {f"{path.parent.parent.name.partition('.')[0]}/{path.parent.name}": load(path) for path in found}


def in_sample(lab: ProvisionedLab, process: subprocess.Popen[str], directory: Path, taken: int) -> None:
    """Wait until so many samples are on disk and the next is being taken."""
    wait_until(lambda: len(samples_of(directory)) == taken and lab.measuring(), 180.0, process)


def test_ssh_cable_and_clock_fail_no_more_than_their_sample(
    lab: ProvisionedLab, impatient: Path, tmp_path: Path
) -> None:
    with (
        settable_clock(lab, "node1"),
        matrix(tmp_path, "-i", str(impatient), "--variant", "baseline-clean", "--repeat", "4", *RUN) as process,
    ):
        in_sample(lab, process, tmp_path, 0)
        with ssh_cut(lab, 0):
            time.sleep(IMPATIENT_S / 2)  # a cut that ssh survives
        in_sample(lab, process, tmp_path, 1)
        lab.on_node("node1", "ip link set cable0 down; ip link set cable0 up")
        in_sample(lab, process, tmp_path, 2)
        lab.on_node("node1", "echo 80 > /run/clock_offset_ms")
        out, err = process.communicate(timeout=300)
    assert process.returncode == 1, err
    taken = samples_of(tmp_path)
    assert [sample["status"] for sample in taken.values()] == ["valid", "invalid", "invalid", "valid"], taken
    cable, clock = (" ".join(taken[f"baseline-clean/1-{n}"]["reasons"]) for n in (2, 3))
    assert "the cable of node1 was down during the sample" in cable
    assert "the clock of node1 was stepped by +0.08" in clock
    assert "clock of node1 was stepped" in " ".join(out.split())

    with matrix(tmp_path, "--resume", "latest") as process:
        _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    again = samples_of(tmp_path)
    assert {name: sample["status"] for name, sample in again.items() if "." not in name} == {
        f"baseline-clean/1-{n}": "valid" for n in (1, 2, 3, 4)
    }
    assert again["baseline-clean/1-1"] == taken["baseline-clean/1-1"]


def test_a_run_goes_on_after_a_reboot_and_after_a_lost_connection(
    lab: ProvisionedLab, impatient: Path, tmp_path: Path
) -> None:
    variants = ("--variant", "baseline,veth-ebpf")
    with matrix(tmp_path, "-i", str(impatient), *variants, "--repeat", "2", *RUN) as process:
        wait_until(lambda: len(samples_of(tmp_path)) == 1, process=process)
        lab.on_node("node2", "systemctl reboot")
        wait_until(lambda: len(samples_of(tmp_path)) >= 2 and lab.measuring(), 300.0, process)
        with ssh_cut(lab, 0):
            time.sleep(2 * IMPATIENT_S)  # a cut that ssh does not survive
        _, err = process.communicate(timeout=300)
    assert process.returncode == 1, err
    (run,) = (tmp_path / "runs").iterdir()
    visits = load(run / "status.json")["visits"]
    assert visits[0]["status"] == "failed"
    assert [failure["node"] for failure in visits[0]["failures"]] == ["node2"]
    taken = samples_of(tmp_path)
    assert [sample["status"] for sample in taken.values()].count("valid") == 2, taken
    # What notices a node's end first, netperf or the other end of its connection, is chance; that it is told is not.
    assert all(sample["reasons"] for sample in taken.values() if sample["status"] != "valid"), taken
    assert any(reason.startswith("node1: ") for sample in taken.values() for reason in sample["reasons"]), taken

    with matrix(tmp_path, "--resume", "latest") as process:
        out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    again = samples_of(tmp_path)
    assert [sample["status"] for name, sample in again.items() if "." not in name] == ["valid"] * 4
    assert "Rounds not taken in one go: 1." in out
