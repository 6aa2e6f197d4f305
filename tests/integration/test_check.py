"""The preflight on the real local lab: a sound lab, and one broken on purpose in one place after the other."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from labctl.engine.inventory import open_lab
from labctl.engine.session import AnsibleOptions, Session
from labctl.labs.look import look
from labctl.nodes import findings as check
from labctl.nodes.findings import Finding
from labctl.nodes.fingerprint import differences
from labctl.nodes.rules import Level
from tests.integration.conftest import ProvisionedLab

pytestmark = [pytest.mark.lab, pytest.mark.newest]


def findings(session: Session, path: Path) -> tuple[Finding, ...]:
    inventory = open_lab(session, str(path))
    seen = look(session, inventory, AnsibleOptions())
    return check.findings(inventory, seen.fingerprints, seen.outcome.failures, seen.outcome.unreachable)


def on_node(lab: ProvisionedLab, node: str, command: str) -> None:
    subprocess.run(lab.command(node, command), check=True, timeout=30, capture_output=True)


@contextmanager
def broken(lab: ProvisionedLab, node: str, command: str, repair: str) -> Iterator[None]:
    """Run a command on a node, and its opposite afterwards whatever happens."""
    on_node(lab, node, command)
    try:
        yield
    finally:
        on_node(lab, node, repair)


@pytest.fixture
def changed_inventory(lab: ProvisionedLab, tmp_path: Path) -> Path:
    """A copy of the lab's inventory that a test may spoil."""
    return Path(shutil.copytree(lab.inventory.path, tmp_path / "inventory"))


def set_variables(inventory: Path, node: str, values: dict[str, object]) -> None:
    folder = inventory / "host_vars"
    folder.mkdir(exist_ok=True)
    (folder / f"{node}.yml").write_text(yaml.safe_dump(values))


def test_sound_lab_has_no_error_and_looking_changes_nothing(lab: ProvisionedLab) -> None:
    first = look(lab.session, lab.inventory, AnsibleOptions())
    second = look(lab.session, lab.inventory, AnsibleOptions())
    assert (first.outcome.changed, second.outcome.changed) == (0, 0)
    found = check.findings(lab.inventory, second.fingerprints, second.outcome.failures, second.outcome.unreachable)
    assert [finding for finding in found if finding.level is Level.ERROR] == []
    for node in ("node1", "node2"):
        before, after = first.fingerprints[node], second.fingerprints[node]
        assert differences(before, after) == ()
        assert before.data["identity"] == after.data["identity"]
        assert before.text("machine", "container") == "systemd-nspawn"
        assert before.text("versions", "netperf")
        assert before.flag("nic", "hardware") is False
        assert before.mapping("nic", "queues")
        assert before.get("nic", "interrupts") is None


def test_faults_on_the_nodes_are_found_where_they_are(lab: ProvisionedLab) -> None:
    offload = "ethtool -K cable0 tso {0} gso {0}"
    with (
        broken(lab, "node1", "ip link set cable0 mtu 1400", "ip link set cable0 mtu 1500"),
        broken(lab, "node2", offload.format("on"), offload.format("off")),
        broken(lab, "node2", "mv /usr/bin/netperf /usr/bin/aside", "mv /usr/bin/aside /usr/bin/netperf"),
    ):
        found = {(each.node, each.subject): each for each in findings(lab.session, lab.inventory.path)}
    assert found["both", "MTU"].seen == "link.mtu: 1400 / 1500"
    assert found["both", "MTU"].level is Level.ERROR
    offloads = found["node2", "segmentation offload"]
    assert (offloads.level, offloads.seen) == (
        Level.ERROR,
        "on: tcp-segmentation-offload, generic-segmentation-offload",
    )
    assert found["node1", "segmentation offload"].level is Level.OK
    assert (found["node2", "netperf"].level, found["node2", "netperf"].seen) == (Level.WARNING, "not installed")
    assert found["node1", "netperf"].level is Level.OK


def test_wrong_address_and_wrong_interface_are_found(lab: ProvisionedLab, changed_inventory: Path) -> None:
    set_variables(changed_inventory, "node1", {"cable_address": "192.0.2.1"})
    set_variables(changed_inventory, "node2", {"cable_interface": "cable9"})
    errors = [each for each in findings(lab.session, changed_inventory) if each.level is Level.ERROR]
    assert ("node1", "cable address", "192.0.2.1") in [(each.node, each.subject, each.wanted) for each in errors]
    assert ("node2", "cable", "no such interface") in [(each.node, each.subject, each.seen) for each in errors]


def test_refused_key_and_silent_node_are_told_apart(
    lab: ProvisionedLab, changed_inventory: Path, tmp_path: Path
) -> None:
    key = tmp_path / "another-key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    set_variables(changed_inventory, "node1", {"ansible_ssh_private_key_file": str(key)})
    set_variables(changed_inventory, "node2", {"ansible_port": 2223})
    with Session() as session:  # a session of its own has no connection that would still be open
        found = {each.node: each for each in findings(session, changed_inventory) if each.level is Level.ERROR}
    assert found["node1"].subject == "SSH key"
    assert "Permission denied" in found["node1"].seen
    assert "ansible_ssh_private_key_file" in found["node1"].action
    assert found["node2"].subject == "answer"
    assert "Connection refused" in found["node2"].seen
    assert "ansible_port" in found["node2"].action


def test_node_with_another_host_key_is_refused(lab: ProvisionedLab, changed_inventory: Path, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    known.touch()
    options = f"-o StrictHostKeyChecking=yes -o UserKnownHostsFile={known} -o GlobalKnownHostsFile=/dev/null"
    for node in ("node1", "node2"):
        set_variables(changed_inventory, node, {"ansible_ssh_common_args": options})
    with Session() as session:
        found = [each for each in findings(session, changed_inventory) if each.level is Level.ERROR]
    assert [each.subject for each in found] == ["host key", "host key"]


def labctl(arguments: Sequence[str], directory: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "labctl", *arguments]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False, timeout=120)


def test_exit_code_says_whether_there_is_an_error(lab: ProvisionedLab, changed_inventory: Path, tmp_path: Path) -> None:
    sound = labctl(["check", "-i", str(lab.inventory.path)], tmp_path)
    assert sound.returncode == 0, sound.stdout + sound.stderr
    assert "conntrack table" in sound.stdout
    set_variables(changed_inventory, "node2", {"cable_address": "192.0.2.1"})
    spoilt = labctl(["check", "-i", str(changed_inventory)], tmp_path)
    assert spoilt.returncode == 1
    assert "192.0.2.1" in spoilt.stdout
