"""Labs are found by path, then beside the user, then in the package; everything else is refused by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from labctl.core import paths
from labctl.core.errors import LabctlError, UsageError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty current directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def shipped(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the content of an installed package, which ships the labs `local` and `metal`."""
    package = tmp_path_factory.mktemp("site-packages") / "labctl"
    content = package / "_content"
    for directory in ("playbooks", "inventories/local", "inventories/metal"):
        (content / directory).mkdir(parents=True)
    monkeypatch.setattr(paths, "_PACKAGE", package)
    return content


def test_content_of_a_checkout_is_the_repository(repository: Path) -> None:
    assert paths.content_root() == repository


def test_content_of_a_wheel_is_inside_the_package(shipped: Path) -> None:
    assert paths.content_root() == shipped


def test_content_that_is_nowhere_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "_PACKAGE", tmp_path / "labctl")
    with pytest.raises(LabctlError, match=r"The playbooks of labctl are not where its package is\.\n.*where: "):
        paths.content_root()


def test_a_lab_is_a_path_first(here: Path, shipped: Path) -> None:
    (here / "mine").mkdir()
    (here / "inventories" / "mine").mkdir(parents=True)
    assert paths.resolve_lab("mine") == here / "mine"
    assert paths.resolve_lab(str(here / "mine")) == here / "mine"


def test_a_lab_beside_the_user_hides_the_shipped_one(here: Path, shipped: Path) -> None:
    assert paths.resolve_lab("local") == shipped / "inventories" / "local"
    (here / "inventories" / "local").mkdir(parents=True)
    assert paths.resolve_lab("local") == here / "inventories" / "local"


@pytest.mark.parametrize("lab", ["nowhere", "", " ", "./nowhere", "/nowhere/at/all", "a\0", "x" * 5000])
def test_an_unknown_lab_is_refused_with_the_known_ones(here: Path, shipped: Path, lab: str) -> None:
    (here / "inventories" / "mine").mkdir(parents=True)
    with pytest.raises(UsageError) as refused:
        paths.resolve_lab(lab)
    assert f"There is no lab {lab!r}." in str(refused.value)
    assert "Name one of local, metal, mine, or give the path of an inventory directory." in str(refused.value)
    assert refused.value.exit_code == 2


def test_a_home_that_nobody_has_is_named(here: Path, shipped: Path) -> None:
    with pytest.raises(UsageError, match="there is no home directory that ~ could mean"):
        paths.resolve_lab("~no-such-user/x")


def test_a_file_is_no_lab(here: Path, shipped: Path) -> None:
    (here / "hosts.yml").write_text("all: {}\n")
    with pytest.raises(UsageError, match="A file: a lab is an inventory directory"):
        paths.resolve_lab("hosts.yml")


def test_runs_are_here(here: Path) -> None:
    assert paths.runs_dir() == here / "runs"
    assert not paths.runs_dir().exists()


def test_the_directory_of_the_machine(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LABCTL_STATE_DIR", raising=False)
    assert paths.state_dir() == Path("/var/lib/labctl")
    monkeypatch.setenv("LABCTL_STATE_DIR", "")
    assert paths.state_dir() == Path("/var/lib/labctl")
    monkeypatch.setenv("LABCTL_STATE_DIR", "elsewhere")
    assert paths.state_dir() == here / "elsewhere"


@pytest.mark.parametrize("lab", ["local", "mine", "./mine", "inventories/mine"])
def test_a_lab_that_others_decide_on_is_refused(here: Path, shipped: Path, lab: str) -> None:
    """A directory ./local in a directory like /tmp would be the lab whose programs run as root."""
    for directory in (here / "local", here / "mine", here / "inventories" / "mine"):
        (directory / "group_vars").mkdir(parents=True)
        (directory / "group_vars" / "all.yml").touch()
        (directory / "group_vars" / "all.yml").chmod(0o666)
    with pytest.raises(UsageError, match="the lab's inventory is not believed") as refused:
        paths.resolve_lab(lab)
    assert "every user may write it (mode 0666)" in str(refused.value)
    assert not isinstance(refused.value, paths.UnknownLab)


def test_what_is_shipped_is_believed_as_labctl_is(here: Path, shipped: Path) -> None:
    (shipped / "inventories" / "local").chmod(0o777)
    assert paths.resolve_lab("local") == shipped / "inventories" / "local"


@pytest.mark.parametrize(
    ("variable", "directory", "usual"),
    [
        ("XDG_STATE_HOME", paths.user_state_dir, ".local/state/labctl"),
        ("XDG_CACHE_HOME", paths.user_cache_dir, ".cache/labctl"),
    ],
)
def test_a_relative_directory_of_the_user_is_none(
    here: Path, monkeypatch: pytest.MonkeyPatch, variable: str, directory: Callable[[], Path], usual: str
) -> None:
    """As the XDG Base Directory Specification has it: elsewhere it would be another one."""
    monkeypatch.setenv("HOME", str(here))
    for value in ("", "relative", "../relative"):
        monkeypatch.setenv(variable, value)
        assert directory() == here / usual
    monkeypatch.setenv(variable, str(here / "mine"))
    assert directory() == here / "mine" / "labctl"


def test_a_directory_that_cannot_be_listed_has_no_labs(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(path: Path) -> Iterator[Path]:
        raise PermissionError(13, "Permission denied", str(path))

    (here / "inventories").mkdir()
    monkeypatch.setattr(Path, "iterdir", closed)
    with pytest.raises(paths.UnknownLab):
        paths.resolve_lab("nowhere")
