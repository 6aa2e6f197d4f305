"""Ways to a node other than root over SSH on port 22: whatever Ansible goes by, samples are taken by, too."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from labctl.engine.inventory import open_lab
from labctl.engine.session import AnsibleOptions
from labctl.labs.look import look
from tests.integration.conftest import ProvisionedLab

pytestmark = [pytest.mark.lab, pytest.mark.newest]

PORT = 2222
PASSWORD = "a password"


@pytest.fixture(scope="module")
def ways(lab: ProvisionedLab) -> Iterator[None]:
    """A user on both nodes who can become root with a password alone, and another port for SSH on the second."""
    add = f"useradd -m -s /bin/bash bench && cp -r ~/.ssh ~bench/ && chown -R bench ~bench/.ssh && echo 'root:{PASSWORD}' | chpasswd"
    port = f"mkdir -p /run/sshd && systemd-run --quiet --unit=ways-sshd /usr/sbin/sshd -D -p {PORT}"
    try:
        for node, command in (("node1", add), ("node2", add), ("node2", port)):
            subprocess.run(lab.command(node, command), check=True, timeout=60, capture_output=True)
        yield
    finally:
        lab.on_nodes("userdel -r bench; passwd -l root; systemctl stop ways-sshd")


@pytest.fixture
def inventory(lab: ProvisionedLab, tmp_path: Path) -> Path:
    return Path(shutil.copytree(lab.inventory.path, tmp_path / "inventory"))


def variables_of(inventory: Path, node: str, values: dict[str, object]) -> None:
    (inventory / "host_vars").mkdir(exist_ok=True)
    (inventory / "host_vars" / f"{node}.yml").write_text(yaml.safe_dump(values))


SU = {
    "ansible_user": "bench",
    "ansible_become": True,
    "ansible_become_method": "su",
    "ansible_become_password": PASSWORD,
}
REACHED = {
    "a silent search for Python": {"ansible_python_interpreter": "auto_silent"},
    "a search for Python": {"ansible_python_interpreter": "auto"},
    "the long name of ssh": {"ansible_connection": "ansible.builtin.ssh"},
    "su with a password": SU,
    "a password": {"ansible_password": PASSWORD, "ansible_user": "bench", "ansible_ssh_args": "-o ControlPersist=9s"},
    "another directory": {"ansible_remote_tmp": "/var/tmp/elsewhere", "ansible_shell_executable": "/bin/bash"},
}


def jump(lab: ProvisionedLab) -> str:
    """The way to a node through the first one."""
    first, ssh = lab.record.nodes[0], lab.record.ssh
    hosts = f"-o UserKnownHostsFile={ssh.known_hosts}"
    return f"ssh -F none -i {ssh.key} {hosts} -W %h:%p {first.user}@{first.address}"


@pytest.mark.parametrize("way", REACHED)
@pytest.mark.usefixtures("ways")
def test_the_preflight_goes_the_way_that_ansible_goes(lab: ProvisionedLab, inventory: Path, way: str) -> None:
    variables_of(inventory, "node2", dict(REACHED[way]))
    seen = look(lab.session, open_lab(lab.session, str(inventory)), AnsibleOptions())
    assert [failure.message for failure in seen.outcome.failures] == []
    assert sorted(seen.fingerprints) == ["node1", "node2"]
