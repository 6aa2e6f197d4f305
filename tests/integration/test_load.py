"""What else is busy on the machine while the real local lab is measured: named in every sample, waited for before."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.commands import matrix_command
from tests.integration.conftest import LAB_INDEX, LAB_NAME, ProvisionedLab, copy_inventory, load, wait_until

pytestmark = pytest.mark.lab

WANTED = ("--variant", "baseline-clean", "--no-reference", "--workload", "tcp_rr", "--processes", "1", "--rounds", "1")


@contextmanager
def hog(directory: Path) -> Iterator[int]:
    """Keep one CPU busy under the name `hog`; its process."""
    program = directory / "hog"
    if not program.exists():
        program.symlink_to(sys.executable)
    with subprocess.Popen([str(program), "-IS", "-c", "while True: pass"]) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def inventory(directory: Path, rest_limit_s: float) -> str:
    """The lab's inventory with another limit for its rest."""
    copied = copy_inventory(directory / LAB_NAME, LAB_NAME, LAB_INDEX)
    with (copied / "group_vars" / "all.yml").open("a") as variables:
        variables.write(f"\nmeasure_rest_limit_s: {rest_limit_s}\n")
    return str(copied)


def matrix(lab: str, *options: str, cwd: Path) -> subprocess.Popen[str]:
    command = matrix_command("-i", lab, *WANTED, "--warmup", "0", *options)
    return subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_hog_is_in_the_accounts_of_its_sample_by_name(lab: ProvisionedLab, tmp_path: Path) -> None:
    with matrix(inventory(tmp_path, 0), "--duration", "3", "--repeat", "2", cwd=tmp_path) as process:
        # It waits for its turn where somebody else measures on this machine.
        wait_until(lambda: list(tmp_path.glob("runs/*/samples/*/1-1")), seconds=180, process=process)
        wait_until(lab.measuring, process=process)
        with hog(tmp_path) as pid:
            process.communicate(timeout=60)
    quiet, disturbed = (accounts(tmp_path, number) for number in (1, 2))
    (named,) = (one for one in disturbed["top"] if one["pid"] == pid)
    assert named["name"] == "hog"
    assert 0.1 * disturbed["seconds"] < named["cpu_s"] <= disturbed["foreign_s"]
    assert pid not in [one["pid"] for one in quiet["top"]]
    for told in (quiet, disturbed):
        parts = ("endpoint_s", "own_s", "path_s", "cluster_s", "foreign_s")
        assert told["cpu_s"] == pytest.approx(sum(told[part] for part in parts))
        assert 0.3 < told["endpoint_s"] < 2 * told["seconds"]  # netperf and netserver wait for each other
        assert 0 < told["own_s"] < 0.1 * told["seconds"]
        assert not {one["name"] for one in told["top"]} & {"netperf", "netserver", "labctl"}


def accounts(directory: Path, number: int) -> dict[str, Any]:
    (path,) = directory.glob(f"runs/*/samples/*/1-{number}/measurement.json")
    told: dict[str, Any] = load(path)["kernel"]["load"]
    for end in ("client", "server"):
        seen = load(path.with_name(f"{end}.json"))
        assert seen["cpu_weight"] == 100
        assert 0 < seen["ticks"][0]["own_s"] <= seen["ticks"][-1]["own_s"]
    return told


def test_no_visit_begins_beside_a_hog_and_its_failure_names_it(lab: ProvisionedLab, tmp_path: Path) -> None:
    with hog(tmp_path) as pid, matrix(inventory(tmp_path, 1.0), "--duration", "1", cwd=tmp_path) as process:
        _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    words = " ".join(said.split())
    assert "this controller does not come to rest: within 1 s other processes took " in words
    assert f"hog (process {pid}) " in words
    assert "measure_rest_limit_s" in words
    (run,) = (tmp_path / "runs").iterdir()
    status = load(run / "status.json")
    assert (status["state"], status["samples_taken"]) == ("failed", 0)
    assert lab.on_nodes("pgrep -ax netserver; ls /run/systemd/system/labctl* 2>/dev/null") == []
