"""labctl as users install it: a wheel put in place by pipx, used in an empty directory with no checkout in reach."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from labctl.labs import embedded as labs
from tests.commands import ANY_STEAL
from tests.integration.conftest import LAB_INDEX, LAB_NAME, copy_inventory, load

pytestmark = [pytest.mark.lab, pytest.mark.newest]

NAME = f"{LAB_NAME}-installed"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SHORT = ("--rounds", "1", "--duration", "1", "--warmup", "0", "--processes", "1", "--workload", "tcp_rr")


@dataclass(frozen=True)
class Installed:
    """The installed command, the environment that pipx made for it, and the user's directory, empty at first."""

    command: Path
    environment: Path
    directory: Path

    def __call__(self, *arguments: str) -> str:
        """Return what labctl prints as a user of it starts it; it has to succeed."""
        done = subprocess.run(
            [str(self.command), *arguments],
            cwd=self.directory,
            env={"HOME": str(self.directory), "PATH": f"{self.command.parent}:{SYSTEM_PATH}", "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def labctl(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Install the wheel by pipx, for the Python that runs the tests."""
    home, directory = tmp_path_factory.mktemp("pipx"), tmp_path_factory.mktemp("empty")
    own = {"PIPX_HOME": str(home), "PIPX_BIN_DIR": str(home / "bin"), "PIPX_MAN_DIR": str(home / "man")}
    install = [sys.executable, "-m", "pipx", "install", "--python", sys.executable, str(wheel)]
    done = subprocess.run(
        install, cwd=directory, env=os.environ | own, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Installed(home / "bin" / "labctl", home / "venvs" / "labctl", directory)


@pytest.fixture(scope="module")
def inventory(labctl: Installed) -> Iterator[str]:
    """A copy of the lab that labctl ships, under a name of its own: the machine may have the lab `local` already."""
    (shipped,) = labctl.environment.glob("lib/python*/site-packages/labctl/_content/inventories/local")
    if NAME in labs.names():  # of tests that were killed
        labctl("lab", "destroy", "-i", NAME)
    copy_inventory(labctl.directory / "inventories" / NAME, NAME, LAB_INDEX + 4, shipped)
    yield NAME
    if NAME in labs.names():
        labctl("lab", "destroy", "-i", NAME)


def test_nothing_of_the_checkout_is_used(labctl: Installed, repository: Path) -> None:
    assert labctl("--version").startswith("labctl ")
    code = "import sys, labctl; print(labctl.__file__, *sys.path)"
    done = subprocess.run(
        [str(labctl.environment / "bin" / "python"), "-c", code],
        cwd=labctl.directory,
        env={"PATH": SYSTEM_PATH},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(str(labctl.environment))
    assert str(repository) not in done.stdout


def test_a_lab_is_made_measured_reported_and_destroyed(labctl: Installed, inventory: str) -> None:
    labctl("lab", "create", "-i", inventory)
    assert "3 setups, 6 cells, 18 samples" in labctl("plan", "-i", inventory, "--quick")
    assert "conntrack table" in labctl("check", "-i", inventory)
    printed = labctl("matrix", "-i", inventory, "--variant", "veth-ebpf", *SHORT, *ANY_STEAL)
    (run,) = (labctl.directory / "runs").iterdir()
    assert load(run / "status.json")["state"] == "done"
    assert "baseline" in printed
    assert "veth-ebpf" in printed
    assert labctl("report", "latest") == printed
    labctl("lab", "destroy", "-i", inventory)
    assert NAME not in labs.names()
