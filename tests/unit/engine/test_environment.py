"""The environment of Ansible: what the user configured holds, what labctl needs is pinned."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from labctl.core.scratch import Scratch
from labctl.engine.environment import CALLBACKS, environment

NO_CHECKING = "[defaults]\nhost_key_checking = False\n"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of the user's, with nothing configured."""
    for name in ("ANSIBLE_CONFIG", "ANSIBLE_HOST_KEY_CHECKING"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Scratch]:
    (directory := tmp_path / "scratch").mkdir()
    with closing(Scratch(directory)) as opened:
        yield opened


@pytest.mark.parametrize(
    ("config", "variable", "wanted"),
    [
        (None, None, "true"),
        ("[ssh_connection]\npipelining = True\n", None, "true"),
        (NO_CHECKING, None, "False"),
        (NO_CHECKING, "True", "True"),
    ],
)
def test_host_keys_are_checked_unless_the_user_says_otherwise(
    here: Path, monkeypatch: pytest.MonkeyPatch, scratch: Scratch, config: str | None, variable: str | None, wanted: str
) -> None:
    if config is not None:
        (here / "ansible.cfg").write_text(config)
    if variable is not None:
        monkeypatch.setenv("ANSIBLE_HOST_KEY_CHECKING", variable)
    assert environment(Path("/private"), scratch)["ANSIBLE_HOST_KEY_CHECKING"] == wanted


def test_the_users_own_configuration_is_named_since_runner_works_elsewhere(
    here: Path, monkeypatch: pytest.MonkeyPatch, scratch: Scratch
) -> None:
    assert "ANSIBLE_CONFIG" not in environment(Path("/private"), scratch)
    (here / "ansible.cfg").touch()
    assert environment(Path("/private"), scratch)["ANSIBLE_CONFIG"] == str(here / "ansible.cfg")
    monkeypatch.setenv("ANSIBLE_CONFIG", "/etc/mine.cfg")
    assert environment(Path("/private"), scratch)["ANSIBLE_CONFIG"] == "/etc/mine.cfg"


def test_files_of_one_call_stay_in_its_directories_and_those_of_all_calls_in_another(scratch: Scratch) -> None:
    pinned = environment(Path("/private"), scratch)
    assert pinned["ANSIBLE_LOCAL_TEMP"] == "/private/tmp"
    shared = {"ANSIBLE_SSH_CONTROL_PATH_DIR": scratch.sockets, "LABCTL_PACKED": scratch.packed}
    assert {name: Path(pinned[name]) for name in shared} == shared


def test_the_lifeline_finds_its_parent_and_ansible_finds_all_our_callbacks(scratch: Scratch) -> None:
    pinned = environment(Path("/private"), scratch)
    assert pinned["LABCTL_PID"] == str(os.getpid())
    assert pinned["ANSIBLE_CALLBACKS_ENABLED"].split(",") == sorted(path.stem for path in CALLBACKS.glob("*.py"))
    assert pinned["ANSIBLE_CALLBACK_PLUGINS"] == str(CALLBACKS)
