"""The role kernel on real guests: there with interruptions, and back. Runs in the order it is written in.

Every install and every boot of an emulated guest counts, so one install serves all of it: a provision that is killed in
the middle of it, one whose kernel does not come up on one node, one that gives up waiting, and the scenario of the
role, which finishes the work.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import VM_NAME, VM_PORT, copy_vm_inventory, labctl, molecule, start_labctl
from tests.integration.conftest import ProvisionedLab, wait_until

pytestmark = [pytest.mark.lab, pytest.mark.acceptance]

LINE = "5.10"
INSTALL_S = 900.0
NEW_KERNEL = (
    f'ls /boot/initrd.img-{LINE}.* && test -z "$(dpkg --audit)" && ! pgrep -x apt-get > /dev/null && echo there'
)


def wanted(directory: Path, **values: object) -> str:
    """Return the lab with a kernel that it wants; with panic=1 one that finds no root file system reboots by itself."""
    values = {"kernel_line": f'"{LINE}"', "kernel_cmdline": "[panic=1]", **values}
    return str(copy_vm_inventory(directory / VM_NAME, VM_NAME, VM_PORT, **values))


def provision(lab: str, *words: str) -> str:
    """Provision, which has to fail, and return what it said."""
    done = labctl("provision", "-i", lab, *words)
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stderr


def release(lab: ProvisionedLab) -> list[str]:
    return lab.on_nodes("uname -r")


def answers(lab: ProvisionedLab, node: str) -> str:
    """Return the kernel that a node runs, or nothing while it does not answer."""
    done = subprocess.run(lab.command(node, "uname -r"), capture_output=True, text=True, check=False, timeout=120)
    return done.stdout.strip()


@contextlib.contextmanager
def full_disk(lab: ProvisionedLab, node: str) -> Iterator[None]:
    """Leave 100 MiB of room."""
    lab.on_node(node, "fallocate -l $(($(stat -fc '%a * %S' /boot) - (100 << 20))) /full")
    try:
        yield
    finally:
        lab.on_node(node, "rm /full")


def test_everything_that_stands_in_the_way_is_told_at_once_and_nothing_is_changed(
    vm_lab: ProvisionedLab, tmp_path: Path
) -> None:
    vm_lab.on_node(
        "node1", "cp -L /etc/os-release /root/os-release; sed s/ID=debian/ID=arch/ /root/os-release > /etc/os-release"
    )
    try:
        with full_disk(vm_lab, "node1"):
            told = provision(wanted(tmp_path, kernel_line='"9.99"'))
    finally:
        vm_lab.on_node("node1", "cp /root/os-release /etc/os-release")
    for words in (
        "would install a kernel of the line 9.99 and reboot, and may not reboot",
        "The role installs kernels on Debian only.",
        "No Debian release is known to carry the kernel line 9.99.",
        "There is too little room for a kernel in /boot.",
        "next:  labctl provision --allow-reboot",
    ):
        assert words in told
    assert vm_lab.on_nodes("ls /var/lib/labctl/kernel.json 2>&1 | grep -c 'No such'") == ["1", "1"]


def test_a_kernel_that_labctl_is_not_to_change_is_named(vm_lab: ProvisionedLab, tmp_path: Path) -> None:
    told = provision(wanted(tmp_path, kernel_managed="false"), "--allow-reboot")
    assert "labctl is not to change it" in told
    assert f"node1, kernel_managed: false\n  seen:  {release(vm_lab)[0]} runs" in told


def test_an_install_is_finished_though_labctl_and_ssh_are_gone(vm_lab: ProvisionedLab, tmp_path: Path) -> None:
    process = start_labctl("provision", "-i", wanted(tmp_path), "--allow-reboot")
    both = ["dpkg", "dpkg"]
    wait_until(lambda: vm_lab.on_nodes("pgrep -x dpkg > /dev/null && echo dpkg") == both, INSTALL_S, process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    for node in ("node1", "node2"):
        wait_until(lambda node=node: "there" in vm_lab.on_node(node, NEW_KERNEL), INSTALL_S)  # type: ignore[misc]


def test_a_kernel_that_does_not_come_up_leaves_its_node_on_the_old_one(vm_lab: ProvisionedLab, tmp_path: Path) -> None:
    old = release(vm_lab)[1]
    # GRUB would wait for a key if there were none; of this one the kernel makes nothing.
    broken = f"mv /boot/initrd.img-{LINE}.* /root/ && head -c 4096 /dev/zero > /boot/$(cd /root; ls initrd*) && sync"
    vm_lab.on_node("node2", broken)
    told = provision(wanted(tmp_path), "--allow-reboot")
    assert f"The node came back, but on {old}: the wanted kernel was tried once" in told
    assert "where: node1" not in told
    vm_lab.on_node("node2", "mv /root/initrd* /boot/ && sync")
    assert release(vm_lab)[0].startswith(f"{LINE}.")


def test_a_node_that_does_not_come_back_in_time_is_told_with_the_way_out(
    vm_lab: ProvisionedLab, tmp_path: Path
) -> None:
    old = release(vm_lab)[1]
    told = provision(wanted(tmp_path, kernel_reboot_timeout_s=3), "--allow-reboot")
    assert "did not come back within 3 s" in told
    assert f"switch the node off and on, and it boots {old} again" in told
    wait_until(lambda: answers(vm_lab, "node2").startswith(f"{LINE}."), INSTALL_S)


def test_the_scenario_of_the_role_finishes_the_work(vm_lab: ProvisionedLab) -> None:
    molecule("kernel")
    assert [one.split(".")[:2] for one in release(vm_lab)] == [["5", "10"], ["5", "10"]]


def test_a_lab_goes_back_to_the_kernel_of_its_distribution(vm_lab: ProvisionedLab, tmp_path: Path) -> None:
    lab = wanted(tmp_path, kernel_line="distribution", kernel_cmdline="[]")
    done = labctl("provision", "-i", lab, "--allow-reboot")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [one.split(".")[:2] for one in release(vm_lab)] == [["6", "1"], ["6", "1"]]
    places = "/etc/apt/sources.list.d /etc/apt/preferences.d /etc/default/grub.d /boot /var/lib/labctl"
    found = vm_lab.on_nodes(f"find {places} -mindepth 1 -printf '%f\\n'; apt-mark showhold")
    assert not [name for name in found if "labctl" in name or LINE in name or name == "kernel.json"]
    again = labctl("provision", "-i", lab)
    assert f"lab {VM_NAME} is provisioned: 0 changed" in again.stdout, again.stdout + again.stderr
