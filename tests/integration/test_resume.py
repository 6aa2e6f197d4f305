"""A run that is killed, cut or disturbed on the real local lab: what it leaves, and that resuming it is exact."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from labctl.core.files import read_yaml, write_yaml
from labctl.engine.events import Event, TaskResult
from labctl.engine.session import AnsibleOptions
from tests.commands import matrix_command
from tests.integration.conftest import ProvisionedLab, load, wait_until

pytestmark = pytest.mark.lab

LEFT = "pgrep -ax netperf; ls /run/labctl* 2>/dev/null"
DEPLOYED = f"{LEFT}; pgrep -ax netserver; ip netns list; ls /run/systemd/system/labctl* 2>/dev/null"


def ansible_of(run: Path) -> list[str]:
    """Processes of this machine that work on a run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it ended meanwhile
            continue
        if str(run.name) in words and "ansible" in words:
            found.append(words)
    return found


@contextmanager
def small_disk(directory: Path, size: str) -> Iterator[Path]:
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory)], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", str(directory)], check=True)


class Killed:
    """A run of two setups that was killed while its second sample was taken; a second labctl had tried to join it."""

    def __init__(self, lab: ProvisionedLab, directory: Path) -> None:
        self.lab, self.directory = lab, directory
        options = ("--variant", "baseline,baseline-clean", "--workload", "tcp_rr", "--processes", "1", "--rounds", "1")
        begun = matrix_command(
            "-i", str(lab.inventory.path), *options, "--repeat", "2", "--duration", "2", "--warmup", "0"
        )
        with subprocess.Popen(
            begun, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            self.pid = process.pid
            # Before anything is measured: during a sample, starting a labctl would be a load that voids it.
            wait_until(lambda: list(directory.glob("runs/[0-9]*/plan.json")), process=process)
            (self.run,) = directory.glob("runs/[0-9]*")
            provision = [sys.executable, "-m", "labctl", "provision", "-i", str(lab.inventory.path)]
            self.second = subprocess.run(provision, cwd=directory, capture_output=True, text=True, check=False)
            wait_until(lambda: list(directory.glob("runs/*/samples/*/1-1/sample.json")), process=process)
            wait_until(lab.measuring, process=process)
            process.kill()
        wait_until(lambda: not lab.on_node("node1", "pgrep -x netperf") and not ansible_of(self.run), seconds=2.0)

    def resume(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = matrix_command("--resume", "latest", *arguments)
        return subprocess.run(command, cwd=self.directory, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def killed(lab: ProvisionedLab, tmp_path_factory: pytest.TempPathFactory) -> Killed:
    return Killed(lab, tmp_path_factory.mktemp("killed"))


def test_a_second_labctl_is_refused_with_the_owner(killed: Killed) -> None:
    assert killed.second.returncode == 1
    said = " ".join(killed.second.stderr.split())
    assert "another labctl uses this lab" in said
    assert f"process {killed.pid} on {os.uname().nodename}, run {killed.run}, since " in said


def test_a_killed_run_is_finished_exactly(killed: Killed) -> None:
    first = next(killed.run.glob("samples/*/1-1"))
    raw = {path.name: path.read_bytes() for path in first.iterdir() if path.name != "sample.json"}
    (first / "sample.json").unlink()  # as if labctl had been killed a moment earlier
    (first.parent / ".1-2.partial").mkdir()
    killed.run.joinpath("status.json").write_text('{"schema": "labctl.status/1", "state": "run')

    done = killed.resume()
    assert done.returncode == 0, done.stderr
    assert "is taken over from a labctl that no longer runs" in done.stderr
    assert "cleared  node2, where an earlier run left it: Netserver is stopped" in done.stderr
    assert "damaged: a file is not valid JSON" in done.stderr
    assert re.search(r"\d of 4 samples are there and count", done.stderr)
    plan, status = load(killed.run / "plan.json"), load(killed.run / "status.json")
    assert (status["state"], status["samples_taken"]) == ("done", 4)
    folders = {str(path.relative_to(killed.run / "samples")) for path in killed.run.glob("samples/*/*")}
    assert folders == {f"{cell['id']}/1-{n}" for cell in plan["cells"] for n in (1, 2)}
    assert all(load(killed.run / "samples" / name / "sample.json")["status"] == "valid" for name in folders)
    assert {path.name: path.read_bytes() for path in first.iterdir() if path.name != "sample.json"} == raw
    # The setup that was cut was deployed again; the evidence of the first deployment is still there.
    cut = first.parent.name.partition(".tcp_rr")[0]
    assert {path.name for path in (killed.run / "setups" / cut).iterdir()} == {"1", "1.2"}
    assert load(first / "measurement.json")["sample"]["deployment"] == 1
    assert load(first.parent / "1-2" / "measurement.json")["sample"]["deployment"] == 2
    assert "Rounds not taken in one go: 1." in done.stdout
    assert killed.lab.on_nodes(DEPLOYED) == []


def test_drift_is_named_and_recorded_when_it_is_accepted(killed: Killed) -> None:
    (attempt,) = sorted(killed.run.glob("attempts/*.json"))[-1:]
    content = load(attempt)
    now = content["fingerprints"]["node2"]["kernel"]["release"]
    content["fingerprints"]["node2"]["kernel"]["release"] = "5.4.0-old"
    attempt.write_text(json.dumps(content))
    sample = next(killed.run.glob("samples/baseline.*/1-2"))
    derived = load(sample / "sample.json") | {"status": "failed", "reasons": ["netperf was killed"]}
    (sample / "sample.json").write_text(json.dumps(derived))

    refused = killed.resume()
    assert refused.returncode == 1
    said = " ".join(refused.stderr.split())
    assert f"where: node2: kernel.release seen: recorded 5.4.0-old, now {now}" in said
    assert sample.is_dir()

    done = killed.resume("--accept-drift")
    assert done.returncode == 0, done.stderr
    (recorded,) = load(sorted(killed.run.glob("attempts/*.json"))[-1])["drift"]
    assert (recorded["where"], recorded["recorded"], recorded["now"]) == ("node2: kernel.release", "5.4.0-old", now)
    assert "Accepted drift" in done.stdout
    assert load(sample / "sample.json")["status"] == "valid"
    assert load(sample.with_name("1-2.failed-1") / "sample.json")["reasons"] == ["netperf was killed"]
    assert "1-2.failed-1" in done.stdout
    assert "netperf was killed" in done.stdout


def test_hung_netserver_and_netperf_are_ended_named_and_do_not_hinder_the_next_sample(
    lab: ProvisionedLab, killed: Killed, tmp_path: Path
) -> None:
    inventory = read_yaml(next(killed.run.glob("setups/baseline/*/setup.yml")))
    for variables in inventory["all"]["hosts"].values():
        item = {**variables["measure_samples"][-1], "warmup_s": 0.0, "time_limit_s": 3.0}
        samples = [{**item, "id": f"x/{n}", "duration_s": 1.0 if n % 2 else 20.0} for n in range(4)]
        variables |= {"measure_samples": samples, "measure_output_dir": str(tmp_path), "measure_stop_file": ""}
    write_yaml(tmp_path / "setup.yml", inventory, "Written by a test.")
    seen: dict[str, str] = {}

    def listener(event: Event) -> None:
        if isinstance(event, TaskResult) and event.action == "netperf_sample":
            seen[event.data["sample_id"]] = str(event.data["reason"])

    def stop() -> None:
        for sample, node, name in (("x/0", "node2", "netserver"), ("x/2", "node1", "netperf")):
            wait_until(lambda wanted=sample: wanted == "x/0" or "x/1" in seen)  # type: ignore[misc]
            wait_until(lab.measuring)
            lab.on_node(node, f"pkill -STOP -x {name}")

    saboteur = threading.Thread(target=stop)
    saboteur.start()
    outcome = lab.session.run_playbook(
        "visit.yml", [lab.inventory.path, tmp_path / "setup.yml"], options=AnsibleOptions(), listener=listener
    )
    saboteur.join()
    assert outcome.ok, outcome.failures
    assert "the time limit of 3 s was reached: netperf process 0 had not ended" in seen["x/0"]
    assert re.search(r"netserver \(process \d+\) was stopped", seen["x/0"])
    assert "netperf process 0 (it was stopped) had not ended" in seen["x/2"]
    assert (seen["x/1"], seen["x/3"]) == ("None", "None")
    assert lab.on_nodes(DEPLOYED) == []


def test_a_full_disk_ends_the_run_and_nothing_that_was_measured_is_lost(lab: ProvisionedLab, tmp_path: Path) -> None:
    options = ("--variant", "baseline-clean", "--no-reference", "--workload", "tcp_rr", "--processes", "1")
    more = ("--rounds", "1", "--repeat", "3", "--duration", "1", "--warmup", "0")
    with small_disk(tmp_path / "disk", "160k") as disk:
        command = matrix_command("-i", str(lab.inventory.path), *options, *more)
        ended = subprocess.run(command, cwd=disk, capture_output=True, text=True, check=False, timeout=120)
        assert ended.returncode == 1
        assert "No space left on device" in ended.stderr
        assert str(disk) in ended.stderr
        assert lab.on_nodes(DEPLOYED) == []
        before = {path: path.read_bytes() for path in disk.glob("runs/*/samples/*/*/netperf-00.txt")}
        subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
        resumed = matrix_command("--resume", "latest")
        done = subprocess.run(resumed, cwd=disk, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        assert {path: path.read_bytes() for path in before} == before
        assert len(list(disk.glob("runs/*/samples/*/1-?/sample.json"))) == 3


def test_fail_fast_ends_at_the_first_sample_that_does_not_count(lab: ProvisionedLab, tmp_path: Path) -> None:
    options = ("--variant", "baseline,baseline-clean", "--workload", "tcp_rr", "--processes", "1", "--rounds", "1")
    command = matrix_command("-i", str(lab.inventory.path), *options, "--duration", "5", "--fail-fast")
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lab.measuring, process=process)
        lab.on_node("node1", "pkill -9 -x netperf")
        out, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    (run,) = (tmp_path / "runs").iterdir()
    status = load(run / "status.json")
    assert (status["state"], status["samples_taken"], len(status["visits"])) == ("failed", 1, 1)
    assert f"netperf process 0 was killed by signal {signal.SIGKILL:d}" in " ".join(out.split())
    assert lab.on_nodes(DEPLOYED) == []
