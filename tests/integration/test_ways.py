"""Ways to a node other than root's SSH on port 22: where Ansible goes, samples are taken, too."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml

from labctl.engine.inventory import open_lab
from labctl.engine.session import AnsibleOptions
from labctl.labs.look import look
from tests.commands import matrix_command
from tests.integration.conftest import ProvisionedLab, load

pytestmark = [pytest.mark.lab, pytest.mark.newest]

PORT = 2222
PASSWORD = "a-password"
# A second sshd for a user who becomes root by a password alone.
BENCH = (
    "useradd -m -s /bin/bash bench",
    "install -d -m 0755 /run/ways",
    "install -o bench -m 0600 ~/.ssh/authorized_keys /run/ways/keys",
    f"printf 'root:{PASSWORD}\\nbench:{PASSWORD}\\n' | chpasswd",
    "systemd-run --quiet --unit=ways-sshd /usr/sbin/sshd -D "
    f"-p {PORT} -o PasswordAuthentication=yes -o AuthorizedKeysFile=/run/ways/keys -o PidFile=none",
)
NO_BENCH = "systemctl stop ways-sshd; userdel -r bench 2>/dev/null; passwd -d root >/dev/null; rm -r /run/ways"
SU = {"ansible_become": True, "ansible_become_method": "su", "ansible_become_password": PASSWORD}


@pytest.fixture(scope="module")
def bench(lab: ProvisionedLab) -> Iterator[Mapping[str, Mapping[str, object]]]:
    """The variables of each node by which that user gets there; to the second one only through the first."""
    nodes, ssh = lab.record.nodes, lab.record.ssh
    hosts = f"-o UserKnownHostsFile={ssh.known_hosts} -o StrictHostKeyChecking=yes"
    jump = f"ssh -F none -i {ssh.key} {hosts} -W %h:%p {nodes[0].user}@{nodes[0].address}"
    there = {
        node.name: {
            "ansible_port": PORT,
            "ansible_user": "bench",
            "ansible_ssh_extra_args": f"-o HostKeyAlias={node.address}",
        }
        for node in nodes
    }
    there["node2"]["ansible_ssh_extra_args"] = f"-o HostKeyAlias={nodes[1].address} -o 'ProxyCommand={jump}'"
    try:
        for node in nodes:
            subprocess.run(lab.command(node.name, " && ".join(BENCH)), check=True, timeout=60, capture_output=True)
        yield there
    finally:
        lab.on_nodes(NO_BENCH)


def changed(lab: ProvisionedLab, directory: Path, **variables: Mapping[str, object]) -> Path:
    """A copy of the lab's inventory in which nodes have other variables."""
    inventory = Path(shutil.copytree(lab.inventory.path, directory / "inventory"))
    (inventory / "host_vars").mkdir()
    for node, values in variables.items():
        (inventory / "host_vars" / f"{node}.yml").write_text(yaml.safe_dump(dict(values)))
    return inventory


def test_samples_are_taken_by_every_way_that_ansible_goes(
    lab: ProvisionedLab, bench: Mapping[str, Mapping[str, object]], tmp_path: Path
) -> None:
    """Another port, a jump host, a password for su, another shell and directory, a Python that is looked for."""
    # What the sample is worth is no matter here, and others may work on this machine.
    one = {**bench["node1"], **SU, "ansible_connection": "ansible.builtin.ssh", "measure_rest_limit_s": 0}
    other = {**bench["node2"], **SU, "ansible_python_interpreter": "auto_silent", "ansible_remote_tmp": "~/elsewhere"}
    inventory = changed(lab, tmp_path, node1=one, node2={**other, "ansible_shell_executable": "/bin/bash"})
    sizes = ("--duration", "1", "--warmup", "0", "--rounds", "1", "--processes", "1", "--workload", "tcp_rr")
    command = matrix_command("-i", str(inventory), "--variant", "baseline", *sizes)
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    samples = [load(sample) for sample in tmp_path.glob("runs/*/samples/*/*/sample.json")]
    assert [sample["rate"]["value"] > 0 for sample in samples] == [True], done.stderr


@pytest.mark.parametrize(
    ("variables", "seen"),
    [
        ({"ansible_password": PASSWORD}, None),
        ({"ansible_password": PASSWORD, "ansible_ssh_args": "-o Compression=no"}, "Use a key, or ansible_ssh_args"),
    ],
)
def test_a_password_goes_through_the_connection_that_ansible_leaves_or_is_refused(
    lab: ProvisionedLab,
    bench: Mapping[str, Mapping[str, object]],
    tmp_path: Path,
    variables: Mapping[str, object],
    seen: str | None,
) -> None:
    no_key = {**bench["node1"], **SU, "ansible_ssh_private_key_file": "/dev/null", **variables}
    inventory = open_lab(lab.session, str(changed(lab, tmp_path, node1=no_key)))
    failures = look(lab.session, inventory, AnsibleOptions()).outcome.failures
    assert [failure.node for failure in failures] == ([] if seen is None else ["node1"])
    assert all(seen in failure.message for failure in failures if seen), failures
