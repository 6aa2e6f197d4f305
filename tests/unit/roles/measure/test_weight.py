"""The CPU weight of a process, by control groups of this machine and by files as those of version 2 have them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from labctl_agent import weight
from labctl_agent.places import Mount

from tests.unit.roles.measure.conftest import ROOT

AGENTS = str(Path(weight.__file__).parents[1])
OWN = "import os, sys; sys.path.insert(0, sys.argv[1]); from labctl_agent.weight import *; print({})"
# In a group of little weight, and in one below it.
GROUPED = """
set -eu
group={top}/labctl-test-$$
mkdir "$group"
trap 'cd /; echo $$ > {top}/cgroup.procs; rmdir "$group/inner" "$group"' EXIT
echo 205 > "$group/cpu.shares"
mkdir "$group/inner"
echo $$ > "$group/inner/cgroup.procs"
"$@"
"""


def told(call: str, *before: str) -> str:
    """What a call of the module prints, below a command that wants root."""
    command = [*ROOT, *before, "/usr/bin/python3", "-c", OWN.format(call), AGENTS]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_a_process_that_nobody_gave_a_weight_has_the_plain_one() -> None:
    assert told("cpu_weight(os.getpid())") == "100"
    assert told("cpu_weight(0)") == "None"  # no process, no way


@pytest.mark.skipif(not Path("/sys/fs/cgroup/cpu/cpu.shares").exists(), reason="CPU shares are of cgroup v1")
def test_the_smallest_weight_on_the_way_counts() -> None:
    # 205 shares of 1,024; the group below it has 1,024 of its own.
    assert told("cpu_weight(os.getpid())", "sh", "-c", GROUPED.format(top="/sys/fs/cgroup/cpu"), "-") == "20"


def test_weights_of_version_2_count_as_they_are(tmp_path: Path) -> None:
    service = tmp_path / "system.slice" / "one.service"
    service.mkdir(parents=True)
    (service / "cpu.weight").write_text("300\n")
    (service.parent / "cpu.weight").write_text("50\n")
    mount = Mount("cgroup2", "/", str(tmp_path), ["rw"])
    assert told(f"list(weights(Mount{tuple(mount)}, '/system.slice/one.service'))") == ("[300, 50]")


def test_a_group_without_the_controller_has_no_weight_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    mount = Mount("cgroup2", "/", str(tmp_path), ["rw"])
    assert told(f"list(weights(Mount{tuple(mount)}, '/plain'))") == "[]"
