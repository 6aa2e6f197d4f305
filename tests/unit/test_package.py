"""The wheel holds everything that a checkout has, and works without one."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

CONTENT = ("inventories", "playbooks", "roles")


def files_of(repository: Path, *folders: str) -> set[str]:
    """Return the files under folders that git has or would add, relative to the repository."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *folders],
        cwd=repository,
        check=True,
        capture_output=True,
        text=True,
    )
    return {name for name in listing.stdout.split("\0") if name and (repository / name).is_file()}


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory that holds the wheel's files, as site-packages would."""
    site = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


def in_installed(installed: Path, code: str, cwd: Path) -> str:
    """Run code with the installed package in front of this checkout; return what it printed."""
    argv = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(installed)!r}); {code}"]
    done = subprocess.run(argv, cwd=cwd, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("folder", CONTENT)
def test_the_wheel_holds_the_ansible_content(repository: Path, wheel: Path, folder: str) -> None:
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith(f"labctl/_content/{folder}/")}
    assert inside == {f"labctl/_content/{name}" for name in files_of(repository, folder)}
    assert inside


def test_the_wheel_holds_the_package_and_its_data(repository: Path, wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = files_of(repository, "labctl")
    assert wanted <= names
    assert "labctl/py.typed" in wanted
    assert any(name.startswith("labctl/catalog/") and name.endswith((".yml", ".yaml")) for name in wanted)


def test_the_wheel_holds_nothing_else(repository: Path, wheel: Path) -> None:
    known = files_of(repository, "labctl") | {f"labctl/_content/{name}" for name in files_of(repository, *CONTENT)}
    others = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert others == known


def test_the_installed_package_finds_its_content(installed: Path, tmp_path: Path) -> None:
    code = (
        "import json; from labctl.core import paths; "
        "print(json.dumps([str(paths.content_root()), str(paths.resolve_lab('local')), paths.known_labs()]))"
    )
    root, local, known = json.loads(in_installed(installed, code, tmp_path))
    assert Path(root) == installed / "labctl" / "_content"
    assert Path(local) == installed / "labctl" / "_content" / "inventories" / "local"
    assert "local" in known


def test_the_installed_package_loads_its_catalog(installed: Path, tmp_path: Path) -> None:
    code = "from labctl import catalog; print(*catalog.load().variants)"
    assert "baseline" in in_installed(installed, code, tmp_path).split()


def test_the_installed_command_answers(installed: Path, tmp_path: Path) -> None:
    code = "sys.argv = ['labctl', '--version']; from labctl.cli.app import main; main()"
    assert in_installed(installed, code, tmp_path).startswith("labctl ")


@pytest.fixture
def ansible_core(repository: Path) -> Requirement:
    """What pyproject.toml asks of ansible-core."""
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    return next(found for found in map(Requirement, project["dependencies"]) if found.name == "ansible-core")


def test_the_old_end_of_the_range_is_the_one_that_is_tested(repository: Path, ansible_core: Requirement) -> None:
    lines = (repository / "tools" / "constraints-oldest.txt").read_text().splitlines()
    pinned = [Version(one.version) for line in lines if line[0] != "#" for one in Requirement(line).specifier]
    (lowest,) = (Version(one.version) for one in ansible_core.specifier if one.operator == ">=")
    assert min(pinned) == lowest
    assert all(version in ansible_core.specifier for version in pinned)


def test_ansible_is_one_that_pip_may_install(ansible_core: Requirement) -> None:
    assert ansible_core.specifier.contains(metadata.version("ansible-core"))
