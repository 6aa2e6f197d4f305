"""Control groups of other processes: which files stand for them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from labctl_agent.cgroups import Mount

from tests.unit.roles.measure.conftest import AGENT

# A child goes into a group; this process follows it, sees itself there, and then has nothing left to join.
JOIN = """
import os, subprocess, sys
sys.path.insert(0, "{files}")
from labctl_agent import cgroups
os.mkdir("{group}")
child = subprocess.Popen(["sleep", "60"])
def members():
    return open("{group}/cgroup.procs").read().split()
try:
    open("{group}/cgroup.procs", "w").write(str(child.pid))
    print(str(os.getpid()) in members())
    cgroups.join(child.pid)
    print(str(os.getpid()) in members())
    print(cgroups.files_to_join(child.pid))
finally:
    child.kill()
    child.wait()
    open("{group}/../cgroup.procs", "w").write(str(os.getpid()))
    os.rmdir("{group}")
"""


def directory_of(hierarchy: str) -> Path:
    """Return where a hierarchy of control groups is mounted; skip the test where this machine has none."""
    directory = Path("/sys/fs/cgroup", hierarchy)
    if hierarchy == "unified" and not directory.exists():
        directory = directory.parent  # a machine with nothing but cgroup v2
    if not (directory / "cgroup.procs").exists():
        pytest.skip(f"this machine has no hierarchy {hierarchy}")
    return directory


@pytest.mark.parametrize(
    ("mount", "controllers", "holds"),
    [
        (Mount("cgroup2", "/", "/sys/fs/cgroup", ["rw"]), "", True),
        (Mount("cgroup2", "/", "/sys/fs/cgroup", ["rw"]), "cpu", False),
        (Mount("cgroup", "/", "/sys/fs/cgroup/cpu", ["rw", "cpu", "cpuacct"]), "cpu,cpuacct", True),
        (Mount("cgroup", "/", "/sys/fs/cgroup/cpu", ["rw", "cpu", "cpuacct"]), "cpu,memory", False),
        (Mount("cgroup", "/", "/sys/fs/cgroup/cpu", ["rw", "cpu", "cpuacct"]), "", False),
        (Mount("cgroup", "/", "/sys/fs/cgroup/systemd", ["rw", "name=systemd"]), "name=systemd", True),
    ],
)
def test_a_hierarchy_holds_its_own_controllers(mount: Mount, controllers: str, holds: bool) -> None:
    assert mount.holds(controllers) is holds


@pytest.mark.lab
@pytest.mark.parametrize("hierarchy", ["pids", "unified"])
def test_a_process_in_another_group_is_joined_there(node: tuple[str, ...], hierarchy: str) -> None:
    script = JOIN.format(files=AGENT.parent, group=f"{directory_of(hierarchy)}/labctl-test-{os.getpid()}")
    done = subprocess.run([*node, sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["False", "True", "[]"], done.stderr
