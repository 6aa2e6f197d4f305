"""The matrix on the real local lab: a run over all variants, and what happens when something is broken on purpose."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.commands import ANY_STEAL, matrix_command
from tests.integration.conftest import ProvisionedLab, load, wait_until

pytestmark = pytest.mark.lab

VARIANTS = ("baseline", "baseline-notrack", "baseline-clean", "veth-iptables", "veth-ebpf")
SHORT = ("--duration", "1", "--warmup", "0", "--rounds", "1", "--processes", "1", "--workload", "tcp_rr")


def labctl(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "labctl", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=300)


def matrix(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return labctl("matrix", *arguments, *ANY_STEAL, cwd=cwd)


def deployed(lab: ProvisionedLab) -> list[str]:
    """What a setup left on the nodes: records of datapaths, units, namespaces, netperf processes."""
    files = "ls /run/labctl 2>/dev/null; ls /run/systemd/system/labctl* 2>/dev/null"
    look = f"{files}; ip netns list; pgrep -a netperf; pgrep -a netserver"
    return lab.on_nodes(look)


@pytest.fixture
def lab_path(lab: ProvisionedLab) -> str:
    return str(lab.inventory.path)


def test_every_variant_is_deployed_proven_measured_and_removed(
    lab: ProvisionedLab, lab_path: str, tmp_path: Path
) -> None:
    done = matrix("-i", lab_path, *SHORT[:-1], "tcp_stream,tcp_rr", "--seed", "7", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    plan = load(run / "plan.json")
    assert {setup["id"] for setup in plan["setups"]} == set(VARIANTS)
    assert load(run / "status.json")["state"] == "done"
    for variant in VARIANTS:
        visit = run / "setups" / variant / "1"
        proof = load(visit / "proof.json")
        assert proof["holds"] is True, proof
        assert all(assertion["holds"] for assertion in proof["assertions"])
        assert set(load(visit / "fingerprint.json")) == {"node1", "node2"}
        assert (visit / "setup.yml").is_file()
        for workload in ("tcp_stream", "tcp_rr"):
            folder = run / "samples" / f"{variant}.{workload}.1" / "1-1"
            sample = load(folder / "sample.json")
            assert (sample["status"], sample["reasons"]) == ("valid", []), sample
            assert sample["rate"]["value"] > 0
            # One kernel for both nodes: the machine's CPU may be known, that of the ends is not.
            assert sample["shared_kernel"] is True
            assert sample["cpu"]["client"] is None
            assert sample["cpu"]["server"] is None
            machine = sample["cpu"]["machine"]
            assert (machine is None) is ("cpu_accounting" in sample["flags"])
            assert machine is None or 0 < machine["busy_pct"] <= 100
            assert "THROUGHPUT=" in (folder / "netperf-00.txt").read_text()
            assert {"client.json", "server.json", "measurement.json"} <= {file.name for file in folder.iterdir()}
    assert deployed(lab) == []
    for variant in VARIANTS:
        assert variant in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) <= 100

    rows = json.loads(labctl("report", "latest", "--format", "json", cwd=tmp_path).stdout)
    assert len(rows["rows"] if isinstance(rows, dict) else rows) == 2 * len(VARIANTS)
    for derived in (*run.glob("samples/*/*/sample.json"), run / "summary.json"):
        derived.unlink()
    assert labctl("report", "latest", cwd=tmp_path).stdout == done.stdout


def test_several_processes_start_together_and_share_the_window(
    lab: ProvisionedLab, lab_path: str, tmp_path: Path
) -> None:
    options = ("--variant", "baseline", "--workload", "tcp_crr", "--processes", "3", "--rounds", "1")
    done = matrix("-i", lab_path, *options, "--duration", "1", "--warmup", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (folder,) = tmp_path.glob("runs/*/samples/baseline.tcp_crr.3/1-1")
    sample = load(folder / "sample.json")
    assert sample["status"] == "valid", sample["reasons"]
    assert len(sample["per_process"]) == 3
    assert sum(sample["per_process"]) == pytest.approx(sample["rate"]["value"])
    processes = load(folder / "client.json")["processes"]
    tests = [process["argv"][process["argv"].index("--") :] for process in processes]
    assert len({words[words.index("-P") + 1] for words in tests}) == 3
    assert sample["window"]["seconds"] <= 1.0 + 1e-6
    # Their percentiles cannot be merged: the range over the processes is what is known.
    assert set(sample["latency_us"]["p99"]) == {"low", "high"}


def test_a_setup_that_cannot_be_deployed_is_recorded_and_the_plan_goes_on(
    lab: ProvisionedLab, lab_path: str, tmp_path: Path
) -> None:
    lab.on_node("node2", "nft add table inet foreign")
    try:
        done = matrix("-i", lab_path, "--variant", "baseline,baseline-clean", *SHORT, cwd=tmp_path)
    finally:
        lab.on_node("node2", "nft delete table inet foreign")
    assert done.returncode == 1
    (run,) = (tmp_path / "runs").iterdir()
    status = load(run / "status.json")
    assert status["state"] == "failed"
    assert [visit["status"] for visit in status["visits"]] == ["failed", "failed"]
    assert "inet foreign" in status["visits"][0]["failures"][0]["message"]
    assert "node2" in done.stderr
    assert deployed(lab) == []


def test_a_netperf_that_dies_fails_its_sample_only(lab: ProvisionedLab, lab_path: str, tmp_path: Path) -> None:
    options = ("--variant", "baseline", "--workload", "tcp_rr", "--processes", "1", "--rounds", "1", "--repeat", "2")
    command = matrix_command("-i", lab_path, *options, "--duration", "3", "--warmup", "0")
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(lab.measuring, process=process)
    lab.on_node("node1", "pkill -9 -x netperf")
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 1, stderr
    first, second = (load(next(tmp_path.glob(f"runs/*/samples/*/1-{n}/sample.json"))) for n in (1, 2))
    assert first["status"] == "failed"
    assert first["rate"] is None
    assert "signal 9" in " ".join(first["reasons"])
    assert second["status"] == "valid"
    assert deployed(lab) == []


@pytest.mark.parametrize("signals", [1, 2])
def test_ctrl_c_leaves_the_nodes_usable(lab: ProvisionedLab, lab_path: str, tmp_path: Path, signals: int) -> None:
    options = ("--variant", "veth-iptables", "--no-reference", "--workload", "tcp_rr", "--processes", "1")
    command = matrix_command("-i", lab_path, *options, "--duration", "2", "--warmup", "0")
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(lab.measuring, process=process)
    for _ in range(signals):
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)  # two presses of a key, not one
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT, stderr
    assert "SIGINT: the run ends after the task in hand, or the sample in flight" in stderr
    (run,) = (tmp_path / "runs").iterdir()
    status = load(run / "status.json")
    assert status["state"] == "interrupted"
    # Once: the sample in flight is kept. Twice: it is not.
    assert status["samples_taken"] == (1 if signals == 1 else 0)
    assert deployed(lab) == []


def test_a_refused_key_is_said_so(lab: ProvisionedLab, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    directory = tmp_path / "refused"
    (directory / "group_vars").mkdir(parents=True)
    source = lab.inventory.path
    (directory / "hosts.yml").write_text((source / "hosts.yml").read_text())
    text = (source / "group_vars" / "all.yml").read_text()
    (directory / "group_vars" / "all.yml").write_text(
        f"{text}\n".replace("{{ local_lab_directory }}/id_ed25519", str(key))
    )
    for command in ("check", "plan"):
        done = labctl(command, "-i", str(directory), cwd=tmp_path)
        said = " ".join((done.stdout + done.stderr).split())
        assert done.returncode == 1, said
        assert "node1" in said
        assert "Permission denied" in said or "SSH key" in said


def test_a_node_that_does_not_answer_is_named(lab: ProvisionedLab, tmp_path: Path) -> None:
    directory = tmp_path / "silent"
    (directory / "group_vars").mkdir(parents=True)
    source = lab.inventory.path
    (directory / "group_vars" / "all.yml").write_text((source / "group_vars" / "all.yml").read_text())
    hosts = (source / "hosts.yml").read_text()
    # A port on which nothing listens: the node is up and does not answer.
    (directory / "hosts.yml").write_text(
        hosts.replace(
            "    server:\n      hosts:\n        node2:\n",
            "    server:\n      hosts:\n        node2:\n          ansible_port: 9\n",
        )
    )
    done = matrix("-i", str(directory), *SHORT, cwd=tmp_path)
    assert done.returncode == 1
    assert "where: node2" in done.stderr
    # ssh may end while Ansible still sends, which is then all that Ansible tells.
    assert "nothing answers on its SSH port" in done.stderr or "Broken pipe" in done.stderr, done.stderr
    assert not (tmp_path / "runs").exists()
