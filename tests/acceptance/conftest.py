"""What acceptance tests share: one vm lab for all of them, created before the first and gone after the last.

Its guests are emulated where KVM does not work, so every boot counts: a test puts back what it changes.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from labctl.core import paths
from labctl.engine.inventory import open_lab
from labctl.engine.session import Session
from labctl.labs import embedded as labs
from tests.integration.conftest import ProvisionedLab

# Name and first port of the lab; another checkout that tests on this machine at the same time sets both.
VM_NAME = os.environ.get("LABCTL_TEST_VM_NAME", "test-vm")
VM_PORT = int(os.environ.get("LABCTL_TEST_VM_PORT", "22910"))

REPOSITORY = Path(__file__).resolve().parent.parent.parent
SHIPPED = REPOSITORY / "inventories" / "vm"
# An emulated guest on a busy machine takes its time to answer.
ANSWER_S = 120.0


def copy_vm_inventory(directory: Path, name: str, port: int, **values: object) -> Path:
    """Return a copy of the shipped vm lab, changed as its comments tell users to; `values` are further variables."""
    shutil.copytree(SHIPPED, directory)
    group_vars = directory / "group_vars" / "all.yml"
    text = re.sub(r"(?m)^lab_name: .*$", f"lab_name: {name}", group_vars.read_text())
    text = re.sub(r"(?m)^vm_lab_port: .*$", f"vm_lab_port: {port}", text)
    text = re.sub(rf"(?m)^({'|'.join(values)}): .*\n", "", text) if values else text
    group_vars.write_text(text + "".join(f"{word}: {value}\n" for word, value in values.items()))
    return directory


LABCTL = str(Path(sys.executable).with_name("labctl"))


def labctl(*words: str) -> subprocess.CompletedProcess[str]:
    """Run labctl as a user does."""
    return subprocess.run([LABCTL, *words], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def start_labctl(*words: str) -> subprocess.Popen[str]:
    """Start labctl as a user does; something is to happen while it runs."""
    return subprocess.Popen(
        [LABCTL, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def molecule(scenario: str, **lab: str) -> None:
    """Run a role's scenario on the lab that variables of the environment name, else on the vm lab of all tests."""
    shared = lab or {"LABCTL_MOLECULE_VM_NAME": VM_NAME, "LABCTL_MOLECULE_VM_PORT": str(VM_PORT)}
    succeed(["molecule", "test", "-s", scenario, "--destroy=never"], **shared)


def succeed(argv: list[str], **environment: str) -> None:
    """Run a program of this environment in the repository; it has to end well."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        argv,
        cwd=REPOSITORY,
        env={**os.environ, **environment, "PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def ansible(*words: str) -> None:
    """Run a playbook as one does by hand."""
    succeed(["ansible-playbook", *words], ANSIBLE_CONFIG=str(REPOSITORY / "ansible.cfg"), LC_ALL="C.UTF-8")


def left_behind(name: str) -> list[str]:
    """Return what is left on the host of a vm lab, found without its record."""
    processes = subprocess.run(["ps", "-eo", "args"], check=True, capture_output=True, text=True).stdout
    found = [line for line in processes.splitlines() if f"labctl-{name}-" in line]
    return found + [str(path) for path in (paths.state_dir() / "labs").glob(name)]


@pytest.fixture(scope="session")
def vm_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProvisionedLab]:
    """Create the lab of the acceptance tests once, as fresh as a server just installed: nothing is provisioned."""
    directory = copy_vm_inventory(tmp_path_factory.mktemp("labs") / VM_NAME, VM_NAME, VM_PORT, vm_lab_vcpus=3)
    with Session() as session:
        if VM_NAME in labs.names():  # of tests that were killed
            labs.destroy(session, VM_NAME)
        try:
            record = labs.create(session, str(directory))
            yield ProvisionedLab(open_lab(session, str(directory)), record, session, ANSWER_S)
        finally:
            labs.destroy(session, str(directory))
        assert left_behind(VM_NAME) == [], "destroying leaves nothing"
        labs.destroy(session, str(directory))  # a second time is no error
