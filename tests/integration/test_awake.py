"""Samples on the real local lab: CPUs kept awake, both ends placed, netserver woken when the time is over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.commands import matrix_command
from tests.integration.conftest import LAB_INDEX, ProvisionedLab, copy_inventory, load, wait_until

pytestmark = pytest.mark.lab

ROOT = [] if os.geteuid() == 0 else ["sudo", "-n"]
# Run as root: who else has the device open, and what it says.
LOOK = """
import glob, os, struct
device = "/dev/cpu_dma_latency"
holders = set()
for fd in glob.glob("/proc/[0-9]*/fd/*"):
    try:
        if os.readlink(fd) == device:
            holders.add(fd.split("/")[2])
    except OSError:
        pass  # it is closed, or of a process that not even root may look at
with open(device, "r+b", buffering=0) as file:
    print(*struct.unpack("=i", file.read(4)), *holders)
"""
CPUS = sorted(os.sched_getaffinity(0))
ONE = ("--variant", "baseline", "--processes", "1", "--rounds", "1", "--warmup", "1")
needs_driver = pytest.mark.skipif(
    not Path("/sys/devices/system/cpu/cpu0/cpuidle/state0").exists(), reason="this machine has no cpuidle driver"
)


def requests() -> tuple[int, list[int]]:
    """What wake-up latency this machine's kernel goes by, and the processes that hold a request for one."""
    told = subprocess.run([*ROOT, sys.executable, "-c", LOOK], capture_output=True, text=True, check=True).stdout
    effective, *holders = map(int, told.split())
    return effective, holders


def kill(pid: int) -> None:
    """Kill a process of root's."""
    subprocess.run([*ROOT, "kill", "-KILL", str(pid)], check=True)


@pytest.fixture
def restless(lab: ProvisionedLab, tmp_path: Path) -> str:
    """The lab's inventory for a machine that need not rest: these tests say nothing of rates."""
    copied = copy_inventory(tmp_path / lab.record.name, lab.record.name, LAB_INDEX)
    with (copied / "group_vars" / "all.yml").open("a") as variables:
        variables.write("\nmeasure_rest_limit_s: 0\n")
    return str(copied)


def command(lab: str, *options: str) -> list[str]:
    return matrix_command("-i", lab, *ONE, *options)


@contextmanager
def measuring(lab: str, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """A run in whose only sample the CPUs are being kept awake."""
    words = command(lab, "--workload", "tcp_rr", "--duration", "20", "--idle", "awake")
    with subprocess.Popen(words, cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        try:
            wait_until(lambda: requests()[0] == 0 and requests()[1], process=run)
            yield run
        finally:
            run.kill()


@needs_driver
def test_ends_are_placed_cpus_awake_and_netserver_is_woken(restless: str, tmp_path: Path) -> None:
    before, _ = requests()
    options = ("--workload", "tcp_rr,tcp_crr", "--duration", "2", "--idle", "awake", "--pin", "cores")
    done = subprocess.run(command(restless, *options), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert requests() == (before, []), done.stderr
    for workload in ("tcp_rr", "tcp_crr"):
        (folder,) = tmp_path.glob(f"runs/*/samples/baseline.{workload}.1/1-1")
        measurement = load(folder / "measurement.json")
        assert (measurement["status"], measurement["reason"]) == ("ok", None)
        idle = measurement["kernel"]["idle"]
        assert (idle["policy"], idle["held"], idle["latency_us"], idle["effective_us"]) == ("awake", True, 0, 0)
        client, server = load(folder / "client.json"), load(folder / "server.json")
        (netperf,), (netserver, *_) = client["processes"], server["servers"]
        assert client["cpus"]["planned"] == [netperf["planned"]] == netperf["cpus"]
        assert server["cpus"]["planned"] == [netserver["planned"]] == netserver["cpus"]
        assert (netperf["planned"] != netserver["planned"]) is (len(CPUS) > 1)
        assert netperf["ended"] - netperf["started"] < 3.8, "netserver waited for its own alarm"
        told = dict(line.split("=") for line in (folder / "netperf-00.txt").read_text().split() if "=" in line)
        # The last transaction may have been cut short by the end of the client's time.
        for one, other in (("LOCAL_BYTES_SENT", "REMOTE_BYTES_RECVD"), ("REMOTE_BYTES_SENT", "LOCAL_BYTES_RECVD")):
            assert 0 <= int(told[one]) - int(told[other]) <= 1
    ports = client["local_ports"]
    assert ports["fresh"] > 100
    assert ports["reused"] == 0 or ports["fresh"] > 50_000, "a fast machine takes every port once, and then again"


@needs_driver
def test_a_killed_holder_leaves_no_request_and_its_sample_fails(restless: str, tmp_path: Path) -> None:
    before, _ = requests()
    with measuring(restless, tmp_path) as run:
        (holder,) = requests()[1]
        kill(holder)
        wait_until(lambda: requests()[0] == before, seconds=5)
        run.communicate(timeout=120)
        assert run.returncode != 0
    (sample,) = tmp_path.glob("runs/*/samples/baseline.tcp_rr.1/1-1/sample.json")
    assert load(sample)["reasons"][0].startswith("this controller: ")


@needs_driver
def test_a_killed_run_leaves_no_request(restless: str, tmp_path: Path) -> None:
    before, _ = requests()
    with measuring(restless, tmp_path) as run:
        run.send_signal(signal.SIGKILL)
        wait_until(lambda: requests() == (before, []), seconds=20)
