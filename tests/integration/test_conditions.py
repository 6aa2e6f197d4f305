"""What changes on the nodes of the real local lab during a run: it is named, voids what it touched, and is drift."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.commands import matrix_command
from tests.integration.conftest import LAB_INDEX, LAB_NAME, ProvisionedLab, copy_inventory, load, wait_until

pytestmark = pytest.mark.lab

# For each node, what changes the conditions, and what puts them back.
# What a proof has no business with; it would refuse gso_max_size itself.
QUEUE = ("node2", "ip link set cable0 txqueuelen 500", "ip link set cable0 txqueuelen 1000")
SETTING = "net.ipv4.tcp_notsent_lowat"
SYSCTL = ("node1", f"sysctl -qw {SETTING}=131072", f"sysctl -qw {SETTING}=4294967295")
SHAPED = ("node1", "tc qdisc add dev cable0 root tbf rate 10gbit burst 1m latency 1ms", "tc qdisc del dev cable0 root")


class Disturbed:
    """A run of two setups and three rounds, disturbed before the third round and during its last visit."""

    def __init__(self, lab: ProvisionedLab, directory: Path) -> None:
        self.lab, self.directory = lab, directory
        options = ("--variant", "baseline,veth-ebpf", "--workload", "tcp_rr", "--processes", "1", "--rounds", "3")
        inventory = copy_inventory(directory / LAB_NAME, LAB_NAME, LAB_INDEX)
        with (inventory / "group_vars" / "all.yml").open("a") as variables:
            variables.write("\nmeasure_rest_limit_s: 0\n")  # whether the machine is at rest is not asked here
        begun = matrix_command("-i", str(inventory), *options, "--duration", "2", "--warmup", "0")
        with subprocess.Popen(
            begun, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            # Until it is whole a run has a name that begins with a dot.
            wait_until(lambda: list(directory.glob("runs/[0-9]*/plan.json")), process=process)
            (self.run,) = directory.glob("runs/[0-9]*")
            self.visits = [(visit["setup"], visit["round"]) for visit in load(self.run / "plan.json")["visits"]]
            third, last = self.visits[4:]
            wait_until(lambda: self.folder(third).is_dir(), 180.0, process)
            self.change(QUEUE, SYSCTL)
            wait_until(lambda: (self.folder(last) / "proof.json").is_file(), 180.0, process)
            wait_until(lab.measuring, process=process)
            self.change(SHAPED)
            self.out, self.err = process.communicate(timeout=180)
        self.code = process.returncode

    def folder(self, visit: tuple[str, int]) -> Path:
        return self.run / "setups" / visit[0] / str(visit[1])

    def conditions(self, visit: tuple[str, int]) -> Any:
        return load(self.folder(visit) / "visit.json")

    def samples(self, number: int) -> list[Any]:
        return [load(path) for path in self.run.glob(f"samples/*/{number}-1/sample.json")]

    def blamed(self, number: int) -> list[list[str]]:
        """What samples of a round do not count for, of their visit's conditions; a busy machine may void others."""
        words = ("changed during this visit", "in the run's first")
        return [[one for one in each["reasons"] if any(word in one for word in words)] for each in self.samples(number)]

    def change(self, *changes: tuple[str, str, str], back: bool = False) -> None:
        for node, there, again in changes:
            self.lab.on_node(node, again if back else there)

    def resume(self) -> subprocess.CompletedProcess[str]:
        command = matrix_command("--resume", "latest")
        return subprocess.run(command, cwd=self.directory, capture_output=True, text=True, check=False, timeout=180)


@pytest.fixture(scope="module")
def disturbed(lab: ProvisionedLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disturbed]:
    try:
        yield Disturbed(lab, tmp_path_factory.mktemp("disturbed"))
    finally:
        for node, _, back in (QUEUE, SYSCTL, SHAPED):
            lab.on_node(node, f"{back} 2>/dev/null || true")


def test_rounds_in_which_nothing_changes_are_sealed_and_count(disturbed: Disturbed) -> None:
    for visit in disturbed.visits[:4]:
        seen = disturbed.conditions(visit)
        assert (seen["sealed"], seen["changes"], seen["void"]) == (True, [], [])
    assert disturbed.blamed(1) == disturbed.blamed(2) == [[], []]


def test_what_changed_between_rounds_and_within_a_visit_is_named_and_voids_its_samples(disturbed: Disturbed) -> None:
    assert disturbed.code == 1, disturbed.err
    third, last = disturbed.visits[4:]
    changed = {(one["node"], one["path"]) for one in disturbed.conditions(third)["changes"]}
    paths = ("link.tx_queue_length", "network.links.cable0.txqlen")
    before = {*(("node2", path) for path in paths), ("node1", f"sysctl.namespace.{SETTING}")}
    assert before <= changed
    assert {one["path"] for one in disturbed.conditions(last)["changes"] if one["span"] == "visit"} == {
        "link.qdisc",
        "network.qdiscs.cable0",
    }
    assert [sample["status"] for sample in disturbed.samples(3)] == ["invalid", "invalid"]
    for reasons in disturbed.blamed(3):
        assert any("node2: link.tx_queue_length is 500, and was 1000" in reason for reason in reasons)
    said = " ".join(disturbed.err.split())
    assert "matrix --resume retakes them" in said
    assert "node1: network.qdiscs.cable0 changed during this visit:" in said
    assert "Visits under other conditions" in disturbed.out


def test_what_changed_is_drift_until_it_is_put_back_and_then_all_is_taken_again(disturbed: Disturbed) -> None:
    refused = disturbed.resume()
    assert refused.returncode == 1
    said = " ".join(refused.stderr.split())
    assert "where: node2: link.tx_queue_length seen: recorded 1000, now 500" in said
    assert f"where: node1: sysctl.namespace.{SETTING} seen: recorded 4294967295, now 131072" in said
    assert "where: node1: network.qdiscs.cable0" in said
    disturbed.change(QUEUE, SYSCTL, SHAPED, back=True)
    done = disturbed.resume()
    assert "Accepted drift" not in done.stdout
    assert disturbed.blamed(3) == [[], []], done.stderr
    assert len(list(disturbed.run.glob("samples/*/3-1.invalid-1"))) == 2
    again = [load(path) for path in disturbed.run.glob("setups/*/3.2/visit.json")]
    assert [(one["sealed"], one["changes"]) for one in again] == [(True, [])] * 2
