"""What integration tests share: one provisioned lab for all of them, and how to copy the shipped one."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from labctl.engine.inventory import Inventory, open_lab
from labctl.engine.session import AnsibleOptions, Session
from labctl.labs import embedded as labs
from labctl.labs.provision import provision

# Name and index of the lab; another checkout that tests on this machine at the same time sets both.
LAB_NAME = os.environ.get("LABCTL_TEST_LAB_NAME", "test")
LAB_INDEX = int(os.environ.get("LABCTL_TEST_LAB_INDEX", "240"))

IMPATIENT_S = 3.0  # ServerAliveInterval 1, ServerAliveCountMax 3

SHIPPED = Path(__file__).resolve().parent.parent.parent / "inventories" / "local"


def load(path: Path) -> Any:
    """Return what a JSON file says."""
    return json.loads(path.read_text())


def read_bytes(path: Path) -> bytes:
    """Return what a file of a process says, nothing once it has ended."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def wait_until(
    condition: Callable[[], object], seconds: float = 60.0, process: subprocess.Popen[str] | None = None
) -> None:
    """Wait until the condition is true; fail after `seconds`, or at once when the process behind it has ended."""
    deadline = time.monotonic() + seconds
    while not condition():
        if process is not None and process.poll() is not None:
            out, err = process.communicate()
            pytest.fail(f"labctl ended too early, with exit code {process.returncode}\n{out}\n{err}")
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.2)  # less would be a load that labctl waits for, or that voids a sample


def copy_inventory(directory: Path, name: str, index: int, shipped: Path = SHIPPED) -> Path:
    """Return a copy of the shipped local lab, changed as its comments tell users to."""
    shutil.copytree(shipped, directory)
    group_vars = directory / "group_vars" / "all.yml"
    text = re.sub(r"(?m)^lab_name: .*$", f"lab_name: {name}", group_vars.read_text())
    group_vars.write_text(re.sub(r"(?m)^local_lab_index: .*$", f"local_lab_index: {index}", text))
    return directory


def give_up_soon(directory: Path) -> Path:
    """Let the ssh of an inventory take a dead connection for dead after IMPATIENT_S."""
    group_vars = directory / "group_vars" / "all.yml"
    text, replaced = re.subn("ServerAliveInterval=5", "ServerAliveInterval=1", group_vars.read_text())
    assert replaced == 1
    group_vars.write_text(text)
    return directory


@pytest.fixture
def impatient(lab: ProvisionedLab, tmp_path: Path) -> Path:
    """The lab's inventory with an ssh that gives a dead connection up after IMPATIENT_S: tests have no 15 seconds."""
    return give_up_soon(copy_inventory(tmp_path / LAB_NAME, LAB_NAME, LAB_INDEX))


@dataclass(frozen=True)
class ProvisionedLab:
    """The lab for tests that need nodes: its inventory, its record, and an open session to run playbooks in.

    A command on a node may take `answer_s` seconds.
    """

    inventory: Inventory
    record: labs.Lab
    session: Session
    answer_s: float = 30.0

    def command(self, node: str, *words: str) -> list[str]:
        """Return the command line that runs words on a node."""
        return [*labs.shell_command(self.record.name, node), *words]

    def on_node(self, node: str, *words: str) -> str:
        """Return what words print when run on a node; their exit code may be any, that of ssh itself may not."""
        done = subprocess.run(
            self.command(node, *words),
            capture_output=True,
            text=True,
            check=False,
            timeout=self.answer_s,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode != 255, f"ssh to {node}: {done.stderr}"
        return done.stdout

    def measuring(self) -> bool:
        """Whether a sample is being taken: only its netperf prints interim results, that of the proof does not.

        Asked of this machine where its kernel is the nodes': who logs in again and again is a load that voids samples.
        """
        if self.record.vm is not None:
            return bool(self.on_node("node1", "pgrep -f '^netperf.* -D -'"))
        return (
            subprocess.run(["pgrep", "-f", "^netperf.* -D -"], stdout=subprocess.DEVNULL, check=False).returncode == 0
        )

    def on_nodes(self, *words: str) -> list[str]:
        """Return the lines that words print on the nodes, those of the first node first."""
        return [line for node in self.record.nodes for line in self.on_node(node.name, *words).splitlines() if line]


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProvisionedLab]:
    """Create and provision the lab of the tests once; whoever changes its nodes puts them back."""
    directory = copy_inventory(tmp_path_factory.mktemp("labs") / LAB_NAME, LAB_NAME, LAB_INDEX)
    with Session() as session:
        if LAB_NAME in labs.names():  # of tests that were killed
            labs.destroy(session, LAB_NAME)
        try:
            record = labs.create(session, str(directory))
            inventory = open_lab(session, str(directory))
            provision(session, inventory, AnsibleOptions()).require()
            yield ProvisionedLab(inventory, record, session)
        finally:
            labs.destroy(session, str(directory))
