"""The environment of Ansible: what the user configured holds, what labctl needs is pinned."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from labctl.engine.environment import CALLBACKS, environment

NO_CHECKING = "[defaults]\nhost_key_checking = False\n"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of the user's, with nothing configured."""
    for name in ("ANSIBLE_CONFIG", "ANSIBLE_HOST_KEY_CHECKING"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def of_ansible() -> dict[str, str]:
    return environment(Path("/private"), Path("/sockets"))


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
    here: Path, monkeypatch: pytest.MonkeyPatch, config: str | None, variable: str | None, wanted: str
) -> None:
    if config is not None:
        (here / "ansible.cfg").write_text(config)
    if variable is not None:
        monkeypatch.setenv("ANSIBLE_HOST_KEY_CHECKING", variable)
    assert of_ansible()["ANSIBLE_HOST_KEY_CHECKING"] == wanted


def test_the_users_own_configuration_is_named_since_runner_works_elsewhere(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "ANSIBLE_CONFIG" not in of_ansible()
    (here / "ansible.cfg").touch()
    assert of_ansible()["ANSIBLE_CONFIG"] == str(here / "ansible.cfg")
    monkeypatch.setenv("ANSIBLE_CONFIG", "/etc/mine.cfg")
    assert of_ansible()["ANSIBLE_CONFIG"] == "/etc/mine.cfg"


def test_files_of_one_call_stay_in_its_directories() -> None:
    pinned = of_ansible()
    assert (pinned["ANSIBLE_LOCAL_TEMP"], pinned["ANSIBLE_SSH_CONTROL_PATH_DIR"]) == ("/private/tmp", "/sockets")


def test_the_lifeline_finds_its_parent_and_ansible_finds_all_our_callbacks() -> None:
    pinned = of_ansible()
    assert pinned["LABCTL_PID"] == str(os.getpid())
    assert pinned["ANSIBLE_CALLBACKS_ENABLED"].split(",") == sorted(path.stem for path in CALLBACKS.glob("*.py"))
    assert pinned["ANSIBLE_CALLBACK_PLUGINS"] == str(CALLBACKS)
